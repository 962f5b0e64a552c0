"""The student network, which learns from soft targets."""

from typing import TYPE_CHECKING

from skadistill._utils.lazy import lazy_names

__all__ = [
    "SoftCrossEntropy",
    "StudentMLP",
    "StudentNet",
]

if TYPE_CHECKING:
    from skadistill.student._module import SoftCrossEntropy, StudentMLP
    from skadistill.student._net import StudentNet

# These need torch; other parts of the package only look at what a student predicts.

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skadistill.student._module": ["SoftCrossEntropy", "StudentMLP"],
            "skadistill.student._net": ["StudentNet"],
        },
    )
