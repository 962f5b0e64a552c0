"""Who a teacher is, so that a ledger knows it again and never answers for another.

An identity errs on the side of paying again. If contents cannot be read, the identity
ends with the process, and a ledger that lives longer refuses it before anything is
paid.
"""

import re
from hashlib import blake2b

import numpy as np

from skadistill._display import qualified_name
from skadistill._identity.contents import Contents
from skadistill._rows._keys import row_keys
from skadistill.exceptions import TeacherError

__all__ = [
    "check_identity",
    "classes_suffix",
    "content_identity",
    "function_identity",
    "given_identity",
    "training_identity",
]

_IN_PROCESS = re.compile(r"(?:^|:)process-[0-9a-f]{32}-([\w.<>]+)")


def given_identity(name, version):
    """Join a name and a version given by the user.

    Parameters
    ----------
    name : str
        The teacher's name.
    version : str or None
        Its version.

    Returns
    -------
    identity : str
        ``name`` or ``name/version``; a slash inside the name is escaped, so that
        two pairs never give one identity.

    Examples
    --------
    >>> from skadistill._identity.identity import given_identity
    >>> given_identity("big-model", "2024-06")
    'big-model/2024-06'
    """
    name = name.replace("%", "%25").replace("/", "%2F")
    return name if version is None else f"{name}/{version}"


def classes_suffix(classes):
    """Write declared classes for an identity: they say what the columns mean.

    Parameters
    ----------
    classes : array-like of shape (n_classes,) or None
        As declared by the user.

    Returns
    -------
    suffix : str
        Empty if nothing was declared.

    Examples
    --------
    >>> from skadistill._identity.identity import classes_suffix
    >>> classes_suffix(["no", "yes"])
    ":['no', 'yes']"
    """
    return "" if classes is None else f":{np.asarray(classes).tolist()!r}"


def content_identity(*objects):
    """Digest the contents of objects.

    Parameters
    ----------
    *objects : object
        Estimators, functions, plain values.

    Returns
    -------
    identity : str
        32 hexadecimal digits, the same in every process; or ``process-``, digits and
        the type of what could not be read, which mean nothing in another process.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill._identity.identity import content_identity
    >>> a, b = LogisticRegression(C=1.0), LogisticRegression(C=1.0)
    >>> content_identity(a) == content_identity(b)
    True
    """
    contents = Contents()
    digest = contents.digest(*objects)
    if contents.unreadable:
        return f"process-{digest}-{contents.unreadable[0]}"
    return digest


def function_identity(function):
    """Name a function and digest what it computes.

    That is its code, defaults and closure, and the texts, numbers, containers,
    functions and classes of the user's own modules that it names, recursively. See
    :mod:`skadistill._identity.contents` for what counts. What it writes while
    it answers, such as a counter or a cache, does not count: give a teacher that
    learns from being asked a new `version` each time.

    Parameters
    ----------
    function : callable
        The function.

    Returns
    -------
    identity : str
        The same for the same function in another process (with the same Python).

    Examples
    --------
    >>> from skadistill._identity.identity import function_identity
    >>> def teacher(X):
    ...     return X
    >>> function_identity(teacher) == function_identity(teacher)
    True
    """
    return f"{qualified_name(function)}:{content_identity(function)}"


def check_identity(identity, ledger, who):
    """Refuse an identity that ends before the ledger does.

    Parameters
    ----------
    identity : str
        The teacher's identity.
    ledger : BaseLedger or None
        Where its labels would be kept.
    who : str
        What messages call the teacher.

    Raises
    ------
    TeacherError
        If the teacher holds something without readable contents and has no name, and
        the ledger outlives the process: every restart would pay everything again.
    """
    found = _IN_PROCESS.search(identity)
    if found is None or not getattr(ledger, "outlives_process", False):
        return
    raise TeacherError(
        f"{who} holds an object of type {found[1]}, whose contents cannot be read, so "
        f"that the labels kept in {type(ledger).__name__} would be paid again by the "
        "next process; pass name= and version= to the teacher."
    )


def training_identity(estimator, X, y, fit_params):
    """Identify a teacher by its parameters and the rows it is fitted on.

    Two folds never share an identity; two searches' candidates with the same
    teacher on the same fold do.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    X : container of n_samples rows
        Training rows.
    y : array-like of shape (n_samples,)
        Training labels.
    fit_params : dict
        What else is passed to its ``fit``.

    Returns
    -------
    identity : str
        Made of the estimator, the rows, the labels and the parameters.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill._identity.identity import training_identity
    >>> model, X = LogisticRegression(), [[0.0], [1.0]]
    >>> a = training_identity(model, X, [0, 1], {})
    >>> a == training_identity(model, X, [0, 1], {}), a == training_identity(
    ...     model, X, [1, 0], {}
    ... )
    (True, False)
    """
    try:
        rows = blake2b(row_keys(X).tobytes(), digest_size=16).digest()
    except Exception:  # rows only the estimator understands
        rows = X
    labels = np.asarray(y).tolist()
    digest = content_identity(rows, labels, fit_params, estimator)
    return f"{type(estimator).__qualname__}:{digest}"
