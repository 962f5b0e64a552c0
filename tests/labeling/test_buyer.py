"""A purchase keeps what is paid for, frees its claims, and never waits silently."""

import datetime
import logging
import random
import signal
import threading
import time
from decimal import Decimal

import numpy as np
import pytest

from skadistill.exceptions import (
    LedgerError,
    TeacherAnswerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.labeling import _buyer, buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger, row_keys
from skadistill.teachers import (
    Answer,
    AsyncTeacher,
    BaseTeacher,
    FunctionTeacher,
    Limits,
    NoLabel,
)
from skadistill.teachers._answers import LabeledBatch

CLASSES = ["a", "b"]
X = np.arange(6.0)[:, None]


class Own(BaseTeacher):
    """A teacher of the user's own that yields what it is told."""

    def __init__(self, make_parts, cost_per_row=None):
        self.make_parts = make_parts
        self.cost_per_row = cost_per_row

    def answer(self, X):
        return ["a"] * len(X)

    def derived_identity(self):
        return "own"

    def ask_parts(self, X, classes, *, row_numbers=None, with_embeddings=False):
        return self.make_parts(len(X))


def part(rows, labels=None, **options):
    labels = [[1.0, 0.0]] * len(rows) if labels is None else labels
    return LabeledBatch(np.array(rows, dtype=int), np.array(labels), **options)


def buy(teacher, ledger, rows=X, **options):
    return buy_labels(teacher, rows, classes=CLASSES, ledger=ledger, **options)


@pytest.fixture(params=["memory", "file"])
def ledger(request, tmp_path):
    if request.param == "memory":
        return MemoryLedger()
    return LabelLedger(tmp_path / "labels.sqlite")


# ------------------------------------------------------------------------- no label


@pytest.mark.parametrize("silence", [None, np.nan, NoLabel("refused")])
def test_a_row_without_a_label_is_asked_once(ledger, silence):
    """It is paid for, recorded and counted, and the next purchase knows it."""
    asked = []

    def judge(rows):
        asked.extend(rows[:, 0].tolist())
        return [silence if row[0] == 2 else "b" for row in rows]

    teacher = FunctionTeacher(judge, name="t", cost_per_row=0.5)
    rows = X[[0, 1, 2, 3, 2]]
    first = buy(teacher, ledger, rows)
    assert (first.n_paid, first.n_no_label, first.n_free) == (4, 1, 0)
    assert first.no_label.tolist() == [False, False, True, False, True]
    assert (first.labeled == ~first.no_label).all()
    assert np.isnan(first.labels[[2, 4]]).all()
    assert first.cost == ledger.summary()["cost"] == 2.0
    known, labels = ledger.lookup(row_keys(rows), "t", CLASSES)
    assert known.all()
    assert np.isnan(labels[[2, 4]]).all()
    again = buy(teacher, ledger, rows)
    assert (again.n_paid, again.n_no_label, again.n_free) == (0, 1, 3)
    assert asked == [0.0, 1.0, 2.0, 3.0]


def test_rows_without_a_label_are_reported(caplog):
    """Once per purchase that paid for some."""
    teacher = FunctionTeacher(lambda X: [None] * len(X), name="t")
    ledger = MemoryLedger()
    buy(teacher, ledger)
    buy(teacher, ledger)
    said = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert said == [
        "the teacher 't' returned no label for 6 of 6 rows (billed; will not be "
        "retried)"
    ]


def test_skipped_answers_are_recorded_as_no_label(ledger):
    """`on_invalid="skip"` ends no purchase, and pays for a bad row once."""
    asked = []

    def judge(rows):
        asked.extend(rows[:, 0])
        return ["I cannot answer that." if row[0] == 3 else "b" for row in rows]

    teacher = FunctionTeacher(judge, name="t", on_invalid="skip")
    for n_paid in (6, 0):
        bought = buy(teacher, ledger, batch_size=2)
        assert (bought.n_paid, bought.n_no_label) == (n_paid, 1)
    assert len(asked) == 6


def test_usable_answers_of_a_batch_are_recorded_before_the_error(ledger):
    """One bad answer among six is an error once; it is never asked for again."""
    asked = []

    def judge(rows):
        asked.extend(rows[:, 0])
        return Answer(["b" if row[0] != 4 else "??" for row in rows], cost=0.6)

    teacher = FunctionTeacher(judge, name="t")
    with pytest.raises(TeacherAnswerError, match="for row 104") as caught:
        buy(teacher, ledger, row_numbers=np.arange(100, 106))
    assert "forget_no_label() has them asked again" in str(caught.value)
    assert caught.value.n_paid == 6
    bought = buy(teacher, ledger)
    assert np.flatnonzero(~bought.labeled).tolist() == [4]
    assert (bought.n_paid, bought.n_no_label, len(asked)) == (0, 1, 6)
    summary = ledger.summary()
    assert (summary["n_paid"], summary["n_failed"]) == (6, 0)
    assert summary["cost"] == pytest.approx(0.6)


def test_a_teacher_that_never_gave_a_usable_answer_is_asked_again(ledger):
    """Then the program is wrong, not the rows."""
    with pytest.raises(TeacherAnswerError, match="unknown label"):
        buy(FunctionTeacher(lambda rows: ["B!"] * len(rows), name="t"), ledger)
    mended = buy(FunctionTeacher(lambda rows: ["b"] * len(rows), name="t"), ledger)
    assert mended.n_paid == 6


@pytest.mark.parametrize("n_before", [0, 3])
def test_calls_of_one_row_are_judged_by_the_calls_before(ledger, n_before):
    """A row that alone is refused is kept once others of the purchase were answered."""

    def judge(rows):
        return ["??" if row[0] == n_before else "b" for row in rows]

    teacher = AsyncTeacher(
        judge, name="t", batch_size=1, limits=Limits(max_concurrency=1)
    )
    with pytest.raises(TeacherAnswerError):
        buy(teacher, ledger)
    known, _ = ledger.lookup(row_keys(X), "t", CLASSES)
    assert known.tolist() == [i <= n_before and n_before > 0 for i in range(6)]


# ---------------------------------------------------------- teachers of the user's own


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([part([0, 1, 2, 4, 5])], "left out 1 of 6 rows, 13; yield every row once"),
        ([], r"left out 6 of 6 rows, 10, 11, 12, 13, 14, 15; yield"),
        ([part([0, 1]), part([1, 2])], "answered row 11 twice"),
        ([part([0, 0])], "rows are 0, 0; pass distinct positions from 0 to 5"),
        ([part([0, 6])], "rows are 0, 6; pass distinct positions"),
        ([part([0, -1])], "rows are 0, -1; pass distinct positions"),
        ([part([0], [[1.0, 0.0, 0.0]])], r"labels have shape \(1, 3\); pass"),
        ([part([0], [[np.inf, 0.0]])], "labels are not all finite"),
        ([part([0], [[np.nan, 0.0]])], "labels are not all finite"),
    ],
)
def test_parts_that_do_not_fit_are_errors(ledger, parts, message):
    """None of them waits for ever, or is recorded; the claim is released."""
    with pytest.raises(TeacherAnswerError, match=message):
        buy(Own(lambda n: iter(parts)), ledger, row_numbers=np.arange(10, 16))
    n_left = 6 - len(ledger)
    whole = buy(Own(lambda n: [part(range(n))]), ledger)
    assert whole.n_paid == n_left
    assert whole.labeled.all()


