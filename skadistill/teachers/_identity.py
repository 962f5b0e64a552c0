"""Who a teacher is, so that a ledger never answers for somebody else.

An identity errs on the side of paying again: where content cannot be read, the
object itself, for as long as it lives in this process, is the identity.
"""

import inspect
import types
import uuid
import weakref
from hashlib import blake2b

import joblib
import numpy as np

from skadistill._rows._keys import row_keys

__all__ = [
    "classes_suffix",
    "content_identity",
    "function_identity",
    "given_identity",
    "object_token",
    "training_identity",
]

_TOKENS: dict[int, tuple[weakref.ref, str]] = {}
_FIRST_CONTENT: dict[int, tuple[weakref.ref, str]] = {}


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
    >>> from skadistill.teachers._identity import given_identity
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
        Empty where nothing was declared.

    Examples
    --------
    >>> from skadistill.teachers._identity import classes_suffix
    >>> classes_suffix(["no", "yes"])
    ":['no', 'yes']"
    """
    return "" if classes is None else f":{np.asarray(classes).tolist()!r}"


def object_token(obj):
    """Give an object a random name that it keeps while it lives in this process.

    Parameters
    ----------
    obj : object
        Anything; where it cannot be weakly referenced the token is new each time.

    Returns
    -------
    token : str
        32 hexadecimal digits.

    Examples
    --------
    >>> from skadistill.teachers._identity import object_token
    >>> f, g = (lambda X: X), (lambda X: X)
    >>> object_token(f) == object_token(f), object_token(f) == object_token(g)
    (True, False)
    """
    return _remembered(_TOKENS, obj, lambda: uuid.uuid4().hex)


def _first_content(obj):
    """Return the content identity that an object had when it was first seen."""
    return _remembered(_FIRST_CONTENT, obj, lambda: content_identity(obj))


def _remembered(table, obj, make):
    """Keep one string for each living object."""
    address = id(obj)
    known = table.get(address)
    if known is not None and known[0]() is obj:
        return known[1]
    text = make()
    try:
        # The address is used again after the object died; the reference tells.
        reference = weakref.ref(obj, lambda _: table.pop(address, None))
    except TypeError:
        return text
    table[address] = (reference, text)
    return text


def content_identity(obj):
    """Hash an object's content; where that fails, name the object itself.

    Parameters
    ----------
    obj : object
        An estimator, or an instance that can be called.

    Returns
    -------
    identity : str
        `joblib.hash` of the object, or ``object-`` and a token.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.teachers._identity import content_identity
    >>> a, b = LogisticRegression(C=1.0), LogisticRegression(C=1.0)
    >>> content_identity(a) == content_identity(b)
    True
    """
    try:
        return joblib.hash(obj)
    except Exception:  # pickling can fail in any way its author liked
        return f"object-{object_token(obj)}"


def function_identity(function):
    """Hash what a function computes, as far as its code tells.

    A plain function is its module, qualified name, bytecode, constants and
    defaults, and the content of the global variables it names that have a
    ``predict`` (a model fitted again is another teacher). Other globals, and what
    the functions it calls do, are not seen: give a `name` and `version` when they
    matter. A closure may hold anything and change at any time, so a function with
    one is identified by the object itself. A bound method is its owner's content.
    A callable instance is its content when it was first asked in this process:
    clients count requests and fill caches, and are the same teacher still. Give one
    that learns between fits a new `version` each time.

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
    >>> from skadistill.teachers._identity import function_identity
    >>> def teacher(X):
    ...     return X
    >>> function_identity(teacher) == function_identity(teacher)
    True
    """
    if inspect.ismethod(function):
        owner = content_identity(function.__self__)
        return f"{function.__func__.__qualname__}:{owner}"
    if not isinstance(function, types.FunctionType):
        return f"{type(function).__qualname__}:{_first_content(function)}"
    where = f"{function.__module__}.{function.__qualname__}"
    if function.__closure__:
        return f"{where}:object-{object_token(function)}"
    h = blake2b(digest_size=16)
    h.update(repr(_code(function.__code__)).encode("utf-8", "surrogatepass"))
    defaults = (function.__defaults__, function.__kwdefaults__)
    if defaults != (None, None):
        h.update(content_identity(defaults).encode())
    for name in sorted(_global_names(function.__code__)):
        value = function.__globals__.get(name)
        if hasattr(value, "predict") and not inspect.isclass(value):
            h.update(f"{name}={content_identity(value)}".encode())
    return f"{where}:{h.hexdigest()}"


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
    >>> from skadistill.teachers._identity import training_identity
    >>> model, X = LogisticRegression(), [[0.0], [1.0]]
    >>> a = training_identity(model, X, [0, 1], {})
    >>> a == training_identity(model, X, [0, 1], {}), a == training_identity(
    ...     model, X, [1, 0], {}
    ... )
    (True, False)
    """
    try:
        rows = row_keys(X).tobytes()
    except Exception:  # rows only the estimator understands
        rows = content_identity(X).encode()
    h = blake2b(rows, digest_size=16)
    labels = np.asarray(y)
    h.update(joblib.hash(labels.tolist()).encode())
    h.update(content_identity(fit_params).encode())
    h.update(content_identity(estimator).encode())
    return f"{type(estimator).__qualname__}:{h.hexdigest()}"


def _code(code):
    """Describe a code object by what it does, whatever the file and the line."""
    constants = tuple(_constant(c) for c in code.co_consts)
    return (code.co_code, constants, code.co_names, code.co_varnames)


def _constant(value):
    """Describe a constant; sets are written in an order that hashing cannot shake."""
    if isinstance(value, types.CodeType):
        return _code(value)
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(repr(_constant(v)) for v in value))
    if isinstance(value, tuple):
        return tuple(_constant(v) for v in value)
    return (type(value).__name__, repr(value))


def _global_names(code):
    """List the names a code object and those inside it look up."""
    names = set(code.co_names)
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            names |= _global_names(value)
    return names
