"""Stopping rules as tables."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._fit.draw import draw_round
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.exceptions import BudgetWarning
from skadistill.query import QueryPool, RADSampler
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


def test_target_agreement_needs_evidence_and_not_an_estimate():
    """The estimate reaches the target long before it is shown to be reached."""
    rule = TargetAgreement(0.9)
    assert not rule.should_stop([LAST])
    assert not rule.should_stop([look(0.92), LAST])
    assert rule.should_stop([look(0.95), LAST])
    assert not rule.should_stop([look(0.95, 40.0), LAST])
    # An old estimate is no news of the newest student.
    assert not rule.should_stop([look(0.95), LAST, LAST])


def test_small_rounds_count_together():
    """Twenty-five even rows a round show in five rounds what one cannot."""
    rule = TargetAgreement(0.95)
    rounds = [look(1.0, 25.0)] * 6
    stops = [rule.should_stop([*rounds[:k], LAST]) for k in range(1, 7)]
    assert stops == [False] * 4 + [True] * 2


def test_bad_students_at_first_do_not_count_for_ever():
    """They delay the stop by the risk of later starts, and no more."""
    rule, good = TargetAgreement(0.9), [look(0.97, 100.0)] * 3
    assert rule.should_stop([*good, LAST])
    assert not rule.should_stop([*[look(0.3, 100.0)] * 9, *good[:2], LAST])
    assert rule.should_stop([*[look(0.3, 100.0)] * 9, *good, LAST])


def test_a_census_is_known():
    """No later round can show more."""
    rule = TargetAgreement(0.9)
    assert rule.should_stop([look(0.9, np.inf), LAST])
    assert not rule.should_stop([look(0.89, np.inf), LAST])


def test_less_confidence_stops_sooner():
    rounds = [*[look(0.93, 60.0)] * 2, LAST]
    assert TargetAgreement(0.85, confidence=0.6).should_stop(rounds)
    assert not TargetAgreement(0.85).should_stop(rounds)


def test_target_accuracy_reads_validation_rows_or_checks():
    rule = TargetAccuracy(0.9)
    scored = {"student_score": 0.95, "n_val": 400}
    assert rule.should_stop([scored])
    assert not rule.should_stop([scored | {"n_val": 20}])
    none = {"student_score": None, "pool_accuracy_low": None, "n_paid": 9}
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


def stopped_early(n_draws, shares, n_rows, target, seed=0):
    """Look at students of given agreement after each round, all below the target."""
    rng, rule = np.random.default_rng(seed), TargetAgreement(target)
    stopped = 0
    for _ in range(n_draws):
        found = rng.binomial(n_rows, shares) / n_rows
        history = [look(share, float(n_rows)) for share in found]
        stopped += any(
            rule.should_stop([*history[: k + 1], LAST]) for k in range(len(shares))
        )
    return stopped / n_draws


#: All just below the target, and curves that rise to it.
SHARES = [np.full(20, 0.9), 0.9 - 0.3 * np.arange(1, 21) ** -1.5]


@pytest.mark.parametrize("shares", SHARES, ids=["flat", "rising"])
def test_targets_are_rarely_taken_for_reached(shares):
    """Twenty looks together, in 200 fits."""
    assert stopped_early(200, shares, 25, 0.9) <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [10, 25, 300])
@pytest.mark.parametrize("shares", SHARES, ids=["flat", "rising"])
def test_targets_are_taken_for_reached_as_rarely_as_promised(shares, n_rows):
    """2,000 fits of twenty rounds: at most 5 %, and three standard errors."""
    early = stopped_early(2000, shares, n_rows, 0.9)
    assert early <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def taken_for_accurate(n_draws, n_val, target=0.9, n_rounds=12, seed=0):
    """Score students just below the target on the same rows after each round."""
    rng, rule, early = np.random.default_rng(seed), TargetAccuracy(target), 0
    for _ in range(n_draws):
        right = rng.random(n_val) < target - 1e-9
        history = []
        for _ in range(n_rounds):
            history.append({"student_score": right.mean(), "n_val": n_val})
            if rule.should_stop(history):
                early += 1
                break
            changed = rng.random(n_val) < 0.2  # what the next student says anew
            right = np.where(changed, rng.random(n_val) < target - 1e-9, right)
    return early / n_draws


def test_students_are_rarely_taken_for_accurate():
    """Twelve looks together, in 300 fits."""
    assert taken_for_accurate(300, 200) <= 0.09


@pytest.mark.slow
@pytest.mark.parametrize("n_val", [50, 200, 1000])
def test_students_are_taken_for_accurate_as_rarely_as_promised(n_val):
    """2,000 fits of twelve rounds: at most 5 %, and three standard errors."""
    early = taken_for_accurate(2000, n_val)
    assert early <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_targets_that_are_reached_are_found():
    """Rounds of 25 even rows and students that agree in 97 %: 0.9 within ten rounds."""
    assert stopped_early(100, np.full(10, 0.97), 25, 0.9) > 0.9


@pytest.mark.slow
def test_weighted_rows_are_no_reason_to_stop_too_early():
    """1,000 fits of ten rounds drawn by "rad", whose student is just below 0.9."""
    rng, rule, early = np.random.default_rng(0), TargetAgreement(0.9), 0
    every = np.ones(80, dtype=bool)
    for _ in range(1000):
        proba = np.repeat(0.5 + 0.5 * rng.beta(4.0, 1.0, (2000, 1)), 2, axis=1)
        proba[:, 1] = 1 - proba[:, 0]
        agree = np.zeros(2000, dtype=bool)
        # The surest rows agree most often, and 1,799 of all do.
        agree[np.argsort(rng.random(2000) ** (1 / proba[:, 0] ** 3))[-1799:]] = True
        history = []
        for _ in range(10):
            drawn = draw_round(
                RADSampler(),
                QueryPool.from_proba(proba, teacher_error=0.1),
                80,
                uniform_share=0.25,
                rng=rng,
                uniform_rng=rng,
            )
            found = drawn.estimate(agree[drawn.positions], every)
            history.append(look(found.share, found.n_effective))
            if rule.should_stop([*history, LAST]):
                early += 1
                break
    assert early / 1000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize(
    ("rule", "needs"),
    [
        (TargetAgreement(0.6), "set uniform_share, or use a strategy that draws rows"),
        (TargetAccuracy(0.6), "pass X_val and y_val, or check the teacher"),
        (GainPerCost(0.1), "pass X_val and y_val, or set uniform_share"),
    ],
)
def test_a_rule_that_cannot_end_a_fit_says_so(rule, needs):
    """Before the third round is paid for, and once."""
    problem = make_noisy_teacher_problem(60, 400, 10, n_classes=2, random_state=0)
    model = ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=160,
        query_size=40,
        query_strategy="margin",
        uniform_share=0.0,
        stopping_criterion=rule,
        teacher_checks=CheckPolicy(on_weak="ignore"),
        random_state=0,
    )
    with pytest.warns(BudgetWarning, match=needs) as caught:
        model.fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)
    assert len(caught) == 1
    assert model.termination_condition_ == "budget"
    ledger = [record | {"n_paid": 0} for record in model.history_[:3]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # rows of a ledger are no reason to warn
        assert not rule.should_stop(ledger)


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
        teacher_checks=CheckPolicy(error_rate=0.2, on_weak="ignore"),
        stopping_criterion=rule,
        random_state=0,
    ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool, **rows)
    assert model.termination_condition_ == rule.reason
    assert model.n_queries_ < 800
