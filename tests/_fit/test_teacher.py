"""What a fit says about its teacher before the pool is paid."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._fit.state import Labels
from skadistill._fit.teacher import doubt_teacher
from skadistill._rows._table import RowTable
from skadistill.exceptions import TeacherAnswerError, TeacherWarning
from skadistill.ledger import MemoryLedger
from skadistill.teachers import as_teacher

NAMES = np.array(["neg", "neu", "pos"], dtype=object)


def doubts(truth, answers, names=NAMES):
    """Return the warnings about a teacher with these answers."""
    truth, answers = np.asarray(truth), np.asarray(answers)
    n_samples = len(truth)
    labels = Labels(
        RowTable(np.zeros((n_samples, 1))), np.arange(n_samples), names[truth]
    )
    estimate = SimpleNamespace(
        n_samples=n_samples,
        rows=np.arange(n_samples),
        proba=np.eye(len(names))[answers],
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        doubt_teacher(SimpleNamespace(display_name="the teacher"), estimate, labels)
    assert {warning.category for warning in told} <= {TeacherWarning}
    return [str(warning.message) for warning in told]


TRUTH = np.tile([0, 1, 2], 20)


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0], [2, 0, 1]])
def test_columns_in_another_order(order):
    """The message names the order in which the answers are right."""
    # The answer's column j means class order[j].
    answers = np.argsort(order)[TRUTH]
    (message,) = doubts(TRUTH, answers)
    meant = NAMES[order].tolist()
    assert f"would be on 60 if its columns were {meant}" in message
    assert f"as_teacher(teacher, classes={meant})" in message


@pytest.mark.parametrize(
    "answers",
    [np.zeros(60, int), np.full(60, 1), np.random.default_rng(0).permutation(TRUTH)],
    ids=["always neg", "always neu", "random"],
)
def test_teachers_that_know_nothing(answers):
    """A teacher no better than one constant answer is named."""
    (message,) = doubts(TRUTH, answers)
    assert re.search("always answering the largest class would be on 20", message)


def test_good_teachers_are_not_doubted():
    """Right ones, ones with some mistakes, and ones that find a rare class."""
    mistaken = TRUTH.copy()
    mistaken[:25] = (mistaken[:25] + 1) % 3
    rare = np.r_[np.zeros(57, int), 1, 1, 2]
    found = np.r_[np.zeros(50, int), np.ones(7, int), 1, 1, 2]
    assert doubts(TRUTH, TRUTH) == []
    assert doubts(TRUTH, mistaken) == []
    assert doubts(rare, found) == []


def test_few_rows_show_nothing():
    """Below twenty rows, chance alone does as much."""
    assert doubts(TRUTH[:18], np.zeros(18, int)) == []


@pytest.mark.parametrize("n_classes", [2, 3])
def test_other_classes_are_another_first_question(n_classes):
    """A teacher known for three classes is asked about two rows first about two."""
    X = np.arange(40.0)[:, None]
    y = np.tile(["a", "b", "c"], 14)[:40].astype(object)
    ledger = MemoryLedger()
    sizes = []

    def ask(X):
        sizes.append(len(X))
        return np.eye(3)[np.asarray(X[:, 0], dtype=int) % 3]

    teacher = as_teacher(ask, name="known", version="1")

    def fit(y):
        marked = np.where(np.arange(40) < 20, y, -1)
        ActiveDistiller(
            teacher, LogisticRegression(), budget=15, ledger=ledger, random_state=0
        ).fit(X, marked)

    fit(y)
    assert sizes[0] == 2
    sizes.clear()
    if n_classes == 3:
        fit(y)
        assert sizes == []  # all known, and nothing more to ask
    else:
        y[y == "c"] = "a"
        with pytest.raises(
            TeacherAnswerError, match="to learn a class that no labeled"
        ):
            fit(y)
        assert sizes == [2]
