"""Every ledger gives back what was paid for, to the bit, and to nobody else."""

import itertools
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skadistill.exceptions import BudgetError, LedgerError
from skadistill.ledger import (
    BaseLedger,
    LabelLedger,
    MemoryLedger,
    PostgresLedger,
    row_keys,
)

NO_LOSSES = {"n_lost": 0, "n_unanswered": 0, "lost_cost": 0.0, "max_lost_cost": 0.0}
CLASSES = ["a", "b", "c"]


NUMBERS = itertools.count()


@pytest.fixture(params=["memory", "disk", "postgres"])
def new_ledger(request, tmp_path):
    """Make ledgers, each a new one, of each kind."""
    made = []

    def new(**limits):
        number = next(NUMBERS)
        if request.param == "memory":
            return MemoryLedger(**limits)
        if request.param == "disk":
            return LabelLedger(tmp_path / f"{number}.sqlite", **limits)
        url = request.getfixturevalue("postgres_url")
        made.append(PostgresLedger(url, f"ledger_{number}", **limits))
        return made[-1]

    yield new
    for ledger in made:
        ledger.close()


def some_rows(n, seed=0, n_classes=3):
    rng = np.random.default_rng(seed)
    return row_keys(rng.normal(size=(n, 2))), rng.dirichlet(np.ones(n_classes), size=n)


@settings(
    max_examples=12,
    deadline=None,
    # Each example makes a ledger of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 60), n_classes=st.integers(1, 5))
def test_labels_come_back_to_the_bit(new_ledger, seed, n, n_classes):
    """Recorded in pieces and in any order of columns, looked up in another."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n_classes) * 3
    keys, labels = some_rows(n, seed, n_classes)
    ledger = new_ledger()
    for piece in np.array_split(rng.permutation(n), 3):
        order = rng.permutation(n_classes)
        ledger.record(keys[piece], "t", classes[order], labels[piece][:, order])
    order, rows = rng.permutation(n_classes), rng.integers(0, max(n, 1), size=2 * n)
    known, found = ledger.lookup(keys[rows], "t", classes[order])
    assert known.all()
    assert (found == labels[rows][:, order]).all()
    assert found.dtype == np.float64
    assert len(ledger) == n


def test_what_is_not_known_is_not_known(new_ledger):
    """Other rows, another teacher and another set of classes are strangers."""
    keys, labels = some_rows(6)
    ledger = new_ledger()
    ledger.record(keys[:4], "t", CLASSES, labels[:4])
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert known.tolist() == [True] * 4 + [False] * 2
    assert np.isnan(found[4:]).all()
    assert (found[:4] == labels[:4]).all()
    for teacher_id, classes in [
        ("u", CLASSES),
        ("t", ["a", "b"]),
        ("t", ["a", "b", "c", "d"]),
        ("t", ["a", "b", "d"]),
        ("t", [0, 1, 2]),
    ]:
        known, found = ledger.lookup(keys, teacher_id, classes)
        assert not known.any()
        assert found.shape == (6, len(classes))
        assert np.isnan(found).all()


def test_numbers_and_texts_are_different_classes(new_ledger):
    """The class 1 is 1.0, but it is not "1"."""
    keys, labels = some_rows(2, n_classes=2)
    ledger = new_ledger()
    ledger.record(keys, "t", np.array([0, 1]), labels)
    assert ledger.lookup(keys, "t", np.array([0.0, 1.0]))[0].all()
    assert not ledger.lookup(keys, "t", ["0", "1"])[0].any()


def test_the_first_label_stands_and_both_payments_count(new_ledger):
    """A row paid twice keeps its label; the money is gone twice."""
    keys, labels = some_rows(3)
    ledger = new_ledger()
    ledger.record(keys[[0, 0, 1]], "t", CLASSES, labels[[0, 2, 1]], cost=3.0)
    ledger.record(keys, "t", CLASSES, labels[::-1], cost=1.5, seconds=2.0)
    _, found = ledger.lookup(keys, "t", CLASSES)
    assert (found == labels[[0, 1, 0]]).all()
    assert len(ledger) == 3
    assert ledger.n_paid == 6
    assert ledger.summary()["cost"] == 4.5


def test_summary_adds_up(new_ledger):
    """Totals are the sums over teachers."""
    keys, labels = some_rows(5)
    ledger = new_ledger()
    assert ledger.summary() == {
        "n_labels": 0,
        "n_no_label": 0,
        "n_paid": 0,
        "n_calls": 0,
        "n_failed": 0,
        "n_lost": 0,
        "n_unanswered": 0,
        "cost": 0.0,
        "lost_cost": 0.0,
        "max_lost_cost": 0.0,
        "seconds": 0.0,
        "teachers": {},
    }
    ledger.record(keys[:2], "t", CLASSES, labels[:2], cost=2.0, seconds=0.5)
    ledger.record(keys[2:], "t", CLASSES, labels[2:], seconds=0.25)
    ledger.record(keys[:1], "t", CLASSES[:2], [[0.5, 0.5]])
    ledger.record(keys[:1], "u", CLASSES, labels[:1])
    t = {"n_labels": 6, "n_paid": 6, "n_calls": 3, "cost": 2.0, "seconds": 0.75}
    u = {"n_labels": 1, "n_paid": 1, "n_calls": 1, "cost": 0.0, "seconds": 0.0}
    total = {"n_labels": 7, "n_paid": 7, "n_calls": 4, "cost": 2.0, "seconds": 0.75}
    for counts in (t, u, total):
        counts.update(n_no_label=0, n_failed=0, **NO_LOSSES)
    assert ledger.summary() == {**total, "teachers": {"t": t, "u": u}}
    assert len(ledger) == 7


def test_embeddings_come_back_to_the_bit(new_ledger):
    """Each row's float32 embedding, whatever the classes; strangers have none."""
    keys, labels = some_rows(6)
    embeddings = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    ledger = new_ledger()
    assert ledger.lookup_embeddings(keys, "t")[1].shape == (6, 0)
    ledger.record(keys[:2], "t", CLASSES, labels[:2])
    assert not ledger.lookup_embeddings(keys, "t")[0].any()
    ledger.record(keys[:4], "t", CLASSES, labels[:4], embeddings=embeddings[:4])
    ledger.record(keys[:1], "t", ["a", "b"], [[0.5, 0.5]], embeddings=embeddings[5:])
    for ledger_ in (ledger, pickle.loads(pickle.dumps(ledger))):
        known, found = ledger_.lookup_embeddings(keys, "t")
        assert known.tolist() == [True] * 4 + [False] * 2
        assert found.dtype == np.float32
        assert (found[:4] == embeddings[:4]).all()
        assert np.isnan(found[4:]).all()
        assert not ledger_.lookup_embeddings(keys, "u")[0].any()


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (
            np.zeros((3, 2)),
            "embeddings have shape (3, 2) for 2 keys; pass one row of numbers per key.",
        ),
        (
            np.zeros(2),
            "embeddings have shape (2,) for 2 keys; pass one row of numbers per key.",
        ),
        (
            np.array([[0.0, np.nan], [0.0, 0.0]]),
            "embeddings hold nan; record finite numbers (float32 ends at 3.4e38).",
        ),
        (
            np.zeros((2, 3)),
            "embeddings have 3 columns but those recorded of 't' have 2; give a "
            "teacher whose embeddings have changed a new version.",
        ),
    ],
)
def test_embeddings_that_cannot_be_recorded(new_ledger, embeddings, message):
    """They are refused, and the labels beside them are not kept either."""
    keys, labels = some_rows(4)
    ledger = new_ledger()
    ledger.record(keys[2:], "t", CLASSES, labels[2:], embeddings=np.ones((2, 2)))
    with pytest.raises(LedgerError) as caught:
        ledger.record(keys[:2], "t", CLASSES, labels[:2], embeddings=embeddings)
    assert str(caught.value) == message
    assert len(ledger) == 2


