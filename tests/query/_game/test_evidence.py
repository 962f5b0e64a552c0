import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skadistill.query._game.evidence import (
    check_order,
    discount,
    is_trusted,
    neighbor_error,
    stack_errors,
    wrong_answer_ratio,
)
from skadistill.query._game.regret import regret_inclusion

SOLVER = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def random_game(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 14))
    b = int(rng.integers(1, n))
    return rng.random(n) + 1e-3, rng.random(n), rng.uniform(-1, 1), b, rng


def play(gains, errors, ratio, n_queries):
    worth = gains * np.maximum(discount(errors, ratio), np.finfo(np.float32).eps)
    return worth, regret_inclusion(worth, n_queries)


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_the_play_attains_the_optimum_of_the_linear_program(first):
    """On 500 random games: least largest worth left, equal over the support."""
    for seed in range(first, first + 100):
        gains, errors, ratio, b, _ = random_game(seed)
        worth, q = play(gains, errors, ratio, b)
        assert q.sum() == pytest.approx(b)
        assert q.min() >= 0
        assert q.max() <= 1
        left = worth * (1 - q)
        level = left.max()
        assert left[q > 1e-9] == pytest.approx(level, abs=1e-9)
        assert (worth[q <= 1e-9] <= level + 1e-9).all()
        n = len(worth)
        best = linprog(
            np.r_[np.zeros(n), 1],
            A_ub=np.hstack([-np.diag(worth), -np.ones((n, 1))]),
            b_ub=-worth,
            A_eq=np.r_[np.ones(n), 0][None],
            b_eq=[b],
            bounds=[(0, 1)] * n + [(0, None)],
            options=SOLVER,
        )
        assert best.fun == pytest.approx(level, abs=1e-7)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_the_play_is_the_regret_game_when_evidence_separates_no_rows(seed):
    """Errors that are the same everywhere, or that cost nothing, change nothing."""
    gains, errors, ratio, b, rng = random_game(seed)
    regret = regret_inclusion(gains, b)
    same = np.full(len(gains), rng.uniform(0, 0.3))
    assert play(gains, same, ratio, b)[1] == pytest.approx(regret, abs=1e-6)
    assert play(gains, errors, 1.0, b)[1] == pytest.approx(regret, abs=1e-6)


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_the_play_does_not_depend_on_units_or_order(seed, scale):
    """Scaling all gains leaves the play alone; permuting rows permutes it."""
    gains, errors, ratio, b, rng = random_game(seed)
    q = play(gains, errors, ratio, b)[1]
    assert play(scale * gains, errors, ratio, b)[1] == pytest.approx(q, abs=1e-6)
    order = rng.permutation(len(gains))
    moved = play(gains[order], errors[order], ratio, b)[1]
    assert moved == pytest.approx(q[order], abs=1e-6)


def test_the_discount_falls_with_what_wrong_answers_cost():
    """Linear in the error; 1 without errors; never negative; none when r is 1."""
    errors = np.linspace(0, 1, 101)
    for ratio in (-1.0, -0.3, 0.0, 0.5, 1.0):
        factor = discount(errors, ratio)
        expected = 1 - 1.5 * (1 - ratio) * errors
        assert factor == pytest.approx(np.maximum(expected, 0))


def test_a_teacher_is_trusted_by_what_it_is_worth_on_the_rows_asked():
    """More mistakes, or costlier ones, end the trust; harmless ones never do."""
    n_wrong = np.arange(41)
    for ratio in (-1.0, -0.5, -0.2):
        trusted = [is_trusted(np.arange(40) < n, ratio) for n in n_wrong]
        assert trusted[0]
        assert not trusted[-1]
        assert (np.diff(np.array(trusted, dtype=int)) <= 0).all()
    assert is_trusted(np.arange(40) < 13, -0.2)
    assert not is_trusted(np.arange(40) < 13, -1.0)
    assert is_trusted(np.ones(30, dtype=bool), 0.0)
    assert not is_trusted(np.ones(29, dtype=bool), 0.0)
    assert not is_trusted(np.empty(0, dtype=bool), 0.0)


