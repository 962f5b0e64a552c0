"""The lines of the README, with every client, against all faults at once."""

import asyncio
import logging
import pickle
import re
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skadistill
from skadistill import ActiveDistiller, ChatTeacher
from skadistill.exceptions import JobPendingError, TeacherError
from skadistill.export import model_card
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger
from skadistill.llm import BatchTeacher, DecisionTeacher
from skadistill.teachers import Limits

pytest.importorskip("httpx")

ROOT = Path(skadistill.__file__).parents[1]
SECRET = "sk-secret-of-the-test"
CLASSES = ["spam", "ham"]
FAULTS = [
    *("429", "429 date", "429 ms", "429 reset", "500", "503", "520", "409"),
    *("drop", "error in 200", "html", "third", "case", "empty", "chatter"),
]


def make_problem():
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(30)])
    texts = [
        " ".join([("spam", "hello")[i % 2], str(i), *rng.choice(words, 3)])
        for i in range(140)
    ]
    y = np.array([*["spam", "ham"] * 10, *[-1] * 120], dtype=object)
    return texts, y


def make_student():
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


def make_client(kind, url):
    if kind == "url":
        return url, {}
    if kind == "litellm":
        options = {"api_base": url, "api_key": SECRET}
        client = pytest.importorskip("litellm")
        return client, {"model": "openai/small", "options": options}
    openai = pytest.importorskip("openai")
    made = {"openai": openai.OpenAI, "async openai": openai.AsyncOpenAI}[kind]
    return made(base_url=url, api_key=SECRET), {}


@pytest.mark.filterwarnings("ignore")  # litellm's own, on import
@pytest.mark.parametrize("inside_a_loop", [False, True])
@pytest.mark.parametrize("kind", ["url", "openai", "async openai", "litellm"])
def test_all_faults_at_once(chat, kind, inside_a_loop, tmp_path, monkeypatch):
    """Each row is billed once, and the ledger's money is the server's."""
    texts, y = make_problem()
    chat.faults = dict(zip(range(2, 200, 5), FAULTS, strict=False))
    chat.faults |= {"word7 ": "refusal", "word8 ": "nonsense", "word9 word1": "cut"}
    client, params = make_client(kind, chat.url)
    params = {"model": "small"} | params
    teacher = ChatTeacher(
        client,
        classes=CLASSES,
        prompt="Is this message spam?",
        prices=chat.prices,
        limits=Limits(backoff=0.01),
        **params,
    )
    distiller = ActiveDistiller(
        teacher, make_student(), budget=80, ledger=tmp_path / "labels.sqlite"
    )
    distiller.set_params(random_state=0)
    # More of the rows get no label than a fit usually bears.
    monkeypatch.setattr("skadistill._fit.state.MAX_NO_LABEL", 0.5)

    async def notebook():
        return distiller.fit(texts, y)

    asyncio.run(notebook()) if inside_a_loop else distiller.fit(texts, y)
    assert distiller.termination_condition_ == "budget"
    assert set(chat.answered.values()) == {1}
    counts = distiller.ledger_.summary()
    assert counts["n_paid"] == distiller.n_paid_ == len(chat.answered) == 80
    # Dropped connections and unreadable JSON may be billed, and are counted apart.
    assert counts["cost"] == pytest.approx(chat.bill, rel=1e-12)
    assert 0 <= counts["lost_cost"] <= counts["max_lost_cost"]
    # litellm reports both as errors of the server, which bills nothing.
    assert (counts["lost_cost"] > 0) is (kind != "litellm")
    assert distiller.score(texts, [CLASSES[i % 2] for i in range(140)]) > 0.9


