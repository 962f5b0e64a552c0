"""What a student gains from subclasses that its teacher's embeddings hint at.

Binary and few-class tasks whose classes hide many kinds of rows: digits and
objects by class modulo 2, intents in 2 and in 5 groups, letters modulo 2, and the
sentiment of sentences. A wide teacher learns the coarse labels from many rows; a
small student learns from the teacher's soft labels and embeddings of others. What
differs is how a class is split into subclasses for the student:

vanilla         not at all
k-means         clusters of the embeddings of each class
agglomerative   the same by Ward's method
LELP            tempered projections, `skadistill.objectives.LELP`
oracle          the true fine labels, which no teacher here has seen

    python benchmarks/lelp.py --tune       # settings, on validation rows
    python benchmarks/lelp.py              # all of it, restartable
    python benchmarks/lelp.py --table      # the tables of what is there

Each finished fit is one JSON line in results/lelp.jsonl (results/lelp_tuning.jsonl);
fits found there are not repeated. Tuning has seeds, teachers and validation rows of
its own, all from the training files: no setting was chosen by a test row.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import json
import time
from dataclasses import dataclass
from functools import cache
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
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import pairwise_distances_argmin
from torch import nn

from skadistill.labeling import buy_labels
from skadistill.objectives import LELP, Evidence, SoftTargets
from skadistill.student import StudentNet
from skadistill.teachers import as_teacher

RESULTS = Path(__file__).resolve().parent / "results"
SEEDS = range(5)
TUNING_SEEDS = range(100, 101)
METHODS = ("vanilla", "kmeans", "agglomerative", "lelp", "oracle")
N_TEST = 4000


@dataclass(frozen=True)
class Task:
    """One grouping of one data set, and how many rows each part gets."""

    data: str
    n_groups: int
    n_teacher: int
    n_transfer: int


# Teachers get most rows; students so few that there is something to gain, as seen on
# validation rows of the tuning seed.
TASKS = {
    "letter mod 2": Task("letter", 2, 10000, 500),
    "fashion_mnist mod 2": Task("fashion_mnist", 2, 8000, 500),
    "cifar10 mod 2": Task("cifar10", 2, 8000, 1000),
    "banking77 in 2": Task("banking77_minilm", 2, 6000, 500),
    "banking77 in 5": Task("banking77_minilm", 5, 6000, 500),
    "sst2 sentiment": Task("sst2_sentences_minilm", 2, 4000, 500),
}
# Chosen by --tune, one for all tasks; agglomerative clusters have that of k-means.
N_SUBCLASSES = {"kmeans": 20, "agglomerative": 20, "lelp": "auto"}
TEMPERATURE = 0.3


# --------------------------------------------------------------------- data


@dataclass(frozen=True, eq=False)
class Data:
    """Scaled rows and fine labels."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@cache
def data(name):
    """Read a data set; images at half their resolution."""
    X, y, X_test, y_test = load(name)
    test = np.random.default_rng(0).permutation(len(X_test))[:N_TEST]
    X_test, y_test = X_test[test], y_test[test]
    if X.dtype == np.uint8:
        X, y = X[:14_000], y[:14_000]
        X, X_test = (halved(part) for part in standardize(X, X_test))
    else:
        X, X_test = standardize(X, X_test)
    return Data(X, y, X_test, y_test)


def halved(X):
    """Average images over 2 x 2 pixels; channels first."""
    X = X.reshape(*X.shape[:3], -1)
    n, height, width, channels = X.shape
    X = X.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return np.ascontiguousarray(X.transpose(0, 3, 1, 2))


def split(task, seed):
    """Draw the teacher's rows, the student's rows and validation rows."""
    n_samples = len(data(task.data).y)
    order = np.random.default_rng(seed).permutation(n_samples)
    ends = np.cumsum([task.n_teacher, task.n_transfer])
    return np.split(order, ends)


# ------------------------------------------------------- teachers and students


