"""Compare the default student with five plain ones on the labels that it bought.

A fit with ``student=None`` and ``objective="soft"`` buys 500 rows of a teacher; plain
scikit-learn students then learn the same labels, and all are judged on test rows. In
odd runs the teacher is a forest fitted on other rows, whose probabilities are the
labels; in even runs it gives hard labels, 20 % of them wrong. The kinds of the default
student and their settings were chosen on training rows, with other seeds.

Usage: ``SKADISTILL_DATA=... python benchmarks/default_student.py [seeds]``; the folder
holds the tables of `SETS`. Kept runs are in ``results/default_student.jsonl``.
"""

import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _common import (
    data_folder,
    machine_lines,
    markdown_table,
    mean_interval,
    remembered,
    save_result,
)
from _common import load as load_table
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.soft_labels import fit_student

TABLES = ("letter", "pendigits", "magic", "adult", "covtype20k")
VECTORS = ("banking77_minilm", "sst2_sentences_minilm")
SETS = (*TABLES, *VECTORS, "ring", "waveform", "rules", "digits")
N_LABELED, BUDGET, N_POOL, N_TEST = 100, 500, 3000, 2000
# Boosting takes minutes with more classes or columns.
MOST_CLASSES, MOST_COLUMNS = 30, 150
RUNS = Path(__file__).parent / "results" / "default_student.jsonl"


def ring(n_samples, rng):
    """Return a shell between two radii among noise."""
    X = rng.normal(size=(n_samples, 6))
    radius = (X[:, :3] ** 2).sum(axis=1)
    return X, ((radius > 1.2) & (radius < 3.2)).astype(int)


def waveform(n_samples, rng):
    """Return Breiman's mixtures of two of three waves, with noise."""
    waves = [np.maximum(6 - abs(np.arange(1, 22) - peak), 0) for peak in (7, 15, 11)]
    y, share = rng.integers(0, 3, n_samples), rng.random((n_samples, 1))
    first, second = np.array([0, 0, 1])[y], np.array([1, 2, 2])[y]
    waves = np.array(waves)
    X = share * waves[first] + (1 - share) * waves[second]
    return X + rng.normal(size=X.shape), y


def rules(n_samples, rng):
    """Return three classes that thresholds of single columns tell apart."""
    X = rng.random((n_samples, 12))
    X[:, 6:] = np.floor(4 * X[:, 6:])
    both = (X[:, 1] > 0.3) & (X[:, 6] > 1)
    return X, ((X[:, 0] > 0.5) ^ both).astype(int) + (X[:, 2] > 0.7)


def load(name, seed):
    """Return rows for the teacher, the fit and the test, and their labels."""
    rng = np.random.default_rng(seed)
    if name in ("ring", "waveform", "rules"):
        X, y = globals()[name](8000, rng)
        train, test = np.arange(6000), np.arange(6000, 8000)
    elif name == "digits":
        X, y = load_digits(return_X_y=True)
        train, test = np.split(rng.permutation(len(y)), [1300])
    else:
        X_train, y_train, X_test, y_test = load_table(name)
        X, y = np.concatenate([X_train, X_test]), np.concatenate([y_train, y_test])
        train = rng.permutation(len(y_train))
        test = len(y_train) + rng.permutation(len(y_test))[:N_TEST]
    n_teacher = 400 if name == "digits" else 2500
    parts = train[:n_teacher], train[n_teacher : n_teacher + N_POOL + N_LABELED], test
    y = np.unique(y, return_inverse=True)[1]
    return [(X[part].astype(np.float64), y[part]) for part in parts]


def answers(kind, learned, X, y, n_classes, seed):
    """Return what a teacher says of rows."""
    if kind == "forest":
        forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=seed)
        proba = np.zeros((len(y), n_classes))
        forest.fit(*learned)
        proba[:, forest.classes_] = forest.predict_proba(X)
        return proba
    rng = np.random.default_rng(seed)
    others = (y + rng.integers(1, n_classes, len(y))) % n_classes
    return np.eye(n_classes)[np.where(rng.random(len(y)) < 0.2, others, y)]


