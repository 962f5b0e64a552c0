"""Distill a costly, fallible teacher into a small student."""

from typing import TYPE_CHECKING

from skadistill._utils.lazy import lazy_names

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

if TYPE_CHECKING:
    from skadistill._distiller import ActiveDistiller
    from skadistill.ledger import LabelLedger, MemoryLedger
    from skadistill.llm import ChatTeacher
    from skadistill.model_selection import PartiallyLabeledSplit
    from skadistill.search import LayerNASSearchCV
    from skadistill.student import StudentNet
    from skadistill.teachers import AsyncTeacher

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skadistill._distiller": ["ActiveDistiller"],
            "skadistill.ledger": ["LabelLedger", "MemoryLedger"],
            "skadistill.llm": ["ChatTeacher"],
            "skadistill.model_selection": ["PartiallyLabeledSplit"],
            "skadistill.search": ["LayerNASSearchCV"],
            "skadistill.student": ["StudentNet"],
            "skadistill.teachers": ["AsyncTeacher"],
        },
        [
            "callbacks",
            "datasets",
            "deploy",
            "exceptions",
            "export",
            "labeling",
            "ledger",
            "llm",
            "model_selection",
            "objectives",
            "plotting",
            "query",
            "search",
            "soft_labels",
            "stopping",
            "student",
            "teachers",
            "testing",
        ],
    )
