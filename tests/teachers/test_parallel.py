"""Several batches at once: the same labels, none paid twice, none that came lost."""

import os
import signal
import time

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils._param_validation import InvalidParameterError

from skadistill import ActiveDistiller
from skadistill.exceptions import (
    TeacherAnswerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger, row_keys
from skadistill.teachers import FunctionTeacher, ParallelTeacher, as_teacher
from skadistill.testing import check_teacher

# The scheduler's weak dictionaries complain when threads of this process end.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

CLASSES = [0, 1]
X = np.arange(40.0)[:, None]


def make_teacher(folder, kill_at=None, fail_at=None):
    """Write down every row asked about; die, or fail, when asked about a row.

    It dies once; a closure, so that it travels by value.
    """

    def teacher(rows):
        asked = rows[:, 0].astype(int)
        with open(folder / f"{os.getpid()}.txt", "a") as log:
            log.write("".join(f"{row}\n" for row in asked))
        if kill_at in asked and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if fail_at in asked:
            raise ConnectionError("no route")
        return asked % 2

    return FunctionTeacher(teacher, name="parity", cost_per_row=0.5)


def asked(folder):
    """Count how often each row was asked about."""
    rows = [int(r) for log in folder.glob("*.txt") for r in log.read_text().split()]
    return np.bincount(rows, minlength=len(X))


def known(ledger, teacher):
    """Return the rows whose labels the ledger holds."""
    purchase = buy_labels(teacher, X, classes=CLASSES, ledger=ledger, max_rows=0)
    return np.flatnonzero(purchase.labeled)


@pytest.mark.parametrize("backend", ["threading", "loky", None])
def test_labels_are_those_of_one_call(tmp_path, backend):
    """Every row is asked about once, and lands where it belongs."""
    teacher = ParallelTeacher(make_teacher(tmp_path), batch_size=7)
    with parallel_config(backend or "loky", n_jobs=2 if backend else 1):
        purchase = buy_labels(teacher, X[::-1], classes=CLASSES)
    np.testing.assert_array_equal(purchase.labels.argmax(axis=1), X[::-1, 0] % 2)
    assert (asked(tmp_path) == 1).all()
    assert (purchase.n_paid, purchase.cost) == (40, 20.0)


@pytest.mark.parametrize(("backend", "n_jobs"), [("threading", 2), ("loky", 1)])
def test_a_failed_batch_loses_itself_alone(tmp_path, backend, n_jobs):
    """What was in flight is kept and paid for once; nothing new is sent."""
    ledger = MemoryLedger()
    with (
        parallel_config(backend, n_jobs=n_jobs),
        pytest.raises(TeacherCallError, match="ConnectionError: no route") as caught,
    ):
        buy_labels(
            ParallelTeacher(make_teacher(tmp_path, fail_at=6), batch_size=5),
            X,
            classes=CLASSES,
            ledger=ledger,
        )
    assert (caught.value.cost, caught.value.unanswered) == (0.0, (5, 2.5))
    times = asked(tmp_path)
    kept = known(ledger, make_teacher(tmp_path))
    lost = np.arange(5, 10)
    np.testing.assert_array_equal(kept, np.setdiff1d(np.flatnonzero(times), lost))
    assert times.max() == 1
    assert times[-5:].sum() == 0
    again = buy_labels(make_teacher(tmp_path), X, classes=CLASSES, ledger=ledger)
    assert again.n_paid == 40 - len(kept)
    assert again.labeled.all()


@pytest.fixture
def cluster():
    """Two processes, which can be killed; their nannies start others."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield


def test_a_cluster_repeats_only_what_is_free(tmp_path, cluster):
    """Else nothing is sent; a batch of a killed worker is asked about again."""
    ledger = MemoryLedger()
    teacher = make_teacher(tmp_path, kill_at=6)
    paid, free = (
        ParallelTeacher(teacher, batch_size=5, repeatable=repeatable)
        for repeatable in (False, True)
    )
    with parallel_config("dask"):
        with pytest.raises(TeacherError, match="might pay twice; pass Para"):
            buy_labels(paid, X, classes=CLASSES, ledger=ledger)
        assert asked(tmp_path).sum() == ledger.summary()["lost_cost"] == 0
        purchase = buy_labels(free, X, classes=CLASSES, ledger=ledger)
    assert purchase.labeled.all()
    assert purchase.n_paid == 40
    assert asked(tmp_path).max() == 2


def test_a_killed_process_is_a_named_error(tmp_path):
    """Processes of joblib repeat nothing; what had come before is kept."""
    ledger = MemoryLedger()
    teacher = make_teacher(tmp_path, kill_at=31)
    with (
        parallel_config("loky", n_jobs=2),
        pytest.raises(TeacherCallError, match="was lost"),
    ):
        buy_labels(
            ParallelTeacher(teacher, batch_size=5), X, classes=CLASSES, ledger=ledger
        )
    assert asked(tmp_path).max() == 1
    assert known(ledger, teacher).size >= 5


def test_a_distiller_asks_the_same_rows_through_it(tmp_path):
    """Fitted here or before, in threads or alone: the same rows, the same student."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 3))
    y = (rows[:, 0] > 0).astype(int)
    for teacher in (LogisticRegression(), LogisticRegression().fit(rows, y)):
        models = [
            ActiveDistiller(
                who, LogisticRegression(), budget=40, query_size=20, random_state=0
            )
            for who in (teacher, ParallelTeacher(teacher, 6, n_jobs=2))
        ]
        with parallel_config("threading"):
            one, two = (
                model.fit(rows[:50], y[:50], X_unlabeled=rows[50:]) for model in models
            )
        np.testing.assert_array_equal(one.labeled_round_, two.labeled_round_)
        np.testing.assert_array_equal(one.student_.coef_, two.student_.coef_)
        assert isinstance(two.teacher_, ParallelTeacher)


def test_attributes_are_those_of_the_wrapped_teacher():
    """Identity, classes, price and clones are those of the teacher inside."""
    inner = as_teacher(lambda X: [0], classes=CLASSES, name="a", cost_per_row=0.1)
    teacher = ParallelTeacher(inner, batch_size=3, n_jobs=2)
    assert teacher.identity == inner.identity
    assert list(teacher.classes_) == CLASSES
    assert teacher.max_cost_per_row == inner.max_cost_per_row
    assert teacher.claim_size == 60
    assert clone(teacher) is teacher
    unfitted = ParallelTeacher(LogisticRegression(), batch_size=3)
    assert clone(unfitted) is not unfitted
    assert not unfitted.is_fitted
    assert unfitted.fit([[0.0], [1.0]], [0, 1]).is_fitted
    assert not hasattr(unfitted.teacher, "coef_")


def test_it_keeps_the_contract_of_teachers():
    """`check_teacher` finds nothing wrong."""
    X, y = np.random.default_rng(0).standard_normal((30, 2)), np.arange(30) % 2
    check_teacher(ParallelTeacher(LogisticRegression().fit(X, y), 7), X, CLASSES)


def test_what_cannot_be_asked_is_refused_before_it_costs():
    """Other backends and other classes are errors, and no row is asked about."""
    calls = []
    teacher = ParallelTeacher(lambda X: calls.append(X), n_jobs=2)
    with (
        parallel_config("multiprocessing"),
        pytest.raises(TeacherError, match="MultiprocessingBackend; use"),
    ):
        buy_labels(teacher, X, classes=CLASSES)
    with pytest.raises(InvalidParameterError, match="batch_size"):
        buy_labels(ParallelTeacher(calls.append, 0), X, classes=CLASSES)
    other = ParallelTeacher(as_teacher(calls.append, classes=["a", "b"]))
    with pytest.raises(TeacherAnswerError):
        buy_labels(other, X, classes=CLASSES)
    assert calls == []


def test_ctrl_c_waits_for_the_batches_in_flight(ctrl_c):
    """No new batch is sent; those with the workers are waited for and recorded."""
    asked = []

    def answer(rows):
        asked.extend(rows[:, 0].tolist())
        time.sleep(0.02)
        return np.full((len(rows), 2), 0.5)

    class Busy(MemoryLedger):
        def _store(self, *what):
            if not len(self):
                ctrl_c()
            super()._store(*what)

    ledger = Busy()
    teacher = FunctionTeacher(answer, name="t", cost_per_row=0.5)
    teacher = ParallelTeacher(teacher, batch_size=2, n_jobs=2)
    with (
        parallel_config("threading"),
        pytest.raises(KeyboardInterrupt),
    ):
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    known, _ = ledger.lookup(row_keys(X), teacher.identity, CLASSES)
    assert X[known, 0].tolist() == sorted(asked)
    assert 2 <= len(asked) < 20
    assert ledger.summary()["cost"] == 0.5 * len(asked)
