import re
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone

from skadistill.exceptions import QueryStrategyError
from skadistill.query import (
    EntropySampler,
    LeastConfidentSampler,
    MarginSampler,
    QueryPool,
    QueryStrategy,
    RandomSampler,
    RobustSampler,
    ScoreStrategy,
    as_strategy,
    capped_distribution,
    check_query,
    entropy_gain,
    least_confident_gain,
    margin_gain,
    regret_distribution,
    robust_distribution,
    top_rows,
)

# The simulations have fixed seeds; redrawn, a correct sampler would fail one of
# them with probability at most ALPHA (binomial tails, Bonferroni over the rows).
ALPHA = 1e-6


def exactly(sentence):
    return f"^{re.escape(sentence)}$"


def make_proba(n=60, n_classes=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), size=n)


def make_pool(proba, block=7, **settings):
    proba = np.asarray(proba)
    blocks = [proba[i : i + block] for i in range(0, len(proba), block)]
    classes = np.arange(proba.shape[1])
    return QueryPool(len(proba), classes, lambda: iter(blocks), **settings)


def ask(strategy, proba, n_queries, seed=0, **settings):
    pool = make_pool(proba, **settings)
    rng = np.random.default_rng(seed)
    positions = strategy.query(pool, n_queries, rng)
    return check_query(positions, pool.n_samples, n_queries, strategy)


def assert_marginals(strategy, proba, n_queries, inclusion, n_draws=1_000, **settings):
    """Check by simulation that row i is asked with probability inclusion[i]."""
    pool = make_pool(proba, **settings)
    rng = np.random.default_rng(0)
    counts = np.zeros(pool.n_samples)
    for _ in range(n_draws):
        counts[strategy.query(pool, n_queries, rng)] += 1
    inclusion = np.clip(np.asarray(inclusion, dtype=np.float64), 0, 1)
    level = ALPHA / (2 * pool.n_samples)
    assert (stats.binom.cdf(counts, n_draws, inclusion) >= level).all()
    assert (stats.binom.sf(counts - 1, n_draws, inclusion) >= level).all()


# -- gains --------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gains_are_their_definitions(n_classes, dtype):
    """Each gain agrees with the formula written out on sorted probabilities."""
    proba = make_proba(100, n_classes).astype(dtype)
    ranked = np.sort(proba.astype(np.float64), axis=1)
    margin = 1 - (ranked[:, -1] - ranked[:, -2])
    np.testing.assert_allclose(margin_gain(proba), margin, atol=1e-6)
    least = 1 - ranked[:, -1]
    np.testing.assert_allclose(least_confident_gain(proba), least, atol=1e-6)
    entropy = stats.entropy(ranked, axis=1)
    np.testing.assert_allclose(entropy_gain(proba), entropy, atol=1e-5)


@pytest.mark.parametrize("gain", [margin_gain, entropy_gain, least_confident_gain])
def test_a_certain_student_has_nothing_to_gain(gain):
    """One-hot rows have gain exactly 0, an even row the most."""
    proba = np.vstack([np.eye(3), np.full((1, 3), 1 / 3)]).astype(np.float32)
    gains = gain(proba)
    np.testing.assert_array_equal(gains[:3], 0)
    assert gains[3] > 0.6


# -- greedy strategies --------------------------------------------------------------

GREEDY = [
    (MarginSampler(), margin_gain),
    (EntropySampler(), entropy_gain),
    (LeastConfidentSampler(), least_confident_gain),
]


@pytest.mark.parametrize(("strategy", "gain"), GREEDY)
@pytest.mark.parametrize("n_queries", [1, 10, 59, 60])
def test_greedy_strategies_agree_with_sorting(strategy, gain, n_queries):
    """The rows asked are the first of a full sort by gain."""
    proba = make_proba()
    expected = np.sort(np.argsort(-gain(proba))[:n_queries])
    np.testing.assert_array_equal(ask(strategy, proba, n_queries), expected)


@pytest.mark.parametrize(("strategy", "gain"), GREEDY)
def test_greedy_strategies_report_their_gains(strategy, gain):
    """The round's record learns the mean and the largest gain."""
    pool = make_pool(make_proba())
    strategy.query(pool, 5, np.random.default_rng(0))
    gains = gain(make_proba())
    assert set(pool.report) == {"gain_mean", "gain_max"}
    assert pool.report["gain_mean"] == pytest.approx(gains.mean(), rel=1e-6)
    assert pool.report["gain_max"] == pytest.approx(gains.max(), rel=1e-6)


