"""Each reply is paid for and counted by itself, and never more than a ledger allows."""

import logging

import numpy as np
import pytest

from skadistill.exceptions import LedgerError, TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger
from skadistill.llm import ChatTeacher
from skadistill.teachers import Limits

pytest.importorskip("httpx")

CLASSES = ["spam", "ham"]
ROWS = [f"row {i} " + "x" * 200 for i in range(60)]


def said(*texts, usage=(200, 2), reason="stop", **more):
    choices = [
        {
            "index": i,
            "finish_reason": reason,
            "message": {"role": "assistant", "content": text},
        }
        for i, text in enumerate(texts)
    ]
    n_in, n_out = usage
    usage = {"prompt_tokens": n_in, "completion_tokens": n_out}
    return {"choices": choices, "usage": usage} | more


def chat(url, *, options=None, limits=(), **params):
    limits = Limits(**{"backoff": 0.01, "max_concurrency": 4} | dict(limits))
    return ChatTeacher(
        url,
        "m",
        CLASSES,
        "Which?",
        prices=(1.0, 4.0),
        limits=limits,
        options={"max_tokens": 4} | (options or {}),
        **params,
    )


class Server:
    """Answer by a function of the body, and sum up the bill."""

    def __init__(self, reply):
        self.reply, self.bill, self.bodies = reply, 0.0, []

    def __call__(self, path, headers, body):
        self.bodies.append(body)
        status, reply = self.reply(body, len(self.bodies))
        usage = reply.get("usage") if isinstance(reply, dict) else None
        if usage:
            tokens = usage["prompt_tokens"] + 4 * usage["completion_tokens"]
            self.bill += tokens / 1e6
        return status, reply


def counted(ledger):
    """Return the cost, and the most that it may be."""
    summary = ledger.summary()
    return summary["cost"], summary["cost"] + summary["max_lost_cost"]


@pytest.mark.parametrize("n_samples", [3, 20])
def test_a_server_that_ignores_n_keeps_the_budget(serve, n_samples):
    """Each of its replies is a request, for costs, tries and limits."""
    server = Server(lambda body, i: (200, said("spam")))
    ledger = MemoryLedger(max_cost=0.02)
    teacher = chat(serve(server), n_samples=n_samples)
    bought = buy_labels(teacher, ROWS, classes=CLASSES, ledger=ledger)
    assert server.bill == pytest.approx(counted(ledger)[0])
    assert server.bill <= 0.02
    assert len(server.bodies) == n_samples * bought.n_paid
    # Known after the first reply, and then not asked for again.
    assert sum("n" in body for body in server.bodies) <= 4
    assert teacher.max_costs(ROWS[:1])[0] > bought.cost / max(1, bought.n_paid)


def test_a_server_that_honors_n_is_asked_once(serve):
    """And costs less than one that may not, once that is known."""
    server = Server(lambda body, i: (200, said(*["spam"] * body["n"], usage=(200, 8))))
    teacher = chat(serve(server), n_samples=4)
    before = teacher.max_costs(ROWS[:1])[0]
    assert buy_labels(teacher, ROWS[:5], classes=CLASSES).n_paid == 5
    assert len(server.bodies) == 5
    assert teacher.max_costs(ROWS[:1])[0] < before / 2


def test_a_server_that_sends_fewer_than_before_is_not_asked_for_more(serve):
    """The budget has not reserved it: the label is the mean of what came."""

    def reply(body, i):
        n = body["n"] if i == 1 else 2
        return 200, said("spam", "ham", *["spam"] * (n - 2), usage=(200, 2 * n))

    server = Server(reply)
    teacher = chat(serve(server), n_samples=4, limits={"max_concurrency": 1})
    bought = buy_labels(teacher, ROWS[:3], classes=CLASSES)
    assert bought.labels.tolist() == [[0.75, 0.25], [0.5, 0.5], [0.5, 0.5]]
    assert len(server.bodies) == 3
    assert bought.cost == pytest.approx(server.bill)


