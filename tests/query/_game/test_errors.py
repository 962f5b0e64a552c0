import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skadistill.query._game.errors import (
    check_order,
    check_probability,
    depend_on_gain,
    discount,
    is_asked_elsewhere,
    is_trusted,
    learn_errors,
    overall_error_rate,
    wrong_answer_cost,
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
    same = np.full(len(gains), rng.uniform(0, 0.19))  # costs at most 5 each
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


def test_wrong_answers_cost_what_they_are_not_worth_and_their_harm_twice():
    """1 - r while they do no harm, 1 - 2 r where a teacher is judged and they do."""
    assert [wrong_answer_cost(r) for r in (1.0, 0.5, 0.0)] == [0.0, 0.5, 1.0]
    assert [wrong_answer_cost(r) for r in (-0.1, -1.0)] == pytest.approx([1.2, 3.0])


def test_the_discount_falls_with_what_wrong_answers_cost():
    """Linear in the error; 1 without errors; never negative; none when r is 1."""
    errors = np.linspace(0, 1, 101)
    for ratio, cost in ((-1.0, 5.0), (-0.3, 2.2), (0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
        expected = np.maximum(1 - cost * errors, 0)
        assert discount(errors, ratio) == pytest.approx(expected)


def test_a_teacher_is_trusted_by_what_it_is_worth_on_the_rows_asked():
    """More mistakes, or costlier ones, end the trust."""
    n_wrong = np.arange(41)
    most = []
    for ratio in (-1.0, -0.5, -0.2, 0.5):
        trusted = [is_trusted(np.arange(40) < n, ratio) for n in n_wrong]
        assert trusted[0]
        assert (np.diff(np.array(trusted, dtype=int)) <= 0).all()
        most.append(sum(trusted) - 1)
    assert most == [3, 6, 11, 40]
    assert not is_trusted(np.empty(0, dtype=bool), 0.0)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_no_other_rows_are_worth_more_where_errors_do_not_depend_on_the_gain(seed):
    """A teacher wrong anywhere is asked about the rows of largest gain."""
    gains, _, ratio, b, rng = random_game(seed)
    same = np.full(len(gains), rng.uniform(0, 0.3))
    assert not is_asked_elsewhere(gains, same, ratio, b)
    assert not is_asked_elsewhere(gains, np.zeros(len(gains)), ratio, b)


def test_other_rows_are_worth_more_where_only_the_largest_gains_are_wrong():
    """From the error rate on that leaves two thirds of what is gained elsewhere."""
    gains = np.repeat([0.9, 1.0], 50)
    elsewhere = [
        is_asked_elsewhere(gains, np.repeat([0.0, error], 50), 0.0, 50)
        for error in (0.39, 0.41)
    ]
    assert elsewhere == [False, True]


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


def test_learned_errors_follow_a_pattern_and_ignore_its_absence():
    """A step in the gain is found; with no wrong row, or no right one, no pattern."""
    gains = np.linspace(0, 1, 100)
    low, high = learn_errors(gains, gains > 0.7)(np.array([0.2, 0.95]))
    assert low < 0.1
    assert high > 0.8
    none = np.zeros(100, dtype=bool)
    assert learn_errors(gains, none)(gains) == pytest.approx(np.full(100, 0.5 / 101))
    assert learn_errors(gains, ~none)(gains) == pytest.approx(np.full(100, 100.5 / 101))


@pytest.mark.parametrize("n_checks", [20, 40])
@pytest.mark.parametrize(
    ("errors", "bias"),
    [
        (lambda gains: 0.75 * gains**2, "over"),
        (lambda gains: np.full(len(gains), 0.25), None),
        (lambda gains: np.where(gains < 0.5, 0.5, 0.0), "under"),
        (lambda gains: np.where(abs(gains - 0.5) < 0.25, 0.5, 0.0), None),
        (lambda gains: np.where(gains < 0.25, 1.0, 0.0), "under"),
    ],
)
def test_aimed_checks_tell_how_often_a_teacher_is_wrong(errors, bias, n_checks):
    """A quarter of the rows, wherever it errs: each check stands for rows like it.

    Their plain share is far off wherever errors depend on what students find hard.
    """
    rng = np.random.default_rng(7)
    found, raw = [], []
    for _ in range(400):
        gains = rng.random(200)
        wrong = rng.random(200) < errors(gains)
        inclusion = regret_inclusion(gains, 30)
        rows = check_order(inclusion, rng)[:n_checks]
        learned = learn_errors(gains[rows], wrong[rows])
        found.append(overall_error_rate(gains, wrong[rows], learned, inclusion, rows))
        raw.append(wrong[rows].mean())
    assert np.mean(found) == pytest.approx(0.25, abs=0.025)
    assert np.std(found) < 0.16 * np.sqrt(20 / n_checks)
    if bias == "under":
        assert np.mean(raw) < 0.18
    elif bias == "over":
        assert np.mean(raw) > 0.3


def test_errors_that_do_not_depend_on_the_gain_are_found_to_in_one_case_of_twenty():
    """And hardly ever if all or no answers are wrong; a strong dependence always."""
    rng = np.random.default_rng(3)
    gains = rng.random((1000, 40))
    found = [depend_on_gain(g, rng.random(40) < 0.3) for g in gains]
    assert 0.03 < np.mean(found) < 0.08
    for rate in (0.0, 1.0):
        assert not any(depend_on_gain(g, np.full(40, rate == 1)) for g in gains[:20])
    found = [
        depend_on_gain(g, rng.random(40) < np.where(g > 0.7, 0.6, 0.05)) for g in gains
    ]
    assert np.mean(found) > 0.9
    # Nor is a teacher distrusted that errs on rows which are easy for students.
    found = [
        depend_on_gain(g, rng.random(40) < np.where(g > 0.7, 0, 0.6)) for g in gains
    ]
    assert not any(found)


@pytest.mark.parametrize("n_checks", [5, 20, 90, 150, 199, 200])
def test_the_probability_to_be_checked_is_that_of_the_draw(n_checks):
    """Also when all rows that the game may ask about are checked."""
    rng = np.random.default_rng(1)
    inclusion = regret_inclusion(rng.random(200), 30)
    drawn = np.zeros(200)
    for _ in range(1500):
        drawn[check_order(inclusion, rng)[:n_checks]] += 1 / 1500
    found = check_probability(inclusion, n_checks)
    assert found.sum() == pytest.approx(n_checks, rel=1e-6)
    assert found == pytest.approx(drawn, abs=0.1)
    assert np.mean(np.abs(found - drawn)) < 0.015


def test_checks_alternate_between_rows_of_the_game_and_any():
    """So from the first one on; no row comes twice."""
    inclusion = np.where(np.arange(200) < 60, 0.5, 0.0)
    order = check_order(inclusion, np.random.default_rng(4))
    assert sorted(order.tolist()) == list(range(200))
    assert (order[[0, 2, 4]] < 60).all()
    assert 0.5 <= np.mean(order[:40] < 60) < 0.8


def test_aimed_checks_follow_the_play():
    """A row that the game asks about three times as often is first as often."""
    rng = np.random.default_rng(5)
    inclusion = np.array([0.6, 0.2, 0.2, 0.0])
    firsts = [check_order(inclusion, rng)[0] for _ in range(4000)]
    found = np.bincount(firsts, minlength=4) / 4000
    assert found == pytest.approx(inclusion, abs=0.03)