def test_ties_at_the_border_are_broken_evenly():
    """Equal scores are asked equally often wherever they stand in the file."""
    proba = np.full((12, 2), 0.5)
    proba[[2, 7]] = [0.9, 0.1]
    inclusion = np.full(12, 4 / 10)
    inclusion[[2, 7]] = 0
    assert_marginals(MarginSampler(), proba, 4, inclusion)
    inclusion = np.full(12, 1.0)
    inclusion[[2, 7]] = 1 / 2
    assert_marginals(MarginSampler(), proba, 11, inclusion)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_top_rows_takes_all_above_the_border(dtype):
    """Rows above the border always, rows below never, ties fill what is left."""
    scores = np.array([3, 1, 2, 2, 0, 5, 2], dtype=dtype)
    for seed in range(20):
        rows = top_rows(scores, 4, np.random.default_rng(seed))
        assert {0, 5} <= set(rows)
        assert set(rows) <= {0, 2, 3, 5, 6}
        assert len(set(rows)) == 4


def test_random_sampler_is_even():
    """Every row is asked equally often, none twice."""
    assert_marginals(RandomSampler(), make_proba(20), 6, np.full(20, 0.3))


@pytest.mark.parametrize("per_row", [False, True])
def test_a_function_of_the_probabilities_is_a_strategy(per_row):
    """Higher scores are asked sooner; per_row scores blocks, else the whole table."""
    shapes = []

    def rarest(proba):
        shapes.append(proba.shape)
        return proba[:, 0]

    proba = make_proba()
    rows = ask(ScoreStrategy(rarest, per_row=per_row), proba, 5)
    np.testing.assert_array_equal(rows, np.sort(np.argsort(-proba[:, 0])[:5]))
    assert shapes == ([(7, 3)] * 8 + [(4, 3)] if per_row else [(60, 3)])


# -- the robust sampler -------------------------------------------------------------


def test_robust_sampler_plays_the_game_on_the_margins():
    """Rows come with probability b p_i for m = teacher error x rows."""
    proba = make_proba(40)
    gains = margin_gain(proba).astype(np.float32)
    p = capped_distribution(gains, 0.25 * 40, 6).p
    assert_marginals(RobustSampler(), proba, 6, 6 * p, teacher_error=0.25)


@pytest.mark.parametrize(
    ("sampler", "gain"),
    [
        (RobustSampler(gain="entropy"), entropy_gain),
        (RobustSampler(gain="least_confident"), least_confident_gain),
        (RobustSampler(gain=lambda proba: proba[:, 0] ** 2), lambda p: p[:, 0] ** 2),
    ],
    ids=["entropy", "least confident", "callable"],
)
def test_robust_sampler_takes_other_gains(sampler, gain):
    """Names and functions of the probabilities measure what a row is worth."""
    proba = make_proba(30)
    p = capped_distribution(gain(proba).astype(np.float32), 9.0, 4).p
    assert_marginals(sampler, proba, 4, 4 * p, teacher_error=0.3)


def test_robust_sampler_caps_where_the_game_would_repeat_rows():
    """Where b p_i would exceed 1 the capped game's probabilities are used."""
    proba = make_proba(30)
    gains = margin_gain(proba).astype(np.float32)
    assert robust_distribution(gains, 1.5).p.max() > 1 / 12
    p = capped_distribution(gains, 1.5, 12).p
    assert_marginals(RobustSampler(1.5), proba, 12, 12 * p, n_draws=500)


@pytest.mark.parametrize("settings", [{"teacher_error": None}, {"teacher_error": 0.3}])
def test_robust_sampler_falls_back_to_the_regret_game(settings):
    """Without an estimate, or on request, inclusions are max(0, 1 - v/g)."""
    proba = make_proba(30)
    sampler = RobustSampler("auto" if settings["teacher_error"] is None else None)
    q = regret_distribution(margin_gain(proba).astype(np.float32), 7)
    assert_marginals(sampler, proba, 7, q, **settings)
    pool = make_pool(proba, **settings)
    sampler.query(pool, 7, np.random.default_rng(0))
    assert pool.report["n_mistakes"] is None
    assert "water_level" not in pool.report


