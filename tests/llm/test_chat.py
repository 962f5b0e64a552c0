"""A chat model as a teacher, against a server with realistic faults."""

import asyncio
import json
import math
import os
import pickle
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB

from skadistill import ActiveDistiller
from skadistill._utils.display import text_of
from skadistill.exceptions import TeacherError, TeacherWarning
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger, row_keys
from skadistill.llm import BatchTeacher, ChatTeacher, DecisionTeacher
from skadistill.teachers import Limits, as_teacher
from skadistill.teachers._async import _traffic_of

pytest.importorskip("httpx")

CLASSES = ["ham", "spam"]
SECRET = "sk-secret-of-the-test"


def make_client(kind, url):
    if kind == "url":
        return url
    if kind == "litellm":
        return pytest.importorskip("litellm")
    openai = pytest.importorskip("openai")
    made = {"openai": openai.OpenAI, "async openai": openai.AsyncOpenAI}[kind]
    return made(base_url=url, api_key=SECRET)


def make_teacher(chat, client=None, **params):
    params = {
        "model": "small",
        "classes": CLASSES,
        "prompt": "Is this message spam?",
        "prices": chat.prices,
        "limits": Limits(backoff=0.01),
    } | params
    return ChatTeacher(chat.url if client is None else client, **params)


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
def test_log_probabilities_become_soft_labels(chat, kind):
    """With every client; and the cost is the server's own."""
    teacher = make_teacher(chat, make_client(kind, chat.url))
    texts = [f"spam {i}" for i in range(5)] + [f"hello {i}" for i in range(5)]
    ledger = MemoryLedger()
    bought = buy_labels(teacher, texts, classes=CLASSES, ledger=ledger)
    np.testing.assert_allclose(bought.labels[:5, 1], 0.9, atol=1e-9)
    np.testing.assert_allclose(bought.labels[5:, 1], 0.2, atol=1e-9)
    assert ledger.summary()["cost"] == pytest.approx(chat.bill, rel=1e-12)
    assert chat.keys == {f"Bearer {SECRET}"}


@pytest.mark.filterwarnings("ignore")  # its own, on import
def test_litellm_is_a_client(chat):
    """The module itself, with the endpoint's address among the options."""
    litellm = make_client("litellm", chat.url)
    options = {"api_base": chat.url, "api_key": SECRET}
    teacher = make_teacher(chat, litellm, model="openai/small", options=options)
    labels = buy_labels(teacher, ["spam"], classes=CLASSES).labels
    assert labels.argmax() == 1


@pytest.mark.parametrize("fault", ["third", "case", "empty", "chatter"])
def test_awkward_replies_are_still_labels(chat, fault):
    """Third tokens, other case, no log-probabilities, a sentence."""
    chat.faults = {"message": fault}
    bought = buy_labels(
        make_teacher(chat), ["spam message", "a message"], classes=CLASSES
    )
    assert bought.labels.argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize("fault", ["refusal", "filter", "cut", "nonsense"])
def test_replies_without_a_label_are_paid_and_remembered(chat, fault):
    """Asked once, counted, and never asked again; the other rows are not touched."""
    chat.faults = {"odd": fault}
    ledger, texts = MemoryLedger(), ["spam a", "odd", "b"]
    bought = buy_labels(make_teacher(chat), texts, classes=CLASSES, ledger=ledger)
    assert bought.labeled.tolist() == [True, False, True]
    assert bought.no_label.tolist() == [False, True, False]
    assert bought.n_paid == 3
    again = buy_labels(make_teacher(chat), texts, classes=CLASSES, ledger=ledger)
    assert (again.n_paid, len(chat.requests)) == (0, 3)
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)


