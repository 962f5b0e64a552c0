"""Does a panel find its best member? Real answers of language models, at equal money.

For each set some models are members, at prices by their size or by the list. A
single-member fit and a fit of the panel have the same money: what so many answers of
the first member cost as ROWS, the budget in rows being the whole pool. Students are
TF-IDF and naive Bayes; accuracy is that on rows held out, with the truth.

The answers are not part of this project. SKADISTILL_LLM_ANSWERS names a folder with
`load.py`, whose `load(name)` returns texts, truth, classes and, for each model, its
labels. Run `python -m benchmarks.teacher_panel` from the root of the project.
"""

import argparse
import importlib.util
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller
from skadistill.exceptions import TeacherWarning
from skadistill.ledger import MemoryLedger
from skadistill.teachers import TeacherPanel, as_teacher

FOLDER = "SKADISTILL_LLM_ANSWERS"
#: Models and prices: billions of parameters, or dollars per million input tokens.
MEMBERS = {
    "trec": {"mistral": 7, "gemma": 9, "qwen": 7, "yi": 9, "llama": 8},
    "banking77": {
        "gemma3_4b": 4,
        "mistral_7b": 7,
        "qwen3_8b": 8,
        "llama32_3b_5near": 6,
        "tulu3_8b": 8,
    },
    "cfpb": {
        "gpt_4o_mini": 0.15,
        "gemini_2_0_flash": 0.1,
        "gpt_4o": 2.5,
        "claude_3_5_haiku": 0.8,
        "deepseek_chat": 0.27,
    },
    "ghsenti": {
        "gpt_4o_mini": 0.15,
        "gpt_4o": 2.5,
        "llama3_1_8b": 0.05,
        "llama3_1_70b": 0.4,
        "deepseek_r1_32b__cot": 0.3,
    },
    "babe": {
        "gpt_3_5__8shot": 0.5,
        "flan_ul2": 0.6,
        "zephyr": 0.2,
        "mistral_7b": 0.2,
        "llama_13b": 0.3,
    },
    "products": {
        "gpt_4o_mini": 0.15,
        "gpt_4o": 2.5,
        "claude_3_5_sonnet": 3.0,
        "claude_3_5_haiku": 0.8,
    },
}
ROWS, N_GIVEN, N_TEST = 600, 100, 1000


def read(name):
    """Return texts, truth, and for each member its label of every text."""
    folder = os.environ.get(FOLDER)
    if not folder:
        sys.exit(f"{FOLDER} is not set; let it name the folder with load.py.")
    spec = importlib.util.spec_from_file_location("load", Path(folder) / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    texts, truth, _, models, extra, _ = module.load(f"{name}_llm")
    rows = np.flatnonzero(np.isin(np.arange(len(texts)), extra.get("known_a", [])))
    if "known_a" in extra:
        rows = np.flatnonzero(extra["known_a"])
    elif "subset" in extra:  # one question: 31 of the classes
        rows = np.flatnonzero(extra["subset"] == 0)
    else:
        rows = np.arange(len(texts))
    _, first = np.unique(texts[rows].astype(str), return_index=True)
    rows = rows[np.sort(first)]
    asked = np.all([models[m]["label"][rows] > -2 for m in MEMBERS[name]], axis=0)
    rows = rows[asked]
    answers = {m: models[m]["label"][rows] for m in MEMBERS[name]}
    return texts[rows], truth[rows], answers


def member(name, price, texts, labels):
    """Make a teacher that repeats stored answers."""
    known = dict(zip(texts.tolist(), labels.tolist(), strict=True))

    def answer(rows):
        return [None if known[t] < 0 else known[t] for t in rows]

    return as_teacher(
        answer, name=name, version="1", cost_per_row=price, on_invalid="skip"
    )


def accuracy(teacher, texts, truth, money, seed):
    """Fit on what the money buys; return the accuracy on the test rows."""
    order = np.random.default_rng(seed).permutation(len(truth))
    n_test = min(N_TEST, len(truth) // 3)
    test, rest = order[:n_test], order[n_test:]
    y = np.full(len(rest), -1)
    y[:N_GIVEN] = truth[rest[:N_GIVEN]]
    classes = np.unique(truth)
    student = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, max_features=5000),
        MultinomialNB(alpha=0.1),
    )
    distiller = ActiveDistiller(
        teacher,
        student,
        budget=min(len(rest) - N_GIVEN, 4 * ROWS),
        query_strategy="random",
        objective="soft",
        query_size=10**6,
        ledger=MemoryLedger(max_cost=money),
        classes=classes,
        random_state=seed,
        verbose=0,
    )
    distiller.fit(texts[rest].tolist(), y)
    score = float((distiller.predict(texts[test].tolist()) == truth[test]).mean())
    return score, getattr(distiller.teacher_, "members_", None)


def main():
    """Print, for each set, the best, the first and a random member, and the panel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--sets", nargs="+", default=list(MEMBERS))
    options = parser.parse_args()
    warnings.simplefilter("ignore", TeacherWarning)
    print(f"{'set':10} {'best':>20} {'':>6} {'random':>6} {'first':>6} {'panel':>6}")
    table = []
    for name in options.sets:
        texts, truth, answers = read(name)
        members = [
            member(m, price, texts, answers[m]) for m, price in MEMBERS[name].items()
        ]
        money = ROWS * members[0].cost_per_row
        scores, chosen = [], []
        for seed in options.seeds:
            row = [accuracy(m, texts, truth, money, seed)[0] for m in members]
            score, report = accuracy(TeacherPanel(members), texts, truth, money, seed)
            chosen += [m["name"] for m in report if m["status"] == "asked"]
            scores.append([*row, score])
        *singles, panel = np.mean(scores, axis=0)
        best = int(np.argmax(singles))
        line = singles[best], float(np.mean(singles)), singles[0], panel
        table.append(line)
        print(
            f"{name:10} {members[best].name:>20} "
            + " ".join(f"{100 * value:6.1f}" for value in line)
            + f" {', '.join(chosen)}",
            flush=True,
        )
    mean = np.mean(table, axis=0)
    print(f"{'mean':31} " + " ".join(f"{100 * value:6.1f}" for value in mean))


if __name__ == "__main__":
    main()
