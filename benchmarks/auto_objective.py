"""What `objective="auto"` gains over soft labels at an equal bill.

Teachers that are wrong anywhere, mostly at class borders, in some classes, as a model
trained on other rows is, rarely, or never; with soft labels and with hard ones. The
checks that the choice costs are part of the budget, so that "auto" asks about fewer
rows of the pool than "soft".

    python benchmarks/auto_objective.py            # all of it, restartable
    python benchmarks/auto_objective.py --table    # the tables of what is there

Each finished run is one JSON line in results/auto_objective.jsonl. Test rows are read
once a run, for its final score; the rule was chosen on training rows, with other
seeds.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import machine_lines, markdown_table, mean_interval, save_result
from _teachers import TASKS, Told, data, make_ensemble, out_of_fold, split
from label_efficiency import append
from sklearn.exceptions import ConvergenceWarning

from skadistill import ActiveDistiller
from skadistill.datasets import NoisyTeacher
from skadistill.student import StudentNet

PATH = Path(__file__).resolve().parent / "results" / "auto_objective.jsonl"
NAMES = ("pendigits", "magic", "letter", "covtype20k", "banking77_minilm")
NAMES += ("sst2_sentences_minilm", "adult")
KINDS = {
    "anywhere": "wrong on 25 %, anywhere",
    "borders": "wrong on 25 %, mostly at class borders",
    "classes": "wrong on 40 %, in every second class three times as often",
    "others": "trained on as many other rows as are labeled",
    "strong": "wrong on 10 %, mostly at class borders",
    "perfect": "never wrong",
}
OBJECTIVES = ("soft", "auto")
N_SEEDS = 5


def make_answers(name, kind, seed, labeled, pool):
    """Return the teacher's probabilities for the labeled rows, then for the pool."""
    X, y, _, _ = data(name)
    rows, classes = np.concatenate([labeled, pool]), np.unique(y)
    if kind == "others":
        rest = np.setdiff1d(np.arange(len(X)), rows)
        rest = np.random.default_rng(seed).permutation(rest)[: len(labeled)]
        model = make_ensemble(name, seed).fit(X[rest], y[rest])
        proba = np.zeros((len(rows), len(classes)))
        proba[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(
            X[rows]
        )
        return proba
    rate = {"anywhere": 0.25, "borders": 0.25, "strong": 0.1, "perfect": 0.0}.get(kind)
    if kind == "classes":
        rate = np.where(np.arange(len(classes)) % 2 == 0, 0.2, 0.6)
    by_margin = kind in ("borders", "strong")
    return NoisyTeacher(
        X[rows],
        y[rows],
        error_rate=rate,
        error_kind="margin" if by_margin else "uniform",
        proba=out_of_fold(name, X[rows], y[rows], seed),
        strata=np.arange(len(rows)) < len(labeled),
        random_state=seed,
    )(X[rows])


def run_job(name, kind, is_soft, seed, objectives):
    """Run the objectives on one teacher; append their records."""
    X, y, X_test, y_test = data(name)
    task, classes = TASKS[name], np.unique(y)
    labeled, pool = split(name, task, seed)
    rows = np.concatenate([labeled, pool])
    answers = make_answers(name, kind, seed, labeled, pool)
    is_wrong = answers.argmax(axis=1) != np.searchsorted(classes, y[rows])
    if not is_soft:
        answers = np.eye(len(classes))[answers.argmax(axis=1)]
    y_given = np.concatenate([y[labeled], np.full(len(pool), -1)])
    for objective in objectives:
        start = time.perf_counter()
        student = StudentNet(
            module__hidden_sizes=(128,), max_epochs=40, device="cpu", random_state=seed
        )
        model = ActiveDistiller(
            Told(X[rows], answers),
            student,
            objective=objective,
            budget=task.n_queries,
            query_size=task.n_queries // 2,
            random_state=seed,
        ).fit(X[rows], y_given)
        record = {
            "data": name,
            "kind": kind,
            "soft": is_soft,
            "seed": seed,
            "objective": objective,
            "chosen": repr(model.objective_),
            "accuracy": float(np.mean(model.predict(X_test) == y_test)),
            "alone": model.history_[0]["student_score"],
            "wrong": float(is_wrong.mean()),
            "n_checks": model.n_teacher_checks_,
            "seconds": round(time.perf_counter() - start, 2),
        }
        append(PATH, record)


def read():
    """Read the records, by teacher and seed."""
    records: dict = {}
    for line in PATH.read_text(encoding="utf8").splitlines() if PATH.exists() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by an interruption
        key = tuple(record[k] for k in ("data", "kind", "soft", "seed"))
        records.setdefault(key, {})[record["objective"]] = record
    return records


def report(records):
    """Write the tables in Markdown."""
    pairs = {k: runs for k, runs in records.items() if set(OBJECTIVES) <= set(runs)}
    if not pairs:
        return "nothing is finished yet"
    cells: dict = {}
    for (name, kind, is_soft, _), runs in sorted(pairs.items(), key=str):
        gain = 100 * (runs["auto"]["accuracy"] - runs["soft"]["accuracy"])
        cell = cells.setdefault((kind, is_soft, name), [])
        cell.append((gain, runs["soft"]["wrong"], runs["auto"]))
    out = ["# The automatic objective", ""]
    out += [
        'Test accuracy with `objective="auto"` minus that with "soft", in points, ± '
        "half of the 95 % t interval over seeds; the same budget for both, teacher "
        'checks included, `query_strategy="robust"`. '
        f"{2 * len(pairs)} of {4 * len(NAMES) * len(KINDS) * N_SEEDS} runs"
        + (
            "; **unfinished**, too few to judge the rule."
            if len(pairs) < 2 * len(NAMES) * len(KINDS) * N_SEEDS
            else "."
        ),
        "",
    ]
    for is_soft in (True, False):
        out += [f"## {'Soft' if is_soft else 'Hard'} labels", ""]
        rows = []
        for kind, title in KINDS.items():
            row = [title]
            for name in NAMES:
                cell = cells.get((kind, is_soft, name))
                row.append(_cell([c[0] for c in cell]) if cell else "")
            if any(row[1:]):
                rows.append(row)
        out += [markdown_table(["teacher", *NAMES], rows), ""]
    rows = []
    for is_soft in (True, False):
        for often in (True, False):
            # Rounded: rates are exact only up to a row in each class.
            found = {
                key: cell
                for key, cell in cells.items()
                if key[1] == is_soft
                and key[0] != "perfect"
                and (round(100 * np.mean([c[1] for c in cell])) >= 20) == often
            }
            if found:
                means = {k: np.mean([c[0] for c in cell]) for k, cell in found.items()}
                least = min(means, key=means.get)
                changed = np.mean(
                    [
                        c[2]["chosen"] != "SoftTargets()"
                        for v in found.values()
                        for c in v
                    ]
                )
                rows.append(
                    [
                        f"{'soft' if is_soft else 'hard'} labels, wrong on "
                        f"{'20 % or more' if often else 'less'}",
                        len(means),
                        f"{np.mean(list(means.values())):+.2f}",
                        f"{means[least]:+.2f} ({least[2]}, {least[0]}, "
                        f"{len(found[least])} seeds)",
                        f"{100 * changed:.0f}",
                    ]
                )
    header = [
        "teachers",
        "cells",
        "mean",
        "least",
        "not matched as they are, % of runs",
    ]
    out += ["## Means over cells", "", markdown_table(header, rows), ""]
    out += _choices(cells)
    return "\n".join(out + machine_lines())


def _cell(gains):
    mean, low, _ = mean_interval(gains)
    return f"{mean:+.2f}" if np.isnan(low) else f"{mean:+.2f} ± {mean - low:.2f}"


def _choices(cells):
    """Say how often each objective was chosen, and how many checks that took."""
    rows = []
    for kind, title in KINDS.items():
        runs = [c[2] for key, cell in cells.items() if key[0] == kind for c in cell]
        if runs:
            names = sorted({run["chosen"] for run in runs})
            shares = [
                f"{name} {100 * np.mean([run['chosen'] == name for run in runs]):.0f} %"
                for name in names
            ]
            checks = np.mean([run["n_checks"] for run in runs])
            rows.append([title, f"{checks:.0f}", ", ".join(shares)])
    header = ["teacher", "checks in the mean", "chosen"]
    return ["## Choices", "", markdown_table(header, rows), ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--data", nargs="*", default=NAMES)
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    done = read()
    for seed in range(0 if options.table else options.seeds):
        for name in options.data:
            for kind in KINDS:
                for is_soft in (True, False):
                    have = done.get((name, kind, is_soft, seed), {})
                    left = [o for o in OBJECTIVES if o not in have]
                    if left:
                        run_job(name, kind, is_soft, seed, left)
    save_result("auto_objective.md", report(read()))


if __name__ == "__main__":
    main()
