"""What a fit tells the standard logging module: counts, never rows or secrets."""

import logging
import re

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, LayerNASSearchCV, MemoryLedger
from skadistill.checking import CheckPolicy
from skadistill.labeling import buy_labels
from skadistill.teachers import AsyncTeacher, FunctionTeacher, Limits

SECRET = "sk-this-must-not-be-anywhere"
ROW = 1234.5678


@pytest.fixture
def lines(caplog):
    """Return a function that gives what was logged, as (level, logger, message)."""
    caplog.set_level(logging.INFO, logger="skadistill")
    return lambda: [(r.levelname, r.name, r.getMessage()) for r in caplog.records]


def messages(lines, room):
    return [text for _, name, text in lines() if name.startswith(f"skadistill.{room}")]


@pytest.fixture
def problem():
    X = np.random.default_rng(0).normal(size=(120, 3))
    return X, np.where(np.arange(120) < 40, X[:, 0] > 0, -1)


def teacher(X):
    return (X[:, 0] > 0).astype(int)


def distiller(**options):
    options = {"budget": 25, "query_size": 10, "random_state": 0} | options
    return ActiveDistiller(teacher, LogisticRegression(), **options)


def without_seconds(text):
    return re.sub(r"\d+\.\d\d s", "_ s", text)


def test_a_fit_tells_its_rounds_and_why_it_stopped(lines, problem):
    """Labels paid, what the ledger knew, the teacher's error, the reason: all INFO."""
    ledger = MemoryLedger()
    distiller(ledger=ledger, budget=10, teacher_checks=CheckPolicy(error_rate=0.1)).fit(
        *problem
    )
    before = len(lines())
    distiller(ledger=ledger, teacher_checks=5).fit(*problem)
    new = [entry for entry in lines()[before:] if entry[1].endswith("_distiller")]
    assert {level for level, _, _ in new} == {"INFO"}
    assert [without_seconds(text) for _, _, text in new] == [
        "round 0: 40 labeled rows, 0 asked, 0 paid, 0 free, _ s",
        "round 1: 50 labeled rows, 10 asked, 0 paid, 10 free, _ s",
        "round 2: 60 labeled rows, 10 asked, 10 paid, 0 free, _ s",
        "stopped after round 2 (budget): 20 rows asked; 15 paid, 5 of them teacher "
        "checks",
    ]
    (checked,) = [text for text in messages(lines, "checking") if "wrong" in text]
    assert checked == "the teacher is wrong on 0 of 5 labeled rows (aimed)"


def test_a_purchase_tells_what_it_took(lines):
    """Rows, calls and money, once for each purchase that is one."""
    X = np.array([[1.0], [-1.0], [1.0]])
    buy_labels(teacher, X, classes=[0, 1], ledger=MemoryLedger(max_rows=1))
    buy_labels(teacher, X[:0], classes=[0, 1])
    (told,) = messages(lines, "labeling")
    assert without_seconds(told) == (
        "the teacher 'teacher': rows paid 1, free 1, without a label 0, beyond the "
        "ledger's budget 1; calls 1, cost 0, _ s"
    )


def test_verbose_prints_what_is_logged(lines, problem, capsys):
    """One line a round on standard output, with or without logging."""
    distiller(verbose=1, teacher_checks=5).fit(*problem)
    printed = capsys.readouterr().out.splitlines()
    logged = [m for m in messages(lines, "_distiller") if m.startswith("round")]
    assert printed == [f"[ActiveDistiller] {line}" for line in logged]
    assert len(printed) == 3


def test_nothing_is_printed_unasked(problem, capsys):
    """No handler of ours: INFO goes nowhere until somebody wants it."""
    distiller().fit(*problem)
    assert capsys.readouterr() == ("", "")
    assert logging.getLogger("skadistill").handlers == []


class Refusal(Exception):
    status_code = 429


def failing(*faults):
    """Make a client that fails so often before it answers."""
    faults = list(faults)

    async def ask(rows):
        if faults:
            raise faults.pop(0)
        return ["up" if row[0] > 0 else "down" for row in rows]

    return ask


