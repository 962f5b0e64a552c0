"""Load an ONNX graph and compare it with the model it was made from."""

import numpy as np
from scipy.sparse import issparse

from skadistill.exceptions import ExportError

__all__ = ["accept_doubles", "check_graph", "set_locale"]

# Largest difference of probabilities that float32 explains.
TOLERANCE = 1e-4
# Rows on which a graph is compared at most.
N_ROWS = 1000


def check_graph(graph, model, X, types):
    """Raise unless a graph loads and predicts what its model predicts."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # faults are raised, and told below
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    X = X[:N_ROWS]
    label, got = session.run(["label", "probabilities"], _inputs(X, types))
    expected = np.asarray(model.predict(X)).reshape(len(label))
    if hasattr(model, "predict_proba"):
        proba = np.asarray(model.predict_proba(X))
        off = np.abs(got - proba).max(axis=1) > TOLERANCE
        # Two classes may be equally likely up to the precision of float32.
        lead = np.diff(np.sort(proba, axis=1)[:, -2:]).sum(axis=1)
        off |= (label != expected) & (lead > TOLERANCE)
    else:
        off = label != expected
    if off.any():
        raise ExportError(
            f"the graph of {type(model).__name__} predicts something else than the "
            f"model on {off.sum()} of {len(off)} rows; save the model with joblib or "
            "skops instead."
        )


def _inputs(X, types):
    """Return rows as what a graph is fed with, by the names of its inputs."""
    if len(types) > 1 or types[0][0] != "X":
        columns = {name: np.asarray(X[name])[:, None] for name, _ in types}
    else:
        X = X.toarray() if issparse(X) else np.asarray(X)
        if X.dtype == object:
            X = np.asarray(X.tolist())
        columns = {"X": X[:, None] if X.ndim == 1 else X}
    return {name: _as_type(columns[name], kind) for name, kind in types}


def _as_type(values, kind):
    """Convert values to the type of an input."""
    dtypes = {"Float": np.float32, "Double": np.float64, "String": str}
    name = type(kind).__name__.removesuffix("TensorType")
    return values.astype(dtypes.get(name, values.dtype))


def accept_doubles(graph, names):
    """Let a graph for float32 accept float64 rows, which it rounds first."""
    from onnx import TensorProto, helper

    body = graph.graph
    renamed = {}
    for entry in body.input:
        if entry.name in names:
            entry.type.tensor_type.elem_type = TensorProto.DOUBLE
            renamed[entry.name] = f"{entry.name}/float32"
    for node in body.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for position, (name, inner) in enumerate(renamed.items()):
        cast = helper.make_node("Cast", [name], [inner], inner, to=TensorProto.FLOAT)
        body.node.insert(position, cast)


def set_locale(graph, locale):
    """Name the locale by whose rules a graph changes the case of texts."""
    from onnx import helper

    found = False
    for node in graph.graph.node:
        if node.op_type == "StringNormalizer":
            kept = [entry for entry in node.attribute if entry.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("locale", locale)])
            found = True
    return found
