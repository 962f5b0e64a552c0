"""Which checks a fit makes, and how many, as tables."""

from types import SimpleNamespace

import pytest
from sklearn.base import clone

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.checking._policy import as_policy, n_more_for_choice, plan_checks
from skadistill.objectives import SLaM, SoftTargets
from skadistill.objectives._auto import AutoObjective
from skadistill.query import RADSampler, RandomSampler, RobustSampler

READY = SimpleNamespace(is_fitted=True)
UNFITTED = SimpleNamespace(is_fitted=False)
JOBS = SimpleNamespace(is_fitted=True, submit_rows=None, poll_job=None)
GIVEN = CheckPolicy(error_rate=0.1)
AUTO, SOFT, SLAM = AutoObjective(), SoftTargets(), SLaM()
ROBUST, RAD, RANDOM = RobustSampler(), RADSampler(), RandomSampler()


@pytest.mark.parametrize(
    ("teacher", "strategy", "objective", "checks", "expected"),
    [
        # For the strategy: where the teacher is wrong, how often, or neither.
        (READY, ROBUST, SOFT, "auto", "aimed needed in_steps"),
        (READY, RAD, SOFT, "auto", "needed"),
        (READY, RANDOM, SOFT, "auto", ""),
        (READY, ROBUST, SOFT, 35, "aimed needed in_steps"),
        (READY, ROBUST, SOFT, GIVEN, ""),
        (READY, RAD, SOFT, GIVEN, ""),
        (READY, ROBUST, SOFT, 0, ""),
        # For an objective that learns from them: all at once.
        (READY, RANDOM, SLAM, "auto", "needed"),
        (READY, ROBUST, SLAM, "auto", "aimed needed"),
        (READY, RANDOM, SLAM, GIVEN, "needed"),
        (READY, RANDOM, SLAM, 0, "needed"),
        # For the choice of an objective.
        (READY, RANDOM, AUTO, "auto", "for_choice in_steps"),
        (READY, ROBUST, AUTO, "auto", "aimed needed for_choice in_steps"),
        (READY, RAD, AUTO, "auto", "needed for_choice"),
        (READY, RANDOM, AUTO, GIVEN, ""),
        (READY, RANDOM, AUTO, CheckPolicy(error_rate=0.15), "for_choice in_steps"),
        (READY, RANDOM, AUTO, 0, ""),
        # A teacher fitted here is cross-fitted; one that answers later is asked once.
        (UNFITTED, ROBUST, AUTO, "auto", "aimed needed"),
        (UNFITTED, RANDOM, AUTO, "auto", ""),
        (JOBS, ROBUST, AUTO, "auto", "aimed needed for_choice"),
    ],
)
def test_who_asks_for_checks(teacher, strategy, objective, checks, expected):
    """The rule of the docstrings, as a table."""
    plan = plan_checks(as_policy(checks), teacher, strategy, objective)
    names = ("aimed", "needed", "for_choice", "in_steps")
    assert [name for name in names if getattr(plan, name)] == expected.split()
    assert plan.is_paid is teacher.is_fitted


def count(checks, n_labeled, total, strategy=RAD, objective=SOFT, **params):
    """Count the checks of a ready teacher."""
    plan = plan_checks(as_policy(checks), READY, strategy, objective)
    return plan.count(n_labeled, total, **params)


@pytest.mark.parametrize(
    ("checks", "n_labeled", "total", "n_checks"),
    [
        ("auto", 1000, 400, 80),
        ("auto", 30, 400, 30),
        ("auto", 1000, 2000, 200),
        ("auto", 1000, 4, 0),
        ("auto", 1000, 0, 0),
        (50, 1000, 0, 0),
        (300, 1000, 400, 300),
        (10**9, 30, 400, 30),
        (0.1, 1000, 400, 40),
        (0.1, 30, 400, 30),
        (0.0, 1000, 400, 0),
        (0, 1000, 400, 0),
    ],
)
def test_how_many(checks, n_labeled, total, n_checks):
    """A fifth of the budget at most, or as many as the user says."""
    assert count(checks, n_labeled, total) == n_checks


