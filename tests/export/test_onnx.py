"""ONNX graphs answer what predict and predict_proba answer."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import skadistill
from skadistill import ActiveDistiller
from skadistill.exceptions import ExportError
from skadistill.export import to_onnx
from skadistill.objectives import LELP, Evidence
from skadistill.search import LayeredCNN
from skadistill.soft_labels import fit_student
from skadistill.student import StudentNet

pytest.importorskip("onnxscript")
pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")

X, Y = load_iris(return_X_y=True)
X32 = X.astype(np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
IMAGES = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
TIED = np.r_[np.zeros((1, 4), dtype=np.float32), X32[1:]]  # a row without a winner
CNN = {"module": LayeredCNN, "module__width_1": 4, "standardize": True}
PARTLY = NAMES.astype(object)
for hidden in (slice(30, 50), slice(70, 100), slice(120, 150)):
    PARTLY[hidden] = -1


class OwnModule(nn.Module):
    """Two outputs, of which the first are probabilities."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.layer = nn.Linear(n_features, n_classes, bias=False)

    def forward(self, X):
        proba = torch.softmax(self.layer(X), dim=1)
        return proba, X


class Undecided(OwnModule):
    """Look at numbers before choosing a way, which no graph can."""

    def forward(self, X):
        return self.layer(X) if X.sum() > 0 else self.layer(-X)


