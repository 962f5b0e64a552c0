"""Numbers that live elsewhere: same play, same rows, and little that travels."""

from itertools import pairwise

import numpy as np
import pytest

from skadistill.query import QueryPool, RobustSampler, as_strategy, top_rows
from skadistill.query._base import _top_of_blocks
from skadistill.query._blocks import (
    BLOCK_ROWS,
    RowBlocks,
    aligned_bounds,
    aligned_pieces,
)
from skadistill.query._draw import draw_rows
from skadistill.query._inclusion import regret_inclusion, robust_inclusion

N_ROWS = 9 * BLOCK_ROWS + 1_234


class Elsewhere(RowBlocks):
    """Play a cluster: nothing is here, and what comes is weighed."""

    is_here = False
    bytes_come: list = []

    @classmethod
    def cut(cls, values, sizes=(1, 3, 2, 1, 4)):
        """Cut an array at some multiples of the stretches that sums are taken over."""
        cuts = np.cumsum(sizes) * BLOCK_ROWS
        cls.bytes_come = []
        return cls(np.split(values, cuts[cuts < len(values)]))

    def map(self, function, *args):
        results = super().map(function, *args)
        self.bytes_come.append(weight(results))
        return results

    def map_each(self, function, arguments):
        results = super().map_each(function, arguments)
        self.bytes_come.append(weight(results))
        return results

    def gather(self):
        values = super().gather()
        self.bytes_come.append(values.nbytes)
        return values


def weight(result):
    """Count the bytes of all arrays and numbers in a result."""
    if isinstance(result, list | tuple):
        return sum(map(weight, result))
    return 0 if result is None else np.asarray(result).nbytes


def make_gains(shape, n_samples=N_ROWS, seed=0):
    rng = np.random.default_rng(seed)
    gains = rng.random(n_samples)
    if shape == "confident":
        gains = 1 - np.abs(np.tanh(3 * rng.standard_normal(n_samples)))
    elif shape == "sorted":
        gains.sort()
    elif shape == "five values":
        gains = rng.integers(1, 6, n_samples) / 5
    elif shape == "equal":
        gains[:] = 0.25
    elif shape == "mostly zero":
        gains *= np.arange(n_samples) % 20 == 7
    elif shape == "zero":
        gains[:] = 0
    return gains.astype(np.float32)


