"""Split and score when some rows have no label."""

from skadistill.model_selection._scorer import ignore_unlabeled
from skadistill.model_selection._split import PartiallyLabeledSplit

__all__ = ["PartiallyLabeledSplit", "ignore_unlabeled"]
