"""Out-of-bag scores of ensembles that were fitted to soft labels."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier

from skadistill.soft_labels import fit_student
from skadistill.soft_labels._out_of_bag import score_out_of_bag

CLASSES = np.array(["a", "b", "c"])
# So many that each row is new to some member, although some versions of scikit-learn
# leave all three copies of a row out of only 5 % of the bags.
N_MEMBERS = 200


@pytest.fixture(scope="module")
def problem():
    X, y = make_classification(
        600, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    teacher = RandomForestClassifier(50, min_samples_leaf=3, random_state=0)
    teacher.fit(X[:300], y[:300])
    return X[300:], teacher.predict_proba(X[300:]), X[:300], y[:300]


@pytest.mark.parametrize(
    "student",
    [
        RandomForestClassifier(N_MEMBERS, oob_score=True, random_state=0),
        ExtraTreesClassifier(N_MEMBERS, oob_score=True, bootstrap=True, random_state=0),
        BaggingClassifier(n_estimators=N_MEMBERS, oob_score=True, random_state=0),
        BaggingClassifier(
            LogisticRegression(),
            N_MEMBERS,
            oob_score=True,
            max_features=0.6,
            random_state=0,
        ),
    ],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, sp.csr_matrix])
def test_the_score_is_near_that_on_new_rows(student, kind, problem):
    """About as many rows are matched as of rows that were never seen."""
    X, targets, X_new, y_new = problem
    fit_student(student, kind(X), targets, classes=CLASSES)
    assert student.oob_score is True
    new = np.mean(student.predict(kind(X_new)) == CLASSES[y_new])
    assert student.oob_score_ == pytest.approx(new, abs=0.15)
    assert student.oob_decision_function_.shape == (300, 3)
    np.testing.assert_allclose(student.oob_decision_function_.sum(axis=1), 1)


def test_on_single_rows_it_is_scikit_learns(problem):
    """Where each row has one copy, the numbers are those of scikit-learn."""
    X, targets, _, _ = problem
    y = CLASSES[targets.argmax(axis=1)]
    forest = RandomForestClassifier(60, oob_score=True, random_state=0).fit(X, y)
    score, votes = forest.oob_score_, forest.oob_decision_function_
    score_out_of_bag(forest, X, np.arange(300), y)
    assert forest.oob_score_ == pytest.approx(score)
    np.testing.assert_allclose(forest.oob_decision_function_, votes, atol=1e-12)


def test_metrics_of_the_user(problem):
    """A callable oob_score gets the likeliest labels and the votes."""
    X, targets, _, _ = problem
    forest = RandomForestClassifier(
        N_MEMBERS, oob_score=balanced_accuracy_score, random_state=0
    )
    fit_student(forest, X, targets, classes=CLASSES)
    likeliest = CLASSES[targets.argmax(axis=1)]
    votes = CLASSES[forest.oob_decision_function_.argmax(axis=1)]
    assert forest.oob_score_ == balanced_accuracy_score(likeliest, votes)


def test_members_without_probabilities_vote(problem):
    """Bagged classifiers that only predict count as one vote each."""
    X, targets, _, _ = problem
    bagged = BaggingClassifier(Perceptron(), N_MEMBERS, oob_score=True, random_state=0)
    fit_student(bagged, X, targets, classes=CLASSES)
    assert 0.4 < bagged.oob_score_ < 1


def test_rows_that_all_members_saw_are_said(problem):
    """Two trees leave few rows out; the score is about those."""
    X, targets, _, _ = problem
    forest = RandomForestClassifier(2, oob_score=True, random_state=0)
    with pytest.warns(UserWarning, match=r"of 300 rows are in the bag of every member"):
        fit_student(forest, X, targets, classes=CLASSES)
    assert 0 < forest.oob_score_ < 1


def test_members_that_lack_a_class(problem):
    """A member whose bag has no row of a class gives it no vote."""
    X, targets, _, _ = problem
    targets = targets.copy()
    targets[:, 2] = 0
    targets[0] = [0, 0, 1]
    targets /= targets.sum(axis=1, keepdims=True)
    bagged = BaggingClassifier(
        DecisionTreeClassifier(random_state=0),
        N_MEMBERS,
        oob_score=True,
        random_state=0,
    )
    fit_student(bagged, X, targets, classes=CLASSES)
    assert bagged.oob_decision_function_.shape == (300, 3)