def test_the_ratio_is_zero_when_no_answer_is_wrong():
    """Also with no row at all."""
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1, 1], 30)
    truth = rng.integers(0, 3, 30)
    soft = 0.7 * np.eye(3)[truth] + 0.1
    assert wrong_answer_ratio(proba, soft, truth) == 0
    none = np.empty((0, 3))
    assert wrong_answer_ratio(none, none, np.empty(0, dtype=int)) == 0


def test_the_ratio_rises_linearly_as_wrong_answers_move_to_the_truth():
    """Mass moved from the first choice to the truth is worth something."""
    rng = np.random.default_rng(1)
    proba = rng.dirichlet([1, 1, 1], 40)
    truth = rng.integers(0, 3, 40)
    wrong, other = (truth + 1) % 3, (truth + 2) % 3
    rows = np.arange(40)

    def ratio(share):
        answers = np.zeros((40, 3))
        answers[rows, wrong], answers[rows, truth] = 0.9 - share, share
        answers[rows, other] = 0.1
        return wrong_answer_ratio(proba, answers, truth)

    values = [ratio(share) for share in (0.0, 0.1, 0.2, 0.3, 0.4)]
    steps = np.diff(values)
    assert (steps > 0).all()
    assert steps == pytest.approx(steps[0])


def test_the_ratio_is_shrunk_by_one_mean_row():
    """Two of four hard answers wrong, an undecided student: -1 over 1 + 1/2."""
    proba, truth = np.full((4, 2), 0.5), np.array([0, 1, 0, 1])
    ratio = wrong_answer_ratio(proba, np.eye(2)[[0, 1, 1, 0]], truth)
    assert ratio == pytest.approx(-2 / 3)


def test_wrong_hard_answers_on_two_classes_do_harm():
    """A step toward the wrong one of two classes always leads away from the truth."""
    rng = np.random.default_rng(2)
    proba = rng.dirichlet([1, 1], 50)
    truth = rng.integers(0, 2, 50)
    assert -1 <= wrong_answer_ratio(proba, np.eye(2)[1 - truth], truth) < 0


def test_neighbors_are_counted_as_a_loop_counts_them():
    """(wrong + 1) / (k + 2) over the k nearest ranks; no row judges itself."""
    rng = np.random.default_rng(3)
    reference, wrong = rng.random(60), rng.random(60) < 0.4
    k = int(2 * np.sqrt(60))
    order = np.argsort(reference)
    for value in rng.random(20):
        start = np.clip(np.sum(reference < value) - k // 2, 0, 60 - k)
        expected = (wrong[order[start : start + k]].sum() + 1) / (k + 2)
        found = neighbor_error(reference, wrong, np.array([value]))
        assert found == pytest.approx([expected])
    flipped = wrong.copy()
    flipped[7] = ~flipped[7]
    own = neighbor_error(reference, wrong)[7]
    assert neighbor_error(reference, flipped)[7] == pytest.approx(own)


def test_stacked_errors_follow_a_pattern_and_ignore_its_absence():
    """A step in the gain is found; with no wrong row the rate is constant."""
    gains = np.linspace(0, 1, 100)
    wrong = gains > 0.7
    predict = stack_errors([neighbor_error(gains, wrong)], wrong)
    low, high = predict([neighbor_error(gains, wrong, np.array([0.2, 0.95]))])
    assert low < 0.1
    assert high > 0.8
    none = np.zeros(100, dtype=bool)
    rate = stack_errors([neighbor_error(gains, none)], none)([gains])
    assert rate == pytest.approx(np.full(100, 1 / 102))


def test_checks_start_with_rows_the_game_asks_about():
    """Then they alternate between even rows and such rows; no row comes twice."""
    inclusion = np.where(np.arange(200) < 60, 0.5, 0.0)
    order = check_order(inclusion, np.random.default_rng(4), 20)
    assert sorted(order.tolist()) == list(range(200))
    assert (order[:20] < 60).all()
    assert 0.5 <= np.mean(order[20:60] < 60) < 0.9


def test_aimed_checks_follow_the_play():
    """A row that the game asks about three times as often is first as often."""
    rng = np.random.default_rng(5)
    inclusion = np.array([0.6, 0.2, 0.2, 0.0])
    firsts = [check_order(inclusion, rng, 1)[0] for _ in range(4000)]
    found = np.bincount(firsts, minlength=4) / 4000
    assert found == pytest.approx(inclusion, abs=0.03)
