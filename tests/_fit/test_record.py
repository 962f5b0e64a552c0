"""Records of rounds and the history made of them."""

import numpy as np
import pytest

from skadistill._fit.record import RoundRecord, as_history
from skadistill._statistics.checks import TeacherChecks
from skadistill._statistics.intervals import estimate_share


def test_every_record_has_every_key():
    """A key reported in one round is in all, None in the rounds without it."""
    records = [RoundRecord(i) for i in range(3)]
    records[1].take_report({"gain_max": 0.5, "n_hidden": 3})
    records[2].take_report({"other": "x"})
    history = as_history(records)
    assert len({tuple(record) for record in history}) == 1
    assert [record["n_hidden"] for record in history] == [None, 3, None]
    assert [record["other"] for record in history] == [None, None, "x"]
    assert [record["gain_max"] for record in history] == [None, 0.5, None]
    assert {"start", "report"}.isdisjoint(history[0])


def test_a_report_does_not_replace_the_counts_of_the_loop():
    """A strategy that reports ``n_paid`` does not change what was paid."""
    record = RoundRecord(1, n_paid=7)
    record.take_report({"n_paid": 0, "round": 9})
    (line,) = as_history([record])
    assert (line["n_paid"], line["round"]) == (7, 1)


def test_histories_are_copies():
    """Changing a history changes no record."""
    record = RoundRecord(0)
    as_history([record])[0]["n_paid"] = 5
    assert as_history([record])[0]["n_paid"] == 0


def accuracy_bounds_hold(n_draws, overlap, seed=0):
    """Draw even rows and checks; count how often the accuracy is within its bounds.

    The student contradicts the teacher on 15 % of the rows and the teacher is wrong on
    20 %; `overlap` says how many of the rows that it contradicts it corrects.
    """
    rng, held = np.random.default_rng(seed), 0
    accuracy = 1 - 0.2 + 0.15 * overlap - 0.15 * (1 - overlap)
    for _ in range(n_draws):
        record = RoundRecord(0)
        n_wrong = int(rng.binomial(60, 0.2))
        rows = np.arange(60)
        record.take_estimate(
            estimate_share(rng.random(50) > 0.15, np.full(50, 1e-3)),
            TeacherChecks(rows, None, wrong=rows < n_wrong),
        )
        held += record.pool_accuracy_low <= accuracy <= record.pool_accuracy_high
    return held / n_draws


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_bounds_of_the_accuracy_hold(overlap):
    """At least 95 %, however the mistakes of both lie; here with the error of 500."""
    assert accuracy_bounds_hold(500, overlap) >= 0.95 - 3 * 0.01


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_bounds_of_the_accuracy_hold_in_many_draws(overlap):
    """2,000 draws: at least 93 %."""
    assert accuracy_bounds_hold(2000, overlap) >= 0.93