def plain_students(n_classes, n_columns, seed):
    """Return what people would try."""
    students = {
        "LR": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "LR, C=0.1": make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)
        ),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
        "forest": RandomForestClassifier(random_state=seed),
        "SVC": make_pipeline(StandardScaler(), SVC(random_state=seed)),
    }
    if n_classes > MOST_CLASSES or n_columns > MOST_COLUMNS:
        del students["boosting"]
    return students


def run(name, seed):
    """Buy labels with the default student, teach them to all; accuracies in percent."""
    learned, (X, y), test = load(name, seed)
    n_classes = int(max(part.max() for part in (learned[1], y, test[1]))) + 1
    kind = "forest" if seed % 2 else "20 % wrong"
    proba = answers(kind, learned, X, y, n_classes, seed)
    number = {row.tobytes(): i for i, row in enumerate(X)}

    def teacher(rows):
        return proba[[number[row.tobytes()] for row in rows]]

    partly = np.where(np.arange(len(y)) < N_LABELED, y, -1)
    distiller = ActiveDistiller(
        teacher,
        budget=BUDGET,
        objective="soft",
        classes=np.arange(n_classes),
        teacher_checks=CheckPolicy(on_weak="ignore"),
        random_state=seed,
    )
    start = time.process_time()
    distiller.fit(X, partly)
    seconds = time.process_time() - start
    bought = np.flatnonzero(distiller.labeled_round_ >= 0)
    given = distiller.labeled_round_[bought] == 0
    labels = np.where(given[:, None], np.eye(n_classes)[y[bought]], teacher(X[bought]))
    targets = (labels + 1e-6) / (1 + n_classes * 1e-6)
    scores = {"default": 100 * distiller.score(*test)}
    for plain, student in plain_students(n_classes, X.shape[1], seed).items():
        fit_student(student, X[bought], targets, classes=np.arange(n_classes))
        scores[plain] = 100 * float(np.mean(student.predict(test[0]) == test[1]))
    return {
        "scores": scores,
        "seconds": seconds,
        "kind": next(iter(distiller.student_scores_)),
    }


def main(n_seeds=4):
    """Print the table."""
    warnings.simplefilter("ignore")
    data_folder()
    rows, gaps = [], []
    names = ["default", "LR", "LR, C=0.1", "boosting", "forest", "SVC"]
    for name in SETS:
        runs = []
        for seed in range(100, 100 + n_seeds):
            runs.append(remembered(RUNS, [name, seed], partial(run, name, seed)))
            print(name, seed, runs[-1], file=sys.stderr, flush=True)
        scores = {
            key: np.array([each["scores"][key] for each in runs])
            for key in names
            if key in runs[0]["scores"]
        }
        best = max(
            (k for k in scores if k != "default"), key=lambda k: scores[k].mean()
        )
        gap = scores["default"] - scores[best]
        mean, low, high = mean_interval(gap)
        gaps.append(mean)
        rows.append(
            [name]
            + [f"{scores[key].mean():.1f}" if key in scores else "" for key in names]
            + [f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"]
            + [", ".join(sorted({each["kind"] for each in runs}))]
            + [f"{np.mean([each['seconds'] for each in runs]):.1f}"]
        )
    header = ["set", *names, "default - best plain", "kinds chosen", "fit, CPU s"]
    text = f"""# The default student and plain ones

Accuracy on test rows in percent, means over {n_seeds} runs: {N_LABELED} labeled rows
and {BUDGET} bought ones. In half of the runs the teacher is a forest, in half it gives
hard labels of which 20 % are wrong. All students learn the labels that the fit of the
default one bought. "Best plain" is the one with the best mean on the set, chosen with
hindsight; 95 % intervals over runs. In the mean of the sets the default student is
{np.mean(gaps):+.1f} points from it, and {min(gaps):+.1f} on the worst set.

{markdown_table(header, rows)}

CPU seconds of the whole fit, the choice included; boosting is left out with more than
{MOST_CLASSES} classes or {MOST_COLUMNS} columns, where it takes minutes.

"""
    save_result(
        "default_student.md", text + "\n".join(f"- {m}" for m in machine_lines())
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
