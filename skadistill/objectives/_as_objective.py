"""Make an objective of a name or an object."""

from skadistill.exceptions import ObjectiveError
from skadistill.objectives._base import Objective
from skadistill.objectives._corrected import Corrected
from skadistill.objectives._debiased import Debiased
from skadistill.objectives._lelp import LELP
from skadistill.objectives._slam import SLaM
from skadistill.objectives._soft import SoftTargets

__all__ = ["OBJECTIVES", "as_objective"]

OBJECTIVES = {
    "soft": SoftTargets,
    "corrected": Corrected,
    "slam": SLaM,
    "debiased": Debiased,
    "lelp": LELP,
}


def as_objective(objective):
    """Return the objective that a name stands for; an objective is returned as is.

    Parameters
    ----------
    objective : {"soft", "corrected", "slam", "debiased", "lelp"} or Objective
        A name stands for the class with its defaults.

    Returns
    -------
    objective : Objective
        What turns evidence into lessons.

    Raises
    ------
    ObjectiveError
        If it is neither.

    Examples
    --------
    >>> from skadistill.objectives import as_objective
    >>> as_objective("soft")
    SoftTargets()
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]()
    raise ObjectiveError(
        f"objective must be one of {', '.join(map(repr, OBJECTIVES))} or an instance "
        f"of skadistill.objectives.Objective, got {objective!r}; pass one of these."
    )
