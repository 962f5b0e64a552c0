"""How often is the teacher wrong? An estimate on the rows whose labels are known."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state

from skadistill._rows._containers import take_metadata, take_rows
from skadistill._statistics.checks import TeacherChecks
from skadistill._statistics.folds import deal_folds, each_fold
from skadistill.checking._ask import Checker
from skadistill.exceptions import TeacherAnswerError, TeacherWarning
from skadistill.teachers._as_teacher import as_teacher

__all__ = ["estimate_teacher_error", "positions_of"]


def estimate_teacher_error(
    teacher: Any,
    X: Any,
    y: ArrayLike,
    *,
    classes: ArrayLike,
    cv: Any = 5,
    ledger: Any = None,
    n_samples: int | None = None,
    random_state: Any = None,
    fit_params: dict[Any, Any] | None = None,
    first_size: int | None = None,
    row_numbers: ArrayLike | None = None,
    first: ArrayLike = (),
) -> TeacherChecks:
    r"""Estimate how often the teacher's first choice is wrong.

    A teacher that still has to be fitted is scored by cross-fitting: each labeled row
    is predicted by a clone fitted on the other folds. A fitted teacher or a function is
    asked about labeled rows, and those are paid for. With :math:`w` wrong among
    :math:`r` rows the estimate is :math:`(w + 1) / (r + 2)`.

    Parameters
    ----------
    teacher : BaseTeacher, estimator or callable
        The teacher.
    X : container of n_labeled rows
        Labeled rows.
    y : array-like of shape (n_labeled,)
        Their labels, all of them among `classes`.
    classes : array-like of shape (n_classes,)
        The classes.
    cv : int, splitter or iterable, default=5
        Folds of the cross-fitting: an int deals the rows of each class evenly over
        min(cv, n_labeled) folds; anything else goes through
        :func:`~sklearn.model_selection.check_cv`, and must test each row at most
        once.
    ledger : BaseLedger or None, default=None
        The ledger in which a ready teacher's answers are looked up and recorded.
    n_samples : int or None, default=None
        At most so many labeled rows, drawn at random, are put to a ready teacher.
        None: all. A cross-fitted estimate costs nothing and uses all.
    random_state : int, RandomState instance or None, default=None
        Draws the rows and deals the folds.
    fit_params : dict or None, default=None
        Passed to the teacher's ``fit``; values with one entry per labeled row are
        sliced with the rows.
    first_size : int or None, default=None
        Rows of the first call to a ready teacher, see
        :func:`skadistill.labeling.buy_labels`.
    row_numbers : array-like of int of shape (n_labeled,) or None, default=None
        The numbers of the rows in messages. None: their positions in `X`.
    first : array-like of int, default=()
        Positions of rows that are drawn before others, as their answers are known.

    Returns
    -------
    checks : TeacherChecks
        The error rate ``rate``, its ``interval()`` and the answers they rest on.
        ``rows`` are ascending positions in `X`.

    Raises
    ------
    TeacherAnswerError
        If a label is not among `classes`.
    TeacherError
        If the teacher fails.
    ValueError
        If `cv` is an int below 2.

    Warns
    -----
    TeacherWarning
        If the teacher could not be fitted without the rows of some fold.

    Notes
    -----
    A class absent from a training fold cannot be answered there: its rows count as
    wrong. The rows of a fold without which the teacher cannot be fitted are left out,
    with a warning. Cross-fitting evaluates teachers fitted on fewer rows than the final
    one, so it errs on the high side, which costs less than the low one. A ready teacher
    that was trained on these very rows looks too good: pass it unfitted or keep rows
    aside.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.checking import estimate_teacher_error
    >>> X, y = np.arange(8.0)[:, None], np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> def teacher(X):  # wrong about the row 3.0
    ...     return (X[:, 0] > 2.5).astype(int)
    >>> checks = estimate_teacher_error(teacher, X, y, classes=[0, 1])
    >>> checks.n_wrong, checks.n_samples, checks.rate
    (1, 8, 0.2)
    """
    teacher = as_teacher(teacher)
    classes = np.asarray(classes)
    y = np.asarray(y)
    truth = positions_of(y, classes.tolist())
    rng = check_random_state(random_state)
    numbers = np.arange(len(y)) if row_numbers is None else np.asarray(row_numbers)
    if not teacher.is_fitted:
        rows, proba = _cross_fitted(
            teacher, X, y, truth, classes, cv, rng, fit_params or {}, numbers
        )
        return TeacherChecks(rows, proba, truth[rows], "cross-fitted")
    rows = np.arange(len(y))
    if n_samples is not None and n_samples < len(y):
        order = rng.permutation(len(y))
        is_first = np.isin(order, first)
        rows = np.sort(np.concatenate([order[is_first], order[~is_first]])[:n_samples])
    checker = Checker(
        teacher,
        X,
        truth,
        row_numbers=numbers,
        first_size=first_size,
        classes=classes,
        ledger=ledger,
    )
    checker.ask(rows)
    return checker.checks


def positions_of(y, classes):
    """Return the position of each label among the classes."""
    position = {c: i for i, c in enumerate(classes)}
    for row, label in enumerate(y.tolist()):
        if label not in position:
            raise TeacherAnswerError(
                f"y holds the label {label!r} in row {row}, which is not one of the "
                f"classes {', '.join(map(repr, classes))}; pass labeled rows only, "
                "and all of their classes."
            )
    return np.array([position[label] for label in y.tolist()], dtype=np.intp)


def _cross_fitted(teacher, X, y, truth, classes, cv, rng, fit_params, numbers):
    """Let teachers fitted on the other folds judge each row."""
    proba = np.full((len(y), len(classes)), np.nan)
    failures: list[tuple[int, Exception]] = []
    for train, test in _folds(X, y, truth, cv, rng):
        present = np.unique(truth[train])
        if len(present) < 2:
            # Most classifiers refuse to learn one class; what one of them would
            # say is plain. Nothing to learn from at all: every class alike.
            share = np.zeros(len(classes))
            share[present if len(present) else slice(None)] = 1.0
            proba[test] = share / share.sum()
            continue
        params = take_metadata(fit_params, train, len(y))
        try:
            fold_teacher = clone(teacher).fit(take_rows(X, train), y[train], **params)
        except Exception as error:
            # Perhaps a class is missing or too small there, which all rows may allow.
            failures.append((len(test), error))
            continue
        # This teacher is ours alone. It has not seen the classes that its fold
        # lacks, whatever the user allows the final one.
        fold_teacher.allow_missing_classes = True
        proba[test] = fold_teacher.ask(
            take_rows(X, test), classes, row_numbers=numbers[test]
        )
    rows = np.flatnonzero(~np.isnan(proba[:, 0]))
    if failures:
        n_lost, first = sum(n for n, _ in failures), failures[0][1]
        reason = str(first).partition("\n")[0]
        warnings.warn(
            f"{teacher.display_name} could not be fitted without {n_lost} of the "
            f"{len(y)} labeled rows, in {len(failures)} folds of the cross-fitting; "
            f"its error rate is estimated on the other {len(rows)} rows. The first "
            f"error was {type(first).__name__}: {reason:.200}",
            TeacherWarning,
            stacklevel=2,
        )
    return rows, proba[rows]


def _folds(X, y, truth, cv, rng):
    """Yield train and test positions; rows of every class dealt evenly."""
    n_samples = len(y)
    if not isinstance(cv, int | np.integer):
        yield from check_cv(cv, y, classifier=True).split(X, y)
        return
    if cv < 2:
        raise ValueError(
            f"cv is {cv}, which leaves no row to learn from; pass at least 2 folds."
        )
    if n_samples == 0:
        return
    n_folds = min(int(cv), n_samples)
    yield from each_fold(deal_folds(truth, n_folds, rng))
