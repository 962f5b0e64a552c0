"""What a fit says about its teacher before the pool is paid."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.exceptions import TeacherAnswerError
from skadistill.ledger import MemoryLedger
from skadistill.teachers import as_teacher


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