@pytest.mark.parametrize("cost", ["0.5", np.nan, -1.0, np.inf, True])
def test_a_cost_that_is_no_amount_keeps_the_labels(ledger, cost):
    """The labels are recorded, then the error names the value."""
    with pytest.raises(TeacherError, match=r"the cost of a LabeledBatch of .* is"):
        buy(Own(lambda n: [part(range(n), cost=cost)]), ledger)
    assert len(ledger) == 6
    assert ledger.summary()["cost"] == 0.0


@pytest.mark.parametrize("price", [np.float32(0.5), Decimal("0.5"), np.int64(2)])
def test_prices_of_any_number_type_are_counted(tmp_path, price):
    """A price in a NumPy scalar or a Decimal ends a budget like a float."""
    ledger = LabelLedger(tmp_path / "labels.sqlite", max_cost=float(3 * price))
    teacher = FunctionTeacher(lambda X: ["a"] * len(X), name="t", cost_per_row=price)
    bought = buy(teacher, ledger)
    assert (bought.n_paid, bought.n_refused) == (3, 3)
    assert ledger.summary()["cost"] == float(3 * price)


# ------------------------------------------------------------------------------ money


@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_budget_is_spent_to_the_last_affordable_row(tmp_path, batch_size):
    """What was reserved for the worst case and not needed buys further rows."""
    rows = np.arange(300.0)[:, None]

    async def ask(X):
        return Answer(["a"] * len(X), cost=0.01 * len(X))

    # Up to six tries at 0.05 are reserved per row; a row costs 0.01.
    teacher = AsyncTeacher(ask, name="t", cost_per_row=0.05, batch_size=5)
    ledger = LabelLedger(tmp_path / "labels.sqlite", max_cost=2.0)
    bought = buy(teacher, ledger, rows, batch_size=batch_size)
    # 2.00 - 1.71 = 0.29 is less than the 0.30 that another row could cost.
    assert bought.n_paid == 171
    assert bought.n_refused == 129
    assert ledger.summary()["cost"] == pytest.approx(1.71)


