"""Out-of-fold predictions: no row is judged by a student that saw it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill.soft_labels._out_of_fold import give_every_class, predict_out_of_fold
from skadistill.student import StudentNet


class Memory(ClassifierMixin, BaseEstimator):
    """Remember the rows it was trained on, and say so of each row asked."""

    trained: list = []

    def fit_soft(self, X, targets, *, classes, sample_weight=None, weigh=None):
        self.classes_ = np.asarray(classes)
        self.rows_ = {float(x) for x in X[:, 0]}
        self.trained.append((self.rows_, weigh, targets))
        return self

    def predict_proba(self, X):
        known = np.array([float(x) in self.rows_ for x in X[:, 0]], dtype=float)
        return np.column_stack([known, 1 - known])


@pytest.fixture
def memory():
    Memory.trained.clear()
    return Memory()


def some_rows(rng, n=40):
    X = rng.permutation(n).astype(float)[:, None]
    targets = rng.dirichlet([1, 1], n)
    return X, targets, np.arange(n) < n // 4


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_no_row_is_judged_by_a_student_that_saw_it(rng, memory, n_folds):
    X, targets, given = some_rows(rng)
    proba = predict_out_of_fold(
        memory, X, targets, classes=[0, 1], given=given, n_folds=n_folds
    )
    np.testing.assert_array_equal(proba, np.tile([0.0, 1.0], (40, 1)))
    seen = [rows for rows, *_ in memory.trained]
    assert len(seen) == n_folds
    # Every row is in all training sets but one.
    assert sum(map(len, seen)) == (n_folds - 1) * 40


def test_given_rows_are_spread_over_the_folds(rng, memory):
    X, targets, given = some_rows(rng)
    predict_out_of_fold(memory, X, targets, classes=[0, 1], given=given, n_folds=5)
    of_given = set(X[given, 0].tolist())
    assert {len(of_given & rows) for rows, *_ in memory.trained} <= {7, 8, 9}


def test_the_seed_deals_the_folds(rng, memory):
    X, targets, given = some_rows(rng)
    for seed in (0, 0, 1):
        predict_out_of_fold(
            memory, X, targets, classes=[0, 1], given=given, n_folds=2, seed=seed
        )
    first, again, other = (memory.trained[2 * i][0] for i in range(3))
    assert first == again
    assert first != other


def test_fit_parameters_are_cut_to_the_rows_of_the_fold(rng, memory):
    X, targets, given = some_rows(rng)
    predict_out_of_fold(
        memory,
        X,
        targets,
        classes=[0, 1],
        given=given,
        fit_params=lambda rows: {"weigh": X[rows, 0]},
    )
    for rows, weigh, _ in memory.trained:
        assert set(weigh.tolist()) == rows


@pytest.mark.parametrize(
    "student",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        StudentNet(max_epochs=3, random_state=0),
    ],
)
@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame])
def test_a_class_of_one_row_is_known_in_every_fold(rng, student, container):
    """The fold that holds its only row would lack the class."""
    X, classes = rng.normal(size=(60, 3)), np.array(["a", "b", "c"])
    y = np.r_[2, np.repeat([0, 1], [30, 29])]
    proba = predict_out_of_fold(
        student,
        container(X),
        np.eye(3)[y],
        classes=classes,
        given=np.ones(60, dtype=bool),
    )
    assert proba.shape == (60, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert not hasattr(student, "classes_")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_opinion_is_an_even_one():
    """A Gaussian of one row has no width: its probabilities are not numbers."""
    X, targets = np.array([[0.0, 1.0], [2.0, 5.0]]), np.eye(2)
    given = np.ones(2, dtype=bool)
    proba = predict_out_of_fold(
        GaussianNB(), X, targets, classes=[0, 1], given=given, n_folds=2
    )
    assert np.isfinite(proba).all()
    assert (proba == 0.5).all(axis=1).any()


def test_every_class_gets_a_trace():
    """Only classes without any, in one row; the array given stays as it is."""
    targets = np.eye(3)[[0, 1, 1]]
    more = give_every_class(targets)
    assert more[0, 2] > 0 == targets[0, 2]
    np.testing.assert_allclose(more.sum(axis=1), 1)
    np.testing.assert_array_equal(more[1:], targets[1:])
    assert give_every_class(more) is more
