import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skadistill.query import _level as level_module
from skadistill.query import (
    capped_distribution,
    regret_distribution,
    robust_distribution,
    water_level,
    worst_case_value,
)

# 180 + 130 + 130 + 90 + 90 = 620 random games against the linear program.
SOLVER = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def games(n_examples):
    return settings(
        max_examples=n_examples, deadline=None, derandomize=True, database=None
    )


# Ties, zeros, values a confident student gives, nine orders of magnitude.
ENTRIES = st.one_of(
    st.sampled_from([0.0, 1e-7, 2e-7, 0.1, 0.25, 1 / 3, 0.5, 0.5, 0.9, 1.0, 1.0]),
    st.floats(0.0, 1.0, allow_subnormal=False),
    st.floats(-7.0, 2.0).map(lambda x: 10.0**x),
)


@st.composite
def gain_arrays(draw, max_size=12):
    dtype = draw(st.sampled_from([np.float64, np.float64, np.float32]))
    gains = np.array(draw(st.lists(ENTRIES, min_size=1, max_size=max_size)), dtype)
    return np.where(gains < 1e-12, 0, gains)


@st.composite
def mistakes(draw, gains):
    """Draw m: 0, whole, real, next to n, or one that puts the level on a gain."""
    n = gains.shape[0]
    kind = draw(st.sampled_from(["zero", "whole", "real", "tiny", "full", "tie"]))
    if kind == "whole":
        return float(draw(st.integers(0, n - 1)))
    if kind == "real":
        return draw(st.floats(0, n, exclude_max=True))
    if kind == "tiny":
        return draw(st.sampled_from([1e-20, 1e-12, 1e-6]))
    if kind == "full":
        return draw(st.sampled_from([np.nextafter(n, 0), n - 1e-9, n - 0.5]))
    if kind == "tie":
        ranked = np.sort(gains[gains > 0].astype(np.float64))[::-1]
        if ranked.size > 1:
            k = draw(st.integers(1, ranked.size - 1))
            mass = k - ranked[k] * np.sum(1 / ranked[:k])
            return float(np.clip(mass, 0, np.nextafter(n, 0)))
    return 0.0


@st.composite
def played_games(draw, with_losses=False, with_queries=False):
    gains = draw(gain_arrays())
    n = gains.shape[0]
    game = [gains, draw(mistakes(gains))]
    if with_queries:
        game.append(draw(st.integers(1, n)))
    if with_losses:
        kind = draw(st.sampled_from(["equal to the gains", "one for all", "any"]))
        if kind == "equal to the gains":
            losses = gains.astype(np.float64)
        elif kind == "one for all":
            losses = np.full(n, draw(ENTRIES))
        else:
            losses = np.array(draw(st.lists(ENTRIES, min_size=n, max_size=n)))
        game.append(losses)
    return game


def program_value(gains, n_mistakes, cap=1.0, losses=None):
    """Solve max_p min_M as a linear program in p, theta and s.

    The adversary's best answer costs min over theta of
    m theta + sum_i max(w_i p_i - theta, 0), with w the gain plus the loss.
    """
    gains = np.asarray(gains, dtype=np.float64)
    n = gains.shape[0]
    weights = gains if losses is None else gains + losses
    unit = max(weights.max(), 1e-300)
    result = linprog(
        np.concatenate([-gains / unit, [n_mistakes], np.ones(n)]),
        A_ub=np.hstack([np.diag(weights / unit), -np.ones((n, 1)), -np.eye(n)]),
        b_ub=np.zeros(n),
        A_eq=np.concatenate([np.ones(n), np.zeros(n + 1)])[None],
        b_eq=[1.0],
        bounds=[(0, cap)] * n + [(0, None)] * (n + 1),
        options=SOLVER,
    )
    assert result.status == 0
    return -result.fun * unit


def single_eps(gains):
    return float(np.finfo(np.asarray(gains).dtype).eps)


