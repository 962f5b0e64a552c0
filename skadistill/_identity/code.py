"""Read from bytecode what a function uses, and what it writes while it answers.

What a function writes (a counter, a cache, a client made at the first call) is not
what it is: an identity that held it would change with every answer.
"""

import dis
import functools
import importlib
import importlib.util
import inspect
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "attributes_written",
    "describe_code",
    "imported_module",
    "is_users",
    "used_by",
    "version_of",
]

_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_ATTRIBUTE_STORES = {"STORE_ATTR", "DELETE_ATTR"}
_ITEM_STORES = {"STORE_SUBSCR", "DELETE_SUBSCR"}
_MUTATORS = {
    *("append", "appendleft", "extend", "insert", "add", "update", "setdefault"),
    *("pop", "popitem", "popleft", "remove", "discard", "clear", "move_to_end"),
}


class Used(NamedTuple):
    """What a function uses; a path is a kind, a variable's name and attributes.

    The kind is "global", "free" (in the closure) or "local".
    """

    reads: frozenset
    writes: frozenset
    grows: frozenset  # written if they are containers: `append` is any method's name
    imports: tuple  # (level, module, names)
    attributes: frozenset  # every attribute's name that is written


@functools.lru_cache(maxsize=4096)
def used_by(code):
    """List what code uses, and the code inside it."""
    steps = list(dis.get_instructions(code))
    reads, writes, grows, imports, attributes = set(), set(), set(), [], set()
    starts: dict[tuple, tuple] = {}
    for i, step in enumerate(steps):
        path = _path_at(code, steps, i)
        if path is not None:
            reads.add(path)
            starts.setdefault(_start(step), path)
            if path[-1] in _MUTATORS and len(path) > 2:
                grows.add(path[:-1])
            if i and steps[i - 1].argval == "next":
                writes.add(path)
        elif step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            writes.add(("global", step.argval))
        elif step.opname in ("STORE_DEREF", "DELETE_DEREF"):
            writes.add((_scope(code, step.argval), step.argval))
        elif step.opname == "IMPORT_NAME":
            level, names = (s.argval for s in steps[i - 2 : i])
            imports.append((level, step.argval, names or ()))
    for step in steps:
        if step.opname in _ATTRIBUTE_STORES:
            attributes.add(step.argval)
        # An assignment begins where the variable that it changes is loaded.
        path = starts.get(_start(step))
        if path is not None and step.opname in _ATTRIBUTE_STORES:
            writes.add((*path, step.argval))
        elif path is not None and step.opname in _ITEM_STORES:
            writes.add(path)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            more = used_by(inner)
            reads |= _seen_from(code, more.reads)
            writes |= _seen_from(code, more.writes)
            grows |= _seen_from(code, more.grows)
            imports += more.imports
            attributes |= more.attributes
    return Used(
        frozenset(reads),
        frozenset(writes),
        frozenset(grows),
        tuple(imports),
        frozenset(attributes),
    )


def _path_at(code, steps, i):
    """Return the path that is loaded from an instruction on; None if none is."""
    name, kind = steps[i].argval, steps[i].opname
    if kind in ("LOAD_GLOBAL", "LOAD_NAME"):
        path = ["global", name]
    elif kind in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
        path = [_scope(code, name), name]
    elif kind.startswith("LOAD_FAST"):
        # Newer bytecode loads two at once; what follows concerns the second.
        path = ["local", name[-1] if isinstance(name, tuple) else name]
    else:
        return None
    for step in steps[i + 1 :]:
        if step.opname not in _ATTRIBUTES:
            break
        path.append(step.argval)
    return tuple(path)


def _scope(code, name):
    """Tell a variable of the closure from one that is shared with inner functions."""
    return "free" if name in code.co_freevars else "local"


def _start(step):
    """Return the position in the source at which an instruction's expression begins."""
    at = step.positions
    if at is None or at.lineno is None or at.col_offset is None:
        return id(step)  # compiled without positions: like no other place
    return at.lineno, at.col_offset


def _seen_from(code, paths):
    """Translate paths of an inner function into those of the function around it."""
    return {
        (_scope(code, path[1]), *path[1:]) if path[0] == "free" else path
        for path in paths
        if path[0] != "local"
    }


def attributes_written(cls, methods):
    """Name the attributes that methods write to their own object."""
    writes: set[str] = set()
    grows: set[str] = set()
    todo, done = list(methods), set()
    classes = [c for c in cls.__mro__ if is_users(c.__module__)]
    for c in classes:
        for name, value in vars(c).items():
            if isinstance(value, functools.cached_property):
                writes.add(name)
    while todo and classes:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        # A method may call the one that it overrides.
        for function in (_function_in(c, name) for c in classes):
            if function is None or not function.__code__.co_varnames:
                continue
            used = used_by(function.__code__)
            me = function.__code__.co_varnames[0]
            writes |= _own(used.writes, me)
            grows |= _own(used.grows, me)
            todo += _own(used.reads, me)
    return writes, grows


def _own(paths, me):
    """Return the first attribute of paths that start at the object itself."""
    return {path[2] for path in paths if path[:2] == ("local", me) and len(path) > 2}


def _function_in(cls, name):
    """Return the function that a class defines under a name; None if none."""
    value = vars(cls).get(name)
    if isinstance(value, property):
        value = value.fget
    value = inspect.unwrap(value) if callable(value) else None
    return value if isinstance(value, types.FunctionType) else None


def describe_code(code):
    """Describe what code does, whatever its file and its lines."""
    return (
        code.co_code,
        code.co_exceptiontable,
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_flags,
    ), code.co_consts


def imported_module(level, name, namespace):
    """Import a module of the user that a function imports when it is called."""
    try:
        dotted = "." * level + name
        name = importlib.util.resolve_name(dotted, namespace.get("__package__") or "")
        return name, importlib.import_module(name) if is_users(name) else None
    except Exception:  # the function itself will say what is wrong with it
        return name, None


@functools.cache
def is_users(name):
    """Tell whether a module is the user's own, rather than installed."""
    top = name.partition(".")[0]
    if top in ("__main__", "__mp_main__"):
        return True
    if top == "skadistill" or top in sys.stdlib_module_names:
        return False
    module = sys.modules.get(name) or sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if module is None:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        file = None if spec is None else spec.origin
    if file is None:
        return True
    if {"site-packages", "dist-packages"} & {*Path(file).parts}:
        return False
    file = Path(getattr(sys.modules.get(top), "__file__", None) or file)
    folder = file.parents[1] if file.stem == "__init__" else file.parent
    return top not in _installed_into(str(folder))


@functools.cache
def _installed_into(folder):
    """Return the modules that pip has put into a folder.

    Only wheels leave a RECORD. A project that is developed in this folder has none,
    whether it is installed in editable mode or not at all.
    """
    return {
        file.parts[0].partition(".")[0]
        for distribution in metadata.distributions(path=[folder])
        if distribution.read_text("RECORD")
        for file in distribution.files or ()
    }


@functools.cache
def version_of(name):
    """Return the version of the package that a module belongs to."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return metadata.version(top)
    except (metadata.PackageNotFoundError, ValueError):
        return ""
