import re
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadistill.query._game.robust import robust_distribution, worst_case_value

steady = partial(settings, settings.get_profile("steady"))


# With those of test_capped.py and test_regret.py: 620 random games against the
# linear program.


def solve(game):
    return robust_distribution(
        game.gains, game.n_mistakes, game.n_queries, losses=game.losses
    )


@steady(max_examples=180)
@given(st.data())
def test_robust_distribution_solves_the_linear_program(games, data):
    """Value, feasibility and optimality of p agree with the program."""
    game = data.draw(games.played_games())
    games.assert_solves(solve(game), game)


@steady(max_examples=130)
@given(st.data())
def test_game_with_losses_solves_the_linear_program(games, data):
    """With losses, 2 m > n and l = g included, value and p are exact."""
    game = data.draw(games.played_games(with_losses=True))
    games.assert_solves(solve(game), game)


@steady(max_examples=150)
@given(st.data())
def test_adversary_has_an_answer_that_caps_the_value(games, data):
    """Corrupting row i with probability max(0, 1 - V/g_i) uses m and leaves V.

    The certificate of the other side: it holds to rounding where a linear
    program's tolerance would hide an error, as for values near 1e-7.
    """
    game = data.draw(games.played_games())
    gains, n_mistakes = game.gains, game.n_mistakes
    value = solve(game).value
    g = gains[gains > 0].astype(np.float64)
    # Rounding of k - m, which cancels digits if m is just below a whole number.
    assert np.maximum(0, 1 - value / g).sum() <= n_mistakes * (1 + 1e-11) + 1e-11
    if 0 < n_mistakes < g.size:
        p = robust_distribution(g, n_mistakes).p
        assert worst_case_value(p, g, n_mistakes) == pytest.approx(
            value, rel=1e-9, abs=1e-14 * g.max()
        )


@steady(max_examples=400)
@given(st.data())
def test_extreme_games_have_a_play(games, data):
    """Subnormal, huge and mixed gains and losses: p is finite and sums to 1.

    It keeps the cap, and what it guarantees is the value, in units of the largest.
    """
    game = data.draw(games.extreme_games())
    solution = solve(game)
    n, eps = len(game.gains), games.single_eps(game.gains)
    p = solution.p.astype(np.float64)
    assert np.isfinite(p).all()
    assert p.min() >= 0
    assert p.max() <= (1 + 2 * eps) / game.n_queries
    assert p.sum() == pytest.approx(1, abs=4 * eps * n + 1e-13)
    losses = np.zeros(n) if game.losses is None else game.losses
    # In a unit in which the check itself neither underflows nor overflows.
    unit = max(game.gains.max(), losses.max(), 5e-324)
    exponent = int(np.frexp(unit)[1])
    gains, losses = (np.ldexp(np.float64(x), -exponent) for x in (game.gains, losses))
    guaranteed = worst_case_value(p, gains, game.n_mistakes, losses=losses)
    value = np.ldexp(solution.value, -exponent)
    rounding = np.ldexp(5e-324, -exponent)  # of the value, if all is subnormal
    assert guaranteed == pytest.approx(value, abs=1e-8 + 16 * n * eps + rounding)


@pytest.mark.parametrize(
    ("gains", "losses", "n_mistakes", "expected"),
    [
        ([0.5, 5e-324], [0.5, 5e-324], 1.17, [0, 1]),
        ([0.0, 0.0], [2.2e-309, 0.0], 1.0, [0, 1]),
        ([1e-310, 2e-310], [1e-310, 0.0], 0.0, [0, 1]),
        ([1e308, 1e308], [1e308, 1e308], 0.5, [0.5, 0.5]),
        ([1e-320, 1e-320], [1.0, 1.0], 0.5, [0.5, 0.5]),
    ],
)
def test_tiny_and_huge_losses_leave_no_nan(gains, losses, n_mistakes, expected):
    """What a softmax that underflows leaves is divided by nowhere."""
    game = robust_distribution(gains, n_mistakes, losses=losses)
    np.testing.assert_allclose(game.p, expected, atol=1e-3)


