"""Import optional packages, with one message that says how to install them."""

import importlib

__all__ = ["require"]


def require(name, extra):
    """Import a module of an optional package.

    Parameters
    ----------
    name : str
        Full name of the module, for example ``"matplotlib.pyplot"``.
    extra : str
        The extra of skadistill that installs its package.

    Returns
    -------
    module : module
        The imported module.

    Raises
    ------
    ImportError
        If the package is missing or cannot be imported.

    Examples
    --------
    >>> from skadistill._optional import require
    >>> require("json", "plotting").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"importing the optional package {package} failed ({error}); run "
            f'`pip install "skadistill[{extra}]"`.',
            name=package,
        ) from error