@pytest.mark.parametrize(
    ("n_mistakes", "teacher_error", "expected"),
    [
        ("auto", 0.25, 10.0),
        ("auto", 0.0, 0.0),
        ("auto", 1.0, np.nextafter(40, 0)),
        (7, 0.25, 7.0),
        (7.5, None, 7.5),
        (np.float32(3), None, 3.0),
        (0, 0.25, 0.0),
        (1_000, 0.25, np.nextafter(40, 0)),
    ],
)
def test_robust_sampler_reports_what_it_played(n_mistakes, teacher_error, expected):
    """m, the water level and the support are left in the round's record."""
    proba = make_proba(40)
    pool = make_pool(proba, teacher_error=teacher_error)
    RobustSampler(n_mistakes).query(pool, 3, np.random.default_rng(0))
    gains = margin_gain(proba).astype(np.float32)
    game = capped_distribution(gains, expected, 3)
    assert pool.report["n_mistakes"] == expected
    assert pool.report["water_level"] == game.value
    assert pool.report["n_support"] == game.n_support
    assert pool.report["gain_mean"] == pytest.approx(gains.mean(), rel=1e-5)
    assert pool.report["gain_max"] == gains.max()


def test_robust_sampler_does_not_depend_on_the_order_of_rows():
    """Permuting the pool permutes the distribution, ties included."""
    proba = make_proba(24)
    proba[3:9] = proba[3]
    order = np.random.default_rng(1).permutation(24)
    p = capped_distribution(margin_gain(proba).astype(np.float32), 3.0, 10).p
    np.testing.assert_allclose(p[3:9], p[3], rtol=1e-6)
    assert_marginals(RobustSampler(3), proba, 10, 10 * p, n_draws=500)
    assert_marginals(RobustSampler(3), proba[order], 10, 10 * p[order], n_draws=500)


@pytest.mark.parametrize("cost", [0.0, 1.0])
@pytest.mark.parametrize("n_mistakes", [0, 5, 19.5, None])
def test_robust_sampler_is_even_on_equal_rows(n_mistakes, cost):
    """A student that tells no row from another leaves a simple random draw."""
    sampler = RobustSampler(n_mistakes, wrong_label_cost=cost)
    proba = np.full((20, 4), 0.25, dtype=np.float32)
    assert_marginals(sampler, proba, 5, np.full(20, 0.25), n_draws=600)
    one_hot = np.tile(np.eye(4, dtype=np.float32)[0], (20, 1))
    assert_marginals(sampler, one_hot, 5, np.full(20, 0.25), n_draws=600)


@pytest.mark.parametrize("n_queries", [2, 20])
def test_wrong_labels_that_cost_are_played_with_their_cost(n_queries):
    """wrong_label_cost counts in units of the largest gain; the cap is solved too."""
    proba = make_proba(30)
    gains = margin_gain(proba).astype(np.float32)
    losses = np.full(30, 2.0 * gains.max())
    game = capped_distribution(gains, 8.0, n_queries, losses=losses)
    sampler = RobustSampler(8, wrong_label_cost=2.0)
    assert_marginals(sampler, proba, n_queries, n_queries * game.p, n_draws=500)
    pool = make_pool(proba)
    sampler.query(pool, n_queries, np.random.default_rng(0))
    assert pool.report["water_level"] == pytest.approx(game.value, rel=1e-6)
    without = capped_distribution(gains, 8.0, n_queries)
    assert np.abs(without.p - game.p).max() > 0.01


