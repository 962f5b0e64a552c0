"""Start a fit without labeled rows: name the classes, try the student out."""

import warnings

import numpy as np
from sklearn.base import clone

from skadistill._utils.label_space import MultiLabel, OneClass
from skadistill._utils.validation import did_you_mean
from skadistill.exceptions import BudgetWarning, SkadistillError, TeacherError
from skadistill.objectives._base import Evidence
from skadistill.soft_labels._fit_student import fit_student

__all__ = [
    "check_learnable",
    "is_cold",
    "label_space",
    "rehearse",
    "require_labels",
    "warn_of_signs",
]

REHEARSAL_ROWS_PER_CLASS = 2


def label_space(classes, given, teacher, marker=None, names=None):
    """Return what the student is to learn: one class per row, or several labels.

    `names` are those of the columns of an indicator matrix, if it has any.
    """
    if given.ndim == 2 or (not len(given) and teacher.multilabel):
        return _several(classes, given, teacher, names)
    return OneClass(_class_space(classes, given, teacher, marker))


def _several(classes, given, teacher, names):
    """Return the labels of an indicator matrix, or those that a teacher knows."""
    if classes is None:
        classes = names
    if classes is None and teacher.multilabel and teacher.classes_ is not None:
        classes = teacher.classes_
    if classes is None and given.ndim == 2:
        classes = range(given.shape[1])
    if classes is None:
        raise SkadistillError(
            "no row has a label and nothing names the labels that may apply; pass "
            "classes=[...], or name them by the teacher's classes."
        )
    space = MultiLabel(list(classes))
    if given.ndim == 2 and given.shape[1] != len(space):
        raise ValueError(
            f"y has {given.shape[1]} columns, and {len(space)} labels are named "
            f"({space.classes.tolist()[:10]}); name each column once."
        )
    return space


def _class_space(classes, given, teacher, marker):
    """Return the classes of which each row has one."""
    _refuse_marker(marker, classes, teacher)
    found = np.unique(given)
    if classes is not None:
        found = _named(classes, found)
    elif teacher.is_fitted and not teacher.allow_extra_classes:
        found = _union(found, teacher)
    if len(found) > 1:
        return found
    if len(found) == 0:
        raise SkadistillError(
            "no row has a label and neither `classes` nor the teacher says which "
            "classes there are; give some labels, pass classes=[...], or name the "
            "classes of the teacher with as_teacher(teacher, classes=[...])."
        )
    raise SkadistillError(
        f"the {len(given)} labeled rows hold one class only, {found.tolist()[0]!r}; a "
        "classifier needs labeled rows of at least two classes, or to know of others "
        f"by classes=[...]. Rows with {marker!r} in y count as unlabeled; if that is a "
        "class, pass unlabeled_marker=None."
        if len(given)
        else f"there is one class only, {found.tolist()[0]!r}; a classifier needs at "
        "least two classes."
    )


def warn_of_signs(given, some_unlabeled, marker):
    """Warn if -1 and 1 may be the two classes, since the pool is elsewhere."""
    if marker == -1 and some_unlabeled and set(given.tolist()) == {1}:
        warnings.warn(
            "y holds -1 and 1 only, and X_unlabeled holds a pool: rows of X "
            "with -1 are treated as unlabeled, since unlabeled_marker=-1; if -1 is a "
            "class, pass unlabeled_marker=None, if not, name the classes by "
            "classes=[...].",
            BudgetWarning,
            stacklevel=4,
        )


def _refuse_marker(marker, classes, teacher):
    """Raise if the value that marks a row without a label is also a class."""
    own = teacher.classes_ if teacher.is_fitted else None
    for who, named in (("classes=", classes), ("the teacher's classes are ", own)):
        names = [] if named is None else np.asarray(named, dtype=object).tolist()
        if marker is not None and any(_is_same(name, marker) for name in names):
            raise ValueError(
                f"{who}{names[:10]} and unlabeled_marker={marker!r}, which marks rows "
                "without a label, is one of them; pass unlabeled_marker=None and the "
                "unlabeled rows as X_unlabeled, or another marker."
            )


