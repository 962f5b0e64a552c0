"""How a fit checks its teacher: what the user wants, and what follows for one fit."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from sklearn.base import BaseEstimator

from skadistill._utils.compat import (
    Interval,
    RealNotInt,
    StrOptions,
    validate_parameters,
)
from skadistill.checking import _error_curve
from skadistill.labeling._job_buyer import answers_later
from skadistill.objectives import _auto
from skadistill.objectives._auto import AutoObjective

__all__ = ["CheckPlan", "CheckPolicy", "as_policy", "n_more_for_choice", "plan_checks"]

#: Checks at most if the user does not say how many; and if they are made in steps, for
#: the strategy, the objective or both.
MAX_CHECKS = 200
MAX_STEPWISE_CHECKS = max(_error_curve.MOST_CHECKS, _auto.MOST_CHECKS)
CHECK_SHARE = 5  # one in so many rows of the budget
#: Below this budget checks tell the objective alone what to learn: where the teacher is
#: wrong, so few cannot tell, and they cost more than a strategy gains by it.
SMALL_BUDGET = 200


class CheckPolicy(BaseEstimator):
    """Say how the teacher is checked on labeled rows, as ``teacher_checks``.

    A fitted teacher or a callable is asked about labeled rows, which are paid for, if
    the strategy or the objective needs to know how often it is wrong, or where. A
    teacher that is fitted on the labeled rows is cross-fitted instead, for free.

    Parameters
    ----------
    n_checks : "auto", int or float, default="auto"
        The most labeled rows that the teacher is asked about to check it: a number, or
        a share of the budget. "auto": a fifth of the budget, at most 200. The default
        strategy and the default objective ask for at most 40, and stop as soon as they
        know enough; of a budget below 200 the objective alone asks for at most 20, and
        of one below 100 for none. A number larger than that of the labeled rows: all of
        them. 0: no checks; the default strategy trusts the teacher then, and "rad"
        solves the regret game.
    error_rate : float or None, default=None
        The teacher's error rate, if you know it. The strategy uses
        it, and does not ask for checks. None: estimated from checks. A teacher that
        was trained on the labeled rows looks better in checks than it is: give your own
        estimate.
    on_weak : {"warn", "raise", "ignore"}, default="warn"
        What to do if the teacher, checked on 30 labeled rows or more, looks worse on
        them than students trained on the others. "raise" refuses one that is worse by
        more than chance, before the pool is paid for. Unless "ignore", and unless the
        teacher looks better, the first student is kept if it is better than the last
        one on labeled rows, out of fold: at all if the teacher is fitted on these
        rows, which is tested with every strategy; and beyond chance (5 %) if it is
        called, which is tested if it is checked for other reasons.

    Examples
    --------
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.checking import CheckPolicy
    >>> ActiveDistiller(len, teacher_checks=CheckPolicy(error_rate=0.1)).teacher_checks
    CheckPolicy(error_rate=0.1)
    """

    _parameter_constraints: dict = {
        "n_checks": [
            StrOptions({"auto"}),
            Interval(Integral, 0, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="both"),
        ],
        "error_rate": [Interval(Real, 0, 1, closed="both"), None],
        "on_weak": [StrOptions({"warn", "raise", "ignore"})],
    }

    def __init__(
        self,
        n_checks: str | float = "auto",
        *,
        error_rate: float | None = None,
        on_weak: str = "warn",
    ) -> None:
        self.n_checks = n_checks
        self.error_rate = error_rate
        self.on_weak = on_weak


def as_policy(teacher_checks):
    """Return the policy that a value of ``teacher_checks`` stands for, if it is one."""
    policy = teacher_checks
    if not isinstance(policy, CheckPolicy):
        policy = CheckPolicy(teacher_checks)
    if isinstance(policy.n_checks, bool):
        raise ValueError(
            f"n_checks is {policy.n_checks}; pass 'auto', a number of labeled rows, or "
            "a share of the budget."
        )
    validate_parameters(policy)
    return policy


@dataclass(frozen=True, eq=False)
class CheckPlan:
    """Hold which checks one fit makes, and for whom."""

    policy: CheckPolicy
    aimed: bool  # the strategy wants to know where the teacher is wrong
    needed: bool  # strategy or objective cannot do without
    for_choice: bool  # the objective is chosen by them
    in_steps: bool  # until enough is known
    is_paid: bool  # the teacher is not fitted here
    fewest: int = _auto.FEWEST_CHECKS  # by which labels are corrected

    @property
    def is_free(self):
        """Whether a teacher that is fitted here is judged, by cross-fitting."""
        policy = self.policy
        judged = policy.n_checks != 0 and policy.on_weak != "ignore"
        return not self.is_paid and (self.needed or judged)

    def count(self, n_labeled, total, *, is_limited=True):
        """Count the checks to pay for at most, of a budget of so many rows."""
        wanted = self.policy.n_checks
        if not self.is_paid or not (self.needed or self.for_choice) or not total:
            return 0
        stepwise = self.in_steps or not self.needed
        small = wanted == "auto" and stepwise and is_limited and total < SMALL_BUDGET
        if small and not self.for_choice:
            return 0
        if wanted == "auto":
            room = total // CHECK_SHARE if is_limited else MAX_CHECKS
            most = self.fewest if small else MAX_STEPWISE_CHECKS
            wanted = min(most if stepwise else MAX_CHECKS, room)
        elif not isinstance(wanted, Integral):
            wanted = round(wanted * total)
        n_checks = min(int(wanted), n_labeled)
        if (small or not self.needed) and n_checks < self.fewest:
            return 0
        return n_checks


def plan_checks(policy, teacher: Any, strategy: Any, objective: Any):
    """Work out which checks of a teacher strategy and objective ask for."""
    rate, unknown = policy.error_rate, policy.error_rate is None
    asks = policy.n_checks != 0
    aimed = asks and unknown and getattr(strategy, "needs_error_curve", False)
    # A rate alone takes all checks, as does an objective that learns from them.
    takes_all = objective.needs_teacher_checks or (
        asks
        and unknown
        and not aimed
        and getattr(strategy, "needs_teacher_error", False)
    )
    for_choice = (
        asks
        and (isinstance(objective, AutoObjective) or hasattr(teacher, "choose"))
        and teacher.is_fitted
        and (unknown or rate >= _auto.OFTEN_WRONG)
    )
    return CheckPlan(
        policy,
        aimed=aimed,
        needed=aimed or takes_all,
        for_choice=for_choice,
        # Each step of a teacher that answers later would take up to a day.
        in_steps=(
            teacher.is_fitted
            and (aimed or for_choice)
            and not takes_all
            and not answers_later(teacher)
        ),
        is_paid=teacher.is_fitted,
    )


def n_more_for_choice(n_checks, error_rate, n_allowed):
    """Count the labeled rows to be checked next until the objective can be chosen."""
    most = min(n_allowed, _auto.MOST_CHECKS)
    first = max(most // 2, min(most, _auto.FEWEST_CHECKS // 2))
    if n_checks < first:
        return first - n_checks
    if error_rate <= _auto.CLEARLY_GOOD:
        return 0
    # So many to learn from; and to decide by, where the first ones leave doubt.
    return max(0, most - n_checks)
