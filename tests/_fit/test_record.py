"""Records of rounds and the history made of them."""

from skadistill._fit.record import RoundRecord, as_history


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
