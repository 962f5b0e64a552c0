"""Public names that are imported when they are first used (PEP 562)."""

from importlib import import_module

__all__ = ["lazy_names"]


def lazy_names(package, sources, submodules=()):
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    `sources` is a dict of names by the module that defines them; importing that module
    may import torch or another large package.
    """
    modules = {name: module for module, names in sources.items() for name in names}

    def getattr_(name):
        if name in submodules:
            return import_module(f"{package}.{name}")
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(import_module(package), name, value)
        return value

    def dir_():
        return sorted({*vars(import_module(package)), *modules, *submodules})

    return getattr_, dir_
