"""Language models that list the labels that apply."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from skadistill import ActiveDistiller
from skadistill.exceptions import TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger
from skadistill.llm import BatchTeacher, ChatTeacher
from skadistill.llm._label_lists import LabelListReader

LABELS = ["Billing", "Late delivery", "damaged-item", "praise, mostly"]
READ = LabelListReader(LABELS).read


def marked(*positions):
    return [float(i in positions) for i in range(len(LABELS))]


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ('["Billing", "Late delivery"]', [0, 1]),
        ("[]", []),
        ("[ ]", []),
        ('```json\n["billing"]\n```', [0]),
        ('{"labels": ["damaged item"]}', [2]),
        ('{"labels": []}', []),
        ('The labels are: ["LATE DELIVERY", "praise, mostly"].', [1, 3]),
        ('At first I said ["Billing"], but it is ["Late delivery"]', [1]),
        ("Billing, Late delivery", [0, 1]),
        ("- Billing\n- damaged_item", [0, 2]),
        ("1. Billing\n2. Late delivery", [0, 1]),
        ("Labels: Billing; Late delivery", [0, 1]),
        ("praise, mostly", [3]),
        ("None", []),
        ("none of the above.", []),
        ("[Billing, Late delivery]", [0, 1]),
        ("\uff22\uff49\uff4c\uff4c\uff49\uff4e\uff47", [0]),
    ],
)
def test_lists_are_read(text, positions):
    """As JSON, as people write them, and none at all."""
    assert READ(text, []).tolist() == marked(*positions)


@pytest.mark.parametrize(
    "text",
    [
        '["Billing", "Weather"]',
        "I cannot tell.",
        "",
        '["Billing", 3]',
        "It is not Billing",
        "Billing and so on",
    ],
)
def test_what_names_something_else_is_unreadable(text):
    """What a list leaves out might apply, so that it is no label."""
    assert READ(text, []) is None


def test_a_list_that_was_cut_is_unreadable():
    """Its end may have named more."""
    assert READ('["Billing"', [], cut=True) is None
    assert READ('["Billing"]', [], cut=True) is None


class Model:
    """A client whose model knows the labels by words of the row; it counts."""

    def __init__(self, reply=None):
        self.sent, self.reply = [], reply
        self.chat = SimpleNamespace(completions=self)

    def create(self, **body):
        self.sent.append(body)
        text = body["messages"][-1]["content"].casefold()
        names = [label for label in LABELS if label.split()[0].casefold() in text]
        content = json.dumps(names) if self.reply is None else self.reply(names)
        n = body.get("n", 1)
        choice = {"message": {"content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 40, "completion_tokens": 10 * n}
        return {"choices": [choice] * n, "usage": usage, "model": "small"}


def make_teacher(model, **params):
    params = {"prompt": "What is this ticket about?", "multilabel": True} | params
    return ChatTeacher(model, "small", LABELS, **params)


PAIRS = ["billing late", "late", "hello", "praise, damaged-item"]
TEXTS = [f"{pair} {i}" for i in range(10) for pair in PAIRS]


@pytest.mark.parametrize("answer_with", ["name", "json"])
def test_a_fit_learns_the_listed_labels(answer_with):
    """From no labeled row on; one call per row; the bill is that of the replies."""
    as_json = answer_with == "json"
    model = Model((lambda names: json.dumps({"labels": names})) if as_json else None)
    teacher = make_teacher(model, prices=(1.0, 2.0), answer_with=answer_with)
    distiller = ActiveDistiller(teacher, budget=20, random_state=0).fit(TEXTS)
    assert distiller.n_paid_ == len(model.sent) == 20
    assert distiller.cost_ == pytest.approx(20 * 60e-6)
    assert distiller.classes_.tolist() == LABELS
    expected = [[name.split()[0].casefold() in t for name in LABELS] for t in TEXTS]
    assert (distiller.predict(TEXTS) == np.array(expected)).mean() > 0.95
    assert all("logprobs" not in body for body in model.sent)


def test_the_prompt_asks_for_a_list():
    """The rules, the descriptions and the examples are those of lists."""
    teacher = make_teacher(
        Model(), examples=[("late again", ["Late delivery"]), ("hi", [])]
    )
    shown = teacher.preview(["billing"])
    assert "JSON list of all labels that apply" in shown
    assert '[assistant] ["Late delivery"]\n' in shown
    assert "[assistant] []\n" in shown


def test_shares_of_several_replies_are_soft_labels():
    """A label is the share of the replies that list it."""
    replies = iter([["Billing"], ["Billing", "Late delivery"], [], ["Billing"]])
    model = Model(lambda names: json.dumps(next(replies)))
    teacher = make_teacher(model, n_samples=4, options=None)
    model.create = _one_reply(model)
    label = teacher.ask(["x"], _columns())
    applies = label[0, :4] * 4
    assert dict(zip(_columns()[:4], applies, strict=True))["+Billing"] == 0.75


def _one_reply(model):
    """Let a server ignore `n`."""
    create = type(model).create

    def one(**body):
        return create(model, **body | {"n": 1})

    return one


def _columns():
    from skadistill._utils.label_space import label_columns

    return label_columns(LABELS)


def test_examples_are_chosen_for_each_label():
    """Rows of an indicator matrix, with what applies there."""
    teacher = make_teacher(Model())
    Y = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [-1] * 4])
    shown = teacher.with_examples(list("abcde"), Y, random_state=0).examples
    assert {label for _, labels in shown for label in labels} == set(LABELS)
    with pytest.raises(TeacherError, match="indicator matrix"):
        teacher.with_examples(list("ab"), [0, 1])


def test_who_asks_for_lists_is_another_teacher():
    """A ledger never answers for the other."""
    one, several = make_teacher(Model(), multilabel=False), make_teacher(Model())
    assert one.identity != several.identity


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"answer_with": "number"}, "number"),
        ({"examples": [("x", ["no"])]}, "examples"),
    ],
    ids=["number", "example"],
)
def test_what_cannot_be_asked_is_refused(params, message):
    """In a sentence, and nothing is sent."""
    model = Model()
    with pytest.raises(TeacherError, match=message):
        make_teacher(model, **params).ask(["x"], _columns())
    assert model.sent == []


def test_batches_are_refused():
    """They read one class per row."""
    with pytest.raises(TeacherError, match="multilabel"):
        BatchTeacher(make_teacher(Model())).submit_rows(["x"], ["1"], _columns())


def test_an_unreadable_list_is_no_label():
    """Paid, remembered, and left out."""
    model = Model(lambda names: "hard to say")
    ledger = MemoryLedger()
    bought = buy_labels(
        make_teacher(model), ["x", "y"], classes=_columns(), ledger=ledger
    )
    assert bought.n_no_label == bought.n_paid == 2
