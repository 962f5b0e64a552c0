"""Resolve what a user passes as ledger."""

from os import PathLike

from skadistill.ledger import LabelLedger, MemoryLedger

__all__ = ["as_ledger"]


def as_ledger(ledger=None):
    """Resolve a path, a ledger or None to a ledger.

    Parameters
    ----------
    ledger : str, path-like, ledger or None, default=None
        A path opens a :class:`LabelLedger`, None creates a :class:`MemoryLedger`,
        and a ledger is returned as it is.

    Returns
    -------
    ledger : BaseLedger
        The ledger.

    Examples
    --------
    >>> from skadistill.ledger._as_ledger import as_ledger
    >>> type(as_ledger()).__name__
    'MemoryLedger'
    """
    if ledger is None:
        return MemoryLedger()
    if isinstance(ledger, str | PathLike):
        return LabelLedger(ledger)
    return ledger
