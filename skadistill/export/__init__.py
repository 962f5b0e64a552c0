"""The way out: a trained student as an ONNX graph, and the card that goes with it."""

from skadistill.export._card import model_card
from skadistill.export._onnx import to_onnx

__all__ = ["model_card", "to_onnx"]
