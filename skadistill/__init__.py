"""Distil an expensive, sometimes wrong teacher into a small student.

The front door: :class:`ActiveDistiller` and what most scripts need beside it.
"""

from skadistill._distiller import ActiveDistiller
from skadistill._plan import Plan
from skadistill._progress import TqdmProgress
from skadistill._stopping import StudentStable
from skadistill.search import LayerNASSearchCV
from skadistill.student import StudentNet
from skadistill.teachers import LabelLedger, MemoryLedger

__version__ = "0.1.0.dev0"

__all__ = [
    "ActiveDistiller",
    "LabelLedger",
    "LayerNASSearchCV",
    "MemoryLedger",
    "Plan",
    "StudentNet",
    "StudentStable",
    "TqdmProgress",
    "__version__",
]
