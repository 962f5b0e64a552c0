"""Anthropic's own batches, against a stand-in with faults, by address and by client.

Written from https://platform.claude.com/docs/en/build-with-claude/batch-processing and
from the types of the anthropic package.
"""

import asyncio
import json
import random
import re

import numpy as np
import pytest

from skadistill.exceptions import JobPendingError, TeacherCallError, TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.llm import BatchTeacher, ChatTeacher
from skadistill.llm._anthropic import as_chat, as_messages
from skadistill.teachers import Limits
from skadistill.teachers._async import running_loop

pytest.importorskip("httpx")

CLASSES = ["ham", "spam"]
PRICES = {"input": 1.0, "output": 4.0, "cached_input": 0.1, "cache_write": 1.25}
CLIENTS: list = []
SECRET = "sk-ant-secret-of-the-test"
#: Outcomes of a request of a batch that leave its row without an answer.
PASSING = ("expired", "canceled", "api_error", "overloaded_error")


class Anthropic:
    """Answer messages, and batches of them; each row meets a fault or none."""

    def __init__(self, seed=None):
        self.rng = random.Random(seed)
        self.has_faults = seed is not None
        self.bill, self.headers, self.batches = 0.0, [], {}
        self.answered: dict = {}
        self.refused_field = None
        self.later = 1  # looks at a batch before it has ended

    def __call__(self, path, headers, body):
        self.headers.append(headers)
        self.host = headers["Host"]
        path = path.partition("?")[0].removeprefix("/anthropic")
        if self.has_faults and self.rng.random() < 0.1:
            return 529, self.error("overloaded_error")[1]
        if path == "/v1/messages":
            status, found = self.message(body, 1.0)
            return status, found
        if path == "/v1/chat/completions":
            return self.chat(body)
        if path == "/v1/messages/batches":
            return 200, self.start(body["requests"])
        batch = self.batches[path.split("/")[4]]
        if path.endswith("/results"):
            return 200, "\n".join(map(json.dumps, batch["results"]))
        batch["looks"] += 1
        return 200, self.state(batch)

    def error(self, kind, message="no"):
        return kind, {"type": "error", "error": {"type": kind, "message": message}}

    def state(self, batch):
        has_ended = batch["looks"] > self.later
        kinds = [r["result"]["type"] for r in batch["results"]]
        names = ("succeeded", "errored", "canceled", "expired")
        counts = {name: kinds.count(name) * has_ended for name in names}
        counts["processing"] = 0 if has_ended else len(kinds)
        here = f"http://{self.host}/anthropic/v1"
        where = f"{here}/messages/batches/{batch['id']}/results"
        time = "2026-01-01T00:00:00Z"
        return {
            "id": batch["id"],
            "type": "message_batch",
            "processing_status": "ended" if has_ended else "in_progress",
            "request_counts": counts,
            "results_url": where if has_ended else None,
            "created_at": time,
            "expires_at": time,
            "ended_at": time if has_ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
        }

    def start(self, requests):
        names = [request["custom_id"] for request in requests]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
        results = [
            {"custom_id": r["custom_id"], "result": self.result(r["params"])}
            for r in requests
        ]
        self.rng.shuffle(results)
        name = f"msgbatch_{len(self.batches)}"
        self.batches[name] = {"id": name, "results": results, "looks": 0}
        return self.state(self.batches[name])

    def result(self, params):
        fault = self.rng.choice(PASSING) if self.rng.random() < 0.2 else None
        if self.has_faults and fault in ("expired", "canceled"):
            return {"type": fault}
        if self.has_faults and fault:
            return {"type": "errored", "error": self.error(fault)[1]}
        status, found = self.message(params, 0.5)
        if status != 200:
            return {"type": "errored", "error": found}
        return {"type": "succeeded", "message": found}

    def message(self, params, price):
        """Return status and content of the answer to a message."""
        taken = {"model", "max_tokens", "messages", "system", "temperature"}
        assert set(params) <= taken, params
        assert all(m["role"] != "system" for m in params["messages"])
        if self.refused_field in params:
            said = f"`{self.refused_field}` is not supported for this model"
            return 400, self.error("invalid_request_error", said)[1]
        row = params["messages"][-1]["content"]
        if "long" in row:
            said = "prompt is too long: 210094 tokens > 200000 maximum"
            return 400, self.error("invalid_request_error", said)[1]
        cached, written = self.rng.choice([(0, 0), (9, 0), (0, 9)])
        usage = {"input_tokens": len(row) + 20, "output_tokens": 7}
        usage |= {"cache_read_input_tokens": cached}
        usage |= {"cache_creation_input_tokens": written}
        tokens = len(row) + 20 + 0.1 * cached + 1.25 * written + 4 * 7
        self.bill += price * tokens / 1e6
        self.answered[row] = self.answered.get(row, 0) + 1
        texts = [{"type": "thinking", "thinking": "spam or ham?", "signature": "x"}]
        reason = "refusal" if "refuse" in row else "end_turn"
        if reason == "end_turn":
            label = "spam" if "spam" in row else "ham"
            texts.append({"type": "text", "text": label})
        return 200, {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": texts,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def chat(self, body):
        """Answer in OpenAI's words, which the address speaks beside its own."""
        sent = {**body, "messages": [m for m in body["messages"]]}
        status, found = self.message(as_messages(sent), 1.0)
        return status, as_chat(found)


def make_teacher(client, max_wait=60.0, max_tries=9, **params):
    chat = ChatTeacher(
        client,
        "claude",
        CLASSES,
        "Is this spam?",
        prices=PRICES,
        limits=Limits(max_tries=max_tries, backoff=0.001),
        **params,
    )
    return BatchTeacher(chat, max_wait=max_wait, poll_every=0.001)


def make_client(kind, url):
    if kind == "url":
        return url
    anthropic = pytest.importorskip("anthropic")
    made = {"client": anthropic.Anthropic, "async client": anthropic.AsyncAnthropic}
    client = made[kind](base_url=url.removesuffix("/v1"), api_key=SECRET)
    CLIENTS.append(client)
    return client


@pytest.fixture
def address(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    yield lambda server: serve(server).replace("/v1", "/anthropic/v1")
    while CLIENTS:
        closed = CLIENTS.pop().close()
        if closed is not None:
            asyncio.run_coroutine_threadsafe(closed, running_loop()).result()


def rows_of(n):
    kinds = ("spam", "hello", "hello", "spam", "long", "refuse")
    return [f"{kinds[i % 6]} {i}" for i in range(n)]


@pytest.mark.parametrize("kind", ["url", "client", "async client"])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_labels_and_costs_of_a_batch(address, kind, seed):
    """Whatever fails meanwhile, labels are right and the cost is what was billed."""
    server = Anthropic(seed)
    teacher = make_teacher(make_client(kind, address(server)))
    rows, ledger = rows_of(60), MemoryLedger(max_cost=1.0)
    bought = buy_labels(teacher, rows, classes=CLASSES, ledger=ledger)
    usable = np.array(["long" not in r and "refuse" not in r for r in rows])
    assert (bought.labeled == usable).all()
    assert (bought.no_label == ~usable).all()
    truth = np.array(["spam" in r for r in rows])
    assert (bought.labels[usable, 1] == truth[usable]).all()
    assert ledger.summary()["cost"] == pytest.approx(server.bill, rel=1e-9)
    assert bought.cost == pytest.approx(server.bill, rel=1e-9)
    assert set(server.answered.values()) == {1}
    if kind == "url":
        batches = [h for h in server.headers if h["anthropic-version"]]
        assert {h["x-api-key"] for h in batches} == {SECRET}


def test_a_new_process_collects_the_batch(address, tmp_path):
    """By its name in the ledger; nothing is sent again."""
    server, path = Anthropic(), tmp_path / "labels.sqlite"
    server.later = 3
    url = address(server)
    for _ in range(3):
        ledger, teacher = LabelLedger(path), make_teacher(url, max_wait=0.0)
        with pytest.raises(JobPendingError, match="msgbatch_0"):
            buy_labels(teacher, rows_of(12), classes=CLASSES, ledger=ledger)
        ledger.close()
    ledger = LabelLedger(path)
    teacher = make_teacher(url, max_wait=0.0)
    assert buy_labels(teacher, rows_of(12), classes=CLASSES, ledger=ledger).n_paid
    assert set(server.answered.values()) == {1}
    assert ledger.summary()["cost"] == pytest.approx(server.bill, rel=1e-9)
    ledger.close()


def test_a_field_that_the_model_refuses_is_learned_before_the_batch(address):
    """The row that is asked about first shows it; the batch is answered at once."""
    server = Anthropic()
    server.refused_field = "temperature"
    rows = [f"spam {i}" for i in range(8)]
    ledger = MemoryLedger(max_cost=1.0)
    teacher = make_teacher(address(server))
    assert buy_labels(teacher, rows, classes=CLASSES, ledger=ledger).labeled.all()
    assert len(server.batches) == 1
    assert ledger.summary()["cost"] == pytest.approx(server.bill, rel=1e-9)


def test_several_replies_are_refused_before_anything_is_sent(address):
    """A request of such a batch has one reply."""
    server = Anthropic()
    with pytest.raises(TeacherError, match="n_samples is 3"):
        buy_labels(
            make_teacher(address(server), n_samples=3),
            ["a"],
            classes=CLASSES,
            ledger=MemoryLedger(),
        )
    assert server.headers == []


def test_rows_that_always_expire_are_an_error(address):
    """It says how often they were sent, and why; they cost nothing."""
    server = Anthropic()
    server.result = lambda params: {"type": "expired"}
    teacher = make_teacher(address(server), max_tries=2).set_params(try_first=False)
    ledger = MemoryLedger()
    with pytest.raises(TeacherCallError, match=r"2 jobs.*\(.*expired"):
        buy_labels(teacher, ["a", "b"], classes=CLASSES, ledger=ledger)
    assert ledger.summary()["cost"] == server.bill == 0


@pytest.mark.parametrize("kind", ["client", "async client"])
def test_a_client_of_the_anthropic_package_is_asked_at_once_too(address, kind):
    """By a ChatTeacher, whose labels a ledger shares with the batches."""
    server = Anthropic(3)
    chat = make_teacher(make_client(kind, address(server))).jobs
    ledger = MemoryLedger()
    bought = buy_labels(chat, rows_of(12), classes=CLASSES, ledger=ledger)
    assert (bought.n_paid, bought.labeled.sum()) == (12, 8)
    assert ledger.summary()["cost"] == pytest.approx(server.bill, rel=1e-9)
    again = buy_labels(
        make_teacher(make_client(kind, address(server))),
        rows_of(12),
        classes=CLASSES,
        ledger=ledger,
    )
    assert again.n_paid == 0
