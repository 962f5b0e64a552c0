"""Real answers of language models: what the default objective gains, at equal bills.

For each set and model: 100 labeled rows, of which up to 40 are checks of the teacher,
and random rows with the model's answers, all together for a bill of 500 (or of 150,
with 50 labeled rows). The student, TF-IDF with logistic regression, or logistic
regression on embeddings, learns the answers as they are ("soft"), labels corrected by
`PosteriorTargets` (all of the way, half, and as `objective="auto"` decides), and the
true labels of the same rows. Accuracy on test rows that play no other part.

With ``--fits`` whole fits instead: the default strategy and objective against margin
and random rows with "soft" and with "auto", all with 100 labeled rows and the same
bill, checks included; the student is one of the two, or the default one.

SKADISTILL_ANSWERS names the folder of the answers: ``load.py`` with ``load(name)``,
which returns texts, true classes, names of the classes, answers by model, and more.
Embeddings are ``<set>_llm_minilm.npy`` in SKADISTILL_DATA, if they are there; NaN where
a text has none.

    python benchmarks/real_teachers.py [--seeds 5] [--bill 500] [--sets trec] [--quick]
    python benchmarks/real_teachers.py --fits [--students words embeddings default]

Whole fits are kept in ``results/real_fits.jsonl`` and not repeated.
"""

import argparse
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _common import (
    is_remembered,
    machine_lines,
    markdown_table,
    remembered,
    save_result,
)
from scipy.stats import t as student_t
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.objectives import Evidence, PosteriorTargets, TeacherChecks
from skadistill.objectives._auto import OFTEN_WRONG
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._out_of_fold import give_every_class

MODELS = {
    "trec": ["gemma", "llama", "mistral", "qwen", "yi"],
    "ghsenti": ["gemma2_9b", "deepseek_r1_8b"],
    "babe": ["gpt_3_5", "flan_t5_base", "mistral_7b"],
    "cfpb": ["gpt_4o_mini", "claude_3_5_haiku"],
    "cebab": ["mistral_v03", "llama_31"],
    "stackoverflow": ["llama32_3b"],
    "banking77": ["mistral_7b", "qwen3_8b"],
    "fpb_mixtral": ["mixtral"],
    "medsafety": ["gpt4o"],
}
MOST_CHECKS, MOST_TEST_ROWS = 40, 2000
N_LABELED, MOST_POOL_ROWS = 100, 3000
#: Strategy and objective of whole fits.
METHODS = {
    "default": ("robust", "auto"),
    "margin, auto": ("margin", "auto"),
    "margin, soft": ("margin", "soft"),
    "random, auto": ("random", "auto"),
    "random, soft": ("random", "soft"),
}
RUNS = Path(__file__).resolve().parent / "results" / "real_fits.jsonl"
KINDS = {False: "ordinary", True: "worse than one class"}


def load_answers():
    """Return the loader of the answers, or end with a sentence."""
    folder = os.environ.get("SKADISTILL_ANSWERS")
    if not folder or not (Path(folder) / "load.py").exists():
        sys.exit(
            "SKADISTILL_ANSWERS is not set to a folder with load.py and stored answers "
            "of language models; this benchmark measures nothing without them."
        )
    sys.path.insert(0, folder)
    from load import load

    return load


def as_proba(answers, kind, n_classes):
    """Return answers as probabilities; NaN for rows without one."""
    found = answers[kind]
    if found.ndim == 1:
        proba = np.full((len(found), n_classes), np.nan)
        named = np.flatnonzero(found >= 0)
        proba[named] = np.eye(n_classes)[found[named]]
        return proba
    proba = np.maximum(found.astype(float), 0)
    total = proba.sum(axis=1, keepdims=True)
    proba = np.where(total > 0, proba / np.where(total > 0, total, 1), np.nan)
    if "shared" in answers:  # classes with a first token in common say nothing
        proba[answers["shared"].astype(bool)] = np.nan
    return proba


