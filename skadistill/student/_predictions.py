"""What students predict, in the shapes that everybody expects."""

import numpy as np

from skadistill.exceptions import StudentError

__all__ = ["student_classes", "student_proba"]


def student_proba(student, X, n_classes):
    """Predict probabilities with any student."""
    proba = np.asarray(student.predict_proba(X))
    fits = proba.ndim == 2 and proba.shape[1] == n_classes
    if not fits or proba.dtype.kind not in "fiu":
        raise StudentError(
            f"predict_proba of the student {type(student).__name__} returned an array "
            f"of shape {proba.shape} and type {proba.dtype} for {n_classes} classes; "
            "return one column of probabilities per class."
        )
    return proba


def student_classes(student, X, classes):
    """Predict classes with any student."""
    if not hasattr(student, "predict"):
        return classes[student_proba(student, X, len(classes)).argmax(axis=1)]
    y = np.asarray(student.predict(X))
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim == 2 and y.shape[1] == len(classes) and y.dtype.kind == "f":
        return classes[y.argmax(axis=1)]
    if y.ndim != 1:
        raise StudentError(
            f"predict of the student {type(student).__name__} returned an array of "
            f"shape {y.shape}; return one class per row."
        )
    return y
