"""Make problems whose teacher errs exactly as often, and where, we say."""

from skadistill.datasets._hide_labels import hide_labels
from skadistill.datasets._noisy_teacher import NoisyTeacher
from skadistill.datasets._problems import (
    NoisyTeacherProblem,
    make_noisy_teacher_problem,
)

__all__ = [
    "NoisyTeacher",
    "NoisyTeacherProblem",
    "hide_labels",
    "make_noisy_teacher_problem",
]
