"""LayerNAS on tables: exact where its assumption holds, bounded, never twice."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadistill.search import layernas
from skadistill.search._buckets import bucket_numbers
from skadistill.search._completion import Completion, Sizes
from skadistill.search._layernas import bound_evaluations
from skadistill.search._space import Space

DEFAULTS = ["fit", "largest", "smallest"]


def everything(layers):
    """List all candidates of a space."""
    return [
        dict(zip(layers, options, strict=True))
        for options in itertools.product(*layers.values())
    ]


def key(candidate):
    return tuple(candidate.values())


class Table:
    """A space with integer sizes that add up, and scores that do at first."""

    def __init__(self, seed, n_options):
        rng = np.random.default_rng(seed)
        self.layers = {f"layer_{i}": list(range(n)) for i, n in enumerate(n_options)}
        self.parts = [rng.integers(0, 6, size=n) for n in n_options]
        self.worth = [rng.normal(size=n) for n in n_options]
        self.rng = rng
        self.scores = None
        self.seen: list[tuple] = []
        self.calls = 0
        sizes = [self.size(c) for c in everything(self.layers)]
        self.limit = float(np.quantile(sizes, 0.4))

    def size(self, candidate):
        return int(sum(p[i] for p, i in zip(self.parts, key(candidate), strict=True)))

    def score(self, candidate):
        if self.scores is not None:
            return self.scores[key(candidate)]
        return float(sum(w[i] for w, i in zip(self.worth, key(candidate), strict=True)))

    def scatter(self):
        """Replace the sums by noise, where no assumption holds."""
        candidates = list(map(key, everything(self.layers)))
        noise = self.rng.normal(size=len(candidates))
        self.scores = dict(zip(candidates, noise, strict=True))

    def evaluate(self, candidates):
        self.calls += 1
        self.seen += map(key, candidates)
        return [self.score(c) for c in candidates]

    def search(self, **settings):
        settings = {"max_size": self.limit, **settings}
        return layernas(self.evaluate, self.size, self.layers, **settings)

    def best(self):
        """Find the best score within the limit by looking at every candidate."""
        allowed = [c for c in everything(self.layers) if self.size(c) <= self.limit]
        return max(map(self.score, allowed))


N_OPTIONS = st.lists(st.integers(1, 4), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**20)


@pytest.mark.parametrize("default", DEFAULTS)
@given(seed=SEEDS, n_options=N_OPTIONS)
@settings(max_examples=40, deadline=None)
def test_the_optimum_is_found_where_scores_and_sizes_add_up(seed, n_options, default):
    """With a bucket for each size, brute force over a sum finds nothing better."""
    table = Table(seed, n_options)
    result = table.search(n_buckets=None, default=default)
    assert result.best_score == pytest.approx(table.best())
    assert result.best_size <= table.limit


@given(seed=SEEDS, n_options=N_OPTIONS)
@settings(max_examples=40, deadline=None)
def test_buckets_that_separate_all_sizes_find_the_optimum(seed, n_options):
    """100 buckets separate integer sizes from 0 to 25, and the optimum is found."""
    table = Table(seed, n_options)
    assert table.search(n_buckets=100).best_score == pytest.approx(table.best())


@given(seed=SEEDS, n_options=N_OPTIONS)
@settings(max_examples=40, deadline=None)
def test_the_optimum_is_found_where_nothing_is_dropped(seed, n_options):
    """With as many replicas as candidates any table, also one of noise, is solved."""
    table = Table(seed, n_options)
    table.scatter()
    result = table.search(n_buckets=1, n_replicas=4**5, default="largest")
    assert result.best_score == table.best()


def test_the_documented_counterexample_fails_and_a_replica_mends_it():
    """Where the first option is better alone and worse in company, it is kept."""
    scores = {(0, 0): 1.0, (0, 1): 1.0, (1, 0): 0.0, (1, 1): 2.0}

    def search(**settings):
        return layernas(
            lambda candidates: [scores[key(c)] for c in candidates],
            lambda candidate: 1.0,
            {"first": [0, 1], "second": [0, 1]},
            default={"first": 0, "second": 0},
            **settings,
        )

    assert search(n_buckets=1).best_candidate == {"first": 0, "second": 0}
    assert search(n_buckets=1, n_replicas=2).best_score == 2.0


@given(
    seed=SEEDS,
    n_options=N_OPTIONS,
    n_buckets=st.one_of(st.none(), st.integers(1, 6)),
    n_replicas=st.integers(1, 3),
    default=st.sampled_from(DEFAULTS),
)
@settings(max_examples=120, deadline=None)
def test_the_estimate_is_an_upper_bound_and_nothing_is_scored_twice(
    seed, n_options, n_buckets, n_replicas, default
):
    """Whatever the settings: no repeats, one call a layer, within the estimate."""
    table = Table(seed, n_options)
    bounds = {"n_buckets": n_buckets, "n_replicas": n_replicas}
    result = table.search(default=default, **bounds)
    assert len(set(table.seen)) == len(table.seen) == result.n_evaluations
    assert len(table.seen) <= bound_evaluations(table.layers, **bounds)
    assert table.calls <= len(n_options)
    assert result.steps.max() < len(n_options)
    assert [table.score(c) for c in result.candidates] == result.scores.tolist()
    assert [table.size(c) for c in result.candidates] == result.sizes.tolist()


@pytest.mark.parametrize(
    ("n_options", "settings", "bound"),
    [
        ([8] * 5, {"n_buckets": 5}, 8 + 4 * 5 * 8),
        ([8] * 5, {"n_buckets": 5, "n_replicas": 2}, 8 + 8 * 8 + 3 * 10 * 8),
        ([2, 3, 4], {"n_buckets": 4}, 2 + 2 * 3 + 4 * 4),
        ([2, 3], {"n_buckets": None}, 6),
        ([8] * 5, {}, 8 + 8 * 8 + 3 * 8 * 8),
        ([8] * 5, {"max_evaluations": 100}, 100),
        ([2, 2], {"max_evaluations": 100}, 4),
    ],
)
def test_the_estimate_is_the_stated_sum(n_options, settings, bound):
    """Each layer extends at most H R prefixes; a space is never larger than itself."""
    layers = {str(i): range(n) for i, n in enumerate(n_options)}
    assert bound_evaluations(layers, **settings) == bound


@given(
    seed=SEEDS, n_evaluations=st.integers(24, 200), default=st.sampled_from(DEFAULTS)
)
@settings(max_examples=60, deadline=None)
def test_refinement_spends_what_is_left_and_never_harms(seed, n_evaluations, default):
    """The limit is kept, the choice is at least as good as without refinement."""
    table = Table(seed, [4] * 4)
    table.scatter()
    refined = table.search(max_evaluations=n_evaluations, default=default)
    assert len(set(table.seen)) == len(table.seen) <= n_evaluations
    plain = table.search(n_buckets=refined.n_buckets, default=default)
    assert refined.best_score >= plain.best_score
    later = refined.steps >= 4
    assert (refined.sizes[later] <= table.limit).all()
    assert later.sum() == refined.n_evaluations - plain.n_evaluations


def test_refinement_goes_on_from_the_best_candidate_by_single_changes():
    """A peak two changes away from the layers' choice is reached in steps."""
    peak = (2, 2)
    scores = {c: -abs(c[0] - 2) - abs(c[1] - 2) for c in np.ndindex(3, 3)}
    scores[0, 1] = -0.5
    settings = {
        "default": {"first": 0, "second": 1},
        "n_buckets": 1,
    }
    layers = {"first": [0, 1, 2], "second": [0, 1, 2]}

    def search(**more):
        return layernas(
            lambda candidates: [scores[key(c)] for c in candidates],
            lambda candidate: 1,
            layers,
            **settings,
            **more,
        )

    assert key(search().best_candidate) == (0, 1)
    result = search(max_evaluations=9)
    assert key(result.best_candidate) == peak
    assert result.n_evaluations == 9


