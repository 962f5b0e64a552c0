import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from skadistill.query._game import draw as draw_module
from skadistill.query._game.draw import fixed_size_sample

# Every simulation below has a fixed seed. Were it redrawn, a correct sampler would
# fail one test with probability at most ALPHA: each row's count is binomial, and
# its two exact tails are compared with ALPHA over twice the number of rows.
ALPHA = 1e-6
N_DRAWS = 2_500


def draw_counts(inclusion, n_draws=N_DRAWS, seed=0, sample=fixed_size_sample):
    """Count how often each row, and each pair of rows, is drawn."""
    rng = np.random.default_rng(seed)
    n = len(inclusion)
    drawn = np.zeros((n_draws, n), dtype=np.int32)
    for i in range(n_draws):
        rows = sample(inclusion, rng)
        assert rows.shape == (round(float(np.sum(inclusion, dtype=np.float64))),)
        assert np.unique(rows).shape == rows.shape
        drawn[i, rows] = 1
    return drawn.sum(axis=0), drawn.T @ drawn


def rejects(counts, inclusion, n_draws=N_DRAWS):
    """Tell whether any row's count is too unlikely for its probability."""
    inclusion = np.clip(np.asarray(inclusion, dtype=np.float64), 0, 1)
    level = ALPHA / (2 * len(inclusion))
    too_few = stats.binom.cdf(counts, n_draws, inclusion) < level
    too_many = stats.binom.sf(counts - 1, n_draws, inclusion) < level
    return bool((too_few | too_many).any())


def uneven(n, total, seed=0):
    """Make inclusion probabilities below 1 that sum to total and differ a lot."""
    weights = np.random.default_rng(seed).uniform(0.02, 1, n)
    while True:
        inclusion = weights * (total / weights.sum())
        if inclusion.max() < 1:
            return inclusion
        weights = np.minimum(weights, 0.9 * weights.max())


CASES = {
    "a few of many": uneven(40, 3),
    "half": uneven(30, 15),
    "nearly all": 1 - uneven(30, 2),
    "one row": uneven(12, 1),
    "single precision": uneven(25, 5).astype(np.float32),
    "zeros and ones": np.r_[0, 1, uneven(10, 3), 0, 0, 1, uneven(10, 4), 1, 0],
    "even": np.full(20, 0.25),
    "skewed": np.array([0.97, 0.96, 0.05, 0.01, 0.009, 0.001]),
    "all but rounding certain": np.r_[np.full(6, 1 - 1e-4), 6e-4, 0.5, 0.5],
}


@pytest.mark.parametrize("inclusion", CASES.values(), ids=CASES)
def test_marginals_are_exact(inclusion):
    """Every row comes as often as its inclusion probability says."""
    counts, _ = draw_counts(inclusion)
    assert not rejects(counts, inclusion)


@pytest.mark.parametrize("n_chunks", [1, 3, 7])
@pytest.mark.parametrize("inclusion", CASES.values(), ids=CASES)
def test_marginals_are_exact_in_chunks(inclusion, n_chunks, monkeypatch):
    """As above where rows are shuffled chunk by chunk, the last one shorter."""
    monkeypatch.setattr(draw_module, "_N_CHUNKS", n_chunks)
    monkeypatch.setattr(draw_module, "_SLAB", 8)
    counts, _ = draw_counts(inclusion, n_draws=1_000, seed=n_chunks)
    assert not rejects(counts, inclusion, n_draws=1_000)


def test_choice_without_replacement_fails_the_same_test():
    """Generator.choice(p=..., replace=False) distorts the marginals.

    This is why it is not used: rows with large p come less often than they should.
    """

    def choice(inclusion, rng):
        size = round(float(inclusion.sum()))
        p = inclusion / inclusion.sum()
        return rng.choice(len(inclusion), size, replace=False, p=p)

    inclusion = CASES["half"]
    counts, _ = draw_counts(inclusion, sample=choice)
    assert rejects(counts, inclusion)
    ratio = counts / (N_DRAWS * inclusion)
    assert ratio[inclusion.argmax()] < 0.9
    assert ratio[inclusion.argmin()] > 1.1


