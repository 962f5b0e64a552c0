"""A fitted model as one ONNX graph, which is compared with the model."""

from traceback import walk_tb
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skadistill._utils.optional import require
from skadistill.exceptions import ExportError
from skadistill.export._inputs import feed, inputs_of

__all__ = ["last_step", "served_model", "to_onnx"]

# Largest difference of probabilities that float32 explains.
TOLERANCE = 1e-4
OUTPUTS = ["label", "probabilities"]
# Rows on which a graph is compared at most.
N_ROWS = 1000

# Under which texts are lowered: both know more than English letters or are
# everywhere, while skl2onnx's en_US is missing in most containers.
LOCALES = ("C.UTF-8", "C")


def to_onnx(model: Any, X: Any, *, opset: int = 18) -> Any:
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
        Its input ``X`` has any number of rows. Of a frame whose columns differ in type,
        or are selected by a `ColumnTransformer`, each column is an input, by its name.
        Outputs are ``label`` of shape
        (n_samples,), int64 or string, and ``probabilities`` of shape
        (n_samples, n_classes), columns in the order of ``classes_``.

    Raises
    ------
    ImportError
        If onnx, onnxscript, onnxruntime or skl2onnx is not installed.
    ExportError
        If a step, a class or a module cannot be exported as a graph, or the graph
        does not load or disagrees with the model.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    model_card : Describe how the student was made.

    Notes
    -----
    torch exports nets (``torch.onnx.export``), skl2onnx everything else, with our own
    converters for text vectorizers, encoders, `SimpleImputer`, `Nystroem`, boosted
    trees and forests. Weights are exported unchanged: a net with `amp` predicts with
    reduced precision, its graph does not. A graph computes in float64 if the rows or
    the steps need it and all operators accept it, and in float32 otherwise. Texts are
    lowered by the rules of the locale C.UTF-8. In a graph a missing number is NaN and
    a missing string is the empty string.

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

    served = served_model(model)
    _check_classes(last_step(served))
    inputs = inputs_of(X[:N_ROWS], _picks_columns(served))
    _check_names(inputs)
    faults = []
    # A graph of float32 is smaller, and rounds the steps before a tree. Not all
    # operators accept float64.
    numbers = [np.float64, np.float32]
    if all(entry.is_exact for entry in inputs):
        numbers.reverse()
    for number in numbers:
        try:
            return _export(served, X[:N_ROWS], inputs, number, opset)
        except Exception as error:
            faults.append(error)
    raise _explain(served, faults[0]) from faults[0]


def _export(model, X, inputs, number, opset):
    """Convert a model that computes with one type of numbers, and compare."""
    graph = _convert(model, X, inputs, number, opset)
    if not _set_locale(graph, LOCALES[0]):
        _check_graph(graph, model, X, inputs)
        return graph
    try:
        _check_graph(graph, model, X, inputs)
    except ExportError:
        raise
    except Exception:  # this locale is not installed here
        _set_locale(graph, LOCALES[1])
        _check_graph(graph, model, X, inputs)
    return graph


def _explain(model, fault):
    """Return an error of one sentence for whatever failed, which names the step."""
    if isinstance(fault, ExportError):
        return fault
    reason = " ".join(str(fault).split())
    step = _failed_step(fault) or type(last_step(model)).__name__
    if type(fault).__name__ in ("MissingConverter", "MissingShapeCalculator"):
        return ExportError(
            f"{step} cannot be exported as an ONNX graph: skl2onnx lacks a converter "
            "for it; use a step that skl2onnx supports, register a converter with it, "
            "or save the model with joblib or skops."
        )
    if type(fault).__name__ == "InvalidInputLengthException":
        return ExportError(
            f"{step} cannot be exported as an ONNX graph whose inputs are the columns "
            "of a frame; put the step that prepares them before it, as in "
            f"make_pipeline(columns, {step}(...)), or save the model with joblib or "
            "skops."
        )
    return ExportError(
        f"{step} cannot be exported as an ONNX graph that runs "
        f"({type(fault).__name__}: {reason:.100}); pass rows of another type, "
        "or save the model with joblib or skops."
    )


def _failed_step(fault):
    """Return the name of the step that was being converted; None if none was."""
    step = None
    for frame, _ in walk_tb(fault.__traceback__):
        operator = frame.f_locals.get("operator")
        step = getattr(operator, "raw_operator", step)
    return None if step is None else type(step).__name__


def _convert(model, X, inputs, number, opset):
    """Convert a model with skl2onnx."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        StringTensorType,
    )

    from skadistill.export._graphs import converters
    from skadistill.export._trees import encode_first

    kinds = {
        str: StringTensorType,
        np.float64: DoubleTensorType,
        np.float32: FloatTensorType,
    }
    last = last_step(model)
    known = converters(type(last), number is np.float64, _gets_sparse(model, X))
    graph = convert_sklearn(
        encode_first(model),
        name=type(last).__name__,
        initial_types=[
            (entry.name, kinds[str if entry.dtype is str else number](entry.shape))
            for entry in inputs
        ],
        # Operators for trees and labels have versions of their own.
        target_opset={"": opset, "ai.onnx.ml": 3},
        options={"zipmap": False},
        custom_conversion_functions={kind: pair[0] for kind, pair in known.items()},
        custom_shape_calculators={kind: pair[1] for kind, pair in known.items()},
    )
    _accept(graph, inputs, number)
    return graph


def _gets_sparse(model, X):
    """Tell whether the classifier at the end of a model gets sparse rows."""
    if isinstance(model, Pipeline):
        X = model[:-1].transform(X)
    return issparse(X)


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


def _check_names(inputs):
    """Raise for columns that have the name of an output."""
    taken = sorted({entry.name for entry in inputs} & set(OUTPUTS))
    if taken:
        raise ExportError(
            f"the column {taken[0]!r} has the name of an output of the graph; rename "
            "it, in the rows that the model is fitted to, too."
        )


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


def _check_graph(graph, model, X, inputs):
    """Raise unless a graph loads and predicts what its model predicts."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # faults are raised, and told below
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    label, got = session.run(OUTPUTS, feed(X, inputs))
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
            f"the graph of {type(last_step(model)).__name__} disagrees with "
            f"the model on {off.sum()} of {len(off)} rows; save the model with "
            "joblib or skops instead."
        )


def _accept(graph, inputs, number):
    """Let a graph accept rows of the types they have, which it casts first."""
    from onnx import helper

    body = graph.graph
    to = helper.np_dtype_to_tensor_dtype(np.dtype(number))
    renamed, casts = {}, []
    # skl2onnx names the inputs in their order, but changes hyphens and blanks.
    for entry, given in zip(body.input, inputs, strict=True):
        renamed[entry.name] = given.name
        if given.dtype not in (str, number):
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(given.dtype))
            entry.type.tensor_type.elem_type = kind
            renamed[entry.name] = inner = f"{given.name}/cast"
            casts.append(helper.make_node("Cast", [given.name], [inner], inner, to=to))
        entry.name = given.name
    for node in body.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for position, cast in enumerate(casts):
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
