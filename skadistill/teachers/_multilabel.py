"""Check answers with several labels per row, and turn them into tables."""

import numpy as np
from scipy import sparse
from scipy.special import expit

from skadistill._utils.label_space import MultiLabel
from skadistill.exceptions import TeacherAnswerError
from skadistill.teachers._checks import (
    _as_table,
    _check_shape,
    _columns_named,
    _Faults,
    _from_rows,
    _is_no_label,
    _names,
    _plain_text,
    _plain_texts,
    check_classes,
)

__all__ = ["indicator_labels", "stack_outputs"]


def indicator_labels(
    answer,
    n_samples,
    columns,
    *,
    own=None,
    kind="auto",
    allow_missing=False,
    allow_extra=False,
    who="the teacher",
    row_numbers=None,
):
    """Turn one answer into a checked table with two columns per label.

    A row is one number per label, the probability that it applies, or a collection of
    the names of those that apply. None, NaN, a row of NaN or a `NoLabel`: no label.
    """
    if row_numbers is None:
        row_numbers = np.arange(n_samples)
    asked = [column[1:] for column in columns[: len(columns) // 2]]
    table, names = _as_table(answer, who)
    _check_shape(table, n_samples, who, kind)
    faults = _Faults(n_samples, who, row_numbers)
    named = _columns_named(names, [*asked, *(own or ())]) or own or asked
    named = [str(name) for name in named]
    check_classes(
        named, asked, who=who, allow_missing=allow_missing, allow_extra=allow_extra
    )
    if table.dtype.kind in "biuf" and table.ndim == 2:
        _check_labels_wide(table.shape[1], named, who)
        applies = table.astype(np.float64)
    elif table.ndim == 1 and any(map(_is_collection_of_names, table.tolist())):
        applies = _from_names(table.tolist(), named, faults)
    else:
        applies = _from_rows(list(table), named, faults)
    _mark_improbable(applies, named, faults)
    positions = {name: i for i, name in enumerate(named)}
    order = [positions.get(name, -1) for name in asked]
    padded = np.hstack([applies, np.zeros((n_samples, 1))])
    padded[np.isnan(applies).all(axis=1), -1] = np.nan
    labels = MultiLabel(asked).targets(padded[:, order].clip(0.0, 1.0))
    labels[faults.invalid] = np.nan
    return labels, faults.invalid, faults.first


def _is_collection_of_names(value):
    """Tell whether a value may be the names of the labels that apply."""
    return isinstance(value, list | tuple | set | frozenset) and (
        not value or any(isinstance(each, str) for each in value)
    )


def _check_labels_wide(n_columns, named, who):
    """Raise if the answer has another number of columns than labels."""
    if n_columns != len(named):
        raise TeacherAnswerError(
            f"{who} answered {n_columns} columns for {len(named)} labels "
            f"({_names(named)}); return the probability of each label, or lists of the "
            "names that apply."
        )


def _from_names(rows, named, faults):
    """Return a table with 1 at the names of each row."""
    position = {name: i for i, name in enumerate(named)}
    plain = _plain_texts(named)
    applies = np.zeros((len(rows), len(named)))
    unknown = {}
    for i, row in enumerate(rows):
        if _is_no_label(row):
            applies[i] = np.nan
        elif not isinstance(row, list | tuple | set | frozenset):
            unknown[i] = row
        else:
            for value in row:
                text = str(value)
                name = text if text in position else plain.get(_plain_text(text))
                if name is None:
                    unknown[i] = value
                else:
                    applies[i, position[name]] = 1.0
    faults.add(
        list(unknown),
        TeacherAnswerError,
        lambda i, number: (
            f"answered the unknown label {unknown[i]!r:.80} for row {number}, the "
            f"labels being {_names(named)}; return a list of labels that apply, empty "
            'for none, or pass on_invalid="skip".'
        ),
    )
    return applies


def _mark_improbable(applies, named, faults):
    """Mark the rows in which a number is no probability."""
    empty = np.isnan(applies)
    with np.errstate(invalid="ignore"):
        wrong = ~((applies >= 0) & (applies <= 1 + 1e-6))
    wrong &= ~empty.all(axis=1, keepdims=True)
    faults.add(
        np.flatnonzero(wrong.any(axis=1)).tolist(),
        TeacherAnswerError,
        lambda i, number: (
            f"answered {applies[i, wrong[i]][0]!s} for row {number} and label "
            f"{named[int(np.argmax(wrong[i]))]!r}; return the probability that the "
            "label applies, from 0 to 1 (apply a sigmoid to scores)."
        ),
    )


def stack_outputs(estimator, method, outputs):
    """Return what an estimator predicts of several labels as one table.

    Some return a list of arrays of shape (n_samples, 2), one per label.
    """
    if sparse.issparse(outputs):
        return outputs.toarray()
    if method == "decision_function":
        return expit(np.asarray(outputs, dtype=np.float64))
    if not isinstance(outputs, list):
        return outputs
    known = getattr(estimator, "classes_", None)
    columns = []
    for k, proba in enumerate(outputs):
        proba = np.asarray(proba)
        classes = [0, 1] if known is None else list(np.asarray(known[k]).tolist())
        applies = classes.index(1) if 1 in classes else None
        columns.append(np.zeros(len(proba)) if applies is None else proba[:, applies])
    return np.column_stack(columns)