def test_n_may_be_less_than_wanted(serve):
    """A server whose n ends at 3 gets as many requests as it takes."""

    def reply(body, i):
        if body["n"] > 3:
            return 400, {"error": {"message": "n must be at most 3", "param": "n"}}
        return 200, said(*["spam"] * body["n"], usage=(200, 2 * body["n"]))

    server = Server(reply)
    teacher = chat(serve(server), n_samples=7, limits={"max_concurrency": 1})
    bought = buy_labels(teacher, ROWS[:2], classes=CLASSES)
    assert [body["n"] for body in server.bodies] == [7, 3, 3, 1, 3, 3, 1]
    assert bought.cost == pytest.approx(server.bill)


@pytest.mark.parametrize("refusal", [429, 401, 400])
def test_replies_before_a_fault_are_counted(serve, refusal):
    """And are not asked for again if the fault passes."""

    def reply(body, i):
        if i % 3 == 0:
            return refusal, {"error": {"message": "no"}}
        return 200, said("spam")

    server, ledger = Server(reply), MemoryLedger()
    teacher = chat(serve(server), n_samples=5, limits={"max_concurrency": 1})
    try:
        bought = buy_labels(teacher, ROWS[:3], classes=CLASSES, ledger=ledger)
    except TeacherError:
        assert refusal == 401
    else:
        assert bought.labeled.all() == (refusal == 429)
    assert counted(ledger) == pytest.approx((server.bill, server.bill))
    assert server.bill > 0
    if refusal == 429:
        assert sum(1 for i in range(1, len(server.bodies) + 1) if i % 3) == 15


def test_each_request_has_its_own_tries_timeout_and_turn(serve):
    """Not the row: five replies of 0.2 s are no timeout of 0.5 s."""
    import time

    def reply(body, i):
        time.sleep(0.2)
        return 200, said("spam")

    server = Server(reply)
    teacher = chat(
        serve(server), n_samples=5, limits={"timeout": 0.6, "requests_per_minute": 90}
    )
    assert buy_labels(teacher, ROWS[:2], classes=CLASSES).labeled.all()
    from skadistill.teachers._async import _traffic_of

    assert len(_traffic_of(teacher).requests.started) == 10


@pytest.mark.parametrize("max_tries", [1, 6])
def test_hidden_thoughts_are_paid_for(serve, max_tries):
    """The total of Gemini and xAI counts them; later claims reserve them."""

    def reply(body, i):
        usage = {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 451}
        server.bill += (401 - 1) * 4 / 1e6
        return 200, said("spam", usage=(50, 1)) | {"usage": usage}

    server, ledger = Server(reply), MemoryLedger(max_cost=0.05)
    limits = {"max_concurrency": 1, "max_tries": max_tries}
    teacher = chat(serve(server), limits=limits)
    bought = buy_labels(teacher, ROWS, classes=CLASSES, ledger=ledger)
    assert (
        counted(ledger)[0] == pytest.approx(server.bill) == pytest.approx(bought.cost)
    )
    assert server.bill <= 0.05
    assert bought.n_paid > 20


def test_longer_replies_than_allowed_are_said_once(serve, caplog):
    """With what they were to be at most."""
    server = Server(lambda body, i: (200, said("spam", usage=(50, 90))))
    buy_labels(chat(serve(server)), ROWS[:5], classes=CLASSES)
    (record,) = [r for r in caplog.records if "may think unseen" in r.message]
    assert "replies of 90 tokens although max_tokens is 4" in record.message


def test_a_reply_without_usage_costs_the_most_that_it_may(serve):
    """Never less than the bill."""
    server = Server(lambda body, i: (200, said("spam") | {"usage": None}))
    ledger = MemoryLedger()
    buy_labels(chat(serve(server)), ["ääh 🙂" * 30], classes=CLASSES, ledger=ledger)
    n_bytes = sum(len(m["content"].encode()) for m in server.bodies[0]["messages"])
    assert counted(ledger)[0] >= (n_bytes + 4) / 1e6


