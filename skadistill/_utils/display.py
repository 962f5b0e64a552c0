"""Show what something is called, never what it holds: a client holds keys."""

import functools
import inspect
import re
import sys
import types
from typing import Any

from sklearn.base import BaseEstimator

__all__ = ["HidesContents", "message_of", "qualified_name", "text_of"]

#: What looks like a key in what a client says: a value named as one, a token of the
#: "Authorization" header, a well-known prefix, and a password in a URL.
_SECRET = re.compile(
    r"""
    (?P<name> \b (?: api[-_ ]?key | access[-_]?key | (?:access[-_]?)?token | secret
        | password | passwd | signature | sig ) ["']? \s* [=:] \s* ["']?
        | [?&] key =
        | \b (?: bearer | basic ) \s+ )
    [\w.+/=~-]{6,}
    | (?P<prefix> \b (?: sk | pk | rk | gsk | xai | hf | ghp | AIza | AKIA ) [-_]? )
    (?= [\w-]* \d ) [\w-]{12,}
    | (?P<user> :// [^\s/:@]* : ) [^\s/@]+ (?= @ )
    """,
    re.VERBOSE | re.IGNORECASE,
)

#: Names of settings whose values are not shown, as in ``{"extra_headers": {...}}``.
_SECRET_NAME = re.compile(r"header|key|token|secret|auth|passw|cookie", re.IGNORECASE)
#: Longer texts, such as prompts, are shown as they are.
_LONGEST_SHOWN = 1000


def message_of(error):
    """Write what an error says, without what looks like a key."""
    return _hidden(str(error)).rstrip(".")


def _hidden(text):
    """Hide what looks like a key in a text."""

    def hide(match):
        return "".join(found or "" for found in match.groupdict().values()) + "***"

    return _SECRET.sub(hide, text)


def qualified_name(obj):
    """Name a function, a method, a class or an object without what it holds."""
    while isinstance(obj, functools.partial):
        obj = obj.func
    if isinstance(obj, types.MethodType):
        # Of the object's class: the method may be inherited.
        owner = obj.__self__ if inspect.isclass(obj.__self__) else type(obj.__self__)
        return f"{qualified_name(owner)}.{obj.__name__}"
    if not (inspect.isroutine(obj) or inspect.isclass(obj)):
        obj = type(obj)
    module = getattr(obj, "__module__", None) or "builtins"
    # What a spawned process calls the main module.
    module = "__main__" if module == "__mp_main__" else module
    return f"{module}.{getattr(obj, '__qualname__', obj.__name__)}"


def text_of(obj):
    """Write an object on one line as its repr does, without what it holds."""
    if obj is None or type(obj) in (bool, int, float, str):
        return repr(obj)
    if not isinstance(obj, BaseEstimator):
        return qualified_name(obj)
    text = obj.__repr__(N_CHAR_MAX=sys.maxsize)
    # The printer breaks lines between parameters only, so that reprs are whole.
    for value in obj.get_params(deep=True).values():
        if _holds(value):
            text = text.replace(repr(value), qualified_name(value))
    text = " ".join(text.split())
    return text if len(text) <= 700 else f"{text[:697]}..."


class HidesContents:
    """Print parameters that hold something by name, in texts and in notebooks.

    A mixin for estimators, named before `BaseEstimator`.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether those of estimators among them are returned, too.

        Returns
        -------
        params : dict
            Names and values.
        """
        params = super().get_params(deep=deep)  # type: ignore[misc]
        # scikit-learn prints a nested estimator from its parameters without asking
        # for its repr: the one who asks is all that tells printing from cloning.
        caller = sys._getframe(1)
        if (
            caller.f_globals.get("__name__") == "sklearn.utils._pprint"
            or caller.f_code.co_name == "_get_params_html"
        ):
            return {name: _shown(value) for name, value in params.items()}
        return params


def _shown(value, name=""):
    """Return a parameter as it may be printed: without keys and passwords."""
    if _holds(value):
        return _Name(value)
    if isinstance(value, dict) and name != "classes":
        inside = _SECRET_NAME.search(name) is not None
        return {k: _shown(v, name if inside else str(k)) for k, v in value.items()}
    if type(value) in (list, tuple) and name != "classes":
        return type(value)(_shown(part, name) for part in value)
    if not isinstance(value, str) or len(value) > _LONGEST_SHOWN:
        return value
    if _SECRET_NAME.search(name) and not name.endswith("_env"):
        return "***"
    if "://" in value:  # an address, with a password or a key in its query
        value, mark, _ = re.sub(r"://[^/\s@]*@", "://***@", value).partition("?")
        value += mark and "?***"
    return _hidden(value)


class _Name:
    """Stand for an object whose repr would show what it holds."""

    def __init__(self, obj):
        self.name = qualified_name(obj)

    def __repr__(self):
        return self.name


def _holds(value):
    """Tell whether an object's repr may show keys: a partial, a method, a client."""
    if isinstance(value, type | types.FunctionType | BaseEstimator):
        return False
    return callable(value) or hasattr(value, "predict") or hasattr(value, "ask")