def test_recorded_and_found_arrays_are_the_callers(new_ledger):
    """Changing what was recorded or found changes nothing in the ledger."""
    keys, labels = some_rows(3)
    ledger, kept = new_ledger(), labels.copy()
    ledger.record(keys, "t", CLASSES, labels)
    labels[:] = 7
    ledger.lookup(keys, "t", CLASSES)[1][:] = 7
    assert (ledger.lookup(keys, "t", CLASSES)[1] == kept).all()


def test_an_empty_ledger_is_a_ledger(new_ledger):
    """`ledger or other` must not throw an empty ledger away."""
    assert new_ledger()
    assert len(new_ledger()) == 0
    assert isinstance(new_ledger(), BaseLedger)


def test_clones_share_a_ledger(new_ledger):
    """scikit-learn's clone returns the ledger itself."""
    ledger = new_ledger()
    assert clone(ledger) is ledger


@pytest.mark.parametrize(
    ("keys", "classes", "labels", "message"),
    [
        (
            np.array([b"a"], dtype="S16"),
            ["a", "b"],
            [[0.5, 0.5]],
            "keys have dtype |S16 and shape (1,); pass what row_keys returns, one key "
            "per row.",
        ),
        (
            row_keys([[1.0]]),
            ["a", "a"],
            [[0.5, 0.5]],
            "classes are ['a', 'a'], with repeats; name every column once.",
        ),
        (
            row_keys([[1.0]]),
            ["a", "b"],
            [[0.5, 0.5]] * 2,
            "labels have shape (2, 2) for 1 keys and 2 classes; pass one row per key "
            "and "
            "one column per class.",
        ),
        (
            row_keys([[1.0]]),
            ["a", "b"],
            [[0.5, np.nan]],
            "row 0 of the labels is [0.5, nan]; record probabilities that sum to 1, as "
            "BaseTeacher.ask returns them, or a row of NaN for an answer without a "
            "label.",
        ),
    ],
)
def test_what_cannot_be_recorded(new_ledger, keys, classes, labels, message):
    """Keys, classes and labels that do not fit are refused, and nothing is kept."""
    ledger = new_ledger()
    with pytest.raises(LedgerError) as caught:
        ledger.record(keys, "t", classes, labels)
    assert str(caught.value) == message
    assert len(ledger) == 0


