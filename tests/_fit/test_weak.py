"""A teacher that is no better than the student is told, and costs no accuracy."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from skadistill import ActiveDistiller
from skadistill.exceptions import TeacherError, TeacherWarning


@pytest.fixture
def problem():
    """Make a linear problem: the student is good at it, and a stump is not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 8))
    y = (X @ rng.normal(size=8) + 0.3 * rng.normal(size=800) > 0).astype(int)
    return X, np.where(np.arange(800) < 150, y, -1), y


def distiller(teacher, **params):
    params = {"budget": 300, "random_state": 0} | params
    return ActiveDistiller(teacher, LogisticRegression(), **params)


STUMP = DecisionTreeClassifier(max_depth=1)


def test_a_weak_teacher_is_told_before_it_is_paid(problem):
    """With the numbers of both; silent if asked to be."""
    X, y, _ = problem
    with pytest.warns(
        TeacherWarning, match=r"right on \d+ of 150 labeled rows, and st"
    ):
        distiller(STUMP).fit(X, y)
    distiller(STUMP, on_weak_teacher="ignore").fit(X, y)


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_a_weak_teacher_can_be_refused(problem):
    """No row of the pool is paid for; the checks were."""
    X, y, _ = problem
    asked = []

    def teacher(X):
        asked.append(len(X))
        return np.random.default_rng(len(asked)).integers(0, 2, len(X))

    model = distiller(
        teacher, query_strategy="rad", n_teacher_checks=60, on_weak_teacher="raise"
    )
    with pytest.raises(TeacherError, match="its labels may do more harm than good"):
        model.fit(X, y)
    assert sum(asked) == 60


def test_a_good_teacher_is_not_doubted(problem):
    """No warning, and the last student is kept."""
    X, y, _ = problem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = distiller(lambda rows: _truth(X, problem[2], rows)).fit(X, y)
    assert model.student_round_ == model.n_rounds_ > 0


def _truth(X, y, rows):
    known = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
    return np.array([known[row.tobytes()] for row in rows])


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
@pytest.mark.parametrize("teacher", [STUMP, DummyClassifier()], ids=["stump", "dummy"])
def test_the_better_student_is_kept(problem, teacher):
    """The one of the given labels alone: nothing is lost by the bad teacher."""
    X, y, truth = problem
    model = distiller(teacher).fit(X, y)
    alone = LogisticRegression().fit(X[:150], y[:150])
    assert model.student_round_ == 0 < model.n_rounds_
    np.testing.assert_array_equal(model.predict(X), alone.predict(X))
    worse = distiller(teacher, on_weak_teacher="ignore").fit(X, y)
    assert worse.student_round_ == worse.n_rounds_
    assert worse.score(X, truth) < model.score(X, truth) - 0.03


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_few_rows_tell_nothing(problem):
    """Twenty labeled rows neither warn nor choose."""
    X, y, _ = problem
    y = np.where(np.arange(800) < 20, y, -1)
    model = distiller(STUMP).fit(X, y)
    assert model.student_round_ == model.n_rounds_


def test_alike_is_not_worse():
    """A teacher of the student's own kind is no news: hardly ever a warning."""
    warned = 0
    for seed in range(20):
        X, y = make_classification(300, n_features=8, random_state=seed)
        y[100:] = -1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            distiller(
                RandomForestClassifier(10, random_state=seed), budget=20
            ).set_params(student=RandomForestClassifier(10, random_state=seed + 1)).fit(
                X, y
            )
        warned += any(issubclass(w.category, TeacherWarning) for w in caught)
    assert warned <= 4


@pytest.mark.parametrize("value", ["stop", None, True])
def test_what_to_do_is_checked(problem, value):
    X, y, _ = problem
    with pytest.raises(ValueError, match="on_weak_teacher"):
        distiller(STUMP, on_weak_teacher=value).fit(X, y)
