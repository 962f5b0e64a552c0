"""Students of scikit-learn are loaded and used without this package."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._default import default_students

# A finder that refuses is asked before all others.
USE = """
import pickle, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("skadistill", "torch", "skorch"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
with open(sys.argv[1], "rb") as file:
    students, X, expected = pickle.load(file)
for student, proba in zip(students, expected, strict=True):
    assert abs(student.predict_proba(X) - proba).max() < 1e-12
    assert list(student.predict(X[:1]))[0] in ("no", "yes")
"""
rng = np.random.default_rng(0)
Y = rng.integers(2, size=90)
NUMBERS = rng.normal(size=(90, 3)) + Y[:, None]
NAMES = np.array(["no", "yes"])[Y]
FRAME = pd.DataFrame(NUMBERS, columns=["a", "b", "c"]).assign(
    color=pd.Categorical(rng.choice(["red", "blue"], 90)),
    new=rng.random(90) < 0.5,
    note=[
        None if n % 9 == 0 else f"a {name} from shop {n}, again"
        for n, name in enumerate(NAMES)
    ],
)
ROWS = {
    "texts": [f"a {name} from shop {n}" for n, name in enumerate(NAMES)],
    "table": NUMBERS,
    "frame": FRAME.drop(columns="note"),
    "texts beside numbers": FRAME,
}
STUDENTS = [
    LogisticRegression(),
    make_pipeline(StandardScaler(), RandomForestClassifier(10)),
    HistGradientBoostingClassifier(max_iter=5),
    GaussianNB(),
    MLPClassifier((4,), max_iter=300, tol=0.1),
    SGDClassifier(loss="log_loss"),
    CalibratedClassifierCV(RandomForestClassifier(5), cv=2),
]


def use_elsewhere(students, X, tmp_path):
    """Load students in a new process, which has scikit-learn alone."""
    expected = [student.predict_proba(X) for student in students]
    (tmp_path / "students").write_bytes(pickle.dumps((students, X, expected)))
    command = [sys.executable, "-c", USE, str(tmp_path / "students")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ROWS)
def test_default_students_need_scikit_learn_alone(kind, tmp_path):
    """All that may be chosen, for every kind of rows."""
    X, soft = ROWS[kind], np.eye(2)[Y] * 0.8 + 0.1
    students = [
        fit_student(student, X, soft, classes=["no", "yes"])
        for name, student in default_students([X], 2).items()
        if name.endswith(("C=4", "C=10", "C=0.1", "forest", "boosting"))
    ]
    use_elsewhere(students, X, tmp_path)


def test_the_student_of_a_default_fit_needs_scikit_learn_alone(tmp_path):
    """It is student_; the ledger and the teacher stay with the distiller."""
    y = NAMES.astype(object)
    y[30:] = None
    distiller = ActiveDistiller(
        lambda rows: [NAMES[int(text.split()[-1])] for text in rows],
        budget=20,
        query_size=20,
        random_state=0,
    ).fit(ROWS["texts"], y)
    use_elsewhere([distiller.student_], ROWS["texts"], tmp_path)


@pytest.mark.parametrize("student", STUDENTS, ids=lambda s: type(s).__name__)
def test_students_need_scikit_learn_alone(student, tmp_path):
    """So do those of scikit-learn that are passed, however they learn soft labels."""
    y = NAMES.astype(object)
    y[30:] = None
    distiller = ActiveDistiller(
        LogisticRegression(), student, budget=20, query_size=20, random_state=0
    ).fit(NUMBERS, y)
    use_elsewhere([distiller.student_], NUMBERS, tmp_path)
