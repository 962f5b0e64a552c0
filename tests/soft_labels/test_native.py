"""Classifiers that learn probabilities without copies of rows."""

import pickle
from inspect import signature

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from skadistill.soft_labels import fit_student
from skadistill.soft_labels._fit_student import choose_copies
from skadistill.soft_labels._native import (
    fit_logistic,
    fit_xgboost,
    minimize_cross_entropy,
    native_fit,
)

READS_WEIGHTS = "sample_weight" in signature(compute_class_weight).parameters


def problem(n_classes, n_samples=120):
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(n_samples, 5))
    logits = 2 * X @ rng.normal(size=(5, n_classes))
    targets = np.exp(logits - logits.max(axis=1, keepdims=True))
    targets /= targets.sum(axis=1, keepdims=True)
    return X, targets, rng.uniform(0.5, 2, n_samples)


def by_copies(estimator, X, targets, weight):
    classes = np.arange(targets.shape[1])
    rows, columns, mass = choose_copies(targets, 0)
    y, mass = classes[columns], mass * weight[rows]
    return estimator.fit(X[rows], y, sample_weight=mass)


def logistic(**params):
    return LogisticRegression(**{"tol": 1e-8, "max_iter": 2000} | params)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(
    "params",
    [{}, {"C": 100.0}, {"fit_intercept": False}, {"class_weight": "balanced"}],
    ids=str,
)
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, sp.csr_array])
def test_logistic_regression_finds_what_copies_find(n_classes, params, kind):
    """Coefficients are those of scikit-learn on one copy of each row per class."""
    if "class_weight" in params and not READS_WEIGHTS:
        pytest.skip("this scikit-learn balances numbers of rows, not their weights")
    X, targets, weight = problem(n_classes)
    got = fit_student(
        logistic(**params),
        kind(X),
        targets,
        classes=np.arange(n_classes),
        sample_weight=weight,
    )
    # There, "balanced" reads the weights of the copies, which sum to class masses.
    expected = by_copies(logistic(**params), X, targets, weight)
    assert got.coef_.shape == expected.coef_.shape
    np.testing.assert_allclose(got.coef_, expected.coef_, atol=2e-4)
    np.testing.assert_allclose(got.intercept_, expected.intercept_, atol=2e-4)
    np.testing.assert_allclose(
        got.predict_proba(kind(X)), expected.predict_proba(X), atol=1e-4
    )


def test_the_gradient_vanishes_at_the_minimum():
    """At the solution, mean features under targets and student differ by the penalty.

    For the softmax, the derivative with respect to the weights of class c is
    sum_i s_i (p_ic - t_ic) x_i + w_c / C, which must be zero.
    """
    X, targets, weight = problem(3)
    mass = targets * weight[:, None]
    coef, intercept, _ = minimize_cross_entropy(
        X, mass, C=0.5, fit_intercept=True, tol=1e-10, max_iter=5000
    )
    logits = X @ coef.T + intercept
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    error = weight[:, None] * proba - mass
    np.testing.assert_allclose(error.T @ X + coef / 0.5, 0, atol=1e-4)
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=1e-4)


def test_columns_of_zeros_weigh_nothing():
    """Hashed texts have many empty columns; their coefficients are exact zeros."""
    X, targets, _ = problem(3)
    wide = sp.csr_matrix(
        (X.ravel(), (np.repeat(np.arange(120), 5), [7, 2, 90, 3, 5] * 120)), (120, 100)
    )
    student = fit_student(logistic(), wide, targets, classes=[0, 1, 2])
    narrow = fit_student(logistic(), X, targets, classes=[0, 1, 2])
    assert student.n_features_in_ == 100
    np.testing.assert_allclose(student.coef_[:, [7, 2, 90, 3, 5]], narrow.coef_)
    assert (student.coef_ != 0).sum() == 15


def test_frames_leave_their_names():
    """Names of columns are kept, as scikit-learn's own fit does."""
    X, targets, _ = problem(2)
    frame = pd.DataFrame(X, columns=list("abcde"))
    student = fit_student(logistic(), frame, targets, classes=["n", "y"])
    assert student.feature_names_in_.tolist() == list("abcde")
    assert set(student.predict(frame)) == {"n", "y"}


