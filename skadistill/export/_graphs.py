"""Parts of ONNX graphs that skl2onnx lacks: of a `StudentNet` and of a kernel map."""

import copy
import logging
import warnings
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, compose, inliner
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from skl2onnx.common.utils_classifier import get_label_classes
from sklearn.kernel_approximation import Nystroem
from torch import nn

from skadistill.exceptions import ExportError

__all__ = ["register_kernel", "register_net"]


class _Probabilities(nn.Module):
    """Compute the probabilities of `predict_proba` from rows."""

    def __init__(self, net):
        super().__init__()
        module = getattr(net.module_, "_orig_mod", net.module_)  # not compiled
        self.module = copy.deepcopy(module).cpu().eval()
        self._output_proba = net.output_proba

    def forward(self, X):
        """Return probabilities of the classes."""
        output = self.module(X)
        return self._output_proba(output[0] if isinstance(output, tuple) else output)


def register_net(kind):
    """Register the converter of a class of nets with skl2onnx."""
    update_registered_converter(
        kind,
        f"Skadistill{kind.__name__}",
        _infer_outputs,
        _convert,
        overwrite=True,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False]},
    )


def _infer_outputs(operator):
    """Set types and shapes of label and probabilities."""
    calculate_linear_classifier_output_shapes(operator)
    double = operator.raw_operator.input_dtype == "float64"
    kind = DoubleTensorType if double else FloatTensorType
    operator.outputs[1].type = kind(operator.outputs[1].type.shape)


def _convert(scope, operator, container):
    """Add the nodes of a net to the graph under construction."""
    net = operator.raw_operator
    label, proba = (output.full_name for output in operator.outputs)
    graph = _trace(net, container.main_opset)
    prefix = scope.get_unique_operator_name("student") + "/"
    graph = compose.add_prefix(graph, prefix).graph
    (rows,), (answer,) = graph.input, graph.output
    _cast(container, operator.inputs[0].full_name, rows)
    container.initializers.extend(graph.initializer)
    container.nodes.extend(graph.node)
    # torch's nodes have this version; skl2onnx uses the highest one it is passed.
    opset = container.main_opset
    container.add_node(
        "Identity", answer.name, proba, name=f"{prefix}proba", op_version=opset
    )
    _look_up_labels(scope, container, net, proba, label)


def _cast(container, source, rows):
    """Cast the input rows to the type that the module accepts."""
    to = rows.type.tensor_type.elem_type
    container.add_node("Cast", source, rows.name, name=f"{rows.name}/cast", to=to)


def _look_up_labels(scope, container, net, proba, label):
    """Look up the label of the most likely class of each row."""
    classes = get_label_classes(scope, net)
    texts = classes.dtype.kind in "OUS"
    kind = TensorProto.STRING if texts else TensorProto.INT64
    values = [str(c).encode() for c in classes] if texts else classes.astype(np.int64)
    table, winner = (scope.get_unique_variable_name(n) for n in ("classes", "winner"))
    container.add_initializer(table, kind, [len(classes)], list(values))
    container.add_node(
        "ArgMax",
        proba,
        winner,
        name=scope.get_unique_operator_name("ArgMax"),
        axis=1,
        keepdims=0,
    )
    container.add_node(
        "Gather",
        [table, winner],
        label,
        name=scope.get_unique_operator_name("Gather"),
        axis=0,
    )


def _trace(net, opset):
    """Let torch export the graph from rows to probabilities."""
    dtype = net._torch_input_dtype() or net._float_dtype()
    # Two rows: torch treats a size of 0 or 1 as constant.
    example = torch.zeros((2, *net._input_shape), dtype=dtype)
    try:
        with _quietly(), torch.inference_mode():
            program: Any = torch.onnx.export(
                _Probabilities(net),
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("rows", min=1)},),
                input_names=["rows"],
                output_names=["proba"],
                opset_version=opset,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"torch cannot export the module {net.module!r} as an ONNX graph, for the "
            "reason above; use only tensor operations and no conditions on values in "
            "its forward, or save the net with joblib or skops."
        ) from error
    return inliner.inline_local_functions(program.model_proto)


@contextmanager
def _quietly():
    """Silence torch's messages about itself and about missing packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def register_kernel():
    """Register the converter with skl2onnx, which has none."""
    update_registered_converter(
        Nystroem, "SkadistillNystroem", _infer_features, _convert_kernel, overwrite=True
    )


def _infer_features(operator):
    """Set type and shape of the features."""
    rows = operator.inputs[0].type
    double = isinstance(rows, DoubleTensorType)
    kind = DoubleTensorType if double else FloatTensorType
    operator.outputs[0].type = kind([None, len(operator.raw_operator.components_)])


def _convert_kernel(scope, operator, container):
    r"""Add the nodes of :math:`K(X, C) N^\top` to the graph under construction.

    They compute in float64: the normalization :math:`N` holds large numbers of both
    signs, in which the rounding of float32 would drown.
    """
    kernel = operator.raw_operator
    if kernel.kernel != "rbf":
        raise ExportError(
            f"Nystroem(kernel={kernel.kernel!r}) cannot be exported as an ONNX graph; "
            "use kernel='rbf', or save the model with joblib or skops."
        )
    centers = np.asarray(kernel.components_, dtype=np.float64)
    gamma = 1 / centers.shape[1] if kernel.gamma is None else kernel.gamma
    opset = container.main_opset

    def constant(name, values):
        name = scope.get_unique_variable_name(name)
        container.add_initializer(
            name, TensorProto.DOUBLE, list(values.shape), values.ravel().tolist()
        )
        return name

    def node(kind, *inputs, to=None, output=None, **attributes):
        output = output or scope.get_unique_variable_name(kind.lower())
        name = scope.get_unique_operator_name(kind)
        attributes |= {} if to is None else {"to": to}
        container.add_node(
            kind, list(inputs), output, name=name, op_version=opset, **attributes
        )
        return output

    rows = node("Cast", operator.inputs[0].full_name, to=TensorProto.DOUBLE)
    # Minus gamma times the squared distance, term by term.
    squares = node(
        "MatMul",
        node("Mul", rows, rows),
        constant("ones", np.ones((centers.shape[1], 1))),
    )
    near = node("MatMul", rows, constant("centers", 2 * gamma * centers.T))
    far = node("Mul", squares, constant("gamma", np.array([gamma])))
    far = node("Add", far, constant("norms", gamma * (centers**2).sum(axis=1)))
    similar = node("Exp", node("Sub", near, far))
    features = node("MatMul", similar, constant("normal", kernel.normalization_.T))
    double = isinstance(operator.outputs[0].type, DoubleTensorType)
    node(
        "Cast",
        features,
        to=TensorProto.DOUBLE if double else TensorProto.FLOAT,
        output=operator.outputs[0].full_name,
    )
