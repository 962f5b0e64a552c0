"""Digest what an object contains, so that equal contents give equal digests anywhere.

A pickle shows how an object is laid out: shared references, padding bytes, memory
addresses. A digest of contents shows none of these.

=======================  =========================================================
object                   what counts
=======================  =========================================================
array, tensor            dtype, shape and values, field by field
container                items; a set has no order
function                 bytecode, constants, defaults, the values in its closure,
                         and the global variables that it names, recursively
class                    bases, methods and attributes
instance                 class and attributes, without those that answering writes
                         (counters, caches)
module of the user       the attributes named; all of them if it is passed around
installed function       qualified name and the package's version
installed class          qualified name
fitted estimator         class, parameters and fitted attributes, without what does
                         not change an answer, such as ``n_jobs``
=======================  =========================================================

A lock changes no answer and counts by its type. Sockets, generators and clients have no
contents that can be read: each gets a random token that it keeps while it lives.
"""

import asyncio
import copyreg
import enum
import functools
import inspect
import struct
import sys
import threading
import types
import uuid
import weakref
from collections.abc import MutableMapping, MutableSequence, MutableSet
from typing import Any

from sklearn.base import BaseEstimator

from skadistill._identity.code import (
    attributes_written,
    describe_code,
    imported_module,
    is_users,
    used_by,
    version_of,
)
from skadistill._identity.values import (
    hashed,
    is_net,
    prefixed,
    read_value,
    relevant,
)
from skadistill._utils.display import qualified_name

__all__ = ["Contents", "object_token"]

#: The methods that answer; what they write to their object is not its identity.
_ANSWERING = ("__call__", "predict_proba", "decision_function", "predict", "transform")

#: What `append` and its like can make grow.
_CONTAINERS = (MutableMapping, MutableSequence, MutableSet)

#: What only makes threads and tasks wait; all that counts is that it is there.
_LOCKS = (
    *(type(threading.Lock()), type(threading.RLock()), threading.Barrier),
    *(threading.Condition, threading.Event, threading.Semaphore),
    *(asyncio.Condition, asyncio.Event, asyncio.Lock, asyncio.Semaphore),
)

#: Attributes of a class that the language keeps for itself.
_MACHINERY = (types.GetSetDescriptorType, types.MemberDescriptorType)

_TOKENS: dict[int, tuple[Any, str]] = {}


def object_token(obj):
    """Give an object a random name that it keeps while it lives in this process."""
    address = id(obj)
    known = _TOKENS.get(address)
    if known is not None and known[0]() is obj:
        return known[1]
    token = uuid.uuid4().hex
    reference: Any
    try:
        # The address is used again after the object died; the reference tells.
        reference = weakref.ref(obj, lambda _: _TOKENS.pop(address, None))
    except TypeError:
        reference = functools.partial(_same, obj)
    _TOKENS[address] = (reference, token)
    return token


def _same(obj):
    """Return the object: a reference that keeps it alive."""
    return obj


