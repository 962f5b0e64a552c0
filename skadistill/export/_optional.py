"""Packages that only leaving needs."""

import importlib

__all__ = ["require"]


def require(package, purpose):
    """Import an optional package, or say how to get it.

    Parameters
    ----------
    package : str
        Its name, as imported and as installed.
    purpose : str
        Who needs it, for the message.

    Returns
    -------
    module : module
        The package.

    Raises
    ------
    ImportError
        If it is missing.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package {package.partition('.')[0]}, which is "
            "missing; run `pip install 'skadistill[export]'`."
        ) from error
