"""Resolve a name or an object to an objective."""

from skadistill.exceptions import ObjectiveError
from skadistill.objectives._auto import AutoObjective
from skadistill.objectives._base import Objective
from skadistill.objectives._corrected import Corrected
from skadistill.objectives._debiased import Debiased
from skadistill.objectives._lelp import LELP
from skadistill.objectives._posterior import PosteriorTargets
from skadistill.objectives._slam import SLaM
from skadistill.objectives._soft import SoftTargets

__all__ = ["OBJECTIVES", "as_objective"]

OBJECTIVES = {
    "auto": AutoObjective,
    "soft": SoftTargets,
    "posterior": PosteriorTargets,
    "corrected": Corrected,
    "slam": SLaM,
    "debiased": Debiased,
    "lelp": LELP,
}


def as_objective(objective):
    """Resolve a name to an objective; an objective is returned unchanged."""
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]()
    raise ObjectiveError(
        f"objective must be one of {', '.join(map(repr, OBJECTIVES))} or an instance "
        f"of skadistill.objectives.Objective, got {objective!r}; pass one of these."
    )
