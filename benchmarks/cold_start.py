"""What it costs to start without any label.

A fit from no label at all, whose first batch is spread over the pool, beside one with
as many given labels, of random rows, as that batch has. Both end with the same number
of labeled rows. Reported: how many labels, given ones included, the cold fit needs to
be as good as the other one is with a third, two thirds and 90 % of the labels.

    python benchmarks/cold_start.py            # all of it, restartable
    python benchmarks/cold_start.py --table    # the table of what is there

Each finished run is one JSON line in results/cold_start.jsonl. Test rows are read after
each round, for the curves; nothing was chosen by them.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import gzip
import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from _common import (
    data_folder,
    load,
    machine_lines,
    markdown_table,
    mean_interval,
    save_result,
    standardize,
)
from label_efficiency import append
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller
from skadistill._fit.plan import round_size
from skadistill.checking import CheckPolicy
from skadistill.student import StudentNet
from skadistill.teachers import as_teacher

PATH = Path(__file__).resolve().parent / "results" / "cold_start.jsonl"
# Labels in all, and rows of the pool.
TASKS = {
    "ag_news10k": (600, 6000),
    "banking77_minilm": (1600, 6000),
    "letter": (1600, 6000),
}
STARTS = ("cold", "given")
SHARES = (1 / 3, 2 / 3, 0.9)
N_TEST = 4000


@cache
def data(name):
    """Read texts, or scaled rows."""
    file = data_folder() / f"{name}.tsv.gz"
    if not file.is_file():
        X, y, X_test, y_test = load(name)
        X, X_test = standardize(X, X_test)
        return X, y, X_test[:N_TEST], y_test[:N_TEST]
    with gzip.open(file, "rt", encoding="utf8", newline="") as stream:
        lines = [line.rstrip("\n").split("\t", 2) for line in stream][1:]
    parts = []
    for part in ("train", "test"):
        rows = [line for line in lines if line[0] == part]
        parts += [[line[2] for line in rows], np.array([line[1] for line in rows])]
    X, y, X_test, y_test = parts
    chosen = np.random.default_rng(0).permutation(len(y_test))[:N_TEST]
    return X, y, [X_test[i] for i in chosen], y_test[chosen]


def make_student(name, seed):
    """Build a linear model of words, or a net with one hidden layer."""
    if name == "ag_news10k":
        words = TfidfVectorizer(min_df=2, sublinear_tf=True)
        return make_pipeline(words, LogisticRegression(C=10.0, max_iter=500))
    return StudentNet(
        module__hidden_sizes=(128,), max_epochs=40, device="cpu", random_state=seed
    )


def run(name, start, seed):
    """Fit from no label, or from as many random ones as the first batch has."""
    X, y, X_test, y_test = data(name)
    n_labels, n_pool = TASKS[name]
    classes = np.unique(y)
    rows = np.random.default_rng(seed).permutation(len(y))[:n_pool]
    X, y = [X[i] for i in rows], y[rows]
    X = X if isinstance(X[0], str) else np.array(X)
    is_row = {_key(row): label for row, label in zip(X, y, strict=True)}
    n_given = round_size("auto", 0, len(classes)) if start == "given" else 0
    marker = "?" if y.dtype.kind in "US" else -1
    partly = np.where(np.arange(n_pool) < n_given, y, marker)
    model = ActiveDistiller(
        as_teacher(lambda X: [is_row[_key(row)] for row in X], classes=classes),
        make_student(name, seed),
        classes=classes,
        budget=n_labels - n_given,
        unlabeled_marker=marker,
        teacher_checks=CheckPolicy(error_rate=0.0),  # it never errs: no check is needed
        objective="soft",
        random_state=seed,
    ).fit(X, partly, X_val=X_test, y_val=y_test)
    curve = [(r["n_labeled"], r["student_score"]) for r in model.history_]
    return [point for point in curve if point[0]]


def _key(row):
    return row if isinstance(row, str) else row.tobytes()


def mean_curve(curves, grid):
    """Average curves of straight lines over seeds."""
    return np.mean([np.interp(grid, *zip(*c, strict=True)) for c in curves], axis=0)


def labels_needed(pairs, n_labels, share):
    """Return the labels that the mean curve from no label needs, as a share.

    The goal is the mean curve of the fits with given labels at a share of all labels.
    NaN: not reached.
    """
    grid = np.arange(pairs[0]["given"][0][0], n_labels + 1)
    cold, given = (mean_curve([p[s] for p in pairs], grid) for s in STARTS)
    n_goal = round(share * n_labels)
    reached = np.flatnonzero(cold >= given[grid == n_goal][0])
    return grid[reached[0]] / n_goal if len(reached) else np.nan


def read():
    """Read the curves, by data set and seed."""
    found: dict = {}
    for line in PATH.read_text(encoding="utf8").splitlines() if PATH.exists() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by an interruption
        key = record["data"], record["seed"]
        found.setdefault(key, {})[record["start"]] = record["curve"]
    return found


def report(found):
    """Write the table in Markdown."""
    rows = []
    for name, (n_labels, _) in TASKS.items():
        pairs = [runs for (d, _), runs in found.items() if d == name and len(runs) == 2]
        if not pairs:
            continue
        n_first = pairs[0]["given"][0][0]
        cells = [f"{_interval([100 * p[s][-1][1] for p in pairs])}" for s in STARTS]
        needed = [labels_needed(pairs, n_labels, share) for share in SHARES]
        rows.append(
            [name, len(pairs), n_labels, n_first, *cells]
            + [f"{x:.2f}" if np.isfinite(x) else "not reached" for x in needed]
        )
    header = ["data", "seeds", "labels", "first batch", "accuracy from none, %"]
    header += ["accuracy from as many given, %"]
    header += [f"labels needed at {100 * share:.0f} %" for share in SHARES]
    return "\n".join(
        [
            "# Starting without any label",
            "",
            "Means over seeds ± half of the 95 % t interval. Labels needed: by the fit "
            "from no label, to be as good as the fit with given labels is with a share "
            "of all labels, relative to that number; both curves are means over seeds. "
            "The teacher is always right.",
            "",
            markdown_table(header, rows),
            "",
            *machine_lines(),
        ]
    )


def _interval(values):
    mean, low, _ = mean_interval(values)
    return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    done = read()
    for seed in range(0 if options.table else options.seeds):
        for name in TASKS:
            for start in STARTS:
                if start not in done.get((name, seed), {}):
                    curve = run(name, start, seed)
                    record = {
                        "data": name,
                        "seed": seed,
                        "start": start,
                        "curve": curve,
                    }
                    append(PATH, record)
    save_result("cold_start.md", report(read()))


if __name__ == "__main__":
    main()