BROKEN = [
    said("", reason="error"),
    said(None),
    said("  "),
    said("") | {"choices": []},
    said("") | {"choices": None},
    said("spam") | {"choices": [{"error": {"code": 502}, "message": {}}]},
    {"error": {"code": 502, "message": "upstream"}},
    {"error": {"code": 429, "message": "busy"}, "choices": []},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_reply_that_broke_is_asked_for_again(serve, broken):
    """It is paid for, if it names its tokens, and is no missing label."""
    server = Server(lambda body, i: (200, broken if i == 1 else said("ham")))
    ledger = MemoryLedger()
    bought = buy_labels(chat(serve(server)), ROWS[:1], classes=CLASSES, ledger=ledger)
    assert bought.labels.tolist() == [[0.0, 1.0]]
    assert len(server.bodies) == 2
    assert counted(ledger)[0] == pytest.approx(server.bill)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_reply_that_stays_broken_ends_the_tries(serve, broken):
    """An empty one is no label, kept; an error of the server is none."""
    server, ledger = Server(lambda body, i: (200, broken)), MemoryLedger()
    teacher = chat(serve(server), limits={"max_tries": 3})
    try:
        bought = buy_labels(teacher, ROWS[:1], classes=CLASSES, ledger=ledger)
    except TeacherError:
        assert not ledger.summary()["n_no_label"]
    else:
        assert bought.no_label.all()
        assert not any("error" in str(c) for c in broken["choices"] or [])
    assert len(server.bodies) == 3
    assert counted(ledger)[0] == pytest.approx(server.bill)


def test_one_reply_of_several_may_break(serve):
    """Another one is asked for in its place."""

    def reply(body, i):
        choices = said(*["spam"] * body["n"], usage=(200, 2 * body["n"]))
        if i == 1:
            choices["choices"][1] |= {"finish_reason": "error"}
        return 200, choices

    server = Server(reply)
    bought = buy_labels(chat(serve(server), n_samples=3), ROWS[:1], classes=CLASSES)
    assert bought.labels.tolist() == [[1.0, 0.0]]
    assert bought.cost == pytest.approx(server.bill)


def refusing(*words, status=400, message="Computer says no"):
    """Return a server that refuses the rows with some words for no known reason."""

    def reply(body, i):
        if any(word in body["messages"][-1]["content"] for word in words):
            return status, {"error": {"message": message}}
        return 200, said("ham")

    return Server(reply)


@pytest.mark.parametrize("max_concurrency", [1, 8])
@pytest.mark.parametrize("bad", [[0], [2], [59], [0, 1, 2], [57, 58, 59]])
def test_rows_refused_for_unknown_reasons_have_no_label(serve, bad, max_concurrency):
    """If others are answered, whichever comes first; and they are not asked again."""
    server = refusing(*(f"row {i} " for i in bad))
    ledger = MemoryLedger()
    teacher = chat(serve(server), limits={"max_concurrency": max_concurrency})
    for _ in range(2):
        bought = buy_labels(teacher, ROWS, classes=CLASSES, ledger=ledger)
        assert np.flatnonzero(bought.no_label).tolist() == bad
    assert ledger.summary()["n_no_label"] == len(bad)
    assert counted(ledger)[0] == pytest.approx(server.bill)


@pytest.mark.parametrize("status", [400, 422])
def test_what_is_refused_to_all_is_an_error(serve, status):
    """In the server's words; no row is marked as having no label."""
    server, ledger = refusing("row", status=status), MemoryLedger()
    with pytest.raises(TeacherError, match="Computer says no"):
        buy_labels(chat(serve(server)), ROWS, classes=CLASSES, ledger=ledger)
    assert ledger.summary()["n_no_label"] == 0
    assert len(server.bodies) < 200


def test_an_account_that_is_closed_in_the_middle_is_an_error(serve):
    """Ten refusals in a row are not ten bad rows."""
    server = Server(
        lambda body, i: (
            (200, said("ham")) if i < 20 else (400, {"error": {"message": "Closed"}})
        )
    )
    ledger = MemoryLedger()
    teacher = chat(serve(server))
    for _ in range(2):
        with pytest.raises(TeacherError, match="Closed"):
            buy_labels(teacher, ROWS, classes=CLASSES, ledger=ledger)
    assert ledger.summary()["n_no_label"] == 0
    assert ledger.summary()["n_labels"] == 19


def test_a_field_that_is_refused_without_a_name_is_found(serve, caplog):
    """By requests without one of them each, which cost nothing; the others stay."""

    def reply(body, i):
        if "temperature" in body:
            return 400, {"error": {"message": "Bad request"}}
        return 200, said("ham")

    server = Server(reply)
    teacher = chat(serve(server), limits={"max_concurrency": 1})
    assert buy_labels(teacher, ROWS[:10], classes=CLASSES).labeled.all()
    assert len(server.bodies) <= 10 + 6
    assert server.bodies[-1]["logprobs"]
    assert server.bodies[-1]["max_tokens"] == 4
    assert "'temperature'" in caplog.text


@pytest.mark.parametrize("when", ["record", "sending"])
def test_a_full_disk_keeps_what_was_answered(serve, when):
    """Calls in flight are waited for; their labels are in the error."""

    class Ledger(MemoryLedger):
        n_stored = 0

        def _store(self, *what, **more):
            self.n_stored += 1
            if self.n_stored > 2:
                raise LedgerError("the disk is full.")
            super()._store(*what, **more)

        def _send(self, *what):
            if when == "sending" and self.n_stored > 1:
                raise LedgerError("the disk is full.")
            return super()._send(*what)

    import time

    def reply(body, i):
        time.sleep(0.05)
        return 200, said("ham")

    server, ledger = Server(reply), Ledger()
    with pytest.raises(LedgerError, match="the disk is full") as caught:
        buy_labels(chat(serve(server)), ROWS, classes=CLASSES, ledger=ledger)
    rows, labels = getattr(caught.value, "unrecorded", ([], []))
    assert len(rows) + len(ledger) == len(server.bodies) < len(ROWS)
    assert len(set(rows)) == len(rows)
    assert all(label.tolist() == [0.0, 1.0] for label in labels)
    if len(rows):
        assert f"labels of {len(rows)} rows" in str(caught.value)
    # Nobody knows whether they were billed: they count.
    assert counted(ledger)[1] >= server.bill


def test_tokens_per_minute_are_those_of_each_request(serve):
    """Of input and replies; a row that is longer than that is an error."""
    from skadistill.teachers._async import _traffic_of

    server = Server(lambda body, i: (200, said("ham")))
    url = serve(server)
    teacher = chat(url, n_samples=3, limits={"tokens_per_minute": 100_000})
    assert buy_labels(teacher, ROWS[:2], classes=CLASSES).labeled.all()
    amounts = [amount for _, amount in _traffic_of(teacher).tokens.started]
    assert len(amounts) == len(server.bodies) == 6
    assert all(80 < amount < 160 for amount in amounts)
    with pytest.raises(TeacherError, match="tokens but tokens_per_minute is 9"):
        buy_labels(chat(url, limits={"tokens_per_minute": 9}), ROWS, classes=CLASSES)


def test_what_is_left_out_is_logged_once(serve, caplog):
    """With what is sent instead."""
    caplog.set_level(logging.INFO, logger="skadistill")

    def reply(body, i):
        if "max_tokens" in body:
            text = "'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": text, "param": "max_tokens"}}
        return 200, said("ham")

    server = Server(reply)
    assert buy_labels(chat(serve(server)), ROWS, classes=CLASSES).labeled.all()
    said_so = [r.message for r in caplog.records if "does not accept" in r.message]
    assert len(said_so) == 1
    assert "'max_completion_tokens' is sent instead" in said_so[0]
