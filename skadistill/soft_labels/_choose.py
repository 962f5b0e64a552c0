"""Choose among students by what they predict for rows that they have not seen."""

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skadistill._statistics.folds import deal_folds, each_fold
from skadistill._utils.compat import safe_indexing
from skadistill.soft_labels._fit_student import fit_student
from skadistill.soft_labels._out_of_fold import TRACE
from skadistill.student._checks import student_proba

__all__ = ["score_on_folds", "score_students"]

# Standard errors by which a student may be behind and stays in the comparison.
TOLERANCE = 2.0
# Labeled rows that are looked at; more are a random sample.
MOST_ROWS = 3000


def score_students(students, X, targets, *, classes, given, n_folds=3, seed=0):
    r"""Return the out-of-fold Brier score of each student, the best one first.

    The score is :math:`\frac1n \sum_{ic} (t_{ic} - p_{ic})^2`; lower is better. Beside
    the cross-entropy it forgives students that are too sure of themselves and right. A
    student that is behind by more than chance after some folds is not trained again:
    its score is that of the best plus the gap on the folds it has seen.
    """
    rng = np.random.default_rng(seed)
    if len(targets) > MOST_ROWS:
        rows = np.sort(rng.permutation(len(targets))[:MOST_ROWS])
        X, targets, given = safe_indexing(X, rows), targets[rows], given[rows]
    n_classes = targets.shape[1]
    fold = deal_folds(targets.argmax(axis=1) + n_classes * given, n_folds, rng)
    return score_on_folds(students, X, targets, fold, classes=classes)


def score_on_folds(students, X, targets, fold, *, classes):
    """Return the scores of students on folds that are dealt."""
    n_classes = targets.shape[1]
    targets = (targets + TRACE) / (1 + n_classes * TRACE)
    losses = {name: np.empty(0) for name in students}
    gaps: dict = {}
    running = list(students)
    for train, test in each_fold(fold):
        X_train, X_test = safe_indexing(X, train), safe_indexing(X, test)
        features: dict = {}
        for name in running:
            proba = _predict(
                clone(students[name]),
                X_train,
                targets[train],
                classes,
                X_test,
                features,
            )
            loss = ((targets[test] - np.nan_to_num(proba)) ** 2).sum(axis=1)
            losses[name] = np.concatenate([losses[name], loss])
        best = min(running, key=lambda name: losses[name].mean())
        for name in running:
            gaps[name] = losses[name] - losses[best]
        running = [name for name in running if not _is_behind(gaps[name])]
    scores = {
        name: float(losses[best].mean() + gap.mean()) for name, gap in gaps.items()
    }
    return dict(sorted(scores.items(), key=lambda item: item[1]))


def _predict(student, X_train, targets, classes, X_test, features):
    """Train on some rows and predict others; pipelines share what they have in common.

    `features` keeps the rows as the leading steps of the pipelines before return them.
    """
    if not isinstance(student, Pipeline):
        fit_student(student, X_train, targets, classes=classes)
        return student_proba(student, X_test, len(classes))
    key = joblib.hash(student.steps[:-1])
    if key not in features:
        fit_student(student, X_train, targets, classes=classes)
        head = student[:-1]
        features[key] = head.transform(X_train), head.transform(X_test)
        return student_proba(student[-1], features[key][1], len(classes))
    Z_train, Z_test = features[key]
    classifier = fit_student(student[-1], Z_train, targets, classes=classes)
    return student_proba(classifier, Z_test, len(classes))


def _is_behind(gap):
    """Tell whether a difference of losses, row by row, is more than chance."""
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    return gap.mean() > TOLERANCE * error
