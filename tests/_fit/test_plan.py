"""Budgets, rounds and plans as tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._fit.plan import Budget, round_size, share_budget, split_rounds
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.exceptions import BudgetError
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger
from skadistill.teachers import FunctionTeacher


def share(budget, n_pool, n_checks=0):
    return share_budget(budget, n_pool, lambda total, is_limited: n_checks)


@pytest.mark.parametrize(
    ("budget", "n_pool", "n_queries"),
    [
        (None, 10, 10),
        (None, 0, 0),
        (0, 0, 0),
        (3, 10, 3),
        (np.int64(3), 10, 3),
        (1, 10, 1),
        (1.0, 10, 10),
        (0.0, 10, 0),
        (0.25, 10, 2),
        (0.01, 10, 1),
        (0.29, 100, 29),
    ],
)
def test_budgets_without_checks(budget, n_pool, n_queries):
    """Rows, shares and None; a share of a pool is at least one row."""
    assert share(budget, n_pool) == Budget(0, n_queries)


@pytest.mark.parametrize(
    ("budget", "n_checks", "shares"),
    [
        (400, 80, (80, 320)),
        (4, 0, (0, 4)),
        (None, 200, (200, 5000)),
        (0.1, 100, (100, 400)),
        (5030, 30, (30, 5000)),
    ],
)
def test_budgets_with_checks(budget, n_checks, shares):
    """The sum is the budget; without one, checks come on top of the pool."""
    assert share(budget, 5000, n_checks) == shares


def test_budgets_that_cannot_be_spent():
    """More rows than there are, rows from nowhere, and checks that take all."""
    with pytest.raises(BudgetError, match="larger than the pool of 10 unlabeled rows;"):
        share(11, 10)
    with pytest.raises(BudgetError, match="rows and 5 teacher checks; pass at most 15"):
        share(16, 10, 5)
    with pytest.raises(BudgetError, match="takes 8 labeled rows"):
        share(8, 10, 8)
    with pytest.raises(BudgetError):
        share(1, 0)


@given(
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.one_of(st.just("auto"), st.integers(1, 300)),
    st.integers(2, 500),
)
def test_rounds_of_a_larger_budget_continue_those_of_a_smaller_one(a, b, size, labeled):
    """All rounds but the last are equal, and the rounds add up to the budget."""
    small, large = (split_rounds(n, size, labeled) for n in sorted([a, b]))
    assert (sum(small), sum(large)) == tuple(sorted([a, b]))
    assert 0 not in small + large
    assert small[:-1] == large[: max(0, len(small) - 1)]
    assert not small or small[-1] <= large[len(small) - 1]


def test_rounds_grow_with_the_labels():
    """By default the number of rounds is logarithmic in the budget."""
    assert split_rounds(100_000, "auto", 1000)[:3] == (500, 750, 1125)
    assert len(split_rounds(100_000, "auto", 1000)) == 12
    assert round_size("auto", 5) == 10


def test_after_a_fit_a_plan_says_what_to_expect():
    """The forecast for the labels that would be there, in the text as well."""
    problem = make_noisy_teacher_problem(n_labeled=100, n_pool=900, random_state=0)
    model = ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=300,
        query_size=100,
        teacher_checks=CheckPolicy(error_rate=0.2),
        objective="soft",
        random_state=0,
    )
    rows = {"X_unlabeled": problem.X_pool}
    assert model.plan(problem.X_labeled, problem.y_labeled, **rows).forecast is None
    model.fit(problem.X_labeled, problem.y_labeled, **rows)
    plan = model.set_params(budget=800).plan(
        problem.X_labeled, problem.y_labeled, **rows
    )
    score, low, high = model.forecast_.after(500)
    assert plan.forecast is model.forecast_
    expected = f"\npool agreement then: {score:.3f} ({low:.3f} to {high:.3f})"
    assert repr(plan).endswith(expected)


class Priced(FunctionTeacher):
    """A teacher whose rows have prices of their own, which are in the first column."""

    def estimate_cost(self, X):
        return float(np.asarray(X)[:, 0].sum())


def test_the_likely_cost_is_exceeded_once_in_a_hundred():
    """Of simulated fits of random rows, by the prices of 200 rows of the pool."""
    rng = np.random.default_rng(0)
    exceeded = []
    for _ in range(300):
        pool = np.column_stack([rng.lognormal(0, 0.7, 2000), np.zeros(2000)])
        teacher = Priced(lambda X: [0] * len(X), classes=[0, 1], name="t")
        model = ActiveDistiller(
            teacher, LogisticRegression(), budget=100, teacher_checks=0
        )
        plan = model.plan(np.eye(2), [0, 1], X_unlabeled=pool)
        assert plan.expected_cost == pytest.approx(100 * pool[::10, 0].mean())
        spent = rng.choice(pool[:, 0], 100, replace=False).sum()
        exceeded.append(spent > plan.likely_cost)
    assert 0 < np.mean(exceeded) <= 0.03


@pytest.mark.parametrize("budget", [180, 400, 1060])
def test_a_plan_on_the_second_day_expects_what_a_fit_pays(budget):
    """Checks and rows of the first day are free; what is left is new."""
    problem = make_noisy_teacher_problem(
        n_labeled=300, n_pool=1000, n_classes=2, random_state=0
    )
    teacher = FunctionTeacher(problem.teacher, classes=[0, 1], name="t")
    params = {"query_strategy": "rad", "ledger": MemoryLedger(), "random_state": 0}
    rows = (problem.X_labeled, problem.y_labeled)
    pool = {"X_unlabeled": problem.X_pool}
    policy = CheckPolicy(60, on_weak="ignore")
    model = ActiveDistiller(
        teacher, LogisticRegression(), budget=180, teacher_checks=policy, **params
    )
    assert model.fit(*rows, **pool).n_teacher_checks_ == 60
    model = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=budget,
        teacher_checks=policy,
        **params,
    )
    plan = model.plan(*rows, **pool)
    assert plan.n_rows_expected == model.fit(*rows, **pool).n_paid_ == budget - 180
    assert plan.n_rows_expected <= plan.n_rows_to_pay


def test_checks_that_remain_are_in_the_plan():
    """If the ledger holds all rows of the budget, the teacher may still be checked."""
    problem = make_noisy_teacher_problem(
        n_labeled=300, n_pool=1000, n_classes=2, random_state=0
    )
    teacher = FunctionTeacher(problem.teacher, classes=[0, 1], name="t")
    ledger = MemoryLedger()
    buy_labels(teacher, problem.X_pool[:500], classes=[0, 1], ledger=ledger)
    model = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=400,
        teacher_checks=CheckPolicy(30, on_weak="ignore"),
        ledger=ledger,
        random_state=0,
    )
    rows = {"X_unlabeled": problem.X_pool}
    plan = model.plan(problem.X_labeled, problem.y_labeled, **rows)
    assert (plan.rounds, plan.n_rows_to_pay) == ((), 30)
    fitted = model.fit(problem.X_labeled, problem.y_labeled, **rows)
    assert 0 < fitted.n_paid_ <= 30