def test_a_filter_that_refuses_the_request_costs_nothing(chat):
    """Azure says so by a status; and a row that is too long is not even sent."""
    chat.faults = {"odd": "content_filter"}
    ledger = MemoryLedger()
    teacher = make_teacher(chat, max_input_tokens=200)
    bought = buy_labels(teacher, ["odd", "x" * 900], classes=CLASSES, ledger=ledger)
    assert bought.no_label.all()
    assert ledger.summary()["cost"] == chat.bill == 0
    assert len(chat.requests) == 1


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
@pytest.mark.parametrize(
    "fault",
    [
        *("429", "429 date", "429 ms", "429 reset", "500", "503", "520", "409"),
        *("drop", "error in 200", "html"),
    ],
)
def test_faults_that_pass_are_tried_again(chat, kind, fault):
    """Each row is answered, and billed once."""
    chat.faults = {1: fault, 3: fault}
    teacher = make_teacher(
        chat,
        make_client(kind, chat.url),
        limits=Limits(max_concurrency=1, backoff=0.01),
    )
    texts = [f"spam {i}" for i in range(4)]
    assert buy_labels(teacher, texts, classes=CLASSES).labeled.all()
    assert set(chat.answered.values()) == {1}
    assert len(chat.requests) == 6


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
def test_half_a_reply_is_tried_again_and_counted_as_billed(chat, kind):
    """The server has billed it; the ledger says at least as much."""
    chat.faults = {1: "half"}
    ledger = MemoryLedger()
    teacher = make_teacher(chat, make_client(kind, chat.url))
    bought = buy_labels(teacher, ["spam"], classes=CLASSES, ledger=ledger)
    assert bought.labeled.all()
    counts = ledger.summary()
    assert counts["cost"] + counts["lost_cost"] == pytest.approx(chat.bill)


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
@pytest.mark.parametrize("fault", ["empty account", "402", "401"])
def test_an_empty_account_ends_the_asking_at_once(chat, kind, fault):
    """No tries are wasted on it or on a wrong key, and no secret is shown."""
    chat.faults = {"": fault}
    teacher = make_teacher(
        chat,
        make_client(kind, chat.url),
        limits=Limits(max_concurrency=1, backoff=0.01),
    )
    with pytest.raises(TeacherError) as caught:
        buy_labels(teacher, ["spam", "b"], classes=CLASSES)
    assert len(chat.requests) == 1
    assert SECRET not in str(caught.value)


def test_an_endpoint_without_log_probabilities_is_asked_without(chat, caplog):
    """Found out by its refusal, once."""
    chat.faults = {"": "no logprobs"}
    teacher = make_teacher(chat, limits=Limits(max_concurrency=1, backoff=0.01))
    bought = buy_labels(teacher, ["spam", "b", "c"], classes=CLASSES)
    assert bought.labels.tolist() == [[0, 1], [1, 0], [1, 0]]
    assert len(chat.requests) == 4
    assert "does not accept 'logprobs'" in caplog.text


def fake_client(*replies):
    """Make a client that sends these replies, one after the other, to anybody."""
    replies = iter(replies)

    def create(**body):
        return next(replies)

    completions = SimpleNamespace(create=create)
    return SimpleNamespace(chat=SimpleNamespace(completions=completions))


