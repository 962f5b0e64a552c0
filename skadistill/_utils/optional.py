"""Import optional packages, with one message that says how to install them."""

import importlib

__all__ = ["require"]


def require(name, extra):
    """Import a module of an optional package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"importing the optional package {package} failed ({error}); run "
            f'`pip install "skadistill[{extra}]"`.',
            name=package,
        ) from error
