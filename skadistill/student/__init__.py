"""The student network, which learns from soft targets."""

from skadistill.student._module import SoftCrossEntropy, StudentMLP
from skadistill.student._net import StudentNet

__all__ = [
    "SoftCrossEntropy",
    "StudentMLP",
    "StudentNet",
]
