"""Several rows in a prompt, a part of the classes, candidates instead of one name."""

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.exceptions import TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger
from skadistill.llm import BatchTeacher, ChatTeacher
from skadistill.llm._replies import row_answers
from skadistill.teachers import Limits

KINDS = [f"kind {a}{b}" for a in "abcde" for b in "wxyz"]
PRICES = (1.0, 10.0)


class Model:
    """Answer as a chat model would; `faults` are the shares of odd replies."""

    def __init__(self, classes=KINDS, faults=0.0, seed=0):
        self.classes, self.faults = classes, faults
        self.rng = np.random.default_rng(seed)
        self.bodies, self.bill = [], 0.0
        completions = SimpleNamespace(create=self.create)
        self.chat = SimpleNamespace(completions=completions)

    def rows_of(self, body):
        """Return the rows that a request is about."""
        parts = re.split(r"\[row \d+\]\n", body["messages"][-1]["content"])
        return [part.strip() for part in parts[1:]] or parts

    def offered(self, body):
        """Return the classes of a request."""
        system = body["messages"][0]["content"].split("Classes:\n")[1]
        return [re.sub(r"^(- |\d+\. )", "", line) for line in system.split("\n")]

    def answer(self, row, offered):
        """Name the class that a row holds."""
        named = next(c for c in self.classes if row.endswith(f" {c}"))
        return named if named in offered else "none of these"

    def create(self, **body):
        self.bodies.append(body)
        rows, offered = self.rows_of(body), self.offered(body)
        answers = [self.answer(row, offered) for row in rows]
        numbered = "number of one class" in body["messages"][0]["content"]
        if numbered:
            numbers = {name: str(i) for i, name in enumerate(offered, 1)}
            answers = [numbers.get(answer, answer) for answer in answers]
        content = self.written(answers, rows)
        if "response_format" in body:
            schema = body["response_format"]["json_schema"]["schema"]
            assert len(schema["required"]) == len(rows)
            for label in schema["properties"].values():
                assert label["enum"] == offered
            if content.count("\n") == len(rows) - 1:  # not an odd reply
                keys = schema["required"]
                content = json.dumps(dict(zip(keys, answers, strict=True)))
        n_in = sum(len(m["content"]) for m in body["messages"])
        n_out = min(len(content), body["max_tokens"])
        self.bill += (n_in * PRICES[0] + n_out * PRICES[1]) / 1e6
        choice = {"message": {"content": content[:n_out]}, "finish_reason": "stop"}
        if n_out < len(content):
            choice["finish_reason"] = "length"
        if any("forbidden" in row for row in rows):
            choice = {"message": {"content": None}, "finish_reason": "content_filter"}
        usage = {"prompt_tokens": n_in, "completion_tokens": n_out}
        return {"model": "m", "choices": [choice], "usage": usage}

    def written(self, answers, rows):
        """Write the answers to several rows, perhaps oddly."""
        if len(answers) == 1:
            return answers[0]
        lines = [f"{i}: {answer}" for i, answer in enumerate(answers, 1)]
        if self.rng.random() >= self.faults:
            return "\n".join(lines)
        fault = self.rng.integers(9)
        k = self.rng.integers(len(lines))
        if fault == 0:
            del lines[k]
        elif fault == 1:
            lines = lines[:k]
        elif fault == 2:
            lines = [lines[i] for i in self.rng.permutation(len(lines))]
        elif fault == 3:
            return json.dumps({str(i): a for i, a in enumerate(answers, 1)})
        elif fault == 4:  # another answer to the same row
            lines.append(f"{k + 1}: {answers[k - 1]}")
        elif fault == 5:
            return "As a language model, I would rather not."
        elif fault == 6:  # without their numbers
            return "\n".join(answers)
        elif fault == 7:
            lines = [f"| {i} | {a} |" for i, a in enumerate(answers, 1)]
        else:
            lines = ["Here you are:", "", *(f"**[row {x}** ({x}" for x in lines)]
            lines = [re.sub(r"\((\d+): (.*)", r"\2", x) for x in lines]
        return "\n".join(lines)


def texts_of(n, rng, classes=KINDS):
    """Make texts that end with their class."""
    return [f"text {i} is a {classes[rng.integers(len(classes))]}" for i in range(n)]


def make_teacher(model, **params):
    params = {"classes": KINDS, "prompt": "Which?", "prices": PRICES} | params
    return ChatTeacher(model, "m", **params)