# ----------------------------------------------------------------- claims and waiting


# Ctrl-C also comes while a weak reference is cleaned up, where it cannot be raised.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_leave_no_claim(tmp_path, ctrl_c):
    """At whatever moment: the same purchase, again, waits for nobody."""
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    teacher = FunctionTeacher(lambda X: ["a"] * len(X), name="t")
    usual = signal.signal(signal.SIGALRM, lambda *_: ctrl_c())
    rng, n_interrupted = random.Random(0), 0
    try:
        for k in range(40):
            rows = [f"{k} {i}" for i in range(20)]
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, 0.03))
                buy(teacher, ledger, rows, batch_size=5)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                n_interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            start = time.monotonic()
            assert buy(teacher, ledger, rows, batch_size=5).labeled.all()
            assert time.monotonic() - start < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert n_interrupted > 5


def test_an_interrupt_while_claiming_releases_the_claim(ctrl_c):
    """The ledger has granted the rows just as Ctrl-C comes."""

    class Busy(MemoryLedger):
        pressed = False

        def claim(self, *args, **options):
            claim = super().claim(*args, **options)
            if not self.pressed:
                self.pressed = True
                ctrl_c()
            return claim

    ledger, asked = Busy(), []
    teacher = FunctionTeacher(lambda X: asked.append(X) or ["a"] * len(X), name="t")
    with pytest.raises(KeyboardInterrupt):
        buy(teacher, ledger)
    assert asked == []
    assert ledger.claims() == []
    assert ledger.summary()["cost"] == 0.0
    assert buy(teacher, ledger).n_paid == 6


def test_a_claim_is_released_once_the_ledger_is_well():
    """A ledger that fails while its claim is released does not block the rows."""

    class Ledger(MemoryLedger):
        down = False

        def _store(self, *what):
            self._fail()
            super()._store(*what)

        def _end(self, *what):
            self._fail()
            super()._end(*what)

        def _fail(self):
            if self.down:
                raise LedgerError("connection refused.")

    ledger = Ledger()
    ledger.down = True
    teacher = FunctionTeacher(lambda X: ["a"] * len(X), name="t", cost_per_row=0.5)
    with pytest.raises(LedgerError) as caught:
        buy(teacher, ledger)
    assert len(caught.value.unrecorded[0]) == 6
    ledger.down = False
    assert buy(teacher, ledger).n_paid == 6
    # The answers that were lost with the ledger may be billed, and are counted.
    assert ledger.summary()["n_failed"] == 6
    assert ledger.summary()["cost"] == 6.0


