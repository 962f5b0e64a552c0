import re
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skadistill.query._game.regret import regret_inclusion

steady = partial(settings, settings.get_profile("steady"))


@steady(max_examples=90)
@given(st.data())
def test_regret_inclusion_solves_the_linear_program(games, data):
    """Q sums to b, lies in [0, 1] and leaves the least possible largest regret."""
    gains = data.draw(games.gain_arrays())
    n = gains.shape[0]
    n_queries = data.draw(st.integers(1, n))
    q = regret_inclusion(gains, n_queries).astype(np.float64)
    g = gains.astype(np.float64)
    eps = games.single_eps(gains)
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
        options=games.solver,
    )
    assert result.status == 0
    regret = np.max(g * (1 - q))
    assert regret == pytest.approx(result.fun * unit, abs=(2e-9 + 4 * eps) * unit)


@pytest.mark.parametrize("factor", [3e-5, 1e-300, 1e300])
@pytest.mark.parametrize("n_queries", [1, 20, 39])
def test_the_unit_of_the_gains_does_not_matter(games, n_queries, factor):
    """The play is the same in any unit, also one that leaves only tiny numbers."""
    gains = np.random.default_rng(4).random(40)
    q = regret_inclusion(factor * gains, n_queries)
    games.assert_same_play(q, regret_inclusion(gains, n_queries))


@pytest.mark.parametrize("n_queries", [1, 2, 3, 4])
def test_a_game_without_any_gain_is_played_evenly(n_queries):
    """All gains 0: every row is as good."""
    gains = np.zeros(4, dtype=np.float32)
    np.testing.assert_allclose(regret_inclusion(gains, n_queries), n_queries / 4)


@pytest.mark.parametrize("n_queries", [1, 10, 1_000])
def test_small_inclusions_keep_their_sum_in_single_precision(n_queries):
    """Q = 1 - v/g of about 1e-6 would lose its digits in float32."""
    gains = np.full(1_000_000, 0.1, dtype=np.float32)
    gains[:500] = 0.05
    q = regret_inclusion(gains, n_queries)
    assert q.dtype == np.float32
    assert q.min() >= 0
    assert q.sum(dtype=np.float64) == pytest.approx(n_queries, rel=1e-6)


def test_regret_asks_every_row_with_a_gain_before_the_others():
    """B beyond the positive gains: those are certain, the rest share evenly."""
    q = regret_inclusion([0.0, 0.3, 0.0, 0.1, 0.0], 3)
    np.testing.assert_allclose(q, [1 / 3, 1, 1 / 3, 1, 1 / 3])
    np.testing.assert_array_equal(regret_inclusion([0.0, 0.3], 2), [1, 1])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: regret_inclusion([0.5, 0.1, -0.25], 1),
            "gains must be finite and not negative, got -0.25 for row 2; use a score "
            "such as 1 - margin, which lies in [0, 1].",
        ),
        (
            lambda: regret_inclusion([0.5, 0.1], 0.5),
            "n_queries must be a whole number in [1, n_samples], got 0.5 for 2 rows; "
            "pass at most the number of rows.",
        ),
        (
            lambda: regret_inclusion([0.5, 0.1], 1.5),
            "n_queries must be a whole number in [1, n_samples], got 1.5 for 2 rows; "
            "pass at most the number of rows.",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_what_to_do(call, sentence):
    """Each fault raises a ValueError with this sentence."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()
