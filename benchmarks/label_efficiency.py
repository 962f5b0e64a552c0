"""Which rows to pay for: the default strategy against its rivals at equal bills.

Nine data sets, seven kinds of teacher, three budgets, several seeds. For each of them
the student learns from the same few labeled rows and from as many teacher labels as
the budget allows; only the strategy that picks the rows differs. The budget is the
whole bill: what a strategy spends on checking the teacher, it cannot ask of the pool.
With soft targets, which need no check, only the strategy is at work; with the default
objective every strategy pays for checks.
Reported: test accuracy, mean rank, the worst gap to the best strategy, and how many
labels each strategy needs to be as good as random rows are in the end.

    python benchmarks/label_efficiency.py                # the largest budget
    python benchmarks/label_efficiency.py --budgets 0.25 0.5 1
    python benchmarks/label_efficiency.py --rivals       # BADGE, CoreSet, M-RARU too
    python benchmarks/label_efficiency.py --objective auto    # the default objective
    python benchmarks/label_efficiency.py --quick        # minutes; a separate file
    python benchmarks/label_efficiency.py --table        # the tables of what is there

Each finished run is one JSON line in results/label_efficiency.jsonl; runs found
there are not repeated, so that it can be stopped and started at any time. Test rows
are read after each round, for the curve of a run: no setting below was chosen by them.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import json
import math
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from _common import machine_lines, markdown_table, mean_interval, save_result
from _teachers import KINDS, N_TEST, QUICK, TASKS, data, make_problem, make_student
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skadistill import ActiveDistiller
from skadistill.model_selection import compare_strategies
from skadistill.query import QueryStrategy, SkactivemlStrategy

RESULTS = Path(__file__).resolve().parent / "results"
OURS = ("robust", "margin", "entropy", "random", "rad")
THEIRS = ("badge", "coreset", "mraru")
N_SEEDS = 5


# --------------------------------------------------------------------- runs


class MRARU(QueryStrategy):
    """Accept rows in random order, with the probability of their uncertainty.

    As in arXiv 2511.11574; rows that were not accepted come last.
    """

    def query(self, pool, n_queries, random_state):
        uncertainty = pool.map_proba(lambda proba: 1 - proba.max(axis=1))
        order = random_state.permutation(pool.n_samples)
        refused = random_state.random(pool.n_samples) >= uncertainty[order]
        return order[np.argsort(refused, kind="stable")][:n_queries]


def make_strategy(name):
    """Build a strategy from its name in the table."""
    if name == "mraru":
        return MRARU()
    if name == "badge":
        from skactiveml.pool import Badge

        return SkactivemlStrategy(Badge())
    if name == "coreset":
        from skactiveml.pool import CoreSet

        return SkactivemlStrategy(CoreSet())
    return name


def make_distiller(task, teacher, student, **params):
    """Build the distiller of a run: the number of rounds is that of the task."""
    size = math.ceil(task.n_queries / task.n_rounds)
    return ActiveDistiller(teacher, student, query_size=size, **params)


def hide_labels(y, n_labeled):
    """Return the labels that a run is given: those of the first rows, else -1."""
    return np.where(np.arange(len(y)) < n_labeled, y, -1)


def strategies_of(task, rivals):
    """List what runs on a data set."""
    theirs = [s for s in THEIRS if rivals and getattr(task, s, True)]
    return [*OURS, *theirs]


def run_job(name, kind, seed, share, objective, strategies, quick, path):
    """Run the strategies of one data set, kind and seed; append their records."""
    torch.set_num_threads(1)
    # The networks among the teachers stop at a set number of iterations.
    warnings.simplefilter("ignore", ConvergenceWarning)
    task = (QUICK if quick else TASKS)[name]
    _, _, X_test, y_test = data(name)
    X, y, n_labeled, teacher = make_problem(name, task, kind, seed, quick)
    if kind == "A":
        fitted = clone(teacher).fit(X[:n_labeled], y[:n_labeled])
        answers = fitted.predict_proba(X)
    else:
        answers = teacher(X)
    right = answers.argmax(axis=1) == np.searchsorted(np.unique(y), y)
    budget, start = round(share * task.n_queries), time.perf_counter()
    found = compare_strategies(
        {strategy: make_strategy(strategy) for strategy in strategies},
        teacher,
        make_student(name, seed, quick),
        X,
        hide_labels(y, n_labeled),
        X_test,
        y_test,
        budgets=[budget],
        seeds=[seed],
        objective=objective,
        query_size=math.ceil(task.n_queries / task.n_rounds),
        return_estimator=True,
    )
    scores = {r["strategy"]: r["score"] for r in found.records if r["budget"]}
    seconds = (time.perf_counter() - start) / len(strategies)
    for strategy in strategies:
        model = found.estimators[strategy, seed, budget]
        asked = model.labeled_round_ > 0
        # The strategies share a ledger, so that answers of one are free for the next.
        checks = getattr(model.teacher_checks_, "n_samples", 0) if kind != "A" else 0
        bill = checks + np.cumsum([r["n_asked"] for r in model.history_])
        record = {
            "data": name,
            "kind": kind,
            "seed": seed,
            "share": share,
            "objective": objective,
            "strategy": strategy,
            "task": list(astuple(task)),
            # Of the student that the user gets: against a weak teacher, the first.
            "accuracy": scores[strategy],
            # The student alone has bought nothing, whatever was checked after it.
            "bill": [0, *bill[1:].tolist()],
            "curve": [r["student_score"] for r in model.history_],
            "n_checks": checks,
            "teacher_right": float(right[n_labeled:].mean()),
            "asked_right": float(right[asked].mean()),
            "seconds": round(seconds, 2),
        }
        append(path, record)
    return name, kind, seed


def append(path, record):
    """Add one line; a line torn by an earlier interruption is closed first."""
    with open(path, "a+b") as stream:
        stream.seek(0, os.SEEK_END)
        torn = False
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            torn = stream.read(1) != b"\n"
        line = ("\n" if torn else "") + json.dumps(record) + "\n"
        stream.write(line.encode())


def read(path, tasks):
    """Read the records that belong to the tasks as they are set now."""
    records = {}
    if not path.exists():
        return records
    for line in path.read_text(encoding="utf8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by an interruption
        task = tasks.get(record["data"])
        if task is not None and record["task"] == list(astuple(task)):
            key = tuple(
                record[k] for k in ("share", "objective", "kind", "data", "seed")
            )
            records.setdefault(key, {})[record["strategy"]] = record
    return records


# ------------------------------------------------------------------- tables


def interval(values, scale=100.0):
    """Print a mean and the half width of its 95 % interval."""
    mean, low, _ = mean_interval(np.asarray(values) * scale)
    return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def complete(records, case, kind, strategies, name=None):
    """List the groups of runs at a budget, objective and kind without a gap."""
    return [
        runs
        for (s, o, k, d, _), runs in sorted(records.items())
        if ((s, o), k) == (case, kind)
        and name in (None, d)
        and set(strategies) <= set(runs)
    ]


def accuracies(groups, strategies):
    """Return accuracies in %, of shape (n_groups, n_strategies)."""
    return 100 * np.array(
        [[runs[s]["accuracy"] for s in strategies] for runs in groups]
    )


def labels_needed(runs, strategy):
    """Return the share of random's bill at which a strategy is as good; at most 1.

    Between rounds the curve is a straight line. A strategy that never gets there
    counts as 1, as if random rows had been bought.
    """
    goal, total = runs["random"]["accuracy"], runs["random"]["bill"][-1]
    bill, curve = runs[strategy]["bill"], runs[strategy]["curve"]
    if curve[0] >= goal:
        return 0.0
    for i in range(1, len(curve)):
        if curve[i] >= goal:
            step = (goal - curve[i - 1]) / (curve[i] - curve[i - 1])
            return min((bill[i - 1] + step * (bill[i] - bill[i - 1])) / total, 1.0)
    return 1.0


def report(records, tasks):
    """Write the tables in Markdown."""
    if not records:
        return "nothing is finished yet"
    cases = sorted({key[:2] for key in records}, key=lambda c: (c[1] != "soft", -c[0]))
    n_seeds = len({key[4] for key in records})
    names = [name for name in tasks if any(key[3] == name for key in records)]
    out = ["# Label efficiency at equal bills", ""]
    n_done = sum(s in OURS for runs in records.values() for s in runs)
    if tasks is TASKS:
        n_all = len(KINDS) * len(tasks) * N_SEEDS * len(OURS)
        out += [
            f"{n_done} runs; all of one budget and objective are {n_all} ({len(tasks)} "
            f"data sets, {len(KINDS)} kinds, {len(OURS)} strategies, {N_SEEDS} seeds).",
            "",
        ]
    out += [
        f"Test accuracy in %, mean over at most {n_seeds} seeds ± half of the 95 % t "
        f"interval, on {len(names)} of {len(tasks)} data sets. Same labeled rows, "
        "teacher, bill and student for all strategies of a seed; the bill includes "
        "what a strategy spends on checking the teacher. `student alone` learns from "
        "the labeled rows only, `robust` is the default, `rad` the game of the paper "
        "with up to 200 checks, as the default was before. "
        f"Pools are random subsets of the training rows, tests at most {N_TEST} rows.",
        "",
    ]
    for case in cases:
        share, objective = case
        out += [f'## Budget: {share:g} of the largest, `objective="{objective}"`', ""]
        out += summary(records, case)
        for kind, title in KINDS.items():
            rows = []
            for name in names:
                groups = complete(records, case, kind, OURS, name)
                if groups:
                    alone = [100 * g["random"]["curve"][0] for g in groups]
                    teacher = [100 * g["random"]["teacher_right"] for g in groups]
                    cells = accuracies(groups, OURS).T
                    theirs = [
                        [100 * g[s]["accuracy"] for g in groups if s in g]
                        for s in THEIRS
                    ]
                    rows.append(
                        [name, len(groups)]
                        + [f"{np.mean(teacher):.1f}", interval(alone, 1)]
                        + [interval(c, 1) for c in cells]
                        + [interval(c, 1) if c else "" for c in theirs]
                    )
            if rows:
                header = ["data", "seeds", "teacher", "student alone", *OURS, *THEIRS]
                out += [f"### {kind}: {title}", "", markdown_table(header, rows), ""]
    out += ["## Settings", ""]
    header = ["data", "labeled", "pool", "largest budget", "rounds", "stronger wrong %"]
    rows = [
        [n, t.n_labeled, t.n_pool, t.n_queries, t.n_rounds, 100 * t.stronger_error]
        for n, t in tasks.items()
        if n in names
    ]
    out += [markdown_table(header, rows), ""]
    out += [
        "A: soft vote of extra trees and an MLP, with a logistic regression for "
        "embeddings; three wider CNNs for cifar10. B to D, F, G: NoisyTeacher, wrong "
        "on an exact share of the rows, in B to D and F mostly where the truth has a "
        "small margin in an out-of-fold model with all labels. D: junk rows mix the "
        "columns of two rows, and get an arbitrary confident answer. E: the quarter "
        "of rows with the smallest margins of a student of another seed.",
        "",
    ]
    seconds = [r["seconds"] for runs in records.values() for r in runs.values()]
    out += [f"{len(seconds)} runs, {sum(seconds) / 60:.0f} minutes of one core.", ""]
    return "\n".join(out + machine_lines())


def summary(records, case):
    """Lay out differences, ranks, worst gaps and labels needed, kind by kind."""
    gaps, ranks, needed, cells = [], [], [], []
    for kind, title in KINDS.items():
        groups = complete(records, case, kind, OURS)
        if not groups:
            continue
        found = accuracies(groups, OURS)
        gain = found - found[:, [OURS.index("random")]]
        alone = np.array([100 * g["random"]["curve"][0] for g in groups])
        behind = found.mean(axis=0).max() - found.mean(axis=0)
        gaps.append(behind)
        by_set = {}
        for runs, row in zip(groups, found, strict=True):
            by_set.setdefault(runs["random"]["data"], []).append(row)
        means = np.array([np.mean(rows, axis=0) for rows in by_set.values()])
        cells += [row.max() - row for row in means]
        ranks += [rankdata(-row) for row in means]
        needed.append([np.mean([labels_needed(g, s) for g in groups]) for s in OURS])
        versus = found[:, OURS.index("robust")] - found[:, OURS.index("margin")]
        worse = 100 * np.mean(found < alone[:, None], axis=0)
        yield_row = [
            f"{kind}: {title}",
            len(groups),
            *(f"{g:+.2f}" for g in gain.mean(axis=0)),
            interval(versus, 1),
            f"{worse[0]:.0f}",
        ]
        ranks_row = [f"{x:.2f}" for x in needed[-1]]
        needed[-1] = [f"{kind}", *ranks_row]
        gaps[-1] = yield_row
    if not gaps:
        return []
    header = [
        "teacher",
        "runs",
        *OURS,
        "robust - margin",
        "robust below alone, % of runs",
    ]
    out = ["Gain over random rows in points, means over data sets and seeds:", ""]
    out += [markdown_table(header, gaps), ""]
    out += [f"Ranks and gaps over {len(ranks)} pairs of data set and kind:", ""]
    rows = [
        ["mean rank (1 is best)", *(f"{x:.2f}" for x in np.mean(ranks, axis=0))],
        ["largest gap to the best", *(f"{x:.2f}" for x in np.max(cells, axis=0))],
        ["mean gap to the best", *(f"{x:.2f}" for x in np.mean(cells, axis=0))],
    ]
    out += [markdown_table(["", *OURS], rows), ""]
    out += [
        "Labels needed to be as good as random rows in the end, as a share of random's "
        "bill; 1 where that is not reached:",
        "",
    ]
    return [*out, markdown_table(["teacher", *OURS], needed), ""]


# --------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three tiny data sets")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=None, help="default 5, quick 1")
    parser.add_argument("--data", nargs="*", default=None, help="only these")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="only these")
    parser.add_argument("--budgets", nargs="*", type=float, default=[1.0])
    parser.add_argument("--objective", default="soft", help="of all runs")
    parser.add_argument("--rivals", action="store_true", help="BADGE and CoreSet too")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    tasks = QUICK if options.quick else TASKS
    stem = "label_efficiency_quick" if options.quick else "label_efficiency"
    path = RESULTS / f"{stem}.jsonl"
    RESULTS.mkdir(exist_ok=True)
    if not options.table:
        run_all(tasks, options, path)
    save_result(f"{stem}.md", report(read(path, tasks), tasks))


def run_all(tasks, options, path):
    """Run what is missing, seed by seed, so that an early stop leaves a balance."""
    done = read(path, tasks)
    jobs = []
    for seed in range(options.seeds or (1 if options.quick else N_SEEDS)):
        for share in options.budgets:
            for name in options.data or list(tasks):
                for kind in options.kinds:
                    key = (share, options.objective, kind, name, seed)
                    have = done.get(key, {})
                    wanted = strategies_of(tasks[name], options.rivals)
                    left = [s for s in wanted if s not in have]
                    if left:
                        what = (name, kind, seed, share, options.objective)
                        jobs.append((*what, left, options.quick, path))
    print(f"{len(jobs)} jobs", flush=True)
    start = time.perf_counter()
    if options.jobs == 1:
        results = (run_job(*job) for job in jobs)
        for count, result in enumerate(results, 1):
            print(count, *result, f"{time.perf_counter() - start:.0f} s", flush=True)
        return
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as workers:
        futures = [workers.submit(run_job, *job) for job in jobs]
        for count, future in enumerate(as_completed(futures), 1):
            result = future.result()
            print(count, *result, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