def make_reply(content, top=None, **choice):
    """Make a reply with the probabilities of its first token."""
    message = {"role": "assistant", "content": content}
    choice = {"message": message, "finish_reason": "stop"} | choice
    if top is not None:
        listed = [{"token": t, "logprob": math.log(p)} for t, p in top.items()]
        entry = listed[0] | {"top_logprobs": listed}
        choice["logprobs"] = {"content": [entry]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    return {"model": "m", "choices": [choice], "usage": usage}


@pytest.mark.parametrize(
    ("reply", "p_spam"),
    [
        (make_reply("spam", {"spam": 0.9, "ham": 0.1}), 0.9),
        (make_reply("spam", {"spam": 0.9, "ham": 0.07, "eggs": 0.03}), 90 / 97),
        (make_reply("Spam", {"Spam": 0.6, "spam": 0.3, "ham": 0.1}), 0.9),
        (make_reply(" spam", {" spam": 0.9, " ham": 0.1}), 0.9),
        (make_reply("spam", {"\u2581spam": 0.9, "\u0120ham": 0.1}), 0.9),
        (make_reply("spam", {"spam": 0.999, "sp": 0.001}), 1.0),
        (make_reply("spam", {"spam": 0.98}), 0.98),
        (make_reply("spam", logprobs={"content": []}), 1.0),
        (make_reply("spam", logprobs={"content": None, "refusal": []}), 1.0),
        (make_reply("spam", logprobs=None), 1.0),
        (make_reply([{"type": "text", "text": "spam"}]), 1.0),
        (make_reply("<think>ham or spam?</think>\n\nspam", {"<think>": 1.0}), 1.0),
        (make_reply("<think>\nnot ham\n</think>spam", {"ham": 1.0}), 1.0),
        (make_reply('{"label": "spam"}', {"{": 1.0}), 1.0),
        (make_reply("spam", finish_reason="length"), 1.0),
        (make_reply(None), None),
        (make_reply("", finish_reason="length"), None),
        (make_reply('{"label": "sp', finish_reason="length"), None),
        (make_reply("", finish_reason="content_filter"), None),
        (make_reply(None, message={"content": None, "refusal": "No."}), None),
        (make_reply("spam, or perhaps ham", {"spam": 0.3, "Well": 0.7}), None),
        (make_reply("") | {"choices": []}, None),
        (make_reply("") | {"choices": None}, None),
    ],
)
def test_replies_that_endpoints_send(reply, p_spam):
    """Each is a label or none, and none is an error; all that is billed is counted."""
    teacher = ChatTeacher(
        fake_client(reply),
        "m",
        CLASSES,
        "Spam?",
        prices=(1.0, 10.0),
        limits=Limits(max_tries=1),
    )
    bought = buy_labels(teacher, ["x"], classes=CLASSES)
    assert bought.cost == pytest.approx(1100 / 1e6)
    if p_spam is None:
        assert bought.n_no_label == 1
    else:
        np.testing.assert_allclose(bought.labels, [[1 - p_spam, p_spam]], atol=1e-9)


def test_several_replies_are_shares(chat):
    """n_samples replies, also from an endpoint that gives one at a time."""
    chat.logprobs = False
    teacher = make_teacher(chat, n_samples=3)
    assert buy_labels(teacher, ["spam"], classes=CLASSES).labels.tolist() == [[0, 1]]
    (body,) = chat.requests
    assert (body["n"], body["temperature"]) == (3, 1.0)
    assert "logprobs" not in body


def test_structured_replies_and_numbers(chat):
    """What is asked for is in the request."""
    buy_labels(make_teacher(chat, answer_with="json"), ["spam"], classes=CLASSES)
    buy_labels(make_teacher(chat, answer_with="number"), ["spam"], classes=CLASSES)
    schema = chat.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == CLASSES
    assert "1. ham\n2. spam" in chat.requests[1]["messages"][0]["content"]


def test_rows_fill_the_template(chat):
    """Columns and texts; braces of the prompt and of the row stay what they are."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"subject": ["{body} hi"], "body": ["spam {subject}"]})
    prompt = 'Reply {"a": 1}? Subject: {subject}; body: {body}'
    buy_labels(make_teacher(chat, prompt=prompt), frame, classes=CLASSES)
    content = chat.requests[0]["messages"][-1]["content"]
    assert content == 'Reply {"a": 1}? Subject: {body} hi; body: spam {subject}'


def test_examples_are_shown_as_turns(chat):
    """Taken from labeled rows; another identity than without."""
    plain = make_teacher(chat)
    teacher = plain.with_examples(["win spam", "hello", "bye"], ["spam", "ham", "ham"])
    buy_labels(teacher, ["spam x"], classes=CLASSES)
    roles = [m["role"] for m in chat.requests[0]["messages"]]
    assert roles == ["system", *["user", "assistant"] * 2, "user"]
    assert teacher.identity != plain.identity


@pytest.mark.parametrize("answer_with", ["name", "json"])
def test_examples_have_the_form_of_the_question(chat, answer_with):
    """Each with the columns that the prompt names, and an answer as asked for."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"subject": ["win", "hi"], "n": [3, 4], "unused": ["u", "v"]})
    plain = make_teacher(
        chat,
        classes=['a "b"', "spam"],
        prompt="About {subject}, {n} times?",
        answer_with=answer_with,
    )
    teacher = plain.with_examples(frame, ["spam", 'a "b"'], random_state=0)
    *shown, asked = teacher._requests.messages(frame.iloc[:1])
    questions = {m["content"] for m in shown if m["role"] == "user"}
    assert questions == {"About win, 3 times?", "About hi, 4 times?"}
    assert asked["content"] == "About win, 3 times?"
    answers = {m["content"] for m in shown if m["role"] == "assistant"}
    if answer_with == "json":
        answers = {json.loads(answer)["label"] for answer in answers}
    assert answers == {'a "b"', "spam"}


NOTHING = [None, float("nan"), "", " \n", np.nan, np.float32("nan")]


@pytest.mark.parametrize("nothing", NOTHING)
def test_an_empty_row_is_not_sent(chat, nothing):
    """It has no label and costs nothing, also among others and in a frame."""
    pd = pytest.importorskip("pandas")
    ledger, texts = MemoryLedger(), np.array(["spam", nothing, "b"], dtype=object)
    bought = buy_labels(make_teacher(chat), texts, classes=CLASSES, ledger=ledger)
    assert bought.labeled.tolist() == [True, False, True]
    assert len(chat.requests) == 2
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)
    frame = pd.DataFrame({"a": [nothing, nothing, pd.NA], "b": ["spam", pd.NA, pd.NaT]})
    bought = buy_labels(make_teacher(chat), frame, classes=CLASSES)
    assert bought.labeled.tolist() == [True, False, False]
    filled = make_teacher(chat, prompt="About {a}?")  # the column asked about
    assert buy_labels(filled, frame, classes=CLASSES).no_label.all()
    assert len(chat.requests) == 3
    assert "nan" not in chat.requests[-1]["messages"][-1]["content"].casefold()


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("cut \ud83d spam", "cut \ufffd spam"),
        ("\udc00spam", "\ufffdspam"),
        ("spam \ud83d\ude00", "spam \U0001f600"),
    ],
)
@pytest.mark.parametrize("kind", ["url", "openai"])
def test_half_an_emoji_is_sent_as_a_mark(chat, kind, text, sent):
    """Such texts cannot be encoded; both halves of one together are the emoji."""
    pd = pytest.importorskip("pandas")
    for rows in ([text, "b"], pd.DataFrame({"text": [text, "b"]}, dtype=object)):
        chat.requests.clear()
        teacher = make_teacher(
            chat,
            make_client(kind, chat.url),
            limits=Limits(max_concurrency=1, backoff=0.01),
        )
        bought = buy_labels(teacher, rows, classes=CLASSES, ledger=MemoryLedger())
        assert bought.labels.argmax(axis=1).tolist() == [1, 0]
        assert chat.requests[0]["messages"][-1]["content"] == sent


