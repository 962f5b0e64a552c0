"""Compare soft with hard labels of one teacher, for many classifiers as students.

The teacher, a forest, is fitted on half of the training rows; students learn from its
answers on 600 others, either all probabilities or the likeliest class. "without cap"
keeps every probability of at least 0.001 as a copy, however many they are.

Usage: ``SKADISTILL_DATA=folder python benchmarks/students.py [seeds]``; the folder
holds ``load_data.py`` with ``npz(name)`` and the files of magic and letter.
"""

import os
import sys
import time
import warnings
from importlib import import_module

import numpy as np
from _common import machine_lines, markdown_table
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skadistill.exceptions import StudentError
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._fit_student import choose_copies

N_STUDENT = 600
SETS = ("digits", "magic", "letter")


def load(name, seed):
    """Return rows and labels for the teacher, the students and the test."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
    else:
        sys.path.insert(0, os.environ["SKADISTILL_DATA"])
        import load_data

        data = load_data.npz(name)
        X = np.r_[data["x_train"], data["x_test"]].astype(float)
        y = np.r_[data["y_train"], data["y_test"]]
    order = np.random.default_rng(seed).permutation(len(y))[:5000]
    X, y = X[order], np.unique(y[order], return_inverse=True)[1]
    n_teacher = (len(y) - N_STUDENT) // 2
    parts = np.split(np.arange(len(y)), [n_teacher, n_teacher + N_STUDENT])
    return [(X[part], y[part]) for part in parts]


def students(seed):
    """Return the classifiers, by name."""
    found = {
        "DecisionTree": DecisionTreeClassifier(min_samples_leaf=3, random_state=seed),
        "RandomForest": RandomForestClassifier(100, random_state=seed),
        "HistGradientBoosting": HistGradientBoostingClassifier(
            max_iter=30, random_state=seed
        ),
        "SGD": make_pipeline(
            StandardScaler(), SGDClassifier(loss="log_loss", random_state=seed)
        ),
        "LogisticRegression": make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=1000)
        ),
        "GaussianNB": GaussianNB(var_smoothing=1e-3),
        "KNeighbors": KNeighborsClassifier(),
    }
    for package, name, params in (
        ("catboost", "CatBoost", {"iterations": 40, "thread_count": 1}),
        ("xgboost", "XGB", {"n_estimators": 40, "n_jobs": 1}),
        ("lightgbm", "LGBM", {"n_estimators": 40, "n_jobs": 1}),
    ):
        try:
            kind = getattr(import_module(package), f"{name}Classifier")
        except ImportError:
            continue
        quiet = {"CatBoost": {"verbose": 0, "allow_writing_files": False}}
        quiet |= {"LGBM": {"verbose": -1}}
        found[name] = kind(**params, random_state=seed, **quiet.get(name, {}))
    return found


def accuracy(student, test):
    """Return the share of right predictions in percent."""
    return 100 * np.mean(np.ravel(student.predict(test[0])) == test[1])


def compare(student, X, proba, test):
    """Return accuracies on hard, soft and uncapped soft labels, and seconds."""
    classes = np.arange(proba.shape[1])
    start = time.perf_counter()
    hard = fit_student(clone(student), X, np.eye(len(classes))[proba.argmax(1)],
                       classes=classes)  # fmt: skip
    middle = time.perf_counter()
    soft = fit_student(clone(student), X, proba, classes=classes)
    seconds = middle - start, time.perf_counter() - middle
    rows, y, weight = choose_copies(proba)
    full = clone(student)
    last = full.steps[-1][0] + "__" if hasattr(full, "steps") else ""
    full.fit(X[rows], y, **{f"{last}sample_weight": weight})
    return *(accuracy(model, test) for model in (hard, soft, full)), *seconds


def main(n_seeds=2):
    """Print the table."""
    # Columns of letters, about which LightGBM warns, have no names here.
    warnings.simplefilter("ignore")
    results = {}
    refused = {}
    for seed in range(n_seeds):
        for name in SETS:
            learned, (X, _), test = load(name, seed)
            teacher = RandomForestClassifier(200, min_samples_leaf=2, random_state=seed)
            proba = teacher.fit(*learned).predict_proba(X)
            # Every class needs some probability and, for hard labels, a row.
            proba = (proba + 1e-4) / (1 + 1e-4 * proba.shape[1])
            for kind, student in students(seed).items():
                try:
                    found = compare(student, X, proba, test)
                except StudentError as error:
                    refused[kind] = str(error)
                    continue
                results.setdefault((kind, name), []).append(found)
                print(kind, name, np.round(found, 2), file=sys.stderr, flush=True)
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in results):
        means = [np.mean(results[kind, name], axis=0) for name in SETS]
        row = [kind]
        for mean in means:
            row += [f"{mean[0]:.1f}", f"{mean[1]:.1f}"]
        mean = np.mean(means, axis=0)
        row += [f"{mean[1] - mean[0]:+.1f}", f"{mean[2] - mean[0]:+.1f}"]
        rows.append([*row, f"{mean[3]:.2f}", f"{mean[4]:.2f}"])
    header = ["student"]
    header += [f"{name} {kind}" for name in SETS for kind in ("hard", "soft")]
    header += ["soft - hard", "without cap", "hard, s", "soft, s"]
    print("# Soft against hard labels of one teacher\n")
    print(f"Accuracy on test rows in percent, means over {n_seeds} seeds; each student")
    print(
        f"learns from the teacher's answers on {N_STUDENT} rows. Seconds of one fit.\n"
    )
    print(markdown_table(header, rows))
    for kind, message in refused.items():
        print(f"\n{kind} is refused: {message}")
    print("\n" + "\n".join(f"- {line}" for line in machine_lines()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
