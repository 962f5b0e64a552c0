"""Make problems with a teacher whose errors are known."""

from skadistill.datasets._hide_labels import hide_labels
from skadistill.datasets._noisy_teacher import NoisyTeacher
from skadistill.datasets._problems import make_noisy_teacher_problem

__all__ = [
    "NoisyTeacher",
    "hide_labels",
    "make_noisy_teacher_problem",
]
