"""Thresholds of a cascade keep their promise in as many audits as they say."""

import numpy as np
import pytest

from skadistill.deploy._audit import deferral_threshold, promised_threshold
from skadistill.exceptions import CascadeError


def make_audit(rng, n_audit, sureness=4.0):
    """Draw how sure the student is, and whether it agrees: less if less sure."""
    sure = 0.5 + 0.5 * rng.beta(sureness, 1.0, n_audit)
    return sure, rng.random(n_audit) < sure


def risk_of(threshold, sureness=4.0):
    """Return the share of all rows answered by the student and differently."""
    x = (np.arange(200_000) + 0.5) / 200_000
    sure = 0.5 + 0.5 * x ** (1 / sureness)
    return np.mean((1 - sure) * (sure > threshold))


def deferred_of(threshold, sureness=4.0):
    x = (np.arange(200_000) + 0.5) / 200_000
    return np.mean(0.5 + 0.5 * x ** (1 / sureness) <= threshold)


def broken_promises(n_draws, n_audit, target):
    rng = np.random.default_rng(0)
    exact = point = 0
    for _ in range(n_draws):
        sure, agreed = make_audit(rng, n_audit)
        try:
            threshold = promised_threshold(sure, agreed, target, 0.95)
        except CascadeError:
            threshold = 1.0
        exact += risk_of(threshold) > 1 - target
        # What a point estimate on the same rows would have chosen.
        order = np.argsort(-sure)
        share = np.cumsum(~agreed[order]) / n_audit
        few = np.flatnonzero(share <= 1 - target)
        point += risk_of(sure[order][few[-1]] if len(few) else 1.0) > 1 - target
    return exact / n_draws, point / n_draws


def test_the_promise_is_kept_where_a_point_estimate_breaks_it():
    """In 300 audits of 300 rows."""
    exact, point = broken_promises(300, 300, 0.98)
    assert exact <= 0.09
    assert point > 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("n_audit", "target"), [(300, 0.98), (300, 0.95), (150, 0.95)])
def test_the_promise_is_kept(n_audit, target):
    """2,000 audits: 5 % and three standard errors; a point rule breaks it often."""
    exact, point = broken_promises(2000, n_audit, target)
    assert exact <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert point > 0.3


def broken_deferrals(n_draws, n_audit, max_deferred):
    rng = np.random.default_rng(0)
    thresholds = [
        deferral_threshold(make_audit(rng, n_audit)[0], max_deferred, 0.95)
        for _ in range(n_draws)
    ]
    return np.mean([deferred_of(t) > max_deferred for t in thresholds])


def test_few_enough_rows_are_deferred():
    assert broken_deferrals(300, 200, 0.2) <= 0.09


@pytest.mark.slow
@pytest.mark.parametrize("max_deferred", [0.05, 0.2, 0.5])
def test_few_enough_rows_are_deferred_in_many_audits(max_deferred):
    """2,000 audits."""
    assert broken_deferrals(2000, 300, max_deferred) <= 0.05 + 0.015


def test_nothing_is_promised_from_too_few_rows():
    """The message says how many it takes at least, and that many do."""
    with pytest.raises(CascadeError, match="pass at least 149") as caught:
        promised_threshold(np.ones(148), np.ones(148, dtype=bool), 0.98, 0.95)
    assert "148 audit rows cannot show" in str(caught.value)
    full = np.ones(149, dtype=bool)
    assert promised_threshold(np.ones(149), full, 0.98, 0.95) == -np.inf
    with pytest.raises(CascadeError, match="pass at least 59"):
        deferral_threshold(np.ones(58), 0.05, 0.95)


def test_a_student_that_is_wrong_where_it_is_sure_is_refused():
    sure = np.linspace(0.5, 1, 300)
    with pytest.raises(CascadeError, match="nearly every row would be deferred"):
        promised_threshold(sure, sure < 0.9, 0.98, 0.95)


def test_rows_equally_sure_are_treated_alike():
    """Ties at the threshold are deferred together, or stay together."""
    sure = np.repeat([0.6, 0.8, 1.0], 100)
    assert promised_threshold(sure, sure > 0.7, 0.98, 0.95) == 0.6
    assert deferral_threshold(sure, 0.5, 0.95) == 0.6
    assert deferral_threshold(sure, 0.3, 0.95) == -np.inf
    assert deferral_threshold(sure, 0.0, 0.95) == -np.inf
