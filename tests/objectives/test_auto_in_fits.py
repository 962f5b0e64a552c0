"""objective="auto" in a fit: what it costs, what it chooses, what it gains."""

import logging

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller, StudentNet
from skadistill.checking import CheckPolicy
from skadistill.datasets import NoisyTeacher
from skadistill.objectives import SoftTargets
from skadistill.stopping import StablePredictions

STUDENT = LogisticRegression(max_iter=1000)


@pytest.fixture(scope="module")
def digits():
    """150 labeled rows of 1797."""
    X, y = load_digits(return_X_y=True)
    return X / 16, y, np.where(np.arange(len(y)) < 150, y, -1)


def noisy(digits, error_rate, **params):
    X, y, _ = digits
    return NoisyTeacher(X, y, error_rate=error_rate, random_state=0, **params)


def distiller(teacher, student=STUDENT, **params):
    defaults = {"budget": 400, "query_strategy": "random", "random_state": 0}
    # Some of the teachers are worse than a student.
    params = defaults | {"teacher_checks": CheckPolicy(on_weak="ignore")} | params
    return ActiveDistiller(teacher, student, **params)


@pytest.mark.parametrize("query_strategy", ["random", "robust"])
def test_a_perfect_teacher_costs_twenty_checks_and_changes_nothing(
    digits, query_strategy
):
    """The student is exactly that of "soft" with the same checks paid."""
    X, _, partly = digits
    model = distiller(noisy(digits, 0.0), query_strategy=query_strategy)
    fitted = model.fit(X, partly)
    assert repr(fitted.objective_) == "SoftTargets()"
    assert fitted.n_teacher_checks_ == 20
    assert fitted.n_paid_ == 400
    soft = model.set_params(
        objective="soft", budget=400 if query_strategy == "robust" else 380
    ).fit(X, partly)
    np.testing.assert_array_equal(soft.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_a_teacher_that_is_often_wrong_is_corrected(digits, soft):
    """At an equal bill the student is better than with "soft"."""
    X, y, partly = digits
    teacher = noisy(digits, 0.4, soft=soft)
    fitted = distiller(teacher, StudentNet(max_epochs=30, random_state=0)).fit(
        X, partly
    )
    assert repr(fitted.objective_) == "PosteriorTargets()"
    assert fitted.n_paid_ == 400
    assert fitted.n_teacher_checks_ == 40
    plain = fitted.score(X[150:], y[150:])
    fitted.set_params(objective="soft").fit(X, partly)
    assert plain > fitted.score(X[150:], y[150:]) + 0.01


def test_the_choice_is_logged(digits, caplog):
    """One line says what the student matches."""
    X, _, partly = digits
    with caplog.at_level(logging.INFO, logger="skadistill"):
        distiller(noisy(digits, 0.3)).fit(X, partly)
    assert "the student matches PosteriorTargets()" in caplog.text


STUDENTS = {
    "sklearn": STUDENT,
    "pipeline": make_pipeline(StandardScaler(), STUDENT),
    "net in a pipeline": make_pipeline(
        StandardScaler(), StudentNet(max_epochs=5, random_state=0)
    ),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_corrected_labels_can_be_learned_by_any_student(digits, name):
    """They are targets and nothing else."""
    X, _, partly = digits
    fitted = distiller(noisy(digits, 0.3, soft=False), STUDENTS[name]).fit(X, partly)
    assert repr(fitted.objective_) == "PosteriorTargets()"


def test_labels_are_corrected_for_the_last_training_only(digits):
    """The rows asked for are those of the plain targets, whatever ends the fit."""
    X, _, partly = digits
    teacher = noisy(digits, 0.4, soft=False)
    for criterion in (None, StablePredictions(patience=1, min_agreement=0.5)):
        params = {"query_strategy": "margin", "stopping_criterion": criterion}
        params |= {"teacher_checks": CheckPolicy(n_checks=40, on_weak="ignore")}
        ours = distiller(teacher, objective="posterior", **params).fit(X, partly)
        plain = distiller(teacher, objective=NeedsChecks(), **params).fit(X, partly)
        np.testing.assert_array_equal(ours.labeled_round_, plain.labeled_round_)
        assert not np.allclose(ours.predict_proba(X), plain.predict_proba(X))
        if criterion is not None:
            assert ours.termination_condition_ == "stable_predictions"


class NeedsChecks(SoftTargets):
    """The plain targets, at the price of the others."""

    uses_teacher_checks = True


@pytest.mark.parametrize(
    "params",
    [
        {"budget": 99},
        {"teacher_checks": CheckPolicy(error_rate=0.1)},
        {"teacher_checks": 19},
    ],
    ids=["small budget", "trusted", "few checks"],
)
def test_no_check_where_it_could_not_change_the_choice(digits, params):
    """Fewer than 20 checks, or a user who says that the teacher is good."""
    X, _, partly = digits
    model = distiller(noisy(digits, 0.5), **params)
    assert model.plan(X, partly).n_teacher_checks == 0
    fitted = model.fit(X, partly)
    assert repr(fitted.objective_) == "SoftTargets()"
    assert fitted.n_teacher_checks_ == 0


def test_a_teacher_fitted_here_is_matched_as_it_is(digits):
    """Nothing is cross-fitted for the choice."""
    X, _, partly = digits
    fitted = distiller(KNeighborsClassifier(1), budget=100).fit(X, partly)
    assert repr(fitted.objective_) == "SoftTargets()"
    assert fitted.teacher_checks_ is None


def test_the_plan_is_an_upper_bound(digits):
    """plan() counts the checks that may be paid."""
    X, _, partly = digits
    model = distiller(noisy(digits, 0.0))
    plan = model.plan(X, partly)
    assert plan.n_teacher_checks == 40
    assert plan.n_rows_to_pay == 400
    assert model.fit(X, partly).n_paid_ == 400


def test_a_fit_that_asks_nobody_matches_the_given_labels(digits):
    """No pool, no choice."""
    X, y, _ = digits
    fitted = distiller(noisy(digits, 0.5), budget=0).fit(X[:150], y[:150])
    assert repr(fitted.objective_) == "SoftTargets()"


@pytest.mark.parametrize("query_strategy", ["random", "robust"])
def test_copies_of_checked_rows_in_the_pool_are_paid_once(digits, query_strategy):
    """They are free if they are asked about."""
    X, y, partly = digits
    X, partly = np.vstack([X, X[:150]]), np.concatenate([partly, np.full(150, -1)])
    teacher = NoisyTeacher(X, np.concatenate([y, y[:150]]), error_rate=0.3)
    model = distiller(teacher, query_strategy=query_strategy, query_size=180)
    fitted = model.fit(X, partly)
    assert fitted.n_paid_ == len(fitted.ledger_) <= 400
    assert fitted.n_paid_ + fitted.n_free_ == 400