@pytest.mark.parametrize("fault", ["gemma behind vllm", "mistral", "gemma at google"])
@pytest.mark.parametrize("kind", ["url", "openai"])
def test_models_without_a_system_role_get_the_rules_in_the_question(chat, kind, fault):
    """Learned from one refusal, which costs nothing; the examples keep their turns."""
    chat.faults = {"": fault}
    teacher = make_teacher(
        chat,
        make_client(kind, chat.url),
        examples=[("win", "spam"), ("hi", "ham")],
        limits=Limits(max_concurrency=1, backoff=0.01),
    )
    ledger = MemoryLedger()
    bought = buy_labels(teacher, ["spam", "b"], classes=CLASSES, ledger=ledger)
    assert bought.labels.argmax(axis=1).tolist() == [1, 0]
    assert len(chat.requests) == 3
    messages = chat.requests[-1]["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"] * 2 + ["user"]
    assert messages[0]["content"].startswith("Is this message spam?\n\nAnswer with")
    assert messages[0]["content"].endswith("\n\nwin")
    assert messages[-1]["content"] == "b"
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)


def test_numbers_of_numpy_are_numbers(chat):
    """In the request and in the identity."""
    options = {"max_tokens": 5, "temperature": 0.5, "seed": 3}
    arrays = {name: np.asarray(value)[()] for name, value in options.items()}
    plain = make_teacher(chat, options=options, n_samples=2)
    other = make_teacher(chat, options=arrays, n_samples=np.int64(2))
    assert buy_labels(other, ["spam"], classes=CLASSES).labeled.all()
    assert chat.requests[0]["max_tokens"] == 5
    assert other.identity == plain.identity


def test_identity_is_what_decides_about_the_answers(chat):
    """Not the client, nor limits; but prompt, classes, model and sampling."""
    base = make_teacher(chat)
    assert (
        make_teacher(chat, "http://127.0.0.1:9/v1", limits=Limits(timeout=3)).identity
        == base.identity
    )
    for change in (
        {"prompt": "Is this spam?"},
        {"model": "large"},
        {"classes": ["spam", "ham"]},
        {"classes": {"ham": "good", "spam": "bad"}},
        {"n_samples": 3},
        {"options": {"temperature": 0.5}},
        {"options": {"seed": 1}},
        {"options": {"logprobs": False}},
        {"answer_with": "number"},
    ):
        assert make_teacher(chat, **change).identity != base.identity, change


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_moved_alias_between_fits_is_a_warning(chat, kind, tmp_path):
    """The ledger knows who answered before, also in another process."""
    path = tmp_path / "labels.sqlite"
    ledger = MemoryLedger() if kind == "memory" else LabelLedger(path)
    buy_labels(make_teacher(chat), ["a", "b"], classes=CLASSES, ledger=ledger)
    if kind == "file":
        ledger.close()
        ledger = LabelLedger(path)
    chat.model = "small-2026-12-01"
    moved = "small-2026-11-01 fp_1: 2, small-2026-12-01 fp_1: 1"
    teacher = make_teacher(chat)
    with pytest.warns(TeacherWarning, match=moved):
        buy_labels(teacher, ["c"], classes=CLASSES, ledger=ledger)
    buy_labels(teacher, ["a", "d"], classes=CLASSES, ledger=ledger)  # told once
    assert list(ledger.models(teacher.identity).values()) == [2, 2]
    assert sum(teacher.reported_models_.values()) == 2