@pytest.mark.parametrize("n_chunks", [4, 1 << 16])
def test_rows_of_probability_zero_never_come_and_certain_rows_always(
    n_chunks, monkeypatch
):
    """Zero means never and one means always, also for a tooth at the very edge."""
    monkeypatch.setattr(draw_module, "_N_CHUNKS", n_chunks)
    inclusion = CASES["zeros and ones"]
    counts, _ = draw_counts(inclusion, n_draws=500)
    assert (counts[inclusion == 0] == 0).all()
    assert (counts[inclusion == 1] == 500).all()


class StartAt(np.random.Generator):
    """A generator whose shuffles are random and whose comb starts at u."""

    def __init__(self, u, seed):
        super().__init__(np.random.PCG64(seed))
        self.u = u

    def random(self):
        return self.u


@pytest.mark.parametrize("n_chunks", [7, 30, 1 << 16])
@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_extreme_random_starts_pick_rows_of_positive_probability(
    n_chunks, u, monkeypatch
):
    """A comb that starts at 0 or ends at the end of the last row stays inside."""
    monkeypatch.setattr(draw_module, "_N_CHUNKS", n_chunks)
    # Tenths: many sums of rows end where a tooth falls, up to rounding.
    inclusion = np.tile([0, 0, 0.1, 0.2, 0.3, 0.7, 0.7, 0, 0], 10)
    for seed in range(50):
        rows = fixed_size_sample(inclusion, StartAt(u, seed))
        assert np.unique(rows).shape == (20,)
        assert (inclusion[rows] > 0).all()


def test_every_pair_can_come_together():
    """Shuffling leaves no pair out, as drawing in file order would."""
    inclusion = np.linspace(0.1, 0.4, 12)
    _, pairs = draw_counts(inclusion)
    assert (pairs[~np.eye(12, dtype=bool)] > 0).all()
    # In file order neighbors never come together: they lie on less than one gap.
    assert max(a + b for a, b in pairwise(inclusion)) < 1


def test_even_pairs_are_exact():
    """With equal probabilities the draw is a simple random sample, pairs included."""
    n, size = 10, 4
    _, pairs = draw_counts(np.full(n, size / n))
    expected = np.full((n, n), size * (size - 1) / (n * (n - 1)))
    upper = np.triu_indices(n, 1)
    assert not rejects(pairs[upper], expected[upper])


