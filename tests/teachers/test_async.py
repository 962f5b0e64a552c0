"""A teacher behind HTTP: nothing paid is lost, whatever the server does."""

import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils._param_validation import InvalidParameterError

from skadistill import ActiveDistiller
from skadistill.exceptions import (
    TeacherAnswerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger, row_keys
from skadistill.teachers import (
    Answer,
    AsyncTeacher,
    Limits,
    NoLabel,
    _request,
    as_teacher,
)
from skadistill.teachers._async import _traffic_of
from skadistill.teachers._request import AsyncRequest

CLASSES = ["down", "up"]
SECRET = "sk-this-must-not-be-anywhere"


class Handler(BaseHTTPRequestHandler):
    """Speak the chat-completions protocol, and misbehave where told to."""

    def log_message(self, *args):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with server.lock:
            server.asked[text] += 1
            server.running += 1
            server.peak = max(server.peak, server.running)
            how = server.faults.get(text, [])
            how = how.pop(0) if how else "answer"
        self.running = True
        try:
            self.respond(how, text)
        finally:
            self.leave()

    def leave(self):
        """Count as done before the answer: with it the client may go on at once."""
        if self.running:
            self.running = False
            with self.server.lock:
                self.server.running -= 1

    def respond(self, how, text):
        if how == "drop":
            self.connection.close()
            return
        if how == "slow":
            time.sleep(2.5)
        elif how == "pause":
            time.sleep(0.02)
        status = int(how) if how.isdigit() else 200
        value = float(text)
        content = "up" if value > 0 else "down"
        p = 1 / (1 + np.exp(-value))
        logprobs = {"up": np.log(p), "down": np.log(1 - p)}
        top = [{"token": t, "logprob": float(v)} for t, v in logprobs.items()]
        choice = {
            "message": {"role": "assistant", "content": content},
            "logprobs": {"content": [{"token": content, "top_logprobs": top}]},
        }
        if how == "no choices":
            payload = b'{"object": "chat.completion"}'
        elif how == "malformed":
            payload = b'{"choices": [{"message"'
        elif how == "nonsense":
            choice["message"]["content"] = "As a language model, I cannot say"
            payload = json.dumps({"choices": [choice]}).encode()
        else:
            usage = {"prompt_tokens": len(text), "completion_tokens": 1}
            payload = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0.05")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.leave()
        self.wfile.write(payload)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that gave up


@pytest.fixture
def server():
    """Run a real server on this machine, with its own counter."""
    server = QuietServer(("127.0.0.1", 0), Handler)
    server.lock, server.faults, server.asked = threading.Lock(), {}, Counter()
    server.running = server.peak = 0
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class StatusError(Exception):
    """Say what the server refused with, as most clients' errors do."""

    def __init__(self, response):
        super().__init__(f"{response.status} {response.reason}")
        self.status_code, self.headers = response.status, response.headers


def completion(port, text, timeout=5.0):
    body = json.dumps({"messages": [{"role": "user", "content": text}]})
    headers = {"Authorization": f"Bearer {os.environ.get('SOME_API_KEY', '')}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", body, headers)
        with connection.getresponse() as response:
            if response.status >= 400:
                raise StatusError(response)
            return json.load(response)


def client(server, *, soft=False, asynchronous=True):
    """Make the function that a user would write."""
    port = server.server_port

    def ask(rows):
        answers = []
        for row in rows:
            choice = completion(port, str(row[0]))["choices"][0]
            if soft:
                top = choice["logprobs"]["content"][0]["top_logprobs"]
                p = {entry["token"]: np.exp(entry["logprob"]) for entry in top}
                answers.append([p["down"], p["up"]])
            else:
                answers.append(choice["message"]["content"])
        return answers

    async def ask_async(rows):
        return await asyncio.to_thread(ask, rows)

    return ask_async if asynchronous else ask


def teacher_of(server, *, soft=False, asynchronous=True, **options):
    limits = Limits(backoff=0.01, max_concurrency=4)
    options = {"name": "model", "limits": limits} | options
    return AsyncTeacher(client(server, soft=soft, asynchronous=asynchronous), **options)


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 1)).round(3)


