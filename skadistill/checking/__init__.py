"""What is known of the teacher: how often it is wrong, where, and how steadily."""

from skadistill._statistics.checks import TeacherChecks
from skadistill.checking._error_rate import estimate_teacher_error
from skadistill.checking._policy import CheckPolicy
from skadistill.checking._repeatability import teacher_repeatability

__all__ = [
    "CheckPolicy",
    "TeacherChecks",
    "estimate_teacher_error",
    "teacher_repeatability",
]