class ConvNet(nn.Module):
    """Two strided convolutions and two linear layers."""

    def __init__(self, input_shape, n_classes, width=8, n_hidden=32):
        super().__init__()
        channels, height, side = input_shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * -(-height // 4) * -(-side // 4), n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_classes),
        )

    def forward(self, X):
        return self.layers(X)


def make_teacher(task, seed):
    """Build the teacher: a wide network."""
    settings = {"module__hidden_sizes": (512,), "max_epochs": 40}
    if data(task.data).X.ndim > 2:
        sizes = {"module__width": 32, "module__n_hidden": 256}
        settings = {"module": ConvNet, **sizes, "max_epochs": 15}
    return StudentNet(device="cpu", random_state=seed, **settings)


def make_student(task, seed):
    """Build the student: a hidden layer of 128, or a small CNN."""
    settings = {"module__hidden_sizes": (128,)}
    if data(task.data).X.ndim > 2:
        settings = {"module": ConvNet, "max_epochs": 40}
    return StudentNet(device="cpu", random_state=seed, **settings)


@cache
def evidence(name, seed):
    """Train the teacher, buy labels and embeddings of the student's rows."""
    task, d = TASKS[name], data(TASKS[name].data)
    theirs, ours, validation = split(task, seed)
    group = d.y % task.n_groups
    net = make_teacher(task, seed).fit(d.X[theirs], group[theirs])
    teacher = as_teacher(net)
    bought = buy_labels(
        teacher,
        d.X[ours],
        classes=np.arange(task.n_groups),
        identity="teacher",
        with_embeddings=True,
    )
    accuracy = {
        "validation": net.score(d.X[validation], group[validation]),
        "test": net.score(d.X_test, d.y_test % task.n_groups),
    }
    found = Evidence(
        bought.labels,
        np.zeros(len(ours), dtype=bool),
        embeddings=bought.embeddings,
        output_weights=teacher.output_weights,
        random_state=seed,
    )
    return found, accuracy


# ------------------------------------------------------------------- subclasses


def clusters(evidence, fit_predict, n_subclasses):
    """Split each class by clusters of its rows; others join the nearest mean."""
    likeliest = evidence.targets.argmax(axis=1)
    shape = (len(likeliest), evidence.n_classes, n_subclasses)
    subclasses = np.zeros(shape, dtype=np.float32)
    for c in range(evidence.n_classes):
        rows = evidence.embeddings[likeliest == c]
        label = fit_predict(rows)
        means = np.stack([rows[label == k].mean(axis=0) for k in range(n_subclasses)])
        nearest = pairwise_distances_argmin(evidence.embeddings, means)
        subclasses[np.arange(len(nearest)), c, nearest] = 1
    return subclasses


def true_subclasses(y, n_groups):
    """Give each row its fine label in its group, and nothing certain elsewhere."""
    n_subclasses = max(len(np.unique(y[y % n_groups == c])) for c in range(n_groups))
    shape = (len(y), n_groups, n_subclasses)
    subclasses = np.full(shape, 1 / n_subclasses, dtype=np.float32)
    for c in range(n_groups):
        rows = np.flatnonzero(y % n_groups == c)
        fine = np.unique(y[rows], return_inverse=True)[1]
        subclasses[rows, c] = np.eye(n_subclasses)[fine]
    return subclasses


def make_lesson(name, seed, method, n_subclasses, temperature):
    """Say what the student is asked to match."""
    task, (found, _) = TASKS[name], evidence(name, seed)
    if method == "lelp":
        return LELP(n_subclasses, temperature).lesson(found)
    lesson = SoftTargets().lesson(found)
    if method == "vanilla":
        return lesson
    if method == "oracle":
        ours = split(task, seed)[1]
        fine = data(task.data).y[ours]
        return lesson.replace(subclasses=true_subclasses(fine, task.n_groups))
    if method == "kmeans":
        model = KMeans(n_subclasses, n_init=3, random_state=seed)
    else:
        model = AgglomerativeClustering(n_subclasses)
    subclasses = clusters(found, model.fit_predict, n_subclasses)
    return lesson.replace(subclasses=subclasses)


# -------------------------------------------------------------------------- runs