ALL = ["robust", "margin", "entropy", "least_confident", "random"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_queries", [1, 29, 30])
def test_every_strategy_answers_up_to_the_whole_pool(name, n_queries):
    """One row, all but one and all rows are possible, distinct and in the pool."""
    for error in (None, 0.0, 0.4, 1.0):
        rows = ask(as_strategy(name), make_proba(30), n_queries, teacher_error=error)
        assert len(rows) == n_queries


@pytest.mark.parametrize("n_queries", [1, 3, 5, 9])
@pytest.mark.parametrize("error", [None, 0.0, 0.3, 0.95])
@pytest.mark.parametrize("cost", [0.0, 0.7])
def test_rows_without_gain_come_last(n_queries, error, cost):
    """With few rows of positive gain the draw still has its size."""
    proba = np.tile([1.0, 0.0, 0.0], (10, 1))
    proba[[1, 4, 8]] = [0.5, 0.3, 0.2]
    sampler = RobustSampler(wrong_label_cost=cost)
    rows = ask(sampler, proba, n_queries, teacher_error=error)
    if error in (None, 0.0):
        assert len({1, 4, 8} & set(rows)) == min(n_queries, 3)


def test_probabilities_a_hair_above_one_are_no_error():
    """Softmax in single precision may round 1 up; the gain is then 0, not negative."""
    proba = np.array([[1 + 1e-7, 0.0], [0.5, 0.5], [1 + 2e-7, 0.0]], dtype=np.float32)
    assert proba.max() > 1
    for error in (None, 0.5):
        assert ask(RobustSampler(), proba, 1, teacher_error=error) == [1]


def test_tiny_entropies_are_no_error():
    """Gains near the smallest float32 leave a distribution that sums to 1."""
    proba = np.zeros((50, 2), dtype=np.float32)
    proba[:, 1] = np.geomspace(1e-45, 1e-38, 50)
    proba[:, 0] = 1
    for n_mistakes in (0, 1, 49, 49.99):
        sampler = RobustSampler(n_mistakes, gain="entropy")
        assert len(ask(sampler, proba, 10)) == 10


def test_ten_thousand_rows_stay_within_the_support():
    """On a larger pool no row outside the support is ever asked."""
    proba = make_proba(10_000)
    gains = margin_gain(proba).astype(np.float32)
    game = capped_distribution(gains, 1_000.0, 300)
    assert 1_000 < game.n_support < 10_000
    rows = ask(RobustSampler(), proba, 300, teacher_error=0.1)
    assert (game.p[rows] > 0).all()


# -- the pool -----------------------------------------------------------------------


def test_the_pool_computes_only_what_is_read():
    """Blocks are streamed for gains; tables and rows are built once, on access."""
    calls = []

    def iter_proba():
        calls.append("proba")
        yield np.full((4, 2), 0.5)
        yield np.full((1, 2), 0.5)

    pool = QueryPool(
        5,
        np.array(["a", "b"]),
        iter_proba,
        gather_pool=lambda: calls.append("X") or np.zeros((5, 3)),
        gather_labeled=lambda: calls.append("labeled") or (np.ones((2, 3)), np.eye(2)),
    )
    assert pool.n_classes == 2
    assert calls == []
    values = pool.map_blocks(margin_gain)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.ones(5))
    assert pool.predict_proba().shape == (5, 2)
    assert pool.predict_proba() is pool.predict_proba()
    pool.map_blocks(margin_gain)
    assert calls == ["proba", "proba"]
    assert pool.X is pool.X
    assert pool.X_labeled.shape == (2, 3)
    np.testing.assert_array_equal(pool.y_labeled, np.eye(2))
    assert calls == ["proba", "proba", "X", "labeled"]


def test_a_pool_whose_blocks_do_not_cover_it_is_an_error():
    """Missing blocks are named, not left as uninitialized memory."""
    pool = QueryPool(5, np.arange(2), lambda: iter([np.full((3, 2), 0.5)]))
    sentence = (
        "iter_proba must cover the pool's 5 rows, got 3 rows in all; yield every block "
        "of probabilities once, in order."
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        pool.map_blocks(margin_gain)


# -- names, functions, objects ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("robust", RobustSampler),
        ("margin", MarginSampler),
        ("entropy", EntropySampler),
        ("least_confident", LeastConfidentSampler),
        ("random", RandomSampler),
    ],
)
def test_names_become_strategies(name, kind):
    """Every documented name gives its class with its defaults."""
    assert type(as_strategy(name)) is kind


def test_functions_and_objects_become_strategies():
    """A function is wrapped; anything with a query method is used as it is."""
    wrapped = as_strategy(entropy_gain)
    assert isinstance(wrapped, ScoreStrategy)
    proba = make_proba()
    expected = ask(EntropySampler(), proba, 5)
    np.testing.assert_array_equal(ask(wrapped, proba, 5), expected)

    class Mine:
        def query(self, pool, n_queries, random_state):
            return np.arange(n_queries)

    for strategy in (Mine(), RobustSampler(3)):
        assert as_strategy(strategy) is strategy


