"""Numbers of a pool's rows that stay with the workers of a Dask cluster."""

from itertools import pairwise

import numpy as np

from skadistill.query._blocks import RowBlocks, aligned_bounds, aligned_pieces

__all__ = ["DaskBlocks", "align"]


class DaskBlocks(RowBlocks):
    """Hold one number for each row of a pool where Dask has computed it.

    Functions are sent to the blocks, each block's result comes back; the numbers
    themselves come only by `gather`. A block that is lost with its worker is computed
    again by Dask, from the rows.

    Parameters
    ----------
    blocks : list of Delayed
        Arrays of float32, persisted.
    bounds : ndarray of int of shape (n_blocks + 1,)
        First row of each block, and the number of rows in all; inner ones are
        multiples of `skadistill.query._blocks.BLOCK_ROWS`.
    """

    is_here = False

    def __init__(self, blocks, bounds):
        self.blocks = blocks
        self.bounds = bounds
        self.dtype = np.dtype(np.float32)

    def map(self, function, *args):
        """Apply a function to every block; see `RowBlocks.map`."""
        return self.map_each(function, [args] * len(self.blocks))

    def map_each(self, function, arguments):
        """Apply a function to some blocks; see `RowBlocks.map_each`."""
        import dask

        function = dask.delayed(function, pure=False)
        tasks = [
            None if args is None else function(block, *args)
            for block, args in zip(self.blocks, arguments, strict=True)
        ]
        return list(dask.compute(*tasks))

    def transform(self, function):
        """Make other numbers of these; see `RowBlocks.transform`."""
        import dask

        function = dask.delayed(function, pure=False)
        blocks = dask.persist(*(function(block) for block in self.blocks))
        return DaskBlocks(list(blocks), self.bounds)

    def gather(self):
        """Bring all numbers here; see `RowBlocks.gather`."""
        import dask

        return np.concatenate(dask.compute(*self.blocks))


def align(blocks, sizes):
    """Cut blocks anew, so that sums over them do not depend on how they were cut.

    Parameters
    ----------
    blocks : list of Delayed
        Arrays, one number a row.
    sizes : list of int
        Rows of each.

    Returns
    -------
    aligned : DaskBlocks
        The same numbers, persisted; less than a stretch of
        `skadistill.query._blocks.BLOCK_ROWS` rows moves at each cut.
    """
    import dask

    bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    aligned = aligned_bounds(bounds)
    take, join = dask.delayed(_stretch, pure=False), dask.delayed(_join, pure=False)
    tasks = []
    for first, last in pairwise(aligned.tolist()):
        pieces = [
            blocks[block]
            if (start, stop) == (0, sizes[block])
            else take(blocks[block], start, stop)
            for block, start, stop in aligned_pieces(bounds, first, last)
        ]
        tasks.append(pieces[0] if len(pieces) == 1 else join(pieces))
    return DaskBlocks(list(dask.persist(*tasks)), aligned)


def _stretch(block, start, stop):
    """Copy rows of a block, so that the rest of it can be forgotten."""
    return block[start:stop].copy()


def _join(pieces):
    return np.concatenate(pieces)
