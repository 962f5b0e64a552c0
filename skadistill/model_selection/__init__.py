"""Split and score when some rows have no label."""

from skadistill.model_selection._scorer import (
    LabeledRowsScorer,
    ignore_unlabeled,
    warn_if_unlabeled,
)
from skadistill.model_selection._split import PartiallyLabeledSplit

__all__ = [
    "LabeledRowsScorer",
    "PartiallyLabeledSplit",
    "ignore_unlabeled",
    "warn_if_unlabeled",
]
