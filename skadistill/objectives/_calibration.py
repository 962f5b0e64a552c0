"""How reliable a teacher's confidence is, measured on rows with known labels."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import ndtri
from sklearn.isotonic import IsotonicRegression

from skadistill._utils.optional import require
from skadistill.exceptions import ObjectiveError
from skadistill.objectives._base import margin

__all__ = [
    "TeacherReliability",
    "claim_curve",
    "class_ranks",
    "correctness_curve",
    "teacher_reliability",
    "topk_coverage",
]

# Strength, in rows, of the prior that pulls each level of the isotonic curve
# toward the overall rate: that of the uniform Beta prior.
PRIOR_ROWS = 2.0
LEVEL = 0.95
ROWS_PER_BIN, MAX_BINS = 30, 10


def class_ranks(proba):
    """Rank the classes of each row from 0, the most likely; ties go to the first."""
    order = np.argsort(-proba, axis=1, kind="stable")
    return np.argsort(order, axis=1, kind="stable")


def topk_coverage(proba, truth):
    """Return the share of rows whose truth is among the k most likely classes."""
    rank = class_ranks(proba)[np.arange(len(truth)), truth]
    return np.bincount(rank, minlength=proba.shape[1]).cumsum() / len(truth)


def correctness_curve(margins, right):
    r"""Fit the probability of being right as a non-decreasing function of margins.

    This is isotonic regression with each level shrunk toward the overall rate by a
    Beta prior: a level of :math:`r` right answers among :math:`n` rows becomes
    :math:`(r + 2 \bar a) / (n + 2)`, with :math:`\bar a` the posterior mean of the
    overall rate. Without the prior, levels of a few rows at the ends would be 0 or 1.
    """
    overall = (right.sum() + 1) / (len(right) + 2)
    isotonic = IsotonicRegression(out_of_bounds="clip")
    levels, block = np.unique(
        isotonic.fit(margins, right).predict(margins), return_inverse=True
    )
    n_samples = np.bincount(block)
    shrunk = (n_samples * levels + PRIOR_ROWS * overall) / (n_samples + PRIOR_ROWS)
    # Small levels move further than their neighbors; a second pass restores order.
    return isotonic.fit(margins, shrunk[block]).predict


def claim_curve(margins, confidence):
    """Fit how often the teacher's most likely class is right, given the margin."""
    isotonic = IsotonicRegression(out_of_bounds="clip")
    return isotonic.fit(margins, confidence).predict


@dataclass(frozen=True, eq=False)
class TeacherReliability:
    """Hold how often a teacher is right, by its margin.

    Returned by :func:`skadistill.objectives.teacher_reliability`; ``print`` shows the
    table.
    """

    margin_low: np.ndarray
    margin_high: np.ndarray
    n_samples: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    accuracy_low: np.ndarray
    accuracy_high: np.ndarray
    expected: np.ndarray
    overall_accuracy: float
    calibration_error: float
    coverage: np.ndarray
    curve: Callable

    def to_frame(self):
        """Return the bins as a DataFrame."""
        pandas = require("pandas", "pandas")
        return pandas.DataFrame({name: getattr(self, name) for name in _BIN_COLUMNS})

    def __str__(self):
        lines = [
            f"{self.n_samples.sum()} rows, right on {self.overall_accuracy:.1%}, "
            f"calibration error {self.calibration_error:.3f}",
            "margin         rows  confidence  accuracy  95 % interval",
        ]
        for row in zip(*(getattr(self, name) for name in _BIN_COLUMNS), strict=True):
            low, high, n, confidence, accuracy, least, most, _ = row
            lines.append(
                f"{low:.3f} - {high:.3f}  {n:4d}       {confidence:.3f}     "
                f"{accuracy:.3f}  {least:.3f} - {most:.3f}"
            )
        shown = ", ".join(
            f"{k}: {share:.1%}" for k, share in enumerate(self.coverage[:5], start=1)
        )
        return "\n".join([*lines, f"truth among the k most likely, {shown}"])


_BIN_COLUMNS = tuple(TeacherReliability.__dataclass_fields__)[:8]


