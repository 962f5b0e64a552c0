"""Labels are bought once each, recorded before the next call, and never lost."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadistill.exceptions import (
    BudgetError,
    TeacherAnswerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger, row_keys
from skadistill.teachers import AsyncTeacher, FunctionTeacher, Limits

CLASSES = np.array(["a", "b"])


class Counter:
    """Answer by the first column and remember what was asked, call by call."""

    def __init__(self, fail_at=None, fault=None):
        self.calls = []
        self.fail_at = fail_at
        self.fault = fault

    @property
    def rows(self):
        return [v for call in self.calls for v in call]

    def __call__(self, X):
        values = np.asarray(X)[:, 0].tolist()
        if self.fail_at is not None and len(self.calls) == self.fail_at:
            self.fail_at = None
            if isinstance(self.fault, BaseException):
                raise self.fault
            return np.full((len(values), 2), np.inf)
        self.calls.append(values)
        p = 1 / (2 + np.abs(values))
        return np.column_stack([p, 1 - p])


def named(counter):
    return FunctionTeacher(counter, name="counter")


def expected(X):
    p = 1 / (2 + np.abs(np.asarray(X)[:, 0].astype(float)))
    rows = np.column_stack([p, 1 - p])
    return rows / rows.sum(axis=1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 9), min_size=0, max_size=30),
    earlier=st.lists(st.integers(0, 9), max_size=8),
    batch_size=st.none() | st.integers(1, 7),
    max_rows=st.none() | st.integers(0, 12),
)
def test_the_arithmetic_of_a_purchase(values, earlier, batch_size, max_rows):
    """Distinct unknown rows are asked once, in order, up to max_rows; all adds up."""
    X = np.array(values, dtype=float).reshape(-1, 1)
    counter, ledger = Counter(), MemoryLedger()
    known = np.array(earlier, dtype=float).reshape(-1, 1)
    first = buy_labels(named(counter), known, classes=CLASSES, ledger=ledger)
    assert first.n_paid == len(set(earlier))
    counter.calls.clear()

    bought = buy_labels(
        named(counter),
        X,
        classes=CLASSES,
        ledger=ledger,
        batch_size=batch_size,
        max_rows=max_rows,
    )
    wanted = [v for v in dict.fromkeys(values) if v not in earlier][:max_rows]
    assert counter.rows == wanted
    assert bought.n_paid == len(wanted) == bought.paid.sum()
    assert X[bought.paid, 0].tolist() == wanted
    labeled = np.isin(X[:, 0], [*wanted, *earlier])
    assert (bought.labeled == labeled).all()
    assert bought.n_free == labeled.sum() - len(wanted)
    assert (bought.labels[labeled] == expected(X)[labeled]).all()
    assert np.isnan(bought.labels[~labeled]).all()
    size = batch_size or max(1, len(wanted))
    assert bought.n_calls == len(counter.calls) == -(-len(wanted) // size)
    assert all(len(call) <= size for call in counter.calls)
    assert ledger.n_paid == len(ledger) == len(set(earlier) | set(wanted))
    assert bought.seconds >= 0


def test_a_second_purchase_is_free():
    """What was bought once is free for a clone, a float32 copy, a permutation."""
    X = np.arange(10.0)[:, None]
    counter, ledger = Counter(), MemoryLedger()
    first = buy_labels(named(counter), X, classes=CLASSES, ledger=ledger)
    again = buy_labels(
        named(counter), X[::-1].astype("f4"), classes=CLASSES[::-1], ledger=ledger
    )
    assert (first.n_paid, again.n_paid, again.n_free) == (10, 0, 10)
    assert again.n_calls == 0
    assert not again.paid.any()
    assert (again.labels == first.labels[::-1, ::-1]).all()


def test_another_teacher_pays_for_itself():
    """One ledger, two teachers: neither answers for the other."""
    X = np.arange(4.0)[:, None]
    ledger = MemoryLedger()
    for name in ("one", "two"):
        teacher = FunctionTeacher(Counter(), name=name)
        assert buy_labels(teacher, X, classes=CLASSES, ledger=ledger).n_paid == 4


def test_an_identity_at_hand_is_not_derived_again():
    """A caller who buys in many rounds derives the teacher's identity once."""

    class Shy(FunctionTeacher):
        def derived_identity(self):
            raise AssertionError("was derived")

    X, ledger = np.arange(4.0)[:, None], MemoryLedger()
    for n_paid in (4, 0):
        bought = buy_labels(
            Shy(Counter()), X, classes=CLASSES, ledger=ledger, identity="known"
        )
        assert bought.n_paid == n_paid
    assert list(ledger.summary()["teachers"]) == ["known"]


