"""From whatever a teacher answers to checked soft labels in the caller's order.

Everything here is arrays in, arrays out; nothing is asked and nothing is paid.
"""

import numpy as np
from scipy import sparse

from skadistill.exceptions import (
    TeacherClassesError,
    TeacherProbabilityError,
    TeacherShapeError,
)

__all__ = [
    "SUM_TOLERANCE",
    "check_classes",
    "check_order",
    "one_hot",
    "soft_labels",
]

#: How far from 1 a row of probabilities may sum before it is an error.
SUM_TOLERANCE = 1e-3


def check_classes(own, classes, *, who, allow_missing, allow_extra):
    """Compare the teacher's classes with the ones asked for.

    Parameters
    ----------
    own : sequence or None
        The teacher's classes; None: it has not said, nothing to compare.
    classes : sequence of n_classes labels
        The classes asked for.
    who : str
        The teacher, as messages name it.
    allow_missing, allow_extra : bool
        Whether the teacher may lack classes, or have more.

    Raises
    ------
    TeacherClassesError
        If classes are repeated, missing or extra.

    Examples
    --------
    >>> from skadistill.teachers._checks import check_classes
    >>> check_classes(
    ...     ["a"], ["a", "b"], who="the teacher", allow_missing=False, allow_extra=False
    ... )
    Traceback (most recent call last):
        ...
    skadistill.exceptions.TeacherClassesError: the teacher does not know the class
    'b' of the labeled rows, its own classes being 'a'; teach it that class, or wrap
    it in as_teacher(teacher, allow_missing_classes=True) to give it probability 0.
    """
    if own is None:
        return
    if len(set(own)) != len(own):
        raise TeacherClassesError(
            f"{who} names a class twice, its classes being {_names(own)}; give every "
            "column a class of its own."
        )
    known, wanted = set(own), set(classes)
    missing = [c for c in classes if c not in known]
    if missing and not allow_missing:
        raise TeacherClassesError(
            f"{who} does not know the {_class_word(missing)} {_names(missing)} of the "
            f"labeled rows, its own classes being {_names(own)}; teach it "
            f"{_those(missing)}, or wrap it in as_teacher(teacher, "
            f"allow_missing_classes=True) to give {_it(missing)} probability 0."
        )
    extra = [c for c in own if c not in wanted]
    if extra and not allow_extra:
        raise TeacherClassesError(
            f"{who} knows the {_class_word(extra)} {_names(extra)}, which no labeled "
            f"row has, the classes asked for being {_names(classes)}; label a row of "
            f"{_those(extra)}, or wrap the teacher in as_teacher(teacher, "
            f"allow_extra_classes=True) to drop {_its(extra)} share and renormalize."
        )


def check_order(answer, X, *, who):
    """Refuse a frame whose index shows that the rows were shuffled.

    Parameters
    ----------
    answer : object
        The answer; one without a pandas index, or with a new one, tells nothing.
    X : container of n_samples rows
        What was asked.
    who : str
        The teacher, as messages name it.

    Raises
    ------
    TeacherShapeError
        If the index of `answer` is that of `X` in another order.

    Examples
    --------
    >>> import pandas as pd
    >>> from skadistill.teachers._checks import check_order
    >>> X = pd.DataFrame({"x": [0.5, 2.5]}, index=["a", "b"])
    >>> check_order(X.sort_values("x", ascending=False), X, who="the teacher")
    Traceback (most recent call last):
        ...
    skadistill.exceptions.TeacherShapeError: the teacher answered the rows in another
    order than asked, the index being 'b', 'a' where 'a', 'b' was asked; return them in
    the order asked, or without an index.
    """
    given, asked = getattr(answer, "index", None), getattr(X, "index", None)
    if given is None or asked is None or not hasattr(given, "equals"):
        return
    # A range is what pandas numbers rows with that nobody named.
    if type(given).__name__ == "RangeIndex" or given.equals(asked):
        return
    if len(given) == len(asked) and set(given) == set(asked):
        raise TeacherShapeError(
            f"{who} answered the rows in another order than asked, the index being "
            f"{_names(given)} where {_names(asked)} was asked; return them in the "
            "order asked, or without an index."
        )