def truth(X, soft=False):
    p = 1 / (1 + np.exp(-X[:, 0])) if soft else (X[:, 0] > 0).astype(float)
    return np.column_stack([1 - p, p])


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_answers_come_back_in_order(server, soft, asynchronous, batch_size):
    """Whatever the order in which they arrive; each row is asked once."""
    X = rows(14)
    server.faults = {str(v): ["pause"] for v in X[::3, 0]}
    teacher = teacher_of(
        server, soft=soft, asynchronous=asynchronous, batch_size=batch_size
    )
    labels = (
        teacher.ask(X, CLASSES[::-1])[:, ::-1]
        if soft is False
        else teacher.ask(X, CLASSES)
    )
    np.testing.assert_allclose(labels, truth(X, soft), atol=1e-12)
    assert server.asked == Counter(str(v) for v in X[:, 0])
    assert teacher.ask(X[:0], CLASSES).shape == (0, 2)


PASSING = ["429", "500", "503", "slow", "malformed", "drop"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("fault", PASSING)
def test_passing_faults_are_tried_again(server, fault, asynchronous):
    """One more request for the row, its cost counted unless the server refused."""
    X = rows(6)
    server.faults = {str(X[2, 0]): [fault]}
    ledger = MemoryLedger()
    # Long enough for a busy machine, where nothing is to be slow.
    timeout = 1.2 if fault == "slow" else 60.0
    teacher = teacher_of(
        server,
        asynchronous=asynchronous,
        limits=Limits(timeout=timeout, backoff=0.01),
        cost_per_row=0.01,
    )
    bought = buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    assert (bought.labels == truth(X)).all()
    assert server.asked == Counter([*(str(v) for v in X[:, 0]), str(X[2, 0])])
    counts, n_unsure = ledger.summary(), 0 if fault.isdigit() else 1
    assert counts["cost"] == bought.cost == pytest.approx(0.06)
    assert counts["n_unanswered"] == n_unsure
    assert counts["lost_cost"] == pytest.approx(n_unsure / 100)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("400", TeacherCallError, "raised StatusError: 400 Bad Request"),
        ("401", TeacherCallError, "raised StatusError: 401 Unauthorized"),
        ("no choices", TeacherCallError, "raised KeyError: 'choices'"),
        ("nonsense", TeacherAnswerError, "answered the unknown label 'As a language"),
    ],
)
def test_lasting_faults_end_the_asking(server, tmp_path, fault, error, said):
    """Not tried again; what was answered is kept, and the rest is paid once.

    An unusable answer counts as one, since others before it were usable.
    """
    X = rows(30)
    server.faults = {str(X[11, 0]): [fault]}
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    teacher = teacher_of(server, cost_per_row=0.01)
    with pytest.raises(error) as caught:
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    assert said in str(caught.value)
    assert "row 11" in str(caught.value)
    assert caught.value.__cause__ is not None or fault == "nonsense"
    n_kept, unusable = len(ledger), fault == "nonsense"
    assert sum(server.asked.values()) == n_kept + 1
    assert 8 <= n_kept <= 29
    assert str(caught.value).endswith(
        f"the {n_kept + unusable} answers paid for so far are kept in the ledger."
    )
    summary = ledger.summary()
    assert summary["n_failed"] == 30 - n_kept - unusable
    assert summary["cost"] == pytest.approx((n_kept + unusable) / 100)
    assert summary["n_unanswered"] == (fault == "no choices")
    assert summary["lost_cost"] == pytest.approx(summary["n_unanswered"] / 100)
    bought = buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    right = (bought.labels == truth(X)).all(axis=1)
    assert np.flatnonzero(~right).tolist() == ([11] if unusable else [])
    assert bought.n_paid == 30 - n_kept - unusable
    assert sum(server.asked.values()) == 31 - unusable


