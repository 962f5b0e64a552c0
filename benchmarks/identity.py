"""What it costs to know a teacher again: seconds of an identity beside those of a fit.

Each teacher is fitted once on 2,000 rows x 20 features of three classes, and its
identity is taken five times; the median counts. `joblib.hash` of the same estimator
stands beside it. The last columns say whether the identity is the same after
answering and after a way through a file.

    python benchmarks/identity.py            # prints and keeps the table
    python benchmarks/identity.py --quick    # 300 rows, not kept
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import importlib
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch
from _common import machine_lines, markdown_table, save_result
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from skorch import NeuralNetClassifier

from skadistill.student import StudentNet
from skadistill.teachers import as_teacher

BAR, REPEATS = 0.05, 5


def optional(package, name, **params):
    """Make an estimator of a package that may be missing."""
    try:
        return getattr(importlib.import_module(package), name)(**params)
    except ImportError:
        return None


def make_teachers():
    """Return teachers by name, unfitted, as their authors would use them."""
    module = torch.nn.Sequential(
        torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)
    )
    forest = RandomForestClassifier(random_state=0)
    logistic = LogisticRegression(max_iter=500)
    return {
        "LogisticRegression": logistic,
        "RandomForest": forest,
        "GradientBoosting": GradientBoostingClassifier(random_state=0),
        "HistGradientBoosting": HistGradientBoostingClassifier(random_state=0),
        "SVC": SVC(random_state=0),
        "KNeighbors": KNeighborsClassifier(),
        "Stacking": StackingClassifier([("forest", forest), ("logistic", logistic)]),
        "TF-IDF, LogisticRegression": make_pipeline(TfidfVectorizer(), logistic),
        "StudentNet": StudentNet(device="cpu", random_state=0),
        "skorch net": NeuralNetClassifier(
            module, criterion=torch.nn.CrossEntropyLoss, verbose=0
        ),
        "XGBoost": optional("xgboost", "XGBClassifier"),
        "LightGBM": optional("lightgbm", "LGBMClassifier", verbose=-1),
        "CatBoost": optional(
            "catboost", "CatBoostClassifier", verbose=0, allow_writing_files=False
        ),
    }


def seconds(call):
    """Return the median seconds of a few calls."""
    spent = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return float(np.median(spent))


def measure(model, X, y):
    """Fit, take the identity, answer, write, read, and take it again."""
    start = time.perf_counter()
    model.fit(X, y)
    fit = time.perf_counter() - start
    identity = as_teacher(model).identity
    take = seconds(lambda: as_teacher(model).identity)
    hashed = seconds(lambda: joblib.hash(model))
    model.predict(X[:10])
    after = as_teacher(model).identity == identity
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "teacher.joblib")
        joblib.dump(model, path)
        read = as_teacher(joblib.load(path)).identity == identity
    return fit, take, hashed, after, read


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller, not saved")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # nets that could train longer
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    n_samples = 300 if options.quick else 2_000
    X, y = make_classification(n_samples, n_informative=10, n_classes=3, random_state=0)
    X = X.astype(np.float32)
    texts = [" ".join(f"f{j}w{int(2 * v)}" for j, v in enumerate(row)) for row in X]
    rows, missed = [], []
    for name, model in make_teachers().items():
        if model is None:
            rows.append([name, *["not installed"] * 6])
            continue
        data = texts if name.startswith("TF-IDF") else X
        fit, take, hashed, after, read = measure(model, data, y)
        share = take / fit
        if share > BAR:
            missed.append(name)
        times = [f"{1000 * s:.2f}" for s in (fit, take, hashed)]
        same = ["yes" if s else "NO" for s in (after, read)]
        rows.append([name, *times, f"{100 * share:.2f}", *same])
    header = [
        "teacher",
        "fit ms",
        "identity ms",
        "joblib.hash ms",
        "identity / fit %",
        "same after answering",
        "same from a file",
    ]
    text = "\n".join(
        [
            "# What an identity costs",
            "",
            f"{n_samples:,} rows x 20 features, 3 classes, one fit, medians of "
            f"{REPEATS} identities, one thread.",
            "",
            markdown_table(header, rows),
            "",
            f"Bar: at most {100 * BAR:.0f} % of the fit. Missed by: "
            f"{', '.join(missed) or 'none'}. "
            "The fit of KNeighbors only stores the rows, which its identity reads.",
            "",
            *machine_lines(),
        ]
    )
    if options.quick:
        print(text)
    else:
        save_result("identity.md", text)


if __name__ == "__main__":
    main()
