"""Which rows to pay for: the default strategy against its rivals at equal bills.

Nine data sets, seven kinds of teacher, three budgets, several seeds. For each of them
the student learns from the same few labeled rows and from as many teacher labels as
the budget allows; only the strategy that picks the rows differs. The budget is the
whole bill: what a strategy spends on checking the teacher, it cannot ask of the pool.
Reported: test accuracy, mean rank, the worst gap to the best strategy, and how many
labels each strategy needs to be as good as random rows are in the end.

    python benchmarks/label_efficiency.py                # the largest budget
    python benchmarks/label_efficiency.py --budgets 0.25 0.5 1
    python benchmarks/label_efficiency.py --rivals       # BADGE and CoreSet as well
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
from dataclasses import astuple, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from _common import (
    load,
    machine_lines,
    markdown_table,
    mean_interval,
    save_result,
    standardize,
)
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.neural_network import MLPClassifier
from torch import nn

from skadistill import ActiveDistiller
from skadistill.datasets import NoisyTeacher
from skadistill.query import SkactivemlStrategy
from skadistill.student import StudentNet, fit_student, predict_out_of_fold

RESULTS = Path(__file__).resolve().parent / "results"
KINDS = {
    "A": "trained on the labeled rows, soft labels",
    "B": "stronger, soft labels",
    "C": "stronger, hard labels",
    "D": "stronger, soft labels, and a fifth of the pool is junk",
    "E": "wrong on 60 % of the rows that students are unsure of, hard labels",
    "F": "wrong on 25 %, mostly at class borders, soft labels",
    "G": "wrong on 25 %, anywhere, hard labels",
}
OURS = ("robust", "margin", "entropy", "random", "rad")
THEIRS = ("badge", "coreset")
N_TEST = 4000


@dataclass(frozen=True)
class Task:
    """Sizes of one data set's runs."""

    n_labeled: int
    n_pool: int
    n_queries: int
    n_rounds: int
    stronger_error: float
    badge: bool = True
    coreset: bool = True


# Labeled rows: few enough that the student has something to gain. The stronger
# teacher's error rate is set, not measured: about half of what a model trained on
# some hundred rows gets wrong. BADGE stores rows x classes x features numbers and
# CoreSet measures distances between raw features, hence where they are left out.
TASKS = {
    "letter": Task(1000, 6000, 1600, 4, 0.10),
    "covtype20k": Task(1000, 6000, 1600, 4, 0.15),
    "pendigits": Task(200, 5000, 400, 4, 0.05),
    "adult": Task(300, 6000, 600, 4, 0.10),
    "magic": Task(300, 6000, 600, 4, 0.10),
    "fashion_mnist": Task(500, 6000, 1600, 4, 0.10, badge=False, coreset=False),
    "banking77_minilm": Task(800, 6000, 1600, 4, 0.10, badge=False, coreset=False),
    "sst2_sentences_minilm": Task(200, 5000, 600, 4, 0.10),
    "cifar10": Task(1000, 5000, 1500, 3, 0.15, badge=False, coreset=False),
}
QUICK = {
    "letter": Task(300, 800, 200, 2, 0.10),
    "magic": Task(100, 800, 100, 2, 0.10),
    "cifar10": Task(200, 400, 100, 2, 0.15, badge=False, coreset=False),
}


# --------------------------------------------------------------------- data


@cache
def data(name):
    """Return scaled rows as the students and teachers see them, and labels."""
    X_train, y_train, X_test, y_test = load(name)
    test = np.random.default_rng(0).permutation(len(X_test))[:N_TEST]
    X_test, y_test = X_test[test], y_test[test]
    if name == "cifar10":  # stored in random order; 50,000 float rows are 600 MB
        X_train, y_train = X_train[:12_000], y_train[:12_000]
    X_train, X_test = standardize(X_train, X_test)
    if name == "cifar10":  # channels first, as the convolutions want them
        X_train, X_test = (X.transpose(0, 3, 1, 2) for X in (X_train, X_test))
    X_train, X_test = (X.reshape(len(X), -1) for X in (X_train, X_test))
    return X_train, y_train, X_test, y_test


