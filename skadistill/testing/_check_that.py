"""Raise an AssertionError when a contract is broken."""

__all__ = ["check_that"]


def check_that(holds, message):
    """Raise an AssertionError unless a claim holds, also under ``python -O``.

    Parameters
    ----------
    holds : bool
        Whether the claim holds.
    message : str
        What is wrong, without the final period.

    Raises
    ------
    AssertionError
        If it does not hold.
    """
    if not holds:
        raise AssertionError(f"{message}.")
