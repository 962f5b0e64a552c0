"""One number for each row of a pool, in blocks that need not be in one place."""

from itertools import pairwise

import numpy as np

__all__ = [
    "BLOCK_ROWS",
    "RowBlocks",
    "aligned_bounds",
    "aligned_pieces",
    "first_row",
    "stretches",
]

# Sums are taken over so many rows at a time, wherever the rows are, and added in the
# pool's order. Blocks begin at multiples of it, so that no result depends on them.
BLOCK_ROWS = 1 << 15


class RowBlocks:
    """Hold one number for each row of a pool, as arrays in this process.

    What is computed from the numbers is computed block by block, by functions that
    return something small. A subclass may keep its blocks elsewhere and send the
    functions there; what comes out is the same to the last bit, because every block
    but the last holds a multiple of `BLOCK_ROWS` rows.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_block,)
        The numbers, in the pool's order.

    Attributes
    ----------
    bounds : ndarray of int of shape (n_blocks + 1,)
        First row of each block, and the number of rows in all.
    is_here : bool
        Whether the numbers are in the memory of this process.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import RowBlocks
    >>> blocks = RowBlocks([np.array([1.0, 3.0])])
    >>> blocks.n_samples, blocks.map(np.sum), blocks.transform(np.negative).gather()
    (2, [np.float64(4.0)], array([-1., -3.]))
    """

    is_here = True

    def __init__(self, blocks):
        self.blocks = blocks
        sizes = [len(block) for block in blocks]
        self.bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.dtype = blocks[0].dtype if blocks else np.dtype(np.float32)

    @property
    def n_samples(self):
        """Number of rows."""
        return int(self.bounds[-1])

    def map(self, function, *args):
        """Apply a function to every block.

        Parameters
        ----------
        function : callable
            ``function(block, *args)`` returns something small, and leaves the block
            as it is.
        *args : object
            The same for every block.

        Returns
        -------
        results : list
            One a block, in order.
        """
        return [function(block, *args) for block in self.blocks]

    def map_each(self, function, arguments):
        """Apply a function to some blocks, each with arguments of its own.

        Parameters
        ----------
        function : callable
            As for `map`.
        arguments : list of tuple or None
            What each block is given; None: the block is left out.

        Returns
        -------
        results : list
            One a block, in order; None for those left out.
        """
        return [
            None if args is None else function(block, *args)
            for block, args in zip(self.blocks, arguments, strict=True)
        ]

    def transform(self, function):
        """Make other numbers of these, which stay where these are.

        Parameters
        ----------
        function : callable
            ``function(block)`` returns a new array as long as the block, of the same
            dtype.

        Returns
        -------
        blocks : RowBlocks
            The new numbers.
        """
        return type(self)([function(block) for block in self.blocks])

    def gather(self):
        """Bring all numbers here.

        Returns
        -------
        values : ndarray of shape (n_samples,)
            In the pool's order; no copy where they are one block already.
        """
        if len(self.blocks) == 1:
            return self.blocks[0]
        return np.concatenate([*self.blocks, np.empty(0, self.dtype)])

    def split(self, rows):
        """Sort positions in the pool by the block that holds them.

        Parameters
        ----------
        rows : ndarray of int of shape (n_taken,)
            Positions, ascending.

        Returns
        -------
        stretches : list of slice
            Which of `rows` are in each block.
        """
        cuts = np.searchsorted(rows, self.bounds)
        return [slice(first, last) for first, last in pairwise(cuts.tolist())]


def aligned_bounds(bounds, unit=None):
    """Move bounds of blocks up to multiples of a unit.

    Parameters
    ----------
    bounds : ndarray of int of shape (n_blocks + 1,)
        First row of each block and the number of rows in all.
    unit : int or None, default=None
        Rows; None: `BLOCK_ROWS`.

    Returns
    -------
    aligned : ndarray of int of shape (n_aligned + 1,)
        Without the blocks that have become empty.

    Examples
    --------
    >>> from skadistill.query._blocks import aligned_bounds
    >>> aligned_bounds([0, 3, 5, 9, 11], unit=4)
    array([ 0,  4,  8, 11])
    """
    unit = unit or BLOCK_ROWS
    n_samples = bounds[-1]
    return np.unique(np.minimum(-(-np.asarray(bounds) // unit) * unit, n_samples))


def aligned_pieces(bounds, first, last):
    """Say of which stretches of which blocks some rows consist.

    Parameters
    ----------
    bounds : ndarray of int of shape (n_blocks + 1,)
        First row of each block and the number of rows in all.
    first, last : int
        The rows, the last excluded.

    Yields
    ------
    block, start, stop : int
        A block and the rows of it.

    Examples
    --------
    >>> from skadistill.query._blocks import aligned_pieces
    >>> list(aligned_pieces([0, 3, 5, 9], 2, 7))
    [(0, 2, 3), (1, 0, 2), (2, 0, 2)]
    """
    bounds = np.asarray(bounds)
    block = int(np.searchsorted(bounds, first, side="right")) - 1
    while first < last:
        start, stop = int(bounds[block]), int(bounds[block + 1])
        if stop > first:
            yield block, first - start, min(last, stop) - start
            first = stop
        block += 1


def first_row(values, is_wanted):
    """Find the first row whose number is wanted.

    Parameters
    ----------
    values : RowBlocks
        One number a row.
    is_wanted : callable
        Takes a block, returns a mask; travels to where the numbers are.

    Returns
    -------
    found : (int, number) or None
        The row and its number; None where no row has one.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._blocks import RowBlocks, first_row
    >>> values = RowBlocks([np.array([1, 2]), np.array([7])])
    >>> first_row(values, lambda block: block > 5)
    (2, np.int64(7))
    """
    found = zip(values.map(_first_in_block, is_wanted), values.bounds, strict=False)
    return next(((int(first) + f[0], f[1]) for f, first in found if f), None)


def _first_in_block(block, is_wanted):
    rows = np.flatnonzero(is_wanted(block))
    return (int(rows[0]), block[rows[0]]) if rows.size else None


def stretches(values):
    """Cut an array into views of `BLOCK_ROWS` rows, the last perhaps shorter.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        One number a row.

    Yields
    ------
    stretch : ndarray
        A view.
    """
    for start in range(0, values.shape[0], BLOCK_ROWS):
        yield values[start : start + BLOCK_ROWS]
