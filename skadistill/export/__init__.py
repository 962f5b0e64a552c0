"""Export a trained student as an ONNX graph, with a model card."""

from skadistill.export._card import model_card
from skadistill.export._onnx import to_onnx

__all__ = ["model_card", "to_onnx"]