def test_a_moved_alias_within_a_fit_is_a_warning(chat, tmp_path):
    """Each label is kept with the fingerprint of the model that gave it."""
    texts = [f"spam {i}" for i in range(40)]
    chat.faults = {"spam 9": "moved"}
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    teacher = make_teacher(chat, limits=Limits(max_concurrency=4))
    with pytest.warns(TeacherWarning, match="another model"):
        buy_labels(teacher, texts, classes=CLASSES, ledger=ledger)
    frame = ledger.to_frame().set_index("key")
    row = row_keys(["spam 9"])[0].tobytes().hex()
    assert frame.loc[row, "model"] == "small-2026-11-01 fp_2"
    assert ledger.models(teacher.identity)["small-2026-11-01 fp_2"] == 1
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)


def test_calls_are_in_flight_together(chat):
    """As many as allowed, and no more."""
    chat.latency = 0.05
    teacher = make_teacher(chat, limits=Limits(max_concurrency=6))
    buy_labels(teacher, [f"spam {i}" for i in range(30)], classes=CLASSES)
    assert chat.most_in_flight == 6


def test_a_slow_call_does_not_stop_the_others(chat):
    """They go on while it is waited for, up to the end of the round."""
    chat.faults = {"late": "slow"}
    teacher = make_teacher(chat, limits=Limits(max_concurrency=4))
    buy_labels(teacher, ["late", *map(str, range(60))], classes=CLASSES)
    assert list(chat.answered).index("late") > 40


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
def test_it_works_inside_a_running_event_loop(chat, kind):
    """As in a notebook."""
    teacher = make_teacher(chat, make_client(kind, chat.url))

    async def notebook():
        return buy_labels(teacher, ["spam"], classes=CLASSES)

    assert asyncio.run(notebook()).labeled.all()


def test_no_secret_is_kept(chat):
    """Neither in repr, identity nor a pickle; the key is read when it is needed."""
    teacher = make_teacher(chat)
    buy_labels(teacher, ["spam"], classes=CLASSES)
    shown = repr(teacher) + teacher.identity + teacher._repr_html_()
    assert SECRET not in shown
    assert SECRET.encode() not in pickle.dumps(teacher)
    assert pickle.loads(pickle.dumps(teacher)).identity == teacher.identity
    assert clone(teacher) is teacher


def test_costs_can_be_estimated_without_a_call(chat):
    """Not below the bill for English, and within a factor of it."""
    texts = ["spam " + "word " * 30] * 3
    estimate = make_teacher(chat).estimate_cost(texts)
    assert estimate > 0
    assert make_teacher(chat, prices=None).estimate_cost(texts) is None
    assert chat.requests == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"classes": ["a"]}, "classes are"),
        ({"classes": ["yes", "Yes"]}, "differ in more than case"),
        ({"classes": ["a b", "A_b."]}, "differ in more than case"),
        ({"classes": [0, 1], "answer_with": "number"}, "numbers them otherwise"),
        ({"classes": ["2", "1"], "answer_with": "number"}, "numbers them otherwise"),
        ({"classes": ["a", "5"], "answer_with": "number"}, "numbers them otherwise"),
        ({"examples": [("x", "eggs")]}, "not one of the classes"),
        ({"prompt": " "}, "prompt is"),
        ({"prices": (1.0, -2.0)}, "prices are"),
        ({"prices": {"input": 1.0}}, "prices are"),
        ({"n_samples": 0}, "'n_samples' parameter"),
        ({"answer_with": "x"}, "'answer_with' parameter"),
        ({"client": object()}, "client is an object of type object"),
        ({"client": "api.example.com"}, "which is not an address"),
    ],
)
def test_what_cannot_work_is_said_before_a_call(chat, params, message):
    """One sentence that says what to pass instead."""
    with pytest.raises(ValueError, match=message):
        buy_labels(make_teacher(chat, **params), ["spam"], classes=CLASSES)
    assert chat.requests == []


