"""Training objectives: soft targets, mixtures, weights and subclasses."""

from skadistill.objectives._base import Evidence, Lesson, Objective
from skadistill.objectives._base import TeacherChecks as TeacherChecks
from skadistill.objectives._calibration import teacher_reliability
from skadistill.objectives._corrected import Corrected
from skadistill.objectives._debiased import Debiased
from skadistill.objectives._lelp import LELP
from skadistill.objectives._posterior import PosteriorTargets
from skadistill.objectives._slam import SLaM
from skadistill.objectives._soft import SoftTargets

__all__ = [
    "LELP",
    "Corrected",
    "Debiased",
    "Evidence",
    "Lesson",
    "Objective",
    "PosteriorTargets",
    "SLaM",
    "SoftTargets",
    "teacher_reliability",
]
