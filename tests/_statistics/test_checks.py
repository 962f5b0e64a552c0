"""What checks of a teacher say: counts, a rate, an interval."""

import numpy as np
import pytest
from scipy.stats import binom

from skadistill._statistics.checks import TeacherChecks


def counted(n_wrong, n_samples):
    """Return checks without answers, of which some are wrong."""
    rows = np.arange(n_samples)
    return TeacherChecks(rows, None, wrong=rows < n_wrong)


def test_the_rate_is_the_mean_of_the_posterior():
    """Never 0 and never 1; one half without a row."""
    assert [counted(*c).rate for c in ((0, 0), (0, 8), (3, 8))] == [0.5, 0.1, 0.4]


def test_the_interval_is_that_of_the_posterior():
    """Without a row anything is possible; more rows and less certainty narrow it."""
    assert counted(0, 0).interval(0.9) == pytest.approx((0.05, 0.95))
    few, many = counted(2, 20), counted(200, 2000)
    # Beta(w + 1, n - w + 1) lies below x as often as a count among n + 1 exceeds w.
    assert binom.sf(2, 21, few.interval()) == pytest.approx((0.025, 0.975))
    assert few.interval()[0] < many.interval()[0] < 0.1 < many.interval()[1]
    assert many.interval(0.5)[0] > many.interval(0.9)[0]


@pytest.mark.parametrize("n_samples", [40, 100, 300])
def test_the_interval_holds_as_often_as_it_says(n_samples):
    """95 % in the mean over error rates, by the probabilities of all outcomes."""
    counts = np.arange(n_samples + 1)
    rates = np.linspace(0.01, 0.6, 60)
    low, high = np.transpose([counted(k, n_samples).interval() for k in counts])
    covered = [
        binom.pmf(counts, n_samples, rate)[(low <= rate) & (rate <= high)].sum()
        for rate in rates
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.85


def test_checks_add_up_and_are_sorted_with_their_answers():
    """Rows, answers and truth stay together; wrong ones and costs are counted anew."""
    proba, truth = np.eye(2)[[0, 1, 1, 0]], np.array([0, 0, 1, 1])
    checks = TeacherChecks.none(2)
    assert (checks.n_samples, checks.n_wrong) == (0, 0)
    checks = checks.add(np.array([7, 2]), proba[:2], truth[:2], n_paid=2, cost=0.5)
    checks = checks.add(np.array([9, 1]), proba[2:], truth[2:], cost=1.0, n_no_label=1)
    assert (checks.n_paid, checks.cost, checks.n_no_label) == (2, 1.5, 1)
    assert checks.wrong.tolist() == [False, True, False, True]
    ordered = checks.in_order()
    assert ordered.rows.tolist() == [1, 2, 7, 9]
    assert ordered.wrong.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(ordered.proba, proba[[3, 1, 0, 2]])
    kept = ordered.without_answers()
    assert kept.proba is kept.truth is None
    assert (kept.n_wrong, kept.interval()) == (2, checks.interval())


def test_without_the_truth_nobody_counts_errors():
    """An error, not 0."""
    with pytest.raises(ValueError, match="nobody knows"):
        TeacherChecks(np.arange(3), np.eye(3)).rate  # noqa: B018
