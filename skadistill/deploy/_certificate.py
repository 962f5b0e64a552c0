"""Certificates: what can be promised of a student, with exact bounds."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skadistill._rows._containers import take_rows
from skadistill._statistics.intervals import exact_lower, exact_upper
from skadistill._utils.label_space import same_labels
from skadistill._utils.validation import read_labels
from skadistill.deploy._audit import audit, check_range, draw_audit_rows

__all__ = ["Certificate", "certify_accuracy", "certify_agreement"]

#: More audit rows than this are not worth naming.
_MANY = 10_000_000


@dataclass(frozen=True, repr=False)
class Certificate:
    """What audit rows show of a student, and whether that suffices.

    Attributes
    ----------
    certified : bool
        Whether the bound reaches the target.
    promise : str
        What was to be shown, for example "agreement with the teacher of at least
        0.95".
    confidence : float
        The bound is wrong in at most 1 minus so many audits.
    estimate : float
        The share seen on the audit rows; for a gap, the difference seen.
    bound : float
        The exact lower bound of the share, or the upper bound of the gap.
    n_samples : int
        Audit rows compared.
    n_more : int or None
        Rows that would have to be added for a certificate if the estimate held; 0 if
        certified, None if no number of rows would do.
    n_paid : int
        Audit rows newly paid for.
    n_no_label : int
        Audit rows that the teacher answered without a label; they are left out.
    n_refused : int
        Audit rows that the ledger's budget did not allow to ask about.
    cost : float
        What the rows paid for cost, as far as the teacher names prices.

    Examples
    --------
    >>> from skadistill.deploy import Certificate
    >>> Certificate(False, "accuracy of at least 0.9", 0.95, 0.92, 0.87, 100, 250)
    not certified: accuracy of at least 0.9, confidence 0.95; seen 0.92 on 100 rows,
    bound 0.87; 250 more rows would do if the estimate held
    """

    certified: bool
    promise: str
    confidence: float
    estimate: float
    bound: float
    n_samples: int
    n_more: int | None
    n_paid: int = 0
    n_no_label: int = 0
    n_refused: int = 0
    cost: float = 0.0

    def __bool__(self) -> bool:
        return self.certified

    def __repr__(self) -> str:
        text = (
            f"{'certified' if self.certified else 'not certified'}: {self.promise}, "
            f"confidence {self.confidence:g}; seen {self.estimate:.4g} on "
            f"{self.n_samples} rows, bound {self.bound:.4g}"
        )
        if self.n_no_label:
            text += f"; {self.n_no_label} rows had no answer"
        if self.n_refused:
            text += f"; {self.n_refused} rows were beyond the ledger's budget"
        if self.certified:
            return text
        if self.n_more is None:
            return f"{text}; more rows will not help unless the estimate rises"
        return f"{text}; {self.n_more} more rows would do if the estimate held"


def certify_agreement(
    distiller: Any,
    X_audit: Any,
    *,
    target: float = 0.95,
    n_audit: int | None = 300,
    confidence: float = 0.95,
    random_state: Any = None,
) -> Certificate:
    """Certify that the student agrees with its teacher on a share of all rows.

    Rows are a uniform sample of `X_audit`, without those that the student was trained
    on. The teacher's answers are bought for this alone, through the distiller's
    ledger and its budget. The bound is the exact one-sided one of Clopper and
    Pearson: a student below the target is certified in at most 5 % of audits.

    Parameters
    ----------
    distiller : ActiveDistiller
        Fitted.
    X_audit : container of n_samples rows
        Rows like those to be predicted, as the distiller takes them; in neither `X`
        nor `X_unlabeled` of its fit. Rows that the student was trained on are left
        out; if they are many, the rest is no longer a random sample of all.
    target : float, default=0.95
        Share of rows, in (0, 1), that both must put into the same class.
    n_audit : int or None, default=300
        Rows to draw; None: all of `X_audit`.
    confidence : float, default=0.95
        In (0, 1).
    random_state : int, RandomState or None, default=None
        Draws the rows.

    Returns
    -------
    certificate : Certificate
        True in a condition if certified.

    See Also
    --------
    certify_accuracy : Against true labels, or relative to the teacher.
    Cascade : Keeps a promise that the student alone cannot keep.

    Notes
    -----
    The promise holds for this student, and for rows from the source of the audit rows.
    Use rows distributed as in production: each copy counts, so that five rows repeated
    sixty times would pass for 300. Certify once: who repeats the audit of worse
    students until one passes has not certified it. A fit that has the audit rows in its
    pool and uses the same ledger would train on them. Agreement of at least 1 - x
    implies an accuracy at most x below the teacher's.

    References
    ----------
    .. [1] Clopper, Pearson. "The use of confidence or fiducial limits illustrated in
       the case of the binomial." Biometrika 26 (1934).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.datasets import make_noisy_teacher_problem
    >>> from skadistill.deploy import certify_agreement
    >>> problem = make_noisy_teacher_problem(n_labeled=100, n_pool=900, random_state=0)
    >>> distiller = ActiveDistiller(
    ...     problem.teacher, LogisticRegression(), budget=200, random_state=0
    ... ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool[:600])
    >>> certify_agreement(distiller, problem.X_pool[600:], target=0.9, random_state=0)
    not certified: agreement with the teacher of at least 0.9, confidence 0.95;
    seen ... on 300 rows, bound ...; more rows will not help unless the estimate rises
    """
    _check(target=target, confidence=confidence)
    found = audit(distiller, X_audit, n_audit, random_state=random_state)
    return _certify_share(
        f"agreement with the teacher of at least {target:g}",
        found.agreed,
        target,
        confidence,
        **_bill(found),
    )


def certify_accuracy(
    distiller: Any,
    X_audit: Any,
    y_audit: Any,
    *,
    target: float | None = None,
    within: float | None = None,
    n_audit: int | None = None,
    confidence: float = 0.95,
    random_state: Any = None,
) -> Certificate:
    """Certify the student's accuracy, alone or relative to its teacher.

    Parameters
    ----------
    distiller : ActiveDistiller
        Fitted.
    X_audit : container of n_samples rows
        As in `certify_agreement`.
    y_audit : array-like of shape (n_samples,)
        Their true labels.
    target : float or None, default=None
        Accuracy, in (0, 1), that the student must have. Nothing is paid.
    within : float or None, default=None
        Instead of `target`: how much lower, in [0, 1), the student's accuracy may be
        than the teacher's on the same rows, for example 0.02. The teacher's answers
        are paid for.
    n_audit : int or None, default=None
        Rows to draw; None: all of `X_audit`.
    confidence : float, default=0.95
        In (0, 1).
    random_state : int, RandomState or None, default=None
        Draws the rows.

    Returns
    -------
    certificate : Certificate
        True in a condition if certified.

    Notes
    -----
    The gap to the teacher is the share of rows that only the teacher gets right, minus
    the share that only the student does. The bound takes the exact upper bound of the
    first and the exact lower bound of the second, each with half of the risk.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.datasets import make_noisy_teacher_problem
    >>> from skadistill.deploy import certify_accuracy
    >>> problem = make_noisy_teacher_problem(n_labeled=100, n_pool=600, random_state=0)
    >>> distiller = ActiveDistiller(
    ...     problem.teacher, LogisticRegression(), budget=200, random_state=0
    ... ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)
    >>> bool(certify_accuracy(distiller, problem.X_test, problem.y_test, target=0.6))
    True
    """
    if (target is None) == (within is None):
        raise ValueError(
            f"target is {target!r} and within is {within!r}; pass one of the two."
        )
    check_consistent_length(X_audit, y_audit)
    y_audit = _true_labels(distiller, y_audit)
    if within is None:
        _check(target=target, confidence=confidence)
        rows = draw_audit_rows(distiller, X_audit, n_audit, random_state)
        said = distiller.predict(take_rows(X_audit, rows))
        right = same_labels(said, y_audit[rows])
        promise = f"accuracy of at least {target:g}"
        return _certify_share(promise, right, target, confidence)
    check_range("confidence", confidence, 0, 1)
    if not 0 <= within < 1:
        raise ValueError(f"within is {within!r}; pass a number from 0 to below 1.")
    found = audit(distiller, X_audit, n_audit, random_state=random_state)
    truth = y_audit[found.rows]
    student_right = same_labels(found.said, truth)
    teacher_right = same_labels(found.taught, truth)
    n_samples = len(truth)
    only_teacher = int((teacher_right & ~student_right).sum())
    only_student = int((student_right & ~teacher_right).sum())
    bound = _gap_bound(only_teacher, only_student, n_samples, confidence)

    def reaches(n_rows):
        scale = n_rows / n_samples
        more = math.ceil(only_teacher * scale), math.floor(only_student * scale)
        return _gap_bound(*more, n_rows, confidence) <= within

    return Certificate(
        certified=bound <= within,
        promise=f"accuracy at most {within:g} below that of the teacher",
        confidence=confidence,
        estimate=(only_teacher - only_student) / max(n_samples, 1),
        bound=bound,
        n_samples=n_samples,
        n_more=_count_more(reaches, n_samples),
        **_bill(found),
    )


def _check(target, confidence):
    """Raise if a target or a confidence cannot be one, before anything is paid."""
    check_range("target", target, 0, 1)
    check_range("confidence", confidence, 0, 1)


def _true_labels(distiller, y):
    """Return labels, every one of which must be there to compare with."""
    check_is_fitted(distiller, "student_")
    y, is_missing = read_labels(y, distiller.unlabeled_marker)
    # A class that the student does not know counts as a mistake of it, unless all are.
    if is_missing.any():
        raise ValueError(
            f"{int(is_missing.sum())} of the {len(y)} audit rows have no label in "
            "y_audit; label them, or leave them out of X_audit as well."
        )
    classes = distiller.classes_
    if len(y) and (
        y.shape[1:] != distiller._space.shape
        or (y.ndim == 1 and not np.isin(y, classes).any())
    ):
        raise ValueError(
            f"none of the {len(y)} labels in y_audit is one of the student's classes "
            f"{classes.tolist()}; pass labels of the same kind."
        )
    return y


def _bill(found):
    return {
        name: getattr(found, name)
        for name in ("n_paid", "n_no_label", "n_refused", "cost")
    }


def _gap_bound(only_teacher, only_student, n_samples, confidence):
    """Return the upper bound of the gap, each part with half of the risk."""
    half = (1 + confidence) / 2
    return exact_upper(only_teacher, n_samples, half) - exact_lower(
        only_student, n_samples, half
    )


def _certify_share(promise, hits, target, confidence, **bill):
    """Hold the exact lower bound of a share against a target."""
    n_samples, n_hits = len(hits), int(np.count_nonzero(hits))
    bound = exact_lower(n_hits, n_samples, confidence)

    def reaches(n_rows):
        n_missed = math.ceil((n_samples - n_hits) * n_rows / n_samples)
        return exact_lower(n_rows - n_missed, n_rows, confidence) >= target

    return Certificate(
        certified=bound >= target,
        promise=promise,
        confidence=confidence,
        estimate=n_hits / max(n_samples, 1),
        bound=bound,
        n_samples=n_samples,
        n_more=_count_more(reaches, n_samples),
        **bill,
    )


def _count_more(reaches, n_samples):
    """Count the rows that are missing if what was seen repeats itself.

    Rounding makes this uneven by a row or two, which cannot be planned for.
    """
    if n_samples == 0:
        return None
    if reaches(n_samples):
        return 0
    low, high = n_samples, 2 * n_samples
    while not reaches(high):
        low, high = high, 2 * high
        if high > _MANY:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high - n_samples
