"""Check a teacher before the pool is paid for, and say what was found."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skadistill._statistics.checks import TeacherChecks, is_wrong
from skadistill.checking._ask import Checker
from skadistill.checking._error_curve import FEWEST_CHECKS, ErrorCurve
from skadistill.checking._error_rate import estimate_teacher_error
from skadistill.checking._policy import n_more_for_choice
from skadistill.checking._weak import (
    FEWEST_COMPARED,
    compare_with_students,
    warn_if_useless,
)

__all__ = ["Findings", "LabeledRows", "check_teacher"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabeledRows:
    """Labeled rows, gathered; `truth` holds the positions of their classes."""

    X: Any
    y: np.ndarray
    truth: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray  # of the rows in messages


@dataclass(frozen=True, eq=False)
class Findings:
    """Hold what a fit knows of its teacher's errors."""

    #: Ascending rows; with the answers, as objectives learn from them.
    checks: TeacherChecks | None = None
    #: Error rate for the strategy: given, or estimated.
    error: float | None = None
    #: Error rate on all labeled rows, by which the objective is chosen.
    error_rate: float | None = None
    #: Where it is wrong, for the strategy.
    curve: ErrorCurve | None = None
    #: If the teacher may be no better than students of the labeled rows alone: on
    #: which of these rows such students, out of fold, are right.
    right_alone: np.ndarray | None = None


def check_teacher(
    teacher, rows, plan, start_curve, *, n_checks, share, seed, fit_params, tried, **how
):
    """Ask a teacher about labeled rows as planned, and draw the conclusions.

    `start_curve` trains students and returns an `ErrorCurve` without checks; `share`
    of the pool is asked about in a round; `tried` rows come first.
    """
    policy = plan.policy
    # So few checks cannot show where a teacher is wrong, unless they are asked for.
    wanted = policy.n_checks != "auto" or n_checks > FEWEST_CHECKS
    aimed = plan.aimed and (not plan.is_paid or wanted)
    first = start_curve() if aimed else None
    if plan.in_steps:
        options = {"share": share, "seed": seed, "tried": tried, "how": how}
        checks = _ask_in_steps(teacher, rows, plan, first, n_checks, **options)
    else:
        checks = estimate_teacher_error(
            teacher,
            rows.X,
            rows.y,
            classes=rows.classes,
            n_samples=n_checks,
            random_state=seed,
            fit_params=fit_params,
            row_numbers=rows.numbers,
            first=tried,
            **how,
        )
    # In the order of asking, in which errors were learned during the checks, too.
    curve = None if first is None else first.of(checks)
    is_aimed = checks.method == "aimed"
    error_rate = None
    if is_aimed and curve is not None:
        error_rate = curve.error_rate(share)
    elif checks.n_samples:
        error_rate = float(checks.wrong.mean())
    error = policy.error_rate
    if error is None and policy.n_checks != 0:
        error = error_rate if is_aimed else checks.rate
    if curve is not None:
        curve = curve.settle(share)
    elif plan.aimed:
        curve = ErrorCurve(np.empty((0, len(rows.classes))), rows.truth, checks)
    checks = checks.in_order()
    right_alone = None
    if checks.n_samples:
        warn_if_useless(teacher, checks, rows.classes, curve if is_aimed else None)
        if policy.on_weak != "ignore" and checks.n_samples >= FEWEST_COMPARED:
            alone = (first or start_curve()).proba
            if compare_with_students(
                teacher, checks, alone[checks.rows], policy.on_weak
            ):
                right_alone = ~is_wrong(alone, rows.truth)
    logger.info(
        "the teacher is wrong on %d of %d labeled rows (%s)",
        checks.n_wrong,
        checks.n_samples,
        checks.method,
    )
    return Findings(checks, error, error_rate, curve, right_alone)


def _ask_in_steps(teacher, rows, plan, curve, n_checks, *, share, seed, tried, how):
    """Ask about a few labeled rows at a time, until enough is known."""
    checker = Checker(
        teacher,
        rows.X,
        rows.truth,
        row_numbers=rows.numbers,
        classes=rows.classes,
        **how,
    )
    rng = np.random.default_rng(seed)
    if curve is None:
        order, method = rng.permutation(len(rows.truth)), "asked"
    else:
        order, method = curve.order(share, rng), "aimed"

    def n_more(checks):
        n_rows, rate = 0, None
        if curve is not None:
            so_far = curve.of(checks)
            n_rows = so_far.n_more_checks(share)
            rate = so_far.error_rate(share) if checks.n_samples else None
        elif checks.n_samples:
            rate = float(checks.wrong.mean())
        if plan.for_choice:
            n_rows = max(n_rows, n_more_for_choice(checks.n_samples, rate, n_checks))
        return n_rows

    if len(tried):
        checker.ask(tried)  # costs nothing
    order = order[~np.isin(order, tried)]
    checker.ask_in_steps(order[: max(n_checks - len(tried), 0)], n_more)
    return replace(checker.checks, method=method)
