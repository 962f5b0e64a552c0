"""How often the teacher gives the same answer when it is asked again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skadistill._rows._containers import count_rows, take_rows
from skadistill._rows._keys import row_keys
from skadistill._statistics.intervals import exact_lower, exact_upper
from skadistill.exceptions import TeacherError
from skadistill.labeling._buy import buy_labels
from skadistill.ledger._as_ledger import as_ledger
from skadistill.teachers._as_teacher import as_teacher

__all__ = ["teacher_repeatability"]


@dataclass(frozen=True, eq=False)
class TeacherRepeatability:
    """Hold how often a teacher agreed with itself."""

    n_samples: int
    n_agreed: int
    n_no_label: int
    change: float
    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    models_first: dict[str, Any]
    models_second: dict[str, Any]
    n_paid: int
    cost: float

    @property
    def agreement(self):
        """Share of the rows with the same class twice; NaN without rows."""
        return self.n_agreed / self.n_samples if self.n_samples else float("nan")

    def interval(self, level=0.95):
        """Return the exact (Clopper-Pearson) confidence interval of the agreement."""
        counts, one_sided = (self.n_agreed, self.n_samples), (1 + level) / 2
        return exact_lower(*counts, one_sided), exact_upper(*counts, one_sided)

    def __repr__(self):
        low, high = self.interval()
        return (
            f"the same class for {self.n_agreed} of {self.n_samples} rows asked again "
            f"({self.agreement:.3f}, 95 % interval {low:.3f} to {high:.3f}); "
            f"labels changed by {self.change:.3g} on average"
        )


def teacher_repeatability(
    teacher: Any,
    X: Any,
    n: int = 50,
    *,
    classes: ArrayLike | None = None,
    ledger: Any = None,
    random_state: Any = None,
    run: str | None = None,
) -> Any:
    """Ask a teacher again about rows that it has labeled, and compare.

    No student can agree with a teacher more often than the square root of its agreement
    with itself. Much less agreement than last month says that the model behind an alias
    has changed.

    Parameters
    ----------
    teacher : BaseTeacher, estimator or callable
        Ready to be asked.
    X : container of n_samples rows
        Rows; those that the ledger knows are used first.
    n : int, default=50
        Rows to ask again; fewer if `X` has fewer.
    classes : array-like of shape (n_classes,) or None, default=None
        The columns wanted. None: those of the teacher.
    ledger : BaseLedger, str, Path or None, default=None
        The ledger that holds the first labels. Rows without one are first asked as
        usual. None: all are asked twice.
    random_state : int, RandomState instance or None, default=None
        Draws the rows.
    run : str or None, default=None
        Names this measurement. Its answers are kept in the ledger apart from the
        labels, so that they count in the budget and are not paid twice if the same
        run is interrupted. None: the date, in UTC.

    Returns
    -------
    repeatability : object
        ``agreement``, ``interval(level=0.95)`` (exact), ``n_samples``, ``n_agreed``,
        ``n_no_label``, ``change`` (mean total variation between the soft labels),
        ``rows``, ``first``, ``second``, ``models_first``, ``models_second``,
        ``n_paid`` and ``cost``.

    Raises
    ------
    TeacherError
        If the teacher fails, or has no classes and none are given.

    Notes
    -----
    If a row gets class :math:`k` with probability :math:`p_k` each time, two answers
    agree with probability :math:`\\sum_k p_k^2`, and the best guess agrees with one
    answer with probability :math:`\\max_k p_k \\le \\sqrt{\\sum_k p_k^2}`. By Jensen's
    inequality the bound holds for the means over rows, too.

    References
    ----------
    C. J. Clopper and E. S. Pearson (1934). The use of confidence or fiducial limits
    illustrated in the case of the binomial. Biometrika 26, 404-413.

    Examples
    --------
    >>> from skadistill.checking import teacher_repeatability
    >>> def teacher(texts):
    ...     return ["spam" if "win" in text else "ham" for text in texts]
    >>> texts = ["win a prize", "hello", "win money", "see you"]
    >>> teacher_repeatability(teacher, texts, classes=["ham", "spam"])
    the same class for 4 of 4 rows asked again (1.000, 95 % interval 0.398 to 1.000);
    labels changed by 0 on average
    """
    teacher = as_teacher(teacher)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise TeacherError(f"n is {n!r}; pass a number of rows, at least 1.")
    if classes is None:
        classes = teacher.classes_
    if classes is None:
        raise TeacherError(f"{teacher.display_name} has no classes; pass `classes`.")
    classes, ledger = np.asarray(classes), as_ledger(ledger)
    identity = teacher.identity
    rows = _chosen(X, n, identity, classes, ledger, check_random_state(random_state))
    question = {"classes": classes, "ledger": ledger, "row_numbers": rows}
    first = buy_labels(teacher, take_rows(X, rows), identity=identity, **question)
    again = f"{identity}, asked again {run or datetime.now(UTC).date()}"
    second = buy_labels(teacher, take_rows(X, rows), identity=again, **question)
    both = first.labeled & second.labeled
    one, two = first.labels[both], second.labels[both]
    change = 0.5 * np.abs(one - two).sum(axis=1)
    return TeacherRepeatability(
        n_samples=int(both.sum()),
        n_agreed=int((one.argmax(axis=1) == two.argmax(axis=1)).sum()),
        n_no_label=int((first.no_label | second.no_label).sum()),
        change=float(change.mean()) if both.any() else 0.0,
        rows=rows[both],
        first=one,
        second=two,
        models_first=ledger.models(identity),
        models_second=ledger.models(again),
        n_paid=first.n_paid + second.n_paid,
        cost=first.cost + second.cost,
    )


def _chosen(X, n, identity, classes, ledger, rng):
    """Draw distinct rows, those with a known label first."""
    keys = row_keys(X)
    known, labels = ledger.lookup(keys, identity, classes)
    labeled = known & ~np.isnan(labels).any(axis=1)
    order = rng.permutation(count_rows(X))
    order = order[np.argsort(~labeled[order], kind="stable")]
    order = order[~(known & ~labeled)[order]]
    # Equal rows would agree by themselves.
    first = np.sort(np.unique(keys[order], return_index=True)[1])
    return np.sort(order[first[:n]])
