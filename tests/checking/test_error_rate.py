"""The estimated error is the true one, within what chance allows."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB

from skadistill.checking import estimate_teacher_error
from skadistill.exceptions import TeacherAnswerError, TeacherWarning
from skadistill.ledger import MemoryLedger
from skadistill.teachers import FunctionTeacher, as_teacher

CLASSES = ["a", "b", "c"]


class Memory(ClassifierMixin, BaseEstimator):
    """Know by heart the rows it was fitted on; remember who taught it what."""

    fits = []

    def fit(self, X, y, weight=None, flag=None):
        self.classes_ = np.unique(y)
        self.seen_ = dict(zip(np.asarray(X)[:, 0], y, strict=True))
        Memory.fits.append((np.asarray(X)[:, 0], weight, flag))
        return self

    def predict(self, X):
        return np.array([self.seen_.get(v, self.classes_[0]) for v in X[:, 0]])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("n_samples", [None, 150])
def test_a_known_error_is_found(rate, n_samples):
    """A function wrong with a known rate: the count lies in the binomial interval."""
    rng = np.random.default_rng(int(10 * rate) + (n_samples or 0))
    n = 500
    truth = rng.integers(0, 3, size=n)
    said = np.where(rng.random(n) < rate, (truth + 1) % 3, truth)
    X = np.arange(n, dtype=float)[:, None]
    asked = []

    def teacher(X):
        asked.extend(X[:, 0].astype(int))
        return np.array(CLASSES)[said[X[:, 0].astype(int)]]

    estimate = estimate_teacher_error(
        as_teacher(teacher, batch_size=64),
        X,
        np.array(CLASSES)[truth],
        classes=CLASSES,
        n_samples=n_samples,
        random_state=0,
    )
    r = n_samples or n
    # A right implementation fails one of the six cases with probability < 1e-5.
    low, high = binom.interval(1 - 1e-6, r, rate) if rate else (0, 0)
    assert low <= estimate.n_wrong <= high
    assert estimate.n_wrong == np.sum(said[estimate.rows] != truth[estimate.rows])
    assert estimate.rate == (estimate.n_wrong + 1) / (r + 2)
    assert estimate.method == "asked"
    assert estimate.n_paid == estimate.n_samples == r == len(asked)
    assert sorted(asked) == estimate.rows.tolist()
    assert (np.diff(estimate.rows) > 0).all()
    assert (estimate.proba.argmax(axis=1) == said[estimate.rows]).all()


def test_the_rows_asked_are_drawn_at_random():
    """Another seed asks other rows; the same seed the same rows, then free."""
    X, y = np.arange(50.0)[:, None], np.repeat(["a", "b"], 25)
    teacher = FunctionTeacher(lambda X: ["a"] * len(X), name="always a")
    ledger = MemoryLedger()

    def estimate(seed):
        return estimate_teacher_error(
            teacher, X, y, classes=["a", "b"], n_samples=20, ledger=ledger,
            random_state=seed,
        )  # fmt: skip

    first, again, other = estimate(0), estimate(0), estimate(1)
    assert (first.n_paid, again.n_paid) == (20, 0)
    assert (first.rows == again.rows).all()
    assert first.rate == again.rate
    assert (first.rows != other.rows).any()
    assert 0 < other.n_paid < 20
    assert 4 <= first.n_wrong <= 16


def test_cross_fitting_judges_unseen_rows():
    """A teacher that only remembers is always wrong on rows it has not seen."""
    X, y = np.arange(40.0)[:, None], np.array(["b"] * 20 + ["c"] * 20)
    Memory.fits.clear()
    estimate = estimate_teacher_error(
        Memory(), X, y, classes=CLASSES, cv=4, random_state=0
    )
    assert estimate.method == "cross-fitted"
    assert estimate.n_paid == 0
    assert (estimate.n_wrong, estimate.n_samples) == (20, 40)
    assert estimate.rate == 21 / 42
    assert [len(rows) for rows, _, _ in Memory.fits] == [30] * 4
    left_out = [set(X[:, 0]) - set(rows) for rows, _, _ in Memory.fits]
    assert set.union(*left_out) == set(X[:, 0])
    assert all(len(left & set(range(20))) == 5 for left in left_out), "stratified"


def test_cross_fitting_is_close_to_a_held_out_truth():
    """On separable-with-noise data the estimate is near the Bayes rate."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    clean = (X[:, 0] > 0).astype(int)
    y = np.where(rng.random(400) < 0.2, 1 - clean, clean)
    estimate = estimate_teacher_error(
        LogisticRegression(), X, y, classes=[0, 1], random_state=0
    )
    low, high = binom.interval(1 - 1e-6, 400, 0.21)
    assert low <= estimate.n_wrong <= high
    assert estimate.proba.shape == (400, 2)
    assert (estimate.rows == np.arange(400)).all()
    np.testing.assert_allclose(estimate.proba.sum(axis=1), 1.0)


