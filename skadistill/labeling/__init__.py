"""Buy labels from a teacher, and estimate how often it is wrong."""

from skadistill.labeling._buy import buy_labels
from skadistill.labeling._repeatability import teacher_repeatability
from skadistill.labeling._teacher_error import (
    TeacherErrorEstimate,
    estimate_teacher_error,
)

__all__ = [
    "TeacherErrorEstimate",
    "buy_labels",
    "estimate_teacher_error",
    "teacher_repeatability",
]
