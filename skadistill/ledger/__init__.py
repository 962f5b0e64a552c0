"""The ledger: every label ever paid for, in memory, in a file or in PostgreSQL."""

from skadistill._rows._keys import row_keys
from skadistill.ledger._base import BaseLedger
from skadistill.ledger._budget import Claim
from skadistill.ledger._memory import MemoryLedger
from skadistill.ledger._postgres import PostgresLedger
from skadistill.ledger._sqlite import LabelLedger

__all__ = [
    "BaseLedger",
    "Claim",
    "LabelLedger",
    "MemoryLedger",
    "PostgresLedger",
    "row_keys",
]