@pytest.mark.parametrize("answer_with", ["name", "number", "json", "candidates"])
@pytest.mark.parametrize("seed", range(5))
def test_no_row_of_several_gets_the_answer_of_another(seed, answer_with):
    """Rows that a reply leaves open are asked again in halves; every row is billed."""
    rng = np.random.default_rng(seed)
    model, texts = Model(faults=0.4, seed=seed), texts_of(400, rng)
    teacher = make_teacher(model, rows_per_call=7, answer_with=answer_with)
    ledger = MemoryLedger(max_cost=1.0)
    bought = buy_labels(teacher, texts, classes=KINDS, ledger=ledger)
    named = [KINDS[k] for k in bought.labels.argmax(axis=1)]
    assert named == [text[-7:] for text in texts]
    assert ledger.summary()["cost"] == pytest.approx(model.bill, rel=1e-12)
    assert 58 <= len(model.bodies) < 200
    assert sum(teacher.unread_positions_.values()) > 0
    assert set(teacher.unread_positions_) <= set(range(1, 8))


@pytest.mark.parametrize("text", ["0: spam\n1: ham", '{"0": "spam", "1": "ham"}'])
def test_rows_counted_from_0_are_not_read(text):
    """Each answer would be that of the row before."""
    assert row_answers(text, 2) == {}


@pytest.mark.parametrize("text", ["1) spam 2) ham", "1: spam, 2: ham"])
def test_rows_in_one_line_are_asked_about_again(text):
    """What is said of the first one is not clear."""
    assert row_answers(text, 2) == {}


class Refused(Exception):
    """An error of a client for which the server gives no reason that is known."""

    status_code = 400


def test_a_row_that_is_refused_does_not_cost_its_neighbors_their_labels():
    """A prompt refused for reasons unknown is split until one row is left."""

    class Strict(Model):
        def create(self, **body):
            if any("strange" in row for row in self.rows_of(body)):
                raise Refused("no")
            return super().create(**body)

    texts = texts_of(70, np.random.default_rng(0))
    texts[3], texts[44] = f"strange {texts[3]}", f"strange {texts[44]}"
    teacher = make_teacher(Strict(), rows_per_call=7)
    bought = buy_labels(teacher, texts, classes=KINDS)
    assert np.flatnonzero(bought.no_label).tolist() == [3, 44]
    named = [KINDS[k] for k in bought.labels[bought.labeled].argmax(axis=1)]
    assert named == [t[-7:] for t in texts if "strange" not in t]


def test_a_refusal_of_all_rows_is_an_error():
    """Of a call in which nothing was answered, the first refusal is raised."""

    class Broken(Model):
        def create(self, **body):
            raise Refused("no")

    teacher = make_teacher(Broken(), rows_per_call=3)
    with pytest.raises(TeacherError, match="Refused"):
        buy_labels(teacher, texts_of(9, np.random.default_rng(0)), classes=KINDS)


@pytest.mark.parametrize("params", [{"rows_per_call": 2}, {"n_candidates": 2}])
def test_lists_of_labels_are_asked_for_row_by_row(params):
    """With multilabel=True the cheaper calls are refused before anything is sent."""
    teacher = make_teacher(Model(), multilabel=True, **params)
    with pytest.raises(TeacherError, match="multilabel=True"):
        teacher.preview(["a"])


@pytest.mark.parametrize("params", [{"rows_per_call": 2}, {"n_candidates": 2}])
def test_a_line_of_a_batch_asks_about_one_row_and_all_classes(params):
    """A BatchTeacher refuses the cheaper calls of its ChatTeacher by name."""
    chat = make_teacher("http://127.0.0.1:1/v1", **params)
    with pytest.raises(TeacherError, match=next(iter(params))):
        buy_labels(BatchTeacher(chat), ["a"], classes=KINDS)


def test_calls_of_several_rows_are_cheaper():
    """With ten rows of 20 classes a fourth is sent, and the estimate knows it."""
    texts = texts_of(200, np.random.default_rng(0))
    sent, bills = [], []
    for k in (1, 10):
        model = Model()
        teacher = make_teacher(model, rows_per_call=k)
        buy_labels(teacher, texts, classes=KINDS)
        sent.append(sum(len(m["content"]) for b in model.bodies for m in b["messages"]))
        bills.append(model.bill)
        assert model.bill / 4 < teacher.estimate_cost(texts) < model.bill
        assert teacher.preview(texts).count("[row") == (0 if k == 1 else k)
    assert sent[1] < sent[0] / 4.5
    assert bills[1] < bills[0] / 2