def assert_solves(game, gains, n_mistakes, cap=1.0, losses=None):
    """Check feasibility, the program's value, and that p attains it."""
    p = game.p.astype(np.float64)
    n = p.shape[0]
    eps = single_eps(gains)
    assert game.p.dtype == gains.dtype
    assert p.min() >= 0
    assert p.max() <= cap * (1 + 2 * eps)
    assert p.sum() == pytest.approx(1, abs=4 * eps * n + 1e-13)
    assert game.n_support == np.count_nonzero(p)
    np.testing.assert_array_equal(game.support, np.flatnonzero(p))
    unit = float(gains.max()) + (0 if losses is None else float(np.max(losses)))
    expected = program_value(gains, n_mistakes, cap, losses)
    assert game.value == pytest.approx(expected, rel=1e-9, abs=2e-9 * unit)
    guaranteed = worst_case_value(p, gains, n_mistakes, losses=losses)
    # p itself is rounded to the dtype of the gains.
    assert guaranteed >= game.value - (1e-9 + 8 * n * eps) * unit


@games(180)
@given(played_games())
def test_robust_distribution_solves_the_linear_program(game):
    """Value, feasibility and optimality of p agree with the program."""
    gains, n_mistakes = game
    assert_solves(robust_distribution(gains, n_mistakes), gains, n_mistakes)


@games(130)
@given(played_games(with_losses=True))
def test_costly_game_solves_the_linear_program(game):
    """With losses, 2 m > n and l = g included, value and p are exact."""
    gains, n_mistakes, losses = game
    solution = robust_distribution(gains, n_mistakes, losses=losses)
    assert_solves(solution, gains, n_mistakes, losses=losses)


@games(130)
@given(played_games(with_queries=True))
def test_capped_game_solves_the_linear_program(game):
    """With p_i <= 1/b, b from 1 to n, value and p are exact."""
    gains, n_mistakes, n_queries = game
    solution = capped_distribution(gains, n_mistakes, n_queries)
    assert_solves(solution, gains, n_mistakes, cap=1 / n_queries)


@games(90)
@given(played_games(with_losses=True, with_queries=True))
def test_capped_costly_game_solves_the_linear_program(game):
    """With both a cap and losses, value and p are exact."""
    gains, n_mistakes, n_queries, losses = game
    solution = capped_distribution(gains, n_mistakes, n_queries, losses=losses)
    assert_solves(solution, gains, n_mistakes, cap=1 / n_queries, losses=losses)


@games(90)
@given(gain_arrays(), st.data())
def test_regret_game_solves_the_linear_program(gains, data):
    """Q sums to b, lies in [0, 1] and leaves the least possible largest regret."""
    n = gains.shape[0]
    n_queries = data.draw(st.integers(1, n))
    q = regret_distribution(gains, n_queries).astype(np.float64)
    g = gains.astype(np.float64)
    eps = single_eps(gains)
    assert q.min() >= 0
    assert q.max() <= 1
    assert q.sum() == pytest.approx(n_queries, abs=4 * eps * n + 1e-13)
    unit = max(g.max(), 1e-300)
    result = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack([-np.diag(g / unit), -np.ones((n, 1))]),
        b_ub=-g / unit,
        A_eq=np.append(np.ones(n), 0.0)[None],
        b_eq=[n_queries],
        bounds=[(0, 1)] * n + [(0, None)],
        options=SOLVER,
    )
    assert result.status == 0
    regret = np.max(g * (1 - q))
    assert regret == pytest.approx(result.fun * unit, abs=(2e-9 + 4 * eps) * unit)


@games(150)
@given(played_games())
def test_adversary_has_an_answer_that_caps_the_value(game):
    """Corrupting row i with probability max(0, 1 - V/g_i) uses m and leaves V.

    The certificate of the other side: it holds to rounding where a linear
    program's tolerance would hide an error, as for values near 1e-7.
    """
    gains, n_mistakes = game
    value = robust_distribution(gains, n_mistakes).value
    g = gains[gains > 0].astype(np.float64)
    assert np.maximum(0, 1 - value / g).sum() <= n_mistakes * (1 + 1e-12) + 1e-12
    if 0 < n_mistakes < g.size:
        p = robust_distribution(g, n_mistakes).p
        assert worst_case_value(p, g, n_mistakes) == pytest.approx(
            value, rel=1e-9, abs=1e-14 * g.max()
        )