@pytest.mark.parametrize("model", [GaussianNB(), LogisticRegression()])
def test_rare_classes_count_as_wrong_and_warn_nobody(model):
    """A class with one row is wrong by construction; nothing crashes or warns."""
    rng = np.random.default_rng(0)
    y = np.array(["a"] * 12 + ["b"] * 11 + ["c"])
    X = rng.normal(size=(24, 2)) + 20 * (y == "b")[:, None]
    estimate = estimate_teacher_error(model, X, y, classes=CLASSES, random_state=0)
    assert estimate.n_samples == 24
    assert estimate.proba[23].argmax() != 2
    assert estimate.proba[23, 2] == 0.0
    assert estimate.n_wrong == 1


class Picky(ClassifierMixin, BaseEstimator):
    """Refuses rows that lack a class, as XGBoost does, or have few of one."""

    def __init__(self, at_least):
        self.at_least = at_least

    def fit(self, X, y):
        counts = [np.sum(y == name) for name in CLASSES]
        if min(counts) < self.at_least:
            raise ValueError(f"classes have {counts} rows\nand more lines")
        self.classes_ = CLASSES
        return self

    def predict_proba(self, X):
        return np.tile([0.8, 0.1, 0.1], (len(X), 1))


@pytest.mark.parametrize(("n_rare", "n_folds"), [(1, 1), (3, 3), (5, 5)])
def test_folds_that_cannot_be_fitted_are_counted(n_rare, n_folds):
    """Cross-fitting asks no more than a fit of all rows, which works here."""
    at_least = n_rare
    y = np.array(["a"] * 13 + ["b"] * 10 + ["c"] * n_rare)
    X = np.zeros((len(y), 2))
    Picky(at_least).fit(X, y)
    with pytest.warns(
        TeacherWarning,
        match=rf"could not be fitted without \d+ of the {len(y)} labeled rows, in "
        rf"{n_folds} folds .* error was ValueError: classes have [^\n]*rows$",
    ):
        estimate = estimate_teacher_error(
            Picky(at_least), X, y, classes=CLASSES, random_state=0
        )
    assert estimate.n_samples == len(estimate.rows) < len(y)
    assert len(estimate.proba) == estimate.n_samples
    assert estimate.rate == (estimate.n_wrong + 1) / (estimate.n_samples + 2)


@pytest.mark.parametrize(
    ("y", "n_wrong"),
    [(["a", "b"], 2), (["a", "a"], 0), (["a", "a", "b"], 1), (["c"], 1), ([], 0)],
)
def test_very_few_rows(y, n_wrong):
    """One class or no row at all in a training fold is no crash."""
    y = np.array(y, dtype=object)
    estimate = estimate_teacher_error(
        LogisticRegression(), np.arange(len(y), dtype=float)[:, None], y,
        classes=CLASSES, random_state=0,
    )  # fmt: skip
    assert estimate.n_samples == len(y)
    assert estimate.n_wrong == n_wrong
    assert estimate.rate == (n_wrong + 1) / (len(y) + 2)
    assert estimate.proba.shape == (len(y), 3)


def test_there_are_no_more_folds_than_rows():
    """Nine folds of four rows are four; one fold is refused."""
    X, y = np.arange(4.0)[:, None], ["a", "b", "a", "b"]
    Memory.fits.clear()
    estimate_teacher_error(Memory(), X, y, classes=CLASSES, cv=9, random_state=0)
    assert len(Memory.fits) == 4
    with pytest.raises(ValueError) as caught:
        estimate_teacher_error(Memory(), X, y, classes=CLASSES, cv=1)
    assert str(caught.value) == (
        "cv is 1, which leaves no row to learn from; pass at least 2 folds."
    )


