"""Choose an objective by what the teacher checks say."""

from skadistill.objectives._base import Objective
from skadistill.objectives._corrected import Corrected
from skadistill.objectives._debiased import Debiased
from skadistill.objectives._slam import SLaM
from skadistill.objectives._soft import SoftTargets

__all__ = ["AutoObjective"]

#: Rows of the first check, and of all checks.
FIRST_CHECKS, MOST_CHECKS = 20, 40
#: A teacher that is wrong on at most this share of the first checks is not checked
#: on more rows.
CLEARLY_GOOD = 0.1
#: A teacher that is wrong on a smaller share of the rows is matched as it is.
OFTEN_WRONG = 0.15


class AutoObjective(Objective):
    """Match the soft labels, unless the teacher checks speak against it.

    This is ``objective="auto"``. The plain targets, which it teaches itself, until
    `settle` replaces it by the objective that suits the teacher.

    Parameters
    ----------
    base : Objective or None, default=None
        As in any objective; not used.

    Notes
    -----
    A teacher that is wrong on less than 15 % of the labeled rows is matched
    as it is, by `SoftTargets`. So is one that was fitted on the labeled rows, whose
    answers on other rows carry the truth of these, and one that was checked on fewer
    than 20 rows. For any other the choice is:

    - ``Debiased(base=Corrected())`` for soft labels of more than two classes: other
      students tell which answers are wrong, and the teacher's own probabilities what
      the truth may be instead;
    - ``Debiased(base=SLaM())`` for hard labels, which hold no second choice, and for
      two classes, since a second opinion corrects too much there;
    - for students that cannot minimize a custom loss, such as that of `SLaM`,
      ``Debiased(base=Corrected())`` with more than two classes and ``Debiased()``
      with two.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives._auto import AutoObjective
    >>> from skadistill.objectives import TeacherChecks
    >>> truth = np.arange(40) % 4
    >>> wrong = np.arange(40) < 10
    >>> answers = np.eye(4)[(truth + wrong) % 4]
    >>> checks = TeacherChecks(np.arange(40), answers)
    >>> AutoObjective().settle(checks, wrong.mean(), any_loss=True)
    Debiased(base=SLaM())
    >>> AutoObjective().settle(checks, 0.0, any_loss=True)
    SoftTargets()
    """

    def transform(self, lesson, evidence):
        """Return the lesson as it is."""
        return lesson

    def wants_checks(self, teacher_error):
        """Tell whether the choice may depend on what the teacher knows.

        Parameters
        ----------
        teacher_error : "auto", float or None
            As the user gave it.

        Returns
        -------
        wanted : bool
            False if the user says that the teacher is rarely wrong.
        """
        return teacher_error in ("auto", None) or teacher_error >= OFTEN_WRONG

    def n_more_checks(self, n_checks, error_rate):
        """Count the labeled rows on which the teacher is checked next.

        Parameters
        ----------
        n_checks : int
            Labeled rows on which it was checked so far.
        error_rate : float
            Share of all labeled rows on which it is wrong, by these checks.

        Returns
        -------
        n_more : int
            0: enough is known.
        """
        if n_checks < FIRST_CHECKS:
            return FIRST_CHECKS - n_checks
        if error_rate <= CLEARLY_GOOD:
            return 0
        # So many to learn from; and to decide by, where the first ones leave doubt.
        return max(0, MOST_CHECKS - n_checks)

    def is_enough(self, n_checks):
        """Tell whether so many checks are enough to choose by."""
        return n_checks >= FIRST_CHECKS

    def settle(self, checks, error_rate, *, any_loss):
        """Return the objective that suits the teacher.

        Parameters
        ----------
        checks : TeacherChecks or None
            All checks.
        error_rate : float or None
            Share of all labeled rows on which the teacher is wrong, by these checks.
        any_loss : bool
            Whether the student can be trained with any loss.

        Returns
        -------
        objective : Objective
            What the student is to match.
        """
        if checks is None or error_rate is None or error_rate < OFTEN_WRONG:
            return SoftTargets()
        if not checks.independent or not self.is_enough(len(checks.rows)):
            return SoftTargets()
        has_more = checks.proba.shape[1] > 2
        is_hard = bool((checks.proba.max(axis=1) == 1).all())
        if any_loss and (is_hard or not has_more):
            return Debiased(base=SLaM())
        return Debiased(base=Corrected()) if has_more else Debiased()
