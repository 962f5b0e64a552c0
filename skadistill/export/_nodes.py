"""Add nodes to a graph under construction, with skl2onnx's containers."""

import numpy as np
from onnx import TensorProto, numpy_helper

__all__ = ["Nodes", "look_up_labels"]

# Versions of the operators outside the standard domain.
VERSIONS = {"ai.onnx.ml": 3, "com.microsoft": 1}


class Nodes:
    """Add the nodes and constants of one operator, with names that are unique."""

    def __init__(self, scope, container):
        self._scope = scope
        self._container = container

    def constant(self, values):
        """Add a constant and return its name."""
        name = self._scope.get_unique_variable_name("constant")
        values = np.asarray(values)
        if values.dtype.kind in "OU":
            texts = [text.encode() for text in values.ravel()]
            kind, shape = TensorProto.STRING, list(values.shape)
            self._container.add_initializer(name, kind, shape, texts)
        else:
            tensor = numpy_helper.from_array(values, name)
            self._container.add_initializer(name, None, None, tensor)
        return name

    def __call__(self, kind, *inputs, output=None, domain="", **attributes):
        """Add a node and return the name of its output."""
        output = output or self._scope.get_unique_variable_name(kind.lower())
        self._container.add_node(
            kind,
            list(inputs),
            output,
            name=self._scope.get_unique_operator_name(kind),
            op_domain=domain,
            op_version=VERSIONS.get(domain, self._container.main_opset),
            **attributes,
        )
        return output


def look_up_labels(node, proba, classes, output):
    """Add the nodes of the label of the most likely class of each row."""
    texts = classes.dtype.kind in "OUS"
    table = classes.astype(str) if texts else classes.astype(np.int64)
    winner = node("ArgMax", proba, axis=1, keepdims=0)
    node("Gather", node.constant(table), winner, output=output, axis=0)
