"""Warn of a teacher that is not better than the student, and undo its effect."""

import warnings

import numpy as np
from sklearn.base import clone

from skadistill._rows._containers import take_metadata
from skadistill._statistics.folds import deal_folds
from skadistill._utils.compat import safe_indexing
from skadistill.exceptions import TeacherError, TeacherWarning
from skadistill.soft_labels._fit_student import fit_student
from skadistill.soft_labels._out_of_fold import give_every_class
from skadistill.student._predictions import student_proba

__all__ = ["hold_against_student", "keep_better_student"]

#: Labeled rows below which nothing can be told.
FEWEST_ROWS = 30
N_FOLDS = 5


def hold_against_student(teacher, estimate, evidence, on_weak_teacher):
    """Compare a teacher with students on the same labeled rows, before the pool."""
    n_samples = estimate.n_samples
    if n_samples < FEWEST_ROWS:
        return False
    truth = evidence.truth[estimate.rows]
    student_right = evidence.proba[estimate.rows].argmax(axis=1) == truth
    teacher_right = estimate.proba.argmax(axis=1) == truth
    n_student, n_teacher = int(student_right.sum()), int(teacher_right.sum())
    n_different = int((student_right != teacher_right).sum())
    worse = n_student - n_teacher
    # If both are alike the difference is the sum of so many fair signs: it exceeds its
    # standard error in 16 % of cases and 1.64 of these in 5 %.
    error = np.sqrt(n_different)
    # A called teacher is checked on rows that are hard for the students.
    if -worse > (0 if teacher.is_fitted else 1.64 * error):
        return False
    if worse > max(error, 2) and on_weak_teacher != "ignore":
        low, high = _interval(worse, n_different, n_samples)
        message = (
            f"{teacher.display_name} is right on {n_teacher} of {n_samples} labeled "
            f"rows, and students trained on the other labeled rows are right on "
            f"{n_student}: it is {100 * worse / n_samples:.1f} points worse (95 % "
            f"interval {low:.1f} to {high:.1f}), and its labels may do more harm than "
            "good; use a better teacher, or on_weak_teacher='ignore'."
        )
        if on_weak_teacher == "raise" and worse > 1.64 * error:
            raise TeacherError(message)
        warnings.warn(message, TeacherWarning, stacklevel=2)
    return True


def _interval(worse, n_different, n_samples):
    """Return the interval of a paired difference in points (Agresti and Min, 2005)."""
    # Half a row is added to each of the four cells of the table.
    n_samples, n_different = n_samples + 2, n_different + 1
    gap = worse / n_samples
    error = 1.96 * np.sqrt((n_different / n_samples - gap**2) / n_samples)
    return 100 * (gap - error), 100 * (gap + error)


def keep_better_student(state, first_student):
    """Keep the student of the given labels alone if that one is better."""
    last = state.records[-1].round
    labels = state.labels
    if state.asked.evidence_alone is None or labels.given.all():
        return last
    truth = labels.targets[labels.given].argmax(axis=1)
    alone = state.asked.evidence_alone.proba.argmax(axis=1) == truth
    n_alone = int(alone.sum())
    for others, targets in _labeled_rows(state):
        if _n_right_out_of_fold(state, truth, others, targets) >= n_alone:
            return last
    state.student = first_student
    return 0


def _labeled_rows(state):
    """Yield rows of the pool, and the teacher's labels of them if they were paid."""
    labels = state.labels
    paid = np.flatnonzero(~labels.given)
    if not state.components.teacher.is_fitted:
        pool = np.concatenate([labels.pool, labels.rows[paid]])
        rng = np.random.default_rng(state.seeds.objective)
        yield rng.choice(pool, paid.size, replace=False), None
        return
    even = paid[labels.even[labels.rows[paid]]]
    for chosen in (even, paid) if 0 < even.size < paid.size else (paid,):
        yield labels.rows[chosen], labels.targets[chosen]


def _n_right_out_of_fold(state, truth, others, targets):
    """Count the given rows that are right, by students that did not see them."""
    labels = state.labels
    given = labels.rows[labels.given]
    X, X_others = labels.table.take(given), labels.table.take(others)
    fold = deal_folds(truth, N_FOLDS, np.random.default_rng(state.seeds.objective))
    n_right = 0
    for k in range(N_FOLDS):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(test):
            continue
        if not state.components.teacher.is_fitted:
            targets = _relabel(state, safe_indexing(X, train), train, X_others)
        rows = np.concatenate([given[train], others])
        # The only labeled row of a class may be one of those left out.
        learned = np.concatenate([np.eye(len(labels.classes))[truth[train]], targets])
        learner = fit_student(
            clone(state.student),
            labels.table.take(rows),
            give_every_class(learned),
            classes=labels.classes,
            **state.cut_metadata(rows),
        )
        proba = student_proba(learner, safe_indexing(X, test), len(labels.classes))
        n_right += int((proba.argmax(axis=1) == truth[test]).sum())
    return n_right


def _relabel(state, X, train, X_others):
    """Let a teacher fitted on some given rows label rows of the pool."""
    teacher = clone(state.components.teacher)
    y = state.labels.y
    params = take_metadata(state.asked.fit_params, train, len(y))
    teacher.fit(X, y[train], **params)
    teacher.allow_missing_classes = True
    return teacher.ask(X_others, state.labels.classes)