def soft_labels(
    answer,
    n_samples,
    classes,
    *,
    own=None,
    kind="auto",
    allow_missing=False,
    allow_extra=False,
    who="the teacher",
    row_numbers=None,
):
    """Turn one answer into checked probabilities, columns in the order of `classes`.

    Parameters
    ----------
    answer : array-like, tensor, DataFrame or list
        Probabilities of shape (n_samples, n_classes_), or hard labels of shape
        (n_samples,) or (n_samples, 1).
    n_samples : int
        How many rows were asked about.
    classes : sequence of n_classes labels
        The columns wanted.
    own : sequence of n_classes_ labels or None, default=None
        What the answer's columns mean. None: the frame's column names where one
        of them is a class, else `classes` in order.
    kind : {"auto", "proba", "hard"}, default="auto"
        What the answer is; "auto" reads it from the shape.
    allow_missing, allow_extra : bool, default=False
        Whether the teacher may lack classes, or have more.
    who : str, default="the teacher"
        The teacher, as messages name it.
    row_numbers : ndarray of int of shape (n_samples,) or None, default=None
        What messages call the rows. None: 0, 1, ...

    Returns
    -------
    labels : ndarray of float64 of shape (n_samples, n_classes)
        Each row sums to 1.

    Raises
    ------
    TeacherShapeError, TeacherProbabilityError, TeacherClassesError
        If the answer cannot be believed.

    Examples
    --------
    >>> from skadistill.teachers._checks import soft_labels
    >>> soft_labels([[0.25, 0.75]], 1, ["a", "b"], own=["b", "a"])
    array([[0.75, 0.25]])
    >>> soft_labels(["b", "a"], 2, ["a", "b"])
    array([[0., 1.],
           [1., 0.]])
    """
    if row_numbers is None:
        row_numbers = np.arange(n_samples)
    table, names = _as_table(answer, who)
    _check_shape(table, n_samples, who, kind)
    hard = kind == "hard" or (
        kind == "auto" and (table.ndim == 1 or table.shape[1] == 1)
    )
    allow = {"allow_missing": allow_missing, "allow_extra": allow_extra}
    if hard:
        check_classes(own, classes, who=who, **allow)
        known = list(classes) if own is None else list(dict.fromkeys([*classes, *own]))
        labels = one_hot(table.reshape(n_samples), known, who, row_numbers)
        own = known
    else:
        if own is None:
            own = _columns_named(names, classes)
        check_classes(own, classes, who=who, **allow)
        own = list(classes) if own is None else list(own)
        labels = _as_probabilities(table, own, who, row_numbers)
    return _mapped(labels, own, list(classes), who, row_numbers)


def one_hot(labels, classes, who="the teacher", row_numbers=None):
    """Turn hard labels into rows with a single 1.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        The labels.
    classes : sequence of n_classes labels
        What each column means.
    who : str, default="the teacher"
        Who answered, as the message names it.
    row_numbers : ndarray of int of shape (n_samples,) or None, default=None
        What the message calls the rows. None: 0, 1, ...

    Returns
    -------
    rows : ndarray of float64 of shape (n_samples, n_classes)
        One-hot rows.

    Raises
    ------
    TeacherClassesError
        If a label is not one of the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.teachers._checks import one_hot
    >>> one_hot(np.array([1, 0]), [0, 1])
    array([[0., 1.],
           [1., 0.]])
    """
    position = {c: i for i, c in enumerate(classes)}
    values = labels.tolist()
    columns = np.empty(len(values), dtype=np.intp)
    for i, value in enumerate(values):
        try:
            columns[i] = position[value]
        except (KeyError, TypeError):
            row = i if row_numbers is None else row_numbers[i]
            hint = (
                "; return one of the classes, or, if this is the probability of the "
                "second class, both columns."
                if isinstance(value, float) and 0 < value < 1
                else "; return one of the classes."
            )
            raise TeacherClassesError(
                f"{who} answered the unknown label {value!r} for row {row}, the "
                f"classes being {_names(classes)}{hint}"
            ) from None
    rows = np.zeros((len(values), len(classes)))
    rows[np.arange(len(values)), columns] = 1.0
    return rows


def _as_table(answer, who):
    """Make an array of the answer; also return its column names, if it has any."""
    if answer is None:
        raise TeacherShapeError(
            f"{who} answered None; return probabilities of shape (n_samples, "
            "n_classes) or one label per row."
        )
    names = None
    if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
        names = list(answer.columns)
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
        if str(answer.dtype) == "torch.bfloat16":
            answer = answer.float()
    if sparse.issparse(answer):
        answer = answer.toarray()
    if isinstance(answer, str | bytes | dict | set):
        raise TeacherShapeError(
            f"{who} answered {answer!r:.80}, of type {type(answer).__name__}; return "
            "probabilities of shape (n_samples, n_classes) or one label per row."
        )
    try:
        table = answer.to_numpy() if hasattr(answer, "to_numpy") else np.asarray(answer)
    except ValueError:  # numpy's word for a ragged list
        raise TeacherShapeError(
            f"{who} answered {type(answer).__name__} {answer!r:.80}, whose rows have "
            "different lengths; return as many columns for every row."
        ) from None
    return table, names


