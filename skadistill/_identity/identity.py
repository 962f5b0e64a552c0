"""Who a teacher is, so that a ledger knows it again and never answers for another.

An identity errs on the side of paying again. If contents cannot be read, the identity
ends with the process, and a ledger that lives longer refuses it before anything is
paid.
"""

import re
from hashlib import blake2b

import numpy as np

from skadistill._identity.contents import Contents
from skadistill._rows._keys import row_keys
from skadistill._utils.display import qualified_name
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
    """Join a name and a version given by the user."""
    name = name.replace("%", "%25").replace("/", "%2F")
    return name if version is None else f"{name}/{version}"


def classes_suffix(classes):
    """Write declared classes for an identity: they say what the columns mean."""
    return "" if classes is None else f":{np.asarray(classes).tolist()!r}"


def content_identity(*objects):
    """Digest the contents of objects."""
    contents = Contents()
    digest = contents.digest(*objects)
    if contents.unreadable:
        return f"process-{digest}-{contents.unreadable[0]}"
    return digest


def function_identity(function):
    """Name a function and digest what it computes."""
    return f"{qualified_name(function)}:{content_identity(function)}"


def check_identity(identity, ledger, who):
    """Refuse an identity that ends before the ledger does."""
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
    """
    try:
        rows = blake2b(row_keys(X).tobytes(), digest_size=16).digest()
    except Exception:  # rows only the estimator understands
        rows = X
    labels = np.asarray(y).tolist()
    digest = content_identity(rows, labels, fit_params, estimator)
    return f"{type(estimator).__qualname__}:{digest}"
