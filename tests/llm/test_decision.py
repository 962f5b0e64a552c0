"""Endpoints that answer with a probability for every class."""

import numpy as np
import pytest

from skadistill.exceptions import TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.llm import DecisionTeacher
from skadistill.teachers import Limits

pytest.importorskip("httpx")

CLASSES = ["ham", "spam"]
TONES = ["calm", "angry"]


def make_teacher(chat, client=None, **params):
    params = {
        "model": "judge",
        "classes": CLASSES,
        "prompt": "Is this message spam?",
        "cost_per_row": 0.01,
        "limits": Limits(backoff=0.01),
    } | params
    return DecisionTeacher(chat.url if client is None else client, **params)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
def test_probabilities_are_soft_labels(chat, listed, kind):
    """As a mapping or as a list, in any order, through every client."""
    chat.listed = listed
    client = None
    if kind != "url":
        openai = pytest.importorskip("openai")
        made = {"openai": openai.OpenAI, "async openai": openai.AsyncOpenAI}[kind]
        client = made(base_url=chat.url, api_key="x")
    bought = buy_labels(make_teacher(chat, client), ["spam", "b"], classes=CLASSES)
    np.testing.assert_allclose(bought.labels, [[0.1, 0.9], [0.8, 0.2]], atol=1e-12)


def test_a_refusal_is_no_label(chat):
    """Paid, remembered, and not asked again."""
    chat.faults = {"odd": "refusal"}
    ledger, teacher = MemoryLedger(), make_teacher(chat)
    bought = buy_labels(teacher, ["odd", "spam"], classes=CLASSES, ledger=ledger)
    assert bought.no_label.tolist() == [True, False]
    assert buy_labels(teacher, ["odd"], classes=CLASSES, ledger=ledger).n_paid == 0


def test_a_second_question_about_the_same_rows_is_free(chat, tmp_path):
    """Its answers came with the first, and are in the ledger, of one paid row each."""
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    teacher = make_teacher(chat, other_questions={"Which tone has it?": TONES})
    buy_labels(teacher, ["spam", "b"], classes=CLASSES, ledger=ledger)
    tone = make_teacher(chat, classes=TONES, prompt="Which tone has it?")
    bought = buy_labels(tone, ["b", "spam"], classes=TONES, ledger=ledger)
    assert (bought.n_paid, len(chat.requests)) == (0, 2)
    np.testing.assert_allclose(bought.labels, [[0.8, 0.2], [0.1, 0.9]], atol=1e-12)
    summary = ledger.summary()
    assert (summary["n_paid"], summary["n_labels"]) == (2, 4)
    assert summary["cost"] == pytest.approx(0.02)
    ledger.close()


def test_identity_is_the_question(chat):
    """Further questions and limits are not part of it; classes and model are."""
    base = make_teacher(chat)
    assert make_teacher(chat, other_questions={"q": TONES}).identity == base.identity
    for change in ({"prompt": "x"}, {"classes": TONES}, {"model": "y"}):
        assert make_teacher(chat, **change).identity != base.identity


def test_a_reply_in_another_form_is_an_error_that_says_what_to_check(chat):
    """Not a wrong label."""
    teacher = make_teacher(chat, path="/chat/completions", write_request=_chat_request)
    with pytest.raises(TeacherError, match="write_request"):
        buy_labels(teacher, ["spam"], classes=CLASSES)


def _chat_request(model, text, questions):
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "n": 3}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"other_questions": {"q": ["one"]}}, "other_questions has 'q'"),
        ({"classes": ["a"]}, "classes are"),
    ],
)
def test_questions_that_cannot_be_asked_are_said_before_a_call(chat, params, message):
    """In one sentence."""
    with pytest.raises(TeacherError, match=message):
        buy_labels(make_teacher(chat, **params), ["spam"], classes=CLASSES)
    assert chat.requests == []


@pytest.mark.parametrize("fault", ["429", "drop", "error in 200", "html"])
def test_faults_that_pass_are_tried_again(chat, fault):
    """Each row is answered once."""
    chat.faults = {1: fault, 3: fault}
    teacher = make_teacher(chat, limits=Limits(max_concurrency=1))
    assert buy_labels(teacher, ["spam", "b", "c"], classes=CLASSES).labeled.all()
    assert set(chat.answered.values()) == {1}
    assert len(chat.requests) == 5


@pytest.mark.parametrize(
    ("params", "identity"),
    [
        ({}, "decision:judge:4a25434cfb8fbf8c5744029291832460"),
        ({"classes": [0, 1]}, "decision:judge:939ae0e80f307a31e098f33fc04057ce"),
        (
            {"prompt": "Which tone?", "classes": TONES},
            "decision:judge:83854fc4bf3d6867fdbd0d6be6882ec2",
        ),
        (
            {"other_questions": {"Tone?": TONES}},
            "decision:judge:4a25434cfb8fbf8c5744029291832460",
        ),
        ({"name": "j", "version": "1"}, "j/1"),
    ],
)
def test_identities_stay_what_they_are(chat, params, identity):
    """To the bit: another one would pay for a ledger again."""
    assert make_teacher(chat, **params).identity == identity
