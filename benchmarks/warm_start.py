"""Whether students should go on from the last round: seconds and accuracy.

Three ways to train the student of each round, on the same rows, teachers and seeds:
afresh (the default), on from the last round's weights with as many epochs, and on from
them with a third of the epochs. The teacher is a forest fitted on half of the training
rows; labeled rows and pool come from the other half.

    SKADISTILL_DATA=... python benchmarks/warm_start.py            # some minutes
    SKADISTILL_DATA=... python benchmarks/warm_start.py --quick    # not saved
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import time

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
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.student import StudentNet

DATA = ("letter", "magic", "pendigits")
N_LABELED, N_QUERIES, N_ROUNDS = 200, 1500, 5
EPOCHS = 60
ARMS = {
    "afresh": {"warm_start": False, "max_epochs": EPOCHS},
    "warm": {"warm_start": True, "max_epochs": EPOCHS},
    "warm, a third": {"warm_start": True, "max_epochs": EPOCHS // 3},
}


def make_problem(name, seed):
    """Split a data set in labeled rows, pool and test rows; fit the teacher."""
    X_train, y_train, X_test, y_test = load(name)
    X_train, X_test = standardize(X_train, X_test)
    mine, theirs = train_test_split(
        np.arange(len(y_train)), test_size=0.5, stratify=y_train, random_state=seed
    )
    teacher = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
    teacher.fit(X_train[theirs], y_train[theirs])
    labeled, pool = train_test_split(
        mine, train_size=N_LABELED, stratify=y_train[mine], random_state=seed
    )
    return X_train, y_train, labeled, pool, teacher, X_test, y_test


def measure(problem, arm, seed):
    """Distill once; return seconds of student training, of all, and accuracy."""
    X, y, labeled, pool, teacher, X_test, y_test = problem
    settings = ARMS[arm]
    student = StudentNet(
        max_epochs=settings["max_epochs"],
        warm_start=settings["warm_start"],
        device="cpu",
        random_state=seed,
    )
    distiller = ActiveDistiller(
        teacher,
        student,
        budget=N_QUERIES,
        query_size=N_QUERIES // N_ROUNDS,
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=seed,
    )
    start = time.perf_counter()
    distiller.fit(X[labeled], y[labeled], X_unlabeled=X[pool])
    total = time.perf_counter() - start
    student_seconds = sum(record["seconds_student"] for record in distiller.history_)
    return student_seconds, total, distiller.score(X_test, y_test)


def rows_of(name, runs):
    """Return one row of the table for each arm of one data set."""
    cold = runs["afresh"]
    rows = []
    for arm, found in runs.items():
        accuracy = 100 * found[:, 2]
        mean, low, high = mean_interval(accuracy)
        difference = "" if arm == "afresh" else "{:+.2f} [{:+.2f}, {:+.2f}]"
        if difference:
            difference = difference.format(
                *paired_difference(accuracy, 100 * cold[:, 2])[:3]
            )
        rows.append(
            [
                name,
                arm,
                f"{found[:, 0].mean():.2f}",
                f"{found[:, 1].mean():.2f}",
                "{:.2f} [{:.2f}, {:.2f}]".format(
                    *mean_interval(found[:, 0] / cold[:, 0])
                ),
                f"{mean:.2f} [{low:.2f}, {high:.2f}]",
                difference,
            ]
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, not saved")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    names = DATA[:1] if options.quick else DATA
    n_seeds = 2 if options.quick else options.seeds
    rows, differences = [], {arm: [] for arm in ARMS}
    for name in names:
        runs = {arm: [] for arm in ARMS}
        for seed in range(n_seeds):
            problem = make_problem(name, seed)
            for arm in ARMS:
                runs[arm].append(measure(problem, arm, seed))
        runs = {arm: np.array(found) for arm, found in runs.items()}
        rows += rows_of(name, runs)
        for arm in ARMS:
            differences[arm].extend(100 * (runs[arm][:, 2] - runs["afresh"][:, 2]))
    header = [
        "data",
        "student",
        "student fit s",
        "fit s",
        "student fit, share",
        "accuracy %",
        "minus afresh, points",
    ]
    text = "\n".join(
        [
            "# Students that go on from the last round",
            "",
            f"{N_LABELED} labeled rows, {N_QUERIES:,} asked in {N_ROUNDS} rounds, "
            f"{n_seeds} seeds, the default network with {EPOCHS} epochs a round, one "
            f"thread. `warm` goes on from the weights of the last round with {EPOCHS} "
            f"epochs, `warm, a third` with {EPOCHS // 3}. Differences are paired by "
            "seed.",
            "",
            markdown_table(header, rows),
            "",
            *(
                "Over all data sets and seeds, {} minus afresh: "
                "{:+.2f} [{:+.2f}, {:+.2f}] points.".format(
                    arm, *mean_interval(differences[arm])
                )
                for arm in list(ARMS)[1:]
            ),
            "",
            *machine_lines(),
        ]
    )
    if options.quick:
        print(text)
    else:
        save_result("warm_start.md", text)


if __name__ == "__main__":
    main()