def _is_same(name, marker):
    return isinstance(name, str) == isinstance(marker, str) and name == marker


def _named(classes, found):
    """Return the named classes, which must hold all labels."""
    named = list(dict.fromkeys(np.asarray(classes, dtype=object).tolist()))
    unknown = [label for label in found.tolist() if label not in set(named)]
    if unknown:
        raise ValueError(
            f"y holds labels that are not among classes={named[:10]}: {unknown[:10]}"
            f"{did_you_mean(unknown, named)}; name every class, or leave `classes` at "
            "None."
        )
    if len({isinstance(c, str) for c in named}) > 1:
        raise ValueError(
            f"classes={named[:10]} mixes texts and numbers, which cannot be sorted; "
            "use one kind."
        )
    return _joined(found, named)


def _union(found, teacher):
    """Add what a teacher knows, unless it means other things than the labels do."""
    own = teacher.classes_
    own = found.tolist() if own is None else np.asarray(own, dtype=object).tolist()
    lacks = set(found.tolist()) - set(own)
    is_text = {isinstance(c, str) for c in [*own, *found.tolist()]}
    if (lacks and not teacher.allow_missing_classes) or len(is_text) > 1:
        return found  # the teacher says what is wrong when it is asked
    return _joined(found, own)


def _joined(found, more):
    """Add classes to those found, which keep their dtype if nothing is new."""
    known = set(found.tolist())
    new = [c for c in more if c not in known]
    if not new:
        return found
    if found.dtype == object and len(found):
        return np.unique(np.concatenate([found, np.array(new, dtype=object)]))
    return np.unique(np.concatenate([found, new]) if len(found) else np.array(new))


def check_learnable(labels, teacher, objective, n_queries):
    """Refuse a fit that could not train any student, before anything is paid."""
    n_labeled = labels.rows.size
    if n_labeled == 0:
        if not teacher.is_fitted:
            lacking = "the teacher has to be fitted on labeled rows"
        elif objective.needs_teacher_checks:
            lacking = (
                f"the objective {objective!r} learns from the teacher's answers on "
                "labeled rows"
            )
        elif n_queries == 0:
            lacking = "the budget is 0, so that the teacher gives none"
        else:
            return
        raise SkadistillError(
            f"none of the {labels.table.n_samples} rows has a label, and {lacking}; "
            "give some labels in y."
        )
    found = labels.classes[labels.targets.sum(axis=0) > 0]
    if len(found) == 1 and (n_queries == 0 or not teacher.is_fitted):
        raise SkadistillError(
            f"the {n_labeled} labeled rows hold one class only, "
            f"{found.tolist()[0]!r}; a classifier needs labeled rows of at least two "
            "classes, or a teacher that can be asked for others."
        )


def is_cold(state):
    """Tell whether the next rows are spread over the pool: some class lacks a row."""
    targets = state.labels.targets
    if state.progress.n_draws:
        return False
    return not len(targets) or not state.labels.space.covered(targets)


def require_labels(labels):
    """Raise if the teacher gave no label at all."""
    if labels.rows.size == 0:
        raise TeacherError(
            "y has no label and the teacher returned none, so that no student can be "
            "trained; the paid answers are in ledger_."
        )


def rehearse(state):
    """Train a student on made-up labels of a few rows, so that faults cost nothing."""
    labels, n_classes = state.labels, len(state.labels.classes)
    n_rows = min(REHEARSAL_ROWS_PER_CLASS * n_classes, labels.pool.size)
    rows = labels.pool[:n_rows]
    targets = np.eye(n_classes)[np.arange(n_rows) % n_classes]
    if n_rows < n_classes:  # each class needs some weight
        targets = np.full_like(targets, 1 / n_classes)
    evidence = Evidence(targets, np.ones(n_rows, dtype=bool))
    return fit_student(
        clone(state.students.last),
        labels.table.take(rows),
        state.components.objective.lesson(evidence),
        classes=labels.classes,
        **state.settings.cut_metadata(rows),
    )