@pytest.mark.parametrize(
    ("strategy", "error", "sentence"),
    [
        (
            "badge",
            ValueError,
            "query_strategy must be one of ['entropy', 'least_confident', 'margin', "
            "'random', 'robust'], a function or a strategy object, got 'badge'; choose "
            "a name from the list.",
        ),
        (
            3,
            TypeError,
            "query_strategy must be a name, a function f(proba) -> scores or an object "
            "with a query method, got 3; see QueryStrategy for the contract.",
        ),
        (
            RobustSampler,
            TypeError,
            "query_strategy must be a name, a function f(proba) -> scores or an object "
            "with a query method, got <class 'skadistill.query._samplers."
            "RobustSampler'>; see QueryStrategy for the contract.",
        ),
    ],
)
def test_other_things_are_no_strategy(strategy, error, sentence):
    """An unknown name, a number and a class instead of an instance are told apart."""
    with pytest.raises(error, match=exactly(sentence)):
        as_strategy(strategy)


@pytest.mark.parametrize(
    "strategy",
    [
        RobustSampler(12.5, gain="entropy", wrong_label_cost=0.25),
        MarginSampler(),
        EntropySampler(),
        LeastConfidentSampler(),
        RandomSampler(),
        ScoreStrategy(entropy_gain, per_row=True),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_strategies_are_cloned_like_estimators(strategy):
    """clone, get_params and set_params work, so a search can vary them."""
    copy = clone(strategy)
    assert isinstance(copy, QueryStrategy)
    assert copy is not strategy
    assert copy.get_params() == strategy.get_params()
    assert repr(copy) == repr(strategy)


def test_parameters_can_be_set():
    """set_params changes what query does."""
    sampler = RobustSampler()
    assert sampler.get_params() == {
        "n_mistakes": "auto",
        "gain": "margin",
        "wrong_label_cost": 0.0,
    }
    sampler.set_params(n_mistakes=4, gain="entropy")
    pool = make_pool(make_proba())
    sampler.query(pool, 3, np.random.default_rng(0))
    assert pool.report["n_mistakes"] == 4
    expected = entropy_gain(make_proba()).max()
    assert pool.report["gain_max"] == pytest.approx(expected, rel=1e-6)


# -- errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "sentence"),
    [
        (
            [0, 2, 2],
            "the query strategy MarginSampler returned position 2 2 times; return "
            "distinct positions, a label is paid once.",
        ),
        (
            [0, 1, 10],
            "the query strategy MarginSampler returned position 10, which is not an "
            "unlabeled row: the pool has 10 rows; return positions in [0, 10), "
            "labeled rows are not part of the pool.",
        ),
        (
            [0, -1, 1],
            "the query strategy MarginSampler returned position -1, which is not an "
            "unlabeled row: the pool has 10 rows; return positions in [0, 10), "
            "labeled rows are not part of the pool.",
        ),
        (
            [0, 1],
            "the query strategy MarginSampler returned 2 rows where 3 were asked for; "
            "return exactly that many positions.",
        ),
        (
            [0, 1, 2, 3],
            "the query strategy MarginSampler returned 4 rows where 3 were asked for; "
            "return exactly that many positions.",
        ),
        (
            np.array([True, False, True]),
            "the query strategy MarginSampler must return a one-dimensional array of "
            "integer positions, got dtype bool and shape (3,); return positions in the "
            "pool it was shown.",
        ),
        (
            [0.0, 1.0, 2.0],
            "the query strategy MarginSampler must return a one-dimensional array of "
            "integer positions, got dtype float64 and shape (3,); return positions in "
            "the pool it was shown.",
        ),
        (
            [[0, 1, 2]],
            "the query strategy MarginSampler must return a one-dimensional array of "
            "integer positions, got dtype int64 and shape (1, 3); return positions in "
            "the pool it was shown.",
        ),
    ],
)
def test_a_broken_answer_is_named(positions, sentence):
    """Each way to break the contract raises its own sentence."""
    with pytest.raises(QueryStrategyError, match=exactly(sentence)):
        check_query(positions, 10, 3, MarginSampler())


def test_a_sound_answer_passes_as_integers():
    """Lists and small integer dtypes come back as int64, in their order."""
    for positions in ([4, 0, 9], np.array([4, 0, 9], dtype=np.uint8)):
        checked = check_query(positions, 10, 3, MarginSampler())
        assert checked.dtype == np.int64
        np.testing.assert_array_equal(checked, [4, 0, 9])


def column(proba):
    return proba[:, :1]


def words(proba):
    return np.array(["a"] * len(proba))


def with_nan(proba):
    return np.where(np.arange(len(proba)) == 2, np.nan, 0.5)


SCORE_ERROR = (
    "the query strategy {} must return one finite score for each of the 5 rows of the "
    "pool, got shape {}; return an array of shape (n_samples,), higher meaning ask "
    "sooner."
)


@pytest.mark.parametrize(
    ("strategy", "named", "got"),
    [
        (ScoreStrategy(column), "column", "(5, 1) of dtype float64"),
        (ScoreStrategy(words), "words", "(5,) of dtype <U1"),
        (ScoreStrategy(with_nan), "with_nan", "(5,) with nan for row 2"),
        (
            ScoreStrategy(with_nan, per_row=True),
            "with_nan",
            "(5,) with nan for row 2",
        ),
    ],
)
def test_broken_scores_are_named(strategy, named, got):
    """Scores of a wrong shape or kind, or not finite, name function and fault."""
    message = exactly(SCORE_ERROR.format(named, got))
    with pytest.raises(QueryStrategyError, match=message):
        ask(strategy, np.full((5, 2), 0.5), 2)


def test_a_student_that_answers_nan_is_named():
    """NaN probabilities stop the greedy and the robust strategies alike."""
    proba = np.full((5, 2), 0.5)
    proba[3] = np.nan
    message = SCORE_ERROR.format("margin_gain", "(5,) with nan for row 3")
    with pytest.raises(QueryStrategyError, match=exactly(message)):
        ask(MarginSampler(), proba, 2)
    for error in (None, 0.2):
        with pytest.raises(ValueError, match=r"^gains must be finite .* for row 3;"):
            ask(RobustSampler(), proba, 2, teacher_error=error)


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    [
        (
            RobustSampler("many"),
            'n_mistakes must be "auto", a number or None, got '
            "'many'; pass the number of rows the teacher may get wrong.",
        ),
        (
            RobustSampler(-1),
            "n_mistakes must not be negative, got -1; pass the number of rows the "
            'teacher may get wrong, "auto" or None.',
        ),
        (
            RobustSampler(gain="badge"),
            "gain must be one of ['entropy', 'least_confident', 'margin'] or a "
            "callable, got 'badge'; choose how informative rows are measured.",
        ),
        (
            RobustSampler(wrong_label_cost=-0.5),
            "wrong_label_cost must not be negative, got -0.5; pass what a wrong label "
            "costs in units of the largest gain.",
        ),
    ],
)
def test_robust_sampler_names_a_bad_parameter(sampler, sentence):
    """Parameters are checked on use, each with its sentence."""
    with pytest.raises(ValueError, match=exactly(sentence)):
        ask(sampler, make_proba(10), 2, teacher_error=0.1)


