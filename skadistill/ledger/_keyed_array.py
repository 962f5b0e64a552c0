"""Rows of numbers under keys, in memory."""

import numpy as np

from skadistill._rows._keys import KEY_DTYPE

__all__ = ["KeyedArray"]


class KeyedArray:
    """Rows of numbers under keys, in the order in which they came."""

    def __init__(self, n_columns, dtype=np.float64):
        self.position: dict[bytes, int] = {}
        self.rows = np.empty((16, n_columns), dtype)

    @property
    def n_columns(self):
        return self.rows.shape[1]

    def positions(self, keys):
        """Return the position of each key; -1 if it is not there."""
        position = self.position
        return np.array([position.get(k, -1) for k in keys.tolist()], dtype=np.intp)

    def add(self, keys, rows):
        """Append the rows of keys that are new."""
        new: dict[bytes, int] = {}
        for i, key in enumerate(keys.tolist()):
            if key not in self.position:
                new.setdefault(key, i)
        start = len(self.position)
        if start + len(new) > len(self.rows):
            size = max(2 * len(self.rows), start + len(new))
            grown = np.empty((size, self.n_columns), self.rows.dtype)
            grown[:start] = self.rows[:start]
            self.rows = grown
        self.rows[start : start + len(new)] = rows[list(new.values())]
        # Last, so that a fault above leaves no key without its row.
        self.position.update((key, start + j) for j, key in enumerate(new))

    def contents(self):
        """Return copies of keys and rows, in their order."""
        keys = np.array(list(self.position), dtype=KEY_DTYPE)
        return keys, self.rows[: len(self.position)].copy()

    def drop(self, keys):
        """Remove rows; return their number."""
        gone = set(keys)
        if not gone:
            return 0  # else recording labels one by one would take quadratic time
        kept = [key for key in self.position if key not in gone]
        rows = self.rows[[self.position[key] for key in kept]]
        n_dropped = len(self.position) - len(kept)
        self.position, self.rows = {key: i for i, key in enumerate(kept)}, rows
        return n_dropped

    @classmethod
    def holding(cls, keys, rows):
        """Make one of keys and rows, which become its own."""
        array = cls(0)
        array.position = {key: i for i, key in enumerate(keys.tolist())}
        array.rows = rows
        return array
