"""The pool of one round, read in blocks: here, in other processes, or on a cluster."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from skadistill._rows._sources import PartitionedRows
from skadistill._rows._table import take_part
from skadistill._utils.optional import require
from skadistill.exceptions import StudentError
from skadistill.query._base import QueryPool
from skadistill.student._checks import student_proba

__all__ = ["FitPool", "map_partition"]


class FitPool(QueryPool):
    """Show a strategy the pool of one round of a fit.

    Rows are read, and the student predicts, block by block and only if the strategy
    asks for it.
    """

    def __init__(self, state, *, keep_classes, n_jobs=None, rows=None):
        labels = state.labels
        rows = labels.pool if rows is None else rows
        super().__init__(
            rows.size,
            labels.classes,
            student=state.students.last,
        )
        self._labels = labels
        self.take_findings(state.asked.findings)
        self.kept = labels.kept
        self.seconds = 0.0
        self._table = labels.table
        self._rows = rows
        self.labeled = None  # rows shown as labeled in place of those that are
        self._n_jobs = n_jobs
        self._keep_classes = keep_classes
        self._winners = np.full(self.n_samples * keep_classes, -1, dtype=np.int32)

    def take_findings(self, findings):
        """Show what is known of the teacher by now."""
        self.teacher_error = self._labels.space.error_for_choice(findings.error)
        self.error_curve = findings.curve

    def predicted_classes(self):
        """Return the position of the predicted class of every row of the pool."""
        if self._winners.min(initial=0) < 0:  # the strategy did not look at all rows
            for _ in self._iter_proba(_nothing):
                pass
        return self._winners

    def map_proba(self, function, dtype=np.float32):
        """Apply a function to blocks of probabilities and keep one value per row.

        If rows have several labels, it gets the two probabilities of one label at a
        time, and a row's value is a mean over labels.
        See :meth:`skadistill.query.QueryPool.map_proba`.
        """
        function = self._labels.space.per_row(function, self.student)
        return super().map_proba(function, dtype)

    def _take_pool(self):
        return self._table.take(self._rows)

    def _take_labeled(self):
        if self.labeled is not None:
            return self.labeled
        return self._table.take(self._labels.rows), self._labels.targets

    def _iter_proba(self, function):
        done = 0
        score = _Score(
            self.student,
            self.n_classes,
            function,
            self._keep_classes,
            self._labels.space,
        )
        for values, winners in self._iter_rows(score):
            if self._keep_classes:
                self._winners[done : done + len(winners)] = winners
                done += len(winners)
            yield values

    def _iter_rows(self, function):
        start = perf_counter()
        for result in self._map_blocks(function):
            self.seconds += perf_counter() - start
            yield result
            start = perf_counter()

    def _map_blocks(self, function):
        """Apply a function to block after block, wherever the rows are."""
        source = self._table.parts[-1]
        if not isinstance(source, PartitionedRows):
            return self._map_here(function, self._rows)
        return self._map_partitions(function, source)

    def _map_here(self, function, rows):
        """Read the blocks in this process; joblib may spread them."""
        blocks = self._table.blocks(rows, self.n_classes)
        if effective_n_jobs(self._n_jobs) == 1:
            return map(function, blocks)
        parallel = Parallel(n_jobs=self._n_jobs, return_as="generator")
        return parallel(delayed(function)(block) for block in blocks)

    def _map_partitions(self, function, source):
        """Send the function to the partitions of a Dask collection."""
        dask = require("dask", "dask")
        n_first = self._table.n_first
        # The rows of X come first in the pool, and are in memory.
        yield from self._map_here(function, self._rows[self._rows < n_first])
        is_out = np.ones(len(source), dtype=bool)
        is_out[self._rows[self._rows >= n_first] - n_first] = False
        # One node of the graph, so that it travels to each worker once.
        function = dask.delayed(function, traverse=False)
        step = self._table.block_rows(self.n_classes)
        tasks = [
            dask.delayed(map_partition)(
                function, part, np.flatnonzero(is_out[first:last]), source.convert, step
            )
            for part, first, last in source.partition_bounds()
        ]
        # Results are dropped as they are used: a pool of one value per row is never
        # in memory twice.
        results = list(dask.compute(*tasks))[::-1]
        while results:
            yield from results.pop()


@dataclass(frozen=True)
class _Score:
    """Predict for one block and keep only what is needed; pickled to the workers."""

    student: Any
    n_classes: int
    function: Any
    keep_classes: bool
    space: Any

    def __call__(self, block):
        proba = student_proba(self.student, block, self.n_classes)
        # NaN and infinity survive a sum, which takes no memory.
        if not np.isfinite(proba.sum(dtype=np.float64)):
            n_bad = np.count_nonzero(~np.isfinite(proba).all(axis=1))
            raise StudentError(
                f"the student {type(self.student).__name__} predicts probabilities "
                f"that are not finite for {n_bad} of {len(proba)} rows; check its "
                "settings, or give it more labeled rows. Labels that were paid for "
                "are in the ledger."
            )
        winners = self.space.outcomes(proba) if self.keep_classes else None
        return self.function(proba), winners


def map_partition(function, part, left_out, convert, step):
    """Apply a function to the rows of one partition, in blocks, on its worker."""
    rows = np.delete(np.arange(len(part)), left_out)
    part = convert(part)
    return [
        function(take_part(part, rows[start : start + step]))
        for start in range(0, len(rows), step)
    ]


def _nothing(proba):
    return None