def ask(*faults, **options):
    options = {"name": "model", "limits": Limits(backoff=1e-3, max_tries=3)} | options
    X = np.array([[ROW], [-ROW]])
    remote = AsyncTeacher(failing(*faults), batch_size=2, **options)
    return buy_labels(remote, X, classes=["down", "up"], ledger=MemoryLedger())


def test_retries_are_told_and_those_that_cost_are_warned_of(lines):
    """Each is INFO; one warning counts those that a server did not refuse."""
    ask(
        Refusal(),
        TimeoutError(),
        TimeoutError(),
        limits=Limits(backoff=1e-3, max_tries=4),
        cost_per_row=0.5,
    )
    told = [entry[::2] for entry in lines() if entry[1].endswith("_request")]
    about = "of at most 4 about rows [0, 1] ended in"
    assert told == [
        *(
            ("INFO", f"the teacher 'model': try {k} {about} {what}; next try in 0.0 s")
            for k, what in enumerate(["Refusal (429)", *["TimeoutError"] * 2], start=1)
        ),
        (
            "WARNING",
            "the teacher 'model': failed calls that may still be billed: 4 "
            "rows, 2 at most; the summary of the ledger counts them apart",
        ),
    ]


def test_a_call_that_costs_and_brings_nothing_is_a_warning(lines):
    """What it counts is said, once; what a server refused counts nothing."""
    with pytest.raises(Exception, match="KeyError"):
        ask(KeyError(SECRET), cost_per_row=0.5)
    with pytest.raises(Exception, match="Refusal"):
        ask(*[Refusal()] * 3, cost_per_row=0.5)
    broken = FunctionTeacher(lambda X: list(1), name="local", cost_per_row=0.1)
    with pytest.raises(Exception, match="not iterable"):
        buy_labels(broken, np.eye(3), classes=[0, 1])
    warned = [text for level, _, text in lines() if level == "WARNING"]
    assert warned == [
        "the teacher 'model': failed calls that may still be billed: 2 rows, "
        "1 at most; the summary of the ledger counts them apart",
        "the teacher 'local': 3 rows were sent and their answers not recorded, because "
        "of TeacherCallError; they may be billed, 0.3 at most, and the summary of the "
        "ledger counts them apart",
    ]


def test_answers_near_the_timeout_are_warned_of_once(lines, monkeypatch):
    """Before they run into it; and not where there is time enough."""
    ask()
    assert [level for level, _, _ in lines()] == ["INFO"]
    monkeypatch.setattr("skadistill.teachers._request._SLOW", 0.0)
    remote = AsyncTeacher(failing(), name="model", limits=Limits(timeout=7.0))
    buy_labels(remote, np.array([[1.0], [2.0], [-3.0]]), classes=["down", "up"])
    (warned,) = [text for level, _, text in lines() if level == "WARNING"]
    assert warned.startswith("the teacher 'model' took 0.0 s about row ")
    assert "stopped after 7 s" in warned


def test_neither_rows_nor_secrets_are_logged(lines):
    """Also where the error that a client raises quotes both."""
    ask(TimeoutError(f"{SECRET} {ROW}"), Refusal(f"{SECRET} {ROW}"))
    with pytest.raises(Exception, match=SECRET):
        ask(*[TimeoutError(f"{SECRET} {ROW}")] * 3, cost_per_row=0.1)
    told = " ".join(text for _, _, text in lines())
    assert "Refusal" in told
    assert SECRET not in told
    assert str(ROW) not in told


def test_a_search_tells_its_layers(lines):
    """How many candidates are trained at a time, and what was chosen."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    search = LayerNASSearchCV(
        LogisticRegression(),
        {"C": [0.1, 1.0], "fit_intercept": [True, False]},
        max_size=None,
        size=lambda estimator: 1.0 + estimator.fit_intercept,
        cv=2,
    ).fit(X, teacher(X))
    told = messages(lines, "search")
    trained = [int(re.match(r"training (\d+) candidates", t)[1]) for t in told[:-1]]
    assert sum(trained) == len(search.cv_results_["params"])
    assert told[-1] == (
        f"{sum(trained)} candidates scored; the best has score "
        f"{search.best_score_:g} at size {search.best_size_:g}"
    )