def test_a_fault_that_stays_is_named_after_the_last_try(server):
    """So many requests as max_tries, and the sentence says so."""
    X = rows(1)
    server.faults = {str(X[0, 0]): ["500"] * 9}
    with pytest.raises(TeacherCallError) as caught:
        teacher_of(server, limits=Limits(max_tries=3, backoff=0.01)).ask(
            X, CLASSES, row_numbers=[17]
        )
    assert str(caught.value) == (
        "the teacher 'model' raised StatusError: 500 Internal Server Error, "
        "when asked about row 17 (try 3 of at most 3); fix the teacher or its input "
        "and ask again."
    )
    assert server.asked[str(X[0, 0])] == 3


def test_a_slow_answer_is_a_timeout(server):
    """A try that takes too long is given up, and is named."""
    X = rows(1)
    server.faults = {str(X[0, 0]): ["slow"] * 2}
    with pytest.raises(TeacherCallError, match=r"TimeoutError: no answer within 0.1 s"):
        teacher_of(server, limits=Limits(max_tries=2, timeout=0.1, backoff=0.01)).ask(
            X, CLASSES
        )


def test_calls_in_flight_are_limited(server):
    """Never more than max_concurrency, and as many as that."""
    X = rows(24)
    server.faults = {str(v): ["pause"] for v in X[:, 0]}
    teacher_of(server, limits=Limits(max_concurrency=3)).ask(X, CLASSES)
    assert server.peak == 3


def test_rows_are_claimed_a_few_calls_at_a_time(server):
    """What is claimed is what a kill can lose; the purchase may say otherwise."""
    claimed = []

    class Ledger(MemoryLedger):
        def claim(self, keys, *args, **options):
            claimed.append(len(keys))
            return super().claim(keys, *args, **options)

    teacher = teacher_of(server, limits=Limits(max_concurrency=2), batch_size=2)
    buy_labels(teacher, rows(50), classes=CLASSES, ledger=Ledger())
    assert claimed == [40, 10]
    buy_labels(teacher, rows(50), classes=CLASSES, ledger=Ledger(), batch_size=50)
    assert claimed == [40, 10, 50]


def most_within(times, seconds):
    """Return how many of some moments fall into one window of time."""
    times = np.sort(times)
    return max(np.searchsorted(times, t + seconds) - i for i, t in enumerate(times))


def test_every_try_waits_for_its_turn(server):
    """Each request, a retry or not, takes its share of both limits."""
    X = rows(5)
    server.faults = {str(X[0, 0]): ["503", "429"]}
    teacher = teacher_of(
        server,
        limits=Limits(requests_per_minute=30, tokens_per_minute=100, backoff=0.01),
        count_tokens=lambda rows: 7 * len(rows),
    )
    teacher.ask(X, CLASSES)
    teacher.ask(X, CLASSES)
    traffic = _traffic_of(teacher)
    assert [amount for _, amount in traffic.requests.started] == [1] * 12
    assert [amount for _, amount in traffic.tokens.started] == [7] * 12
    with pytest.raises(TeacherError, match="a call has 105 tokens but"):
        clone(teacher).set_params(batch_size=15).ask(rows(15), CLASSES)


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
def test_limits_hold_from_the_first_minute_on(limit):
    """No window of a minute, here 0.3 s, sees more than the limit; none is wasted."""
    times = []

    async def ask(X):
        times.append(time.monotonic())
        return ["up"]

    teacher = AsyncTeacher(ask, name="t", limits=Limits(**{limit: 6}), count_tokens=len)
    window = getattr(_traffic_of(teacher), limit.partition("_")[0])
    assert window.seconds >= 60
    window.seconds = 0.3
    teacher.ask(np.zeros((20, 1)), CLASSES)
    assert most_within(times, 0.29) == 6
    assert 0.85 < max(times) - min(times) < 3


def test_less_than_one_request_a_minute():
    """A limit of one half is one request in two minutes."""
    times = []

    async def ask(X):
        times.append(time.monotonic())
        return ["up"]

    teacher = AsyncTeacher(ask, name="t", limits=Limits(requests_per_minute=0.5))
    _traffic_of(teacher).requests.seconds = 0.1
    teacher.ask(np.zeros((3, 1)), CLASSES)
    assert np.diff(times).min() >= 0.2