@pytest.mark.parametrize("k", [2, 3, 7, 10])
def test_what_is_reserved_covers_all_halves(k):
    """A server that answers single rows only costs what was reserved at most."""
    model = Model()
    model.written = lambda answers, rows: answers[0] if len(rows) == 1 else "no" * 900
    texts = texts_of(23, np.random.default_rng(k))
    teacher = make_teacher(model, rows_per_call=k, options={"max_tokens": 16})
    bought = buy_labels(teacher, texts, classes=KINDS, ledger=MemoryLedger(max_cost=9))
    assert bought.labeled.all()
    assert model.bill <= teacher.prices_of(texts).sum()
    assert model.bill <= 23 * teacher.cost_per_row
    assert max(b["max_tokens"] for b in model.bodies) == 16 * k


def test_one_refused_row_does_not_cost_the_labels_of_others():
    """Filtered, empty and long rows are found among others; each has no label."""
    texts = texts_of(30, np.random.default_rng(1))
    texts[4], texts[11] = f"forbidden {texts[4]}", " "
    texts[20] = "x" * 9000 + texts[20]
    texts[25] = "unclear kind aw"
    model = Model()
    model.answer = lambda row, offered: row[-7:] if "unc" not in row else "I don't know"
    teacher = make_teacher(model, rows_per_call=8, max_input_tokens=1000)
    bought = buy_labels(teacher, texts, classes=KINDS, ledger=MemoryLedger())
    assert np.flatnonzero(bought.no_label).tolist() == [4, 11, 20, 25]
    # An answer that names no class is final, as it is about one row.
    assert sum("unclear" in b["messages"][-1]["content"] for b in model.bodies) == 1
    right = [KINDS[k] for k in bought.labels[bought.labeled].argmax(axis=1)]
    assert right == [t[-7:] for t, ok in zip(texts, bought.labeled, strict=True) if ok]


def test_rows_that_are_too_long_together_are_sent_apart():
    """A prompt is never longer than max_input_tokens."""
    model, rng = Model(), np.random.default_rng(1)
    texts = [f"{'word ' * 100} {text}" for text in texts_of(8, rng)]
    teacher = make_teacher(model, rows_per_call=8, max_input_tokens=600, tokenizer=len)
    assert buy_labels(teacher, texts, classes=KINDS).n_no_label == 8
    teacher = make_teacher(model, rows_per_call=8, max_input_tokens=2500, tokenizer=len)
    assert buy_labels(teacher, texts, classes=KINDS).labeled.all()
    assert (
        max(sum(len(m["content"]) for m in b["messages"]) for b in model.bodies) < 2500
    )


def test_the_rows_of_a_call_are_shuffled_alike():
    """The order says nothing of the rank, and is the same for the same rows."""
    texts = texts_of(100, np.random.default_rng(0))
    models = Model(), Model()
    for model in models:
        teacher = make_teacher(
            model, rows_per_call=10, limits=Limits(max_concurrency=2)
        )
        buy_labels(teacher, texts, classes=KINDS)
    first, again = (sorted(m.rows_of(b) for b in m.bodies) for m in models)
    assert first == again
    places = [
        rows.index(text) for text in texts[::10] for rows in first if text in rows
    ]
    assert len(places) == 10
    assert len(set(places)) > 4
    assert sorted(row for rows in first for row in rows) == sorted(texts)


def test_each_row_of_several_has_the_probabilities_of_its_line():
    """Also where the same class is named in neighboring lines, and tokens follow."""

    def place(*items):
        listed = [{"token": t, "logprob": math.log(p)} for t, p in items]
        return listed[0] | {"top_logprobs": listed}

    said = []
    for i, p in enumerate((0.9, 0.8, 0.7), 1):
        said += [place((f"{i}", 1.0)), place((":", 1.0))]
        said += [place((" ham", p), (" spam", 1 - p)), place(("\n", 1.0))]
    said += [place(("<|im_end|>", 1.0))]
    message = {"content": "1: ham\n2: ham\n3: ham\n"}
    choice = {"message": message, "logprobs": {"content": said}}
    reply = {"choices": [choice | {"finish_reason": "stop"}]}
    completions = SimpleNamespace(create=lambda **body: reply)
    client = SimpleNamespace(chat=SimpleNamespace(completions=completions))
    teacher = ChatTeacher(client, "m", ["ham", "spam"], "Which?", rows_per_call=3)
    labels = buy_labels(teacher, ["a", "b", "c"], classes=["ham", "spam"]).labels
    np.testing.assert_allclose(sorted(labels[:, 0]), [0.7, 0.8, 0.9])


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("1: a\n2: b", {1: "a", 2: "b"}),
        ("[row 2] b\nRow 1 - a", {1: "a", 2: "b"}),
        ("**1**: a\n**2**: b\n\n3: c", {1: "a", 2: "b"}),
        ("1: a\n1: b\n2: c", {2: "c"}),
        ("1: a\n1: A.\n", {1: "a"}),
        ("1: -1\n2: 2", {1: "-1", 2: "2"}),
        ('```json\n{"1": "a", "row 2": ["b", "c"]}\n```', {1: "a", 2: "b; c"}),
        ("a\nb", {}),
        ("2 1", {}),
        ("", {}),
    ],
)
def test_answers_are_found_by_the_number_of_their_row(text, answers):
    """In lines or JSON; a row with two answers has none."""
    assert {i: a for i, (a, _) in row_answers(text, 2).items()} == answers


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a", [1, 0, 0]),
        ("b\na", [1 / 3, 2 / 3, 0]),
        ("b, c and a", [2 / 11, 6 / 11, 3 / 11]),
        ("a, not b", [1, 0, 0]),
        ('{"label": ["c", "b"]}', [0, 1 / 3, 2 / 3]),
        ("It is none of them.", None),
        ("neither a nor b", None),
    ],
)
def test_candidates_share_the_label(content, expected):
    """The k-th in proportion to 1 / k; no log-probabilities are asked for."""
    bodies = []

    def create(**body):
        bodies.append(body)
        return {"choices": [{"message": {"content": content}}]}

    client = SimpleNamespace(
        chat=SimpleNamespace(completions=SimpleNamespace(create=create))
    )
    teacher = ChatTeacher(client, "m", ["a", "b", "c"], "?", answer_with="candidates")
    (label,) = buy_labels(teacher, ["x"], classes=["a", "b", "c"]).labels
    if expected is None:
        assert np.isnan(label).all()
    else:
        np.testing.assert_allclose(label, expected)
    assert "logprobs" not in bodies[0]


