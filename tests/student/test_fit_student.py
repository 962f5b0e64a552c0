"""Any classifier as a student."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill.student import (
    StudentNet,
    as_student,
    default_student,
    expand_soft_labels,
    fit_student,
)

CLASSES = np.array(["a", "b", "c"])


@pytest.fixture
def problem(rng):
    X = rng.normal(size=(60, 4))
    targets = np.exp(2 * X[:, :3])
    targets /= targets.sum(axis=1, keepdims=True)
    return X, targets, rng.uniform(0.5, 2, 60)


def logistic():
    return LogisticRegression(tol=1e-10, max_iter=1000)


def by_hand(estimator, X, targets, weight):
    """Fit on every row three times, once per class, weighing its probability."""
    mass = (targets * weight[:, None]).T.ravel()
    return estimator.fit(np.vstack([X] * 3), np.repeat(CLASSES, len(X)), mass)


def test_logistic_regression_equals_the_weighted_fit(problem):
    """Soft targets through fit_student are the weighted rows written by hand."""
    X, targets, weight = problem
    got = fit_student(logistic(), X, targets, classes=CLASSES, sample_weight=weight)
    expected = by_hand(logistic(), X, targets, weight)
    np.testing.assert_allclose(got.coef_, expected.coef_, atol=2e-3)
    exact = logistic()
    rows, y, mass = expand_soft_labels(X, targets, CLASSES, weight, threshold=0)
    exact.fit(rows, y, mass)
    np.testing.assert_allclose(exact.coef_, expected.coef_, atol=1e-6)


def test_pipeline_equals_its_steps(problem):
    """A pipeline ends up fitted, as if each step had been fitted by hand."""
    X, targets, weight = problem
    pipe = make_pipeline(StandardScaler(), logistic())
    got = fit_student(pipe, X, targets, classes=CLASSES, sample_weight=weight)
    assert got is pipe
    scaled = StandardScaler().fit_transform(X)
    expected = fit_student(
        logistic(), scaled, targets, classes=CLASSES, sample_weight=weight
    )
    np.testing.assert_allclose(
        got.predict_proba(X), expected.predict_proba(scaled), atol=1e-12
    )


def test_pipeline_with_memory_and_labels(problem, tmp_path):
    """Cached steps end up in the pipeline; selectors get the likeliest labels."""
    X, targets, _ = problem
    pipe = Pipeline(
        [
            ("scale", StandardScaler()),
            ("best", SelectKBest(k=2)),
            ("net", StudentNet(max_epochs=2)),
        ],
        memory=str(tmp_path),
    )
    fit_student(pipe, X, targets, classes=CLASSES)
    assert pipe.predict(X).shape == (60,)
    expected = SelectKBest(k=2).fit(X, CLASSES[targets.argmax(axis=1)])
    np.testing.assert_allclose(pipe["best"].scores_, expected.scores_)


def test_pipeline_of_one_step_and_of_texts(problem):
    """One step is enough, and texts pass through a vectorizer."""
    X, targets, _ = problem
    assert fit_student(
        Pipeline([("last", logistic())]), X, targets, classes=CLASSES
    ).predict(X).shape == (60,)
    texts = ["red apple", "green pear", "red plum", "green lime"]
    pipe = make_pipeline(TfidfVectorizer(), StudentNet(random_state=0, max_epochs=80))
    soft = np.array([[0.9, 0.1], [0.1, 0.9]] * 2)
    fit_student(pipe, texts, soft, classes=["r", "g"][::-1])
    assert pipe.predict(texts).tolist() == ["g", "r", "g", "r"]


def test_fit_parameters_reach_their_step(problem):
    """step__parameter goes to that step; a bare name is refused."""
    X, targets, _ = problem

    class Noted(StandardScaler):
        def fit(self, X, y=None, sample_weight=None, note=None):
            self.note_ = note
            return super().fit(X, y, sample_weight)

    pipe = Pipeline([("scale", Noted()), ("log", logistic())])
    fit_student(pipe, X, targets, classes=CLASSES, scale__note="hello")
    assert pipe["scale"].note_ == "hello"
    with pytest.raises(
        ValueError,
        match=r"fit parameters of a Pipeline must name their step, got 'note'; pass "
        r"log__note\.",
    ):
        fit_student(pipe, X, targets, classes=CLASSES, note=1)


def test_nets_get_the_probabilities_themselves(problem):
    """A StudentNet through fit_student is fit_soft."""
    X, targets, weight = problem
    options = {"max_epochs": 2, "random_state": 0}
    a = fit_student(
        StudentNet(**options), X, targets, classes=CLASSES, sample_weight=weight
    )
    b = StudentNet(**options).fit_soft(
        X, targets, classes=CLASSES, sample_weight=weight
    )
    assert all(
        torch.equal(p, q)
        for p, q in zip(a.module_.parameters(), b.module_.parameters(), strict=True)
    )


def test_trees_can_be_students(problem):
    """A forest takes the weighted rows."""
    X, targets, _ = problem
    forest = RandomForestClassifier(20, random_state=0)
    proba = fit_student(forest, X, targets, classes=CLASSES).predict_proba(X)
    assert np.abs(proba - targets).mean() < np.abs(targets.mean(0) - targets).mean()


def test_refusals(problem):
    """What cannot be a student is told what could."""
    X, targets, _ = problem
    for wrong in (KNeighborsClassifier(), LinearRegression(), object()):
        with pytest.raises(
            TypeError,
            match=r"a student must be a classifier whose fit takes sample_weight, or "
            r"have a method fit_soft, got .*; use for example StudentNet or "
            r"LogisticRegression\.",
        ):
            fit_student(wrong, X, targets, classes=CLASSES)


def test_classes_without_probability_are_noticed(problem):
    """A class that no row has any probability for is an error that names both."""
    X, targets, _ = problem
    targets = np.c_[targets[:, :2] / targets[:, :2].sum(1, keepdims=True), 0 * X[:, 0]]
    with pytest.raises(
        ValueError,
        match=r"the fitted student knows the classes \['a', 'b'\] instead of "
        r"\['a', 'b', 'c'\]; give every class some probability in targets, or leave "
        r"the class out\.",
    ):
        fit_student(logistic(), X, targets, classes=CLASSES)


def test_expanded_weights_sum_to_the_rows_own(problem):
    """Whatever the threshold drops, no row gains or loses weight."""
    _, targets, weight = problem
    for threshold in (0, 1e-3, 0.2, 0.5, 0.9):
        rows, y, mass = expand_soft_labels(
            np.arange(60)[:, None], targets, CLASSES, weight, threshold=threshold
        )
        np.testing.assert_allclose(np.bincount(rows[:, 0], mass), weight)
        assert (mass > 0).all()
        assert set(y) == set(CLASSES)
        assert (np.diff(rows[:, 0]) >= 0).all()
    assert len(y) < 180


def test_rare_classes_survive_the_threshold():
    """A class below the threshold everywhere keeps its likeliest row."""
    targets = np.array([[0.9999, 0.0001], [0.9995, 0.0005], [1.0, 0.0]])
    rows, y, mass = expand_soft_labels([10, 11, 12], targets, [0, 1])
    assert rows == [10, 11, 11, 12]
    assert y.tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(mass, [1, 0.9995, 0.0005, 1])


def test_one_hot_rows_are_not_multiplied():
    """Certain rows stay single rows."""
    rows, y, mass = expand_soft_labels(np.eye(3), np.eye(3), CLASSES)
    np.testing.assert_array_equal(rows, np.eye(3))
    assert y.tolist() == ["a", "b", "c"]
    assert mass.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "kind",
    [np.asarray, sp.csr_matrix, sp.csr_array, pd.DataFrame, pl.DataFrame, list],
)
def test_kinds_of_tables_are_kept(problem, kind):
    """Copies come back in the container the rows came in."""
    X, targets, _ = problem
    table = kind(X)
    rows, y, _ = expand_soft_labels(table, targets, CLASSES)
    assert type(rows) is type(table)
    dense = rows.toarray() if sp.issparse(rows) else np.asarray(rows)
    expected, _, _ = expand_soft_labels(X, targets, CLASSES)
    np.testing.assert_array_equal(dense, expected)
    assert len(y) == len(expected)


def test_expansion_errors(problem):
    """Rows that do not match and impossible thresholds are named."""
    X, targets, _ = problem
    with pytest.raises(
        ValueError,
        match=r"X and targets must have one row each per sample, got 59 rows of X and "
        r"60 of targets; pass the same rows\.",
    ):
        expand_soft_labels(X[:59], targets, CLASSES)
    with pytest.raises(
        ValueError,
        match=r"threshold must be a probability below 1, got 1; pass for example "
        r"1e-3\.",
    ):
        expand_soft_labels(X, targets, CLASSES, threshold=1)


def test_default_student():
    """Without a student there is a StudentNet."""
    assert isinstance(as_student(), StudentNet)
    assert default_student(3).random_state == 3


def test_as_student_clones_and_seeds():
    """The user's object stays as it is; only seeds that are None are drawn."""
    mine = make_pipeline(StandardScaler(), LogisticRegression())
    student = as_student(mine, random_state=0)
    assert student is not mine
    assert mine[-1].random_state is None
    assert isinstance(student[-1].random_state, int | np.integer)
    again = as_student(mine, random_state=0)
    assert again[-1].random_state == student[-1].random_state
    assert as_student(mine, random_state=1)[-1].random_state != student[-1].random_state
    assert as_student(LogisticRegression(random_state=7), 0).random_state == 7
    assert as_student(LogisticRegression()).random_state is None
    assert isinstance(as_student(None, 0).random_state, int | np.integer)
    search = GridSearchCV(StudentNet(), {"lr": [1]})
    assert as_student(search, 0).estimator.random_state is not None
    nb = KNeighborsClassifier()
    assert clone(as_student(nb, 0)).get_params() == nb.get_params()


def test_as_student_refuses_classes():
    """A class instead of an object is a TypeError that shows the object."""
    with pytest.raises(
        TypeError,
        match=r"student must be an instance, got the class StudentNet; pass "
        r"StudentNet\(\)\.",
    ):
        as_student(StudentNet)
