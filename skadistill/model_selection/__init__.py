"""Split and score when some rows have no label, and compare query strategies."""

from skadistill.model_selection._compare import StrategyComparison, compare_strategies
from skadistill.model_selection._scorer import ignore_unlabeled
from skadistill.model_selection._split import PartiallyLabeledSplit

__all__ = [
    "PartiallyLabeledSplit",
    "StrategyComparison",
    "compare_strategies",
    "ignore_unlabeled",
]