def test_ten_threads_lose_nothing(new_ledger):
    """10 threads x 200 rows, half of them shared, are all there."""
    keys, labels = some_rows(1100)
    ledger = new_ledger()

    def work(k):
        for i in range(100 * k, 100 * k + 200, 5):
            row = range(i, i + 5)
            ledger.record(keys[row], "t", CLASSES, labels[row], cost=5.0)
            ledger.lookup(keys[row], "t", CLASSES[::-1])

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert known.all()
    assert (found == labels).all()
    assert len(ledger) == 1100
    assert ledger.n_paid == 2000
    assert ledger.summary()["cost"] == 2000.0


def in_thread(work):
    """Run a function in a thread that has ended when this returns."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_claim_keeps_others_away(new_ledger):
    """Rows claimed are granted to nobody else until recorded or released."""
    keys, labels = some_rows(6)
    ledger = new_ledger()
    ledger.record(keys[5:], "t", CLASSES, labels[5:])
    first = ledger.claim(keys[:3], "t", CLASSES)
    assert first.granted.all()
    second = in_thread(lambda: ledger.claim(keys, "t", CLASSES[::-1]))
    assert second.granted.tolist() == [False] * 3 + [True] * 2 + [False]
    assert not second.refused.any()
    assert not second.waiting.any()
    assert ledger.claim(keys[:3], "u", CLASSES).granted.all()
    assert ledger.claim(keys[:3], "t", CLASSES[:2]).granted.all()
    ledger.record(keys[:2], "t", CLASSES, labels[:2], claim=first)
    ledger.release(first)
    third = ledger.claim(keys[:5], "t", CLASSES)
    # The thread of the second has ended without paying for its rows.
    assert third.granted.tolist() == [False, False, True, True, True]
    assert ledger.summary()["n_failed"] == 0


def test_a_fault_is_counted_and_is_no_label(new_ledger):
    """Rows of a claim that were not recorded are failed, with what they cost."""
    keys, labels = some_rows(5)
    ledger = new_ledger()
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.5)
    ledger.record(keys[:2], "t", CLASSES, labels[:2], cost=1.0, claim=claim)
    for _ in range(2):
        ledger.release(claim, fault="TeacherCallError", cost=0.25, seconds=2.0)
    t = ledger.summary()["teachers"]["t"]
    assert t == {
        "n_labels": 2,
        "n_no_label": 0,
        "n_paid": 2,
        "n_calls": 1,
        "n_failed": 3,
        "cost": 1.25,
        "seconds": 2.0,
        **NO_LOSSES,
    }
    assert ledger.lookup(keys, "t", CLASSES)[0].tolist() == [True] * 2 + [False] * 3
    assert ledger.claim(keys[2:], "t", CLASSES).granted.all()


@pytest.mark.parametrize(
    ("limits", "price", "n_granted", "n_refused"),
    [
        ({}, None, 5, 0),
        ({"max_rows": 0}, None, 0, 5),
        ({"max_rows": 1}, None, 0, 5),
        ({"max_rows": 3}, None, 1, 3),
        ({"max_rows": 99}, None, 5, 0),
        ({"max_cost": 0.6}, 0.1, 3, 0),
        ({"max_cost": 0.59}, 0.1, 2, 0),
        ({"max_cost": 0.1}, 0.1, 0, 5),
        ({"max_cost": 0.3}, 0.1, 0, 0),
        ({"max_cost": 0.3}, 0.11, 0, 5),
        ({"max_cost": 1.0}, 0, 5, 0),
        ({"max_cost": 0.6, "max_rows": 4}, 0.1, 2, 2),
    ],
)
def test_a_budget_grants_what_is_left(new_ledger, limits, price, n_granted, n_refused):
    """One row paid (0.2) and one in flight (0.1) before.

    Rows are refused if the budget is spent, and wait if others have reserved it.
    """
    keys, labels = some_rows(8)
    ledger = new_ledger()
    ledger.record(keys[:1], "u", CLASSES, labels[:1], cost=0.2)
    in_flight = ledger.claim(keys[1:2], "u", CLASSES, max_cost_per_row=0.1)
    assert in_flight.granted.all()
    ledger.max_rows, ledger.max_cost = limits.get("max_rows"), limits.get("max_cost")
    claim = ledger.claim(keys[3:], "t", CLASSES, max_cost_per_row=price)
    assert claim.granted.tolist() == [i < n_granted for i in range(5)]
    assert claim.refused.tolist() == [i >= 5 - n_refused for i in range(5)]
    assert (claim.waiting == ~(claim.granted | claim.refused)).all()


def test_money_that_comes_back_is_spent(new_ledger):
    """Rows at a tenth of their highest cost: the last affordable one is bought."""
    keys, labels = some_rows(100)
    ledger = new_ledger(max_cost=10.0)
    rows, n_claims = np.arange(100), 0
    while len(rows):
        claim = ledger.claim(keys[rows], "t", CLASSES, max_cost_per_row=1.0)
        if claim.refused.all():
            break
        paid = rows[claim.granted]
        ledger.record(
            keys[paid],
            "t",
            CLASSES,
            labels[paid],
            cost=Decimal("0.1") * len(paid),
            claim=claim,
        )
        rows, n_claims = rows[claim.waiting], n_claims + 1
    # With 9.1 spent less than 1.0, what a row can cost, is left.
    assert ledger.n_paid == 91
    assert n_claims < 50


def test_rows_wait_for_money_that_others_have_reserved(new_ledger):
    """They are refused only once it is spent."""
    keys, labels = some_rows(3)
    ledger = new_ledger(max_cost=1.0)
    first = ledger.claim(keys[:1], "t", CLASSES, max_cost_per_row=1.0)
    second = ledger.claim(keys[1:], "t", CLASSES, max_cost_per_row=0.5)
    assert second.waiting.all()
    ledger.record(keys[:1], "t", CLASSES, labels[:1], cost=0.5, claim=first)
    third = ledger.claim(keys[1:], "t", CLASSES, max_cost_per_row=0.5)
    assert third.granted.tolist() == [True, False]
    ledger.record(keys[1:2], "t", CLASSES, labels[1:2], cost=0.5, claim=third)
    assert ledger.claim(keys[2:], "t", CLASSES, max_cost_per_row=0.5).refused.all()


@pytest.mark.parametrize(
    "amount",
    [
        1,
        np.float32(1),
        np.int64(1),
        np.float16(1),
        Decimal(1),
        Fraction(1),
        np.longdouble(1),
    ],
)
def test_every_kind_of_number_is_money(new_ledger, amount):
    """Ten rows at 1 each spend a max_cost of 10."""
    keys, labels = some_rows(11)
    ledger = new_ledger(max_cost=amount * 10)
    for i in range(10):
        row = slice(i, i + 1)
        claim = ledger.claim(keys[row], "t", CLASSES, max_cost_per_row=amount)
        assert claim.granted.all()
        ledger.record(keys[row], "t", CLASSES, labels[row], cost=amount, claim=claim)
    assert ledger.summary()["cost"] == 10.0
    assert ledger.claim(keys[10:], "t", CLASSES, max_cost_per_row=amount).refused.all()


@pytest.mark.parametrize(
    "amount",
    ["1", True, np.True_, float("nan"), np.float32("inf"), -1, Decimal("-0.1"), 1j],
)
def test_what_is_not_money_is_an_error(new_ledger, amount):
    """Wherever it enters; the value is named and nothing is counted."""
    keys, labels = some_rows(2)
    ledger = new_ledger()
    value = re.escape(repr(amount))
    with pytest.raises(LedgerError, match=f"cost is {value}"):
        ledger.record(keys, "t", CLASSES, labels, cost=amount)
    with pytest.raises(LedgerError, match=f"seconds is {value}"):
        ledger.record(keys, "t", CLASSES, labels, seconds=amount)
    with pytest.raises(LedgerError, match=f"cost is {value}"):
        ledger.record_embeddings(keys, "t", np.ones((2, 2)), cost=amount)
    with pytest.raises(BudgetError, match=f"max_cost_per_row is {value}"):
        ledger.claim(keys, "t", CLASSES, max_cost_per_row=amount)
    with pytest.raises(BudgetError, match=f"max_cost is {value}"):
        new_ledger(max_cost=amount)
    claim = ledger.claim(keys, "t", CLASSES)
    with pytest.raises(LedgerError, match=f"cost is {value}"):
        ledger.release(claim, fault="TeacherCallError", cost=amount)
    assert ledger.summary()["cost"] == 0.0
    assert len(ledger) == 0


def lose(ledger, keys, n_sent):
    """Leave a claim to a thread that ends; return it."""

    def work():
        claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.5)
        ledger.sending(claim, keys[:n_sent])
        return claim

    return in_thread(work)


def test_a_claim_whose_thread_has_ended_ends(new_ledger):
    """Its rows are free again; those that were sent count as lost."""
    keys, _ = some_rows(6)
    ledger = new_ledger()
    lose(ledger, keys, 2)
    assert ledger.claim(keys, "t", CLASSES).granted.all()
    counts = ledger.summary()
    assert (counts["n_lost"], counts["cost"]) == (2, 0.0)
    # As long as nothing has been answered, no better estimate is known.
    assert counts["lost_cost"] == counts["max_lost_cost"] == 1.0


def test_a_claim_that_was_dropped_ends(new_ledger):
    """Nobody can come back to it, though its thread lives on."""
    keys, _ = some_rows(6)
    ledger = new_ledger()
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.5)
    ledger.sending(claim, keys[:2])
    assert not in_thread(lambda: ledger.claim(keys, "t", CLASSES)).granted.any()
    del claim
    assert in_thread(lambda: ledger.claim(keys, "t", CLASSES)).granted.all()
    assert ledger.summary()["n_lost"] == 2


def test_a_label_that_comes_after_all_takes_its_loss_back(new_ledger):
    """Row by row; a fault of the same claim takes back the rest."""
    keys, labels = some_rows(6)
    ledger = new_ledger()
    late = lose(ledger, keys, 4)
    ledger.claim(keys[:1], "other", CLASSES)  # which notices
    assert ledger.summary()["n_lost"] == 4
    ledger.record(keys[:1], "t", CLASSES, labels[:1], cost=0.2, claim=late)
    counts = ledger.summary()
    assert (counts["n_paid"], counts["n_lost"], counts["cost"]) == (1, 3, 0.2)
    assert counts["lost_cost"] == pytest.approx(0.6)
    assert counts["max_lost_cost"] == pytest.approx(1.5)
    ledger.release(late, fault="TeacherCallError", cost=0.3)
    counts = ledger.summary()
    assert (counts["n_failed"], counts["n_lost"]) == (3, 0)
    assert counts["cost"] == pytest.approx(0.5, abs=1e-12)
    assert counts["max_lost_cost"] == pytest.approx(0.0, abs=1e-12)
    ledger.record(keys[:1], "t", CLASSES, labels[:1], claim=late)
    assert ledger.summary()["n_lost"] == 0


def test_the_loss_of_others_is_not_taken_back(new_ledger):
    """A row that is paid for again was paid for twice."""
    keys, labels = some_rows(2)
    ledger = new_ledger()
    lose(ledger, keys, 2)
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.5)
    ledger.record(keys, "t", CLASSES, labels, cost=1.0, claim=claim)
    counts = ledger.summary()
    assert (counts["n_paid"], counts["n_lost"], counts["cost"]) == (2, 2, 1.0)
    assert (counts["lost_cost"], counts["max_lost_cost"]) == (1.0, 1.0)


def test_losses_can_be_written_off(new_ledger):
    """Their cost and their rows count no longer, of one teacher or of all."""
    keys, labels = some_rows(6)
    ledger = new_ledger(max_rows=8)
    late = lose(ledger, keys, 4)
    assert ledger.claim(keys, "t", CLASSES).granted.sum() == 4
    ledger.free_claims()
    ledger.record(keys[5:], "u", CLASSES, labels[5:], cost=0.25, unanswered=(2, 1.0))
    nothing = {"n_rows": 0, "n_unanswered": 0, "cost": 0.0}
    assert ledger.write_off("other") == nothing
    assert ledger.write_off("t") == {"n_rows": 4, "n_unanswered": 0, "cost": 2.0}
    assert ledger.write_off() == {"n_rows": 0, "n_unanswered": 2, "cost": 1.0}
    assert ledger.write_off() == nothing
    counts = ledger.summary()
    assert {name: counts[name] for name in NO_LOSSES} == NO_LOSSES
    assert counts["cost"] == 0.25
    assert ledger.claim(keys, "t", CLASSES).granted.all()
    ledger.record(keys[:1], "t", CLASSES, labels[:1], claim=late)
    assert ledger.summary()["n_lost"] == 0


def test_calls_without_an_answer_cost_the_mean_price(new_ledger):
    """At most what they may have cost; the known cost is apart, to the last digit."""
    keys, labels = some_rows(6)
    ledger = new_ledger()
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=10.0)
    part = {"cost": 0.2, "claim": claim}
    ledger.record(keys[:2], "t", CLASSES, labels[:2], unanswered=(3, 30.0), **part)
    ledger.record(keys[2:4], "t", CLASSES, labels[2:4], **part)
    ledger.release(claim, fault="TeacherCallError", unanswered=(2, 0.125))
    counts = ledger.summary()
    assert (counts["n_unanswered"], counts["n_failed"], counts["n_paid"]) == (5, 2, 4)
    assert counts["cost"] == 0.4
    assert counts["lost_cost"] == pytest.approx(0.5)
    assert counts["max_lost_cost"] == 30.125
    if hasattr(ledger, "check"):
        ledger.check()


def test_a_budget_counts_lost_answers_at_their_most(new_ledger):
    """What may have been billed is never spent a second time."""
    keys, labels = some_rows(6)
    ledger = new_ledger(max_cost=3.0)
    lose(ledger, keys[:2], 2)  # 0.5 each at most
    ledger.record(keys[2:3], "t", CLASSES, labels[2:3], cost=0.1, unanswered=(1, 0.5))
    counts = ledger.summary()
    assert counts["cost"] + counts["lost_cost"] < 1.0
    claim = ledger.claim(keys[3:], "t", CLASSES, max_cost_per_row=0.7)
    assert claim.granted.sum() == 2  # of 3.0 - 0.1 - 1.5
    assert ledger.claims()[-1]["max_cost"] == 1.4


def test_a_ledger_that_knows_one_cost_only_counts_lost_answers_in_it():
    """As the most that they may have cost: the budget holds."""

    class Own(MemoryLedger):
        def _store(self, *what):
            super()._store(*what)

        def _end(self, claim, fault, cost, seconds):
            super()._end(claim, fault, cost, seconds)

    keys, labels = some_rows(2)
    ledger = Own()
    claim = ledger.claim(keys, "t", CLASSES)
    ledger.record(
        keys[:1], "t", CLASSES, labels[:1], cost=1.0, claim=claim, unanswered=(1, 0.5)
    )
    assert ledger.summary()["cost"] == 1.5
    ledger.release(claim, fault="TeacherCallError", cost=1.0, unanswered=(1, 0.5))
    assert ledger.summary()["cost"] == 3.0


def test_a_thread_that_claims_its_rows_again_does_not_wait_for_itself(new_ledger):
    """Ctrl-C may have kept it from releasing them."""
    keys, _ = some_rows(6)
    ledger = new_ledger()
    first = ledger.claim(keys[:4], "t", CLASSES)
    other = ledger.claim(keys[4:], "t", CLASSES)
    assert ledger.claim(keys[3:4], "t", CLASSES).granted.all()
    assert not ledger.renew(first)
    assert ledger.claim(keys[:3], "t", CLASSES).granted.all()
    assert ledger.sending(other, keys[4:]).all()


def test_ctrl_c_while_rows_are_claimed_leaves_no_claim(new_ledger, ctrl_c, monkeypatch):
    """The interrupt comes after the reservation is on the disk."""
    keys, _ = some_rows(6)
    ledger = new_ledger()
    reserve = ledger._reserve

    def interrupted(*args):
        claim = reserve(*args)
        ctrl_c()
        return claim

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_reserve", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ledger.claim(keys, "t", CLASSES)
    assert ledger.claims() == []


def test_open_claims_are_listed_and_freed(new_ledger):
    """Who holds how many rows, since and until when; and by hand they end."""
    keys, labels = some_rows(6)
    ledger = new_ledger()
    start = datetime.now(UTC)
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=0.5)
    ledger.sending(claim, keys[:3])
    ledger.record(keys[:1], "t", CLASSES, labels[:1], claim=claim)
    (listed,) = ledger.claims()
    assert (listed["teacher"], listed["n_rows"], listed["n_sent"]) == ("t", 5, 2)
    assert abs(listed["since"] - start) < timedelta(seconds=60)
    assert listed["until"] is None or listed["until"] > listed["since"]
    assert ledger.free_claims("somebody else") == 0
    assert ledger.free_claims(listed["owner"]) == 5
    assert ledger.claims() == []
    assert ledger.summary()["n_lost"] == 2
    assert not ledger.sending(claim, keys[1:]).any()
    assert not ledger.renew(claim)


def test_answers_without_a_label(new_ledger):
    """They are known, counted and paid for, and a later label replaces them."""
    keys, labels = some_rows(6)
    nothing = np.full((6, 3), np.nan)
    ledger = new_ledger()
    ledger.record(keys[:2], "t", CLASSES, labels[:2])
    mixed = np.vstack([labels[2:3], nothing[:2]])
    ledger.record(keys[2:5], "t", CLASSES[::-1], mixed[:, ::-1], cost=3.0)
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert known.tolist() == [True] * 5 + [False]
    assert (found[:3] == labels[:3]).all()
    assert np.isnan(found[3:]).all()
    assert ledger.claim(keys, "t", CLASSES).granted.tolist() == [False] * 5 + [True]
    counts = ledger.summary()
    assert (counts["n_labels"], counts["n_no_label"], counts["n_paid"]) == (3, 2, 5)
    assert len(ledger) == 3
    # A label is not replaced by an answer without one, nor counted twice.
    ledger.record(keys[:4], "t", CLASSES, nothing[:4])
    ledger.record(keys[3:4], "t", CLASSES, labels[3:4])
    known, found = ledger.lookup(keys, "t", CLASSES)
    assert (found[:4] == labels[:4]).all()
    counts = ledger.summary()
    assert (counts["n_labels"], counts["n_no_label"]) == (4, 1)
    broken = labels[:2].copy()
    broken[1, 0] = np.nan
    with pytest.raises(LedgerError, match="row 1 of the labels is"):
        ledger.record(keys[4:], "t", CLASSES, broken)


def test_answers_without_a_label_can_be_forgotten(new_ledger):
    """Of one teacher or of all; what was paid stays counted."""
    keys, labels = some_rows(4)
    nothing = np.full((4, 3), np.nan)
    ledger = new_ledger()
    ledger.record(keys[:1], "t", CLASSES, labels[:1])
    ledger.record(keys[1:], "t", CLASSES, nothing[1:])
    ledger.record(keys, "u", CLASSES, nothing)
    assert ledger.forget_no_label("t") == 3
    assert ledger.lookup(keys, "t", CLASSES)[0].tolist() == [True] + [False] * 3
    assert ledger.lookup(keys, "u", CLASSES)[0].all()
    assert ledger.forget_no_label() == 4
    counts = ledger.summary()
    assert (counts["n_labels"], counts["n_no_label"], counts["n_paid"]) == (1, 0, 8)
    assert ledger.claim(keys, "t", CLASSES).granted.tolist() == [False] + [True] * 3


def test_what_is_owned_for_some_rows(new_ledger):
    """Position, teacher, classes, label and cost, of all teachers or of one."""
    X = np.arange(8.0).reshape(4, 2)
    keys, labels = row_keys(X), some_rows(4)[1]
    ledger = new_ledger()
    assert len(ledger.labels_for(X)) == 0
    ledger.record(keys[:2], "t", CLASSES, labels[:2], cost=1.0)
    ledger.record(keys[2:3], "t", CLASSES, np.full((1, 3), np.nan), cost=0.25)
    ledger.record(keys[:1], "u", ["x", "y"], [[0.5, 0.5]])
    owned = ledger.labels_for(X[::-1])
    assert owned.columns.tolist() == ["row", "teacher", "classes", "label", "cost"]
    assert owned["row"].tolist() == [1, 2, 3, 3]
    assert owned["teacher"].tolist() == ["t", "t", "t", "u"]
    assert owned["cost"].tolist() == [0.25, 0.5, 0.5, 0.0]
    assert owned["classes"][3] == ("x", "y")
    assert np.isnan(owned["label"][0]).all()
    assert (owned["label"][1] == labels[1]).all()
    some = ledger.labels_for(X, "t", CLASSES[::-1])
    assert some["row"].tolist() == [0, 1, 2]
    assert (some["label"][0] == labels[0][::-1]).all()
    assert len(ledger.labels_for(X, "u", CLASSES)) == 0


def test_what_a_fault_did_not_cost_can_be_spent(new_ledger):
    """A claim that ends gives back what it had reserved."""
    keys, _ = some_rows(4)
    ledger = new_ledger(max_rows=2, max_cost=10)
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=1.0)
    assert claim.granted.sum() == 2
    ledger.release(claim, fault="TeacherCallError", cost=0.0)
    assert ledger.claim(keys, "t", CLASSES, max_cost_per_row=4.5).granted.sum() == 2


def test_money_needs_a_price(new_ledger):
    """A limit in money is no limit for a teacher without a price."""
    with pytest.raises(BudgetError) as caught:
        new_ledger(max_cost=2).claim(some_rows(1)[0], "t", CLASSES)
    assert str(caught.value) == (
        "the ledger has max_cost=2 but the teacher names no price; set its "
        "cost_per_row, or limit the ledger by max_rows."
    )


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"max_rows": 2.5},
            "max_rows is 2.5; pass a whole number of rows, at least 0, or None for no "
            "limit.",
        ),
        (
            {"max_rows": -1},
            "max_rows is -1; pass a whole number of rows, at least 0, or None for no "
            "limit.",
        ),
        (
            {"max_cost": float("nan")},
            "max_cost is nan; pass a finite number, at least 0.",
        ),
        (
            {"max_cost": True},
            "max_cost is True; pass a finite number, at least 0.",
        ),
    ],
)
def test_limits_that_are_none(new_ledger, limits, message):
    """Limits that are no amounts are refused before anything is paid."""
    with pytest.raises(BudgetError) as caught:
        new_ledger(**limits)
    assert str(caught.value) == message


@pytest.mark.parametrize("limits", [{"max_rows": 60}, {"max_cost": 30.0}])
def test_ten_threads_share_a_budget(new_ledger, limits):
    """Claims made at once never grant more than the budget, and all of it."""
    keys, labels = some_rows(200)
    ledger = new_ledger(**limits)

    def work(k):
        for start in range(20 * k, 20 * k + 20, 4):
            rows = np.arange(start, start + 4)
            claim = ledger.claim(keys[rows], "t", CLASSES, max_cost_per_row=0.5)
            rows = rows[claim.granted]
            ledger.record(
                keys[rows], "t", CLASSES, labels[rows], cost=len(rows) / 2, claim=claim
            )

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    assert len(ledger) == 60
    assert ledger.summary()["cost"] == 30.0


def test_each_row_of_a_claim_has_its_own_price(new_ledger):
    """A dear row waits or is refused by itself; lost rows cost what each may."""
    keys, labels = some_rows(6)
    ledger = new_ledger(max_cost=1.0)
    prices = np.array([0.1, 5.0, 0.6, 0.4, 0.2, 0.1])
    claim = ledger.claim(keys, "t", CLASSES, max_cost_per_row=prices)
    assert claim.granted.tolist() == [True, False, True, False, True, True]
    assert claim.refused.tolist() == [False, True, False, False, False, False]
    assert claim.waiting.tolist() == [False, False, False, True, False, False]
    assert claim.max_cost_per_row.tolist() == prices.tolist()
    (listed,) = ledger.claims()
    assert listed["max_cost"] == pytest.approx(1.0)
    ledger.record(keys[2:3], "t", CLASSES, labels[2:3], cost=0.2, claim=claim)
    (listed,) = ledger.claims()
    assert listed["max_cost"] == pytest.approx(0.4)
    # Two of the rest are sent and given up: they count at their own prices.
    ledger.sending(claim, keys[[0, 4]])
    ledger.free_claims()
    assert ledger.summary()["max_lost_cost"] == pytest.approx(0.3)
    ledger.record(keys[4:5], "t", CLASSES, labels[4:5], cost=0.1, claim=claim)
    assert ledger.summary()["max_lost_cost"] == pytest.approx(0.1)
    ledger.sending(claim, keys[5:])
    job = ledger.claim(keys[[1, 3]], "t", CLASSES, max_cost_per_row=prices[[1, 3]])
    ledger.hand_to_job(job, "job 1")
    (held,) = ledger.jobs("t", CLASSES)
    assert held.claim.max_cost_per_row.tolist() == [0.4]


def test_prices_of_another_number_of_rows_are_an_error(new_ledger):
    """Before anything is reserved."""
    keys, _ = some_rows(3)
    ledger = new_ledger()
    with pytest.raises(BudgetError, match=r"has the shape \(2,\)"):
        ledger.claim(keys, "t", CLASSES, max_cost_per_row=np.ones(2))
    with pytest.raises(BudgetError, match="max_cost_per_row is -1"):
        ledger.claim(keys, "t", CLASSES, max_cost_per_row=np.array([1.0, -1.0, 2.0]))
    assert ledger.claims() == []


def test_keys_are_listed_in_the_order_in_which_they_were_paid(new_ledger):
    """Of one teacher and one set of classes, in whatever order these come."""
    keys, labels = some_rows(6)
    ledger = new_ledger()
    assert len(ledger._keys_in_order("t", CLASSES)) == 0
    for some in ([4, 1], [5], [0, 3]):
        ledger.record(keys[some], "t", CLASSES, labels[some])
    ledger.record(keys[2:3], "other", CLASSES, labels[2:3])
    ledger.record(keys[4:5], "t", CLASSES, labels[4:5])  # once more: still the first
    ordered = ledger._keys_in_order("t", CLASSES[::-1])
    assert ordered.tolist() == keys[[4, 1, 5, 0, 3]].tolist()
    assert ledger._keys_in_order("t", CLASSES, 3).tolist() == ordered[:3].tolist()
