"""Check a teacher's answer and turn it into soft labels in the caller's order.

Everything here is arrays in, arrays out; nothing is asked and nothing is paid.
"""

from numbers import Real

import numpy as np
from scipy import sparse

from skadistill._utils.validation import did_you_mean, is_missing
from skadistill.exceptions import TeacherAnswerError
from skadistill.teachers._answers import NoLabel

__all__ = ["SUM_TOLERANCE", "check_classes", "check_order", "soft_labels"]

#: How far from 1 a row of probabilities may sum before it is an error.
SUM_TOLERANCE = 1e-3


def check_classes(own, classes, *, who, allow_missing, allow_extra):
    """Raise if the teacher's classes (None: not known) do not fit those asked for."""
    if own is None:
        return
    if len(set(own)) != len(own):
        raise TeacherAnswerError(
            f"{who} names a class twice, its classes being {_names(own)}; give every "
            "column a different class."
        )
    known, wanted = set(own), set(classes)
    missing = [c for c in classes if c not in known]
    if missing and not allow_missing:
        raise TeacherAnswerError(
            f"{who} does not know the {_class_word(missing)} {_names(missing)} of the "
            f"labeled rows, its own classes being {_names(own)}; use a teacher that "
            f"knows {_those(missing)}, or wrap it in as_teacher(teacher, "
            f"allow_missing_classes=True) to give {_it(missing)} probability 0"
            f"{did_you_mean(missing, own)}."
        )
    extra = [c for c in own if c not in wanted]
    if extra and not allow_extra:
        raise TeacherAnswerError(
            f"{who} knows the {_class_word(extra)} {_names(extra)}, which no labeled "
            f"row has (the classes asked for are {_names(classes)}); to learn "
            f"{_it(extra)}, pass classes=[...] with all names to ActiveDistiller, or "
            "wrap the teacher in as_teacher(teacher, allow_extra_classes=True) to drop "
            f"{_its(extra)} share and renormalize{did_you_mean(extra, classes)}."
        )