def _check_shape(table, n_samples, who, kind):
    """Refuse an answer with the wrong number of rows or dimensions."""
    if table.ndim == 0:
        raise TeacherShapeError(
            f"{who} answered a single value, {table.tolist()!r:.80}, when asked about "
            f"{n_samples} rows; return one row of probabilities or one label per row."
        )
    if table.shape[0] != n_samples:
        raise TeacherShapeError(
            f"{who} answered {table.shape[0]} rows when asked about {n_samples}; "
            "return one row per row asked, in the same order."
        )
    ok = {"auto": (1, 2), "proba": (2,), "hard": (1, 2)}[kind]
    if table.ndim not in ok or (kind == "hard" and table.shape[1:] not in ((), (1,))):
        wanted = "(n_samples,)" if kind == "hard" else "(n_samples, n_classes)"
        raise TeacherShapeError(
            f"{who} answered an array of shape {table.shape}; return one of shape "
            f"{wanted}."
        )


def _columns_named(names, classes):
    """Read classes from a frame's column names, where one of them is a class."""
    if names is None:
        return None
    by_text = {str(c): c for c in classes}
    wanted = set(classes)
    own = [n if n in wanted else by_text.get(n, n) for n in names]
    if set(own) != wanted and names == list(range(len(names))):
        return None  # pandas numbers columns that nobody named
    return own if any(n in wanted for n in own) else None


def _as_probabilities(table, own, who, row_numbers):
    """Check a 2-D table of probabilities and return it as float64."""
    if table.shape[1] != len(own):
        raise TeacherShapeError(
            f"{who} answered {table.shape[1]} columns where it has {len(own)} classes "
            f"({_names(own)}); return one column per class, in that order."
        )
    numeric = table.dtype.kind in "biuf"
    if table.dtype.kind == "O" and not any(
        isinstance(v, str | bytes) for v in table.flat
    ):
        try:
            table = table.astype(np.float64)
            numeric = True
        except (TypeError, ValueError):
            numeric = False
    if not numeric:
        value = table.item(0) if table.size else None
        raise TeacherProbabilityError(
            f"{who} answered {table.dtype} values such as {value!r:.80} where "
            "probabilities were expected; return real numbers, or one label per row."
        )
    labels = table.astype(np.float64)
    _refuse(~np.isfinite(labels), labels, own, who, row_numbers, "a finite number")
    _refuse(labels < 0, labels, own, who, row_numbers, "not negative")
    sums = labels.sum(axis=1)
    bad = np.abs(sums - 1.0) > SUM_TOLERANCE
    if bad.any():
        i = int(np.argmax(bad))
        raise TeacherProbabilityError(
            f"{who} answered probabilities for row {row_numbers[i]} that sum to "
            f"{sums[i]:.6g}; return rows that sum to 1 (apply a softmax to scores, or "
            "divide by the sum)."
        )
    return labels


def _refuse(bad, labels, own, who, row_numbers, wanted):
    """Raise for the first entry marked bad."""
    if not bad.any():
        return
    i, j = (int(v[0]) for v in np.nonzero(bad))
    raise TeacherProbabilityError(
        f"{who} answered {labels[i, j]!s} for row {row_numbers[i]} and class "
        f"{own[j]!r}; return probabilities that are all "
        f"{wanted}{'' if wanted != 'not negative' else ' (apply a softmax to scores)'}."
    )


def _mapped(labels, own, classes, who, row_numbers):
    """Put the columns in the order of `classes` and make every row sum to 1."""
    if own != classes:
        position = {c: i for i, c in enumerate(own)}
        mapped = np.zeros((len(labels), len(classes)))
        for j, c in enumerate(classes):
            if c in position:
                mapped[:, j] = labels[:, position[c]]
        labels = mapped
    # After the mapping: the sum of a row depends, in its last bit, on the order of
    # the columns, and a teacher's own order must not show.
    sums = labels.sum(axis=1)
    empty = sums <= 0
    if empty.any():
        i = int(np.argmax(empty))
        extra = [c for c in own if c not in set(classes)]
        raise TeacherProbabilityError(
            f"{who} gave row {row_numbers[i]} wholly to the {_class_word(extra)} "
            f"{_names(extra)}, which no labeled row has, so that nothing is left of "
            "it; label a row of such a class or leave the row out of the pool."
        )
    return labels / sums[:, None]


def _names(classes):
    """Write class names for a message; a long list is cut."""
    shown = ", ".join(repr(c) for c in list(classes)[:12])
    return shown + (f", ... ({len(classes)} in all)" if len(classes) > 12 else "")


def _class_word(classes):
    return "class" if len(classes) == 1 else "classes"


def _those(classes):
    return "that class" if len(classes) == 1 else "those classes"


def _it(classes):
    return "it" if len(classes) == 1 else "them"


def _its(classes):
    return "its" if len(classes) == 1 else "their"
