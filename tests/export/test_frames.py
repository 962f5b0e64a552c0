"""Students fitted to frames as people have them are exported, and predict the same."""

import os
import runpy
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
)

from skadistill.exceptions import ExportError
from skadistill.export import to_onnx
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._default import default_students

pytest.importorskip("onnxscript")
pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

shared = runpy.run_path(str(Path(__file__).with_name("kinds.py")))
KINDS, CLASSES = shared["KINDS"], shared["CLASSES"]
DATA = {"generated": shared["make_frames"]()}
if "SKADISTILL_DATA" in os.environ:
    DATA["real"] = shared["real_frames"]()
N_TRAIN = 180


NAMES = "age", "capital_gain", "hours_per_week", "workclass", "education", "married"
TYPES = {
    "tensor(string)": str,
    "tensor(bool)": bool,
    "tensor(int64)": np.int64,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}


def run(graph, X):
    """Return label and probabilities of a graph, fed by what it says of its inputs."""
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    feed = {}
    for entry in session.get_inputs():
        rows = X[entry.name] if hasattr(X, "columns") else X
        if TYPES[entry.type] is str:
            rows = ["" if pd.isna(value) else value for value in rows]
        rows = np.asarray(rows).astype(TYPES[entry.type])
        feed[entry.name] = rows if rows.ndim > 1 else rows[:, None]
    return session.run(["label", "probabilities"], feed)


def assert_same(model, X):
    """Compare a graph with its model, on all rows and on the last alone."""
    graph = to_onnx(model, X)
    for rows in (X, X[-1:]):
        label, proba = run(graph, rows)
        same = label == np.ravel(model.predict(rows))
        if hasattr(model, "predict_proba"):
            expected = model.predict_proba(rows)
            np.testing.assert_allclose(proba, expected, rtol=0, atol=1e-5)
            best = np.sort(expected, axis=1)
            same |= best[:, -1] - best[:, -2] < 1e-5  # as likely as another
        assert same.all()
    return graph


@pytest.mark.parametrize(
    ("kind", "frame"),
    [(kind, frame) for kind, (_, frames) in KINDS.items() for frame in frames],
)
@pytest.mark.parametrize("data", DATA)
def test_students_of_frames(kind, frame, data):
    """Every kind of student predicts the same as a graph, to 1e-5."""
    for package in ("LightGBM", "XGBoost", "CatBoost"):
        if kind == package:
            pytest.importorskip(package.lower())
            pytest.importorskip("onnxmltools")
    frames, y = DATA[data]
    X = frames[frame]
    y = (y == CLASSES[1]).astype(int) if kind == "XGBoost" else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages, and of few iterations
        assert_same(KINDS[kind][0](X[:N_TRAIN], y[:N_TRAIN]), X)


def test_default_students():
    """Each student that the default compares is exported, of every kind of rows."""
    frames, y = DATA["generated"]
    for X in frames.values():
        for name, student in default_students([X], 2).items():
            if "C=" in name and "C=10" not in name and "C=4" not in name:
                continue
            targets = (y[:, None] == CLASSES).astype(float)
            fit_student(student, X[:N_TRAIN], targets[:N_TRAIN], classes=CLASSES)
            assert_same(student, X)


TEXTS = [
    "A good film, and a bad one",
    "Überraschend gut: 漢字 straße ½",
    "tab\tand\nnewline \n\n  x",
    "",
    "   ",
    "the a of it not",
    "a\r\n\r\nb  ",
    "  lead and lead and a good worker",
] * 2


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(sublinear_tf=True, dtype=np.float32),
        TfidfVectorizer(sublinear_tf=True, analyzer="char", ngram_range=(2, 4)),
        TfidfVectorizer(ngram_range=(1, 2), stop_words="english", norm="l1"),
        TfidfVectorizer(token_pattern=r"\S+", use_idf=False, norm=None),
        TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", lowercase=False, max_features=9),
        CountVectorizer(ngram_range=(2, 3), binary=True),
        make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)),
    ],
    ids=["words", "letters", "stop words", "no blanks", "short", "binary", "two steps"],
)
def test_texts(vectorizer):
    """Words of any script, letters, gaps and empty texts are counted the same."""
    y = np.arange(len(TEXTS)) % 3 > 0
    model = make_pipeline(clone(vectorizer), LogisticRegression(C=100))
    graph = assert_same(model.fit(TEXTS, y), TEXTS)
    for text in TEXTS:
        expected = model.predict_proba([text])
        np.testing.assert_allclose(run(graph, [text])[1], expected, atol=1e-5)