def test_a_plan_names_the_money_without_a_call(chat):
    """What is expected by tokens, and the most that it can be."""
    X = [f"spam {i} " + "word " * 20 for i in range(50)]
    y = np.array(["spam", "ham", *["?"] * 48], dtype=object)
    teacher = make_teacher(chat)
    distiller = ActiveDistiller(
        teacher, budget=20, query_strategy="random", unlabeled_marker="?"
    )
    plan = distiller.plan(X, y)
    assert plan.expected_cost == pytest.approx(teacher.estimate_cost(X[2:22]), rel=0.05)
    assert plan.expected_cost < plan.cost == 20 * teacher.max_cost_per_row
    assert plan.expected_cost <= plan.likely_cost < plan.cost
    assert (
        f"cost: about {plan.expected_cost:.3g}, with 99 % probability below "
        f"{plan.likely_cost:.3g} ({plan.cost:.4g} at most)"
    ) in repr(plan).splitlines()
    assert distiller.plan(X, y, cost_per_row=0.5).expected_cost is None
    # Printed, it shows the prompt of a row; its repr, as in a traceback, shows no row.
    assert str(plan).startswith(repr(plan))
    assert str(plan).endswith(teacher.preview(X[2:3]))
    assert X[2] not in repr(plan)
    assert chat.requests == []


@pytest.mark.parametrize("text", ["hello", "\U0001f600" * 40, "a b c " * 50])
def test_what_is_reserved_is_the_most_that_a_row_can_cost(chat, text):
    """By the bytes of the row, not by the longest row that is allowed."""
    teacher = make_teacher(chat, options={"max_tokens": 5})
    n_bytes = sum(len(line.encode()) for line in teacher.preview([text]).split("]")[1:])
    (price,) = teacher.prices_of([text])
    assert n_bytes / 1e6 <= price < teacher.cost_per_row
    assert teacher.max_costs([text])[0] == 6 * price
    ledger = MemoryLedger(max_cost=6 * price)  # just enough
    bought = buy_labels(teacher, [text], classes=CLASSES, ledger=ledger)
    assert (bought.n_paid, bought.n_refused) == (1, 0)
    assert chat.bill <= price
    assert make_teacher(chat, prices=None).max_costs([text]) is None


@pytest.mark.parametrize("reply", [[1, 2], None, "spam"])
def test_a_reply_of_another_shape_is_a_sentence(reply):
    """Not an AttributeError of ours; the reply itself is not shown."""
    create = SimpleNamespace(create=lambda **body: reply)
    client = SimpleNamespace(chat=SimpleNamespace(completions=create))
    teacher = ChatTeacher(client, "small", CLASSES, "Spam?")
    kind = type(reply).__name__
    with pytest.raises(TeacherError, match=f"a reply of type {kind} instead of"):
        buy_labels(teacher, ["hello"], classes=CLASSES)


#: Identities that 0.1.0 gave to these settings; labels paid for stand under them.
IDENTITIES = [
    ({}, "74198f50cb26853d2adee0e155684e3b"),
    ({"options": {"temperature": 0.5}}, "129db96468ad56ed718bcdb2f7dd8234"),
    ({"options": {"temperature": 1}}, "2fc56118f01b3f332c881773001db04a"),
    ({"options": {"max_tokens": 5}}, "ef5ab3c29a6e4240c0d817b195c4f91f"),
    ({"options": {"max_completion_tokens": 5}}, "ef5ab3c29a6e4240c0d817b195c4f91f"),
    ({"n_samples": 3}, "51fb1a0735ea0c7c5f3e9259eb8d80d8"),
    (
        {"n_samples": 3, "options": {"temperature": 0.7}},
        "67c787b35cfe7a16213927725028f36a",
    ),
    ({"options": {"logprobs": False}}, "af794055a0d884361027005134572480"),
    ({"answer_with": "json"}, "54b7603d06575ca074638225c66fe812"),
    (
        {"answer_with": "json", "options": {"logprobs": False, "max_tokens": 200}},
        "c726faf146be3c437b4f8dedf0fc907b",
    ),
    ({"answer_with": "number"}, "c394ffe67d74be0637fc1f0ca0a2518c"),
    (
        {"examples": [("win", "spam"), ({"a": "x", "b": "2"}, "ham")]},
        "6497e9ef46319e14127d25fdada34bcc",
    ),
    (
        {"classes": {"ham": "good", "spam": "bad"}},
        "4be841062709dbc372b6a566f677c0c2",
    ),
    ({"classes": [0, 1]}, "ad6b73e3837111075d062a2c182ddd7b"),
    ({"classes": np.array(CLASSES)}, "9ce92fb7093b83157ec588faeb8f3135"),
    ({"options": {"seed": 1, "top_p": 0.9}}, "8aee5b47a0cab341f78033a453d5ac44"),
    ({"prompt": "half \ud83d {text}"}, "5524c1c7da6722a62dd02daf99055054"),
]


