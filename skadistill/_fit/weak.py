"""Warn of a teacher that is not better than the student, and undo its effect."""

import warnings

import numpy as np
from sklearn.base import clone

from skadistill._compat import safe_indexing
from skadistill._rows._containers import take_metadata
from skadistill._rows._folds import deal_folds
from skadistill.exceptions import TeacherError, TeacherWarning
from skadistill.student._fit_student import fit_student
from skadistill.student._predictions import student_proba

__all__ = ["hold_against_student", "keep_better_student"]

#: Labeled rows below which nothing can be told.
FEWEST_ROWS = 30
N_FOLDS = 5


def hold_against_student(teacher, estimate, evidence, on_weak_teacher):
    """Compare a teacher with students on the same labeled rows, before the pool.

    Parameters
    ----------
    teacher : BaseTeacher
        Named in the message.
    estimate : TeacherErrorEstimate
        Its answers on labeled rows.
    evidence : TeacherEvidence
        What students say about these that were trained on other labeled rows.
    on_weak_teacher : {"warn", "raise", "ignore"}
        What to do if the teacher is not better.

    Returns
    -------
    weak : bool
        Whether it is right on no more rows than the students: then the first student
        may be the better one. False with fewer than 30 rows.

    Raises
    ------
    TeacherError
        If it is worse by more than chance (5 %) and `on_weak_teacher` is "raise".

    Warns
    -----
    TeacherWarning
        If it is worse by more than chance (5 %) and `on_weak_teacher` is "warn".
    """
    n_samples = estimate.n_samples
    if n_samples < FEWEST_ROWS:
        return False
    truth = evidence.truth[estimate.rows]
    student_right = evidence.proba[estimate.rows].argmax(axis=1) == truth
    teacher_right = estimate.proba.argmax(axis=1) == truth
    n_student, n_teacher = int(student_right.sum()), int(teacher_right.sum())
    if n_teacher > n_student:
        return False
    n_different = int((student_right != teacher_right).sum())
    # If both are alike the difference is the sum of so many fair signs: 5 % of them are
    # larger than 1.64 standard errors.
    if n_student - n_teacher < max(1.64 * np.sqrt(n_different), 1):
        return True
    points = 100 * (n_student - n_teacher) / n_samples
    message = (
        f"{teacher.display_name} is right on {n_teacher} of {n_samples} labeled rows, "
        f"and students trained on the other labeled rows are right on {n_student}: it "
        f"is {points:.1f} points worse, and its labels may do more harm than good; use "
        "a better teacher, or on_weak_teacher='ignore'."
    )
    if on_weak_teacher == "raise":
        raise TeacherError(message)
    if on_weak_teacher == "warn":
        warnings.warn(message, TeacherWarning, stacklevel=2)
    return True


def keep_better_student(state, first_student):
    """Keep the student of the given labels alone if that one is better.

    Parameters
    ----------
    state : FitState
        A fit that has ended, with a weak teacher.
    first_student : estimator
        The student of round 0.

    Returns
    -------
    round : int
        The round whose student is kept: 0 or the last one.

    Notes
    -----
    Both are judged on the given rows, by students that did not see the row: trained on
    the other given rows, with and without the paid ones. A teacher that was fitted on
    the given rows is fitted again without the row as well, for its labels would tell
    the truth of the row.
    """
    last = state.records[-1].round
    labels = state.labels
    given = np.flatnonzero(labels.given)
    paid = np.flatnonzero(~labels.given)
    if not paid.size or state.asked.evidence_alone is None:
        return last
    X = labels.table.take(labels.rows)
    truth = labels.targets[given].argmax(axis=1)
    fold = deal_folds(truth, N_FOLDS, np.random.default_rng(state.seeds.objective))
    right = 0
    for k in range(N_FOLDS):
        train, test = given[fold != k], given[fold == k]
        if not len(test):
            continue
        rows = np.concatenate([train, paid])
        targets = labels.targets[rows]
        if not state.components.teacher.is_fitted:
            targets[len(train) :] = _relabel(state, X, train, paid)
        learner = fit_student(
            clone(state.student),
            safe_indexing(X, rows),
            targets,
            classes=labels.classes,
            **state.cut_metadata(labels.rows[rows]),
        )
        proba = student_proba(learner, safe_indexing(X, test), len(labels.classes))
        right += int((proba.argmax(axis=1) == truth[fold == k]).sum())
    alone = state.asked.evidence_alone.proba.argmax(axis=1) == truth
    if right >= int(alone.sum()):
        return last
    state.student = first_student
    return 0


def _relabel(state, X, train, paid):
    """Let a teacher fitted on some given rows label the paid ones."""
    classes = state.labels.classes
    teacher = clone(state.components.teacher)
    n_given = len(state.labels.y)
    params = take_metadata(state.asked.fit_params, train, n_given)
    teacher.fit(safe_indexing(X, train), state.labels.y[train], **params)
    teacher.allow_missing_classes = True
    return teacher.ask(safe_indexing(X, paid), classes)
