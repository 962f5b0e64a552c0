"""A fitted model as one ONNX graph, which is compared with the model."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skadistill._utils.optional import require
from skadistill.exceptions import ExportError
from skadistill.student import StudentNet

__all__ = ["last_step", "served_model", "to_onnx"]

# Largest difference of probabilities that float32 explains.
TOLERANCE = 1e-4
# Rows on which a graph is compared at most.
N_ROWS = 1000

# Under which texts are lowered: both know more than English letters or are
# everywhere, while skl2onnx's en_US is missing in most containers.
LOCALES = ("C.UTF-8", "C")


def to_onnx(model, X, *, opset=18):
    """Export a fitted student as an ONNX graph.

    The graph returns the results of ``predict`` and ``predict_proba``, in float32 to
    about 1e-6, and runs without Python. The standardizing layer of the default student,
    pseudo-subclasses, class names and the steps of a pipeline are part of it; teacher
    and ledger are not.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~skadistill.student.StudentNet`,
        :class:`~skadistill.ActiveDistiller` or search, any classifier that skl2onnx
        converts, or a pipeline of its transformers that ends in one of these.
    X : array-like of shape (n_samples, n_features, ...), DataFrame or list of texts
        Rows as the model will get them. They determine shape and type of the input:
        with float32 rows the graph accepts float32. The graph is compared with the
        model on up to 1000 of them before it is returned.
    opset : int, default=18
        Version of ONNX's operators; 18 is supported by onnxruntime 1.14 and newer.

    Returns
    -------
    graph : onnx.ModelProto
        Its input ``X`` has any number of rows. If a `ColumnTransformer` selects
        columns by name, there is one input per column. Outputs are ``label`` of shape
        (n_samples,), int64 or string, and ``probabilities`` of shape
        (n_samples, n_classes), columns in the order of ``classes_``.

    Raises
    ------
    ImportError
        If onnx, onnxscript, onnxruntime or skl2onnx is not installed.
    ExportError
        If a step, a class or a module cannot be exported as a graph, or the graph
        does not load or predicts something else than the model.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    model_card : Describe how the student was made.

    Notes
    -----
    torch exports nets (``torch.onnx.export``), skl2onnx everything else, with a
    converter for nets that stays registered. Weights are exported unchanged: a net with
    `amp` predicts with reduced precision, its graph does not. If an operator does
    not accept float64 rows, as those for trees, the graph rounds them to float32.
    Texts are lowered by the rules of the locale C.UTF-8.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skadistill.export import to_onnx
    >>> from skadistill.student import StudentNet
    >>> X, y = load_iris(return_X_y=True)
    >>> X = X.astype(np.float32)
    >>> net = StudentNet(max_epochs=5, random_state=0).fit(X, y)
    >>> graph = to_onnx(net, X[:1])
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    for package in ("onnx", "onnxscript", "onnxruntime", "skl2onnx"):
        require(package, "export")
    from skadistill.export._graphs import register_kernel, register_net

    served = served_model(model)
    classifier = last_step(served)
    _check_classes(classifier)
    register_net(StudentNet)
    register_kernel()
    if isinstance(classifier, StudentNet):
        register_net(type(classifier))  # may be a subclass
    types = _input_types(served, X)
    doubles = {n for n, kind in types if type(kind).__name__ == "DoubleTensorType"}
    faults = []
    # Few operators for trees take float64 rows; scikit-learn's trees round them too.
    for rounded in (set(), doubles) if doubles else (set(),):
        try:
            return _export(served, X, types, rounded, opset)
        except Exception as error:
            faults.append(error)
    raise _explain(served, faults[-1]) from faults[-1]


def _export(model, X, types, rounded, opset):
    """Convert a model and compare; inputs named by `rounded` become float32 first."""
    graph = _convert(model, types, rounded, opset)
    if not _set_locale(graph, LOCALES[0]):
        _check_graph(graph, model, X, types)
        return graph
    try:
        _check_graph(graph, model, X, types)
    except ExportError:
        raise
    except Exception:  # this locale is not installed here
        _set_locale(graph, LOCALES[1])
        _check_graph(graph, model, X, types)
    return graph


def _explain(model, fault):
    """Return an error of one sentence for whatever failed."""
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    if isinstance(fault, ExportError):
        return fault
    if isinstance(fault, MissingConverter | MissingShapeCalculator):
        return ExportError(
            f"{model!r} cannot be exported as an ONNX graph: skl2onnx lacks a "
            "converter for one of its steps; use a step that skl2onnx supports, "
            "register a converter with it, or save the model with joblib or skops."
        )
    reason = " ".join(str(fault).split())
    return ExportError(
        f"{type(last_step(model)).__name__} cannot be exported as an ONNX graph that "
        f"runs ({type(fault).__name__}: {reason:.100}); pass rows of another type, "
        "or save the model with joblib or skops."
    )


def _convert(model, types, rounded, opset):
    """Convert a model with skl2onnx."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    with warnings.catch_warnings():
        # Said of n-grams of letters; the graph is compared with the model below.
        warnings.filterwarnings("ignore", "The conversion of CountVectorizer may not")
        graph = convert_sklearn(
            model,
            name=type(last_step(model)).__name__,
            initial_types=[
                (name, FloatTensorType(kind.shape) if name in rounded else kind)
                for name, kind in types
            ],
            target_opset=opset,
            options={"zipmap": False},
        )
    _accept_doubles(graph, rounded)
    return graph


def _check_classes(classifier):
    """Raise for labels of a type that ONNX lacks."""
    classes = getattr(classifier, "classes_", None)
    if classes is None:
        raise ExportError(
            f"{classifier!r} has no classes_; to_onnx exports classifiers only."
        )
    texts = all(isinstance(label, str) for label in classes.tolist())
    if not texts and classes.dtype.kind not in "iub":
        raise ExportError(
            f"classes are {classes.tolist()} of type {classes.dtype}, and ONNX labels "
            "are integers or strings; fit with labels of one of these types."
        )


def _input_types(model, X):
    """Return names and types of the graph's inputs; the first axis is dynamic."""
    from skl2onnx.common.data_types import guess_data_type

    row = X[:1]
    if hasattr(row, "columns") and _picks_columns(model):
        return guess_data_type(row)
    row = row.toarray() if issparse(row) else np.asarray(row)
    if row.dtype.kind == "O":
        row = np.asarray(row.tolist())  # numbers or texts
    if row.ndim == 1:
        row = row[:, None]
    ((_, kind),) = guess_data_type(row)
    kind.shape = [None, *row.shape[1:]]
    return [("X", kind)]


def _picks_columns(model):
    """Tell whether a step of a pipeline selects columns."""
    if isinstance(model, Pipeline):
        return any(_picks_columns(step) for _, step in model.steps)
    return isinstance(model, ColumnTransformer)


def served_model(model):
    """Return the part of a fitted model that makes its predictions."""
    check_is_fitted(model)
    for inside in ("student_", "best_estimator_"):
        if hasattr(model, inside):
            return served_model(getattr(model, inside))
    if isinstance(model, Pipeline):
        *steps, (name, last) = model.steps
        return Pipeline([*steps, (name, served_model(last))])
    return model


def last_step(model):
    """Return the classifier at the end of a pipeline; any other model itself."""
    return last_step(model[-1]) if isinstance(model, Pipeline) else model


def _check_graph(graph, model, X, types):
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


def _accept_doubles(graph, names):
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


def _set_locale(graph, locale):
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