def test_losses_equal_to_gains_need_the_floor():
    """With l = g and m near n nothing beats the least loss, and p attains it."""
    gains = np.array([1.0, 0.5, 0.25])
    game = robust_distribution(gains, 2.9, losses=gains)
    assert game.value == -0.25
    np.testing.assert_array_equal(game.p, [0, 0, 1])


# -- the water level ----------------------------------------------------------------


def level_by_sorting(gains, *masses):
    """Find max_k (k - m) / H_k over the sorted gains, in extended precision."""
    ranked = np.sort(gains[gains > 0])[::-1].astype(np.longdouble)
    counts = np.arange(1, ranked.shape[0] + 1)
    sums = np.cumsum(1 / ranked)
    return [float(np.max((counts - mass) / sums)) for mass in masses]


def make_gains(shape, n, rng):
    if shape == "uniform":
        return rng.random(n)
    if shape == "two ends":
        return rng.beta(0.5, 0.5, n)
    if shape == "confident":
        return np.maximum(1 - np.abs(np.tanh(4 * rng.normal(size=n))), 1e-6)
    if shape == "equal":
        return np.full(n, 0.3)
    if shape == "ascending":
        return np.sort(rng.random(n))
    if shape == "descending":
        return np.sort(rng.random(n))[::-1]
    if shape == "two clusters":
        return np.where(rng.random(n) < 0.3, 1.0, 1e-7) * (1 + 1e-3 * rng.random(n))
    if shape == "far clusters":  # a sum of inverses that cancels 12 digits
        return np.where(rng.random(n) < 0.7, 1.0, 1e-12) * (1 + 0.1 * rng.random(n))
    if shape == "five values":
        return rng.integers(1, 6, n) / 5
    if shape == "mostly zero":
        return rng.random(n) * (np.arange(n) % 20 == 7)
    if shape == "nine decades":
        return 10.0 ** rng.uniform(-7, 2, n)
    stride = max(1, n // level_module._SAMPLE)
    high, low = (0.9, 0.1) if shape == "sample too high" else (0.1, 0.9)
    return np.where(np.arange(n) % stride == 0, high, low) * rng.uniform(0.9, 1.1, n)


SHAPES = [
    "uniform",
    "two ends",
    "confident",
    "equal",
    "ascending",
    "descending",
    "two clusters",
    "far clusters",
    "five values",
    "mostly zero",
    "nine decades",
    "sample too high",
    "sample too low",
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [10, 1_000, 70_000, 300_000])
def test_water_level_is_exact(n, shape, dtype):
    """The level agrees with a sort to 1e-9, whatever the subsample shows."""
    gains = make_gains(shape, n, np.random.default_rng(n)).astype(dtype)
    n_positive = np.count_nonzero(gains)
    shares = [1e-6, 1e-3, 0.05, 0.3, 0.7, 0.999]
    masses = [1e-9, *(share * n_positive for share in shares), n_positive - 1e-3]
    for mass, expected in zip(masses, level_by_sorting(gains, *masses), strict=True):
        game = robust_distribution(gains, mass)
        assert game.value == pytest.approx(expected, rel=1e-9)
        assert game.n_support > mass
        assert game.p.sum(dtype=np.float64) == pytest.approx(1, abs=3e-7)
        assert water_level(gains, mass) == game.value


@pytest.mark.parametrize(
    ("shape", "n"),
    [
        ("sample too high", 300_000),
        ("sample too low", 300_000),
        ("five values", 600_000),
    ],
)
def test_water_level_falls_back_where_the_subsample_misleads(shape, n, monkeypatch):
    """A periodic pool and a level on a large tie are solved by more passes."""
    gains = make_gains(shape, n, np.random.default_rng(0))
    mass = 0.4 * n
    if shape == "five values":
        ranked = np.sort(gains)[::-1]
        k = np.searchsorted(-ranked, -0.6)  # rows above 0.6: the level is 0.6
        mass = k - 0.6 * np.sum(1 / ranked[:k])
    passes = []
    tally = level_module._tally
    monkeypatch.setattr(
        level_module, "_tally", lambda *args: passes.append(args) or tally(*args)
    )
    level = water_level(gains, mass)
    assert len(passes) > 1
    assert level == pytest.approx(level_by_sorting(gains, mass)[0], rel=1e-9)
    if shape == "five values":
        assert level == pytest.approx(0.6, rel=1e-9)


@pytest.mark.parametrize("shape", ["uniform", "confident", "nine decades"])
def test_water_level_takes_one_pass_where_the_subsample_is_fair(shape, monkeypatch):
    """On ordinary pools the bracket holds: one pass over the gains."""
    gains = make_gains(shape, 300_000, np.random.default_rng(1))
    passes = []
    tally = level_module._tally
    monkeypatch.setattr(
        level_module, "_tally", lambda *args: passes.append(args) or tally(*args)
    )
    water_level(gains, 0.2 * 300_000)
    assert len(passes) == 1


def test_water_level_at_both_ends():
    """Mass 0 gives the largest gain; mass of all positive gains or more gives 0."""
    gains = np.array([0.2, 0.0, 0.7, 0.7])
    assert water_level(gains, 0) == 0.7
    assert water_level(gains, 3) == 0
    assert water_level(gains, 3.5) == 0
    assert water_level(np.zeros(3), 0) == 0
    assert water_level([5], 0.5) == 2.5


@games(200)
@given(gain_arrays(max_size=40), st.data())
def test_water_level_is_the_root(gains, data):
    """The sum of max(0, 1 - v/g) is the mass, to rounding."""
    mass = data.draw(mistakes(gains))
    level = water_level(gains, mass)
    g = gains[gains > 0].astype(np.float64)
    if mass == 0:
        assert level == gains.max()
    elif mass >= g.size:
        assert level == 0
    else:
        assert np.maximum(0, 1 - level / g).sum() == pytest.approx(
            mass, rel=1e-12, abs=1e-12
        )


def peak_memory(function, *args):
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_water_level_copies_no_gains():
    """4e6 float32 gains (16 MB) are read in blocks: no float64 copy (32 MB).

    Half the gains' size leaves room for the few per cent that are collected near
    the level, in float64, with their sums.
    """
    gains = np.random.default_rng(0).random(4_000_000, dtype=np.float32)
    assert peak_memory(water_level, gains, 40_000) < gains.nbytes / 2
    assert peak_memory(water_level, gains, 2_000_000.5) < gains.nbytes / 2


def test_water_level_on_many_ties_stays_below_the_gains():
    """The most that is ever collected, an eighth, costs less than the gains."""
    rng = np.random.default_rng(0)
    gains = rng.random(4_000_000, dtype=np.float32)
    gains[rng.random(gains.shape[0]) < 0.12] = 0.5
    ranked = np.sort(gains.astype(np.float64))[::-1]
    above = np.searchsorted(-ranked, -0.5)
    mass = above - 0.5 * np.sum(1 / ranked[:above])  # the level is 0.5
    assert peak_memory(water_level, gains, mass) < gains.nbytes


def test_robust_distribution_costs_its_answer():
    """The peak is p itself and a few blocks: at most 1.1 times the gains."""
    gains = np.random.default_rng(0).random(4_000_000, dtype=np.float32)
    assert peak_memory(robust_distribution, gains, 40_000) < 1.1 * gains.nbytes


# -- facts --------------------------------------------------------------------------


@games(150)
@given(played_games())
def test_support_is_larger_than_the_mistakes(game):
    """k* > m and p_max <= 1 / (k* - m), whenever anything can be guaranteed."""
    gains, n_mistakes = game
    solution = robust_distribution(gains, n_mistakes)
    if solution.value > 0:
        spare = solution.n_support - n_mistakes
        assert spare > 0
        bound = (1 + 8 * single_eps(gains)) / spare
        assert solution.p.max() <= max(bound, 0) or spare < 1


@pytest.mark.parametrize("losses", [None, [0.5] * 4])
def test_no_mistakes_puts_all_mass_on_the_largest_gain(losses):
    """At m = 0 the arg max gets everything, ties share it."""
    game = robust_distribution([0.2, 0.9, 0.9, 0.1], 0, losses=losses)
    np.testing.assert_allclose(game.p, [0, 0.5, 0.5, 0], rtol=0, atol=1e-15)
    assert game.value == pytest.approx(0.9, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_mistakes", [1e-20, 1e-12])
def test_almost_no_mistakes_still_sum_to_one(n_mistakes, dtype):
    """An m below rounding behaves like m = 0, not like an empty support."""
    game = robust_distribution(np.array([1, 0.5], dtype=dtype), n_mistakes)
    np.testing.assert_allclose(game.p, [1, 0], atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_mistakes_spread_in_proportion_to_inverse_gains(dtype):
    """As m tends to n, p tends to 1/g over all rows."""
    gains = np.random.default_rng(0).uniform(0.1, 1, 50).astype(dtype)
    game = robust_distribution(gains, 50 - 1e-9)
    inverse = 1 / gains.astype(np.float64)
    np.testing.assert_allclose(game.p, inverse / inverse.sum(), rtol=1e-6)
    assert game.n_support == 50


@games(80)
@given(gain_arrays(max_size=30))
def test_value_never_grows_with_mistakes(gains):
    """V is non-increasing in m, and m of a half costs less than half the rest."""
    n = gains.shape[0]
    values = [robust_distribution(gains, m).value for m in np.linspace(0, n, 17)[:-1]]
    assert (np.diff(values) <= 1e-12 * gains.max()).all()


def assert_same_play(p, expected):
    eps = max(single_eps(p), 1e-9)
    np.testing.assert_allclose(p, expected, rtol=0, atol=8 * eps)


@pytest.mark.parametrize(
    "play",
    [
        lambda g, m, b: robust_distribution(g, m).p,
        lambda g, m, b: robust_distribution(g, m, losses=np.sqrt(g)).p,
        lambda g, m, b: capped_distribution(g, m, b).p,
        lambda g, m, b: capped_distribution(g, m, b, losses=np.sqrt(g)).p,
        lambda g, m, b: regret_distribution(g, b),
    ],
    ids=["robust", "costly", "capped", "capped costly", "regret"],
)
class TestSymmetries:
    @games(60)
    @given(data=st.data())
    def test_permuting_rows_permutes_the_play(self, play, data):
        """Where a row stands in the file says nothing about it, ties included."""
        gains = data.draw(gain_arrays())
        m, n = data.draw(mistakes(gains)), gains.shape[0]
        b = data.draw(st.integers(1, n))
        order = np.array(data.draw(st.permutations(range(n))))
        assert_same_play(play(gains[order], m, b), play(gains, m, b)[order])

    def test_equal_gains_get_equal_probability(self, play):
        """Rows that tie at the border of the support share what is left."""
        p = play(np.array([1, 0.5, 0.5, 0.5, 0.1]), 0.0, 3)
        np.testing.assert_allclose(p[1:4], p[1], rtol=1e-12, atol=1e-15)


def test_scaling_gains_scales_the_value():
    """The unit of gains and losses scales V and leaves the play alone."""
    rng = np.random.default_rng(4)
    gains, losses = rng.random(40), rng.random(40)
    for solve in (
        lambda c: robust_distribution(c * gains, 7.5),
        lambda c: robust_distribution(c * gains, 7.5, losses=c * losses),
        lambda c: capped_distribution(c * gains, 7.5, 30),
        lambda c: capped_distribution(c * gains, 7.5, 30, losses=c * losses),
    ):
        for factor in (3e-5, 700.0):
            scaled, plain = solve(factor), solve(1)
            assert scaled.value == pytest.approx(factor * plain.value, rel=1e-9)
            assert_same_play(scaled.p, plain.p)
    for b in (1, 20, 39):
        q = regret_distribution(3e-5 * gains, b)
        assert_same_play(q, regret_distribution(gains, b))


@games(60)
@given(gain_arrays(max_size=30), st.data())
def test_taking_the_top_rows_guarantees_nothing(gains, data):
    """Deterministic top-b has worst case 0 whenever b <= m."""
    n = gains.shape[0]
    n_queries = data.draw(st.integers(1, n))
    p = np.zeros(n)
    p[np.argsort(-gains)[:n_queries]] = 1 / n_queries
    assert worst_case_value(p, gains, n_queries) == pytest.approx(0, abs=1e-15 * 100)


def test_worst_case_value_corrupts_one_row_partly():
    """M = 1.5 takes the most valuable row and half of the next one."""
    p, gains = [0.5, 0.25, 0.25], [1.0, 1.0, 0.4]
    assert worst_case_value(p, gains, 1.5) == pytest.approx(0.225)
    assert worst_case_value(p, gains, 3) == pytest.approx(0)
    losses = [0.0, 3.0, 0.0]
    assert worst_case_value(p, gains, 1, losses=losses) == pytest.approx(-0.15)


def test_capped_game_without_a_binding_cap_is_the_plain_game():
    """Where b p <= 1 already holds, the cap changes nothing."""
    gains = np.random.default_rng(5).random(1_000).astype(np.float32)
    free = robust_distribution(gains, 100.0)
    capped = capped_distribution(gains, 100.0, 20)
    np.testing.assert_array_equal(capped.p, free.p)
    assert capped.value == free.value


@pytest.mark.parametrize("n_queries", [1, 2, 3, 4])
def test_games_without_any_gain_are_played_evenly(n_queries):
    """All gains 0: every row is as good, with or without cap and losses."""
    gains = np.zeros(4, dtype=np.float32)
    for losses in (None, np.full(4, 0.5)):
        game = capped_distribution(gains, 1, n_queries, losses=losses)
        np.testing.assert_allclose(game.p, 0.25)
    np.testing.assert_allclose(regret_distribution(gains, n_queries), n_queries / 4)


@pytest.mark.parametrize(
    ("gains", "n_mistakes", "expected"),
    [
        (np.array([100, 0], np.float32), 1, [1, 0]),
        (np.array([1e5, 0]), 1, [1, 0]),
        (np.array([1e-42, 1e-43, 1e-42], np.float32), 1, [0.5, 0, 0.5]),
        (np.array([2, 1, 0], np.float32) * np.float32(1e-42), 2.5, [1 / 3, 2 / 3, 0]),
        (np.array([1e-310, 1.0, 1e-310]), 2, [0, 1, 0]),
        (np.array([1e20] * 9 + [1.0]), 9, [1e-20] * 9 + [1]),
    ],
)
def test_extreme_ranges_still_sum_to_one(gains, n_mistakes, expected):
    """Subnormal gains and 20 orders of magnitude neither overflow nor lose mass.

    Only float64 gains below 1e-290 count as 0.
    """
    game = robust_distribution(gains, n_mistakes)
    np.testing.assert_allclose(game.p, expected, rtol=2e-3, atol=1e-19)


@pytest.mark.parametrize("n_mistakes", [1, 10, 19.5])
def test_subnormal_gains_sum_to_one_in_single_precision(n_mistakes):
    """1 / sum(1/g) is below the smallest float32 here; the division is lifted."""
    rng = np.random.default_rng(0)
    gains = rng.uniform(1e-44, 1e-42, 20).astype(np.float32)
    game = robust_distribution(gains, n_mistakes)
    assert game.p.sum() == pytest.approx(1, abs=1e-6)
    # numpy's division of the same numbers in float64 is the reference.
    inverse = 1 / gains[game.support].astype(np.float64)
    expected = inverse / inverse.sum()
    np.testing.assert_allclose(game.p[game.support], expected, rtol=1e-6)


def test_a_level_between_far_clusters_keeps_its_digits():
    """Counting ties of 1e-12 out of a sum of inverses would cancel all digits."""
    gains = np.where(np.arange(600_000) % 10 < 7, 1.0, 1e-12)
    game = robust_distribution(gains, 420_000 - 1e-6)
    assert game.n_support == 420_000
    assert game.p.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("n_queries", [1, 10, 1_000])
def test_small_inclusions_keep_their_sum_in_single_precision(n_queries):
    """Q = 1 - v/g of about 1e-6 would lose its digits in float32."""
    gains = np.full(1_000_000, 0.1, dtype=np.float32)
    gains[:500] = 0.05
    q = regret_distribution(gains, n_queries)
    assert q.dtype == np.float32
    assert q.min() >= 0
    assert q.sum(dtype=np.float64) == pytest.approx(n_queries, rel=1e-6)


def test_regret_asks_every_row_with_a_gain_before_the_others():
    """B beyond the positive gains: those are certain, the rest share evenly."""
    q = regret_distribution([0.0, 0.3, 0.0, 0.1, 0.0], 3)
    np.testing.assert_allclose(q, [1 / 3, 1, 1 / 3, 1, 1 / 3])
    np.testing.assert_array_equal(regret_distribution([0.0, 0.3], 2), [1, 1])


# -- errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: water_level([], 0),
            "gains must be one-dimensional and not empty, got shape (0,); pass one "
            "gain for each row of the pool.",
        ),
        (
            lambda: robust_distribution([[0.5]], 0),
            "gains must be one-dimensional and not empty, got shape (1, 1); pass one "
            "gain for each row of the pool.",
        ),
        (
            lambda: robust_distribution([0.5, np.nan], 0),
            "gains must be finite and not negative, got nan for row 1; use a score "
            "such as 1 - margin, which lies in [0, 1].",
        ),
        (
            lambda: regret_distribution([0.5, 0.1, -0.25], 1),
            "gains must be finite and not negative, got -0.25 for row 2; use a score "
            "such as 1 - margin, which lies in [0, 1].",
        ),
        (
            lambda: capped_distribution([np.inf, 0.1], 0, 1),
            "gains must be finite and not negative, got inf for row 0; use a score "
            "such as 1 - margin, which lies in [0, 1].",
        ),
        (
            lambda: water_level([0.5, 0.1], 2),
            "n_mistakes must lie in [0, n_samples), got 2.0 for 2 rows; it is the "
            "number of rows on which the teacher may be wrong.",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], -1),
            "n_mistakes must lie in [0, n_samples), got -1.0 for 2 rows; it is the "
            "number of rows on which the teacher may be wrong.",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], np.nan),
            "n_mistakes must lie in [0, n_samples), got nan for 2 rows; it is the "
            "number of rows on which the teacher may be wrong.",
        ),
        (
            lambda: capped_distribution([0.5, 0.1], 0, 3),
            "n_queries must be a whole number in [1, n_samples], got 3 for 2 rows; "
            "ask for at most as many rows as there are.",
        ),
        (
            lambda: regret_distribution([0.5, 0.1], 0.5),
            "n_queries must be a whole number in [1, n_samples], got 0.5 for 2 rows; "
            "ask for at most as many rows as there are.",
        ),
        (
            lambda: regret_distribution([0.5, 0.1], 1.5),
            "n_queries must be a whole number in [1, n_samples], got 1.5 for 2 rows; "
            "ask for at most as many rows as there are.",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], 0, losses=[0.5]),
            "losses must be finite, not negative and of shape (2,), got shape (1,) "
            "with minimum 0.5; pass what a wrong label costs for each row.",
        ),
        (
            lambda: capped_distribution([0.5, 0.1], 0, 1, losses=[0.5, -1]),
            "losses must be finite, not negative and of shape (2,), got shape (2,) "
            "with minimum -1.0; pass what a wrong label costs for each row.",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_what_to_do(call, sentence):
    """Each fault raises a ValueError with this sentence."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()