def check_order(answer, X, *, who):
    """Raise if both have a pandas index, and that of the answer is another order."""
    if not hasattr(answer, "iloc") or not hasattr(X, "iloc"):
        return  # lists have a method `index`
    given, asked = answer.index, X.index
    # A range is how pandas numbers rows without names.
    if type(given).__name__ == "RangeIndex" or given.equals(asked):
        return
    if len(given) == len(asked) and set(given) == set(asked):
        raise TeacherAnswerError(
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

    A row answered with None, NaN, a row of NaN or a `NoLabel` has no label, which is
    an answer. A row whose answer cannot be used is invalid.
    """
    if row_numbers is None:
        row_numbers = np.arange(n_samples)
    classes = list(classes)
    table, names = _as_table(answer, who)
    _check_shape(table, n_samples, who, kind)
    faults = _Faults(n_samples, who, row_numbers)
    allow = {"allow_missing": allow_missing, "allow_extra": allow_extra}
    hard = _hard_labels(table) if kind == "auto" else None
    if hard is not None:
        check_classes(own, classes, who=who, **allow)
        own = classes if own is None else list(dict.fromkeys([*classes, *own]))
        labels = _one_hot(hard, own, faults)
    else:
        own = _columns_named(names, classes) or own
        check_classes(own, classes, who=who, **allow)
        own = classes if own is None else list(own)
        labels = _as_probabilities(table, own, faults)
    labels = _mapped(labels, own, classes, faults)
    labels[faults.invalid] = np.nan
    return labels, faults.invalid, faults.first


class _Faults:
    """The rows whose answer cannot be used, and what is wrong with the first."""

    def __init__(self, n_samples, who, row_numbers):
        self.invalid = np.zeros(n_samples, dtype=bool)
        self.first = None
        self.who = who
        self.row_numbers = row_numbers

    def add(self, rows, error, text):
        """Mark rows (positions); `text` says of the first what is wrong with it."""
        rows = [i for i in rows if not self.invalid[i]]
        self.invalid[rows] = True
        if rows and self.first is None:
            self.first = error(f"{self.who} {text(rows[0], self.row_numbers[rows[0]])}")


def _is_no_label(value):
    """Return whether an element says "no label"."""
    return isinstance(value, NoLabel) or is_missing(value)


def _is_row(value):
    """Return whether an element holds probabilities: is itself a sequence."""
    return not isinstance(value, str | bytes) and (
        isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0
    )


def _hard_labels(table):
    """Return the labels as a list if the answer holds one value per row, else None."""
    if table.ndim == 2:
        return table[:, 0].tolist() if table.shape[1] == 1 else None
    values = table.tolist()
    if table.dtype != object or not any(map(_is_row, values)):
        return values
    if all(len(value) == 1 for value in values if _is_row(value)):
        return [value[0] if _is_row(value) else value for value in values]
    return None


def _one_hot(values, classes, faults):
    """Turn hard labels into rows with a single 1; no label gives a row of NaN."""
    position = {c: i for i, c in enumerate(classes)}
    plain = _plain_texts(classes)
    rows = np.zeros((len(values), len(classes)))
    unknown = []
    for i, value in enumerate(values):
        if _is_no_label(value):
            rows[i] = np.nan
            continue
        try:
            if value not in position and isinstance(value, str):
                value = plain[_plain_text(value)]
            rows[i, position[value]] = 1.0
        except (KeyError, TypeError):
            unknown.append(i)
    faults.add(
        unknown,
        TeacherAnswerError,
        lambda i, number: (
            f"answered the unknown label {values[i]!r:.80} for row {number}, the "
            f"classes being {_names(classes)}; return one of the classes"
            f"{_hint(values[i], classes)}"
        ),
    )
    return rows


def _hint(value, classes):
    """Say what else may have been meant by an unknown label."""
    if isinstance(value, float) and 0 < value < 1:
        return ", or, if this is the probability of the second class, both columns."
    return (
        "; if it is a class to learn, pass classes=[...] with all names to "
        'ActiveDistiller, or pass on_invalid="skip" to leave such rows without a label'
        f"{did_you_mean([value], classes)}."
    )


#: What people and language models put around a label.
_WRAPPING = " \t\r\n\"'`*_\u201c\u201d\u2018\u2019\u00ab\u00bb"


def _plain_text(text):
    """Return a label without blanks, quotes, markdown, final period and case."""
    return text.strip(_WRAPPING).removesuffix(".").strip(_WRAPPING).casefold()


def _plain_texts(classes):
    """Map the plain text of each class to the class, if no two classes share it."""
    found: dict[str, list] = {}
    for c in classes:
        if isinstance(c, str):
            found.setdefault(_plain_text(c), []).append(c)
    return {text: same[0] for text, same in found.items() if text and len(same) == 1}


def _as_table(answer, who):
    """Return an array of the answer, and its column names, if it has any.

    Hard labels of mixed types, and rows of different lengths, come as objects in one
    dimension: as an array, numpy would turn 0, 1 and "a refusal" into three texts.
    """
    if answer is None or isinstance(answer, str | bytes | dict | set):
        value = "None" if answer is None else f"{answer!r:.80}"
        kind = "" if answer is None else f", of type {type(answer).__name__}"
        raise TeacherAnswerError(
            f"{who} answered {value}{kind}; return probabilities of shape (n_samples, "
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
    if hasattr(answer, "to_numpy"):
        return answer.to_numpy(), names
    try:
        table = np.asarray(answer)
    except ValueError:  # rows of different lengths
        table = None
    if isinstance(answer, list | tuple) and (
        table is None or table.dtype.kind not in "biufc"
    ):
        table = np.empty(len(answer), dtype=object)
        for i, value in enumerate(answer):  # one by one: numpy would look inside rows
            table[i] = value
    return table, names


def _check_shape(table, n_samples, who, kind):
    """Raise if the answer has another number of rows or dimensions."""
    if table.ndim == 0:
        raise TeacherAnswerError(
            f"{who} answered a single value, {table.tolist()!r:.80}, when asked about "
            f"{n_samples} rows; return one row of probabilities or one label per row."
        )
    if table.shape[0] != n_samples:
        raise TeacherAnswerError(
            f"{who} answered {table.shape[0]} rows when asked about {n_samples}; "
            "return one row per row asked, in the same order."
        )
    hard = table.ndim == 1 and table.dtype != object
    if table.ndim > 2 or (hard and kind == "proba"):
        raise TeacherAnswerError(
            f"{who} answered an array of shape {table.shape}; return one of shape "
            "(n_samples, n_classes)."
        )


def _columns_named(names, classes):
    """Read classes from a frame's column names, if one of them is a class."""
    if names is None:
        return None
    by_text = {str(c): c for c in classes}
    wanted = set(classes)
    own = [n if n in wanted else by_text.get(n, n) for n in names]
    if set(own) != wanted and names == list(range(len(names))):
        return None  # pandas numbers columns without names
    return own if any(n in wanted for n in own) else None


def _as_probabilities(table, own, faults):
    """Return a table of probabilities as float64, unusable rows marked."""
    if table.dtype.kind in "biuf" and table.ndim == 2:
        _check_width(table.shape[1], own, faults.who)
        labels = table.astype(np.float64)
    else:
        labels = _from_rows(list(table), own, faults)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(labels)
        wrong = ~finite & ~np.isnan(labels).all(axis=1, keepdims=True)
        _mark(wrong, labels, own, faults, "a finite number")
        _mark(
            labels < 0, labels, own, faults, "not negative (apply a softmax to scores)"
        )
        sums = labels.sum(axis=1)
        faults.add(
            np.flatnonzero(np.abs(sums - 1.0) > SUM_TOLERANCE).tolist(),
            TeacherAnswerError,
            lambda i, number: (
                f"answered probabilities for row {number} that sum to {sums[i]:.6g}; "
                "return rows that sum to 1 (apply a softmax to scores, or divide by "
                "the sum)."
            ),
        )
    return labels


def _check_width(n_columns, own, who):
    """Raise if the answer has another number of columns than classes."""
    if n_columns != len(own):
        advice = (
            ", or, to learn a class that no labeled row has, pass classes=[...] to "
            "ActiveDistiller, with the name of every column in order"
            if n_columns > len(own)
            else ", or say what the columns mean with as_teacher(teacher, "
            "classes=[...], allow_missing_classes=True)"
        )
        raise TeacherAnswerError(
            f"{who} answered {n_columns} columns but has {len(own)} classes "
            f"({_names(own)}); return one column per class, in that order{advice}."
        )


def _from_rows(rows, own, faults):
    """Return rows of probabilities, each a sequence, as a table."""
    widths = {len(row) for row in rows if _is_row(row)}
    if len(widths) == 1:
        _check_width(widths.pop(), own, faults.who)
    labels = np.full((len(rows), len(own)), np.nan)
    unusable = []
    for i, row in enumerate(rows):
        if _is_no_label(row):
            continue
        if not _is_row(row) or len(row) != len(own) or not _is_numeric(row):
            unusable.append(i)
            continue
        labels[i] = [np.nan if _is_no_label(value) else value for value in row]
    faults.add(
        unusable,
        TeacherAnswerError,
        lambda i, number: (
            f"answered {_shown(rows[i])} for row {number}, but probabilities of "
            f"{len(own)} classes were expected; return real numbers, or one label "
            "per row."
        ),
    )
    return labels


def _is_numeric(row):
    """Return whether the entries of a row are real numbers, or missing."""
    return all(
        _is_no_label(value)
        or isinstance(value, Real)
        or getattr(getattr(value, "dtype", None), "kind", "") in ("b", "i", "u", "f")
        for value in row
    )


def _shown(row):
    """Write an answer for a message."""
    return f"{row.tolist() if hasattr(row, 'tolist') else row!r:.80}"


def _mark(wrong, labels, own, faults, wanted):
    """Mark the rows with wrong entries."""
    faults.add(
        np.flatnonzero(wrong.any(axis=1)).tolist(),
        TeacherAnswerError,
        lambda i, number: (
            f"answered {labels[i, wrong[i]][0]!s} for row {number} and class "
            f"{own[int(np.argmax(wrong[i]))]!r}; return probabilities that are all "
            f"{wanted}."
        ),
    )


def _mapped(labels, own, classes, faults):
    """Put the columns in the order of `classes` and make every row sum to 1."""
    if own != classes:
        position = {c: i for i, c in enumerate(own)}
        mapped = np.zeros((len(labels), len(classes)))
        for j, c in enumerate(classes):
            if c in position:
                mapped[:, j] = labels[:, position[c]]
        labels = mapped
    # After the mapping: the sum of a row depends, in its last bit, on the order of
    # the columns, and a teacher's own order must not show. The sum of a row without
    # a label is NaN, and so are its quotients.
    sums = labels.sum(axis=1)
    extra = [c for c in own if c not in set(classes)]
    faults.add(
        np.flatnonzero(sums <= 0).tolist(),
        TeacherAnswerError,
        lambda i, number: (
            f"gave all of row {number} to the {_class_word(extra)} {_names(extra)}, "
            "which no labeled row has, so that nothing is left of it; label rows of "
            "this class or leave the row out of the pool."
        ),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
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
