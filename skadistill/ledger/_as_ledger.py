"""Turn what a user passes as ``ledger=`` into a ledger."""

import os

from skadistill.exceptions import LedgerError
from skadistill.ledger._memory import MemoryLedger
from skadistill.ledger._postgres import PostgresLedger
from skadistill.ledger._sqlite import LabelLedger

__all__ = ["as_ledger"]


def as_ledger(ledger=None):
    """Return a ledger, opening or creating it if it is named."""
    if ledger is None:
        return MemoryLedger()
    if isinstance(ledger, str):
        scheme, separator, _ = ledger.partition("://")
        if separator:
            if scheme.partition("+")[0] in ("postgresql", "postgres"):
                return PostgresLedger(ledger)
            raise LedgerError(
                f"ledger is a URL of the scheme {scheme!r}; pass one that begins with "
                "'postgresql://', or the path of a file."
            )
    if isinstance(ledger, str | os.PathLike):
        return LabelLedger(ledger)
    if all(hasattr(ledger, name) for name in ("lookup", "record", "claim", "release")):
        return ledger
    raise LedgerError(
        f"ledger is {ledger!r} of type {type(ledger).__name__}; pass a ledger, the "
        "path of a file or the URL of a PostgreSQL database."
    )
