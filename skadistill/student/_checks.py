"""What a student accepts and returns: tables, targets, weights, probabilities."""

import numpy as np
from sklearn.utils.validation import check_array, column_or_1d

from skadistill._utils.compat import check_sample_weight
from skadistill.exceptions import ObjectiveError, StudentError

__all__ = [
    "check_loss_is_free",
    "check_new_weights",
    "check_same_classes",
    "check_same_subclasses",
    "check_soft_targets",
    "check_weights",
    "is_clean_table",
    "label_positions",
    "one_hot",
    "student_classes",
    "student_proba",
]


def check_soft_targets(targets, classes):
    """Validate rows of probabilities against the classes they are about."""
    classes = column_or_1d(np.asarray(classes))
    targets = check_array(targets, dtype=[np.float64, np.float32], input_name="targets")
    if not np.array_equal(np.unique(classes), classes):
        raise ValueError(
            f"classes must be sorted and distinct, got {classes.tolist()}; reorder "
            "them and the columns of targets together."
        )
    if targets.shape[1] != len(classes):
        raise ValueError(
            f"targets must have one column per class, got {targets.shape[1]} columns "
            f"for {len(classes)} classes; pass probabilities for "
            f"{classes.tolist()}."
        )
    if targets.min() < 0:
        raise ValueError(
            f"targets must not be negative, got {targets.min():g}; pass probabilities."
        )
    total = targets.sum(axis=1, dtype=np.float64)
    off = np.abs(total - 1)
    if off.max() > 1e-3:
        row = int(off.argmax())
        raise ValueError(
            f"rows of targets must sum to 1, got {total[row]:g} in row {row}; divide "
            "each row by its sum."
        )
    return (targets / total[:, None]).astype(np.float32), classes


def check_same_classes(classes, known, remedy):
    """Refuse to go on training toward other classes than before."""
    if not np.array_equal(classes, known):
        raise ValueError(
            "classes must stay the same when training continues, got "
            f"{classes.tolist()} after {known.tolist()}; {remedy}."
        )


def check_same_subclasses(lesson, n_subclasses):
    """Refuse to go on training toward another number of outputs per class."""
    if lesson is None and n_subclasses > 1:
        raise ValueError(
            f"the module has {n_subclasses} outputs per class, which labels alone "
            "cannot go on training; call fit_lesson, or fit a fresh clone."
        )
    if lesson is not None and lesson.n_subclasses != n_subclasses:
        raise ValueError(
            "the number of pseudo-subclasses must stay the same when training "
            f"continues, got {lesson.n_subclasses} after {n_subclasses}; fit a "
            "fresh clone."
        )


def check_new_weights(weights, n_samples):
    """Refuse weights that a student cannot be trained with."""
    fits = weights.shape == (n_samples,) and np.isfinite(weights).all()
    if fits and weights.min() >= 0 and weights.max() > 0:
        return weights
    got = f"shape {weights.shape}"
    if fits:
        got = f"values from {weights.min():g} to {weights.max():g}"
    raise ObjectiveError(
        f"reweight must return {n_samples} finite weights, none negative and some "
        f"positive, got {got}; fix the objective."
    )


def check_loss_is_free(criterion, predict_nonlinearity):
    """Refuse what an objective's own loss would silently replace or misread."""
    from torch import nn

    from skadistill.student._module import SoftCrossEntropy

    if criterion not in (SoftCrossEntropy, nn.CrossEntropyLoss):
        raise ValueError(
            f"criterion is {criterion!r}, but the objective has its own loss; "
            "leave the criterion out, or use the objective 'soft'."
        )
    if predict_nonlinearity != "auto":
        raise ValueError(
            f"predict_nonlinearity is {predict_nonlinearity!r}, but the objective's "
            "loss reads logits; let the module return logits and leave "
            "predict_nonlinearity out."
        )


def label_positions(y, classes):
    """Return the position of each label among the classes, refusing others."""
    unseen = np.setdiff1d(y, classes)
    if len(unseen):
        raise ValueError(
            f"y holds classes {unseen.tolist()} that are not among "
            f"{classes.tolist()}; name all classes at the first call or fit a "
            "fresh clone."
        )
    return np.searchsorted(classes, y)


def one_hot(positions, n_classes):
    """Return rows of zeros with a one at each position, as float32."""
    import torch

    return torch.nn.functional.one_hot(positions, n_classes).to(torch.float32)


def check_weights(sample_weight, X):
    """Validate weights against the rows of `X`; None stays None."""
    if sample_weight is None:
        return None
    if not np.any(np.asarray(sample_weight)):
        # Before scikit-learn, some versions of which say less.
        raise ValueError(
            "Sample weights must contain at least one non-zero number, got "
            f"{np.size(sample_weight)} zeros; give at least one row a weight."
        )
    weights = check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weights < 0).any():
        raise ValueError(
            "Negative values in data passed to sample_weight: the smallest is "
            f"{weights.min():g}; pass 0 or more, as often as each row counts."
        )
    return weights


def is_clean_table(X, n_features):
    """Tell whether full validation would return this very array in silence.

    scikit-learn's takes as long as a thousand rows through the default module,
    which a plain torch loop does not pay.
    """
    if not (
        type(X) is np.ndarray
        and X.dtype in (np.float32, np.float64)
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == n_features
    ):
        return False
    # NaN and infinity survive a sum; where a sum of finite numbers overflows,
    # the full check has the last word.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(X.sum()))


def student_proba(student, X, n_classes):
    """Predict probabilities with any student."""
    predict = getattr(student, "predict_mass", student.predict_proba)
    proba = np.asarray(predict(X))
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
    if hasattr(student, "predict_mass"):
        return y  # an indicator matrix
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
