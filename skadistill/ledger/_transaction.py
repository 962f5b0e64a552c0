"""What the statements of a ledger need from an open transaction."""

from abc import ABC, abstractmethod

__all__ = ["CHUNK", "Transaction", "chunks", "insert", "marks"]

#: Values in one statement; all of SQLite's limits are above it.
CHUNK = 1000


class Transaction(ABC):
    """Run statements inside an open transaction."""

    mark: str
    one_clock: bool

    @abstractmethod
    def rows(self, statement, values=()):
        """Run one statement; return the rows that it gives, as a list of tuples."""

    @abstractmethod
    def stream(self, statement, values=()):
        """Run one query; return an iterator over its rows, for many of them."""

    @abstractmethod
    def run(self, statement, values=()):
        """Run one statement; return the number of rows that it changed."""

    @abstractmethod
    def run_many(self, statement, many_values):
        """Run one statement once per entry; return how many rows were changed."""

    @abstractmethod
    def now(self):
        """Return the time in seconds since 1970."""

    def row(self, statement, values=()):
        """Run one statement; return the first row that it gives, or None."""
        found = self.rows(statement, values)
        return found[0] if found else None


def chunks(values):
    """Cut an array into lists that one statement can hold."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK].tolist()


def marks(db, values):
    """Write a list of as many placeholders as there are values."""
    return f"({', '.join([db.mark] * len(values))})"


def insert(db, table, **values):
    """Insert one row."""
    return db.row(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES {marks(db, values)} "
        "RETURNING id",
        tuple(values.values()),
    )[0]