def test_without_a_budget_200_rows_are_checked():
    """They come on top of the whole pool."""
    assert count("auto", 1000, 5000, is_limited=False) == 200
    assert count(0.5, 1000, 600, is_limited=False) == 300


def test_checks_that_stop_early_are_fewer():
    """At most 40, and none if they cannot be enough to choose by."""
    assert count("auto", 1000, 2000, ROBUST) == 40
    assert count(100, 1000, 2000, ROBUST) == 100
    assert count("auto", 1000, 2000, RANDOM, AUTO) == 40
    assert count("auto", 1000, 99, RANDOM, AUTO) == 0
    assert count("auto", 1000, 200, ROBUST) == 40


@pytest.mark.parametrize("strategy", [RANDOM, ROBUST])
def test_a_small_budget_buys_few_checks_or_none(strategy):
    """Below 200 rows at most 20, and only to choose the objective by."""
    assert count("auto", 1000, 199, strategy, AUTO) == 20
    assert count("auto", 1000, 100, strategy, AUTO) == 20
    assert count("auto", 1000, 99, strategy, AUTO) == 0
    assert count("auto", 19, 199, strategy, AUTO) == 0
    assert count("auto", 1000, 199, strategy, SOFT) == 0
    assert count("auto", 1000, 199, strategy, AUTO, is_limited=False) == 40
    assert count(30, 1000, 150, strategy, AUTO) == 30


def test_checks_of_the_user_are_made():
    """Also such as cannot decide anything."""
    assert count(19, 1000, 2000, RANDOM, AUTO) == 0
    assert count(19, 1000, 2000, ROBUST, AUTO) == 19


@pytest.mark.parametrize(
    ("n_checks", "error_rate", "n_allowed", "n_more"),
    [
        (0, None, 40, 20),
        (12, 0.0, 40, 8),
        (20, 0.1, 40, 0),
        (20, 0.11, 40, 20),
        (30, 0.5, 40, 10),
        (40, 0.5, 40, 0),
        (0, None, 200, 20),
        (60, 0.5, 200, 0),
        (0, None, 20, 10),
        (10, 0.1, 20, 0),
        (10, 0.2, 20, 10),
        (20, 0.2, 20, 0),
        (0, None, 5, 5),
        (0, None, 12, 10),
    ],
)
def test_checks_stop_as_soon_as_they_can(n_checks, error_rate, n_allowed, n_more):
    """Half of them, then all; a good teacher costs half."""
    assert n_more_for_choice(n_checks, error_rate, n_allowed) == n_more


@pytest.mark.parametrize(
    ("checks", "what"),
    [
        (-1, "n_checks"),
        (1.5, "n_checks"),
        (True, "n_checks is True"),
        (None, "n_checks"),
        (CheckPolicy(error_rate=1.2), "error_rate"),
        *((CheckPolicy(on_weak=value), "on_weak") for value in ("stop", None, True)),
    ],
)
def test_values_that_say_nothing(checks, what):
    """An error that names the parameter."""
    with pytest.raises(ValueError, match=what):
        as_policy(checks)


@pytest.mark.parametrize("checks", [-1, True, CheckPolicy(on_weak="stop")])
def test_a_fit_refuses_them_before_anything_is_paid(checks):
    """`plan`, too."""
    model = ActiveDistiller(lambda X: 1 / 0, teacher_checks=checks)
    for method in (model.fit, model.plan):
        with pytest.raises(ValueError, match=r"n_checks|teacher_checks|on_weak"):
            method([[0.0], [1.0], [2.0]], [0, 1, -1])


def test_a_search_reaches_the_policy():
    """By the names of scikit-learn; a clone keeps what was set."""
    model = ActiveDistiller(len, teacher_checks=CheckPolicy())
    model.set_params(teacher_checks__error_rate=0.2)
    assert clone(model).teacher_checks.error_rate == 0.2
