"""
Distill an ensemble into a small network
========================================

How much of a teacher's accuracy does a small student reach, and for how many paid
labels? On scikit-learn's digits, with 50 labeled rows, a student reaches 82.6 % alone
and 95.9 % with 300 labels chosen by the default strategy (94.6 % with random ones); the
teacher reaches 97.6 %.

The teacher is an ensemble of a support vector machine and 300 extremely randomized
trees that was trained on data we do not have. It answers with probabilities, is
sometimes wrong, and charges for every row. We have a few labeled rows and a pool of
unlabeled rows. The student is a neural network with one hidden layer of 64 units.

.. code-block:: python

    from skadistill import ActiveDistiller

    distiller = ActiveDistiller(teacher, student, budget=300)
    distiller.fit(X, y, X_unlabeled=pool)
    distiller.n_paid_, distiller.teacher_error_  # labels paid, the teacher's error rate
    distiller.predict(X_new)  # uses the student only
"""

# %%
# Data. If the environment variable SKADISTILL_DATA names a folder with ``letter.npz``,
# the same is done for the 26 letters in it.
import os
import tempfile
from pathlib import Path

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skadistill import ActiveDistiller, StudentNet
from skadistill.plotting import LearningCurveDisplay
from skadistill.teachers import as_teacher

SEEDS = range(5)


def digits():
    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32), y


def letter():
    with np.load(Path(os.environ["SKADISTILL_DATA"]) / "letter.npz") as data:
        X = np.concatenate([data["x_train"], data["x_test"]])
        return X, np.concatenate([data["y_train"], data["y_test"]])


# %%
# The teacher and the student.


def make_teacher(X, y, seed):
    trees = ExtraTreesClassifier(300, random_state=seed)
    machine = make_pipeline(
        StandardScaler(), CalibratedClassifierCV(SVC(C=10), ensemble=False)
    )
    members = [("trees", trees), ("machine", machine)]
    return VotingClassifier(members, voting="soft").fit(X, y)


def make_student(seed):
    return StudentNet(module__hidden_sizes=(64,), random_state=seed)


# %%
# One run: split the rows, fit, and keep the accuracy after every round. ``X_val`` and
# ``y_val`` are used for nothing else; in round 0 the student is trained on the labeled
# rows only. A fitted teacher is never copied or fitted again. The default strategy,
# ``"robust"``, checks it on some of our labeled rows first; these answers are part of
# the budget.


def run(name, X, y, n_teacher, n_labeled, budget, n_test):
    scores = {"teacher": [], "student alone": [], "random": [], "robust": []}
    paid, fitted = {}, {"random": [], "robust": []}
    for seed in SEEDS:
        pool, rows = np.arange(len(X)), []
        for size in (n_teacher, n_labeled, n_test):
            part, pool = train_test_split(
                pool, train_size=size, stratify=y[pool], random_state=seed
            )
            rows.append(part)
        theirs, labeled, test = rows
        teacher = make_teacher(X[theirs], y[theirs], seed)
        scores["teacher"].append(teacher.score(X[test], y[test]))
        for strategy in fitted:
            distiller = ActiveDistiller(
                teacher,
                make_student(seed),
                query_strategy=strategy,
                budget=budget,
                random_state=seed,
            ).fit(
                X[labeled],
                y[labeled],
                X_unlabeled=X[pool],
                X_val=X[test],
                y_val=y[test],
            )
            fitted[strategy].append(distiller)
            scores[strategy].append(distiller.score(X[test], y[test]))
            paid[strategy] = distiller.n_paid_
        scores["student alone"].append(distiller.history_[0]["student_score"])
    print(f"\n{name}: {n_labeled} labeled rows, {len(pool)} in the pool")
    print(f"{'':16}{'labels paid':>12}{'test accuracy %':>20}{'(sd of 5 seeds)':>17}")
    for who, values in scores.items():
        mean, spread = 100 * np.mean(values), 100 * np.std(values, ddof=1)
        print(f"{who:16}{paid.get(who, ''):>12}{mean:>20.1f}{f'({spread:.1f})':>17}")
    return name, fitted, np.mean(scores["teacher"])


# %%
# Results, for equally many paid labels: those of the pool, and those of our labeled
# rows that were used to check the teacher.
results = [
    run("digits", *digits(), n_teacher=600, n_labeled=50, budget=300, n_test=500)
]
if "SKADISTILL_DATA" in os.environ:
    results.append(
        run("letter", *letter(), 8000, n_labeled=500, budget=2000, n_test=4000)
    )
else:
    print("\nSKADISTILL_DATA is not set: the letters are skipped.")

# %%
# One fit in the lines of a user, on a DataFrame: what will it cost, was it worth it,
# and a report in one HTML file. The student is the default one.
frame, target = load_digits(return_X_y=True, as_frame=True)
teacher = as_teacher(make_teacher(frame[:600], target[:600], 0), cost_per_row=0.002)
X, y = frame[600:1400], target[600:1400].copy()
y[50:] = -1  # no label

distiller = ActiveDistiller(teacher, budget=200, random_state=0)
print(distiller.plan(X, y))
distiller.fit(X, y)
comparison = distiller.compare(frame[1400:], target[1400:], ask_teacher=True)
print(comparison)
with tempfile.TemporaryDirectory() as folder:
    distiller.report(Path(folder) / "report.html", X=X, comparison=comparison)

# %%
# Learning curves: accuracy against labels paid. The dotted line is the teacher.
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("\nInstall matplotlib to see the curve.")
else:
    figure, axes = plt.subplots(1, len(results), figsize=(5 * len(results), 4))
    for ax, (name, fitted, teacher) in zip(np.atleast_1d(axes), results, strict=True):
        LearningCurveDisplay.from_estimator(
            fitted, references={"teacher": teacher}, ax=ax
        )
        ax.set_title(name)
    figure.tight_layout()
    if plt.get_backend().lower() == "agg":
        figure.savefig("quickstart.png", dpi=120)
        print("\nThe curve is in quickstart.png.")
    else:
        plt.show()