def test_waiting_for_others_is_reported(monkeypatch, caplog):
    """It says how many rows, who holds them and until when, and how to free them."""
    monkeypatch.setattr(_buyer, "_REPORTS", (0.1, 300.0))
    since = datetime.datetime(2026, 11, 3, 9, 5, tzinfo=datetime.UTC)

    class Ledger(MemoryLedger):
        def claims(self):
            until = since + datetime.timedelta(hours=1)
            held = {"owner": "host 12", "n_rows": 2, "since": since}
            return [held | {"until": until}, held | {"owner": "me", "until": None}]

    ledger = Ledger()
    theirs = ledger.claim(row_keys(X[:2]), "t", CLASSES)
    teacher = FunctionTeacher(lambda X: ["a"] * len(X), name="t")
    thread = threading.Thread(target=buy, args=(teacher, ledger))
    thread.start()
    for _ in range(100):
        time.sleep(0.05)
        if caplog.records:
            break
    ledger.release(theirs)
    thread.join(10)
    assert not thread.is_alive()
    [said] = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert "for 2 rows of the teacher 't' that other purchases" in said
    assert (
        "host 12 holds 2 since 2026-11-03 09:05:00 until 2026-11-03 10:05:00; me "
        "holds 2 since 2026-11-03 09:05:00 until its process ends, in UTC"
    ) in said
    assert "ledger.free_claims() ends claims" in said
    assert len(ledger) == 6


def test_rows_are_marked_as_sent_before_the_call():
    """Also for a teacher of the user's own that knows nothing of it."""
    marked = []

    class Ledger(MemoryLedger):
        def sending(self, claim, keys):
            marked.append(len(keys))
            return super().sending(claim, keys)

    def judge(rows):
        assert sum(marked) >= len(rows)
        return ["a"] * len(rows)

    buy(FunctionTeacher(judge, name="t"), Ledger(), batch_size=4)
    assert marked == [4, 2]
    buy(Own(lambda n: [part(range(n))]), Ledger())
    assert marked == [4, 2, 6]


def test_rows_that_were_freed_by_hand_are_not_sent():
    """The claim is gone: somebody else may be paying for them."""

    class Ledger(MemoryLedger):
        def sending(self, claim, keys):
            return np.arange(len(keys)) > 0

    asked = []
    teacher = FunctionTeacher(lambda X: asked.append(X), name="t")
    with pytest.raises(LedgerError, match="row 0 and others was ended by free_claims"):
        buy(teacher, Ledger())
    assert asked == []


def test_rows_that_were_not_sent_cost_nothing():
    """A fault before the call is counted as free, one after it at the full price."""

    class Broken(FunctionTeacher):
        def ask_parts(self, *args, before_call=None, **options):
            if self.version == "sends":
                before_call(np.arange(4))
            raise TeacherCallError("broken.")
            yield

    for version, cost in (("sends", 2.0), ("does not", 0.0)):
        ledger = MemoryLedger()
        teacher = Broken(len, name="t", version=version, cost_per_row=0.5)
        with pytest.raises(TeacherCallError):
            buy(teacher, ledger)
        assert ledger.summary()["max_lost_cost"] == cost
        assert ledger.summary()["n_unanswered"] == 2 * cost


def test_wrong_parameters_are_found_before_anything_is_claimed():
    """A teacher is checked at the start of a purchase."""
    ledger = MemoryLedger()
    teacher = FunctionTeacher(len, name="t", on_invalid="drop")
    with pytest.raises(ValueError, match="on_invalid"):
        buy(teacher, ledger)
    assert ledger.summary()["n_failed"] == 0


@pytest.mark.parametrize(
    "given", [{"name": "\ud800"}, {"name": "m", "version": "\udcff"}]
)
def test_names_that_cannot_be_written_are_refused_before_a_call(ledger, given):
    """A lone surrogate cannot be written to a file."""
    with pytest.raises(TeacherError, match="not valid Unicode"):
        buy(FunctionTeacher(lambda rows: pytest.fail("asked"), **given), ledger)
