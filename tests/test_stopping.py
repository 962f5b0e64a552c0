"""Stopping rules as tables."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.stopping import (
    GainPerCost,
    StablePredictions,
    TargetAccuracy,
    TargetAgreement,
)


@pytest.mark.parametrize(
    ("agreements", "stop"),
    [([], False), ([1.0], False), ([1.0, 1.0], True), ([1.0, 0.9, 1.0], False)],
)
def test_stable_predictions(agreements, stop):
    """Two rounds in a row, both at or above the limit."""
    assert (
        StablePredictions(patience=2, min_agreement=0.99).should_stop(agreements)
        == stop
    )


def test_stable_predictions_checks_its_parameters():
    """Zero rounds make no rule."""
    with pytest.raises(ValueError, match="patience"):
        StablePredictions(patience=0).should_stop([])


def look(agreement, n_effective=400.0):
    return {"pool_agreement": agreement, "n_effective": n_effective}


LAST = {"pool_agreement": None, "n_effective": None}


def test_target_agreement_needs_a_bound_and_not_an_estimate():
    """The estimate reaches the target long before its lower bound does."""
    rule = TargetAgreement(0.9)
    assert not rule.should_stop([LAST])
    assert not rule.should_stop([look(0.92), LAST])
    assert rule.should_stop([look(0.95), LAST])
    assert not rule.should_stop([look(0.95, 40.0), LAST])
    # An old estimate is no news of the newest student.
    assert not rule.should_stop([look(0.95), LAST, LAST])


def test_many_looks_need_more():
    """What suffices at the first look does not at the tenth."""
    rule = TargetAgreement(0.9)
    assert rule.should_stop([look(0.93), LAST])
    assert not rule.should_stop([*[look(0.5)] * 9, look(0.93), LAST])


def test_target_accuracy_reads_validation_rows_or_checks():
    rule = TargetAccuracy(0.9)
    scored = {"student_score": 0.95, "n_val": 400}
    assert rule.should_stop([scored])
    assert not rule.should_stop([scored | {"n_val": 20}])
    none = {"student_score": None, "pool_accuracy_low": None}
    assert not rule.should_stop([none])
    assert not rule.should_stop([none, none])
    assert rule.should_stop([none | {"pool_accuracy_low": 0.91}, none])


def curve(scores, cost=0.0):
    return [
        {
            "n_labeled": 100 * (k + 1),
            "student_score": score,
            "n_val": 2000,
            "n_asked": 100 * (k > 0),
            "n_paid": 100 * (k > 0),
            "cost": cost * (k > 0),
        }
        for k, score in enumerate(scores)
    ]


def test_gain_per_cost_weighs_points_against_money():
    """A steep curve goes on, a flat one ends, and dear labels end sooner."""
    rule = GainPerCost(0.01)
    assert not rule.should_stop(curve([0.5]))
    assert not rule.should_stop(curve([0.5, 0.6, 0.67]))
    assert rule.should_stop(curve([0.8, 0.8, 0.8]))
    assert rule.should_stop(curve([0.5, 0.6, 0.67], cost=1000.0))
    assert not rule.should_stop(curve([0.5, 0.6, 0.67], cost=1.0))


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (TargetAgreement(1.0), "target"),
        (TargetAccuracy(0.9, confidence=0.0), "confidence"),
        (GainPerCost(-1), "min_gain"),
    ],
)
def test_rules_check_their_parameters(rule, name):
    with pytest.raises(ValueError, match=name):
        rule.should_stop([LAST])


def stopped_early(n_draws, n_rounds=8, target=0.9, n_rows=300, seed=0):
    """Look at a student just below the target after each of several rounds."""
    rng, rule = np.random.default_rng(seed), TargetAgreement(target)
    stopped = 0
    for _ in range(n_draws):
        shares = rng.binomial(n_rows, target - 1e-9, n_rounds) / n_rows
        history = [look(share, float(n_rows)) for share in shares]
        stopped += any(
            rule.should_stop([*history[: k + 1], LAST]) for k in range(n_rounds)
        )
    return stopped / n_draws


def test_targets_are_rarely_taken_for_reached():
    """Eight looks together, in 300 fits."""
    assert stopped_early(300) <= 0.09


@pytest.mark.slow
def test_targets_are_taken_for_reached_as_rarely_as_promised():
    """2,000 fits of eight rounds: 5 % and three standard errors."""
    assert stopped_early(2000) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(
    ("rule", "params"),
    [
        (TargetAgreement(0.5), {}),
        (TargetAccuracy(0.5), {"validate": True}),
        (GainPerCost(1e3), {}),
    ],
)
def test_rules_end_a_fit_and_say_so(rule, params):
    """Before the budget is spent, under the name of the rule."""
    problem = make_noisy_teacher_problem(
        n_labeled=100, n_pool=900, n_classes=2, class_sep=2.0, random_state=0
    )
    rows = {}
    if params.get("validate"):
        rows = {"X_val": problem.X_test, "y_val": problem.y_test}
    model = ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=800,
        query_size=100,
        teacher_error=0.2,
        stopping_criterion=rule,
        on_weak_teacher="ignore",
        random_state=0,
    ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool, **rows)
    assert model.termination_condition_ == rule.reason
    assert model.n_queries_ < 800