class Contents:
    """Digest objects by content."""

    def __init__(self):
        self.unreadable: list[str] = []
        self._known: dict[int, tuple[Any, bytes]] = {}
        self._open: dict[int, int] = {}
        # Global variables wait until everything that might write them was read.
        self._waiting: dict[tuple[int, str], tuple[bytes, Any]] = {}
        self._seen_globals: set[tuple[int, str]] = set()
        self._written_globals: set[tuple[int, str]] = set()
        self._written: dict[int, set[str]] = {}
        self._asked: dict[int, set[str]] = {}

    def digest(self, *objects):
        """Return a digest of objects and of everything they depend on."""
        try:
            parts = b"".join(map(self._encode, objects))
            return hashed(parts + self._global_variables()).hex()
        except Exception:  # reading can fail in any way the object's author liked
            return hashed(b"".join(map(self._unreadable, objects))).hex()

    def _global_variables(self):
        """Encode the global variables that functions named, in the order of names."""
        found: dict[tuple[int, str], bytes] = {}
        while self._waiting:
            # Functions first: what they write is a cache or a counter, not contents.
            key = next(
                (k for k, (_, v) in self._waiting.items() if callable(v)),
                next(iter(self._waiting)),
            )
            label, value = self._waiting.pop(key)
            if key not in self._written_globals:
                found[key] = prefixed(label) + self._encode(value)
        return b"".join(
            sorted(v for k, v in found.items() if k not in self._written_globals)
        )

    def _encode(self, obj):
        """Return bytes that equal contents share: short values, or a digest."""
        short = _SHORT.get(type(obj))
        if short is not None:
            return short(obj)
        address = id(obj)
        known = self._known.get(address)
        if known is not None:
            return known[1]
        if address in self._open:  # a cycle: say how far up it leads
            return b"^%d;" % (len(self._open) - self._open[address])
        self._open[address] = len(self._open)
        try:
            code = b"#" + hashed(self._parts(obj))
        finally:
            del self._open[address]
        # With the object, for its address must not be used again meanwhile.
        self._known[address] = obj, code
        return code

    def _parts(self, obj):
        """Choose how to read an object."""
        kind = type(obj)
        read = _READERS.get(kind)
        if read is not None:
            return read(self, obj)
        if isinstance(obj, type):
            return self._class(obj)
        if isinstance(obj, enum.Enum):
            return b"member" + self._encode(kind) + self._encode(obj.name)
        if isinstance(obj, _LOCKS):
            return b"lock" + kind.__qualname__.encode()
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.nn.Module):
            return self._module(obj, vars(torch.nn.Module()))
        wrapped = getattr(obj, "__dict__", {}).get("__wrapped__")
        if wrapped is not None and not is_users(kind.__module__):
            return b"wrapped" + self._encode(wrapped)  # functools.lru_cache, wrapt
        parts = read_value(obj, self._encode)
        return self._instance(obj) if parts is None else parts

    def _list(self, values):
        return type(values).__name__.encode() + b"".join(map(self._encode, values))

    def _set(self, values):
        return type(values).__name__.encode() + b"".join(
            sorted(map(self._encode, values))
        )

    def _dict(self, items):
        encode = self._encode
        return b"dict" + b"".join([encode(k) + encode(v) for k, v in items.items()])

    def _attributes(self, attributes):
        """Encode attributes by name: the order in which they were set is chance."""
        encode = self._encode
        return b"".join([_text(k) + encode(attributes[k]) for k in sorted(attributes)])

    def _module(self, module, machinery):
        """Encode a torch module: weights, submodules and other attributes."""
        state = {
            name: value
            for name, value in vars(module).items()
            if name not in machinery or (name.endswith("_hooks") and value)
        }
        for name in ("_parameters", "_buffers", "_modules"):
            state[name] = dict(getattr(module, name))
        return b"module" + self._encode(type(module)) + self._attributes(state)

    def _function(self, function):
        """Encode what a function does and everything it reads."""
        wrapped = getattr(function, "__wrapped__", None)
        code, where = function.__code__, function.__globals__.get("__name__") or ""
        users = is_users(where)
        if not users:
            name = f"{where}.{code.co_qualname} {version_of(where)}".encode()
            if "<" not in code.co_qualname:
                return b"installed" + name
            if wrapped is not None:
                return b"decorated" + name + self._encode(wrapped)
        used = used_by(code)
        cells = dict(
            zip(code.co_freevars, function.__closure__ or (), strict=True),
        )
        closure = {}
        for name, cell in cells.items():
            try:
                value = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            grows = ("free", name) in used.grows and isinstance(value, _CONTAINERS)
            if not grows and ("free", name) not in used.writes:
                closure[name] = value
        own = {k: v for k, v in vars(function).items() if k not in used.attributes}
        self._note_attributes(used, closure, function.__globals__)
        if users:
            self._want_globals(used, function.__globals__, where)
        return (
            b"function"
            + self._code(code)
            + self._encode(function.__defaults__)
            + self._encode(function.__kwdefaults__)
            + self._attributes(closure)
            + self._attributes(own)
        )

    def _note_attributes(self, used, closure, namespace):
        """Note which attributes of variables a function calls or writes."""
        for notes, paths in ((self._written, used.writes), (self._asked, used.reads)):
            for kind, name, *attributes in paths:
                owner = (closure if kind == "free" else namespace).get(name)
                if len(attributes) == 1 and kind != "local" and owner is not None:
                    notes.setdefault(id(owner), set()).add(attributes[0])

    def _want_globals(self, used, namespace, where):
        """Queue the global variables that a function names and does not write."""
        for path in used.writes | used.grows:
            grows = isinstance(namespace.get(path[1]), _CONTAINERS)
            written = path in used.writes or grows
            if written and path[0] == "global" and len(path) == 2:
                self._written_globals.add((id(namespace), path[1]))
        for path in sorted(used.reads):
            if path[0] == "global" and path[1] in namespace:
                self._want(where, namespace, path[1:])
        for level, name, attributes in used.imports:
            name, module = imported_module(level, name, namespace)
            for attribute in attributes or (None,):
                self._want_from(module, name, [attribute] if attribute else [])

    def _want(self, where, namespace, path):
        """Queue one global variable; of a module, what is named of it."""
        name, *rest = path
        value = namespace[name]
        if isinstance(value, types.ModuleType):
            self._want_from(value, value.__name__, rest)
            return
        key = (id(namespace), name)
        if key not in self._seen_globals:
            self._seen_globals.add(key)
            self._waiting[key] = f"{_main(where)}.{name}".encode(), value

    def _want_from(self, module, name, path):
        """Queue what a function names of a module; of a whole module, all of it."""
        if module is None or not is_users(name):
            label = f"{name}.{'.'.join(path[:1])} {version_of(name)}".encode()
            key = (0, label.decode())
            if key not in self._seen_globals:
                self._seen_globals.add(key)
                self._waiting[key] = label, None
            return
        names = path[:1] or [n for n in vars(module) if not n.startswith("__")]
        if not path and (id(module), "") in self._seen_globals:
            return  # modules that import each other
        if not path:
            self._seen_globals.add((id(module), ""))
        for attribute in names:
            if attribute in vars(module) and attribute not in self._written.get(
                id(module), ()
            ):
                self._want(name, vars(module), [attribute, *path[1:]])

    def _code(self, code):
        """Encode what code does, whatever the file and the line."""
        plain, constants = describe_code(code)
        return b"code" + self._encode(plain) + self._list(list(constants))

    def _method(self, method):
        """Encode a bound method: the function, and its object's contents."""
        owner = method.__self__
        self._asked.setdefault(id(owner), set()).add(method.__func__.__name__)
        return b"method" + self._encode(method.__func__) + self._encode(owner)

    def _builtin(self, function):
        """Encode a compiled function, by name, or a bound one with its object."""
        owner = getattr(function, "__self__", None)
        module = function.__module__ or "builtins"
        name = f"builtin {module}.{function.__qualname__} {version_of(module)}".encode()
        if owner is None or isinstance(owner, types.ModuleType):
            return name
        return name + self._encode(owner)

    def _class(self, cls):
        """Encode a class: by name if installed, else by what it defines."""
        name = f"class {_main(cls.__module__)}.{cls.__qualname__}".encode()
        if not is_users(cls.__module__):
            return name
        if issubclass(cls, enum.Enum):
            return name + self._dict({m.name: m.value for m in cls})
        kept = {}
        for attribute, value in vars(cls).items():
            dunder = attribute.startswith("__") and attribute.endswith("__")
            if isinstance(value, _MACHINERY) or attribute == "_abc_impl":
                continue
            if not dunder or attribute == "__annotations__" or inspect.isroutine(value):
                kept[attribute] = value
        if hasattr(cls, "model_json_schema"):  # a pydantic model is its schema
            kept["model_json_schema"] = cls.model_json_schema()
        written = self._written.get(id(cls), ())
        kept = {k: v for k, v in kept.items() if k not in written}
        return name + self._list(list(cls.__bases__)) + self._attributes(kept)

    def _instance(self, obj):
        """Encode an instance: its class, and its state without what answering writes.

        State is what a pickle would keep, so that a class that drops its client in
        ``__getstate__`` can be read.
        """
        kind = type(obj)
        getstate = getattr(kind, "__getstate__", None)
        if is_net(kind) or getstate is getattr(BaseEstimator, "__getstate__", 0):
            return b"instance" + self._encode(kind) + self._state(obj, vars(obj))
        try:
            registered = copyreg.dispatch_table.get(kind)  # patterns of `re`
            reduced = registered(obj) if registered else obj.__reduce_ex__(4)
        except Exception:  # a socket, a generator, a client
            return self._unreadable(obj)
        if isinstance(reduced, str):
            return f"global {kind.__module__}.{reduced}".encode()
        make, arguments, state, *items = (*reduced, None, None, None, None)[:5]
        parts = b"instance" + self._encode(kind)
        if make.__module__ != "copyreg" or len(arguments) > 1:
            # By name: an upgrade of the package alone does not change what is kept.
            parts += qualified_name(make).encode() + self._list(list(arguments))
        states = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in states:
            if part is None:  # no attributes, or none yet
                continue
            if isinstance(part, dict) and all(isinstance(k, str) for k in part):
                parts += self._state(obj, part)
            else:
                parts += self._encode(part)
        for item in items:
            if item is not None:
                parts += self._list(list(item))
        return parts

    def _state(self, obj, state):
        """Encode attributes without caches, counters and what changes no answer."""
        kind = type(obj)
        users = is_users(kind.__module__)
        left_out = set(self._written.get(id(obj), ()))
        if users:
            asked = {*_ANSWERING, *self._asked.get(id(obj), ())}
            writes, grows = attributes_written(kind, asked)
            left_out |= writes
            left_out |= {k for k in grows if isinstance(state.get(k), _CONTAINERS)}
        kept = relevant(obj, state, users)
        return self._attributes({k: v for k, v in kept.items() if k not in left_out})

    def _unreadable(self, obj):
        """Name an object whose contents cannot be read."""
        self.unreadable.append(f"{type(obj).__module__}.{type(obj).__qualname__}")
        return b"object" + object_token(obj).encode()

    def _partial(self, partial):
        return b"partial" + self._list([partial.func, partial.args, partial.keywords])

    def _property(self, prop):
        return b"property" + self._list([prop.fget, prop.fset, prop.fdel])

    def _held_function(self, holder):
        """Encode a static or class method, or a cached property."""
        function = getattr(holder, "__func__", None) or holder.func
        return type(holder).__name__.encode() + self._encode(function)

    def _whole_module(self, module):
        """Encode a module that is passed around: all of it, if it is the user's."""
        self._want_from(module, module.__name__, [])
        return b"module" + _main(module.__name__).encode()


