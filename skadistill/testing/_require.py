"""What every check says when a contract is broken."""

__all__ = ["require"]


def require(holds, message):
    """Raise where ``assert`` would, also under ``python -O``.

    Parameters
    ----------
    holds : bool
        Whether the contract is kept.
    message : str
        What is wrong, without the full stop.

    Raises
    ------
    AssertionError
        If it is not.
    """
    if not holds:
        raise AssertionError(f"{message}.")