@pytest.mark.parametrize(
    ("n_evaluations", "n_buckets"),
    # Bounds of 1, 2, ... buckets: 16, 28, 40, 52, 60, 68, 76.
    [(16, 1), (28, 2), (40, 3), (52, 3), (104, 4), (119, 4), (120, 5), (150, 6)],
)
def test_auto_buckets_leave_half_for_refinement_but_are_three(n_evaluations, n_buckets):
    """As many as half of the evaluations allow; three where all of them do."""
    table = Table(0, [4] * 4)
    assert table.search(max_evaluations=n_evaluations).n_buckets == n_buckets


def test_without_a_budget_there_are_eight_buckets():
    """The default is stated, and all evaluations go to the layers."""
    result = Table(0, [4] * 4).search()
    assert result.n_buckets == 8
    assert result.steps.max() == 3


def test_prefixes_over_the_limit_are_never_scored():
    """A prefix is dropped when even its smallest completion is too large."""
    layers = {"first": [1, 2, 9], "second": [1, 2, 9], "third": [3, 9]}
    seen = []

    def evaluate(candidates):
        seen.extend(map(key, candidates))
        return [sum(key(c)) for c in candidates]

    result = layernas(
        evaluate,
        lambda c: sum(c.values()),
        layers,
        max_size=7,
        n_buckets=None,
        default="largest",
    )
    assert key(result.best_candidate) == (2, 2, 3)
    assert set(seen) == {
        *[(1, 9, 9), (2, 9, 9)],  # not (9, 9, 9): 9 + 1 + 3 is over 7
        *[(1, 1, 9), (1, 2, 9), (2, 1, 9), (2, 2, 9)],
        *[(1, 1, 3), (1, 2, 3), (2, 2, 3)],  # (2, 1) lost the tie in its bucket
    }


