"""The student: a network that learns from soft targets, or any weighted classifier."""

from skadistill.student._as_student import as_student
from skadistill.student._fit_student import fit_student
from skadistill.student._module import SoftCrossEntropy, StudentMLP
from skadistill.student._net import StudentNet
from skadistill.student._out_of_fold import predict_out_of_fold
from skadistill.student._soft_labels import expand_soft_labels

__all__ = [
    "SoftCrossEntropy",
    "StudentMLP",
    "StudentNet",
    "as_student",
    "expand_soft_labels",
    "fit_student",
    "predict_out_of_fold",
]
