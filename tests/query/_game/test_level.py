import re
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadistill.query._game import level as level_module
from skadistill.query._game.level import as_gains, water_level
from skadistill.query.game import robust_distribution

steady = partial(settings, settings.get_profile("steady"))


def level_by_sorting(gains, *masses):
    """Find max_k (k - m) / H_k over the sorted gains, in extended precision."""
    ranked = np.sort(gains[gains > 0])[::-1].astype(np.longdouble)
    counts = np.arange(1, ranked.shape[0] + 1)
    sums = np.cumsum(1 / ranked)
    return [float(np.max((counts - mass) / sums)) for mass in masses]


def make_gains(shape, n, rng):
    if shape == "uniform":
        return rng.random(n)
    if shape == "two ends":
        return rng.beta(0.5, 0.5, n)
    if shape == "confident":
        return np.maximum(1 - np.abs(np.tanh(4 * rng.normal(size=n))), 1e-6)
    if shape == "equal":
        return np.full(n, 0.3)
    if shape == "ascending":
        return np.sort(rng.random(n))
    if shape == "descending":
        return np.sort(rng.random(n))[::-1]
    if shape == "two clusters":
        return np.where(rng.random(n) < 0.3, 1.0, 1e-7) * (1 + 1e-3 * rng.random(n))
    if shape == "far clusters":  # a sum of inverses that cancels 12 digits
        return np.where(rng.random(n) < 0.7, 1.0, 1e-12) * (1 + 0.1 * rng.random(n))
    if shape == "five values":
        return rng.integers(1, 6, n) / 5
    if shape == "mostly zero":
        return rng.random(n) * (np.arange(n) % 20 == 7)
    if shape == "nine decades":
        return 10.0 ** rng.uniform(-7, 2, n)
    stride = max(1, n // level_module._SAMPLE)
    high, low = (0.9, 0.1) if shape == "sample too high" else (0.1, 0.9)
    return np.where(np.arange(n) % stride == 0, high, low) * rng.uniform(0.9, 1.1, n)


SHAPES = [
    "uniform",
    "two ends",
    "confident",
    "equal",
    "ascending",
    "descending",
    "two clusters",
    "far clusters",
    "five values",
    "mostly zero",
    "nine decades",
    "sample too high",
    "sample too low",
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [10, 1_000, 70_000, 300_000])
def test_water_level_is_exact(n, shape, dtype):
    """The level agrees with a sort to 1e-9, whatever the subsample shows."""
    gains = make_gains(shape, n, np.random.default_rng(n)).astype(dtype)
    n_positive = np.count_nonzero(gains)
    shares = [1e-6, 1e-3, 0.05, 0.3, 0.7, 0.999]
    masses = [1e-9, *(share * n_positive for share in shares), n_positive - 1e-3]
    for mass, expected in zip(masses, level_by_sorting(gains, *masses), strict=True):
        game = robust_distribution(gains, mass)
        assert game.value == pytest.approx(expected, rel=1e-9)
        assert game.n_support > mass
        assert game.p.sum(dtype=np.float64) == pytest.approx(1, abs=3e-7)
        assert water_level(gains, mass) == game.value


@pytest.mark.parametrize(
    ("shape", "n"),
    [
        ("sample too high", 300_000),
        ("sample too low", 300_000),
        ("five values", 600_000),
    ],
)
def test_water_level_falls_back_where_the_subsample_misleads(shape, n, monkeypatch):
    """A periodic pool and a level on a large tie are solved by more passes."""
    gains = make_gains(shape, n, np.random.default_rng(0))
    mass = 0.4 * n
    if shape == "five values":
        ranked = np.sort(gains)[::-1]
        k = np.searchsorted(-ranked, -0.6)  # rows above 0.6: the level is 0.6
        mass = k - 0.6 * np.sum(1 / ranked[:k])
    passes = []
    tally = level_module._tally
    monkeypatch.setattr(
        level_module, "_tally", lambda *args: passes.append(args) or tally(*args)
    )
    level = water_level(gains, mass)
    assert len(passes) > 1
    assert level == pytest.approx(level_by_sorting(gains, mass)[0], rel=1e-9)
    if shape == "five values":
        assert level == pytest.approx(0.6, rel=1e-9)


@pytest.mark.parametrize("shape", ["uniform", "confident", "nine decades"])
def test_water_level_takes_one_pass_where_the_subsample_is_fair(shape, monkeypatch):
    """On ordinary pools the bracket holds: one pass over the gains."""
    gains = make_gains(shape, 300_000, np.random.default_rng(1))
    passes = []
    tally = level_module._tally
    monkeypatch.setattr(
        level_module, "_tally", lambda *args: passes.append(args) or tally(*args)
    )
    water_level(gains, 0.2 * 300_000)
    assert len(passes) == 1


def test_water_level_at_both_ends():
    """Mass 0 gives the largest gain; mass of all positive gains or more gives 0."""
    gains = np.array([0.2, 0.0, 0.7, 0.7])
    assert water_level(gains, 0) == 0.7
    assert water_level(gains, 3) == 0
    assert water_level(gains, 3.5) == 0
    assert water_level(np.zeros(3), 0) == 0
    assert water_level([5], 0.5) == 2.5


@steady(max_examples=200)
@given(st.data())
def test_water_level_is_the_root(games, data):
    """The sum of max(0, 1 - v/g) is the mass, to rounding."""
    gains = data.draw(games.gain_arrays(max_size=40))
    mass = data.draw(games.mistakes(gains))
    level = water_level(gains, mass)
    g = gains[gains > 0].astype(np.float64)
    if mass == 0:
        assert level == gains.max()
    elif mass >= g.size:
        assert level == 0
    else:
        # A gain that equals the level to rounding may be left out; what is left of
        # the mass then loses digits, by the ratio of the largest gain to the level.
        rounding = 1e-12 + 1e-15 * g.size * g.max() / level
        assert np.maximum(0, 1 - level / g).sum() == pytest.approx(mass, abs=rounding)


def peak_memory(function, *args):
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_water_level_copies_no_gains():
    """4e6 float32 gains (16 MB) are read in blocks: no float64 copy (32 MB).

    Half the gains' size leaves room for the few per cent that are collected near
    the level, in float64, with their sums.
    """
    gains = np.random.default_rng(0).random(4_000_000, dtype=np.float32)
    assert peak_memory(water_level, gains, 40_000) < gains.nbytes / 2
    assert peak_memory(water_level, gains, 2_000_000.5) < gains.nbytes / 2


def test_water_level_on_many_ties_stays_below_the_gains():
    """The most that is ever collected, an eighth, costs less than the gains."""
    rng = np.random.default_rng(0)
    gains = rng.random(4_000_000, dtype=np.float32)
    gains[rng.random(gains.shape[0]) < 0.12] = 0.5
    ranked = np.sort(gains.astype(np.float64))[::-1]
    above = np.searchsorted(-ranked, -0.5)
    mass = above - 0.5 * np.sum(1 / ranked[:above])  # the level is 0.5
    assert peak_memory(water_level, gains, mass) < gains.nbytes


@pytest.mark.parametrize("unit", [1e-320, 1e-300, 1e-200, 1e200, 8e307])
def test_water_level_follows_the_unit_of_the_gains(unit):
    """Gains that are all subnormal, or close to overflow, have their level."""
    gains = unit * np.array([1.0, 0.5, 0.25])
    plain = np.array(gains / gains.max())
    expected = float(gains.max()) * water_level(plain, 1.0)
    assert water_level(gains, 1.0) == pytest.approx(expected, rel=1e-12, abs=5e-324)


def test_as_gains_leaves_ordinary_gains_alone():
    """float32 and float64 are not copied; the range and unit 1 come with them."""
    for dtype in (np.float32, np.float64):
        gains = np.array([0.5, 0.0, 0.25], dtype=dtype)
        checked, low, high, exponent = as_gains(gains)
        assert checked is gains
        assert (low, high, exponent) == (0.0, 0.5, 0)


def test_as_gains_counts_what_cannot_be_inverted_as_nothing():
    """Next to gains of ordinary size, those below 1e-290 are 0; the input stays."""
    gains = np.array([1e-310, 1.0, 1e-280])
    checked, low, high, exponent = as_gains(gains)
    np.testing.assert_array_equal(checked, [0, 1, 1e-280])
    assert (low, high, exponent) == (0.0, 1.0, 0)
    assert gains[0] == 1e-310


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: water_level([], 0),
            "gains must be one-dimensional and not empty, got shape (0,); pass one "
            "gain for each row of the pool.",
        ),
        (
            lambda: water_level([0.5, 0.1], 2),
            "n_mistakes must be in [0, n_samples), got 2.0 for 2 rows; pass the "
            "number of rows that the teacher may get wrong.",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_what_to_do(call, sentence):
    """Each fault raises a ValueError with this sentence."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()
