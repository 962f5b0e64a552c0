"""Convert a radial-basis `Nystroem` map to a part of an ONNX graph, for skl2onnx."""

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.kernel_approximation import Nystroem

from skadistill.exceptions import ExportError

__all__ = ["register_kernel"]


def register_kernel():
    """Register the converter with skl2onnx, which has none."""
    update_registered_converter(
        Nystroem, "SkadistillNystroem", _infer_output, _convert, overwrite=True
    )


def _infer_output(operator):
    """Set type and shape of the features."""
    rows = operator.inputs[0].type
    double = isinstance(rows, DoubleTensorType)
    kind = DoubleTensorType if double else FloatTensorType
    operator.outputs[0].type = kind([None, len(operator.raw_operator.components_)])


def _convert(scope, operator, container):
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