def split(name, task, seed):
    """Choose labeled rows, with every class among them, and a pool."""
    _, y, _, _ = data(name)
    rows, _ = train_test_split(
        np.arange(len(y)),
        train_size=min(task.n_labeled + task.n_pool, len(y) - len(np.unique(y))),
        stratify=y,
        random_state=seed,
    )
    labeled, pool = train_test_split(
        rows, train_size=task.n_labeled, stratify=y[rows], random_state=seed
    )
    return labeled, pool


# ----------------------------------------------------------------- students


class SmallConvNet(nn.Module):
    """Three strided convolutions and a linear layer: some 25,000 weights."""

    def __init__(self, n_classes=10, width=16):
        super().__init__()
        layers, n_in = [], 3
        for n_out in (width, 2 * width, 4 * width):
            layers += [
                nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            n_in = n_out
        layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        self.layers = nn.Sequential(*layers, nn.Linear(4 * n_in, n_classes))

    def forward(self, X):
        return self.layers(X.reshape(-1, 3, 32, 32))


def make_student(name, seed, quick=False):
    """Build the student: one hidden layer of 128, or a small CNN.

    A student is meant to be small. The numbers of epochs are small for time's sake
    (some hundred trainings a data set) and were not chosen by any test row.
    """
    settings = {"module__hidden_sizes": (128,), "max_epochs": 40}
    if name == "cifar10":
        settings = {"module": SmallConvNet, "max_epochs": 3 if quick else 20}
    return StudentNet(device="cpu", random_state=seed, **settings)


# ----------------------------------------------------------------- teachers


class ConvEnsemble(ClassifierMixin, BaseEstimator):
    """Average three wider CNNs with different seeds."""

    def __init__(self, max_epochs=20, random_state=0):
        self.max_epochs = max_epochs
        self.random_state = random_state

    def fit(self, X, y):
        members = [
            StudentNet(
                module=SmallConvNet,
                module__width=32,
                max_epochs=self.max_epochs,
                device="cpu",
                random_state=3 * self.random_state + i,
            )
            for i in range(3)
        ]
        self.members_ = [member.fit(X, y) for member in members]
        self.classes_ = self.members_[0].classes_
        return self

    def predict_proba(self, X):
        return np.mean([m.predict_proba(X) for m in self.members_], axis=0)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def make_ensemble(name, seed, quick=False):
    """Build the teacher that learns from the labeled rows."""
    if name == "cifar10":
        return ConvEnsemble(max_epochs=3 if quick else 20, random_state=seed)
    members = [
        ("trees", ExtraTreesClassifier(150, random_state=seed)),
        ("mlp", MLPClassifier((256,), alpha=1e-2, random_state=seed)),
    ]
    if name.endswith("minilm"):
        members.append(("linear", LogisticRegression(max_iter=300)))
    return VotingClassifier(members, voting="soft")


def out_of_fold(name, X, y, seed):
    """Estimate each row's probabilities by a model that has not seen its label."""
    if name.endswith("minilm"):
        model = LogisticRegression(C=10.0, max_iter=300)
    else:
        model = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
    if name == "cifar10":
        # The forest sees the images averaged down to 8 x 8.
        X = X.reshape(len(X), 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(X), -1)
    return cross_val_predict(model, X, y, cv=3, method="predict_proba")


class Told:
    """A function that knows its answers, one per row of a table."""

    def __init__(self, X, answers):
        keys = (row.tobytes() for row in np.ascontiguousarray(X, dtype=np.float32))
        self.answers = dict(zip(keys, answers, strict=True))

    def __call__(self, X):
        rows = np.ascontiguousarray(X, dtype=np.float32)
        return np.array([self.answers[row.tobytes()] for row in rows])

    def __sklearn_clone__(self):
        return self


def make_problem(name, task, kind, seed, quick):
    """Return rows, labels of all, the number of labeled ones, and the teacher."""
    X, y, _, _ = data(name)
    labeled, pool = split(name, task, seed)
    rows, n = np.concatenate([labeled, pool]), len(labeled)
    X, y = X[rows], y[rows]
    if kind == "A":
        return X, y, n, make_ensemble(name, seed, quick)
    parts = np.arange(len(rows)) >= n
    if kind == "E":
        answers = wrong_where_unsure(name, X, y, n, seed, quick)
        return X, y, n, Told(X, answers)
    proba = out_of_fold(name, X, y, seed)
    rate = 0.25 if kind in "FG" else task.stronger_error
    teacher = NoisyTeacher(
        X,
        y,
        error_rate=rate,
        error_kind="uniform" if kind == "G" else "margin",
        proba=proba,
        soft=kind not in "CG",
        strata=parts,
        random_state=seed,
    )
    if kind != "D":
        return X, y, n, teacher
    X, answers = X.copy(), teacher(X)
    rng = np.random.default_rng([seed, 4])
    junk = n + rng.permutation(len(pool))[: len(pool) // 5]
    for row in junk:
        # Some columns of one row, the others of another: it belongs to no class.
        first, second = X[rng.integers(len(X), size=2)]
        X[row] = np.where(rng.random(X.shape[1]) < 0.5, first, second)
    answers[junk] = 0.05 / answers.shape[1]
    answers[junk, rng.integers(answers.shape[1], size=len(junk))] += 0.95
    return X, y, n, Told(X, answers)


def wrong_where_unsure(name, X, y, n_labeled, seed, quick):
    """Answer wrongly on 60 % of the quarter of rows with the smallest margins.

    Margins are those of a student of another seed that learned from the labeled rows,
    out of fold on these; a wrong answer is its likeliest class that is not the truth.
    """
    student = make_student(name, 1000 + seed, quick)
    classes, n = np.unique(y), n_labeled
    targets = (y[:, None] == classes).astype(float)
    proba = np.empty_like(targets)
    proba[:n] = predict_out_of_fold(
        student,
        X[:n],
        targets[:n],
        classes=classes,
        given=np.ones(n, dtype=bool),
        n_folds=5,
        seed=seed,
    )
    fit_student(student, X[:n], targets[:n], classes=classes)
    proba[n:] = student.predict_proba(X[n:])
    top = np.sort(proba, axis=1)
    margins = top[:, -1] - top[:, -2]
    unsure = np.zeros(len(y), dtype=bool)
    for part in (slice(0, n), slice(n, None)):
        unsure[part] = margins[part] <= np.quantile(margins[part], 0.25)
    rng = np.random.default_rng([seed, 5])
    wrong = unsure & (rng.random(len(y)) < 0.6)
    others = np.where(targets > 0, -1.0, proba).argmax(axis=1)
    return np.eye(len(classes))[np.where(wrong, others, targets.argmax(axis=1))]


# --------------------------------------------------------------------- runs


def make_strategy(name):
    """Build a strategy from its name in the table."""
    if name == "badge":
        from skactiveml.pool import Badge

        return SkactivemlStrategy(Badge())
    if name == "coreset":
        from skactiveml.pool import CoreSet

        return SkactivemlStrategy(CoreSet())
    return name


def strategies_of(task, rivals):
    """List what runs on a data set."""
    theirs = [s for s in THEIRS if rivals and getattr(task, s)]
    return [*OURS, *theirs]


def run_job(name, kind, seed, share, strategies, quick, path):
    """Run the strategies of one data set, kind and seed; append their records."""
    torch.set_num_threads(1)
    # The networks among the teachers stop at a set number of iterations.
    warnings.simplefilter("ignore", ConvergenceWarning)
    task = (QUICK if quick else TASKS)[name]
    _, _, X_test, y_test = data(name)
    X, y, n_labeled, teacher = make_problem(name, task, kind, seed, quick)
    y_given = np.where(np.arange(len(y)) < n_labeled, y, -1)
    if kind == "A":
        fitted = clone(teacher).fit(X[:n_labeled], y[:n_labeled])
        answers = fitted.predict_proba(X)
    else:
        answers = teacher(X)
    right = answers.argmax(axis=1) == np.searchsorted(np.unique(y), y)
    for strategy in strategies:
        start = time.perf_counter()
        model = ActiveDistiller(
            teacher,
            make_student(name, seed, quick),
            query_strategy=make_strategy(strategy),
            budget=round(share * task.n_queries),
            query_size=math.ceil(task.n_queries / task.n_rounds),
            objective="soft",
            random_state=seed,
        ).fit(X, y_given, X_val=X_test, y_val=y_test)
        asked = model.labeled_round_ > 0
        checks = model.n_teacher_checks_
        paid = checks + np.cumsum([r["n_paid"] for r in model.history_])
        record = {
            "data": name,
            "kind": kind,
            "seed": seed,
            "share": share,
            "strategy": strategy,
            "task": list(astuple(task)),
            "accuracy": model.history_[-1]["student_score"],
            # The student alone has bought nothing, whatever was checked after it.
            "bill": [0, *paid[1:].tolist()],
            "curve": [r["student_score"] for r in model.history_],
            "n_checks": checks,
            "teacher_right": float(right[n_labeled:].mean()),
            "asked_right": float(right[asked].mean()),
            "seconds": round(time.perf_counter() - start, 2),
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
            key = (record["share"], record["kind"], record["data"], record["seed"])
            records.setdefault(key, {})[record["strategy"]] = record
    return records


# ------------------------------------------------------------------- tables


def interval(values, scale=100.0):
    """Print a mean and the half width of its 95 % interval."""
    mean, low, _ = mean_interval(np.asarray(values) * scale)
    return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def complete(records, share, kind, strategies, name=None):
    """List the groups of runs at a budget and kind in which nothing is missing."""
    return [
        runs
        for (s, k, d, _), runs in sorted(records.items())
        if (s, k) == (share, kind)
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
    shares = sorted({key[0] for key in records})
    n_seeds = len({key[3] for key in records})
    names = [name for name in tasks if any(key[2] == name for key in records)]
    out = ["# Label efficiency at equal bills", ""]
    out += [
        f"Test accuracy in %, mean over at most {n_seeds} seeds ± half of the 95 % t "
        f"interval, on {len(names)} of {len(tasks)} data sets. Same labeled rows, "
        "teacher, bill and student for all strategies of a seed; the bill includes "
        "what a strategy spends on checking the teacher. `student alone` learns from "
        "the labeled rows only, `robust` is the default, `rad` the game of the paper "
        "with up to 200 checks, as the default was before. "
        f"Pools are random subsets of the training rows, tests at most {N_TEST} rows. "
        '`objective="soft"` everywhere.',
        "",
    ]
    for share in shares:
        out += [f"## Budget: {share:g} of the largest", ""]
        out += summary(records, share)
        for kind, title in KINDS.items():
            rows = []
            for name in names:
                groups = complete(records, share, kind, OURS, name)
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


def summary(records, share):
    """Lay out differences, ranks, worst gaps and labels needed, kind by kind."""
    gaps, ranks, needed, cells = [], [], [], []
    for kind, title in KINDS.items():
        groups = complete(records, share, kind, OURS)
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
    for seed in range(options.seeds or (1 if options.quick else 5)):
        for share in options.budgets:
            for name in options.data or list(tasks):
                for kind in options.kinds:
                    have = done.get((share, kind, name, seed), {})
                    wanted = strategies_of(tasks[name], options.rivals)
                    left = [s for s in wanted if s not in have]
                    if left:
                        jobs.append(
                            (name, kind, seed, share, left, options.quick, path)
                        )
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
