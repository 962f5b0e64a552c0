"""What students return is brought to the usual shapes, or refused in a sentence."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.exceptions import StudentError
from skadistill.student._checks import student_classes, student_proba

CLASSES = np.array(["a", "b", "c"])


class Shaped(GaussianNB):
    """Returns what its user's functions make of the usual answers."""

    def __init__(self, labels=None, proba=None):
        super().__init__()
        self.labels, self.proba = labels, proba

    def predict(self, X):
        y = super().predict(X)
        return y if self.labels is None else self.labels(self, X, y)

    def predict_proba(self, X):
        proba = super().predict_proba(X)
        return proba if self.proba is None else self.proba(proba)

    def _joint_log_likelihood(self, X):
        return super()._joint_log_likelihood(np.asarray(X))


def column(student, X, y):
    return y[:, None]


def series(student, X, y):
    return pd.Series(y, index=np.arange(len(y))[::-1])


def listed(student, X, y):
    return y.tolist()


def as_proba(student, X, y):
    return GaussianNB.predict_proba(student, X)


class OnlyProba(ClassifierMixin, BaseEstimator):
    def fit(self, X, y, sample_weight=None):
        self.model_ = GaussianNB().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


STUDENTS = {
    "column": Shaped(column),
    "series": Shaped(series),
    "list": Shaped(listed),
    "float32": Shaped(proba=np.float32),
    "frame": Shaped(proba=pd.DataFrame),
    "lists": Shaped(proba=np.ndarray.tolist),
    "only predict_proba": OnlyProba(),
    "pipeline": make_pipeline(StandardScaler(), Shaped(column)),
    "stacking": StackingClassifier([("nb", GaussianNB())], cv=3),
    "soft voting": VotingClassifier([("nb", GaussianNB())], voting="soft"),
}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    names = CLASSES[y].astype(object)
    names[np.random.default_rng(0).random(150) < 0.5] = -1
    return X, CLASSES[y], names


@pytest.mark.parametrize("name", STUDENTS)
def test_students_of_many_kinds(name, iris):
    """A fit works, and answers have one class or one row of probabilities per row."""
    X, y, partly = iris
    model = ActiveDistiller(
        RandomForestClassifier(10, random_state=0),
        STUDENTS[name],
        budget=20,
        teacher_checks=CheckPolicy(on_weak="ignore"),
        random_state=0,
    )
    model.fit(X, partly, X_val=X, y_val=y)
    assert model.predict(X).shape == (150,)
    assert isinstance(model.predict_proba(X), np.ndarray)
    assert model.predict_proba(X).shape == (150, 3)
    assert model.score(X, y) == model.history_[-1]["student_score"] > 0.9
    assert np.mean(model.predict(X) == y) > 0.9


def test_a_predict_that_returns_probabilities():
    """The likeliest class is taken, as the user meant."""
    X, y = np.arange(9.0)[:, None], np.repeat(CLASSES, 3)
    student = Shaped(as_proba).fit(X, y)
    assert student_classes(student, X, CLASSES).tolist() == y.tolist()


@pytest.mark.parametrize(
    ("labels", "shape"),
    [
        (lambda s, X, y: np.zeros((len(y), 2, 2)), r"\(9, 2, 2\)"),
        (lambda s, X, y: np.zeros((len(y), 5)), r"\(9, 5\)"),
        (lambda s, X, y: "a", r"\(\)"),
    ],
)
def test_other_shapes_of_classes_are_named(labels, shape):
    """What cannot be one class per row is an error with its shape."""
    X, y = np.arange(9.0)[:, None], np.repeat(CLASSES, 3)
    with pytest.raises(
        StudentError,
        match=rf"predict of the student Shaped returned an array of shape {shape}; "
        r"return one class per row\.",
    ):
        student_classes(Shaped(labels).fit(X, y), X, CLASSES)


@pytest.mark.parametrize(
    ("proba", "got"),
    [
        (lambda p: p[:, 0], r"shape \(9,\) and type float64"),
        (lambda p: p[:, :2], r"shape \(9, 2\) and type float64"),
        (lambda p: p.astype(str), r"shape \(9, 3\) and type <U32"),
    ],
)
def test_other_shapes_of_probabilities_cost_nothing(proba, got, iris):
    """Such a student is refused before the teacher is asked."""
    X, y = np.arange(9.0)[:, None], np.repeat(CLASSES, 3)
    student = Shaped(proba=proba).fit(X, y)
    with pytest.raises(StudentError, match=rf"{got} for 3 classes; return one column"):
        student_proba(student, X, 3)
    asked = []
    X, _, partly = iris
    with pytest.raises(StudentError, match="predict_proba of the student Shaped"):
        ActiveDistiller(asked.append, Shaped(proba=proba), budget=20).fit(X, partly)
    assert asked == []


def test_hard_voting_is_refused_before_anything_is_paid(iris):
    """A student whose predict_proba depends on its settings says so."""
    X, _, partly = iris
    asked = []
    with pytest.raises(TypeError, match="VotingClassifier has no predict_proba"):
        ActiveDistiller(
            asked.append, VotingClassifier([("nb", GaussianNB())]), budget=20
        ).fit(X, partly)
    assert asked == []


def test_catboost(iris):
    """CatBoost predicts columns of classes."""
    catboost = pytest.importorskip("catboost")
    X, y, partly = iris
    student = catboost.CatBoostClassifier(
        iterations=10, verbose=0, allow_writing_files=False, thread_count=1
    )
    model = ActiveDistiller(GaussianNB(), student, budget=20, random_state=0)
    model.fit(X, partly)
    assert model.predict(X).shape == (150,)
    assert np.mean(model.predict(X) == y) > 0.9