COLORS = pd.DataFrame(
    {
        "color": ["red", "blue", None, "red", "green", "gold"] * 4,
        "size": [1.5, np.nan, 3.0, 1.5, 2.0, 7.0] * 4,
        "new": [True, False, True, True, False, None] * 4,
        "n": pd.array([1, 2, None, 1, 2, 3] * 4, dtype="Int64"),
    }
)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(drop="first"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3),
        OneHotEncoder(drop="first", min_frequency=5),
        OrdinalEncoder(encoded_missing_value=-5),
        OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            max_categories=3,
            encoded_missing_value=9,
        ),
    ],
    ids=["all", "drop", "rare", "drop and rare", "ordinal", "ordinal, rare"],
)
def test_encoders(encoder):
    """Missing, rare and later values of strings, numbers and booleans are encoded."""
    X = COLORS.astype({"new": object, "n": float})
    y = np.arange(len(X)) % 5 > 1
    places = make_column_transformer((encoder, ["color", "size", "new", "n"]))
    model = make_pipeline(places, LogisticRegression(C=100)).fit(X[:18], y[:18])
    if encoder.handle_unknown != "error":
        X = pd.concat([X, X[:2].assign(color="pink", size=9.0)])
    assert_same(model, X)


@pytest.mark.parametrize(
    ("imputer", "names"),
    [
        (SimpleImputer(strategy="most_frequent"), ["color"]),
        (SimpleImputer(strategy="constant", fill_value="none"), ["color"]),
        (SimpleImputer(strategy="median", add_indicator=True), ["size", "n"]),
        (SimpleImputer(missing_values=1.5), ["whole"]),
    ],
    ids=["mode", "constant", "indicator", "a number"],
)
def test_imputers(imputer, names):
    """Missing strings are empty ones in a graph, and missing numbers are NaN."""
    X = COLORS.assign(whole=COLORS["size"].fillna(4))
    X["n"] = X["n"].astype(float)
    rest = [OneHotEncoder()] if names == ["color"] else []
    places = make_column_transformer((make_pipeline(imputer, *rest), names))
    y = np.arange(len(X)) % 3 > 0
    assert_same(make_pipeline(places, LogisticRegression(C=100)).fit(X, y), X)


LETTERS = list("abcdefghijkl")


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_boosting_of_categories(n_classes, dtype):
    """Splits of categories, missing values and categories that are new are the same."""
    rng = np.random.default_rng(0)
    letters = rng.integers(12, size=300)
    X = pd.DataFrame(
        {
            "size": rng.normal(size=300).astype(dtype),
            "letter": pd.Categorical.from_codes(
                letters - (letters == 0), list("abcdefghijkl")
            ),
            "shop": pd.Categorical(rng.choice(["north", "south"], 300)),
        }
    )
    X.loc[rng.random(300) < 0.2, "size"] = np.nan
    y = (letters * 7 + (X["shop"] == "north") + rng.integers(2, size=300)) % n_classes
    model = HistGradientBoostingClassifier(max_iter=10, min_samples_leaf=3)
    shown = X["letter"] != "d"
    graph = assert_same(model.fit(X[shown], y[shown]), X)
    assert [entry.name for entry in graph.graph.input] == list(X)


def test_thresholds_of_float32_rows():
    """A float32 row at a threshold goes the same way."""
    X = (np.arange(200, dtype=np.float32) * np.float32(0.1))[:, None]
    y = np.arange(200) % 7 > 2
    model = HistGradientBoostingClassifier(max_iter=10, min_samples_leaf=1).fit(X, y)
    assert_same(model, X)