@pytest.mark.parametrize(("params", "digest"), IDENTITIES)
def test_identities_stay_what_they_are(params, digest):
    """To the bit, of a chat and of its batches: a change would pay a ledger again."""
    params = {
        "model": "small",
        "classes": CLASSES,
        "prompt": "Is this message spam?",
        **params,
    }
    teacher = ChatTeacher("http://127.0.0.1:9/v1", **params)
    assert teacher.identity == f"chat:small:{digest}"
    assert BatchTeacher(teacher).identity == teacher.identity
    teacher.set_params(version="2")
    assert teacher.identity == f"chat:small:{digest}/2"
    assert BatchTeacher(teacher).identity == teacher.identity
    teacher.set_params(name="a/b%")
    assert teacher.identity == "a%2Fb%25/2"


@pytest.mark.parametrize("name", ["model", "messages", "n", "stream"])
def test_options_leave_parameters_alone(name):
    """A field that a parameter decides about is refused, with the parameter's name."""
    teacher = ChatTeacher(
        "http://127.0.0.1:9/v1", "m", CLASSES, "Spam?", options={name: 3}
    )
    with pytest.raises(TeacherError, match=f"options has '{name}'; "):
        teacher.preview(["x"])


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0},
        {"max_tokens": None},
        {"max_completion_tokens": "9"},
        {"temperature": -1},
        {"temperature": "hot"},
    ],
)
def test_numbers_that_no_endpoint_takes_are_refused(options):
    """Before anything is sent, since the price of a reply depends on them."""
    teacher = ChatTeacher(
        "http://127.0.0.1:9/v1", "m", CLASSES, "Spam?", options=options
    )
    with pytest.raises(TeacherError, match=r"options has .* for (max_tok|temp)"):
        teacher.preview(["x"])


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"temperature": 0.0, "max_tokens": 64, "top_logprobs": 20}),
        ({"max_completion_tokens": 900}, {"max_completion_tokens": 900}),
        ({"temperature": None, "top_logprobs": 5}, {"top_logprobs": 5}),
        ({"logprobs": False, "seed": 7}, {"seed": 7}),
    ],
)
def test_options_are_fields_of_the_request(chat, options, sent):
    """They replace the defaults, and a field that is None is not sent."""
    teacher = make_teacher(chat, options=options)
    assert buy_labels(teacher, ["spam"], classes=CLASSES).labeled.all()
    (body,) = chat.requests
    assert sent.items() <= body.items()
    assert ("max_tokens" in body) is ("max_completion_tokens" not in body)
    assert ("logprobs" in body) is (options.get("logprobs") is not False)
    assert ("top_logprobs" in body) is ("logprobs" in body)
    assert ("temperature" in body) is ("temperature" not in options)


def test_a_parameter_changes_the_next_request(chat):
    """Also one that is set after the first request, on the teacher of a batch, too."""
    teacher = make_teacher(chat)
    before = teacher.identity
    buy_labels(teacher, ["spam"], classes=CLASSES)
    BatchTeacher(teacher).set_params(jobs__prompt="Really spam?")
    buy_labels(teacher, ["spam"], classes=CLASSES)
    assert "Really spam?" in chat.requests[1]["messages"][0]["content"]
    assert teacher.identity != before


def test_what_is_sent_is_what_the_identity_names(chat):
    """Even if a dict that was passed as a parameter is changed in place."""
    options = {"seed": 1, "extra": {"top_k": [np.int64(5)]}}
    teacher = make_teacher(chat, options=options)
    before = teacher.identity
    options["seed"] = 2
    options["extra"]["top_k"].append(6)
    buy_labels(teacher, ["spam"], classes=CLASSES)
    assert teacher.identity == before
    assert chat.requests[0]["seed"] == 1
    assert chat.requests[0]["extra"] == {"top_k": [5]}


@pytest.mark.parametrize("kind", [ChatTeacher, DecisionTeacher])
def test_tokens_per_minute_are_kept(chat, kind):
    """The second request waits until the minute, here 0.3 s, is over."""
    teacher = kind(chat.url, "m", CLASSES, "Spam?")
    most = max(teacher.count_tokens([text]) for text in ["spam", "b"])
    teacher.set_params(limits=Limits(tokens_per_minute=1.5 * most))
    window = _traffic_of(teacher).tokens
    window.seconds = 0.3
    bought = buy_labels(teacher, ["spam", "b"], classes=CLASSES)
    assert bought.labels.argmax(axis=1).tolist() == [1, 0]
    ((_, amount),) = window.started  # the first one's minute was over
    assert 0 < amount <= most


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", [ChatTeacher, DecisionTeacher])
def test_a_fork_opens_connections_of_its_own(chat, kind):
    """Two processes on one connection would read each other's answers."""
    chat.http.RequestHandlerClass.protocol_version = "HTTP/1.1"  # keeps them
    teacher = kind(chat.url, "m", CLASSES, "Spam?")
    buy_labels(teacher, ["a", "b"], classes=CLASSES)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        buy_labels(teacher, ["c", "d"], classes=CLASSES)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    buy_labels(teacher, ["e"], classes=CLASSES)
    parents, childs, last = (chat.addresses[i:j] for i, j in [(0, 2), (2, 4), (4, 5)])
    assert len(chat.addresses) == 5
    assert not set(childs) & set(parents)
    assert set(last) <= set(parents)


