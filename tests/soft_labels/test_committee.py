"""A committee: the same student several times, with other random numbers."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.tree import ExtraTreeClassifier

from skadistill.soft_labels._committee import (
    Committee,
    random_state_names,
    train_committee,
)
from skadistill.student import StudentNet


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