def test_columns_with_names_of_outputs():
    """A column may have any name but that of an output, which the error says."""
    X = COLORS[["color", "size"]].fillna({"size": 0.0}).set_axis(["a b", "a_b"], axis=1)
    y = np.arange(len(X)) % 3 > 0
    for names in (["a b", "a_b"], ["X", "variable"], ["cast/X", "é ü"]):
        X.columns = names
        places = make_column_transformer((OneHotEncoder(), names))
        model = make_pipeline(places, LogisticRegression()).fit(X, y)
        graph = assert_same(model, X)
        assert [entry.name for entry in graph.graph.input] == names
    X.columns = ["label", "size"]
    places = make_column_transformer((OneHotEncoder(), ["label"]))
    model = make_pipeline(places, LogisticRegression()).fit(X, y)
    with pytest.raises(ExportError, match="the column 'label' has the name of an out"):
        to_onnx(model, X)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            TfidfVectorizer(analyzer="char_wb"),
            r"TfidfVectorizer\(analyzer='char",
        ),
        (
            TfidfVectorizer(strip_accents="ascii"),
            r"TfidfVectorizer\(strip_acc",
        ),
        (CountVectorizer(tokenizer=str.split), r"CountVectorizer\(tokenizer=<method "),
        (
            HashingVectorizer(n_features=64),
            "HashingVectorizer cannot .*lacks a conv",
        ),
    ],
    ids=["gaps", "accents", "own", "hashes"],
)
@pytest.mark.filterwarnings("ignore:The parameter 'token_pattern'")
def test_what_cannot_be_exported_of_texts(step, message):
    """One sentence names the step and the parameter."""
    model = make_pipeline(step, LogisticRegression())
    model.fit(TEXTS, np.arange(len(TEXTS)) % 3 > 0)
    with pytest.raises(ExportError, match=f"^{message}.*with joblib or skops"):
        to_onnx(model, TEXTS)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (FunctionTransformer(np.abs), r"FunctionTransformer\(absolute\) cannot"),
        (SplineTransformer(), "SplineTransformer cannot"),
        (QuadraticDiscriminantAnalysis(), "QuadraticDiscriminantAnalysis cannot"),
    ],
    ids=lambda step: type(step).__name__,
)
def test_what_cannot_be_exported(step, message):
    """One sentence names the step, wherever it stands."""
    X = COLORS[["size"]].fillna(0.5).to_numpy() + np.arange(len(COLORS))[:, None] % 4
    y = np.arange(len(X)) % 3 > 0
    last = [] if hasattr(step, "predict") else [LogisticRegression()]
    model = make_pipeline(step, *last).fit(X, y)
    with pytest.raises(ExportError, match=f"^{message}.*with joblib or skops"):
        to_onnx(model, X)


@pytest.mark.parametrize("inside", ["categories", "pipeline"])
def test_columns_inside_another_classifier(inside):
    """skl2onnx passes one table to what is calibrated; the error says how to do it."""
    frames, y = DATA["generated"]
    X = frames["categories"]
    student = HistGradientBoostingClassifier(max_iter=3)
    if inside == "pipeline":
        student = make_pipeline(shared["columns"](), LogisticRegression(max_iter=1000))
    model = CalibratedClassifierCV(student, cv=2).fit(X, y)
    way = r"make_pipeline\(columns, CalibratedClassifierCV\(\.\.\.\)\)"
    with pytest.raises(ExportError, match=f"^CalibratedClassifierCV cannot .*{way}"):
        to_onnx(model, X)


def test_frames_of_other_kinds():
    """Frames of polars, and columns of pandas' own types that may be missing."""
    frames, y = DATA["generated"]
    polars = pytest.importorskip("polars")
    X = polars.DataFrame({name: frames["booleans"][name].to_list() for name in NAMES})
    numbers, categories = list(NAMES[:3]), list(NAMES[3:])
    places = make_column_transformer(
        (StandardScaler(), numbers),
        (OneHotEncoder(handle_unknown="ignore"), categories),
    )
    student = LogisticRegression(max_iter=1000)
    assert_same(make_pipeline(places, student).fit(X[:N_TRAIN], y[:N_TRAIN]), X)
    X = pd.DataFrame({"n": pd.array(range(240)), "x": pd.array(np.arange(240) / 7)})
    X.loc[::9, "n"] = pd.NA
    to_onnx(HistGradientBoostingClassifier(max_iter=3).fit(X, y), X)
