"""What the student must match: soft targets, mixtures, weights, subclasses."""

from skadistill.objectives._as_objective import as_objective
from skadistill.objectives._base import (
    Evidence,
    Lesson,
    Objective,
    TeacherChecks,
    margin,
)
from skadistill.objectives._calibration import (
    TeacherReliability,
    teacher_reliability,
)
from skadistill.objectives._corrected import Corrected
from skadistill.objectives._debiased import Debiased
from skadistill.objectives._lelp import LELP
from skadistill.objectives._loss import LessonLoss
from skadistill.objectives._slam import SLaM
from skadistill.objectives._soft import SoftTargets

__all__ = [
    "LELP",
    "Corrected",
    "Debiased",
    "Evidence",
    "Lesson",
    "LessonLoss",
    "Objective",
    "SLaM",
    "SoftTargets",
    "TeacherChecks",
    "TeacherReliability",
    "as_objective",
    "margin",
    "teacher_reliability",
]