def test_a_limit_is_kept_when_other_parameters_change():
    """`set_params` does not start a new minute."""
    teacher = AsyncTeacher(sign, name="t", limits=Limits(requests_per_minute=100))
    for timeout in (10.0, 20.0):
        limits = Limits(requests_per_minute=100, timeout=timeout)
        teacher.set_params(limits=limits).ask(np.zeros((3, 1)), CLASSES)
    assert len(_traffic_of(teacher).requests.started) == 6


def test_ctrl_c_while_waiting_for_a_limit_ends_at_once(ctrl_c):
    """A call that was not sent costs nothing and is not waited for."""

    class Busy(MemoryLedger):
        def _store(self, *what):
            super()._store(*what)
            ctrl_c()

    ledger = Busy()
    teacher = AsyncTeacher(
        sign,
        name="t",
        limits=Limits(requests_per_minute=1, max_concurrency=2),
        cost_per_row=0.5,
    )
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        buy_labels(teacher, np.arange(2.0)[:, None], classes=CLASSES, ledger=ledger)
    assert time.monotonic() - start < 20
    assert len(ledger) == 1
    assert ledger.summary()["cost"] == 0.5


def test_it_works_where_a_loop_is_running(server):
    """As in a notebook; and from several threads at once."""

    async def notebook():
        return teacher_of(server).ask(rows(4), CLASSES)

    assert (asyncio.run(notebook()) == truth(rows(4))).all()
    teacher, results = teacher_of(server), {}
    threads = [
        threading.Thread(
            target=lambda i=i: results.update({i: teacher.ask(rows(4, i), CLASSES)})
        )
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((results[i] == truth(rows(4, i))).all() for i in range(3))


def in_child(teacher, connection):
    connection.send(teacher.ask(rows(4), CLASSES))


def test_it_works_after_a_fork(server):
    """The child has a loop of its own."""
    teacher = teacher_of(server)
    teacher.ask(rows(2), CLASSES)
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=in_child, args=(teacher, there))
    child.start()
    assert here.poll(20)
    assert (here.recv() == truth(rows(4))).all()
    child.join()


async def sign(X):
    return np.where(np.asarray(X)[:, 0] > 0, "up", "down")


def test_it_is_pickled_and_cloned(rng):
    """After use, too; clones are the teacher itself and so share its limits."""
    teacher = AsyncTeacher(sign, classes=CLASSES)
    X = rng.normal(size=(3, 1))
    assert (teacher.answer(X) == truth(X)).all()
    twin = pickle.loads(pickle.dumps(teacher))
    assert (twin.ask(X, CLASSES) == truth(X)).all()
    assert twin.identity == teacher.identity
    assert clone(teacher) is teacher
    with pytest.raises(TeacherError, match="has no classes"):
        AsyncTeacher(sign).answer(X)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_interrupts_inside_pass_through(stop):
    """An interrupt in the function is an interrupt outside, answers kept."""

    async def ask(X):
        if X[0, 0] == 3:
            raise stop
        return ["up"]

    ledger, X = MemoryLedger(), np.arange(9.0)[:, None]
    teacher = AsyncTeacher(ask, name="t", limits=Limits(max_concurrency=1))
    with pytest.raises(stop):
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    assert len(ledger) == 3
    assert teacher.ask(X[:2], CLASSES).shape == (2, 2)  # the loop lives


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_waits_for_the_calls_in_flight():
    """No new call is made; those in flight are waited for and recorded."""
    asked = []

    async def ask(X):
        asked.append(X[0, 0])
        if X[0, 0] == 2:
            await asyncio.sleep(0.05)  # the other side is waiting by now
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.2)
        return ["up"]

    ledger, X = MemoryLedger(), np.arange(40.0)[:, None]
    teacher = AsyncTeacher(
        ask, name="t", limits=Limits(max_concurrency=4), cost_per_row=0.5
    )
    with pytest.raises(KeyboardInterrupt):
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    known, _ = ledger.lookup(row_keys(X), "t", CLASSES)
    assert known.nonzero()[0].tolist() == sorted(asked)
    assert len(asked) < 10
    assert ledger.summary()["cost"] == 0.5 * len(asked)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_ctrl_c_while_recording_waits_for_them_too(ctrl_c, moment):
    """Whatever the ledger is doing just then: what was asked is known in the end."""
    asked = []

    async def ask(X):
        asked.append(X[0, 0])
        await asyncio.sleep(0.02 * len(asked))
        return ["up"]

    class Busy(MemoryLedger):
        def _store(self, *what):
            first = len(self) == 0
            if first and moment == "before":
                ctrl_c()
            super()._store(*what)
            if first and moment == "after":
                ctrl_c()

    ledger, X = Busy(), np.arange(40.0)[:, None]
    teacher = AsyncTeacher(
        ask, name="t", limits=Limits(max_concurrency=4), cost_per_row=0.5
    )
    with pytest.raises(KeyboardInterrupt):
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    known, _ = ledger.lookup(row_keys(X), "t", CLASSES)
    assert known.nonzero()[0].tolist() == sorted(asked)
    assert 4 <= len(asked) < 10
    assert ledger.summary()["cost"] == 0.5 * len(asked)


