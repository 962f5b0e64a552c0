"""Converters of steps that skl2onnx lacks, or converts wrongly."""

import copy
import logging
import warnings
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, compose, inliner
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import get_model_alias
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
)
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes as infer_classifier,
)
from skl2onnx.common.utils_classifier import get_label_classes
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder
from torch import nn

from skadistill.exceptions import ExportError
from skadistill.export._columns import (
    cast_to_output,
    convert_function,
    convert_imputer,
    convert_one_hot,
    convert_ordinal,
    infer_encoder,
    infer_function,
    infer_imputer,
    set_numbers,
)
from skadistill.export._nodes import Nodes, look_up_labels
from skadistill.export._texts import (
    convert_counts,
    convert_weights,
    infer_counts,
)
from skadistill.export._trees import (
    convert_boosting,
    convert_vote,
    foreign_converters,
    infer_boosting,
    tree_converters,
)
from skadistill.student import StudentNet

__all__ = ["converters"]

OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
}


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


def _infer_outputs(operator):
    """Set types and shapes of label and probabilities."""
    infer_classifier(operator)
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
    node = Nodes(scope, container)
    look_up_labels(node, proba, get_label_classes(scope, net), label)


def _cast(container, source, rows):
    """Cast the input rows to the type that the module accepts."""
    to = rows.type.tensor_type.elem_type
    container.add_node("Cast", source, rows.name, name=f"{rows.name}/cast", to=to)


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


def _infer_features(operator):
    """Set type and shape of the features."""
    set_numbers(operator, len(operator.raw_operator.components_))


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
    node = Nodes(scope, container)
    rows = node("Cast", operator.inputs[0].full_name, to=TensorProto.DOUBLE)
    # Minus gamma times the squared distance, term by term.
    ones = node.constant(np.ones((centers.shape[1], 1)))
    squares = node("MatMul", node("Mul", rows, rows), ones)
    near = node("MatMul", rows, node.constant(2 * gamma * centers.T))
    far = node("Mul", squares, node.constant(np.float64(gamma)))
    far = node("Add", far, node.constant(gamma * (centers**2).sum(axis=1)))
    similar = node("Exp", node("Sub", near, far))
    normal = node.constant(np.asarray(kernel.normalization_.T, dtype=np.float64))
    cast_to_output(node, operator, node("MatMul", similar, normal))


def _parse_classifier(scope, model, inputs, custom_parsers=None):
    """Declare both outputs of a classifier that is none by its class."""
    operator = scope.declare_local_operator(get_model_alias(type(model)), model)
    operator.inputs.extend(inputs)
    for name, kind in (("label", Int64TensorType), ("probabilities", FloatTensorType)):
        operator.outputs.append(scope.declare_local_variable(name, kind()))
    return operator.outputs


def converters(classifier, double, sparse):
    """Return converter and shapes by class.

    `double` if numbers are of 64 bits, `sparse` if the classifier gets sparse rows.
    """
    encoded = partial(infer_encoder, double=double)
    counted = partial(infer_counts, double=double)

    nets = [StudentNet]
    if issubclass(classifier, StudentNet):  # may be a subclass
        nets.append(classifier)
    others = foreign_converters(sparse)
    for kind in (*nets, *others):
        # skl2onnx refuses options of classifiers that are not registered with it.
        update_registered_converter(
            kind,
            f"Skadistill{kind.__name__}",
            _infer_outputs if kind in nets else infer_classifier,
            _convert if kind in nets else others[kind],
            parser=None if issubclass(kind, ClassifierMixin) else _parse_classifier,
            overwrite=True,
            options=OPTIONS,
        )
    return {
        HistGradientBoostingClassifier: (convert_boosting, infer_boosting),
        VotingClassifier: (convert_vote, infer_classifier),
        **{kind: (tree, infer_classifier) for kind, tree in tree_converters().items()},
        Nystroem: (_convert_kernel, _infer_features),
        OneHotEncoder: (convert_one_hot, encoded),
        OrdinalEncoder: (convert_ordinal, encoded),
        SimpleImputer: (convert_imputer, infer_imputer),
        FunctionTransformer: (convert_function, infer_function),
        CountVectorizer: (convert_counts, counted),
        TfidfVectorizer: (convert_counts, counted),
        TfidfTransformer: (convert_weights, infer_function),
    }
