"""Scoring the pool: block by block, here, in other processes, or where it lives."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn import get_config

from skadistill._fit.dask_blocks import align
from skadistill._rows._sources import PartitionedRows
from skadistill._rows._table import take_part
from skadistill.query._base import QueryPool

__all__ = ["FitPool", "PoolScorer", "score_partition", "values_of_partition"]

# Gains, the probabilities made of them and a copy, in float32.
_BYTES_OF_A_ROW = 12


class FitPool(QueryPool):
    """Show a strategy the pool of one round of a fit.

    Parameters
    ----------
    state : FitState
        The fit, whose student, rows and classes are shown.
    keep_classes : bool
        Whether to remember the predicted class of each row.
    n_jobs : int or None, default=None
        Blocks processed at once, by joblib's active backend.
    """

    def __init__(self, state, *, keep_classes, n_jobs=None):
        labels = state.labels
        self._scorer = PoolScorer(state, keep_classes=keep_classes, n_jobs=n_jobs)
        super().__init__(
            labels.pool.size,
            labels.classes,
            self._scorer,
            map_proba=self._scorer.map,
            keep_values=self._scorer.keep_values,
            student=state.student,
            teacher_error=state.asked.error,
            gather_pool=lambda: labels.table.take(labels.pool),
            gather_labeled=lambda: (labels.table.take(labels.rows), labels.targets),
        )
        self.map_proba = self.map_blocks

    @property
    def seconds(self):
        """Seconds spent waiting for scores, reading the rows included."""
        return self._scorer.seconds

    def predicted_classes(self):
        """Return the position of the predicted class of every row of the pool."""
        return self._scorer.predicted_classes()


class PoolScorer:
    """Put the student's probabilities through a function, block by block.

    Parameters
    ----------
    state : FitState
        Whose student, pool and classes.
    keep_classes : bool
        Whether to remember the predicted class of each row.
    n_jobs : int or None, default=None
        Blocks scored at once, by joblib's backend of the moment.

    Attributes
    ----------
    seconds : float
        Seconds spent waiting for scores, reading the rows included.
    """

    def __init__(self, state, *, keep_classes, n_jobs=None):
        self.student = state.student
        self.table = state.labels.table
        self.pool = state.labels.pool
        self.classes = state.labels.classes
        self.n_jobs = n_jobs
        self.seconds = 0.0
        self.keep_classes = keep_classes
        self._winners = np.full(self.pool.shape[0] * keep_classes, -1, dtype=np.int32)

    def __call__(self):
        """Iterate over the blocks of probabilities once."""
        return self.map(_unchanged)

    def map(self, function):
        """Apply a function to each block of probabilities, in the pool's order.

        Parameters
        ----------
        function : callable
            Takes an array of shape (n_block, n_classes); runs where the block is
            scored.

        Yields
        ------
        values : object
            What it returned, block by block.
        """
        done = 0
        results = self._results(_Score(self.student, function, self.keep_classes))
        start = perf_counter()
        for values, winners in results:
            self.seconds += perf_counter() - start
            if self.keep_classes:
                self._winners[done : done + len(winners)] = winners
                done += len(winners)
            yield values
            start = perf_counter()

    def _results(self, score):
        """Score block after block, several at once where joblib is told so."""
        source = self.table.parts[-1]
        if isinstance(source, PartitionedRows):
            return self._results_where_rows_live(score, source)
        return self._results_here(score, self.pool)

    def _results_here(self, score, rows):
        blocks = self.table.blocks(rows, len(self.classes))
        if effective_n_jobs(self.n_jobs) == 1:
            return map(score, blocks)
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        return parallel(delayed(score)(block) for block in blocks)

    def _results_where_rows_live(self, score, source):
        """Send the student to the partitions of a Dask collection."""
        import dask

        yield from self._results_here(score, self._rows_of_first_door())
        tasks, _ = self._tasks(score_partition, score, source)
        for results in dask.compute(*tasks):
            yield from results

    def keep_values(self, function):
        """Apply a function to the pool and leave the results where the rows live.

        Parameters
        ----------
        function : callable
            Takes an array of shape (n_block, n_classes), returns (n_block,).

        Returns
        -------
        values : DaskBlocks or None
            None where the results are to come here: the pool is no Dask collection,
            predicted classes are wanted too, or what is computed of so many rows
            fits in scikit-learn's ``working_memory``.
        """
        memory = get_config()["working_memory"] * 2**20
        source = self.table.parts[-1]
        if (
            not isinstance(source, PartitionedRows)
            or self.keep_classes
            or self.pool.size * _BYTES_OF_A_ROW <= memory
        ):
            return None
        import dask

        start = perf_counter()
        score = _Score(self.student, function, keep_classes=False)
        tasks, sizes = self._tasks(values_of_partition, score, source)
        first = self._rows_of_first_door()
        if first.size:
            here = [values for values, _ in self._results_here(score, first)]
            tasks.insert(0, dask.delayed(_join(here)))
            sizes.insert(0, first.size)
        blocks = align(dask.persist(*tasks), sizes)
        blocks.map(len)  # waits until all rows are scored
        self.seconds += perf_counter() - start
        return blocks

    def _rows_of_first_door(self):
        """Return the pool's rows of X, which come before those of X_unlabeled."""
        return self.pool[self.pool < self.table.n_first]

    def _tasks(self, function, score, source):
        """Describe what is to be done with each partition; count its pool rows."""
        import dask

        n_first = self.table.n_first
        asked = np.ones(len(source), dtype=bool)
        asked[self.pool[self.pool >= n_first] - n_first] = False
        # One node of the graph, so that it travels to each worker once.
        score = dask.delayed(score, traverse=False)
        step = self.table.block_rows(len(self.classes))
        tasks, sizes = [], []
        for part, first, last in source.partition_bounds():
            gone = np.flatnonzero(asked[first:last])
            tasks.append(
                dask.delayed(function)(score, part, gone, source.convert, step)
            )
            sizes.append(last - first - gone.size)
        return tasks, sizes

    def predicted_classes(self):
        """Return the position of the predicted class of every pool row."""
        if self._winners.min(initial=0) < 0:  # the strategy did not look at all rows
            for _ in self.map(_nothing):
                pass
        return self._winners