def test_no_row_to_ask_about():
    """Without labeled rows a ready teacher gets the prior mean, unpaid."""
    estimate = estimate_teacher_error(
        lambda X: 1 / 0, np.empty((0, 2)), [], classes=CLASSES
    )
    assert (estimate.rate, estimate.n_samples, estimate.n_paid) == (0.5, 0, 0)
    assert estimate.proba.shape == (0, 3)


def test_the_folds_follow_the_seed():
    """Same seed, same folds; another seed, others."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.tile(["a", "b", "c"], 20)

    def proba(seed):
        return estimate_teacher_error(
            GaussianNB(), X, y, classes=CLASSES, random_state=seed
        ).proba

    assert (proba(0) == proba(0)).all()
    assert (proba(0) != proba(1)).any()


def test_own_splitters():
    """A splitter is used as it is; rows it never tests are not compared."""
    X, y = np.arange(30.0)[:, None], np.tile(["a", "b"], 15)
    Memory.fits.clear()
    estimate = estimate_teacher_error(Memory(), X, y, classes=CLASSES, cv=KFold(3))
    assert estimate.n_samples == 30
    assert Memory.fits[0][0].tolist() == list(range(10, 30))
    one_fold = [(np.arange(20), np.arange(20, 25))]
    estimate = estimate_teacher_error(Memory(), X, y, classes=CLASSES, cv=one_fold)
    assert estimate.rows.tolist() == [20, 21, 22, 23, 24]
    assert estimate.proba.shape == (5, 3)
    assert estimate.n_wrong == 2


@pytest.mark.parametrize("wrap", [np.asarray, pd.Series, list])
def test_row_aligned_fit_parameters_are_sliced(wrap):
    """Weights travel with their rows; other parameters arrive whole."""
    X, y = np.arange(12.0)[:, None], np.tile(["a", "b"], 6)
    Memory.fits.clear()
    estimate_teacher_error(
        Memory(), X, y, classes=CLASSES, cv=3, random_state=0,
        fit_params={"weight": wrap(X[:, 0] * 10), "flag": "twelve chars"},
    )  # fmt: skip
    assert len(Memory.fits) == 3
    for rows, weight, flag in Memory.fits:
        np.testing.assert_array_equal(np.asarray(weight), rows * 10)
        assert flag == "twelve chars"


def test_cross_fitting_in_any_container(as_table):
    """Sparse rows and frames are cut into folds as they are."""
    X = np.random.default_rng(0).normal(size=(30, 2))
    y = np.where(X[:, 0] > 0, "a", "b")
    estimates = [
        estimate_teacher_error(
            LogisticRegression(), rows, y, classes=["a", "b"], random_state=0
        )
        for rows in (X, as_table(X))
    ]
    np.testing.assert_allclose(estimates[0].proba, estimates[1].proba, atol=1e-6)


def test_a_label_that_is_no_class_is_named():
    """Labeled rows must hold the classes given."""
    with pytest.raises(TeacherAnswerError) as caught:
        estimate_teacher_error(
            DummyClassifier(), [[0.0], [1.0]], ["a", "z"], classes=["a", "b"]
        )
    assert str(caught.value) == (
        "y holds the label 'z' in row 1, which is not one of the classes 'a', 'b'; "
        "pass labeled rows only, and all of their classes."
    )


def test_a_fitted_teacher_is_asked_not_fitted():
    """A fitted estimator answers itself, once a row."""
    X, y = np.arange(20.0)[:, None], np.tile(["a", "b"], 10)
    teacher = Memory().fit(X, y)
    Memory.fits.clear()
    estimate = estimate_teacher_error(
        teacher, X, y, classes=["a", "b"], ledger=MemoryLedger()
    )
    assert Memory.fits == []
    assert (estimate.method, estimate.n_wrong, estimate.n_paid) == ("asked", 0, 20)
    assert estimate.rate == 1 / 22
