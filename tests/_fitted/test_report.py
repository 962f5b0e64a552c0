"""The report: one file, without network, that tells what the fit knows."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, ChatTeacher, MemoryLedger
from skadistill._fitted import facts
from skadistill.deploy import certify_agreement
from skadistill.teachers import as_teacher

EVIL = "<script>alert('x')</script> & \"<b>\""
VOID = {"meta"}


class Page(HTMLParser):
    """Reads the tables of a page by the heading of their section; checks nesting."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.texts, self.tags = [], {}, [], set()
        self.section = None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.tables.setdefault(self.section, []).append([])
        if tag in ("th", "td"):
            self.tables[self.section][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open[-1:] == ["h2"]:
            self.section = data
        if {"th", "td"} & set(self.open):
            self.tables[self.section][-1][-1] += data


WORDS = {EVIL: ["goal", "match"], "law": ["vote", "senate"], "bank": ["stock", "rate"]}


def make_texts(n_rows=700):
    rng = np.random.default_rng(0)
    y = rng.choice(list(WORDS), n_rows)
    texts = [
        " ".join([rng.choice(WORDS[c]), *rng.choice(list("abcdefgh"), 5), str(i)])
        for i, c in enumerate(y)
    ]
    # Half a character, as a cut text may hold.
    texts = [f"{text}\ud800{EVIL}" if i % 2 else text for i, text in enumerate(texts)]
    return texts, np.array(y, dtype=object)


@pytest.fixture(scope="module")
def fitted():
    texts, y = make_texts()
    truth = dict(zip(texts, y, strict=True))

    def ask(rows):
        return ["law" if "7" in text else truth[text] for text in rows]

    teacher = as_teacher(ask, name="big", classes=sorted(WORDS), cost_per_row=0.01)
    known = np.where(np.arange(700) < 60, y, -1)[:500]
    model = ActiveDistiller(teacher, budget=120, teacher_checks=20, random_state=7)
    return model.fit(texts[:500], known), texts, y


@pytest.fixture(scope="module")
def page(fitted, tmp_path_factory):
    model, texts, y = fitted
    path = tmp_path_factory.mktemp("report") / "report.html"
    table = model.compare(texts[500:], y[500:], ask_teacher=True)
    audit = certify_agreement(model, texts[500:], n_audit=100, target=0.5)
    model.report(path, X=texts[:500], comparison=table, certificate=audit)
    return Page(path.read_text("utf8")), path.read_text("utf8"), table


def test_it_is_one_file_that_loads_and_runs_nothing(page):
    """No script, no address; what users wrote is text, and tags are closed."""
    parsed, text, _ = page
    assert not parsed.tags & {"script", "img", "link", "iframe", "b><"}
    assert not re.search(r"https?:|url\(|@import|\son\w+=", text)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "prefers-color-scheme: dark" in text


def test_plan_and_payment_are_side_by_side(fitted, page):
    """Rows and money, checks apart from the pool."""
    model = fitted[0]
    rows = {row[0]: row[1:] for row in page[0].tables["Cost"]}
    assert rows[""] == ["planned", "paid"]
    assert rows["Rows in all"] == ["120", str(model.n_paid_)]
    assert rows["Teacher checks"][1] == str(model.n_teacher_checks_)
    assert rows["Cost"] == ["1.2", f"{model.cost_:.4g}"]


def test_the_forecast_is_in_rows_and_money(fitted, page):
    """The numbers are those of `forecast_`; the curve is drawn without matplotlib."""
    model, text = fitted[0], page[1]
    rows = {row[0]: row[1:] for row in page[0].tables["Learning curve"]}
    score, low, high = model.forecast_.after(500)
    expected = [f"{value:.4g}" for value in (score, low, high, 5.0)]
    assert rows["500 more labels"] == expected
    judged = [r for r in model.history_ if r["pool_agreement"] is not None]
    assert text.count("<circle") == len(judged)


def test_classes_and_mistakes_are_counted(fitted, page):
    """Given and bought labels add up; mistakes are those on given rows."""
    model, (parsed, _, table) = fitted[0], page
    bought = {row[0]: row for row in parsed.tables["What was bought"][1:]}
    assert sum(int(row[1]) for row in bought.values()) == 60
    assert sum(int(row[3]) for row in bought.values()) == model.n_queries_
    checks = model.teacher_checks_
    wrong = parsed.tables["What the teacher gets wrong"]
    assert sum(int(row[2]) for row in wrong if row[1:2] == ["law"]) == checks.n_wrong
    assert checks.n_wrong > 0
    by_class = {row[0]: row[1:] for row in parsed.tables["Accuracy by class"]}
    at = by_class["class"].index("teacher")
    for label in WORDS:
        share = table.per_class["teacher"][label]
        assert by_class[label][at] == f"{100 * share:.1f} %"


def test_choices_are_told_with_their_reasons(fitted, page):
    """What "auto" stands for, by which numbers, and seeds to repeat it."""
    model, parsed = fitted[0], page[0]
    told = dict(row for row in parsed.tables["What the fit chose, and why"])
    checks = model.teacher_checks_
    assert f"wrong on {checks.n_wrong} of {checks.n_samples}" in told["Objective"]
    assert told["Objective"].startswith(type(model.objective_).__name__)
    best = next(iter(model.student_scores_.items()))
    assert f"{best[0]} {best[1]:.3f}" in told["Kind of student"]
    made = dict(row for row in parsed.tables["Environment and seeds"])
    assert made["random_state"] == "7"
    assert made["Seeds"].count(" ") == 7
    assert made["scikit-learn"] == __import__("sklearn").__version__


@pytest.mark.parametrize("distrusted", [True, False, None])
def test_the_default_strategy_says_whether_it_trusts(fitted, distrusted, monkeypatch):
    """By what the fit found, not by its parameters."""
    model = fitted[0]
    monkeypatch.setitem(model._choices, "distrusted", distrusted)
    words = {True: "except where", False: "right on enough", None: "nothing is known"}
    assert words[distrusted] in facts.about_choices(model)["Query strategy"]


def test_suspects_are_shown_with_their_rows(fitted, page):
    """The most doubtful first, fifty of them, with their texts."""
    model, texts, _ = fitted
    found = model.suspects(texts[:500], n_suspects=50)
    rows = page[0].tables["Labels to look at"][1:]
    assert [int(row[0]) for row in rows] == found["row"].tolist()
    shown = [texts[i].replace("\ud800", r"\ud800") for i in found["row"]]
    assert [row[1] for row in rows] == shown
    assert [row[2] for row in rows] == found["label"].tolist()


def test_it_tells_less_when_there_is_less_to_tell(tmp_path):
    """Without rows, comparison, prices or a teacher that was asked."""
    texts, y = make_texts(100)
    model = ActiveDistiller(lambda rows: ["law"] * len(rows), budget=0).fit(texts, y)
    path = tmp_path / "report.html"
    model.report(path)
    page = Page(path.read_text("utf8"))
    assert "Labels to look at" not in page.tables
    assert "Accuracy by class" not in page.tables
    assert ["Rows in all", "0", "0"] in page.tables["Cost"]


@pytest.mark.parametrize("kind", ["frame", "array", "records"])
def test_rows_of_every_kind_are_written(kind, tmp_path):
    """Columns by name, numbers by position; texts are elsewhere."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = (X[:, 0] > 0).astype(int)
    rows = X
    if kind == "frame":
        rows = pd.DataFrame(X, columns=["height", "width", "note"])
    elif kind == "records":
        rows = [{"height": h, "width": w, "depth": d} for h, w, d in X.tolist()]
    ask = as_teacher(lambda X: rng.integers(2, size=len(X)), name="t", classes=[0, 1])
    marked = np.where(np.arange(300) < 40, y, -1)
    model = ActiveDistiller(
        ask,
        None if kind == "records" else LogisticRegression(),
        budget=60,
        teacher_checks=0,
        random_state=0,
        ledger=MemoryLedger(),
    ).fit(rows, marked)
    path = tmp_path / "report.html"
    model.report(path, X=rows, n_suspects=5)
    shown = Page(path.read_text("utf8")).tables["Labels to look at"][1:]
    assert len(shown) == 5
    first = X[int(shown[0][0])]
    expected = f"{first[0]:.4g}"
    assert shown[0][1].startswith(
        expected if kind == "array" else f"height: {expected}, width: "
    )


def test_a_language_model_is_named_by_its_model():
    """Not by the function that calls it."""
    teacher = ChatTeacher("http://127.0.0.1:9/v1", "small-1", ["a", "b"], "Which?")
    assert facts.teacher_name(teacher) == "small-1, asked by ChatTeacher"


def test_a_fit_of_several_labels_per_row_is_reported(tmp_path):
    """Each label is counted on the rows to which it applies."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    truth = (X[:, :3] > 0).astype(int)
    y = np.where(np.arange(300)[:, None] < 50, truth, -1)
    teacher = as_teacher(
        lambda X: (X[:, :3] > 0).astype(float), name="t", multilabel=True
    )
    model = ActiveDistiller(
        teacher, LogisticRegression(), budget=60, random_state=0
    ).fit(X, y)
    path = tmp_path / "report.html"
    model.report(path)
    rows = Page(path.read_text("utf8")).tables["What was bought"][1:]
    given = {row[0]: int(row[1]) for row in rows}
    assert sorted(given.values()) == sorted(truth[:50].sum(axis=0).tolist())