def test_a_second_ctrl_c_goes_through(ctrl_c):
    """Who presses twice does not want to wait: calls in flight are given up."""

    async def ask(X):
        await asyncio.sleep(0.01 if X[0, 0] == 0 else 60)
        return ["up"]

    class Busy(MemoryLedger):
        def _store(self, *what):
            super()._store(*what)
            ctrl_c()
            ctrl_c()

    ledger, X = Busy(), np.arange(4.0)[:, None]
    teacher = AsyncTeacher(ask, name="t", limits=Limits(max_concurrency=4))
    with pytest.raises(KeyboardInterrupt):
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    assert len(ledger) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_costs_that_the_server_reports(server):
    """`Answer` carries the price of a call; a budget in money is not exceeded."""
    port = server.server_port

    async def ask(X):
        reply = await asyncio.to_thread(completion, port, str(X[0, 0]))
        cost = 0.001 * reply["usage"]["prompt_tokens"]
        return Answer([reply["choices"][0]["message"]["content"]], cost=cost)

    X, ledger = rows(40), MemoryLedger(max_cost=0.1)
    server.faults = {str(v): ["500"] for v in X[::4, 0]}
    teacher = AsyncTeacher(
        ask, name="t", cost_per_row=0.006, limits=Limits(max_tries=2, backoff=0.01)
    )
    assert teacher.max_cost_per_row == 0.012
    bought = buy_labels(teacher, X, classes=CLASSES, ledger=ledger, batch_size=5)
    texts = [str(v) for v in X[bought.paid, 0]]
    assert bought.cost == pytest.approx(sum(map(len, texts)) / 1000)
    assert 8 <= bought.n_paid < 40
    assert 0.1 - 0.012 < ledger.summary()["cost"] <= 0.1
    assert bought.n_refused == 40 - bought.n_paid


def test_the_key_is_nowhere(server, tmp_path, monkeypatch):
    """Taken from the environment, it is in no file, message, repr or identity."""
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    X = rows(8)
    server.faults = {str(X[5, 0]): ["401"]}
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    teacher = teacher_of(server)
    with pytest.raises(TeacherCallError) as caught:
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    seen = [str(caught.value), repr(teacher), repr(ledger.summary())]
    seen.append(teacher.set_params(name=None).identity)
    assert not any(SECRET in text for text in seen)
    for file in tmp_path.iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_an_active_distiller_with_a_bad_connection(server, tmp_path):
    """Faults of most passing kinds; the student is the same as without them."""
    X = rows(60, seed=5)
    y = np.where(X[:, 0] > 0, "up", "down").astype(object)
    y[10:] = "?"
    students = []
    passing = [fault for fault in PASSING if fault != "slow"]
    for name, faults in (("good", []), ("bad", passing * 10)):
        pairs = zip(X[10:, 0], faults, strict=False)
        server.faults = {str(v): [fault] for v, fault in pairs}
        ledger = LabelLedger(tmp_path / name)
        model = ActiveDistiller(
            teacher_of(server, soft=True),
            LogisticRegression(),
            unlabeled_marker="?",
            budget=35,
            query_size=15,
            teacher_checks=5,
            ledger=ledger,
            random_state=0,
        ).fit(X, y)
        students.append(model.predict_proba(X))
        assert len(ledger) == 35
    np.testing.assert_array_equal(*students)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, TeacherAnswerError),
        ([], TeacherAnswerError),
        ([[0.5, 0.5], [0.5, 0.5]], TeacherAnswerError),
        ([[0.2, 0.3, 0.5]], TeacherAnswerError),
        ([[np.nan, 1.0]], TeacherAnswerError),
        ([[-0.5, 1.5]], TeacherAnswerError),
        ([[0.5, 0.6]], TeacherAnswerError),
        (["left"], TeacherAnswerError),
        ("up", TeacherAnswerError),
    ],
)
def test_broken_answers_are_named_and_never_tried_again(answer, error):
    """Every fault of an answer has its class; asking again would be paying again."""
    n_calls = 0

    async def ask(X):
        nonlocal n_calls
        n_calls += 1
        return answer

    with pytest.raises(error):
        AsyncTeacher(ask).ask(np.zeros((1, 1)), CLASSES)
    assert n_calls == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("limits", 8),
        ("count_tokens", 7),
    ],
)
def test_wrong_settings_are_named(name, value):
    """They are refused before anything is asked."""
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of Async"):
        AsyncTeacher(sign, **{name: value}).ask(np.zeros((1, 1)), CLASSES)


