"""Equal contents give equal identities, in any process; other contents give others."""

import collections
import copy
import functools
import os
import pickle
import re
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from skorch import NeuralNetClassifier

from skadistill.student import StudentNet
from skadistill.teachers import as_teacher
from skadistill.teachers._identity import _digest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)
TEXTS = [" ".join(f"w{int(3 * v)}" for v in row) for row in X]


def net():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 8),
        torch.nn.Dropout(),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 3),
    )
    return NeuralNetClassifier(
        module, criterion=torch.nn.CrossEntropyLoss, max_epochs=1, verbose=0
    )


def boosted(package, name, **params):
    return lambda: getattr(pytest.importorskip(package), name)(**params)


TEACHERS = {
    "logistic": lambda: LogisticRegression(),
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(5, random_state=0),
    "ada": lambda: AdaBoostClassifier(n_estimators=3, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=3, random_state=0),
    "svc": lambda: SVC(random_state=0),
    "neighbors": lambda: KNeighborsClassifier(algorithm="kd_tree"),
    "ball tree": lambda: KNeighborsClassifier(algorithm="ball_tree"),
    "radius": lambda: RadiusNeighborsClassifier(5.0),
    "gaussian process": lambda: GaussianProcessClassifier(),
    "mlp": lambda: MLPClassifier(4, max_iter=300, random_state=0),
    "calibrated": lambda: CalibratedClassifierCV(LogisticRegression(), cv=2),
    "stacking": lambda: StackingClassifier(
        [
            ("f", RandomForestClassifier(3, random_state=0)),
            ("k", KNeighborsClassifier()),
        ]
    ),
    "voting": lambda: VotingClassifier(
        [("l", LogisticRegression()), ("k", KNeighborsClassifier())], voting="soft"
    ),
    "search": lambda: GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
    "tfidf": lambda: make_pipeline(
        TfidfVectorizer(stop_words=["w1"]), LogisticRegression()
    ),
    "sparse neighbors": lambda: make_pipeline(
        CountVectorizer(), KNeighborsClassifier()
    ),
    "student": lambda: StudentNet(max_epochs=1, random_state=0),
    "skorch": net,
    "xgboost": boosted("xgboost", "XGBClassifier", n_estimators=3),
    "lightgbm": boosted("lightgbm", "LGBMClassifier", n_estimators=3, verbose=-1),
    "catboost": boosted(
        "catboost",
        "CatBoostClassifier",
        iterations=3,
        verbose=0,
        allow_writing_files=False,
    ),
}


def fitted(name):
    rows = TEXTS if name in ("tfidf", "sparse neighbors") else X
    return TEACHERS[name]().fit(rows, Y), rows


def identity(obj):
    return as_teacher(obj).identity


@pytest.mark.filterwarnings("ignore")  # few steps, few rows
@pytest.mark.parametrize("name", TEACHERS)
def test_a_fitted_teacher_is_known_again(name, tmp_path):
    """Neither answering nor a way through a file changes who it is."""
    model, rows = fitted(name)
    before = identity(model)
    assert "process-" not in before
    model.predict(rows)
    assert identity(model) == before
    loaded = pickle.loads(pickle.dumps(model))
    assert identity(loaded) == before
    joblib.dump(loaded, tmp_path / "model.joblib")
    read = joblib.load(tmp_path / "model.joblib")
    read.predict(rows[:3])
    assert identity(read) == before
    other = TEACHERS[name]()
    rows = rows[::-1] if isinstance(rows, list) else rows[::-1].copy()
    assert identity(other.fit(rows, Y)) != before


PROCESS = """
import sys, warnings
warnings.simplefilter("ignore")
import joblib
from skadistill.teachers import as_teacher
from skadistill.teachers._identity import _digest
for path in sys.argv[1:]:
    model, rows = joblib.load(path)
    model.predict(rows)
    print(as_teacher(model).identity)
"""


@pytest.mark.filterwarnings("ignore")
def test_other_processes_know_teachers_read_from_a_file(tmp_path):
    """The same files give the same identities, whatever seeds the hashes."""
    expected, paths = [], []
    for name in TEACHERS:
        try:
            model, rows = fitted(name)
        except pytest.skip.Exception:
            continue
        paths.append(str(tmp_path / f"{name}.joblib"))
        joblib.dump((model, rows[:5]), paths[-1])
        expected.append(identity(model))
    assert len(set(expected)) == len(expected) >= 20
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", PROCESS, *paths],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.split("\n")
        assert found[:-1] == expected


def padded(byte):
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    array = np.empty(3, dtype=dtype)
    array.view(np.uint8)[:] = byte
    array["a"], array["b"] = 1, 2.0
    return array


TABLE = np.arange(600.0).reshape(20, 30)


def unsorted():
    matrix = sparse.csr_matrix(([1.0, 2.0], [2, 0], [0, 2]), shape=(1, 3))
    return matrix, sparse.csr_matrix(([2.0, 1.0], [0, 2], [0, 2]), shape=(1, 3))


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (padded(0), padded(255)),
        (TABLE, np.asfortranarray(TABLE)),
        (np.arange(99.0), np.arange(99.0).astype(">f8")),
        (
            np.array(["a", None, 3], dtype=object),
            np.array(["a", None, 3], dtype=object),
        ),
        unsorted(),
        (torch.ones(3, dtype=torch.bfloat16), torch.ones(6, dtype=torch.bfloat16)[::2]),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        ([padded(0)] * 2, [padded(0), padded(1)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layout_does_not_count(one, same):
    """Padding, order in memory and shared references are not contents."""
    assert _digest(one) == _digest(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ("1", b"1"),
        ([1], (1,)),
        (np.float32([1]), np.float64([1])),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.longdouble([1.1]), np.nextafter(np.longdouble([1.1]), np.longdouble(2))),
        (np.zeros(2), [0.0, 0.0]),
        ({1, 2}, frozenset({1, 2})),
        (re.compile("a"), re.compile("b")),
        (torch.tensor(1.0), torch.tensor(2.0)),
        (["ab", "c"], ["a", "bc"]),
        (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
        (functools.partial(max, 1), functools.partial(min, 1)),
        (collections.OrderedDict(a=1), {"a": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_contents_count(one, other):
    """Types, shapes and the last bit are contents."""
    assert _digest(one) != _digest(other)
    assert _digest(one) == _digest(copy.deepcopy(one))


def test_jobs_do_not_count():
    """How many processes answer changes no answer."""
    model = RandomForestClassifier(3, random_state=0).fit(X, Y)
    before = identity(model)
    assert identity(model.set_params(n_jobs=2, verbose=1)) == before
    assert identity(model.set_params(max_depth=1)) != before


def test_skops_keeps_identities():
    """Files that run no code when they are read keep who a teacher is."""
    io = pytest.importorskip("skops.io")
    for model in (LogisticRegression(), HistGradientBoostingClassifier(max_iter=3)):
        data = io.dumps(model.fit(X, Y))
        read = io.loads(data, trusted=io.get_untrusted_types(data=data))
        assert identity(read) == identity(model)
