"""Which rows to pay for: the robust sampler against its rivals on real data.

Nine data sets, two kinds of teacher, several seeds. For each of them the student
learns from the same few labeled rows and from as many teacher labels as the
budget allows; only the strategy that picks those rows differs. Reported: test
accuracy, mean rank, the paired difference to random rows, and how often the
teacher was right on the rows asked.

    python benchmarks/label_efficiency.py --jobs 2      # all of it, restartable
    python benchmarks/label_efficiency.py --quick       # minutes; a separate file
    python benchmarks/label_efficiency.py --table       # the tables of what is there

Each finished run is one JSON line in results/label_efficiency.jsonl; runs found
there are not repeated. Test rows are read once a run, for its final score: no
setting below was chosen by them.
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
    paired_difference,
    save_result,
    standardize,
)
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.neural_network import MLPClassifier
from torch import nn

from skadistill import ActiveDistiller
from skadistill.datasets import NoisyTeacher
from skadistill.labeling import estimate_teacher_error
from skadistill.query import SkactivemlStrategy
from skadistill.student import StudentNet

RESULTS = Path(__file__).resolve().parent / "results"
SETTINGS = ("trained", "stronger")
OURS = ("robust", "margin", "entropy", "random")
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


def make_teacher(name, task, setting, seed, labeled, pool, quick):
    """Return a teacher ready to be asked, its error rate, and its test accuracy."""
    X, y, X_test, y_test = data(name)
    if setting == "trained":
        teacher = make_ensemble(name, seed, quick)
        estimate = estimate_teacher_error(
            teacher,
            X[labeled],
            y[labeled],
            classes=np.unique(y),
            cv=3,
            random_state=seed,
        )
        teacher.fit(X[labeled], y[labeled])
        accuracy = float(np.mean(teacher.predict(X_test) == y_test))
        return teacher, estimate.rate, accuracy
    rows = np.concatenate([labeled, pool])
    proba = out_of_fold(name, X[rows], y[rows], seed)
    teacher = NoisyTeacher(
        X[pool],
        y[pool],
        error_rate=task.stronger_error,
        error_kind="margin",
        proba=proba[len(labeled) :],
        random_state=seed,
    )
    return teacher, teacher.error_rate_, 1.0 - teacher.error_rate_


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


def strategies_of(task):
    """List what runs on a data set; "none" is the student on labeled rows only."""
    names = [*OURS, "none"]
    names += ["badge"] if task.badge else []
    names += ["coreset"] if task.coreset else []
    return names


def run_job(name, setting, seed, strategies, quick, path):
    """Run the strategies of one data set, setting and seed; append their records."""
    torch.set_num_threads(1)
    # The networks among the teachers stop at a set number of iterations.
    warnings.simplefilter("ignore", ConvergenceWarning)
    task = (QUICK if quick else TASKS)[name]
    X, y, X_test, y_test = data(name)
    labeled, pool = split(name, task, seed)
    start = time.perf_counter()
    teacher, error, teacher_accuracy = make_teacher(
        name, task, setting, seed, labeled, pool, quick
    )
    seconds_teacher = time.perf_counter() - start
    ask = teacher if setting == "stronger" else teacher.predict_proba
    rows = np.concatenate([labeled, pool])
    y_given = np.concatenate([y[labeled], np.full(len(pool), -1)])
    for strategy in strategies:
        start = time.perf_counter()
        student = make_student(name, seed, quick)
        if strategy == "none":
            student.fit(X[labeled], y[labeled])
            model, asked = student, np.empty(0, dtype=int)
        else:
            model = ActiveDistiller(
                teacher,
                student,
                query_strategy=make_strategy(strategy),
                budget=task.n_queries,
                query_size=math.ceil(task.n_queries / task.n_rounds),
                teacher_error=error,
                random_state=seed,
            ).fit(X[rows], y_given)
            asked = rows[model.labeled_round_ > 0]
        record = {
            "data": name,
            "setting": setting,
            "seed": seed,
            "strategy": strategy,
            "task": list(astuple(task)),
            "accuracy": float(np.mean(model.predict(X_test) == y_test)),
            "teacher_accuracy": teacher_accuracy,
            "teacher_error": error,
            "n_asked": len(asked),
            "teacher_right": (
                float(np.mean(ask(X[asked]).argmax(axis=1) == y[asked]))
                if len(asked)
                else None
            ),
            "seconds": round(time.perf_counter() - start, 2),
            "seconds_teacher": round(seconds_teacher, 2),
        }
        append(path, record)
    return name, setting, seed


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
            key = (record["data"], record["setting"], record["seed"])
            records.setdefault(key, {})[record["strategy"]] = record
    # The student alone does not depend on the teacher: it is run in one setting.
    for (name, setting, seed), runs in records.items():
        alone = records.get((name, SETTINGS[0], seed), {}).get("none")
        if setting != SETTINGS[0] and alone:
            runs["none"] = alone
    return records


# ------------------------------------------------------------------- tables


def interval(values, scale=100.0):
    """Print a mean and the half width of its 95 % interval."""
    mean, low, _ = mean_interval(np.asarray(values) * scale)
    return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def collect(records, name, setting, strategy, field):
    """Gather a field over seeds, in the order of the seeds."""
    keys = sorted(k for k in records if k[:2] == (name, setting))
    return [
        records[key][strategy][field]
        for key in keys
        if strategy in records[key] and records[key][strategy][field] is not None
    ]


def paired(records, name, setting, first, second):
    """Gather the accuracies of two strategies over the seeds that both have."""
    keys = sorted(k for k in records if k[:2] == (name, setting))
    keys = [k for k in keys if {first, second} <= set(records[k])]
    return (
        [records[k][first]["accuracy"] for k in keys],
        [records[k][second]["accuracy"] for k in keys],
    )


def mean_ranks(records, names, strategies):
    """Rank mean accuracies within each (data set, setting); 1 is best."""
    table = {}
    for setting in SETTINGS:
        for name in names:
            means = [collect(records, name, setting, s, "accuracy") for s in strategies]
            if all(means):
                row = [-np.mean(m) for m in means]
                table[name, setting] = rankdata(row)
    return table


def rank_rows(records, names, strategies):
    """Lay out mean ranks by setting and over both."""
    ranks = mean_ranks(records, names, strategies)
    rows = []
    for label, chosen in (
        *((s, [s]) for s in SETTINGS),
        ("both", list(SETTINGS)),
    ):
        part = [r for (_, setting), r in ranks.items() if setting in chosen]
        if part:
            average = np.mean(part, axis=0)
            rows.append([label, len(part), *(f"{r:.2f}" for r in average)])
    return rows


TITLES = {
    "trained": "Teacher trained on the labeled rows",
    "stronger": "Stronger teacher, error rate known",
}


def report(records, tasks):
    """Write the tables in Markdown."""
    seeds = sorted({seed for _, _, seed in records})
    seconds = [
        r["seconds"]
        for (_, setting, _), runs in records.items()
        for r in runs.values()
        if r["setting"] == setting
    ]
    out = ["# Label efficiency", ""]
    out += [
        f"Test accuracy in %, mean over {len(seeds)} seeds ± half of the 95 % t "
        "interval. Same labeled rows, teacher, budget and student for all strategies "
        "of a seed; `student alone` learns from the labeled rows only. Pools are "
        f"random subsets of the training rows, tests at most {N_TEST} rows. Strategies "
        "`badge` and `coreset` are scikit-activeml's, through SkactivemlStrategy, "
        "where they take seconds; an empty field: not run.",
        "",
    ]
    for setting in SETTINGS:
        out += [f"## {TITLES[setting]}", ""]
        columns = ["student alone", *OURS, *THEIRS]
        keys = ["none", *OURS, *THEIRS]
        rows = []
        for name in tasks:
            teacher = collect(records, name, setting, "random", "teacher_accuracy")
            if not teacher:
                continue
            cells = [collect(records, name, setting, k, "accuracy") for k in keys]
            rows.append(
                [name, interval(teacher), *(interval(c) if c else "" for c in cells)]
            )
        out += [markdown_table(["data", "teacher", *columns], rows), ""]
        out += ["Difference robust - random, paired over seeds, in points:", ""]
        rows = []
        for name in tasks:
            robust, random = paired(records, name, setting, "robust", "random")
            if robust:
                mean, low, high, p = paired_difference(
                    100 * np.array(robust), 100 * np.array(random)
                )
                rows.append(
                    [
                        name,
                        len(robust),
                        f"{mean:+.2f}",
                        f"[{low:+.2f}, {high:+.2f}]",
                        f"{p:.3f}",
                    ]
                )
        header = ["data", "seeds", "mean", "95 % interval", "p (paired t)"]
        out += [markdown_table(header, rows), ""]
        out += ["Share of rows asked on which the teacher is right, in %:", ""]
        rows = []
        for name in tasks:
            cells = [
                collect(records, name, setting, k, "teacher_right")
                for k in (*OURS, *THEIRS)
            ]
            if any(cells):
                rows.append([name, *(interval(c) if c else "" for c in cells)])
        out += [markdown_table(["data", *OURS, *THEIRS], rows), ""]
    out += ["## Mean rank over data sets (1 is best)", ""]
    header = ["teacher", "data sets"]
    out += [markdown_table([*header, *OURS], rank_rows(records, tasks, OURS)), ""]
    six = (*OURS, *THEIRS)
    rows = rank_rows(records, tasks, six)
    if rows:
        out += ["Where BADGE and CoreSet ran too:", ""]
        out += [markdown_table([*header, *six], rows), ""]
    out += [verdict(records, tasks), ""]
    out += ["## Settings", ""]
    rows = [
        [
            name,
            task.n_labeled,
            task.n_pool,
            task.n_queries,
            task.n_rounds,
            interval(collect(records, name, "trained", "random", "teacher_error")),
            f"{100 * task.stronger_error:.0f}",
        ]
        for name, task in tasks.items()
        if collect(records, name, "trained", "random", "teacher_error")
    ]
    header = [
        "data",
        "labeled",
        "pool",
        "budget",
        "rounds",
        "error % (trained, cross-fitted)",
        "error % (stronger)",
    ]
    out += [markdown_table(header, rows), ""]
    out += [
        "Teacher trained on the labeled rows: soft vote of extra trees and an MLP, "
        "with a logistic regression for embeddings; three wider CNNs for cifar10. "
        "Stronger teacher: NoisyTeacher, wrong on an exact share of the pool, mostly "
        "where the truth has a small margin in an out-of-fold model with all labels.",
        "",
    ]
    out += [f"{len(seconds)} runs, {sum(seconds) / 60:.0f} minutes of one core.", ""]
    out += machine_lines()
    return "\n".join(out)


def verdict(records, tasks):
    """Hold the numbers against the bar, whatever comes out."""
    worst = []
    for setting in SETTINGS:
        for name in tasks:
            robust, random = paired(records, name, setting, "robust", "random")
            if robust:
                gap = 100 * (np.mean(robust) - np.mean(random))
                worst.append((gap, name, setting))
    if not worst:
        return ""
    gap, name, setting = min(worst)
    rows = rank_rows(records, tasks, OURS)
    ranks = [float(r) for r in rows[-1][2:]] if rows else []
    best = OURS[int(np.argmin(ranks))] if ranks else "nobody"
    return (
        "Bar: robust never more than 0.3 points below random, and best mean rank. "
        f"Least difference robust - random: {gap:+.2f} points ({name}, {setting}): "
        f"{'held' if gap >= -0.3 else 'missed'}. Best mean rank over both settings: "
        f"{best}: {'held' if best == 'robust' else 'missed'}."
    )


# --------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three tiny data sets")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=None, help="default 5, quick 2")
    parser.add_argument("--data", nargs="*", default=None, help="only these")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    tasks = QUICK if options.quick else TASKS
    stem = "label_efficiency_quick" if options.quick else "label_efficiency"
    path = RESULTS / f"{stem}.jsonl"
    RESULTS.mkdir(exist_ok=True)
    names = options.data or list(tasks)
    seeds = options.seeds or (2 if options.quick else 5)
    if not options.table:
        run_all(tasks, names, seeds, options, path)
    save_result(f"{stem}.md", report(read(path, tasks), tasks))


def run_all(tasks, names, seeds, options, path):
    """Run what is missing, seed by seed, so that an early stop leaves a balance."""
    done = read(path, tasks)
    jobs = []
    for seed in range(seeds):
        for setting in SETTINGS:
            for name in names:
                have = done.get((name, setting, seed), {})
                left = [s for s in strategies_of(tasks[name]) if s not in have]
                if setting != SETTINGS[0]:  # `read` copies the student alone
                    left = [s for s in left if s != "none"]
                if left:
                    jobs.append((name, setting, seed, left, options.quick, path))
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
