"""Raise an AssertionError when a contract is broken."""

__all__ = ["check_that"]


def check_that(holds, message):
    """Raise an AssertionError unless a claim holds, also under ``python -O``."""
    if not holds:
        raise AssertionError(f"{message}.")
