"""Pools that are not in memory: files, Arrow and Dask collections, sliced arrays."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from skadistill._rows._containers import stack_rows, take_rows

__all__ = [
    "ChunkedRows",
    "PartitionedRows",
    "as_rows",
    "refuse_other_features",
]

# Rows of one chunk of a source that names no chunks of its own.
CHUNK_ROWS = 65_536


class ChunkedRows:
    """Read rows of a collection chunk by chunk, never all of it."""

    def __init__(self, sizes, read, like):
        self.bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.shape = (int(self.bounds[-1]), *like.shape[1:])
        self._read = read
        self._none = take_rows(like, [])

    def __len__(self):
        return self.shape[0]

    def take(self, rows):
        """Return rows in memory."""
        if len(rows) == 0:
            return self._none
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        chunks = np.searchsorted(self.bounds, ascending, side="right") - 1
        starts = np.flatnonzero(np.diff(chunks, prepend=-1))
        wanted = [
            (int(chunks[begin]), ascending[begin:end] - self.bounds[chunks[begin]])
            for begin, end in pairwise([*starts, len(rows)])
        ]
        pieces = self._read_pieces(wanted)
        taken = pieces[0] if len(pieces) == 1 else stack_rows(pieces)
        if (order[:-1] < order[1:]).all():
            return taken
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return take_rows(taken, back)

    def _read_pieces(self, wanted):
        """Read some rows, ascending, of some chunks."""
        pieces = []
        for chunk, rows in wanted:
            first, last = int(rows[0]), int(rows[-1])
            piece = self._read(chunk, first, last + 1)
            if last - first + 1 > len(rows):
                piece = take_rows(piece, rows - first)
            pieces.append(piece)
        return pieces


class PartitionedRows(ChunkedRows):
    """Take rows of a Dask collection where its partitions live."""

    def __init__(self, sizes, partitions, like):
        super().__init__(sizes, None, like)
        self.partitions = partitions
        self.convert = _Convert(self._none)
        self._known = np.empty(0, dtype=np.int64)
        self._kept: Any = None

    def take(self, rows):
        """Return rows in memory; those that were taken before are still there.

        Every round trains on the rows that all rounds have asked about, and reading
        one row can cost the workers its whole partition.
        """
        new = np.setdiff1d(rows, self._known)
        if len(rows) == 0 or 2 * len(new) > len(self):
            return super().take(rows)
        if len(new):
            pieces = [] if self._kept is None else [self._kept]
            self._kept = stack_rows([*pieces, super().take(new)])
            self._known = np.concatenate([self._known, new])
        order = np.argsort(self._known)
        at = order[np.searchsorted(self._known, rows, sorter=order)]
        return take_rows(self._kept, at)

    def partition_bounds(self):
        """Iterate over partitions with the numbers of their first and last + 1 rows."""
        for chunk, (first, last) in enumerate(pairwise(self.bounds.tolist())):
            yield self.partitions[chunk], first, last

    def _read_pieces(self, wanted):
        import dask

        take = dask.delayed(_take_of_partition, pure=False)
        return dask.compute(
            *(take(self.partitions[c], rows, self.convert) for c, rows in wanted)
        )


def _take_of_partition(part, rows, convert):
    """Take rows of a partition on its worker, so that only they are sent."""
    return convert(take_rows(part, rows))


def as_rows(pool, like):
    """Open a collection that is not in memory as rows like the labeled ones."""
    module = type(pool).__module__.split(".")[0]
    if module == "pyarrow" and hasattr(pool, "schema"):
        return _open_arrow(pool, like)
    if module.startswith("dask"):
        return _open_dask(pool, like)
    if _is_sliced(pool):
        return _open_sliced(pool, like)
    return pool


def _is_sliced(pool):
    """Tell whether rows come only by slices: an array that is not numpy's."""
    return (
        getattr(pool, "ndim", 0) >= 1
        and hasattr(pool, "dtype")
        and hasattr(pool, "__getitem__")
        and not isinstance(pool, np.ndarray)
        and not any(
            hasattr(pool, name) for name in ("iloc", "to_list", "tocsr", "detach")
        )
    )