def test_a_token_limit_needs_a_counter():
    """`tokens_per_minute` without `count_tokens` is refused."""
    teacher = AsyncTeacher(sign, limits=Limits(tokens_per_minute=9))
    with pytest.raises(TeacherError, match="tokens_per_minute is 9 but count_tokens"):
        teacher.ask(np.zeros((1, 1)), CLASSES)


def test_a_class_mismatch_is_found_before_anything_is_asked():
    """Declared classes that do not fit cost nothing."""
    ledger = MemoryLedger()
    teacher = AsyncTeacher(sign, classes=["up"], name="t", cost_per_row=1.0)
    with pytest.raises(TeacherAnswerError, match="does not know the class 'down'"):
        buy_labels(teacher, np.zeros((2, 1)), classes=CLASSES, ledger=ledger)
    assert ledger.summary()["cost"] == 0.0


def test_an_answer_may_be_no_label():
    """The row is asked once, paid for, and known to have no label."""
    asked = Counter()

    async def ask(X):
        asked[X[0, 0]] += 1
        return [None if X[0, 0] == 3 else NoLabel() if X[0, 0] == 5 else "up"]

    ledger, X = MemoryLedger(), np.arange(9.0)[:, None]
    teacher = AsyncTeacher(ask, name="t", cost_per_row=0.5)
    for n_paid in (9, 0):
        bought = buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
        assert bought.n_paid == n_paid
        assert np.flatnonzero(bought.no_label).tolist() == [3, 5]
        assert np.flatnonzero(~bought.labeled).tolist() == [3, 5]
    assert set(asked.values()) == {1}
    assert ledger.summary()["cost"] == 4.5


def test_one_unusable_answer_of_a_call_keeps_the_others():
    """All rows of the call are recorded, one without a label."""

    async def ask(X):
        return Answer(["??" if v == 4 else "up" for v in X[:, 0]], cost=0.3)

    ledger, X = MemoryLedger(), np.arange(6.0)[:, None]
    teacher = AsyncTeacher(
        ask, name="t", batch_size=3, limits=Limits(max_concurrency=1)
    )
    with pytest.raises(TeacherAnswerError, match="for row 4"):
        buy_labels(teacher, X, classes=CLASSES, ledger=ledger)
    known, _ = ledger.lookup(row_keys(X), "t", CLASSES)
    assert known.all()
    assert ledger.summary()["cost"] == pytest.approx(0.6)
    assert ledger.summary()["n_failed"] == 0
    assert ledger.summary()["n_no_label"] == 1


