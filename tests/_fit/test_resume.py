"""A fit that was killed goes on for free, and what was paid is paid once."""

import multiprocessing
import os
import signal
import time
from collections import Counter

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.checking import CheckPolicy
from skadistill.exceptions import (
    TeacherAnswerError,
    TeacherCallError,
)
from skadistill.ledger import LabelLedger, row_keys
from skadistill.model_selection import PartiallyLabeledSplit
from skadistill.teachers import FunctionTeacher

FORK = multiprocessing.get_context("fork")
BATCH = 6


class Server:
    """Answer rows, and write down on the disk, before answering, who was asked.

    The file is the server's own counter: it does not care whether the asker lives.
    """

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, X):
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b"".join(key + b"\n\n" for key in row_keys(X).tolist()))
        os.fsync(file)
        os.close(file)
        p = 1 / (1 + np.exp(-3 * X[:, 0] - X[:, 1]))
        return np.column_stack([p, 1 - p])

    def asked(self):
        """Count how often each row was asked about, in the order of asking."""
        if not os.path.exists(self.path):
            return Counter()
        with open(self.path, "rb") as stream:
            data = stream.read()
        return Counter(data[i : i + 16] for i in range(0, len(data), 18))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(220, 3))
    y = np.where(3 * X[:, 0] + X[:, 1] + rng.normal(size=220) > 0, 0, 1)
    y[20:] = -1
    return X, y


def distiller(teacher, ledger=None, **options):
    # use_known=False: the rows asked for do not depend on what was paid before.
    options = {
        "query_strategy": "rad",
        "budget": 42,
        "query_size": 12,
        "teacher_checks": 6,
        "use_known": False,
    } | options
    return ActiveDistiller(
        FunctionTeacher(teacher, name="server", cost_per_row=0.01, batch_size=BATCH),
        LogisticRegression(),
        ledger=ledger,
        random_state=0,
        **options,
    )


def fit_in_child(server, path, problem):
    distiller(server, LabelLedger(path)).fit(*problem)


def kill_and_resume(folder, problem, delay, reference):
    """Kill one fit after a delay; check what is left; go on; check the end."""
    server, path = Server(folder / "asked"), folder / "labels.sqlite"
    child = FORK.Process(target=fit_in_child, args=(server, path, problem))
    child.start()
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.join()

    asked = server.asked()
    ledger = LabelLedger(path)
    ledger.check()
    keys = np.array(list(asked), dtype="V16")
    known, _ = ledger.lookup(keys, "server", [0, 1])
    assert len(ledger) == known.sum()
    assert (~known).sum() <= BATCH, "a label was lost"
    in_flight = set(keys[~known].tolist())
    assert in_flight <= set(keys[-BATCH:].tolist())

    model = distiller(server, ledger).fit(*problem)
    asked = server.asked()
    assert {key for key, n in asked.items() if n > 1} == in_flight
    assert max(asked.values()) <= 2
    assert model.history_[-1]["n_labeled"] == reference.history_[-1]["n_labeled"]
    X = problem[0]
    assert (model.predict_proba(X) == reference.predict_proba(X)).all()
    assert (model.labeled_round_ == reference.labeled_round_).all()
    assert len(ledger) == len(asked)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode, len(in_flight), int(known.sum())


def kills(n_kills, tmp_path, problem):
    """Kill fits at random moments of their life; say where they were struck."""
    reference = distiller(Server(tmp_path / "reference")).fit(*problem)
    moments = np.random.default_rng(n_kills).uniform(0, 1.1, size=n_kills)
    struck = []
    for i, moment in enumerate(moments):
        folder = tmp_path / str(i)
        folder.mkdir()
        if i % 10 == 0:  # how long a life is changes with what else the machine does
            lifetime = seconds_of_a_fit(folder, problem)
        delay = moment * lifetime
        struck.append(kill_and_resume(folder, problem, delay, reference))
    return struck


def seconds_of_a_fit(folder, problem):
    """Time a fit in a child that nobody kills."""
    start = time.perf_counter()
    child = FORK.Process(
        target=fit_in_child,
        args=(Server(folder / "timed"), folder / "timed.sqlite", problem),
    )
    child.start()
    child.join()
    return time.perf_counter() - start


def test_fits_killed_at_50_random_moments(tmp_path, problem):
    """No label lost, none paid twice beyond the batch in flight, the same student."""
    struck = kills(50, tmp_path, problem)
    n_known = {known for exitcode, _, known in struck if exitcode}
    assert len(n_known) > 3, "the kills came all at the same moment"


@pytest.mark.slow
def test_fits_killed_at_200_random_moments(tmp_path, problem):
    """The same, at more moments; some of them strike a batch in flight."""
    struck = kills(200, tmp_path, problem)
    assert any(n_in_flight for _, n_in_flight, _ in struck)


