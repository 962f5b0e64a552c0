"""Any classifier as a student, through weights and copies of rows."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller
from skadistill.exceptions import StudentError
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._fit_student import choose_copies
from skadistill.student import StudentNet

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
    rows, columns, mass = choose_copies(targets, 0)
    y, mass = CLASSES[columns], mass * weight[rows]
    exact.fit(X[rows], y, mass)
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
    """A class that no row has any probability for is an error that names it."""
    X, targets, _ = problem
    targets = np.c_[targets[:, :2] / targets[:, :2].sum(1, keepdims=True), 0 * X[:, 0]]
    for student in (logistic(), RandomForestClassifier(5)):
        with pytest.raises(
            ValueError,
            match=r"no row gives the classes \['c'\] any probability; give every class "
            r"some probability in targets, or leave the class out\.",
        ):
            fit_student(student, X, targets, classes=CLASSES)
    some = np.r_[targets[:-1], [[0, 0, 1]]]
    with pytest.raises(ValueError, match=r"no row gives the classes \['c'\]"):
        fit_student(
            logistic(), X, some, classes=CLASSES, sample_weight=np.arange(60)[::-1]
        )


class Oversampler(BaseEstimator):
    """Like imbalanced-learn's, which no soft label survives."""

    def fit_resample(self, X, y):
        raise AssertionError("never called")


def test_steps_that_resample_are_refused(problem):
    """A step that adds rows by their labels is named, and what to do instead."""
    X, targets, _ = problem
    pipe = Pipeline([("more", Oversampler()), ("log", logistic())])
    with pytest.raises(
        StudentError,
        match=r"the step 'more' of the student, a Oversampler, adds or removes rows by "
        r"their labels, .*class_weight='balanced' in the last step\.",
    ):
        fit_student(pipe, X, targets, classes=CLASSES)


def test_rows_and_targets_must_match(problem):
    """Another number of rows than of targets is named, however students learn."""
    X, targets, _ = problem
    for student in (logistic(), RandomForestClassifier(5)):
        with pytest.raises(ValueError, match=r"got 59 rows of X and 60 of targets"):
            fit_student(student, X[:59], targets, classes=CLASSES)


def test_gaussians_get_the_likeliest_labels(problem):
    """Soft labels would widen the Gaussians of the classes."""
    X, targets, _ = problem
    got = fit_student(GaussianNB(), X, targets, classes=CLASSES)
    expected = GaussianNB().fit(X, CLASSES[targets.argmax(axis=1)])
    np.testing.assert_allclose(got.var_, expected.var_)
    np.testing.assert_allclose(got.class_prior_, expected.class_prior_)


class Weighs(StandardScaler):
    """Remember whether weights came."""

    def fit(self, X, y=None, sample_weight=None):
        self.got = sample_weight
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("scaler", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_steps_get_the_weights_that_they_request(metadata_routing, scaler, last):
    """And no others, as in the fit of a Pipeline."""
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(40, 2)), rng.uniform(0.1, 5, size=40)
    targets = np.eye(2)[(X[:, 0] > 0.3).astype(int)]

    def pipeline():
        return make_pipeline(
            Weighs().set_fit_request(sample_weight=scaler),
            LogisticRegression(tol=1e-8).set_fit_request(sample_weight=last),
        )

    student = pipeline()
    fit_student(student, X, targets, classes=[0, 1], sample_weight=weight)
    assert (student[0].got is not None) == scaler
    plain = pipeline()
    params = {"sample_weight": weight} if scaler or last else {}
    plain.fit(X, targets[:, 1].astype(int), **params)
    np.testing.assert_allclose(student[-1].coef_, plain[-1].coef_, rtol=1e-4)


def test_a_distiller_hands_weights_to_the_steps_that_request_them(metadata_routing):
    """Through all rounds."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    y = np.where(np.arange(120) < 60, X[:, 0] > 0, -1)
    student = make_pipeline(
        Weighs().set_fit_request(sample_weight=True),
        LogisticRegression().set_fit_request(sample_weight=False),
    )
    model = ActiveDistiller(
        lambda X: (X[:, 0] > 0).astype(int), student, budget=20, random_state=0
    ).fit(X, y, sample_weight=np.arange(120.0) + 1)
    used = model.labeled_round_ >= 0
    assert sorted(model.student_[0].got) == sorted((np.arange(120.0) + 1)[used])


def test_masses_of_a_row_sum_to_one(rng):
    """Whatever the threshold drops, no row gains or loses weight."""
    targets = np.exp(2 * rng.normal(size=(60, 3)))
    targets /= targets.sum(axis=1, keepdims=True)
    for threshold in (0, 1e-3, 0.2, 0.5, 0.9):
        rows, columns, mass = choose_copies(targets, threshold)
        np.testing.assert_allclose(np.bincount(rows, mass), 1)
        assert (mass > 0).all()
        assert set(columns) == {0, 1, 2}
        assert (np.diff(rows) >= 0).all()
    assert len(rows) < 180


def test_rare_classes_survive_the_threshold():
    """A class below the threshold everywhere keeps its likeliest row."""
    targets = np.array([[0.9999, 0.0001], [0.9995, 0.0005], [1.0, 0.0]])
    rows, columns, mass = choose_copies(targets)
    assert rows.tolist() == [0, 1, 1, 2]
    assert columns.tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(mass, [1, 0.9995, 0.0005, 1])


def test_one_hot_rows_are_not_multiplied():
    """Certain rows stay single rows."""
    rows, columns, mass = choose_copies(np.eye(3))
    assert rows.tolist() == columns.tolist() == [0, 1, 2]
    assert mass.tolist() == [1, 1, 1]
