"""Cheaper calls of a chat model: tokens per label, and labels that are right.

Three ways beside one row and all classes per call: several rows in a prompt
(``rows_per_call``), the likeliest classes of a row (``n_candidates``, from the second
round on) and all classes that may be right (``answer_with="candidates"``).

* banking77, 77 classes: a budget of 1,000 chosen by margin, for a logistic regression
  on tf-idf that knows five rows of each class. A stand-in names the class by the stored
  answers of a model (or the truth, moved for one text in ten, without such a file), and
  says "none of these" if that is not offered. Its answers do not depend on the way they
  are asked for; those of a model may, see `teacher_repeatability`.
* trec, 6 classes: what candidates are worth as labels. The stand-in names every class
  with at least a tenth of the stored probability, the likeliest first.

Tokens are counted as words of up to six letters and signs.

    SKADISTILL_DATA=... SKADISTILL_ANSWERS=... python benchmarks/cheaper_calls.py

SKADISTILL_ANSWERS, which may be missing, is a folder with banking77_llm.npz,
trec_llm.npz and their texts.
"""

import gzip
import json
import logging
import os
import re
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from _common import data_folder, machine_lines, markdown_table, save_result
from llm_teacher import read_texts
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller, ChatTeacher
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger, row_keys

BUDGET, QUERY_SIZE = 1000, 100
WAYS = {
    "one row, all names": {},
    "one row, numbers": {"answer_with": "number"},
    **{f"rows_per_call={k}": {"rows_per_call": k} for k in (2, 5, 10, 20)},
    "rows_per_call=10, numbers": {"rows_per_call": 10, "answer_with": "number"},
    **{f"n_candidates={k}": {"n_candidates": k} for k in (3, 5, 10, 20)},
}


def n_tokens(text):
    """Count words of up to six letters, and signs."""
    return len(re.findall(r"\w{1,6}|[^\w\s]", text))


class Client:
    """Answer about texts as a function of text and classes says; count tokens."""

    def __init__(self, answer):
        self.answer = answer
        self.n_requests, self.sent, self.received = 0, 0, 0
        self.n_other = 0
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))

    def create(self, **body):
        system, rows = (body["messages"][i]["content"] for i in (0, -1))
        listed = system.split("Classes:\n")[1].split("\n")
        offered = [re.sub(r"^(- |\d+\. )", "", line) for line in listed]
        texts = re.split(r"\n?\[row \d+\]\n", rows)
        texts = texts[1:] if len(texts) > 1 else texts
        answers = [self.answer(text, offered) for text in texts]
        self.n_other += sum(a == "none of these" for a in answers)
        if "number of one class" in system:
            answers = [
                str(offered.index(a) + 1) if a in offered else a for a in answers
            ]
        content = answers[0]
        if len(texts) > 1:
            content = "\n".join(f"{i}: {a}" for i, a in enumerate(answers, 1))
        self.n_requests += 1
        self.sent += sum(n_tokens(m["content"]) for m in body["messages"])
        self.received += n_tokens(content)
        return {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}


def stored(name):
    """Return texts, classes and arrays of stored answers, or None without the file."""
    folder = Path(os.environ.get("SKADISTILL_ANSWERS") or ".")
    if not (folder / f"{name}.npz").exists():
        return None
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        arrays = dict(arrays)
    with gzip.open(folder / f"{name}_texts.json.gz") as stream:
        texts = json.load(stream)
    return texts, json.loads(str(arrays.pop("classes"))), arrays


def banking_answers(classes):
    """Return the class that the stand-in names by text, and whose answers these are."""
    found = stored("banking77_llm")
    if found is None:
        texts, labels = read_texts("banking77", "train")
        wrong = np.array([zlib.crc32(text.encode()) % 10 == 0 for text in texts])
        labels = np.where(wrong, (labels + 1) % len(classes), labels)
        named = [classes[k] for k in labels]
        whose = "the truth, one in ten moved"
        return dict(zip(map(letters, texts), named, strict=True)), whose
    texts, names, arrays = found
    own = {letters(name): name for name in classes}
    labels = arrays["llama32_3b_77_label"].tolist()
    named = [own[letters(names[k])] if k >= 0 else "unknown" for k in labels]
    return dict(zip(map(letters, texts), named, strict=True)), "Llama 3.2 3B"


def letters(text):
    """Return a text without what its copies write differently."""
    return re.sub(r"\W|_", "", text.casefold())


