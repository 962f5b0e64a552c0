"""Random games, and the linear program that each is held against."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skadistill.query._game.robust import worst_case_value

# The same examples each time; a busy machine is not a fault.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

SOLVER = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}

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
def loss_arrays(draw, gains):
    kind = draw(st.sampled_from(["equal to the gains", "one for all", "any"]))
    if kind == "equal to the gains":
        return gains.astype(np.float64)
    n = gains.shape[0]
    if kind == "one for all":
        return np.full(n, draw(ENTRIES))
    return np.array(draw(st.lists(ENTRIES, min_size=n, max_size=n)))


@st.composite
def played_games(draw, with_losses=False, with_queries=False):
    """Draw the arguments of `robust_distribution`."""
    gains = draw(gain_arrays())
    return SimpleNamespace(
        gains=gains,
        n_mistakes=draw(mistakes(gains)),
        n_queries=draw(st.integers(1, gains.shape[0])) if with_queries else 1,
        losses=draw(loss_arrays(gains)) if with_losses else None,
    )


# Everything that float64 can be, in one array: underflow, overflow, and both.
EXTREMES = st.one_of(
    st.sampled_from([0.0, 5e-324, 2.2e-309, 1e-300, 1e-45, 1.0, 1e300, 1.7e308]),
    st.floats(0.0, 1.7e308),
    st.floats(-323.0, 308.0).map(lambda x: 10.0**x),
)


@st.composite
def extreme_games(draw):
    """Draw games whose gains and losses span all of float64, or of float32."""
    entries = st.lists(EXTREMES, min_size=1, max_size=8)
    gains = np.array(draw(entries))
    if draw(st.booleans()):
        gains = np.minimum(gains, 3e38).astype(np.float32)
    n = gains.shape[0]
    losses = None
    if draw(st.booleans()):
        losses = np.array(draw(st.lists(EXTREMES, min_size=n, max_size=n)))
    return SimpleNamespace(
        gains=gains,
        n_mistakes=draw(st.floats(0, n, exclude_max=True)),
        n_queries=draw(st.integers(1, n)),
        losses=losses,
    )


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


def assert_solves(solution, game):
    """Check feasibility, the program's value, and that p attains it."""
    p = solution.p.astype(np.float64)
    n, cap = p.shape[0], 1 / game.n_queries
    eps = single_eps(game.gains)
    assert solution.p.dtype == game.gains.dtype
    assert p.min() >= 0
    assert p.max() <= cap * (1 + 2 * eps)
    assert p.sum() == pytest.approx(1, abs=4 * eps * n + 1e-13)
    assert solution.n_support == np.count_nonzero(p)
    np.testing.assert_array_equal(solution.support, np.flatnonzero(p))
    unit = float(game.gains.max())
    unit += 0 if game.losses is None else float(np.max(game.losses))
    expected = program_value(game.gains, game.n_mistakes, cap, game.losses)
    # The program is solved to a tolerance; where they differed the game was right.
    assert solution.value == pytest.approx(expected, rel=1e-9, abs=1e-7 * unit)
    guaranteed = worst_case_value(p, game.gains, game.n_mistakes, losses=game.losses)
    # p itself is rounded to the dtype of the gains.
    assert guaranteed >= solution.value - (1e-9 + 8 * n * eps) * unit


def assert_same_play(p, expected):
    eps = max(single_eps(p), 1e-9)
    np.testing.assert_allclose(p, expected, rtol=0, atol=8 * eps)


@pytest.fixture(scope="session")
def games():
    """Strategies and checks that the files of this folder share."""
    return SimpleNamespace(
        solver=SOLVER,
        gain_arrays=gain_arrays,
        mistakes=mistakes,
        played_games=played_games,
        extreme_games=extreme_games,
        single_eps=single_eps,
        assert_solves=assert_solves,
        assert_same_play=assert_same_play,
    )
