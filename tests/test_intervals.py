"""Bounds of shares: exact ones hold for every share."""

import numpy as np
import pytest
from scipy.stats import binom

from skadistill._intervals import (
    exact_lower,
    exact_upper,
    share_interval,
    share_lower,
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
    assert share_interval(share, np.inf) == (share, share)
    assert share_lower(share, np.inf) == share


def test_intervals_of_shares_narrow_with_rows_and_stay_in_range():
    widths = [np.diff(share_interval(0.95, n))[0] for n in (5, 50, 500)]
    assert widths == sorted(widths, reverse=True)
    assert share_interval(1.0, 20.0)[1] == 1.0
    assert share_interval(0.0, 20.0)[0] == share_lower(0.0, 20.0) == 0.0


def test_the_lower_bound_of_whole_rows_is_the_exact_one():
    assert share_lower(0.97, 100) == pytest.approx(exact_lower(97, 100))