def run(name, seed, method, part, n_subclasses=None, temperature=None):
    """Fit one student and score it on test rows, or on validation rows."""
    task, d = TASKS[name], data(TASKS[name].data)
    _, ours, validation = split(task, seed)
    _, teacher_accuracy = evidence(name, seed)
    start = time.perf_counter()
    lesson = make_lesson(name, seed, method, n_subclasses, temperature)
    classes = np.arange(task.n_groups)
    student = make_student(task, seed)
    student.fit_lesson(d.X[ours], lesson, classes=classes)
    seconds = time.perf_counter() - start
    if part == "test":
        X, y = d.X_test, d.y_test
    else:
        X, y = d.X[validation], d.y[validation]
    return {
        "task": name,
        "sizes": [task.n_groups, task.n_teacher, task.n_transfer],
        "seed": seed,
        "method": method,
        "n_subclasses": n_subclasses,
        "temperature": temperature,
        "accuracy": float(np.mean(student.predict(X) == y % task.n_groups)),
        "teacher": float(teacher_accuracy[part]),
        "seconds": round(seconds, 2),
    }


GRID = [("kmeans", s, None) for s in (10, 20)]
GRID += [("lelp", s, b) for s in (5, 10, 20, "auto") for b in (0.3, 1.0)]


def jobs(tune, seeds):
    """List the fits: (task, seed, method, n_subclasses, temperature)."""
    found = []
    for seed in seeds:
        for name in TASKS:
            for method in METHODS:
                if method == "oracle" and name.startswith("sst2"):
                    continue  # has no fine labels
                settings = [(method, N_SUBCLASSES.get(method), None)]
                if method == "lelp":
                    settings = [(method, N_SUBCLASSES[method], TEMPERATURE)]
                if tune:
                    settings = [s for s in GRID if s[0] == method]
                    settings = settings or [("vanilla", None, None)] * (
                        method == "vanilla"
                    )
                found += [(name, seed, *setting) for setting in settings]
    return found


def key_of(record):
    """Tell a fit from others; a task of other sizes is another task."""
    names = ("task", "seed", "method", "n_subclasses", "temperature")
    return (*(record[name] for name in names), *record["sizes"])


def read(path):
    """Read the records of fits that belong to the tasks as they are set now."""
    records = {}
    lines = path.read_text(encoding="utf8").splitlines() if path.exists() else []
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by an interruption
        records[key_of(record)] = record
    return records


def run_all(path, part, todo):
    """Run what is not there yet; append a line for each fit."""
    done = read(path)
    for name, seed, method, n_subclasses, temperature in todo:
        task = TASKS[name]
        sizes = (task.n_groups, task.n_teacher, task.n_transfer)
        if (name, seed, method, n_subclasses, temperature, *sizes) in done:
            continue
        record = run(name, seed, method, part, n_subclasses, temperature)
        with open(path, "a", encoding="utf8") as stream:
            stream.write(json.dumps(record) + "\n")
        print(
            f"{name:20} {seed:4} {method:14} {100 * record['accuracy']:6.2f} "
            f"{record['seconds']:6.1f} s",
            flush=True,
        )


# ------------------------------------------------------------------------ tables


def accuracies(records, name, method, **setting):
    """Map seeds to test accuracies in % of one method on one task."""
    return {
        r["seed"]: 100 * r["accuracy"]
        for r in records
        if r["task"] == name
        and r["method"] == method
        and all(r[k] == v for k, v in setting.items())
    }


def plus_minus(values):
    """Print a mean and the half width of its 95 % interval."""
    mean, low, _ = mean_interval(values)
    return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def accuracy_table(records):
    """Lay out test accuracies: tasks down, methods across."""
    rows = []
    for name in TASKS:
        teacher = {r["seed"]: 100 * r["teacher"] for r in records if r["task"] == name}
        found = [accuracies(records, name, method) for method in METHODS]
        cells = [plus_minus(list(f.values())) if f else "" for f in found]
        rows.append([name, plus_minus(list(teacher.values())), *cells])
    return markdown_table(["task", "teacher", *METHODS], rows)