def test_rows_are_marked_as_sent_just_before_their_call():
    """Before any call its rows are marked, and never more than are in flight."""
    marked, called = [], []

    class Ledger(MemoryLedger):
        def sending(self, claim, keys):
            marked.extend(keys.tolist())
            return super().sending(claim, keys)

    async def ask(X):
        key = row_keys(X)[0]
        assert key.item() in marked
        called.append(key)
        assert len(marked) <= len(called) + 3
        await asyncio.sleep(0.002)
        return ["up"]

    X = np.arange(30.0)[:, None]
    teacher = AsyncTeacher(ask, name="t", limits=Limits(max_concurrency=4))
    buy_labels(teacher, X, classes=CLASSES, ledger=Ledger())
    assert sorted(marked) == sorted(row_keys(X).tolist())


def test_an_error_raised_from_itself_ends():
    """A cycle of causes is followed once."""

    def ask(X):
        try:
            {}["label"]
        except KeyError as error:
            raise error from error

    with pytest.raises(TeacherCallError, match="KeyError"):
        AsyncTeacher(ask, name="t").ask(np.zeros((1, 1)), CLASSES)


def test_a_cancelled_call_is_a_fault():
    """A client that gives up by CancelledError ends the asking, not the worker."""

    async def ask(X):
        raise asyncio.CancelledError

    with pytest.raises(TeacherCallError, match="CancelledError"):
        AsyncTeacher(ask, name="t").ask(np.zeros((1, 1)), CLASSES)


def test_a_blocking_call_in_an_async_function_is_said(caplog, monkeypatch):
    """It blocks all calls and cannot be stopped; the way out is named."""
    monkeypatch.setattr(_request, "_BLOCKED", 0.2)

    async def ask(X):
        time.sleep(0.05)
        return ["up"]

    teacher = AsyncTeacher(ask, name="t", limits=Limits(max_concurrency=8))
    teacher.ask(np.zeros((12, 1)), CLASSES)
    said = [r.message for r in caplog.records if "blocks its event loop" in r.message]
    assert len(said) == 1
    assert "without `async`, which runs in threads" in said[0]


def test_slow_calls_that_wait_are_not_blamed(caplog, monkeypatch):
    """Neither an async function that awaits nor a blocking one without async."""
    monkeypatch.setattr(_request, "_BLOCKED", 0.3)

    async def awaits(X):
        await asyncio.sleep(0.2)
        return ["up"]

    def blocks(X):
        time.sleep(0.2)
        return ["up"]

    for ask in (awaits, blocks):
        teacher = AsyncTeacher(ask, name="t", limits=Limits(max_concurrency=2))
        teacher.ask(np.zeros((16, 1)), CLASSES)
    assert caplog.records == []


class LoopBound:
    """A client that belongs to the event loop in which it is first used."""

    def __init__(self):
        self.loop = None

    async def ask(self, X):
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"{self!r} is bound to a different event loop")
        return ["up"] * len(X)


def test_a_client_of_another_loop_is_said():
    """The message says what happened and what to do; nothing was sent or billed."""
    client = LoopBound()
    asyncio.run(client.ask([0]))
    with pytest.raises(TeacherCallError, match="create the client inside") as caught:
        AsyncTeacher(client.ask, name="t", cost_per_row=1.0).ask([[0.0]], CLASSES)
    assert caught.value.cost == 0.0


def test_all_teachers_share_one_loop():
    """A client may serve two teachers, and one whose parameters change."""
    client = LoopBound()
    teachers = [AsyncTeacher(client.ask, name=name) for name in "ab"]
    for teacher in (*teachers, teachers[0].set_params(limits=Limits(timeout=3.0))):
        assert teacher.ask([[0.0]], CLASSES).tolist() == [[0.0, 1.0]]


HANGS = """
import sys, threading, time
from skadistill.teachers import AsyncTeacher, Limits

def hang(X):
    time.sleep(1000)

async def block(X):
    time.sleep(1000)

teacher = AsyncTeacher({name}, name="t", limits=Limits(timeout=0.1, max_tries=1))
threading.Thread(target=teacher.ask, args=(["x"], ["a", "b"]), daemon=True).start()
time.sleep(0.5)
print("leaving", flush=True)
"""