class Cell:
    """One set, model, kind of answer and seed."""

    def __init__(self, texts, y, proba, X, seed, bill):
        self.n_classes = proba.shape[1]
        rng = np.random.default_rng(seed)
        usable = rng.permutation(np.flatnonzero(~np.isnan(proba[:, 0]) & (y >= 0)))
        n_given = 100 if bill >= 300 else 50
        n_test = min(MOST_TEST_ROWS, len(usable) // 3)
        self.test, rest = usable[:n_test], usable[n_test:]
        given, pool = rest[:n_given], rest[n_given:]
        n_checks = min(MOST_CHECKS, n_given)
        bought = pool[: bill - n_checks]
        self.rows = np.concatenate([given, bought])
        self.y, self.given = y, np.arange(len(self.rows)) < n_given
        if X is None:
            words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
            X = words.fit(texts[rest]).transform(texts)
        self.X = X
        truth = np.eye(self.n_classes)[y[given]]
        self.targets = np.concatenate([truth, proba[bought]])
        self.truth = np.eye(self.n_classes)[y[self.rows]]
        checks = TeacherChecks(np.arange(n_checks), proba[given[:n_checks]])
        self.evidence = Evidence(
            self.targets,
            self.given,
            checks,
            random_state=seed,
            fit_and_predict=self.fit_and_predict,
        )
        self.teacher = np.mean(proba[self.test].argmax(axis=1) == y[self.test])
        self.largest = np.bincount(y[usable]).max() / len(usable)

    def student(self, X, targets):
        model = LogisticRegression(C=4, max_iter=300, tol=1e-3)
        labels = give_every_class(np.asarray(targets))
        return fit_student(model, X, labels, classes=np.arange(self.n_classes))

    def fit_and_predict(self, train, targets, test):
        model = self.student(self.X[self.rows[train]], targets)
        return model.predict_proba(self.X[self.rows[test]])

    def score(self, targets):
        """Return the accuracy, in percent, of a student of some targets."""
        model = self.student(self.X[self.rows], targets)
        return 100 * np.mean(model.predict(self.X[self.test]) == self.y[self.test])

    def gains(self):
        """Return points gained over the answers as they are, by objective."""
        soft = self.score(self.targets)
        full = PosteriorTargets(strength=1.0).lesson(self.evidence).targets
        chosen = self.targets
        if 1 - self.evidence.checked_right.mean() >= OFTEN_WRONG:
            chosen = PosteriorTargets().lesson(self.evidence).targets
        half = (self.targets + full) / 2
        learned = {"auto": chosen, "half": half, "full": full, "truth": self.truth}
        return soft, {name: self.score(t) - soft for name, t in learned.items()}


def make_student(kind):
    """Return the student of whole fits; None: the default one."""
    if kind == "default":
        return None
    model = LogisticRegression(C=4, max_iter=300, tol=1e-3)
    if kind == "embeddings":
        return model
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), model)