def teacher_reliability(
    proba: Any,
    y: Any,
    *,
    classes: Any = None,
    n_bins: str | int = "auto",
) -> TeacherReliability:
    """Compare a teacher's confidence with how often it is right.

    The result helps to choose an objective: whether mistakes show in the margins
    (accuracy rises from bin to bin), whether soft labels express uncertainty
    (confidence and accuracy agree), and how far down the ranking the truth is
    (coverage).

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        The teacher's answers on rows that it was not fitted on; rows sum to 1.
    y : array-like of shape (n_samples,)
        Their true labels.
    classes : array-like of shape (n_classes,) or None, default=None
        Labels of the columns. None: the sorted labels found in `y`.
    n_bins : {"auto"} or int, default="auto"
        Number of bins, ordered by margin and with about equally many rows; rows of
        equal margin share a bin. "auto": at least 30 rows per bin and at most 10 bins.

    Returns
    -------
    reliability : TeacherReliability
        One value per bin: ``margin_low``, ``margin_high``, ``n_samples``,
        ``confidence``, ``accuracy`` with Wilson's 95 % interval ``accuracy_low`` to
        ``accuracy_high``, and the ``expected`` accuracy of ``curve``. Besides,
        ``overall_accuracy``, ``calibration_error`` (expected calibration error),
        ``coverage`` (shares of rows whose truth is among the 1, 2, ... most likely
        classes) and ``curve``, which maps margins to probabilities of being right.
        ``to_frame()`` returns the bins as a DataFrame, ``print`` shows them.

    Raises
    ------
    ObjectiveError
        If `proba` does not hold probabilities of these classes, or a label is not one
        of them.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import teacher_reliability
    >>> proba = np.array([[0.6, 0.4], [0.44, 0.56], [0.9, 0.1], [0.1, 0.9]])
    >>> print(teacher_reliability(proba, [1, 1, 0, 1], n_bins=2))
    4 rows, right on 75.0%, calibration error 0.090
    margin         rows  confidence  accuracy  95 % interval
    0.120 - 0.200     2       0.580     0.500  0.095 - 0.905
    0.800 - 0.800     2       0.900     1.000  0.342 - 1.000
    truth among the k most likely, 1: 75.0%, 2: 100.0%
    """
    proba, truth = _check_answers(proba, y, classes)
    margins, right = margin(proba), proba.argmax(axis=1) == truth
    bins = _bin_by_quantile(margins, n_bins)
    n_samples = np.bincount(bins)

    def mean(values):
        return np.bincount(bins, weights=values) / n_samples

    curve = correctness_curve(margins, right)
    accuracy, confidence = mean(right), mean(proba.max(axis=1))
    low, high = _wilson_interval(accuracy, n_samples)
    return TeacherReliability(
        margin_low=np.array([margins[bins == b].min() for b in range(len(n_samples))]),
        margin_high=np.array([margins[bins == b].max() for b in range(len(n_samples))]),
        n_samples=n_samples,
        confidence=confidence,
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        expected=mean(curve(margins)),
        overall_accuracy=float(right.mean()),
        calibration_error=float(
            np.average(np.abs(confidence - accuracy), weights=n_samples)
        ),
        coverage=topk_coverage(proba, truth),
        curve=curve,
    )


def _check_answers(proba, y, classes):
    """Return probabilities and the positions of the true classes."""
    proba, y = np.asarray(proba, dtype=np.float64), np.asarray(y)
    classes = np.unique(y) if classes is None else np.asarray(classes)
    if proba.shape != (len(y), len(classes)) or len(y) == 0 or len(classes) < 2:
        raise ObjectiveError(
            f"proba has shape {proba.shape} for {len(y)} labels of {len(classes)} "
            "classes; pass one row per label and one column per class, "
            "at least two, and list classes that y lacks in `classes`."
        )
    if not (proba >= 0).all() or not np.allclose(proba.sum(axis=1), 1, atol=1e-3):
        raise ObjectiveError(
            f"proba has entries from {proba.min()} to {proba.max()} and rows that sum "
            f"to {proba.sum(axis=1).min()} to {proba.sum(axis=1).max()}; pass "
            "probabilities, which are not negative and sum to 1."
        )
    position = {label: column for column, label in enumerate(classes.tolist())}
    unknown = set(y.tolist()) - set(position)
    if unknown:
        raise ObjectiveError(
            f"y holds {sorted(unknown, key=str)!r}, which is not among the classes "
            f"{classes.tolist()!r}; pass labels of these classes only."
        )
    return proba, np.array([position[label] for label in y.tolist()])


def _bin_by_quantile(values, n_bins):
    """Return the quantile bin of each row; equal values share a bin."""
    if n_bins == "auto":
        n_bins = min(max(len(values) // ROWS_PER_BIN, 1), MAX_BINS)
    elif not isinstance(n_bins, Integral) or n_bins < 1:
        raise ObjectiveError(
            f"n_bins must be 'auto' or an int of at least 1, got {n_bins!r}; pass for "
            "example 10."
        )
    ordered = np.sort(values)
    # Equal values share their middle rank, so that a large tie fills its own bins.
    first, last = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    middle = (first + last - 1) / 2
    bins = (middle * n_bins / len(values)).astype(int)
    return np.unique(bins, return_inverse=True)[1]


def _wilson_interval(share, n):
    """Return Wilson's score interval of a share of n rows."""
    z2 = ndtri(0.5 + LEVEL / 2) ** 2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.clip(center - half, 0, 1), np.clip(center + half, 0, 1)
