"""An interrupt says what was kept and how to go on."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, LabelLedger, MemoryLedger, StudentNet
from skadistill.labeling import buy_labels
from skadistill.search import LayeredMLP, LayerNASSearchCV, mlp_space
from skadistill.teachers import as_teacher

X = np.random.default_rng(0).normal(size=(200, 3))
y = np.where(np.arange(200) < 40, (X[:, 0] > 0).astype(int), -1)


class Interrupted:
    """A teacher during whose third call somebody presses Ctrl-C."""

    n_calls = 0

    def __call__(self, rows):
        self.n_calls += 1
        if self.n_calls == 3:
            raise KeyboardInterrupt
        return (rows[:, 0] > 0).astype(int)


def note_of(caught):
    """Return the one line below the traceback."""
    (note,) = caught.value.__notes__
    assert "\n" not in note
    return note


def distill(ledger, teacher):
    return ActiveDistiller(
        teacher,
        LogisticRegression(),
        query_strategy="random",
        objective="soft",
        budget=100,
        query_size=30,
        ledger=ledger,
        random_state=0,
    )


def test_a_fit_names_the_labels_kept_in_a_file(tmp_path):
    """The next fit with it pays for the others only."""
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    teacher = as_teacher(Interrupted(), name="t", version="1")
    with pytest.raises(KeyboardInterrupt) as caught:
        distill(ledger, teacher).fit(X, y)
    note = note_of(caught)
    assert note.startswith(f"Interrupted: {len(ledger)} paid labels are kept in Label")
    assert "labels.sqlite" in note
    assert "call fit again with the same ledger" in note
    n_kept = len(ledger)
    assert n_kept > 0
    again = distill(ledger, teacher).fit(X, y)
    assert again.n_paid_ == 100 - n_kept


def test_a_fit_without_a_ledger_names_the_one_in_memory():
    """It is an attribute of the distiller, to be passed on."""
    distiller = distill(None, Interrupted())
    with pytest.raises(KeyboardInterrupt) as caught:
        distiller.fit(X, y)
    assert "set ledger=distiller.ledger_ and call fit again" in note_of(caught)
    assert f"Interrupted: {len(distiller.ledger_)} paid labels" in note_of(caught)


def test_before_the_first_label_nothing_is_kept():
    """The first student was being trained."""

    class Slow(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            raise KeyboardInterrupt

    distiller = distill(None, Interrupted()).set_params(student=Slow())
    with pytest.raises(KeyboardInterrupt) as caught:
        distiller.fit(X, y)
    assert "before any label was paid for" in note_of(caught)


def test_a_purchase_names_its_ledger():
    """Without one, its answers are lost."""
    teacher = Interrupted()
    teacher.n_calls = 2
    for ledger, told in [(MemoryLedger(), "call buy_labels again"), (None, "are lost")]:
        teacher.n_calls = 2
        with pytest.raises(KeyboardInterrupt) as caught:
            buy_labels(teacher, X, classes=[0, 1], ledger=ledger)
        assert told in note_of(caught)


def test_a_plan_has_paid_nothing(monkeypatch):
    """Whatever it was doing."""

    def stop(*args, **params):
        raise KeyboardInterrupt

    monkeypatch.setattr("skadistill._distiller.make_plan", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        distill(None, Interrupted()).plan(X, y)
    assert "nothing was paid for" in note_of(caught)


def test_a_search_says_that_it_starts_again():
    """A search keeps nothing of an interrupted run."""

    class Net(StudentNet):
        def fit(self, X, y=None, **params):
            raise KeyboardInterrupt

    search = LayerNASSearchCV(Net(LayeredMLP), mlp_space(n_layers=1), max_size=200)
    with pytest.raises(KeyboardInterrupt) as caught:
        search.fit(X[:40].astype("float32"), y[:40])
    assert "call fit again" in note_of(caught)
