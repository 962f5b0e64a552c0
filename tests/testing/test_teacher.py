"""Teachers of every kind keep the contract; each breach of it is told."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from skadistill.datasets import NoisyTeacher
from skadistill.exceptions import TeacherAnswerError
from skadistill.teachers import BaseTeacher
from skadistill.testing import check_teacher

X = np.random.default_rng(0).normal(size=(7, 2))
Y = np.array([0, 1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize(
    "teacher",
    [
        LogisticRegression().fit(X, Y),
        RandomForestClassifier(5, random_state=0).fit(X, Y),
        NoisyTeacher(X, Y, error_rate=0.2, random_state=0),
        lambda rows: (rows[:, 0] > 0).astype(int),
    ],
    ids=["linear", "forest", "noisy", "labels"],
)
def test_teachers_keep_the_contract(teacher):
    check_teacher(teacher, X, [0, 1])


def two_columns(first):
    return np.column_stack([first, 1 - first])


class Sound(BaseTeacher):
    def answer(self, X):
        return two_columns(1 / (1 + np.exp(X[:, 0])))

    def derived_identity(self):
        return "sound"


class Ranking(Sound):
    def answer(self, X):
        return two_columns(np.arange(len(X)) / len(X))


class Batching(Sound):
    def answer(self, X):
        return two_columns(np.full(len(X), 1 / len(X)))


class Writing(Sound):
    def answer(self, X):
        proba = super().answer(X)
        X[:] = 0
        return proba


class Counting(Sound):
    n_calls = 0

    def answer(self, X):
        self.n_calls += 1
        return super().answer(X)

    def derived_identity(self):
        return f"asked {self.n_calls} times"


class Numbered(Sound):
    n_made = 0

    def __init__(self):
        Numbered.n_made += 1
        self.number = Numbered.n_made

    def derived_identity(self):
        return f"number {self.number}"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Ranking, "answers otherwise when the rows come in another order"),
        (Batching, "answers otherwise when it is asked about fewer rows at once"),
        (Writing, "it writes into the rows"),
        (Counting, "its identity changes by answering"),
        (Numbered, "its identity changes by cloning"),
    ],
)
def test_a_breach_is_told(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_teacher(broken(), X.copy(), [0, 1])


def test_what_is_no_answer_is_the_teachers_error():
    with pytest.raises(TeacherAnswerError):
        check_teacher(lambda rows: np.full((len(rows), 3), 1 / 3), X, [0, 1])


def test_the_sound_one_passes():
    """What the broken ones inherit is no breach by itself."""
    check_teacher(Sound(), X, [0, 1])