def test_the_lines_of_the_readme(chat, monkeypatch, tmp_path):
    """With the openai client, whose address and key come from the environment."""
    pytest.importorskip("openai")
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("needs the sources")
    _, block = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    monkeypatch.setenv("OPENAI_BASE_URL", chat.url)
    monkeypatch.chdir(tmp_path)
    texts, y = make_problem()
    names = {"texts": texts, "y": y}
    exec(block.replace("budget=2000", "budget=60"), names)
    assert names["distiller"].n_paid_ == 60
    assert set(chat.answered.values()) == {1}
    assert (tmp_path / "labels.sqlite").exists()
    names["distiller"].ledger_.close()


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
def test_no_key_is_left_anywhere(chat, kind, tmp_path, caplog, capsys):
    """Ledger, logs, pickles, cards, HTML, exceptions and their causes."""
    caplog.set_level(logging.DEBUG, logger="skadistill")
    texts, y = make_problem()
    chat.faults = {4: "429", 9: "500", 14: "refusal"}
    client, _ = make_client(kind, chat.url)
    teacher = ChatTeacher(
        client,
        "small",
        CLASSES,
        "Spam?",
        prices=chat.prices,
        limits=Limits(backoff=0.01),
    )
    path = tmp_path / "labels.sqlite"
    distiller = ActiveDistiller(
        teacher, make_student(), budget=60, ledger=path, verbose=1, random_state=0
    ).fit(texts, y)
    found = [str(model_card(distiller)), distiller._repr_html_(), repr(distiller)]
    found += [teacher._repr_html_(), repr(teacher), teacher.identity]
    found += [repr(distiller.ledger_.summary()), str(distiller.history_)]
    chat.faults = {"": "401"}
    with pytest.raises(TeacherError) as caught:
        ActiveDistiller(teacher, make_student(), budget=90, ledger=path).fit(texts, y)
    error = caught.value
    while error is not None:
        found += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    found += [caplog.text, *capsys.readouterr()]
    LabelLedger(path).close()
    distiller.ledger_.close()
    written = [p.read_bytes() for p in tmp_path.iterdir()]
    joblib.dump(distiller.student_, tmp_path / "student.joblib")
    written.append((tmp_path / "student.joblib").read_bytes())
    if kind == "url":  # a client of the user's holds its own key
        written += [pickle.dumps(teacher), pickle.dumps(distiller)]
    assert chat.keys == {f"Bearer {SECRET}"}
    assert not any(SECRET in text for text in found)
    assert not any(SECRET.encode() in blob for blob in written)


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
@pytest.mark.parametrize("teacher_class", [DecisionTeacher, BatchTeacher])
def test_other_teachers_leave_no_key_either(
    chat, kind, teacher_class, tmp_path, caplog
):
    """Neither in what they pay for, nor when the key is refused."""
    caplog.set_level(logging.DEBUG, logger="skadistill")
    client, _ = make_client(kind, chat.url)
    path = tmp_path / "labels.sqlite"
    if teacher_class is BatchTeacher:
        inner = ChatTeacher(client, "small", CLASSES, "Spam?", prices=chat.prices)
        teacher = BatchTeacher(inner, max_wait=0.0, poll_every=0.01)
        chat.batch_faults = [401]
    else:
        teacher = DecisionTeacher(
            client, "judge", CLASSES, "Spam?", limits=Limits(backoff=0.01)
        )
        chat.faults = {"lunch": "401"}
    ledger = LabelLedger(path)
    texts = ["spam 1", "hello 2", "lunch"]
    with pytest.raises(TeacherError) as caught:
        buy_labels(teacher, texts, classes=CLASSES, ledger=ledger)
    found, error = [], caught.value
    while error is not None:
        found += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    if teacher_class is BatchTeacher:
        with pytest.raises(JobPendingError):
            buy_labels(teacher, texts, classes=CLASSES, ledger=ledger)
    found += [repr(ledger.summary()), repr(ledger.claims()), repr(ledger.models())]
    found += [teacher._repr_html_(), repr(teacher), teacher.identity, caplog.text]
    ledger.close()
    written = [file.read_bytes() for file in tmp_path.iterdir()]
    if kind == "url":  # a client of the user's holds its own key
        written.append(pickle.dumps(teacher))
    assert chat.keys == {f"Bearer {SECRET}"}
    assert not any(SECRET in text for text in found)
    assert not any(SECRET.encode() in blob for blob in written)


def test_a_budget_ends_with_as_many_labels_paid(chat, tmp_path):
    """2 % refusals, 3 % chatter, 1 % other case: at most 2 % without a label."""
    texts, y = make_problem()
    texts = [f"{text} n{i}n" for i, text in enumerate(texts * 5)]
    y = np.array([*["spam", "ham"] * 10, *[-1] * 680], dtype=object)
    for i in range(0, 700, 100):
        chat.faults |= {f"n{i + k}n": "refusal" for k in (21, 71)}
        chat.faults |= {f"n{i + k}n": "chatter" for k in (3, 33, 63)}
        chat.faults |= {f"n{i + 50}n": "case"}
    teacher = ChatTeacher(chat.url, "small", CLASSES, "Spam?", prices=chat.prices)
    distiller = ActiveDistiller(
        teacher, make_student(), budget=400, ledger=tmp_path / "labels.sqlite"
    )
    distiller.set_params(query_strategy="random", random_state=0).fit(texts, y)
    assert distiller.n_paid_ == len(chat.answered) == 400
    assert 0 < distiller.n_no_label_ <= 0.03 * 400
    assert distiller.cost_ == pytest.approx(chat.bill, rel=1e-12)
