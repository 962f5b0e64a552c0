"""Undo the effect of a teacher that is not better than the student."""

import numpy as np
from sklearn.base import clone

from skadistill._rows._containers import take_metadata
from skadistill._statistics.checks import is_wrong
from skadistill._statistics.folds import deal_folds
from skadistill._utils.compat import safe_indexing
from skadistill.soft_labels._fit_student import fit_student
from skadistill.soft_labels._out_of_fold import give_every_class
from skadistill.student._checks import student_proba

__all__ = ["keep_better_student"]

N_FOLDS = 5
#: By so many the student of the given labels must be better than one that was paid
#: for; that of a teacher fitted here, which learned the same labels, only at all.
STANDARD_ERRORS = 1.64


def keep_better_student(state):
    """Go back to the student of the given labels alone if that one is better."""
    labels, students = state.labels, state.students
    alone = state.asked.findings.right_alone
    if alone is None or students.first is None or labels.given.all():
        return
    truth = labels.targets[labels.given].argmax(axis=1)
    n_errors = STANDARD_ERRORS if state.components.teacher.is_fitted else 0
    for others, targets in _labeled_rows(state):
        right = _right_out_of_fold(state, truth, others, targets)
        gap = np.count_nonzero(alone) - np.count_nonzero(right)
        if gap <= n_errors * np.sqrt(np.count_nonzero(alone != right)):
            return
    students.last, students.last_round = students.first, 0


def _labeled_rows(state):
    """Yield rows of the pool, and what was learned of them if they were paid."""
    labels, learned = state.labels, state.students.learned
    paid = np.flatnonzero(~labels.given)
    if not state.components.teacher.is_fitted:
        pool = np.concatenate([labels.pool, labels.rows[paid]])
        rng = np.random.default_rng(state.seeds.objective)
        yield rng.choice(pool, paid.size, replace=False), None
        return
    even = paid[labels.even[labels.rows[paid]]]
    for chosen in (even, paid) if 0 < even.size < paid.size else (paid,):
        yield labels.rows[chosen], learned[chosen]


def _right_out_of_fold(state, truth, others, targets):
    """Tell which given rows are right, by students that did not see them."""
    labels = state.labels
    given = labels.rows[labels.given]
    X, X_others = labels.table.take(given), labels.table.take(others)
    fold = deal_folds(truth, N_FOLDS, np.random.default_rng(state.seeds.objective))
    right = np.zeros(len(given), dtype=bool)
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
            clone(state.students.last),
            labels.table.take(rows),
            give_every_class(learned),
            classes=labels.classes,
            **state.settings.cut_metadata(rows),
        )
        proba = student_proba(learner, safe_indexing(X, test), len(labels.classes))
        right[test] = ~is_wrong(proba, truth[test])
    return right


def _relabel(state, X, train, X_others):
    """Let a teacher fitted on some given rows label rows of the pool."""
    teacher = clone(state.components.teacher)
    y = state.labels.y
    params = take_metadata(state.asked.fit_params, train, len(y))
    teacher.fit(X, y[train], **params)
    teacher.allow_missing_classes = True
    return teacher.ask(X_others, state.labels.classes)
