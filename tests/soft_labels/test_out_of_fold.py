"""Students trained on parts of the rows, and several that differ by chance alone."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, QuantileTransformer
from sklearn.tree import ExtraTreeClassifier

from skadistill.soft_labels._out_of_fold import (
    Committee,
    give_every_class,
    predict_out_of_fold,
    random_state_names,
    train_committee,
)
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
        make_pipeline(MaxAbsScaler(), LogisticRegression()),
        StudentNet(max_epochs=3, random_state=0),
    ],
)
def test_a_class_of_one_row_is_known_in_every_fold(rng, student, as_table):
    """The fold that holds its only row would lack the class."""
    X, classes = rng.normal(size=(60, 3)), np.array(["a", "b", "c"])
    y = np.r_[2, np.repeat([0, 1], [30, 29])]
    proba = predict_out_of_fold(
        student,
        as_table(X),
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


class Recorder(ClassifierMixin, BaseEstimator):
    """Note what `fit` gets, and predict by the seed."""

    fits: list = []

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit_soft(self, X, targets, *, classes, sample_weight=None, **params):
        self.classes_ = np.asarray(classes)
        self.fits.append((X, targets, params))
        return self

    def predict_proba(self, X):
        share = (self.random_state % 1000) / 1000
        return np.tile([share, 1 - share], (len(X), 1))


@pytest.fixture
def recorder():
    Recorder.fits.clear()
    return Recorder(random_state=3)


def train(student, rng, **params):
    X = rng.normal(size=(60, 3))
    targets = np.eye(2)[(X[:, 0] > 0).astype(int)]
    return train_committee(student, X, targets, classes=[0, 1], seed=7, **params), X


def test_members_have_seeds_of_their_own(rng, recorder):
    """All differ, from each other and from the student, which stays as it was."""
    committee, _ = train(recorder, rng)
    seeds = {member.random_state for member in committee.students}
    assert len(seeds - {3}) == 5
    assert recorder.random_state == 3
    assert not hasattr(recorder, "classes_")


def test_the_same_seed_trains_the_same_committee(recorder):
    found = []
    for _ in range(2):
        committee, _ = train(recorder, np.random.default_rng(0))
        found.append([member.random_state for member in committee.students])
    assert found[0] == found[1]


def test_all_members_see_all_rows_and_the_metadata(rng, recorder):
    weigh = np.arange(60)
    committee, X = train(recorder, rng, n_students=3, weigh=weigh)
    assert len(committee.students) == len(recorder.fits) == 3
    for seen, targets, params in recorder.fits:
        assert seen is X
        np.testing.assert_allclose(targets.sum(axis=1), 1)
        assert targets.min() > 0  # no fold of classes may lack one
        assert params["weigh"] is weigh


def test_it_predicts_the_mean_of_its_members(rng, recorder):
    committee, X = train(recorder, rng)
    each = [member.predict_proba(X) for member in committee.students]
    np.testing.assert_allclose(committee.predict_proba(X), np.mean(each, axis=0))
    alone = Committee(committee.students[:1], 2)
    np.testing.assert_array_equal(alone.predict_proba(X), each[0])


def test_seeds_of_the_parts_of_a_pipeline_are_set(rng):
    """The net of the last step, and what stands before it."""
    student = make_pipeline(
        QuantileTransformer(n_quantiles=20, random_state=1),
        StudentNet(max_epochs=2, random_state=1),
    )
    names = random_state_names(student)
    assert names == ["quantiletransformer__random_state", "studentnet__random_state"]
    committee, X = train(student, rng, n_students=2)
    first, second = (member.get_params() for member in committee.students)
    assert all(first[name] != second[name] for name in names)
    proba = [member.predict_proba(X) for member in committee.students]
    assert not np.array_equal(*proba)


def test_a_student_without_chance_makes_a_committee_of_one(rng):
    committee, _ = train(GaussianNB(), rng)
    assert len(committee.students) == 1


@pytest.mark.parametrize("student", [ExtraTreeClassifier(), StudentNet(max_epochs=5)])
def test_nothing_is_left_to_the_global_state(student):
    """Two calls in one process give the same probabilities."""
    found = []
    for _ in range(2):
        np.random.seed(None)
        committee, X = train(student, np.random.default_rng(2), n_students=2)
        found.append(committee.predict_proba(X))
    np.testing.assert_array_equal(*found)