def _open_sliced(pool, like):
    """Read an array of files by slices along its chunks."""
    refuse_other_features(tuple(pool.shape[1:]), like)
    chunks = getattr(pool, "chunks", None)
    step = CHUNK_ROWS
    if chunks and isinstance(chunks[0], int):
        # Whole chunks: part of a compressed one costs as much to read.
        step = max(chunks[0], CHUNK_ROWS // chunks[0] * chunks[0])
    n_samples = pool.shape[0]
    starts = range(0, n_samples, step)

    def read(chunk, start, stop):
        return np.asarray(pool[starts[chunk] + start : starts[chunk] + stop])

    return ChunkedRows([min(step, n_samples - s) for s in starts], read, like)


def _open_dask(pool, like):
    """Leave a Dask array or DataFrame where its partitions live."""
    if hasattr(pool, "columns"):
        refuse_other_features(list(pool.columns), like)
        sizes = pool.map_partitions(len).compute().tolist()
        parts = pool.partitions
    else:
        refuse_other_features(tuple(pool.shape[1:]), like)
        pool = pool.rechunk({axis: -1 for axis in range(1, pool.ndim)})
        if np.isnan(pool.shape[0]):
            pool = pool.compute_chunk_sizes()
        sizes = list(pool.chunks[0])
        parts = pool.blocks
    return PartitionedRows(sizes, parts, like)


def _open_arrow(pool, like):
    """Read an Arrow table, or a dataset row group by row group."""
    refuse_other_features(pool.schema.names, like)
    if hasattr(pool, "get_fragments"):
        fragments, sizes = [], []
        for fragment in pool.get_fragments():
            if hasattr(fragment, "split_by_row_group"):
                groups = fragment.split_by_row_group()
                fragments += groups
                # count_rows() of a row group counts those of its whole file.
                sizes += [sum(g.num_rows for g in f.row_groups) for f in groups]
            else:
                fragments.append(fragment)
                sizes.append(fragment.count_rows())
        schema = pool.schema
        kept: dict = {}

        def table_of(chunk):
            # Blocks in order read each row group once.
            if chunk not in kept:
                kept.clear()
                kept[chunk] = fragments[chunk].to_table(schema=schema)
            return kept[chunk]

    else:
        sizes = [pool.num_rows]

        def table_of(chunk):
            return pool

    def read(chunk, start, stop):
        return _like(table_of(chunk).slice(start, stop - start), like)

    return ChunkedRows(sizes, read, like)


@dataclass(frozen=True, eq=False)
class _Convert:
    """Make rows of a partition what the labeled rows are; travels to workers."""

    like: Any

    def __call__(self, rows):
        return rows if isinstance(rows, np.ndarray) else _like(rows, self.like)


def _like(table, like):
    """Turn an Arrow table or pandas frame into the container of `like`."""
    arrow = hasattr(table, "to_pandas")
    if not hasattr(like, "columns"):
        if arrow:
            return np.column_stack([c.to_numpy() for c in table.columns])
        return table.to_numpy()
    if hasattr(like, "iloc"):
        return table.to_pandas() if arrow else table
    import polars

    return polars.from_arrow(table) if arrow else polars.from_pandas(table)


def refuse_other_features(columns, like):
    """Compare names, or the shape of a row, with those of the labeled rows."""
    if hasattr(like, "columns") and isinstance(columns, list):
        if list(like.columns) != columns:
            odd = sorted(set(map(str, like.columns)) ^ set(map(str, columns)))
            raise ValueError(
                "X_unlabeled and X must have the same columns in the same order, they "
                f"differ in {odd or 'their order'}; select the columns of X from "
                "X_unlabeled."
            )
        return
    shape = (len(columns),) if isinstance(columns, list) else columns
    if shape != tuple(like.shape[1:]) or hasattr(like, "columns"):
        raise ValueError(
            f"X_unlabeled has rows of shape {shape} but X has rows of shape "
            f"{tuple(like.shape[1:])}{' with named columns' * hasattr(like, 'columns')}"
            "; both must hold the same features."
        )