FAULTS = {
    "raises": (
        ConnectionError("reset"),
        TeacherCallError,
        "the teacher 'counter' raised ConnectionError: reset, when asked about 2 rows; "
        "fix the teacher or its input and retry; the 4 answers paid for so far "
        "are kept in the ledger.",
    ),
    "infinite": (
        None,
        TeacherAnswerError,
        "the teacher 'counter' answered inf for row 4 and class 'a'; return "
        "probabilities that are all a finite number; the 4 answers paid for so far "
        "are kept in the ledger.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_keeps_what_was_paid(fault):
    """A fault in batch 2 keeps batches 0 and 1; the next purchase asks the rest."""
    cause, error, message = FAULTS[fault]
    X = np.arange(7.0)[:, None]
    counter, ledger = Counter(fail_at=2, fault=cause), MemoryLedger()
    with pytest.raises(error) as caught:
        buy_labels(named(counter), X, classes=CLASSES, ledger=ledger, batch_size=2)
    assert str(caught.value) == message
    assert caught.value.n_paid == 4
    assert caught.value.__cause__ is cause
    assert len(ledger) == 4
    assert counter.rows == [0, 1, 2, 3], "a fault must not be asked again silently"
    rest = buy_labels(named(counter), X, classes=CLASSES, ledger=ledger, batch_size=2)
    assert counter.rows == [0, 1, 2, 3, 4, 5, 6]
    assert (rest.n_paid, rest.n_free) == (3, 4)
    assert (rest.labels == expected(X)).all()


@pytest.mark.parametrize(
    ("n_before", "ledger", "receipt"),
    [
        (0, MemoryLedger(), "nothing was billed."),
        (1, MemoryLedger(), "the answer paid for so far is kept in the ledger."),
        (2, None, "the 2 answers paid for so far are lost without a ledger."),
    ],
)
def test_the_receipt_tells_where_the_labels_are(n_before, ledger, receipt):
    """A fault's message ends with what had been paid and where it went."""
    counter = Counter(fail_at=n_before, fault=ValueError("x"))
    with pytest.raises(TeacherError) as caught:
        buy_labels(
            named(counter), np.eye(3) * [[1], [2], [3]], classes=CLASSES,
            ledger=ledger, batch_size=1,
        )  # fmt: skip
    assert str(caught.value).endswith(f"retry; {receipt}")
    assert caught.value.n_paid == n_before


def test_an_interrupt_keeps_what_was_paid():
    """Ctrl-C in the second batch passes through; the first is in the ledger."""
    counter, ledger = Counter(fail_at=1, fault=KeyboardInterrupt()), MemoryLedger()
    with pytest.raises(KeyboardInterrupt):
        buy_labels(
            named(counter),
            np.arange(4.0)[:, None],
            classes=CLASSES,
            ledger=ledger,
            batch_size=3,
        )
    assert len(ledger) == 3


def test_ctrl_c_while_a_batch_is_recorded_waits_for_it(ctrl_c):
    """The batch was paid for: it is recorded whole, and nothing more is asked."""

    class Busy(MemoryLedger):
        def _store(self, *what):
            ctrl_c()
            super()._store(*what)

    counter, ledger = Counter(), Busy()
    with pytest.raises(KeyboardInterrupt):
        buy_labels(
            named(counter),
            np.arange(4.0)[:, None],
            classes=CLASSES,
            ledger=ledger,
            batch_size=2,
        )
    assert len(ledger) == 2
    assert counter.calls == [[0.0, 1.0]]
    assert ledger.summary()["n_failed"] == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_every_batch_is_recorded_before_the_next_is_asked():
    """The teacher, when asked, finds all earlier batches in the ledger."""
    ledger, seen = MemoryLedger(), []

    def teacher(X):
        seen.append(len(ledger))
        return ["a"] * len(X)

    buy_labels(
        teacher,
        np.arange(7.0)[:, None],
        classes=CLASSES,
        ledger=ledger,
        batch_size=3,
    )
    assert seen == [0, 3, 6]
    assert ledger.summary()["n_calls"] == 3
    assert ledger.summary()["seconds"] > 0


def test_rows_of_any_container(as_rows):
    """The teacher gets batches in the caller's container, each row once."""
    X = as_rows(np.array([[0.0, 1], [1, 1], [0, 1], [2, 1], [1, 1], [3, 1]]))
    asked = []

    def teacher(batch):
        assert type(batch) is type(X)
        keys = row_keys(batch)
        asked.extend(keys.tolist())
        # Labels by content, so that a mixed-up row would show.
        return [CLASSES[k[0] % 2] for k in keys.tolist()]

    bought = buy_labels(teacher, X, classes=CLASSES, batch_size=3)
    keys = row_keys(X)
    assert asked == keys[[0, 1, 3, 5]].tolist()
    assert bought.paid.tolist() == [True, True, False, True, False, True]
    assert (bought.n_paid, bought.n_free, bought.n_calls) == (4, 2, 2)
    np.testing.assert_array_equal(
        bought.labels.argmax(axis=1), [k[0] % 2 for k in keys.tolist()]
    )


@pytest.mark.parametrize(
    ("option", "value", "smallest"),
    [
        ("batch_size", 0, 1),
        ("batch_size", 2.0, 1),
        ("max_rows", -1, 0),
        ("max_rows", True, 0),
    ],
)
def test_counts_are_counts(option, value, smallest):
    """Batch sizes and limits are whole numbers of rows."""
    with pytest.raises(BudgetError) as caught:
        buy_labels(Counter(), [[0.0]], classes=CLASSES, **{option: value})
    assert str(caught.value) == (
        f"{option} is {value!r}; pass an integer of at least {smallest}, or None."
    )


def test_serialized_threads_pay_once():
    """10 threads x 200 rows, taking turns, pay each distinct row once."""
    X = np.arange(1100.0)[:, None]
    counter, ledger, turn = Counter(), MemoryLedger(), threading.Lock()

    def work(k):
        rows = X[100 * k : 100 * k + 200]
        with turn:
            return buy_labels(
                named(counter), rows, classes=CLASSES, ledger=ledger, batch_size=64
            )

    with ThreadPoolExecutor(10) as pool:
        bought = list(pool.map(work, range(10)))
    assert sum(b.n_paid for b in bought) == 1100
    assert sorted(counter.rows) == X[:, 0].tolist()
    for k, b in enumerate(bought):
        assert (b.labels == expected(X[100 * k : 100 * k + 200])).all()


def test_threads_that_do_not_take_turns_lose_nothing():
    """At worst a row is paid twice; every label is there and right."""
    X = np.arange(300.0)[:, None]
    ledger = MemoryLedger()

    def work(k):
        return buy_labels(
            named(Counter()), X, classes=CLASSES, ledger=ledger, batch_size=10
        )

    with ThreadPoolExecutor(6) as pool:
        bought = list(pool.map(work, range(6)))
    assert len(ledger) == 300
    assert ledger.n_paid == sum(b.n_paid for b in bought)
    assert all((b.labels == expected(X)).all() for b in bought)


@pytest.mark.parametrize("kind", [FunctionTeacher, AsyncTeacher])
@pytest.mark.parametrize(
    ("rows", "empty"),
    [
        ([{"a": 1}, {"a": 2}], dict.clear),
        ([["a"], ["b"]], list.clear),
        ([np.ones(2), np.zeros(2)], lambda row: row.fill(9)),
    ],
)
def test_a_teacher_that_empties_its_rows_empties_copies(kind, rows, empty):
    """Neither the caller's rows nor what they are known by changes."""
    keys, tries = row_keys(rows), []

    def teacher(X):
        X = list(X)
        tries.append(row_keys(X).tolist())
        for row in X:
            empty(row)
        if len(tries) == 1 and kind is AsyncTeacher:
            raise TimeoutError
        return ["a"] * len(X)

    options = {}
    if kind is AsyncTeacher:
        options = {"batch_size": 2, "limits": Limits(backoff=0.001)}
    teacher = kind(teacher, name="empties", **options)
    ledger = MemoryLedger()
    paid = [
        buy_labels(teacher, rows, classes=CLASSES, ledger=ledger).n_paid
        for _ in range(2)
    ]
    assert paid == [2, 0]
    assert (row_keys(rows) == keys).all()
    # A second try is asked about what the first was.
    assert all(asked == keys.tolist() for asked in tries)
    assert len(tries) == (2 if kind is AsyncTeacher else 1)