# -- seeds --------------------------------------------------------------------------

SCRIPT = """
import numpy as np
from skadistill.query import QueryPool, as_strategy
proba = np.random.default_rng(5).dirichlet(np.ones(3), size=200).round(1)
proba /= proba.sum(axis=1, keepdims=True)
for name in ["robust", "margin", "entropy", "least_confident", "random"]:
    for error in (None, 0.2):
        pool = QueryPool(200, np.arange(3), lambda: iter([proba]), teacher_error=error)
        rng = np.random.default_rng(11)
        print(*as_strategy(name).query(pool, 15, rng))
"""


def test_same_seed_same_queries_also_in_a_new_process(capsys):
    """Only the generator decides: not the process, not hash seeds, not the blocks."""
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    ).stdout
    exec(SCRIPT, {})
    assert capsys.readouterr().out == output
    proba = np.random.default_rng(5).dirichlet(np.ones(3), size=200).round(1)
    proba /= proba.sum(axis=1, keepdims=True)
    for name, line in zip(ALL, output.splitlines()[1::2], strict=True):
        rows = ask(as_strategy(name), proba, 15, seed=11, teacher_error=0.2)
        assert rows.tolist() == [int(row) for row in line.split()]


@pytest.mark.parametrize("name", ["robust", "random"])
def test_another_seed_gives_other_queries(name):
    """The strategies that draw do draw."""
    proba = make_proba()
    first = ask(as_strategy(name), proba, 10, seed=1, teacher_error=0.2)
    second = ask(as_strategy(name), proba, 10, seed=2, teacher_error=0.2)
    assert first.tolist() != second.tolist()