@pytest.mark.parametrize("new_ledger", ["memory", "disk"])
@pytest.mark.parametrize("call", range(7))
def test_an_interrupted_fit_goes_on(tmp_path, problem, new_ledger, call):
    """Ctrl-C in any call leaves the paid batches, and the same fit ends the same."""
    server, n_calls = Server(tmp_path / "asked"), 0

    def interrupted(X):
        nonlocal n_calls
        n_calls += 1
        if n_calls == call + 1:
            raise KeyboardInterrupt
        return server(X)

    disk = new_ledger == "disk"
    ledger = LabelLedger(tmp_path / "l.sqlite") if disk else MemoryLedger()
    with pytest.raises(KeyboardInterrupt):
        distiller(interrupted, ledger).fit(*problem)
    n_paid = (0, 2, 6, 12, 18, 24, 30)[call]  # a new teacher is first asked two rows
    assert len(ledger) == len(server.asked()) == n_paid
    model = distiller(server, ledger).fit(*problem)
    assert set(server.asked().values()) == {1}
    assert model.n_paid_ == 42 - n_paid
    reference = distiller(Server(tmp_path / "reference")).fit(*problem)
    X = problem[0]
    assert (model.predict_proba(X) == reference.predict_proba(X)).all()


def spoilt(good, how):
    """Return a broken answer, or raise."""
    table = np.array(good)
    if how == "exception":
        raise ConnectionError("reset by peer")
    if how == "timeout":
        raise TimeoutError("no answer within 30 s")
    if how == "missing class":
        return ["nobody's class"] * len(table)
    changes = {
        "NaN": lambda: table.__setitem__((1, 0), np.nan),
        "negative": lambda: table.__setitem__((1, slice(None)), [-0.5, 1.5]),
        "sum": lambda: table.__setitem__((1, 0), table[1, 0] + 0.1),
    }
    if how in changes:
        changes[how]()
        return table
    return {"rows": table[:-1], "columns": table[:, [0, 1, 1]], "empty": []}[how]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("exception", TeacherCallError),
        ("timeout", TeacherCallError),
        ("rows", TeacherAnswerError),
        ("columns", TeacherAnswerError),
        ("empty", TeacherAnswerError),
        ("missing class", TeacherAnswerError),
    ],
)
def test_a_fault_costs_its_batch_alone(tmp_path, problem, how, error):
    """A named error; batches before are kept, the fault is counted and no label."""
    server, path = Server(tmp_path / "asked"), tmp_path / "labels.sqlite"
    n_calls = 0

    def teacher(X):
        nonlocal n_calls
        n_calls += 1
        answer = server(X)
        return spoilt(answer, how) if n_calls == 4 else answer

    with pytest.raises(error) as caught:
        distiller(teacher, LabelLedger(path)).fit(*problem)
    # Three calls: the teacher checks in two, and the first half of the first round.
    assert str(caught.value).endswith(
        "; the 6 answers paid for so far are kept in the ledger."
    )
    ledger = LabelLedger(path)
    summary = ledger.summary()
    assert (len(ledger), summary["n_paid"], summary["n_failed"]) == (12, 12, BATCH)
    # The fault may be billed, too.
    assert summary["cost"] + summary["lost_cost"] == pytest.approx(0.18)
    model = distiller(teacher, ledger).fit(*problem)
    assert sorted(server.asked().values()) == [1] * 36 + [2] * BATCH
    assert model.n_paid_ == 30
    assert len(ledger) == 42


@pytest.mark.parametrize("how", ["NaN", "negative", "sum"])
def test_a_fault_in_a_row_costs_that_row_alone(tmp_path, problem, how):
    """All answers of its batch are recorded before the error; none is paid again."""
    server, path = Server(tmp_path / "asked"), tmp_path / "labels.sqlite"
    n_calls = 0

    def teacher(X):
        nonlocal n_calls
        n_calls += 1
        answer = server(X)
        return spoilt(answer, how) if n_calls == 4 else answer

    with pytest.raises(TeacherAnswerError, match=r"class|sum to"):
        distiller(teacher, LabelLedger(path)).fit(*problem)
    ledger = LabelLedger(path)
    summary = ledger.summary()
    assert (len(ledger), summary["n_paid"], summary["n_failed"]) == (17, 18, 0)
    assert summary["cost"] == pytest.approx(0.18)
    model = distiller(teacher, ledger).fit(*problem)
    assert set(server.asked().values()) == {1}
    assert model.n_paid_ == len(server.asked()) - 18
    assert len(ledger) == 41


