"""Soft labels for any classifier: through weights, copies, or the classifier itself."""

from skadistill.soft_labels._binary_relevance import BinaryRelevance
from skadistill.soft_labels._fit_student import fit_student

__all__ = ["BinaryRelevance", "fit_student"]