def fit_all(texts, y, proba, X, kind, seed, bill):
    """Fit every method to one teacher; test accuracies in percent, and more."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(~np.isnan(proba[:, 0]) & (y >= 0)))
    if X is None:  # a text stands for its first row
        _, first = np.unique(texts[rows].astype(str), return_index=True)
        rows = rows[np.sort(first)]
    n_test = min(MOST_TEST_ROWS, len(rows) // 3)
    test, rows = rows[:n_test], rows[n_test:][: N_LABELED + MOST_POOL_ROWS]
    table, key = (texts, str) if X is None else (X, bytes)
    number = {key(table[i]): i for i in rows}
    partly = np.where(np.arange(len(rows)) < N_LABELED, y[rows], -1)
    said = proba.argmax(axis=1)
    result = {
        "teacher": 100 * float(np.mean(said[test] == y[test])),
        "largest": 100 * float(np.bincount(y[test]).max() / n_test),
    }
    for method, (strategy, objective) in METHODS.items():
        model = ActiveDistiller(
            lambda asked: proba[[number[key(row)] for row in asked]],
            make_student(kind),
            query_strategy=strategy,
            objective=objective,
            budget=bill,
            classes=np.arange(proba.shape[1]),
            teacher_checks=CheckPolicy(on_weak="ignore"),
            random_state=seed,
        )
        start = time.process_time()
        model.fit(list(table[rows]) if X is None else table[rows], partly)
        asked = rows[model.labeled_round_ > 0]
        here = list(table[test]) if X is None else table[test]
        result[method] = {
            "accuracy": 100 * float(model.score(here, y[test])),
            "right": 100 * float(np.mean(said[asked] == y[asked])),
            "checks": int(model.n_teacher_checks_),
            "seconds": round(time.process_time() - start, 1),
        }
    return result


def fits_report(cells, n_seeds, bill):
    """Write the tables of whole fits."""
    others = [name for name in METHODS if name != "default"]

    def gaps(results, other):
        return [r["default"]["accuracy"] - r[other]["accuracy"] for r in results]

    def mean_of(results, name):
        return np.mean([r[name] for r in results])

    groups, table = {}, []
    for (name, model, answer, student), results in cells.items():
        teacher = mean_of(results, "teacher")
        weak = teacher < mean_of(results, "largest")
        means = [np.mean(gaps(results, other)) for other in others]
        groups.setdefault((student, KINDS[weak]), []).append(means)
        groups.setdefault(("all", KINDS[weak]), []).append(means)
        default = [r["default"] for r in results]
        table.append(
            [name, model, answer, student, f"{teacher:.0f}"]
            + [f"{np.mean([d[k] for d in default]):.0f}" for k in ("right", "checks")]
            + [f"{np.mean([d['accuracy'] for d in default]):.1f}"]
            + [interval(gaps(results, other)) for other in others]
        )
    summary = [
        [student, kind, len(means)]
        + [f"{interval(column)} ({min(column):+.1f})" for column in np.transpose(means)]
        for (student, kind), means in sorted(groups.items())
    ]
    header = ["set", "model", "answers", "student", "model right %"]
    header += ["of those bought", "checks", "default %", *others]
    return "\n".join(
        [
            f"# Real answers of language models, whole fits, bill {bill}",
            "",
            f"Test accuracy of the default strategy and objective minus that of others "
            f"with the same student, labeled rows and bill, checks included; at most "
            f"{n_seeds} seeds. Mean over cells of set, model and kind of answers, with "
            "95 % interval, and the worst cell in brackets. Cells of a set share "
            "texts, so that the intervals are rather narrow. Some teachers are right "
            "less often than the largest class is frequent; they are apart.",
            "",
            markdown_table(["student", "model", "cells", *others], summary),
            "",
            "By cell, with intervals over seeds:",
            "",
            markdown_table(header, table),
            "",
            *(f"- {line}" for line in machine_lines()),
        ]
    )


def main_fits(args, load):
    """Fit everything and save the tables."""
    warnings.simplefilter("ignore")
    cells = {}
    for seed in range(args.seeds):
        for name, model, answer, kind, texts, y, proba, X in each_case(args, load):
            case = [name, model, answer, kind]
            compute = partial(fit_all, texts, y, proba, X, kind, seed, args.bill)
            run = [*case, args.bill, seed]
            if args.table and not is_remembered(RUNS, run):
                continue
            found = compute() if args.quick else remembered(RUNS, run, compute)
            cells.setdefault(tuple(case), []).append(found)
            print(*case, seed, found["default"], file=sys.stderr, flush=True)
    n_seeds = max(map(len, cells.values()))
    text = fits_report(cells, n_seeds, args.bill)
    print(text) if args.quick else save_result(f"real_fits_{args.bill}.md", text)


def each_case(args, load):
    """Yield every set, model, kind of answers and student, with the data."""
    for name in args.sets:
        texts, y, classes, models, *_ = load(f"{name}_llm")
        texts = np.asarray(texts, dtype=object)
        vectors = Path(os.environ.get("SKADISTILL_DATA", "")) / f"{name}_llm_minilm.npy"
        tables = {"words": None, "default": None}
        if vectors.is_file():
            tables["embeddings"] = np.load(vectors).astype(np.float64)
        for model in MODELS[name][: 1 if args.quick else None]:
            for answer in ("label", "proba"):
                if answer not in models[model]:
                    continue
                proba = as_proba(models[model], answer, len(classes))
                for student in args.students:
                    if student not in tables:
                        continue
                    X, usable = tables[student], proba
                    if X is not None:
                        missing = np.isnan(X[:, :1])
                        usable = np.where(missing, np.nan, proba)
                    yield name, model, answer, student, texts, y, usable, X


def interval(values):
    """Write a mean with its 95 % interval."""
    values = np.asarray(values)
    if len(values) < 2:
        return f"{values.mean():+.1f}"
    error = student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1)
    return f"{values.mean():+.1f} +- {error / np.sqrt(len(values)):.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--bill", type=int, default=500)
    parser.add_argument("--sets", nargs="*", default=list(MODELS))
    parser.add_argument("--quick", action="store_true", help="one small cell")
    parser.add_argument("--fits", action="store_true", help="whole fits")
    parser.add_argument("--table", action="store_true", help="fits: run nothing new")
    parser.add_argument("--students", nargs="*", default=["words", "embeddings"])
    args = parser.parse_args()
    load = load_answers()
    if args.quick:
        args.sets, args.seeds, args.bill = ["cebab"], 1, 150
        args.students = args.students[:1]
    if args.fits:
        main_fits(args, load)
        return
    rows, means = [], {}
    for name, model, kind, student, texts, y, proba, X in each_case(args, load):
        cells = [
            Cell(texts, y, proba, X, seed, args.bill) for seed in range(args.seeds)
        ]
        found = [cell.gains() for cell in cells]
        teacher = np.mean([cell.teacher for cell in cells])
        weak = teacher < cells[0].largest
        names = ("auto", "half", "full", "truth")
        by = {n: [gains[n] for _, gains in found] for n in names}
        for n in names:
            means.setdefault((student, weak, n), []).append(np.mean(by[n]))
        soft = np.mean([soft for soft, _ in found])
        answer = "label" if kind == "label" else "log-probabilities"
        row = [name, model, answer, student, f"{100 * teacher:.0f}"]
        rows.append([*row, f"{soft:.1f}", *(interval(by[n]) for n in names)])
        print(*rows[-1], sep="  ", flush=True)
    summary = [
        [student, KINDS[weak], n, len(v), f"{np.mean(v):+.2f}", f"{min(v):+.2f}"]
        for (student, weak, n), v in sorted(means.items())
    ]
    header = ["set", "model", "answers", "student", "model right %", "soft %"]
    header += ["auto", "half", "full", "true labels"]
    text = "\n".join(
        [
            "# Real answers of language models",
            "",
            f"Bill {args.bill}, {args.seeds} seeds, random rows. Points of test "
            "accuracy over a student of the answers as they are, with 95 % intervals "
            "over seeds.",
            "",
            markdown_table(
                ["student", "model", "objective", "cells", "mean", "worst"], summary
            ),
            "",
            markdown_table(header, rows),
            "",
            *(f"- {line}" for line in machine_lines()),
        ]
    )
    if args.quick:
        print(text)
    else:
        suffix = "" if args.bill == 500 else f"_{args.bill}"
        save_result(f"real_teachers{suffix}.md", text)


if __name__ == "__main__":
    main()
