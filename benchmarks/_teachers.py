"""Real data, students, and seven kinds of teacher whose mistakes are known.

`label_efficiency.py` runs all of it; other benchmarks borrow from here.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from _common import load, standardize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.neural_network import MLPClassifier
from torch import nn

from skadistill.datasets import NoisyTeacher
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._out_of_fold import predict_out_of_fold
from skadistill.student import StudentNet

KINDS = {
    "A": "trained on the labeled rows, soft labels",
    "B": "stronger, soft labels",
    "C": "stronger, hard labels",
    "D": "stronger, soft labels, and a fifth of the pool is junk",
    "E": "wrong on 60 % of the rows that students are unsure of, hard labels",
    "F": "wrong on 25 %, mostly at class borders, soft labels",
    "G": "wrong on 25 %, anywhere, hard labels",
}
N_TEST = 4000


@dataclass(frozen=True)
class Task:
    """Sizes of one data set's runs."""

    n_labeled: int
    n_pool: int
    n_queries: int
    n_rounds: int
    stronger_error: float
    badge: bool = True
    coreset: bool = True


# Labeled rows: few enough that the student has something to gain. The stronger
# teacher's error rate is set, not measured: about half of what a model trained on
# some hundred rows gets wrong. BADGE stores rows x classes x features numbers and
# CoreSet measures distances between raw features, hence where they are left out.
TASKS = {
    "letter": Task(1000, 6000, 1600, 4, 0.10),
    "covtype20k": Task(1000, 6000, 1600, 4, 0.15),
    "pendigits": Task(200, 5000, 400, 4, 0.05),
    "adult": Task(300, 6000, 600, 4, 0.10),
    "magic": Task(300, 6000, 600, 4, 0.10),
    "fashion_mnist": Task(500, 6000, 1600, 4, 0.10, badge=False, coreset=False),
    "banking77_minilm": Task(800, 6000, 1600, 4, 0.10, badge=False, coreset=False),
    "sst2_sentences_minilm": Task(200, 5000, 600, 4, 0.10),
    "cifar10": Task(1000, 5000, 1500, 3, 0.15, badge=False, coreset=False),
}
QUICK = {
    "letter": Task(300, 800, 200, 2, 0.10),
    "magic": Task(100, 800, 100, 2, 0.10),
    "cifar10": Task(200, 400, 100, 2, 0.15, badge=False, coreset=False),
}


# --------------------------------------------------------------------- data


@cache
def data(name):
    """Return scaled rows as the students and teachers see them, and labels."""
    X_train, y_train, X_test, y_test = load(name)
    test = np.random.default_rng(0).permutation(len(X_test))[:N_TEST]
    X_test, y_test = X_test[test], y_test[test]
    if name == "cifar10":  # stored in random order; 50,000 float rows are 600 MB
        X_train, y_train = X_train[:12_000], y_train[:12_000]
    X_train, X_test = standardize(X_train, X_test)
    if name == "cifar10":  # channels first, as the convolutions want them
        X_train, X_test = (X.transpose(0, 3, 1, 2) for X in (X_train, X_test))
    X_train, X_test = (X.reshape(len(X), -1) for X in (X_train, X_test))
    return X_train, y_train, X_test, y_test


def split(name, task, seed):
    """Choose labeled rows, with every class among them, and a pool."""
    _, y, _, _ = data(name)
    rows, _ = train_test_split(
        np.arange(len(y)),
        train_size=min(task.n_labeled + task.n_pool, len(y) - len(np.unique(y))),
        stratify=y,
        random_state=seed,
    )
    labeled, pool = train_test_split(
        rows, train_size=task.n_labeled, stratify=y[rows], random_state=seed
    )
    return labeled, pool


# ----------------------------------------------------------------- students


