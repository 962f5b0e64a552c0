"""The student: a network that learns from soft targets, or any weighted classifier."""

from skadistill.student._any import (
    as_student,
    default_student,
    expand_soft_labels,
    fit_student,
)
from skadistill.student._batches import TableLoader
from skadistill.student._module import SoftCrossEntropy, Standardize, StudentMLP
from skadistill.student._net import StudentNet
from skadistill.student._out_of_fold import predict_out_of_fold

__all__ = [
    "SoftCrossEntropy",
    "Standardize",
    "StudentMLP",
    "StudentNet",
    "TableLoader",
    "as_student",
    "default_student",
    "expand_soft_labels",
    "fit_student",
    "predict_out_of_fold",
]
