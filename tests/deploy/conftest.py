"""A problem whose teacher counts, and a fitted distiller."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.checking import CheckPolicy
from skadistill.teachers import FunctionTeacher


class Problem:
    """Two classes; the teacher is right on nine rows of ten and counts its rows."""

    def __init__(self, n_samples=3000, seed=0):
        self.X, self.y = make_classification(
            n_samples,
            n_features=8,
            n_informative=6,
            n_redundant=0,
            class_sep=1.5,
            random_state=seed,
        )
        wrong = np.random.default_rng(seed).random(n_samples) < 0.02
        self.taught = self.y ^ wrong
        self.answers = {
            row.tobytes(): c for row, c in zip(self.X, self.taught, strict=True)
        }
        self.n_asked = 0
        self.teacher = FunctionTeacher(self.answer, name="oracle", cost_per_row=0.1)

    def answer(self, X):
        self.n_asked += len(X)
        return np.array([self.answers[row.tobytes()] for row in np.asarray(X)])

    def distiller(self, **params):
        params = {
            "budget": 200,
            "query_size": 100,
            "teacher_checks": CheckPolicy(error_rate=0.1),
        } | params
        params = {"ledger": MemoryLedger(), "random_state": 0} | params
        return ActiveDistiller(self.teacher, LogisticRegression(), **params)

    def fit(self, **params):
        return self.distiller(**params).fit(
            self.X[:100], self.y[:100], X_unlabeled=self.X[100:1500]
        )


@pytest.fixture
def problem():
    return Problem()