@pytest.mark.parametrize("answer_with", ["name", "number", "json", "candidates"])
def test_a_fit_offers_the_candidates_of_the_student(answer_with):
    """From the second round on; a row of another class is asked about with all."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((300, 2))
    kinds = rng.integers(20, size=300)
    X = np.c_[np.cos(kinds * 6.0) * 3, np.sin(kinds * 6.0) * 3] + 0.4 * noise
    asked = {}

    class Named(Model):
        def answer(self, row, offered):
            asked.setdefault(row, []).append(len(offered))
            numbers = np.fromstring(row, sep=",")
            i = np.abs(X - numbers).sum(axis=1).argmin()
            named = KINDS[kinds[i]]
            other = "none of these" if i % 2 else "Something else."
            return named if named in offered else other

    y = np.array([KINDS[k] if i < 40 else "?" for i, k in enumerate(kinds)], object)
    costs = {}
    for n_candidates in (None, 3):
        asked.clear()
        model = Named()
        teacher = make_teacher(
            model, n_candidates=n_candidates, answer_with=answer_with
        )
        ledger = MemoryLedger()
        distiller = ActiveDistiller(
            teacher,
            LogisticRegression(),
            query_strategy="margin",
            objective="soft",
            budget=90,
            query_size=30,
            unlabeled_marker="?",
            ledger=ledger,
            random_state=0,
        )
        distiller.fit(X, y)
        costs[n_candidates] = model.bill
        assert ledger.summary()["cost"] == pytest.approx(model.bill)
        assert distiller.n_paid_ == 90
        assert distiller.n_no_label_ == 0
        answers = list(asked.values())
        if n_candidates is None:
            assert {len(a) for a in answers} == {1}
        else:
            assert answers[:30] == [[20]] * 30
            assert {a[0] for a in answers[30:]} == {4}
            again = [a for a in answers[30:] if len(a) > 1]
            assert again
            assert all(a == [4, 20] for a in again)
            assert len(again) < 45
    assert costs[3] < costs[None]


def test_each_way_has_an_identity_of_its_own():
    """Labels of one are not those of another."""
    ways = [
        *({}, {"rows_per_call": 2}, {"rows_per_call": 3}, {"n_candidates": 2}),
        *({"n_candidates": 3}, {"answer_with": "candidates"}),
    ]
    assert len({make_teacher(Model(), **way).identity for way in ways}) == len(ways)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rows_per_call": 0}, "'rows_per_call' parameter"),
        ({"n_candidates": 1}, "'n_candidates' parameter"),
        ({"rows_per_call": 2, "n_candidates": 3}, "pass one of them"),
    ],
)
def test_what_cannot_work_together_is_said_before_a_call(params, message):
    """And a batch, whose lines are about one row each."""
    model = Model()
    with pytest.raises(ValueError, match=message):
        buy_labels(make_teacher(model, **params), ["x kind aw"], classes=KINDS)
    with pytest.raises(TeacherError, match="each line of a batch asks about one row"):
        BatchTeacher(make_teacher("http://localhost:9/v1", rows_per_call=2)).ask(
            ["x"], KINDS
        )
    assert model.bodies == []