@pytest.mark.parametrize(
    ("limits", "n_labels"),
    [({"max_rows": 20}, 20), ({"max_cost": 0.2}, 20), ({"max_rows": 3}, 3)],
)
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_spent_ledger_is_a_normal_ending(tmp_path, problem, kind, limits, n_labels):
    """All of the budget is used, no row more; the student knows what was paid."""
    server = Server(tmp_path / "asked")
    ledger = (
        MemoryLedger(**limits)
        if kind == "memory"
        else LabelLedger(tmp_path / "l.sqlite", **limits)
    )
    model = distiller(server, ledger).fit(*problem)
    assert model.termination_condition_ == "ledger_budget"
    assert len(ledger) == len(server.asked()) == n_labels
    assert ledger.summary()["cost"] == pytest.approx(n_labels / 100)
    n_pool = max(0, n_labels - 6)  # after the teacher checks
    assert (model.n_queries_, model.n_paid_) == (n_pool, n_labels)
    assert model.history_[-1]["n_labeled"] == 20 + n_pool
    assert (model.labeled_round_ > 0).sum() == n_pool
    again = distiller(server, ledger).fit(*problem)
    assert again.n_paid_ == 0
    assert len(ledger) == n_labels


def fit_with_seed(server, path, problem, seed):
    ledger = LabelLedger(path, max_rows=50)
    distiller(server, ledger).set_params(random_state=seed).fit(*problem)


def test_two_fits_never_exceed_one_budget(tmp_path, problem):
    """At once, in two processes, on one ledger: 50 rows, each once."""
    server, path = Server(tmp_path / "asked"), tmp_path / "labels.sqlite"
    children = [
        FORK.Process(target=fit_with_seed, args=(server, path, problem, seed))
        for seed in (1, 2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert sum(server.asked().values()) == len(server.asked()) == 50


def test_two_equal_fits_at_once_pay_once(tmp_path, problem):
    """Rows that one process is paying for are waited for by the other."""
    server, path = Server(tmp_path / "asked"), tmp_path / "labels.sqlite"
    children = [
        FORK.Process(target=fit_in_child, args=(server, path, problem))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert set(server.asked().values()) == {1}
    assert len(LabelLedger(path)) == 42


def test_a_search_in_two_processes_pays_distinct_rows_once(tmp_path, problem):
    """GridSearchCV(n_jobs=2): the server's counter and the summary agree."""
    server, ledger = Server(tmp_path / "asked"), LabelLedger(tmp_path / "l.sqlite")
    X, y = problem
    search = GridSearchCV(
        distiller(
            server, ledger, budget=36, teacher_checks=CheckPolicy(error_rate=0.1)
        ),
        {"student__C": [0.1, 1.0], "query_size": [18, 36]},
        cv=PartiallyLabeledSplit(2),
        n_jobs=2,
    )
    # Forks, which need not import everything again; spawned processes unpickle
    # the path in the same way.
    with joblib.parallel_config(backend="multiprocessing"):
        search.fit(X, y)
    asked = server.asked()
    assert set(asked.values()) == {1}
    assert len(ledger) == ledger.n_paid == len(asked)
    assert len(asked) < 36 * 9
    assert search.best_estimator_.n_queries_ == 36


def test_plan_knows_the_ledger(tmp_path, problem):
    """What is owned, what is left to pay at most, and its price and time."""
    server, ledger = Server(tmp_path / "asked"), MemoryLedger()
    model = distiller(server, ledger, use_known=True)
    plan = model.plan(*problem)
    assert (plan.n_known, plan.n_known_checks, plan.seconds) == (0, 0, None)
    assert (plan.n_rows_to_pay, plan.cost) == (42, 0.42)
    model.fit(*problem)
    plan = model.set_params(budget=60).plan(*problem)
    assert (plan.n_known, plan.n_known_checks) == (36, 6)
    assert (plan.rounds, plan.n_rows_to_pay) == ((12, 6), 24)
    per_row = ledger.summary()["seconds"] / 42
    assert plan.n_rows_expected == 60 - 42
    assert plan.seconds == pytest.approx(18 * per_row)
    told = (
        "known to the ledger: 42, which cost nothing\nrows to pay: 18 expected, 24 at"
    )
    assert told in str(plan)
    assert "\ncost: 0.24 at most" in str(plan)
    plan = model.set_params(budget=None, teacher_checks=10**9).plan(*problem)
    assert plan.n_rows_to_pay == 220 - 42
    assert len(ledger) == 42


def test_a_fit_goes_on_with_what_it_owns(tmp_path, problem):
    """With the labels of the killed fit used from the first round, the bill is one."""
    server, ledger = Server(tmp_path / "asked"), MemoryLedger()
    calls = []

    def interrupted(X):
        calls.append(len(X))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return server(X)

    with pytest.raises(KeyboardInterrupt):
        distiller(interrupted, ledger, use_known=True).fit(*problem)
    model = distiller(server, ledger, use_known=True).fit(*problem)
    assert sum(server.asked().values()) == len(server.asked()) == 42
    assert model.n_queries_ == 36
    assert [record["n_free"] for record in model.history_[:3]] == [0, 10, 2]