def test_stopping_short_is_said():
    """As in scikit-learn, too few iterations are a ConvergenceWarning."""
    X, targets, _ = problem(4)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 iterations; raise"):
        fit_student(logistic(max_iter=2), X, targets, classes=np.arange(4))


@pytest.mark.parametrize("params", [{"C": -1.0}, {"tol": "small"}], ids=str)
def test_parameters_are_checked_as_ever(params):
    """A wrong parameter is scikit-learn's own error."""
    X, targets, _ = problem(2)
    (name,) = params
    with pytest.raises(ValueError, match=f"The '{name}' parameter of Logistic"):
        fit_student(logistic(**params), X, targets, classes=[0, 1])


@pytest.mark.parametrize(
    "params",
    [
        {"solver": "newton-cg"},
        {"warm_start": True},
        {"class_weight": {0: 1.0, 1: 3.0}},
    ],
    ids=str,
)
def test_other_logistic_regressions_get_copies(params):
    """Settings that we do not minimize ourselves are left to scikit-learn."""
    assert native_fit(logistic(), (120, 2), {}) is fit_logistic
    assert native_fit(logistic(**params), (120, 2), {}) is None
    X, targets, weight = problem(2)
    got = fit_student(
        logistic(**params), X, targets, classes=[0, 1], sample_weight=weight
    )
    expected = by_copies(logistic(**params), X, targets, weight)
    np.testing.assert_allclose(got.coef_, expected.coef_, atol=0.02)


def test_subclasses_are_somebody_elses():
    """What a subclass minimizes is not known."""

    class Mine(LogisticRegression):
        pass

    assert native_fit(Mine(), (120, 2), {}) is None


def test_a_pipeline_ends_in_it():
    """The last step of a pipeline learns without copies too."""
    X, targets, _ = problem(3)
    pipe = make_pipeline(StandardScaler(), logistic())
    fit_student(pipe, X, targets, classes=[0, 1, 2])
    scaled = StandardScaler().fit_transform(X)
    expected = by_copies(logistic(), scaled, targets, np.ones(len(X)))
    np.testing.assert_allclose(pipe[-1].coef_, expected.coef_, atol=2e-4)


@pytest.fixture
def xgboost():
    return pytest.importorskip("xgboost")


@pytest.mark.parametrize("n_classes", [2, 4])
def test_xgboost_grows_the_trees_of_copies(n_classes, xgboost, tmp_path):
    """Probabilities are those of XGBoost on copies; they survive files and pickle."""
    X, targets, weight = problem(n_classes)
    params = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1, "tree_method": "exact"}
    got = fit_student(
        xgboost.XGBClassifier(**params),
        X,
        targets,
        classes=np.arange(n_classes),
        sample_weight=weight,
    )
    expected = by_copies(
        xgboost.XGBClassifier(**params, base_score=0.5), X, targets, weight
    )
    proba = got.predict_proba(X)
    np.testing.assert_allclose(proba, expected.predict_proba(X), atol=1e-4)
    np.testing.assert_array_equal(got.predict(X), proba.argmax(axis=1))
    got.save_model(tmp_path / "model.json")
    loaded = xgboost.XGBClassifier()
    loaded.load_model(tmp_path / "model.json")
    for other in (loaded, pickle.loads(pickle.dumps(got))):
        np.testing.assert_array_equal(other.predict_proba(X), proba)


def test_xgboost_with_other_settings_gets_copies(xgboost):
    """Losses, margins and evaluation sets of the user's are not touched."""
    plain = xgboost.XGBClassifier()
    assert native_fit(plain, (120, 3), {}) is fit_xgboost
    assert native_fit(plain, (120, 3), {"eval_set": []}) is None
    assert native_fit(plain, (2, 3), {}) is None
    for params in (
        {"objective": "multi:softmax_of_my_own"},
        {"objective": lambda y, p: (p - y, p)},
        {"base_score": 0.3},
        {"scale_pos_weight": 3},
        {"early_stopping_rounds": 2},
    ):
        assert native_fit(xgboost.XGBClassifier(**params), (120, 3), {}) is None
