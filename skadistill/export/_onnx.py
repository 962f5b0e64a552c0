"""A fitted model as one ONNX graph."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from skadistill._utils.optional import require
from skadistill.exceptions import ExportError
from skadistill.export._agreement import accept_doubles, check_graph, set_locale
from skadistill.export._served import last_step, served_model
from skadistill.student import StudentNet

__all__ = ["to_onnx"]

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
    from skadistill.export._kernel_graph import register_kernel
    from skadistill.export._net_graph import register_net

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
    if not set_locale(graph, LOCALES[0]):
        check_graph(graph, model, X, types)
        return graph
    try:
        check_graph(graph, model, X, types)
    except ExportError:
        raise
    except Exception:  # this locale is not installed here
        set_locale(graph, LOCALES[1])
        check_graph(graph, model, X, types)
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
    accept_doubles(graph, rounded)
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
