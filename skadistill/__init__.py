"""Distill an expensive, sometimes wrong teacher into a small student."""

from skadistill._distiller import ActiveDistiller
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.llm import ChatTeacher
from skadistill.model_selection import PartiallyLabeledSplit
from skadistill.search import LayerNASSearchCV
from skadistill.student import StudentNet
from skadistill.teachers import AsyncTeacher

__version__ = "0.1.0"

__all__ = [
    "ActiveDistiller",
    "AsyncTeacher",
    "ChatTeacher",
    "LabelLedger",
    "LayerNASSearchCV",
    "MemoryLedger",
    "PartiallyLabeledSplit",
    "StudentNet",
    "__version__",
]