_READERS = {
    list: Contents._list,
    tuple: Contents._list,
    set: Contents._set,
    frozenset: Contents._set,
    dict: Contents._dict,
    types.MappingProxyType: Contents._dict,
    types.FunctionType: Contents._function,
    types.MethodType: Contents._method,
    types.BuiltinFunctionType: Contents._builtin,
    types.CodeType: Contents._code,
    types.ModuleType: Contents._whole_module,
    functools.partial: Contents._partial,
    functools.cached_property: Contents._held_function,
    staticmethod: Contents._held_function,
    classmethod: Contents._held_function,
    property: Contents._property,
}


def _text(text):
    """Encode a text; lone surrogates included."""
    data = text.encode("utf-8", "surrogatepass")
    return b"s%d:" % len(data) + data


_SHORT = {
    type(None): lambda _: b"N;",
    type(...): lambda _: b"...;",
    type(NotImplemented): lambda _: b"NI;",
    bool: lambda value: b"T;" if value else b"F;",
    int: lambda value: b"i%d;" % value,
    float: lambda value: b"f" + struct.pack("<d", value),
    complex: lambda value: b"c" + struct.pack("<dd", value.real, value.imag),
    str: _text,
    bytes: lambda value: b"b" + prefixed(value),
    bytearray: lambda value: b"ba" + prefixed(bytes(value)),
}


def _main(name):
    """Name the main module as its own process does."""
    return "__main__" if name == "__mp_main__" else name
