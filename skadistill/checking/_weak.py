"""Warn of a teacher that knows nothing, or that is not better than the student."""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix

from skadistill._statistics.checks import is_wrong
from skadistill._statistics.intervals import paired_interval
from skadistill.exceptions import TeacherError, TeacherWarning

__all__ = ["compare_with_students", "warn_if_useless"]

#: Labeled rows below which nothing can be told: of uselessness, and of a difference.
FEWEST_ROWS, FEWEST_COMPARED = 20, 30


def warn_if_useless(teacher, checks, classes, curve=None):
    """Warn of a teacher that knows nothing, or that names its columns wrongly."""
    n_samples, n_classes = checks.n_samples, len(classes)
    if n_samples < FEWEST_ROWS or checks.truth.ndim > 1:
        return
    counts = confusion_matrix(
        checks.truth, checks.proba.argmax(axis=1), labels=np.arange(n_classes)
    )
    n_right, n_largest = int(np.trace(counts)), int(counts.sum(axis=1).max())
    _, columns = linear_sum_assignment(counts, maximize=True)
    n_reordered = int(counts[np.arange(n_classes), columns].sum())
    n_present = np.maximum(counts.sum(axis=1), 1)
    balanced = np.mean(np.diag(counts) / n_present)
    who = f"{teacher.display_name} is right on {n_right} of {n_samples} labeled rows"
    order = classes.tolist()
    if n_reordered >= 0.9 * n_samples > n_right + 0.3 * n_samples:
        # Column j of the answers holds the class to which it is assigned.
        meant = classes[np.argsort(columns)].tolist()
        warnings.warn(
            f"{who}, and would be on {n_reordered} if its columns were {meant}; they "
            f"are read as {order}, so name them with as_teacher(teacher, "
            f"classes={meant}).",
            TeacherWarning,
            stacklevel=2,
        )
    elif n_right <= n_largest and balanced <= 1 / n_classes + 0.05:
        if curve is not None and n_right >= curve.n_student_right:
            return  # these rows are hard
        warnings.warn(
            f"{who}, and always answering the largest class would be on {n_largest}; "
            f"check what the teacher is asked, and that its columns are {order}.",
            TeacherWarning,
            stacklevel=2,
        )


def compare_with_students(teacher, checks, student_proba, on_weak):
    """Tell whether a teacher may be no better than students on the checked rows.

    The students were not trained on these rows. One that looks worse than they do is
    warned of, or refused.
    """
    n_samples = checks.n_samples
    if n_samples < FEWEST_COMPARED:
        return False
    teacher_wrong = checks.wrong
    student_wrong = is_wrong(student_proba, checks.truth)
    worse = checks.n_wrong - int(np.count_nonzero(student_wrong))
    n_different = int(np.count_nonzero(student_wrong != teacher_wrong))
    # If both are alike the difference is the sum of so many fair signs: it exceeds its
    # standard error in 16 % of cases and 1.64 of these in 5 %.
    error = np.sqrt(n_different)
    # A called teacher is checked on rows that are hard for the students.
    if -worse > (0 if teacher.is_fitted else 1.64 * error):
        return False
    if worse > max(error, 2) and on_weak != "ignore":
        low, high = paired_interval(worse, n_different, n_samples)
        n_right = n_samples - checks.n_wrong
        message = (
            f"{teacher.display_name} is right on {n_right} of {n_samples} labeled "
            f"rows, and students trained on the other labeled rows are right on "
            f"{n_right + worse}: it is {100 * worse / n_samples:.1f} points worse "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f}), and its labels may "
            "do more harm than good; use a better teacher, or "
            "teacher_checks=CheckPolicy(on_weak='ignore')."
        )
        if on_weak == "raise" and worse > 1.64 * error:
            raise TeacherError(message)
        warnings.warn(message, TeacherWarning, stacklevel=2)
    return True
