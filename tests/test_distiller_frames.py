"""Tables as people have them: categories, gaps, dates, texts, two libraries."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.exceptions import StudentError

JOBS = ["clerk", "nurse", "driver", "teacher"]


def census(n_samples=400, seed=0):
    """Return a frame like that of the census, whose label no single column tells."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n_samples),
            "capital-gain": rng.exponential(1000, n_samples),
            "hours per week": rng.normal(40, 8, n_samples),
            "job": rng.choice(JOBS, n_samples),
            "state": pd.Categorical(rng.choice(["single", "married"], n_samples)),
            "citizen": rng.random(n_samples) < 0.8,
        }
    )
    logit = (frame["age"] - 45) / 10 + 2 * (frame["job"] == "nurse")
    logit += 1.5 * (frame["state"] == "married") - 1.5 + frame["citizen"]
    y = np.where(logit > 0.5, "more", "less")
    # Missing values of each kind.
    frame.loc[rng.random(n_samples) < 0.1, "hours per week"] = np.nan
    frame.loc[rng.random(n_samples) < 0.1, "job"] = None
    frame.loc[rng.random(n_samples) < 0.1, "state"] = np.nan
    return frame, y


def tickets(n_samples=400, seed=0):
    """Return a frame with one column of texts beside numbers and a rare gap."""
    rng = np.random.default_rng(seed)
    angry = rng.random(n_samples) < 0.5
    words = ["please", "order", "number", "late", "parcel", "today", "again", "street"]
    texts = [
        " ".join([*rng.choice(words, 4), "refund" if bad else "thanks"])
        for bad in angry
    ]
    days = rng.integers(0, 30, n_samples)
    frame = pd.DataFrame({"days": days, "message": texts})
    y = (angry & (days > 8)).astype(int)
    frame.loc[3, "message"] = None
    return frame, y


def truth_of(frame, y):
    """Return a function that knows the labels of a frame's rows, by their index."""
    known = dict(zip(frame.index, y, strict=True))
    return lambda rows: [known[i] for i in rows.index]


def distill(teacher, X, y, **params):
    """Fit with 60 labels, the last 100 rows kept for the score."""
    distiller = ActiveDistiller(
        teacher,
        budget=90,
        random_state=0,
        teacher_checks=CheckPolicy(on_weak="ignore"),
        **params,
    )
    known = {"X": X[:60], "y": y[:60], "X_unlabeled": X[60:300]}
    plan = distiller.plan(**known)
    distiller.fit(**known)
    assert distiller.n_paid_ <= plan.n_rows_to_pay == 90
    assert len(distiller.ledger_) == distiller.n_paid_
    return distiller


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: frame.convert_dtypes(),
        lambda frame: frame.astype({"job": object, "citizen": object}),
        lambda frame: frame.set_axis(range(6), axis=1),
    ],
)
def test_categories_gaps_and_names(change):
    """A frame as it comes is learned; later categories and gaps are predicted."""
    frame, y = census()
    frame = change(frame)
    distiller = distill(truth_of(frame, y), frame, y)
    assert distiller.score(frame[300:], y[300:]) > 0.8
    assert min(distiller.student_scores_.values()) < 0.4
    later = frame[300:305].copy()
    job = later.columns[3]
    later[job] = later[job].astype(object)
    later.loc[300, job] = "astronaut"
    assert len(distiller.predict(later)) == 5


def test_polars():
    """A frame of polars is learned as one of pandas."""
    frame, y = census()
    polars = pl.from_pandas(frame)
    known = {
        tuple(map(str, row)): label for row, label in zip(polars.rows(), y, strict=True)
    }

    def teacher(rows):
        return [known[tuple(map(str, row))] for row in rows.rows()]

    distiller = distill(teacher, polars, y)
    assert distiller.score(polars[300:], y[300:]) > 0.8


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_texts_beside_numbers(library):
    """One column of texts becomes words; a missing text is an empty one."""
    frame, y = tickets()
    known = dict(zip(frame.index, y, strict=True))
    X = frame.assign(number=frame.index)
    if library == "polars":
        X = pl.from_pandas(X)
    distiller = distill(lambda rows: [known[i] for i in rows["number"].to_list()], X, y)
    assert distiller.score(X[300:], y[300:]) > 0.85


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize(
    "values",
    [
        [datetime.datetime(2024, 1, 1)] * 400,
        [datetime.date(2024, 1, 1)] * 400,
        [datetime.timedelta(days=2)] * 400,
    ],
)
def test_dates_are_refused_by_name(values, library):
    """The column is named, before the teacher is asked and in the plan as well."""
    frame, y = census()
    asked = []
    X = frame.assign(opened=values)
    X = pl.from_pandas(X) if library == "polars" else X
    distiller = ActiveDistiller(asked.append, budget=50)
    for call in (distiller.plan, distiller.fit):
        with pytest.raises(StudentError, match=r"'opened' holds dates .*; replace it"):
            call(X[:60], y[:60], X_unlabeled=X[60:])
    assert asked == []


@pytest.mark.parametrize(
    ("value", "message"),
    [([1, 2], "'odd' holds objects of type list"), (b"ab", "type bytes")],
)
def test_other_objects_are_refused_by_name(value, message):
    """Lists and bytes are neither numbers nor categories."""
    frame, y = census()
    frame["odd"] = [value] * len(frame)
    with pytest.raises(StudentError, match=message):
        ActiveDistiller(len, budget=50).plan(frame[:60], y[:60], X_unlabeled=frame[60:])


def test_mixed_values_are_refused_by_name():
    """Strings among numbers cannot be sorted into categories."""
    frame, y = census()
    frame["mixed"] = [1, "two"] * 200
    with pytest.raises(StudentError, match=r"'mixed' mixes .* 1 and 'two'"):
        ActiveDistiller(len, budget=50).plan(frame[:60], y[:60], X_unlabeled=frame[60:])


def test_fitted_ensemble():
    """A fitted pipeline as teacher and nothing else: the first thing that is tried."""
    frame, y = census(900, seed=1)
    encode = ColumnTransformer(
        [("one", OneHotEncoder(handle_unknown="ignore"), ["job", "state"])],
        remainder="passthrough",
    )
    forest = RandomForestClassifier(50, random_state=0)
    teacher = make_pipeline(encode, forest).fit(frame[400:], y[400:])
    distiller = distill(teacher, frame[:400], y[:400])
    assert distiller.score(frame[300:400], y[300:400]) > 0.75


@pytest.mark.parametrize("strategy", ["robust", "margin", "rad", "random"])
def test_no_labels(strategy):
    """A cold start and every strategy read frames as well."""
    frame, y = census()
    distiller = ActiveDistiller(
        truth_of(frame, y),
        query_strategy=strategy,
        budget=90,
        classes=["less", "more"],
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
    ).fit(frame[:300])
    assert distiller.n_paid_ == 90
    assert distiller.score(frame[300:], y[300:]) > 0.75