def completion_of(prefix, **settings):
    """Complete a prefix in a space of three layers with options 1, 2, 3, 4."""
    space = Space({name: [1, 2, 3, 4] for name in "abc"})
    sizes = Sizes(space, lambda c: sum(c.values()))
    complete = Completion(space, sizes, **settings)
    return key(space.candidate(complete.complete(prefix)))


@pytest.mark.parametrize(
    ("prefix", "max_size", "default", "completed"),
    [
        ((), 12, "fit", (4, 4, 4)),
        ((), 8, "fit", (3, 3, 2)),
        ((3,), 8, "fit", (4, 2, 2)),
        ((3,), 6, "fit", (4, 1, 1)),
        ((0,), None, "fit", (1, 4, 4)),
        ((0,), 6, "largest", (1, 4, 4)),
        ((3,), 6, "smallest", (4, 1, 1)),
        ((3, 3), 6, {"a": 1, "b": 2, "c": 3}, (4, 4, 3)),
    ],
)
def test_later_layers_are_completed_as_the_default_says(
    prefix, max_size, default, completed
):
    """With "fit" layers grow evenly up to the limit; other words ignore it."""
    assert completion_of(prefix, max_size=max_size, default=default) == completed


def test_completion_orders_options_by_size_and_not_as_listed():
    """The smallest and the largest completion do not depend on the listing."""
    space = Space({"a": [3, 1, 2], "b": [2, 3, 1]})
    sizes = Sizes(space, lambda c: sum(c.values()))
    for default, expected in [("smallest", (3, 1)), ("largest", (3, 3))]:
        complete = Completion(space, sizes, 6, default).complete((0,))
        assert key(space.candidate(complete)) == expected


@pytest.mark.parametrize(
    ("sizes", "n_buckets", "numbers"),
    [
        ([0, 1, 2, 3, 4], 2, [0, 0, 1, 1, 1]),
        ([5, 5, 5], 3, [0, 0, 0]),
        ([1, 10, 100], None, [0, 1, 2]),
        ([7, 3, 7], None, [1, 0, 1]),
        ([0.0, 9.9, 10.0], 10, [0, 9, 9]),
    ],
)
def test_bucket_numbers_have_equal_widths(sizes, n_buckets, numbers):
    """The largest size belongs to the last bucket."""
    assert bucket_numbers(sizes, n_buckets) == numbers


def test_equal_scores_go_to_the_smaller_then_to_the_first():
    """Three candidates tie; the smallest two tie again, and the first one wins."""
    size = {"x": 3, "y": 1, "z": 1}
    result = layernas(
        lambda candidates: [1.0] * len(candidates),
        lambda c: size[c["only"]],
        {"only": ["x", "z", "y"]},
    )
    assert result.best_candidate == {"only": "z"}


