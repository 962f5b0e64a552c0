"""What a fit learns: one class per row, or several labels per row.

Inside a fit, answers, targets and predictions are tables whose rows sum to 1. With one
class per row, a column is a class. With several labels, each of the L labels has two
columns, "+name" and "-name", which share 1 / L of a row: what the first has of it is
the probability that the label applies. Whatever adds, multiplies, stores or compares
such tables works for both; what differs is here, and nothing else asks which it is.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "MultiLabel",
    "OneClass",
    "differs",
    "label_columns",
    "names_of",
    "same_labels",
]


def differs(table, truth):
    """Tell which rows of a table of several labels differ from the true table."""
    half = table.shape[1] // 2
    said, true = table[:, :half] > table[:, half:], truth[:, :half] > truth[:, half:]
    return (said != true).any(axis=1)


#: Rows, and labels in all, on which a teacher is checked at least: each row checks all.
FEWEST_CHECKS, LABELS_CHECKED = 5, 60

#: Added to the rate of a label, so that one never seen has a finite weight.
LEAST_RATE = 1e-3


def same_labels(one, other):
    """Tell which rows have the same label, or all labels the same."""
    return (one == other).reshape(len(one), -1).all(axis=1)


def label_columns(names):
    """Return the two columns of each label: all that apply, then all that do not."""
    texts = sorted(map(str, names))
    return [f"+{text}" for text in texts] + [f"-{text}" for text in texts]


class OneClass:
    """One class per row, `classes` being sorted."""

    multilabel = False
    shape = ()  # of the label of a row

    def __init__(self, classes):
        self.classes = self.columns = classes

    @property
    def n_outcomes(self):
        """Number of outcomes that a student tells apart at once."""
        return len(self.classes)

    def teacher(self, teacher):
        """Return the teacher, if its answers are such tables."""
        if teacher.multilabel:
            raise ValueError(
                f"{teacher.display_name} answers with several labels per row "
                "(multilabel=True), and y holds one class per row; pass y as an "
                "indicator matrix of shape (n_samples, n_labels), or another teacher."
            )
        return teacher

    def refuse(self, what):
        """Raise if something is made for one class per row only."""

    def check_plan(self, plan):
        """Return which checks of the teacher are made."""
        return plan

    def truth(self, targets):
        """Return what answers are compared with."""
        return targets.argmax(axis=1)

    def error_for_choice(self, error):
        """Return the error rate that a query strategy sees."""
        return error

    def targets(self, y):
        """Return given labels as rows that sum to 1."""
        codes = np.searchsorted(self.classes, y) if len(y) else np.empty(0, np.intp)
        return np.eye(len(self.classes))[codes]

    def outcomes(self, table):
        """Return one number per row, equal where what is predicted is equal."""
        return table.argmax(axis=1)

    def labels(self, table):
        """Return what is predicted by a table."""
        return self.classes[table.argmax(axis=1)]

    def proba(self, table):
        """Return a table as the user reads it."""
        return table

    def decide(self, proba, student):
        """Return what a student predicts that gives these probabilities."""
        return self.labels(proba)

    def per_row(self, function, student):
        """Return a function of probabilities that gives a value per row of a table."""
        return function

    def covered(self, targets):
        """Tell whether each class has a row."""
        return len(np.unique(targets.argmax(axis=1))) == len(self.classes)

    def fill(self, rows, targets, n_samples, marker):
        """Return the labels of all rows, in a dtype that also holds the marker."""
        marker = -1 if marker is None else marker
        dtype = np.result_type(self.classes, np.asarray(marker))
        if dtype.kind not in "iuf" and not isinstance(marker, str):
            dtype = np.dtype(object)
        labels = np.full(n_samples, marker, dtype=dtype)
        labels[rows] = self.labels(targets)
        return labels


class MultiLabel:
    """Several labels per row, which apply or not; `classes` are their names."""

    multilabel = True
    n_outcomes = 2

    def __init__(self, classes):
        self.classes = np.asarray(classes)
        self.shape = self.classes.shape
        texts = [str(name) for name in self.classes.tolist()]
        if len(set(texts)) < len(texts) or not texts:
            raise ValueError(
                f"the labels are named {texts[:10]}; give each of them a name of its "
                "own by classes=[...]."
            )
        self.columns = np.array(label_columns(texts))
        #: Position among the sorted names of each label.
        self.order = np.argsort(np.argsort(np.array(texts)))

    def __len__(self):
        return len(self.classes)

    def teacher(self, teacher):
        """Return the teacher, asked for several labels per row."""
        names = self.classes.tolist()
        params = teacher.get_params(deep=False)
        if not teacher.multilabel and "multilabel" not in params:
            raise ValueError(
                f"y is an indicator matrix of {len(names)} labels, and "
                f"{teacher.display_name} answers with one class per row; use a teacher "
                "that takes multilabel=True, or a function that returns an array of "
                "shape (n_samples, n_labels)."
            )
        if "multilabel" in params and not (teacher.multilabel and teacher.classes_):
            named = params.get("classes")
            return type(teacher)(
                **params
                | {"multilabel": True, "classes": names if named is None else named}
            )
        return teacher

    def check_plan(self, plan):
        """Return which checks of the teacher are made: for the objective alone."""
        if plan.policy.error_rate is not None:
            self.refuse("CheckPolicy(error_rate=...)")
        policy = type(plan.policy)(plan.policy.n_checks, on_weak="ignore")
        in_steps = plan.in_steps and plan.for_choice
        return replace(
            plan,
            policy=policy,
            aimed=False,
            needed=False,
            for_choice=in_steps,
            in_steps=in_steps,
            fewest=min(plan.fewest, max(FEWEST_CHECKS, LABELS_CHECKED // len(self))),
        )

    def truth(self, targets):
        """Return what answers are compared with."""
        return targets

    def error_for_choice(self, error):
        """Return the error rate that a strategy sees: that of a set says little."""
        return None

    def refuse(self, what):
        """Raise if something is made for one class per row only."""
        raise ValueError(
            f"{what} needs one class per row, and y is an indicator matrix of "
            f"{len(self)} labels; leave it out, or learn one label at a time."
        )

    def targets(self, y):
        """Return given labels as rows that sum to 1."""
        applies = np.empty((len(y), len(self)))
        applies[:, self.order] = np.reshape(y, (len(y), len(self)))
        return np.hstack([applies, 1 - applies]) / len(self)

    def _applies(self, table):
        """Return which labels apply, in sorted order."""
        half = len(self)
        return table[:, :half] > table[:, half:]

    def outcomes(self, table):
        """Return one number per row, equal where what is predicted is equal."""
        weights = np.random.default_rng(0).integers(2**62, size=len(self))
        return ((self._applies(table) @ weights) & 0x7FFFFFFF).astype(np.int32)

    def labels(self, table):
        """Return what is predicted by a table: an indicator matrix."""
        return self._applies(table)[:, self.order].astype(int)

    def proba(self, table):
        """Return the probability of each label."""
        half = len(self)
        applies, not_ = table[:, :half], table[:, half:]
        return (applies / (applies + not_))[:, self.order]

    def decide(self, proba, student):
        """Return what a student predicts that gives these probabilities."""
        return student.decide(proba)

    def per_row(self, function, student):
        """Return a function of probabilities that gives a value per row of a table.

        It is the mean over labels; a rare label, of which few rows are known, weighs
        more than a frequent one.
        """
        weights = 1 / np.sqrt(student.table_rates + LEAST_RATE)
        return _MeanOfLabels(function, weights / weights.mean())

    def covered(self, targets):
        """Tell whether each label applies to a row."""
        return bool(self._applies(targets).any(axis=0).all())

    def fill(self, rows, targets, n_samples, marker):
        """Return the labels of all rows; those of other rows are the marker."""
        labels = np.full((n_samples, len(self)), -1 if marker is None else marker)
        labels[rows] = self.labels(targets)
        return labels


@dataclass(frozen=True)
class _MeanOfLabels:
    """Apply a function of two-class probabilities to each label; average by row."""

    function: Any
    weights: np.ndarray

    def __call__(self, table):
        n_samples, half = len(table), len(self.weights)
        two = np.stack([table[:, half:], table[:, :half]], axis=2).reshape(-1, 2) * half
        values = np.asarray(self.function(two)).reshape(n_samples, half)
        return values @ self.weights / half


def names_of(y):
    """Return the names of the columns of a table of labels, None without any."""
    columns = getattr(y, "columns", None)
    names = None if columns is None else list(columns)
    return None if names is None or names == list(range(len(names))) else names