@dataclass(frozen=True)
class _Score:
    """Predict for one block and keep only what is asked for; travels to workers."""

    student: Any
    function: Any
    keep_classes: bool

    def __call__(self, block):
        proba = np.asarray(self.student.predict_proba(block))
        winners = proba.argmax(axis=1) if self.keep_classes else None
        return self.function(proba), winners


def score_partition(score, part, asked, convert, step):
    """Score the rows of one partition, in blocks, where it lives.

    Parameters
    ----------
    score : callable
        Takes a block of rows.
    part : ndarray or DataFrame
        The partition.
    asked : ndarray of int
        Positions of rows in it that are no longer in the pool.
    convert : callable
        Makes of the partition what the student takes.
    step : int
        Rows of a block.

    Returns
    -------
    results : list
        What `score` returned, block by block.
    """
    rows = np.delete(np.arange(len(part)), asked)
    part = convert(part)
    return [
        score(take_part(part, rows[start : start + step]))
        for start in range(0, len(rows), step)
    ]


def values_of_partition(score, part, asked, convert, step):
    """Score the rows of one partition and put their values in one array.

    Parameters
    ----------
    score, part, asked, convert, step : as in `score_partition`
        What to score.

    Returns
    -------
    values : ndarray of float32 of shape (n_samples,)
        One a row that is still in the pool.
    """
    results = score_partition(score, part, asked, convert, step)
    values = _join([values for values, _ in results])
    n_samples = len(part) - len(asked)
    if values.shape != (n_samples,):
        raise ValueError(
            f"a score must give one number for each of {n_samples} rows, got shape "
            f"{values.shape}; return an array of shape (n_samples,)."
        )
    return values


def _join(values):
    """Put the values of blocks, perhaps of none, in one array."""
    none = np.empty(0, dtype=np.float32)
    return np.concatenate([none, *values], dtype=np.float32, casting="unsafe")


def _unchanged(proba):
    return proba


def _nothing(proba):
    return None
