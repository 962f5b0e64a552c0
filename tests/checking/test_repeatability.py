"""A teacher is asked again, apart from its labels."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from skadistill.checking import teacher_repeatability
from skadistill.checking._repeatability import TeacherRepeatability
from skadistill.exceptions import TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.teachers import Answer, as_teacher

CLASSES = ["ham", "spam"]
TEXTS = [f"text {i}" for i in range(40)]


class Fickle:
    """Answer ham the first time, and of some rows spam from then on."""

    def __init__(self, n_changing):
        self.changing = set(TEXTS[:n_changing])
        self.seen: set = set()
        self.n_asked = 0

    def __call__(self, texts):
        labels = []
        for text in texts:
            changed = text in self.seen and text in self.changing
            labels.append([0.2, 0.8] if changed else [0.9, 0.1])
            self.seen.add(text)
        self.n_asked += len(texts)
        model = "new" if self.n_asked > len(TEXTS) else "old"
        return Answer(labels, cost=0.5 * len(texts), model=model)


def make_teacher(n_changing, **params):
    fickle = Fickle(n_changing)
    return fickle, as_teacher(fickle, classes=CLASSES, name="fickle", **params)


def test_known_rows_are_asked_once_more(tmp_path):
    """Labels stay as they are; the money is in the ledger; the interval is exact."""
    fickle, teacher = make_teacher(12)
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    bought = buy_labels(teacher, TEXTS, classes=CLASSES, ledger=ledger)
    found = teacher_repeatability(teacher, TEXTS, n=40, ledger=ledger)
    assert (found.n_samples, found.n_agreed, found.agreement) == (40, 28, 0.7)
    exact = binomtest(28, 40).proportion_ci(0.9, method="exact")
    assert found.interval(0.9) == pytest.approx((exact.low, exact.high))
    assert found.change == pytest.approx(0.3 * 0.7)
    assert (found.models_first, found.models_second) == ({"old": 40}, {"new": 40})
    assert (found.n_paid, found.cost, fickle.n_asked) == (40, 20.0, 80)
    assert ledger.summary()["cost"] == 40.0
    again = buy_labels(teacher, TEXTS, classes=CLASSES, ledger=ledger)
    assert (again.n_free, again.labels.tolist()) == (40, bought.labels.tolist())


def test_a_run_is_paid_once_and_another_run_again():
    """A run that was interrupted goes on; next month's is a new one."""
    fickle, teacher = make_teacher(0)
    ledger = MemoryLedger()
    for run, n_asked in (("november", 20), ("november", 20), ("december", 30)):
        found = teacher_repeatability(
            teacher, TEXTS, n=10, ledger=ledger, run=run, random_state=0
        )
        assert found.agreement == 1.0
        assert fickle.n_asked == n_asked
    assert len(ledger.labels_for(TEXTS, "fickle")) == 10


def test_rows_with_a_label_come_first():
    """Others are bought only if there are too few."""
    _, teacher = make_teacher(0)
    ledger = MemoryLedger()
    buy_labels(teacher, TEXTS[30:35], classes=CLASSES, ledger=ledger)
    found = teacher_repeatability(teacher, TEXTS, n=5, ledger=ledger)
    assert found.rows.tolist() == [30, 31, 32, 33, 34]
    found = teacher_repeatability(teacher, TEXTS, n=7, ledger=ledger, run="other")
    assert (found.n_samples, found.n_paid) == (7, 2 + 7)


def test_rows_without_a_label_are_counted():
    """Refused the second time; equal rows are asked once."""
    seen: set = set()

    def ask(texts):
        labels = [None if text in seen and text == "b" else "ham" for text in texts]
        seen.update(texts)
        return labels

    found = teacher_repeatability(ask, ["a", "b", "a", "c"], classes=CLASSES)
    assert (found.n_samples, found.n_agreed, found.n_no_label) == (2, 2, 1)
    assert "2 of 2 rows asked again" in repr(found)


def test_without_rows_the_interval_says_nothing():
    """Nothing is divided by zero."""
    found = teacher_repeatability(lambda X: [None] * len(X), ["a"], classes=CLASSES)
    assert found.interval() == (0.0, 1.0)
    assert np.isnan(found.agreement)


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_numbers_of_rows_are_checked(n):
    """Before anything is asked."""
    fickle, teacher = make_teacher(0)
    with pytest.raises(TeacherError, match="n is "):
        teacher_repeatability(teacher, TEXTS, n=n)
    with pytest.raises(TeacherError, match="pass `classes`"):
        teacher_repeatability(lambda X: X, TEXTS)
    assert fickle.n_asked == 0


@pytest.mark.parametrize("n_samples", [5, 40, 200])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_interval_holds_as_often_as_it_says(n_samples, share):
    """At least 95 %, by the probabilities of all outcomes."""
    covered = 0.0
    for n_agreed in range(n_samples + 1):
        found = TeacherRepeatability(
            n_samples, n_agreed, 0, 0.0, None, None, None, {}, {}, 0, 0.0
        )
        low, high = found.interval()
        covered += (low <= share <= high) * binom.pmf(n_agreed, n_samples, share)
    assert covered >= 0.95
