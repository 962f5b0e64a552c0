"""The student: a network that learns from soft targets, or any weighted classifier."""

from skadistill.student._fit_student import fit_student
from skadistill.student._module import SoftCrossEntropy, StudentMLP
from skadistill.student._net import StudentNet

__all__ = [
    "SoftCrossEntropy",
    "StudentMLP",
    "StudentNet",
    "fit_student",
]