def difference_table(records, first):
    """Lay out paired differences of one method to the others, over seeds."""
    rows = []
    others = [method for method in METHODS if method != first]
    gains = {other: {} for other in others}
    for name in TASKS:
        mine = accuracies(records, name, first)
        for other in others:
            theirs = accuracies(records, name, other)
            seeds = sorted(mine.keys() & theirs.keys())
            if len(seeds) > 1:
                a, b = [mine[s] for s in seeds], [theirs[s] for s in seeds]
                rows.append([name, other, *difference_cells(a, b)])
                for s in seeds:
                    gains[other].setdefault(s, []).append(mine[s] - theirs[s])
    for other in others:
        # One number a seed: the mean over tasks, which share nothing but the seed.
        means = [np.mean(values) for _, values in sorted(gains[other].items())]
        if len(means) > 1:
            cells = difference_cells(means, np.zeros(len(means)))
            rows.append(["mean of tasks", other, *cells])
    header = ["task", f"{first} against", "seeds", "mean", "95 % interval", "p"]
    return markdown_table(header, rows)


def difference_cells(a, b):
    """Print one paired comparison."""
    mean, low, high, p = paired_difference(a, b)
    printed_p = "<0.001" if p < 0.001 else f"{p:.3f}"
    return [len(a), f"{mean:+.2f}", f"[{low:+.2f}, {high:+.2f}]", printed_p]


def tuning_table(records):
    """Lay out what settings gained over vanilla on validation rows."""
    rows = []
    for method, n_subclasses, temperature in GRID:
        setting = {"n_subclasses": n_subclasses, "temperature": temperature}
        cells = []
        for name in TASKS:
            plain = accuracies(records, name, "vanilla")
            found = accuracies(records, name, method, **setting)
            gain = [found[s] - plain[s] for s in found.keys() & plain.keys()]
            cells.append(np.mean(gain) if gain else np.nan)
        printed = [f"{c:+.2f}" for c in [*cells, np.mean(cells)]]
        rows.append([method, n_subclasses, temperature or "", *printed])
    header = ["method", "subclasses", "temperature", *TASKS, "mean"]
    return markdown_table(header, rows)


def write_tables():
    """Write results/lelp.md from the records that are there."""
    records = [
        record
        for record in read(RESULTS / "lelp.jsonl").values()
        if record["n_subclasses"] == N_SUBCLASSES.get(record["method"])
    ]
    tuned = list(read(RESULTS / "lelp_tuning.jsonl").values())
    settings = ", ".join(f"{method} {n}" for method, n in N_SUBCLASSES.items())
    minutes = sum(r["seconds"] for r in records) / 60
    parts = [
        "# LELP against other ways to split classes",
        "Test accuracy in %, mean over seeds ± half of the 95 % t interval. All "
        "students of a seed share teacher, rows, labels and start.",
        accuracy_table(records),
        "Differences in points, paired over seeds, with p of the paired t test:",
        difference_table(records, "lelp"),
        "## Settings",
        f"Pseudo-subclasses: {settings}; temperature of LELP {TEMPERATURE}. "
        "Chosen, as were the numbers of rows, on validation rows with a seed and "
        "teachers of their own; points gained over vanilla there, one run each:",
        tuning_table(tuned),
        f"{minutes:.0f} minutes of fitting students, one thread.",
        "\n".join(f"- {line}" for line in machine_lines()),
    ]
    save_result("lelp.md", "\n\n".join(parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tune", action="store_true", help="run on validation rows")
    parser.add_argument("--table", action="store_true", help="write tables only")
    parser.add_argument("--seeds", type=int, help="number of seeds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.table:
        seeds = list(TUNING_SEEDS if arguments.tune else SEEDS)[: arguments.seeds]
        part, file = "test", "lelp.jsonl"
        if arguments.tune:
            part, file = "validation", "lelp_tuning.jsonl"
        run_all(RESULTS / file, part, jobs(arguments.tune, seeds))
    write_tables()


if __name__ == "__main__":
    main()
