"""All rows of a fit as one table: those of X, then those of X_unlabeled."""

import numpy as np
from sklearn import get_config

from skadistill._rows._containers import count_rows, stack_rows, take_rows
from skadistill._rows._sources import ChunkedRows

__all__ = ["RowTable", "take_part"]


class RowTable:
    """Address the rows of X and X_unlabeled by one number and take some of them."""

    def __init__(self, X, X_unlabeled=None):
        self.parts = [X] if X_unlabeled is None else [X, X_unlabeled]
        self.n_first = count_rows(X)
        self.n_samples = sum(count_rows(part) for part in self.parts)

    def take(self, rows):
        """Return the rows at these positions, in this order, in the container."""
        inside = rows < self.n_first
        if inside.all():
            return take_part(self.parts[0], rows)
        if not inside.any():
            return take_part(self.parts[1], rows - self.n_first)
        both = stack_rows(
            [
                take_part(self.parts[0], rows[inside]),
                take_part(self.parts[1], rows[~inside] - self.n_first),
            ]
        )
        order = np.empty(rows.shape[0], dtype=np.int64)
        order[np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])] = (
            np.arange(rows.shape[0])
        )
        return take_part(both, order)

    def blocks(self, rows, n_outputs):
        """Iterate over the rows in blocks that fit scikit-learn's working memory."""
        size = self.block_rows(n_outputs)
        for start in range(0, rows.shape[0], size):
            yield self.take(rows[start : start + size])

    def block_rows(self, n_outputs):
        """Count the rows of a block that fits scikit-learn's working memory."""
        width = 1
        for size in getattr(self.parts[0], "shape", (0, 1))[1:]:
            width *= size
        # Inputs, a float32 copy and outputs; networks add some widths of theirs.
        row_bytes = 8 * (2 * width + 4 * n_outputs)
        return max(1, int(get_config()["working_memory"] * 2**20 // row_bytes))


def take_part(part, rows):
    """Take rows of one container; an ascending stretch of an array comes as a view."""
    if isinstance(part, ChunkedRows):
        return part.take(rows)
    if isinstance(part, np.ndarray) and rows.shape[0] > 0:
        first, last = int(rows[0]), int(rows[-1])
        if last - first + 1 == rows.shape[0] and (np.diff(rows) == 1).all():
            return part[first : last + 1]
    return take_rows(part, rows)
