"""Bounds of shares: exact ones hold for every share."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from skadistill._statistics.intervals import (
    ShareEstimate,
    estimate_share,
    exact_lower,
    exact_upper,
)


@pytest.mark.parametrize("n_samples", [1, 7, 59, 300])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.97, 1.0])
def test_exact_bounds_are_broken_at_most_as_often_as_promised(n_samples, share):
    """Over all outcomes, weighed by their probabilities: no simulation is needed."""
    hits = np.arange(n_samples + 1)
    probability = binom.pmf(hits, n_samples, share)
    low = np.array([exact_lower(k, n_samples, 0.9) for k in hits])
    high = np.array([exact_upper(k, n_samples, 0.9) for k in hits])
    assert probability[low > share].sum() <= 0.1
    assert probability[high < share].sum() <= 0.1


def test_exact_bounds_are_as_tight_as_can_be():
    """One row fewer that is wrong, and the promise would break."""
    assert binom.cdf(3, 100, exact_upper(3, 100)) == pytest.approx(0.05)
    assert binom.sf(96, 100, exact_lower(97, 100)) == pytest.approx(0.05)


def test_bounds_without_rows_say_nothing():
    assert (exact_lower(0, 0), exact_upper(0, 0)) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_census_has_no_spread(share):
    assert ShareEstimate(share, np.inf).interval() == (share, share)


def test_intervals_of_shares_narrow_with_rows_and_stay_in_range():
    """Without a miss the upper end is 1, without a hit the lower end is 0."""

    def interval(n_hits, n_samples):
        return estimate_share(
            np.arange(n_samples) < n_hits, np.full(n_samples, 1e-4)
        ).interval()

    widths = [np.diff(interval(0.9 * n, n))[0] for n in (10, 50, 500)]
    assert widths == sorted(widths, reverse=True)
    assert interval(20, 20)[1] == 1.0
    assert interval(0, 20)[0] == 0.0


@pytest.mark.parametrize("n_samples", [12, 25, 60, 200])
def test_equal_weights_give_the_interval_of_jeffreys(n_samples):
    """Over shares it covers 95 % in the mean, by probabilities of all outcomes."""
    hits = np.arange(n_samples + 1)
    bounds = []
    for k in hits:
        found = estimate_share(np.arange(n_samples) < k, np.full(n_samples, 1e-9))
        bounds.append(found.interval())
        assert found.n_effective == pytest.approx(n_samples)
        assert found.share == pytest.approx(k / n_samples)
    inner = beta.ppf([0.025, 0.975], 3.5, n_samples - 2.5)
    assert bounds[3] == pytest.approx(inner, rel=1e-6)
    low, high = np.transpose(bounds)
    covered = [
        binom.pmf(hits, n_samples, p)[(low <= p) & (p <= high)].sum()
        for p in np.linspace(0.5, 0.97, 95)
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)
    assert min(covered) > 0.85


def test_the_share_of_rows_left_out_is_what_varies():
    """Half of the pool says as much as twice as many rows of a large one."""
    hits = np.arange(200) < 180
    assert estimate_share(hits, np.full(200, 0.5)).n_effective == pytest.approx(
        400, rel=0.02
    )


def test_heavy_rows_that_are_all_hits_keep_their_doubt():
    """Five heavy rows and many light ones: the doubt is that of the heavy ones."""
    inclusion = np.r_[np.full(5, 0.01), np.full(200, 0.9)]
    estimate = estimate_share(np.arange(205) < 200, inclusion)
    low, _ = estimate.interval()
    assert (
        low < estimate_share(np.ones(20, dtype=bool), np.full(20, 0.01)).interval()[0]
    )
    assert estimate.n_effective < 20