SHAPES = [
    "uniform",
    "confident",
    "sorted",
    "five values",
    "equal",
    "mostly zero",
    "zero",
]


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_game_does_not_depend_on_where_the_gains_live(shape, share):
    """Level, support, every probability and every row drawn are the same bits."""
    gains = make_gains(shape)
    here, there = RowBlocks([gains]), Elsewhere.cut(gains)
    one, level_here, n_here = robust_inclusion(here, share * N_ROWS, 700)
    two, level_there, n_there = robust_inclusion(there, share * N_ROWS, 700)
    assert (level_here, n_here) == (level_there, n_there)
    np.testing.assert_array_equal(one.gather(), two.gather())
    drawn = [draw_rows(each, np.random.default_rng(3)) for each in (one, two)]
    assert drawn[0].shape == (700,)
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("n_queries", [700, N_ROWS // 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_regret_game_does_not_depend_on_where_the_gains_live(shape, n_queries):
    """Also where few, many or all rows are to be drawn."""
    gains = make_gains(shape)
    one = regret_inclusion(RowBlocks([gains]), n_queries)
    two = regret_inclusion(Elsewhere.cut(gains), n_queries)
    np.testing.assert_array_equal(one.gather(), two.gather())
    drawn = [draw_rows(each, np.random.default_rng(3)) for each in (one, two)]
    assert drawn[0].shape == (n_queries,)
    np.testing.assert_array_equal(*drawn)


def test_certain_rows_are_drawn_wherever_they_live():
    """Rows of probability 1 in each block come, and the lot draws the others."""
    inclusion = np.full(N_ROWS, 0.001)
    certain = np.arange(0, N_ROWS, 10_007)
    inclusion[certain] = 1.0
    n_drawn = round(inclusion.sum())
    inclusion[inclusion < 1] *= (n_drawn - certain.size) / (
        inclusion.sum() - certain.size
    )
    drawn = [
        draw_rows(blocks, np.random.default_rng(0))
        for blocks in (RowBlocks([inclusion]), Elsewhere.cut(inclusion))
    ]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].shape == (n_drawn,)
    assert np.isin(certain, drawn[0]).all()


@pytest.mark.parametrize("n_queries", [50, 100_000, N_ROWS])
@pytest.mark.parametrize("shape", ["uniform", "five values", "equal"])
def test_the_top_does_not_depend_on_where_the_scores_live(shape, n_queries):
    """The best of each block compete, and ties are broken by the same lot."""
    scores = make_gains(shape)
    drawn = [
        top_rows(scores, n_queries, np.random.default_rng(5)),
        _top_of_blocks(Elsewhere.cut(scores), n_queries, np.random.default_rng(5)),
    ]
    assert np.unique(drawn[0]).shape == (n_queries,)
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize("strategy", ["robust", "regret", "margin", "entropy"])
@pytest.mark.parametrize("shape", ["uniform", "confident"])
def test_little_travels(shape, strategy):
    """A million gains stay where they are: under a third of their size comes.

    What comes does not grow with the pool: samples, sums of some 16,000 chunks, and
    the gains next to the level.
    """
    n_samples = 40 * BLOCK_ROWS
    gain = make_gains(shape, n_samples).astype(np.float64)
    proba = np.column_stack([0.5 + gain / 2, 0.5 - gain / 2])
    reports, rows = [], []
    for keep in (None, lambda f: Elsewhere.cut(f(proba).astype(np.float32), [1] * 40)):
        pool = QueryPool(
            n_samples,
            np.arange(2),
            lambda: iter([proba]),
            keep_values=keep,
            teacher_error=0.1,
        )
        who = RobustSampler(None) if strategy == "regret" else as_strategy(strategy)
        rows.append(who.query(pool, 500, np.random.default_rng(0)))
        reports.append(pool.report)
    np.testing.assert_array_equal(*rows)
    here, there = ([value or 0.0 for value in report.values()] for report in reports)
    assert here == pytest.approx(there, rel=1e-12)
    assert sum(Elsewhere.bytes_come) < 4 * n_samples / 3
    assert max(Elsewhere.bytes_come) < 4 * n_samples / 10


@pytest.mark.parametrize("strategy", [RobustSampler(), as_strategy("margin")])
def test_a_row_without_a_number_is_named_wherever_it_lives(strategy):
    """NaN in the third block is reported by its position in the pool."""
    proba = np.full((N_ROWS, 2), 0.5)
    row = 5 * BLOCK_ROWS + 17
    proba[row] = np.nan
    pool = QueryPool(
        N_ROWS,
        np.arange(2),
        lambda: iter([proba]),
        keep_values=lambda f: Elsewhere.cut(f(proba).astype(np.float32)),
        teacher_error=0.1,
    )
    with pytest.raises(ValueError, match=f"nan for row {row};"):
        strategy.query(pool, 5, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(5))
def test_aligned_blocks_are_made_of_the_old_ones(seed):
    """Whatever the bounds, pieces put together are the rows, block by block."""
    rng = np.random.default_rng(seed)
    bounds = np.concatenate([[0], np.cumsum(rng.integers(0, 9, size=12))])
    rows = np.arange(bounds[-1])
    blocks = np.split(rows, bounds[1:-1])
    aligned = aligned_bounds(bounds, unit=4)
    assert (aligned[1:-1] % 4 == 0).all()
    assert (aligned[0], aligned[-1]) == (0, len(rows))
    for first, last in pairwise(aligned):
        pieces = [blocks[b][i:j] for b, i, j in aligned_pieces(bounds, first, last)]
        np.testing.assert_array_equal(np.concatenate(pieces), rows[first:last])
