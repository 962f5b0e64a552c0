"""Frames as people have them, and students of every kind that may be exported."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from skadistill.soft_labels import fit_student
from skadistill.soft_labels._default import default_students
from skadistill.student import StudentNet

CLASSES = np.array(["<=50K", ">50K"])
TEXT = "note"


def make_frames(n_rows=240, seed=0):
    """Return frames by name, and the labels of their rows."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(17, 90, n_rows),
            "workclass": rng.choice(["Private", "Self-emp-inc", "State-gov"], n_rows),
            "education": rng.choice(["HS-grad", "Bachelors", "Masters"], n_rows),
            "capital_gain": rng.exponential(1000, n_rows).round(2),
            "hours_per_week": rng.normal(40, 10, n_rows),
        }
    )
    frame.loc[n_rows - 20 :: 2, "education"] = "Doctorate"  # none of the first rows
    score = frame["age"] / 30 + frame["hours_per_week"] / 20
    score += 2 * (frame["education"] == "Masters") + rng.normal(size=n_rows)
    rich = (score > score.median()).to_numpy()
    return _variants(frame, rich, rng), CLASSES[rich.astype(int)]


def real_frames(n_rows=2000):
    """Return the same of the real data set, if there is a folder that holds it."""
    data = np.load(Path(os.environ["SKADISTILL_DATA"]) / "adult.npz")
    X, y = data["x_train"][:n_rows], data["y_train"][:n_rows]
    names = [str(name) for name in data["columns"]]
    frame = pd.DataFrame(X.astype(np.float64), columns=names)
    for name, categorical in zip(names, data["categorical"], strict=True):
        if categorical:
            frame[name] = [f"{name} {int(value)}" for value in frame[name]]
    rich = y.astype(bool)
    return _variants(frame, rich, np.random.default_rng(0)), CLASSES[rich.astype(int)]


def _variants(frame, rich, rng):
    """Return a frame in the shapes that converters fail on."""
    texts = [name for name in frame if frame[name].dtype.kind not in "if"]
    numbers = frame.drop(columns=texts)
    categories = frame.astype(dict.fromkeys(texts, "category"))
    named = {name: name.replace("_", "-") for name in frame}
    named |= {"age": "age in years", texts[0]: f"{texts[0]} (last year)"}
    missing = frame.copy()
    for name in (texts[0], numbers.columns[-1]):
        missing[name] = missing[name].astype(object).where(rng.random(len(frame)) > 0.2)
    missing[numbers.columns[-1]] = missing[numbers.columns[-1]].astype(float)
    married = pd.Series(rng.random(len(frame)) < 0.5, index=frame.index)
    words = np.where(rich, "manages a team", "mends one or two cars")
    note = [
        f"A {work}, who {what} at no. {n % 30}."
        for n, (work, what) in enumerate(zip(frame[texts[0]], words, strict=True))
    ]
    return {
        "numbers": numbers.to_numpy(dtype=float),
        "categories": categories,
        "names": frame.rename(columns=named),
        "booleans": frame.assign(married=married),
        "missing": missing,
        "text": numbers.assign(**{TEXT: note}),
        "texts": note,
    }


def columns():
    """Return what turns the columns of any frame into numbers."""
    numbers = make_column_selector(dtype_include="number")
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), _categories),
        (TfidfVectorizer(), _text),
    )


def _categories(frame):
    return [
        name for name in frame if name != TEXT and frame[name].dtype.kind not in "if"
    ]


def _text(frame):
    return TEXT if TEXT in frame else []


def behind_columns(student):
    """Return a function that fits a student behind a step that prepares its rows."""

    def fit(X, y):
        if isinstance(X, pd.DataFrame):
            return make_pipeline(columns(), student).fit(X, y)
        return make_pipeline(StandardScaler(), student).fit(X, y)

    return fit


def default(X, y):
    """Fit the first of the students that `student=None` compares."""
    student, *_ = default_students([X], 2).values()
    targets = (y[:, None] == CLASSES).astype(float)
    return fit_student(student, X, targets, classes=CLASSES)


def boosting(X, y):
    """Fit scikit-learn's boosting to the rows as they are."""
    return HistGradientBoostingClassifier(max_iter=20).fit(X, y)


def lightgbm():
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=20, verbose=-1)


def xgboost():
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=20)


def catboost():
    from catboost import CatBoostClassifier

    return CatBoostClassifier(iterations=20, verbose=0, allow_writing_files=False)


FRAMES = ("categories", "names", "booleans", "missing", "text")
ALL = ("numbers", *FRAMES)
LINEAR = LogisticRegression(max_iter=1000)
FOREST = RandomForestClassifier(20, random_state=0)
PREPARED = {
    "LightGBM": (lightgbm, ALL),
    "XGBoost": (xgboost, ALL),
    "CatBoost": (catboost, ALL),
    "calibrated SVC": (lambda: CalibratedClassifierCV(SVC(), cv=3), ALL),
    "vote of a linear model and a forest": (
        lambda: VotingClassifier(
            [("linear", LINEAR), ("trees", FOREST)], voting="soft"
        ),
        ALL,
    ),
    "RandomForest": (lambda: FOREST, ALL),
    "MLPClassifier": (lambda: MLPClassifier((16,), max_iter=50, random_state=0), ALL),
    "SVC, its labels": (SVC, ALL),
    "StudentNet": (
        lambda: StudentNet(max_epochs=3, device="cpu", random_state=0),
        ("numbers", "missing"),
    ),
}
# Of each kind of student: how one is fitted, and to which rows.
KINDS = {
    "default student, texts": (default, ("texts",)),
    "default student, numbers": (default, ("numbers",)),
    "default student, columns": (default, FRAMES),
    "one-hot columns, LogisticRegression": (behind_columns(LINEAR), FRAMES),
    "HistGradientBoosting, numbers": (boosting, ("numbers",)),
    "HistGradientBoosting, categories": (boosting, ("categories",)),
    **{
        name: (lambda X, y, make=make: behind_columns(make())(X, y), frames)
        for name, (make, frames) in PREPARED.items()
    },
}