@pytest.mark.parametrize("name", ["hang", "block"])
def test_calls_that_hang_do_not_hang_the_exit(name):
    """Neither threads nor the event loop are waited for when Python ends."""
    run = subprocess.run(
        [sys.executable, "-c", HANGS.format(name=name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "leaving" in run.stdout
    assert run.returncode == 0


def test_an_answer_in_another_order_is_noticed():
    """An index that shows it is looked at here, too."""

    def ask(X):
        return pd.Series(["up", "down", "up"], index=X.index).sort_index()

    X = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=[2, 0, 1])
    with pytest.raises(TeacherAnswerError, match="another order"):
        AsyncTeacher(ask, name="t", batch_size=3).ask(X, CLASSES)


def test_a_series_answers_a_list():
    """A list has a method `index`, which is not an index."""

    def ask(X):
        return pd.Series(["up" for _ in X])

    labels = AsyncTeacher(ask, name="t", batch_size=2).ask(["x", "y"], CLASSES)
    assert labels.tolist() == [[0.0, 1.0]] * 2


def test_the_server_is_not_asked_again_before_it_wants():
    """A wait is the longer of the backoff and what the server asks for."""
    teacher = AsyncTeacher(sign, limits=Limits(backoff=0.001))
    request = AsyncRequest(teacher, np.zeros((1, 1)), CLASSES, None, 1, None)
    error = OSError("busy")
    error.status_code, error.headers = 429, {"Retry-After": "2.5"}
    for is_alone in (False, True):
        assert request._wait(error, 1, is_alone) == 2.5
        assert 0 <= request._wait(TimeoutError(), 3, is_alone) <= 0.004
    waits = [request._wait(TimeoutError(), 1, is_alone=True) for _ in range(100)]
    assert 0 <= min(waits) <= max(waits) <= 0.0001


def test_a_long_wait_ends_with_the_request():
    """A call that waits for its next try is given up when another one fails."""

    async def ask(X):
        if X[0, 0] == 0:
            error = OSError("busy")
            error.status_code, error.headers = 429, {"Retry-After": "200"}
            raise error
        await asyncio.sleep(0.05)
        raise ValueError("broken")

    start = time.monotonic()
    with pytest.raises(TeacherCallError, match="broken"):
        AsyncTeacher(ask, name="t").ask(np.arange(2.0)[:, None], CLASSES)
    assert time.monotonic() - start < 20


class ZeroShot(ClassifierMixin, BaseEstimator):
    """Look like skorch.llm.ZeroShotClassifier: fitted on no rows, asked with texts."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        p = np.array([0.9 if "good" in text else 0.2 for text in X])
        return np.column_stack([1 - p, p])


def test_the_shape_of_a_zero_shot_classifier():
    """Fitted with fit(X=None, y=classes), it answers texts."""
    teacher = as_teacher(ZeroShot().fit(None, ["neg", "pos"]))
    bought = buy_labels(teacher, ["good", "bad", "good"], classes=["neg", "pos"])
    assert bought.labels[:, 1].tolist() == [0.9, 0.2, 0.9]
    assert bought.n_paid == 2


def rows_in_order(refuses, n_rows=6):
    """Ask with one call in flight; return the rows in the order of their tries."""
    began = []

    async def ask(X):
        row = int(X[0, 0])
        began.append(row)
        if refuses(row) and began.count(row) == 1:
            error = OSError("busy")
            error.status_code, error.headers = 503, {"Retry-After": "0.3"}
            raise error
        return [CLASSES[0]]

    teacher = AsyncTeacher(
        ask, name="t", limits=Limits(max_concurrency=1, backoff=0.001)
    )
    teacher.ask(np.arange(float(n_rows))[:, None], CLASSES)
    assert set(began) == set(range(n_rows))
    return began


def test_a_call_that_waits_gives_its_place_away():
    """Other rows are asked about while one has to wait, and it comes in the end."""
    began = rows_in_order(lambda row: row == 3)
    assert began[:5] == [0, 1, 2, 3, 4]
    assert began.count(3) == 2


def test_calls_keep_their_places_if_the_server_refuses_several_in_a_row():
    """Else each refusal would send another row to a server that limits everyone."""
    began = rows_in_order(lambda row: True)
    assert began[:3] == [0, 1, 1]
    assert len(began) == 12