def measure_banking():
    """Return a row of the table for each way, and whose answers they are."""
    path = Path(data_folder()) / "classes.json"
    classes = np.array(json.loads(path.read_text())["banking77"], dtype=object)
    answers, whose = banking_answers(classes.tolist())
    texts, labels = read_texts("banking77", "train")
    first = np.unique(texts, return_index=True)[1]
    order = np.random.default_rng(0).permutation(first)
    texts, truth = [texts[i] for i in order], classes[labels[order]]
    y = np.full(len(texts), "?", dtype=object)
    for name in classes:
        y[np.flatnonzero(truth == name)[:5]] = name
    X_test, y_test = read_texts("banking77", "test")

    def answer(text, offered):
        named = answers.get(letters(text), "unknown")
        if named in offered or named == "unknown":
            return named
        return "none of these"

    rows: list[list] = []
    for way, params in WAYS.items():
        client, ledger = Client(answer), MemoryLedger()
        prompt = "What does the customer want?"
        teacher = ChatTeacher(client, "m", classes.tolist(), prompt, **params)
        distiller = ActiveDistiller(
            teacher,
            make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0)),
            query_strategy="margin",
            objective="soft",
            budget=BUDGET,
            query_size=QUERY_SIZE,
            unlabeled_marker="?",
            ledger=ledger,
            random_state=0,
        )
        distiller.fit(texts, y)
        keys, own = row_keys(texts), distiller.classes_
        known, found = ledger.lookup(keys, teacher.identity, own)
        right = own[found[known].argmax(axis=1)] == truth[known]
        n_tokens_sent = client.sent / known.sum()
        one = rows[0][2] if rows else n_tokens_sent
        rows.append(
            [
                way,
                client.n_requests,
                n_tokens_sent,
                client.received / known.sum(),
                one / n_tokens_sent,
                100 * client.n_other / known.sum(),
                100 * right.mean(),
                100 * distiller.score(X_test, classes[y_test]),
            ]
        )
    return [[*row[:2], *(f"{value:.1f}" for value in row[2:])] for row in rows], whose


def measure_candidates():
    """Return a row for each model: the worth of one name, and of candidates."""
    found = stored("trec_llm")
    rows: list[list] = []
    if found is None:
        return rows
    texts, classes, arrays = found
    for model in ("gemma", "llama", "mistral", "qwen", "yi"):
        proba = np.maximum(arrays[f"{model}_proba"].astype(float), 0.0)
        usable = (proba.sum(axis=1) > 0) & ~arrays[f"{model}_shared"].astype(bool)
        chosen = np.flatnonzero(usable)[:2000]
        proba = proba[chosen] / proba[chosen].sum(axis=1, keepdims=True)
        of_text = {texts[i]: p for i, p in zip(chosen, proba, strict=True)}
        truth = np.eye(len(classes))[arrays["y"][chosen]]
        for way in ("name", "candidates"):

            def answer(text, offered, of_text=of_text, way=way):
                best = np.argsort(-of_text[text], kind="stable")
                n_named = 1 if way == "name" else max(1, (of_text[text] >= 0.1).sum())
                return "\n".join(classes[k] for k in best[:n_named])

            client = Client(answer)
            teacher = ChatTeacher(
                client, "m", classes, "What is asked for?", answer_with=way
            )
            rows_asked = [texts[i] for i in chosen]
            labels = buy_labels(teacher, rows_asked, classes=classes).labels
            smooth = 0.97 * labels + 0.03 / len(classes)
            n_rows = len(set(rows_asked))
            right = labels.argmax(axis=1) == truth.argmax(axis=1)
            rows.append(
                [
                    model,
                    way,
                    f"{(client.sent + client.received) / n_rows:.1f}",
                    f"{100 * right.mean():.1f}",
                    f"{((labels - truth) ** 2).sum(axis=1).mean():.3f}",
                    f"{-np.log((smooth * truth).sum(axis=1)).mean():.3f}",
                ]
            )
    return rows


def main():
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    banking, whose = measure_banking()
    header = ["way", "requests", "sent per label", "received per label", "times fewer"]
    header += ["asked again %", "labels right %", "test accuracy %"]
    text = [
        "# Cheaper calls of a chat model",
        "",
        f"banking77, 77 classes, budget {BUDGET}, answers of {whose}; tokens sent and "
        "received, by words of up to six letters and signs. The stand-in answers alike "
        "however it is asked.",
        "",
        markdown_table(header, banking),
        "",
        "trec, 6 classes: one name, or all classes with a tenth of the stored "
        "probability. The squared error and the log loss are those of the labels "
        "(the latter with 3 % spread over all classes).",
        "",
        markdown_table(
            [
                *("model", "answer_with", "tokens per label", "right %"),
                *("squared error", "log loss"),
            ],
            measure_candidates(),
        ),
        "",
        *(f"- {line}" for line in machine_lines()),
    ]
    save_result("cheaper_calls.md", "\n".join(text))


if __name__ == "__main__":
    main()