def test_a_score_of_nan_is_the_worst():
    """A candidate that failed loses against every other, whatever it scored."""
    scores = {1: math.nan, 2: -1e9, 3: math.nan}
    result = layernas(
        lambda candidates: [scores[c["only"]] for c in candidates],
        lambda c: c["only"],
        {"only": [1, 2, 3]},
    )
    assert result.best_candidate == {"only": 2}


def test_the_choice_is_within_the_limit_although_larger_ones_score_better():
    """Under "largest" candidates over the limit are scored, but never chosen."""
    result = layernas(
        lambda candidates: [sum(key(c)) for c in candidates],
        lambda c: sum(c.values()),
        {"a": [1, 2, 3], "b": [1, 2, 3]},
        max_size=4,
        default="largest",
    )
    assert result.sizes.max() > 4
    assert result.best_size == 4 == result.best_score


def test_size_is_measured_once_and_before_the_score():
    """Each candidate's size is known when it is scored, and never measured again."""
    table = Table(1, [3] * 4)
    asked = []

    def size(candidate):
        asked.append(key(candidate))
        return table.size(candidate)

    def evaluate(candidates):
        assert set(map(key, candidates)) <= set(asked)
        return table.evaluate(candidates)

    layernas(evaluate, size, table.layers, max_size=table.limit, max_evaluations=40)
    assert len(asked) == len(set(asked))


def refuse(candidates):
    raise AssertionError("nothing must be scored")


GOOD = {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("layers", "settings", "message"),
    [
        ({}, {}, "layers must be a mapping"),
        ([1, 2], {}, "'layers' parameter of layernas must be"),
        ({"a": [1], "b": []}, {}, "layer 'b' has no options"),
        ({"a": "abc"}, {}, "options of layer 'a' must be a sequence"),
        ({"a": [1, 2, 1]}, {}, "layer 'a' lists the option 1 twice"),
        (GOOD, {"max_size": 1.5}, r"max_size=1.5 cannot be met.*'a': 1.*has size 2;"),
        (GOOD, {"n_buckets": 0}, "'n_buckets' parameter of layernas"),
        (GOOD, {"n_buckets": "many"}, "'n_buckets' parameter of layernas"),
        (GOOD, {"n_replicas": 1.5}, "'n_replicas' parameter of layernas"),
        (GOOD, {"max_evaluations": 3}, "max_evaluations=3 is too few.* need 4"),
        (GOOD, {"default": "middle"}, "'default' parameter of layernas"),
        (GOOD, {"default": {"a": 1}}, r"differ in \['b'\]"),
        (GOOD, {"default": {"a": 1, "b": 7}}, "option 7 for layer 'b'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_scored(layers, settings, message):
    """Each mistake is named, with what was received."""
    with pytest.raises(ValueError, match=message):
        layernas(refuse, lambda c: sum(c.values()), layers, **settings)


def test_too_many_buckets_for_the_evaluations_are_refused_with_advice():
    """The message names the number of buckets that would fit."""
    layers = {str(i): range(8) for i in range(5)}
    with pytest.raises(ValueError, match=r"may need 168; pass n_buckets=4 or"):
        layernas(refuse, lambda c: 1, layers, n_buckets=5, max_evaluations=140)


@pytest.mark.parametrize("size", [math.nan, math.inf, None, "7"])
def test_a_size_that_is_not_a_number_is_refused(size):
    """NaN would end up in no bucket."""
    with pytest.raises(ValueError, match=r"the size of \{'a': 1.*return a finite"):
        layernas(refuse, lambda c: size, GOOD)


def test_scores_that_do_not_match_the_candidates_are_refused():
    """An evaluation that loses a candidate must not shift the others' scores."""
    with pytest.raises(ValueError, match="returned 1 scores for 2 candidates"):
        layernas(lambda c: [1.0], lambda c: 1, GOOD)


def test_options_that_are_equal_but_of_another_type_are_two_options():
    """1 and True configure an estimator differently."""
    result = layernas(
        lambda candidates: [float(c["a"] is True) for c in candidates],
        lambda c: 1,
        {"a": [1, True]},
    )
    assert result.best_candidate["a"] is True


def test_options_may_be_arrays():
    """Options of a numpy array come back as plain numbers."""
    result = layernas(
        lambda candidates: [c["a"] for c in candidates],
        lambda c: c["a"],
        {"a": np.array([1, 2])},
    )
    assert type(result.best_candidate["a"]) is int