def test_losses_equal_to_gains_need_the_least_loss():
    """With l = g and m near n nothing beats the least loss, and p attains it."""
    gains = np.array([1.0, 0.5, 0.25])
    game = robust_distribution(gains, 2.9, losses=gains)
    assert game.value == -0.25
    np.testing.assert_array_equal(game.p, [0, 0, 1])


def peak_memory(function, *args):
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_robust_distribution_costs_its_answer():
    """The peak is p itself and a few blocks: at most 1.1 times the gains."""
    gains = np.random.default_rng(0).random(4_000_000, dtype=np.float32)
    assert peak_memory(robust_distribution, gains, 40_000) < 1.1 * gains.nbytes


@steady(max_examples=150)
@given(st.data())
def test_support_is_larger_than_the_mistakes(games, data):
    """k* > m and p_max <= 1 / (k* - m), whenever anything can be guaranteed."""
    game = data.draw(games.played_games())
    solution = solve(game)
    if solution.value > 0:
        spare = solution.n_support - game.n_mistakes
        assert spare > 0
        bound = (1 + 8 * games.single_eps(game.gains)) / spare
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


@steady(max_examples=80)
@given(st.data())
def test_value_never_grows_with_mistakes(games, data):
    """V is non-increasing in m, and m of a half costs less than half the rest."""
    gains = data.draw(games.gain_arrays(max_size=30))
    n = gains.shape[0]
    values = [robust_distribution(gains, m).value for m in np.linspace(0, n, 17)[:-1]]
    assert (np.diff(values) <= 1e-12 * gains.max()).all()


def test_scaling_gains_scales_the_value(games):
    """The unit of gains and losses scales V and leaves the play alone."""
    rng = np.random.default_rng(4)
    gains, losses = rng.random(40), rng.random(40)
    for solve_in in (
        lambda c: robust_distribution(c * gains, 7.5),
        lambda c: robust_distribution(c * gains, 7.5, losses=c * losses),
        lambda c: robust_distribution(c * gains, 7.5, 30),
        lambda c: robust_distribution(c * gains, 7.5, 30, losses=c * losses),
    ):
        plain = solve_in(1)
        for factor in (3e-5, 700.0, 1e-299, 1e307):
            scaled = solve_in(factor)
            assert scaled.value == pytest.approx(factor * plain.value, rel=1e-9)
            games.assert_same_play(scaled.p, plain.p)


@steady(max_examples=60)
@given(st.data())
def test_taking_the_top_rows_guarantees_nothing(games, data):
    """Deterministic top-b has worst case 0 whenever b <= m."""
    gains = data.draw(games.gain_arrays(max_size=30))
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

    Only float64 gains below 1e-290 of the largest one count as 0.
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


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
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
            lambda: robust_distribution([np.inf, 0.1], 0, 1),
            "gains must be finite and not negative, got inf for row 0; use a score "
            "such as 1 - margin, which lies in [0, 1].",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], -1),
            "n_mistakes must be in [0, n_samples), got -1.0 for 2 rows; pass the "
            "number of rows that the teacher may get wrong.",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], np.nan),
            "n_mistakes must be in [0, n_samples), got nan for 2 rows; pass the "
            "number of rows that the teacher may get wrong.",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], 0, 3),
            "n_queries must be a whole number in [1, n_samples], got 3 for 2 rows; "
            "pass at most the number of rows.",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], 0, losses=[0.5]),
            "losses must be finite, not negative and of shape (2,), got shape (1,) "
            "with minimum 0.5; pass what a wrong label costs for each row.",
        ),
        (
            lambda: robust_distribution([0.5, 0.1], 0, 1, losses=[0.5, -1]),
            "losses must be finite, not negative and of shape (2,), got shape (2,) "
            "with minimum -1.0; pass what a wrong label costs for each row.",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_what_to_do(call, sentence):
    """Each fault raises a ValueError with this sentence."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()