class SmallConvNet(nn.Module):
    """Three strided convolutions and a linear layer: some 25,000 weights."""

    def __init__(self, n_classes=10, width=16):
        super().__init__()
        layers, n_in = [], 3
        for n_out in (width, 2 * width, 4 * width):
            layers += [
                nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            n_in = n_out
        layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        self.layers = nn.Sequential(*layers, nn.Linear(4 * n_in, n_classes))

    def forward(self, X):
        return self.layers(X.reshape(-1, 3, 32, 32))


def make_student(name, seed, quick=False):
    """Build the student: one hidden layer of 128, or a small CNN.

    A student is meant to be small. The numbers of epochs are small for time's sake
    (some hundred trainings a data set) and were not chosen by any test row.
    """
    settings = {"module__hidden_sizes": (128,), "max_epochs": 40}
    if name == "cifar10":
        settings = {"module": SmallConvNet, "max_epochs": 3 if quick else 20}
    return StudentNet(device="cpu", random_state=seed, **settings)


# ----------------------------------------------------------------- teachers


class ConvEnsemble(ClassifierMixin, BaseEstimator):
    """Average three wider CNNs with different seeds."""

    def __init__(self, max_epochs=20, random_state=0):
        self.max_epochs = max_epochs
        self.random_state = random_state

    def fit(self, X, y):
        members = [
            StudentNet(
                module=SmallConvNet,
                module__width=32,
                max_epochs=self.max_epochs,
                device="cpu",
                random_state=3 * self.random_state + i,
            )
            for i in range(3)
        ]
        self.members_ = [member.fit(X, y) for member in members]
        self.classes_ = self.members_[0].classes_
        return self

    def predict_proba(self, X):
        return np.mean([m.predict_proba(X) for m in self.members_], axis=0)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def make_ensemble(name, seed, quick=False):
    """Build the teacher that learns from the labeled rows."""
    if name == "cifar10":
        return ConvEnsemble(max_epochs=3 if quick else 20, random_state=seed)
    members = [
        ("trees", ExtraTreesClassifier(150, random_state=seed)),
        ("mlp", MLPClassifier((256,), alpha=1e-2, random_state=seed)),
    ]
    if name.endswith("minilm"):
        members.append(("linear", LogisticRegression(max_iter=300)))
    return VotingClassifier(members, voting="soft")


def out_of_fold(name, X, y, seed):
    """Estimate each row's probabilities by a model that has not seen its label."""
    if name.endswith("minilm"):
        model = LogisticRegression(C=10.0, max_iter=300)
    else:
        model = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
    if name == "cifar10":
        # The forest sees the images averaged down to 8 x 8.
        X = X.reshape(len(X), 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(X), -1)
    return cross_val_predict(model, X, y, cv=3, method="predict_proba")


class Told:
    """A function that knows its answers, one per row of a table."""

    def __init__(self, X, answers):
        keys = (row.tobytes() for row in np.ascontiguousarray(X, dtype=np.float32))
        self.answers = dict(zip(keys, answers, strict=True))

    def __call__(self, X):
        rows = np.ascontiguousarray(X, dtype=np.float32)
        return np.array([self.answers[row.tobytes()] for row in rows])

    def __sklearn_clone__(self):
        return self


def make_problem(name, task, kind, seed, quick):
    """Return rows, labels of all, the number of labeled ones, and the teacher."""
    X, y, _, _ = data(name)
    labeled, pool = split(name, task, seed)
    rows, n = np.concatenate([labeled, pool]), len(labeled)
    X, y = X[rows], y[rows]
    if kind == "A":
        return X, y, n, make_ensemble(name, seed, quick)
    parts = np.arange(len(rows)) >= n
    if kind == "E":
        answers = wrong_where_unsure(name, X, y, n, seed, quick)
        return X, y, n, Told(X, answers)
    proba = out_of_fold(name, X, y, seed)
    rate = 0.25 if kind in "FG" else task.stronger_error
    teacher = NoisyTeacher(
        X,
        y,
        error_rate=rate,
        error_kind="uniform" if kind == "G" else "margin",
        proba=proba,
        soft=kind not in "CG",
        strata=parts,
        random_state=seed,
    )
    if kind != "D":
        return X, y, n, teacher
    X, answers = X.copy(), teacher(X)
    rng = np.random.default_rng([seed, 4])
    junk = n + rng.permutation(len(pool))[: len(pool) // 5]
    for row in junk:
        # Some columns of one row, the others of another: it belongs to no class.
        first, second = X[rng.integers(len(X), size=2)]
        X[row] = np.where(rng.random(X.shape[1]) < 0.5, first, second)
    answers[junk] = 0.05 / answers.shape[1]
    answers[junk, rng.integers(answers.shape[1], size=len(junk))] += 0.95
    return X, y, n, Told(X, answers)


def wrong_where_unsure(name, X, y, n_labeled, seed, quick):
    """Answer wrongly on 60 % of the quarter of rows with the smallest margins.

    Margins are those of a student of another seed that learned from the labeled rows,
    out of fold on these; a wrong answer is its likeliest class that is not the truth.
    """
    student = make_student(name, 1000 + seed, quick)
    classes, n = np.unique(y), n_labeled
    targets = (y[:, None] == classes).astype(float)
    proba = np.empty_like(targets)
    proba[:n] = predict_out_of_fold(
        student,
        X[:n],
        targets[:n],
        classes=classes,
        given=np.ones(n, dtype=bool),
        n_folds=5,
        seed=seed,
    )
    fit_student(student, X[:n], targets[:n], classes=classes)
    proba[n:] = student.predict_proba(X[n:])
    top = np.sort(proba, axis=1)
    margins = top[:, -1] - top[:, -2]
    unsure = np.zeros(len(y), dtype=bool)
    for part in (slice(0, n), slice(n, None)):
        unsure[part] = margins[part] <= np.quantile(margins[part], 0.25)
    rng = np.random.default_rng([seed, 5])
    wrong = unsure & (rng.random(len(y)) < 0.6)
    others = np.where(targets > 0, -1.0, proba).argmax(axis=1)
    return np.eye(len(classes))[np.where(wrong, others, targets.argmax(axis=1))]