class Plain(ClassifierMixin, BaseEstimator):
    """A classifier that skl2onnx has never heard of."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self


def net(**kwargs):
    return StudentNet(**{"max_epochs": 5, "random_state": 0, "device": "cpu"} | kwargs)


def distiller(student):
    return ActiveDistiller(
        LogisticRegression(), student, budget=8, query_size=4, random_state=0
    )


def lelp_net():
    p = np.random.default_rng(0).dirichlet(np.ones(2), len(X32))
    evidence = Evidence(p, np.zeros(len(X32), dtype=bool), embeddings=X32)
    lesson = LELP(n_subclasses=2).lesson(evidence)
    return net().fit_lesson(X32, lesson, classes=["no", "yes"])


def main_opset(graph):
    return {entry.domain: entry.version for entry in graph.opset_import}[""]


def answers(graph, rows, name="X"):
    """Run a graph on rows."""
    inputs = rows if isinstance(rows, dict) else {name: rows}
    session = runtime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["label", "probabilities"], inputs)


def assert_same_answers(model, rows, inputs=None, graph=None):
    """Compare a graph with its model, on all rows and on one alone."""
    inputs = {"X": rows} if inputs is None else inputs
    graph = to_onnx(model, rows[:1]) if graph is None else graph
    label, proba = answers(graph, inputs)
    np.testing.assert_allclose(proba, model.predict_proba(rows), rtol=0, atol=1e-5)
    assert np.array_equal(label, model.predict(rows))
    one = {name: value[-1:] for name, value in inputs.items()}
    np.testing.assert_allclose(answers(graph, one)[1], proba[-1:], rtol=0, atol=1e-5)
    return graph


@pytest.mark.parametrize(
    ("kwargs", "rows"),
    [
        ({"input_dtype": "float64"}, X),
        ({"module": OwnModule, "predict_nonlinearity": None}, TIED),
        ({"criterion": nn.BCEWithLogitsLoss, "standardize": False}, X32),
        (CNN, IMAGES),
    ],
    ids=["float64", "own module", "sigmoids", "CNN"],
)
def test_nets(kwargs, rows):
    """Standardizing layer, nonlinearity and labels are part of the graph."""
    assert_same_answers(net(**kwargs).fit(rows, Y[-len(rows) :] + 3), rows)


def test_pseudo_subclasses_are_added_up():
    """A student of LELP answers with its classes, not with their parts."""
    graph = assert_same_answers(lelp_net(), X32)
    assert graph.graph.output[1].type.tensor_type.shape.dim[1].dim_value == 2


@pytest.mark.parametrize("student", [net(), LogisticRegression()], ids=["net", "lr"])
def test_distillers_and_pipelines(student):
    """Scaler and student are one graph; teacher and ledger stay behind."""
    model = make_pipeline(StandardScaler(), distiller(student)).fit(X32, PARTLY)
    assert_same_answers(model, X32)
    inner = distiller(make_pipeline(StandardScaler(), student)).fit(X32, PARTLY)
    assert_same_answers(inner, X32)


def test_names_shapes_and_what_is_left_behind():
    """X goes in, label and probabilities come out; nothing else is touched."""
    student = net(module__dropout=0.5).fit(X32, NAMES)
    before, state = student.predict_proba(X32), torch.get_rng_state()
    graph = to_onnx(student, X32)
    assert_same_answers(student, X32, graph=graph)
    (rows,) = graph.graph.input
    label, proba = graph.graph.output
    assert (rows.name, label.name, proba.name) == ("X", "label", "probabilities")
    first, second = rows.type.tensor_type.shape.dim
    assert not first.dim_value
    assert second.dim_value == 4
    assert main_opset(graph) == 18
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(student.predict_proba(X32), before)
    twin = net(module__dropout=0.5).fit(X32, NAMES).partial_fit(X32, NAMES)
    assert np.array_equal(
        student.partial_fit(X32, NAMES).predict_proba(X32), twin.predict_proba(X32)
    )


def test_the_type_of_the_input_follows_the_rows():
    """Float64 rows make a graph for float64 rows, with the same answers."""
    assert_same_answers(make_pipeline(StandardScaler(), net()).fit(X, Y), X)


def test_frames():
    """A frame is one input where it is a table, and many where columns differ."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, Y)
    assert_same_answers(plain, frame, {"X": X})
    columns = ColumnTransformer([("scale", StandardScaler(), ["a", "c"])])
    picked = make_pipeline(columns, LogisticRegression()).fit(frame, Y)
    assert_same_answers(
        picked, frame, {name: frame[[name]].to_numpy() for name in frame}
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gamma", [None, 0.5])
def test_radial_basis_features(dtype, gamma):
    """Equal rows make the kernel singular; the graph agrees all the same."""
    X = np.random.default_rng(0).normal(size=(80, 4)).astype(dtype)
    X = np.concatenate([X, X[:40], X[:40] + dtype(1e-4)])
    y = (X[:, 0] > X[:, 1]).astype(int)
    kernel = Nystroem(n_components=100, gamma=gamma, random_state=0)
    model = make_pipeline(StandardScaler(), kernel, LogisticRegression(C=100))
    fit_student(model, X, np.eye(2)[y], classes=[0, 1])
    assert_same_answers(model, X)


def test_other_kernels_are_refused_by_name():
    """Only radial-basis features have a converter."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    kernel = Nystroem(kernel="laplacian", n_components=5)
    model = make_pipeline(kernel, LogisticRegression()).fit(X, X[:, 0] > 0)
    with pytest.raises(ExportError, match=r"kernel='laplacian'.*use kernel='rbf'"):
        to_onnx(model, X)


def test_texts():
    """Texts go in as a column of strings."""
    texts = np.array(["good movie", "bad film", "nice one", "awful"] * 5)
    model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression())
    model.fit(texts, ["yes", "no"] * 10)
    assert_same_answers(model, texts, {"X": texts[:, None]})
    assert_same_answers(model, texts.astype(object), {"X": texts[:, None]})


def test_texts_are_lowered_without_an_installed_locale():
    """The graph names a locale that containers have, not skl2onnx's en_US."""
    texts = np.array(["Good MOVIE", "bad film", "Nice one", "AWFUL"] * 5)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit(texts, ["yes", "no"] * 10)
    graph = assert_same_answers(model, texts, {"X": texts[:, None]})
    (node,) = [n for n in graph.graph.node if n.op_type == "StringNormalizer"]
    locales = [a.s.decode() for a in node.attribute if a.name == "locale"]
    assert locales in (["C.UTF-8"], ["C"])


X64 = X32.astype(np.float64) + 1e-9
ENCODED = np.column_stack([np.round(X64[:, 0]), X64[:, 1:]])


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (DecisionTreeClassifier(max_depth=4), X64),
        (GradientBoostingClassifier(n_estimators=3), X64),
        (AdaBoostClassifier(n_estimators=3), X64),
        (BaggingClassifier(n_estimators=3), X64),
        (CalibratedClassifierCV(DecisionTreeClassifier(max_depth=3)), X64),
        (
            make_pipeline(
                make_column_transformer(
                    (OneHotEncoder(handle_unknown="ignore"), [0]),
                    remainder="passthrough",
                ),
                DecisionTreeClassifier(max_depth=3),
            ),
            ENCODED,
        ),
    ],
    ids=lambda m: type(m).__name__,
)
def test_rows_of_float64(model, rows):
    """Operators that take float32 alone get rounded rows; the input stays float64."""
    graph = to_onnx(model.fit(rows, Y), rows)
    label, proba = answers(graph, rows)
    assert label.tolist() == model.predict(rows).tolist()
    np.testing.assert_allclose(proba, model.predict_proba(rows), atol=1e-4)


