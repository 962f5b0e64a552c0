"""Choose an objective by what the teacher checks say."""

from skadistill.objectives._base import Objective
from skadistill.objectives._label_posterior import LabelPosterior
from skadistill.objectives._posterior import PosteriorTargets
from skadistill.objectives._soft import SoftTargets

__all__ = ["AutoObjective"]

#: Fewest checks by which labels are corrected, and most; half of those that the budget
#: allows come first.
FEWEST_CHECKS, MOST_CHECKS = 20, 40
#: A teacher that is wrong on at most this share of the first checks is not checked
#: on more rows.
CLEARLY_GOOD = 0.1
#: A teacher that is wrong on a smaller share of the rows is matched as it is.
OFTEN_WRONG = 0.15


class AutoObjective(Objective):
    """Match the soft labels, unless the teacher checks speak against it.

    This is ``objective="auto"``. The plain targets, which it teaches itself, until
    `settle` replaces it by the objective that suits the teacher.
    """

    def transform(self, lesson, evidence):
        """Return the lesson as it is."""
        return lesson

    def settle(self, checks, error_rate):
        """Return the objective that suits the teacher.

        A teacher that is wrong on less than 15 % of the labeled rows is matched as it
        is; so is one that was fitted on these rows, or was checked on fewer than 20.
        """
        if checks is None or error_rate is None or error_rate < OFTEN_WRONG:
            return SoftTargets()
        several = checks.truth.ndim > 1  # labels per row, all of which are checked
        n_checks = checks.n_samples * (checks.truth.shape[1] // 2 if several else 1)
        if not checks.independent or n_checks < FEWEST_CHECKS:
            return SoftTargets()
        return LabelPosterior() if several else PosteriorTargets()