def test_pairs_of_different_chunks_come_together(monkeypatch):
    """In chunks, only rows of one chunk keep apart, as the docstring says."""
    monkeypatch.setattr(draw_module, "_N_CHUNKS", 6)
    _, pairs = draw_counts(np.full(24, 0.125))
    chunk = np.arange(24) // 4
    different = chunk[:, None] != chunk
    assert (pairs[different] > 0).all()
    assert (pairs[~different & ~np.eye(24, dtype=bool)] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_drawn", [1, 1_000, 150_000, 199_999])
def test_a_large_pool_gives_distinct_rows_with_the_right_share(n_drawn, dtype):
    """200,000 rows, drawn in chunks: size, distinctness, and the share of a half."""
    n = 200_000
    weights = np.where(np.arange(n) % 2, 1.0, 0.5 if n_drawn < 0.6 * n else 1.0)
    inclusion = (weights * (n_drawn / weights.sum())).astype(dtype)
    rows = fixed_size_sample(inclusion, 0)
    assert rows.dtype == np.int64
    assert rows.shape == (n_drawn,)
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < n
    if n_drawn == 1_000:
        # Systematic sampling varies less than a binomial does.
        share = inclusion[1::2].sum(dtype=np.float64) / n_drawn
        tail = stats.binom.cdf(np.sum(rows % 2 == 1), n_drawn, share)
        assert ALPHA / 2 < tail < 1 - ALPHA / 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_close_to_certain_do_not_inflate_the_draw(dtype):
    """2,000,000 rows at 1 - 5e-7 are 1,999,999 draws, not all rows."""
    n = 2_000_000
    rows = fixed_size_sample(np.full(n, 1 - 1 / n, dtype=dtype), 0)
    assert rows.shape == (n - 1,)
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("excess", [-9e-5, 9e-5])
def test_a_sum_off_by_rounding_repeats_no_row(excess, u):
    """A row longer than the gap between two teeth is drawn, once."""
    for inclusion in (
        np.array([1.0, 1.0 + excess / 2, 1.0]),
        np.array([1.0 + excess, 0.5, 0.5]),
        np.array([0.99995, 0.9999, 0.0]),
    ):
        inclusion = np.minimum(inclusion, 1.0)
        for seed in range(20):
            rows = fixed_size_sample(inclusion, StartAt(u, seed))
            assert rows.shape == (round(inclusion.sum()),)
            assert np.unique(rows).shape == rows.shape


def test_a_hair_above_one_is_one():
    """Rounding may lift certain rows a hair above 1, which adds no draw."""
    inclusion = np.zeros(1_200_000)
    inclusion[::2] = 1 + 9e-7
    np.testing.assert_array_equal(
        fixed_size_sample(inclusion, 0), np.arange(0, 1_200_000, 2)
    )


def test_the_input_is_left_alone():
    """Certain rows are not zeroed in the caller's array, which may be read-only."""
    inclusion = np.array([1.0, 0.5, 0.5, 1.0])
    inclusion.flags.writeable = False
    fixed_size_sample(inclusion, 0)
    np.testing.assert_array_equal(inclusion, [1, 0.5, 0.5, 1])


def test_no_rows_and_no_draws():
    """An empty pool, or probabilities that are all 0, give no row."""
    for inclusion in ([], np.zeros(4), np.zeros(200_000)):
        rows = fixed_size_sample(inclusion, 0)
        assert rows.shape == (0,)
        assert rows.dtype == np.int64


SCRIPT = """
import numpy as np
from skadistill.query._game.draw import fixed_size_sample
for n, size in [(50, 5), (100_000, 20)]:
    weights = np.random.default_rng(1).random(n)
    print(*fixed_size_sample(weights * (size / weights.sum()), 7))
"""


def test_same_seed_same_rows_also_in_a_new_process():
    """Nothing but the seed decides, small pool and chunks alike."""
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    ).stdout
    there = [[int(row) for row in line.split()] for line in output.splitlines()]
    for (n, size), rows in zip([(50, 5), (100_000, 20)], there, strict=True):
        weights = np.random.default_rng(1).random(n)
        inclusion = weights * (size / weights.sum())
        assert fixed_size_sample(inclusion, 7).tolist() == rows
        assert fixed_size_sample(inclusion, 8).tolist() != rows
        generator = np.random.default_rng(7)
        assert fixed_size_sample(inclusion, generator).tolist() == rows


@pytest.mark.parametrize(
    ("inclusion", "sentence"),
    [
        (
            [[0.5, 0.5]],
            "inclusion must be one-dimensional, got shape (1, 2); pass one probability "
            "for each row.",
        ),
        (
            [1.5, 0.5],
            "inclusion must lie in [0, 1], got values from 0.5 to 1.5; pass "
            "n_queries to robust_distribution so that no row is drawn twice.",
        ),
        (
            [-0.25, 1.0, 0.25],
            "inclusion must lie in [0, 1], got values from -0.25 to 1.0; pass "
            "n_queries to robust_distribution so that no row is drawn twice.",
        ),
        (
            [0.5, np.nan],
            "inclusion must lie in [0, 1], got values from nan to nan; pass "
            "n_queries to robust_distribution so that no row is drawn twice.",
        ),
        (
            [0.5, 0.25],
            "inclusion must sum to a whole number of rows, got 0.75; scale it to the "
            "number of rows to draw.",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_what_to_do(inclusion, sentence):
    """Each fault raises a ValueError with this sentence."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        fixed_size_sample(inclusion)