def test_frames_of_several_types_behind_trees():
    """Texts, integers and float64 columns each keep their own input."""
    frame = pd.DataFrame(X64, columns=list("abcd"))
    frame["a"] = np.where(X64[:, 0] > 5.8, "long", "short")
    frame["b"] = np.round(X64[:, 1]).astype(int)
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["a", "b"]),
            (StandardScaler(), ["c", "d"]),
        ),
        DecisionTreeClassifier(max_depth=3),
    ).fit(frame, Y)
    graph = to_onnx(model, frame)
    inputs = {name: frame[[name]].to_numpy() for name in frame}
    inputs["a"] = inputs["a"].astype(str)
    assert answers(graph, inputs)[0].tolist() == model.predict(frame).tolist()


class Wrong(LogisticRegression):
    """Predicts another class than its coefficients say, as no converter knows."""

    def predict(self, X):
        return np.roll(self.classes_, 1)[super().predict(X)]


class Off(LogisticRegression):
    def predict_proba(self, X):
        return np.roll(super().predict_proba(X), 1, axis=1)


@pytest.mark.parametrize("kind", [Wrong, Off])
def test_a_graph_that_disagrees_is_not_returned(kind):
    """Each graph is compared with its model before anybody deploys it."""
    skl2onnx = pytest.importorskip("skl2onnx")
    skl2onnx.update_registered_converter(
        kind,
        f"Test{kind.__name__}",
        skl2onnx.common.shape_calculator.calculate_linear_classifier_output_shapes,
        skl2onnx.operator_converters.linear_classifier.convert_sklearn_linear_classifier,
        options={
            name: [True, False]
            for name in ("zipmap", "nocl", "raw_scores", "output_class_labels")
        },
        overwrite=True,
    )
    with pytest.raises(
        ExportError,
        match=rf"the graph of {kind.__name__} disagrees with the model "
        r"on 150 of 150 rows; save the model with joblib or skops instead\.",
    ):
        to_onnx(kind(max_iter=500).fit(X32, Y), X32)


def test_searches_leave_with_their_best():
    """Of a search over distillers the student of the best one is written."""
    folds = [(np.arange(0, 150, 2), np.flatnonzero(PARTLY != -1))]
    search = GridSearchCV(
        distiller(LogisticRegression()), {"query_size": [8]}, cv=folds
    )
    assert_same_answers(search.fit(X32, PARTLY), X32)


def test_nets_inside_what_skl2onnx_knows():
    """A calibrated net is one graph, calibration included."""
    model = CalibratedClassifierCV(net(), cv=2, method="sigmoid").fit(X32, Y)
    assert_same_answers(model, X32)


def test_opset():
    """The version of the operators is that asked for."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X32, Y)
    assert main_opset(to_onnx(model, X32)) <= 18
    graph = to_onnx(net(**CNN).fit(IMAGES, Y[-40:]), IMAGES, opset=20)
    assert main_opset(graph) == 20


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (net(module=Undecided), r"module .*Undecided.* joblib or skops"),
        (Plain(), r"^Plain cannot be exported .* register a converter"),
        (distiller(Plain()), r"^Plain cannot be exported"),
    ],
    ids=["conditions", "unknown", "unknown student"],
)
def test_what_cannot_be_written_says_what_to_do(model, message):
    """The message names the part and a way out."""
    if isinstance(model, ActiveDistiller):
        model.student_ = model.student.fit(X32, Y)
    else:
        model.fit(X32, Y)
    with pytest.raises(ExportError, match=message):
        to_onnx(model, X32)


def test_labels_without_a_type_in_onnx():
    """Float labels, and classifiers without classes, are refused before any work."""
    with pytest.raises(ExportError, match=r"\[0.0, 1.0, 2.0\] of type float64"):
        to_onnx(net().fit(X32, Y.astype(float)), X32)
    with pytest.raises(ExportError, match="exports classifiers only"):
        to_onnx(StandardScaler().fit(X32), X32)


def test_unfitted_models():
    """scikit-learn's own error tells."""
    with pytest.raises(NotFittedError):
        to_onnx(net(), X32)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime", "skl2onnx"])
def test_missing_packages_are_named(monkeypatch, package):
    """The error names the package and the extra that brings it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} .*skadistill\[export\]"):
        to_onnx(LogisticRegression().fit(X32, Y), X32)


def test_the_room_opens_without_the_packages(monkeypatch):
    """Importing it imports none of them."""
    for package in ("onnx", "onnxscript", "skl2onnx", "skops"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(skadistill, "export", skadistill.export)
    for name in [name for name in sys.modules if name.startswith("skadistill.export")]:
        monkeypatch.delitem(sys.modules, name)
    assert importlib.import_module("skadistill.export").to_onnx is not to_onnx