URLS = [
    "http://user:hunter22@127.0.0.1:9/v1",
    "http://127.0.0.1:9/v1?api_key=hunter22",
    "http://127.0.0.1:9/v1?key=hunter22",
]
OPTIONS = [
    {"extra_headers": {"X-Api-Key": "hunter22"}},
    {"extra": [{"Authorization": "Bearer hunter22"}]},
    {"session_token": "hunter22", "max_tokens": 7},
]


@pytest.mark.parametrize("url", [*URLS, "127.0.0.1:9/v1?token=hunter22"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["chat", "batch", "distiller"])
def test_keys_in_urls_and_options_are_not_shown(url, options, kind):
    """Alone, inside another object, in a notebook and in an error."""
    teacher = ChatTeacher(url, "m", CLASSES, "Spam?", options=options)
    shown = {
        "chat": teacher,
        "batch": BatchTeacher(teacher),
        "distiller": ActiveDistiller(teacher),
    }[kind]
    text = repr(shown) + shown._repr_html_() + text_of(shown)
    assert "hunter22" not in text
    assert "127.0.0.1" in text
    assert ("max_tokens" not in options) or "'max_tokens': 7" in text
    assert teacher.get_params()["options"] == options
    assert teacher.get_params()["client"] == url
    if not url.startswith("http"):
        with pytest.raises(TeacherError, match=r"token=\*\*\*', which is not an add"):
            teacher.ask(["x"], CLASSES)


def test_a_notebook_shows_a_teacher_that_cannot_ask_yet(monkeypatch):
    """Nothing is opened or checked for it; what can be completed stays listed."""
    teacher = ChatTeacher("nowhere", "m", CLASSES, "Spam?", prices=-1, options={"n": 2})
    assert "nowhere" in teacher._repr_html_()
    assert {"identity", "classes_", "cost_per_row"} <= set(dir(teacher))
    assert teacher.reported_models_ == {}
    # Reading it takes a second for each 500 MB, and would fail here.
    monkeypatch.setattr("skadistill.teachers._estimator.estimator_identity", None)
    model = as_teacher(GaussianNB().fit([[0.0], [1.0]], [0, 1]))
    assert "GaussianNB" in model._repr_html_()
    assert not vars(teacher).keys() & {"_made_requests", "_made_sender"}


def test_a_tokenizer_counts_what_is_sent_and_reserved(chat):
    """For the limit of a row, the estimate, the tokens a minute and the reservation."""
    texts = ["spam " * 30, "b"]
    words = make_teacher(chat, tokenizer=lambda text: len(text.split()), prices=(1, 0))
    plain = make_teacher(chat, prices=(1, 0))
    assert words.count_tokens(texts[:1]) - words.count_tokens(texts[1:]) == 29
    assert words.estimate_cost(texts) < plain.estimate_cost(texts)
    assert (words.prices_of(texts) < plain.prices_of(texts)).all()
    limit = words.count_tokens(texts[1:]) - 64  # without the reply
    words.set_params(max_input_tokens=limit, prices=chat.prices)
    bought = buy_labels(words, texts, classes=CLASSES)
    assert bought.no_label.tolist() == [True, False]
    assert len(chat.requests) == 1


def test_a_prompt_is_tried_before_the_budget_is_spent(chat):
    """A trial tells the money that the endpoint names; what it refuses has no label."""
    texts = [f"{word} {i}" for i in range(6) for word in ("spam", "hello")]
    chat.faults = {"hello 5": "refusal"}
    trial = make_teacher(chat).try_on(texts, ["spam", "ham"] * 6)
    assert (trial.n_paid, trial.n_right, trial.n_no_label) == (12, 11, 1)
    assert trial.cost == pytest.approx(trial.ledger.summary()["cost"])
    assert trial.cost > 0
    n_requests = len(chat.requests)
    again = make_teacher(chat).try_on(texts, ["spam", "ham"] * 6, ledger=trial.ledger)
    assert (again.n_paid, len(chat.requests)) == (0, n_requests)
