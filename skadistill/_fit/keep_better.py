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


def keep_better_student(state):
    """Go back to the student of the given labels alone if that one is better."""
    labels, students = state.labels, state.students
    n_alone = state.asked.findings.n_right_alone
    if n_alone is None or students.first is None or labels.given.all():
        return
    truth = labels.targets[labels.given].argmax(axis=1)
    for others, targets in _labeled_rows(state):
        if _n_right_out_of_fold(state, truth, others, targets) >= n_alone:
            return
    students.last, students.last_round = students.first, 0


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
            clone(state.students.last),
            labels.table.take(rows),
            give_every_class(learned),
            classes=labels.classes,
            **state.settings.cut_metadata(rows),
        )
        proba = student_proba(learner, safe_indexing(X, test), len(labels.classes))
        n_right += int(np.count_nonzero(~is_wrong(proba, truth[test])))
    return n_right


def _relabel(state, X, train, X_others):
    """Let a teacher fitted on some given rows label rows of the pool."""
    teacher = clone(state.components.teacher)
    y = state.labels.y
    params = take_metadata(state.asked.fit_params, train, len(y))
    teacher.fit(X, y[train], **params)
    teacher.allow_missing_classes = True
    return teacher.ask(X_others, state.labels.classes)
