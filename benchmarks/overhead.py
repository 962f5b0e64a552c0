"""What the loop itself costs: seconds of a fit outside teacher and student.

Five rounds, or as many as the default takes, on a pool of 50,000 rows x 64 features.
The wall clock of `fit` minus the seconds that `history_` gives for the teacher
(answering), the student's training and the student's scoring of the pool; the rest is
ours: checks, the query strategy, the ledger, bookkeeping. The teacher is a linear
model that answers in milliseconds, so the share is not hidden behind a slow one.

    python benchmarks/overhead.py            # 3 seeds
    python benchmarks/overhead.py --quick    # a pool of 5,000, one seed
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import time

import numpy as np
import torch
from _common import machine_lines, markdown_table, mean_interval, save_result
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.student import StudentNet

N_FEATURES, N_CLASSES, N_LABELED, N_ROUNDS, N_CHECKS = 64, 10, 1000, 5, 200
BAR = 0.05
# The network's training dwarfs what the strategies differ by: one of them will do.
# "default" is a fit in which nothing is chosen but the teacher and the budget.
STRATEGIES = {
    "StudentNet": ("robust",),
    "LogisticRegression": ("robust", "margin", "random"),
    "default": ("default",),
}
PARTS = ("teacher", "student", "predict", "query")


def make_rows(n_pool, seed):
    """Draw ten Gaussian clouds that overlap; the first rows carry labels."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=0.5, size=(N_CLASSES, N_FEATURES))
    y = rng.integers(N_CLASSES, size=N_LABELED + n_pool)
    X = (centers[y] + rng.normal(size=(len(y), N_FEATURES))).astype(np.float32)
    given = y.copy()
    given[N_LABELED:] = -1
    return X, y, given


def make_student(kind, seed):
    if kind == "StudentNet":
        return StudentNet(device="cpu", random_state=seed)
    return None if kind == "default" else LogisticRegression(max_iter=200)


def measure(kind, strategy, n_pool, seed):
    """Fit once; return the seconds of each part, of the rest and of it all."""
    X, y, given = make_rows(n_pool, seed)
    teacher = LogisticRegression(max_iter=200).fit(X[:5000], y[:5000])
    chosen = {"query_strategy": strategy, "teacher_checks": N_CHECKS}
    chosen["query_size"] = n_pool // 10 // N_ROUNDS
    distiller = ActiveDistiller(
        teacher,
        make_student(kind, seed),
        budget=n_pool // 10 + N_CHECKS,
        random_state=seed,
        **({} if strategy == "default" else chosen),
    )
    start = time.perf_counter()
    distiller.fit(X, given)
    total = time.perf_counter() - start
    if distiller.termination_condition_ != "budget":
        raise RuntimeError(
            f"the fit stopped after {distiller.n_rounds_} rounds for another reason "
            f"({distiller.termination_condition_}); the share would not compare."
        )
    parts = {
        part: sum(record[f"seconds_{part}"] for record in distiller.history_)
        for part in PARTS
    }
    outside = total - parts["teacher"] - parts["student"] - parts["predict"]
    return {
        **parts,
        "rounds": distiller.n_rounds_,
        "outside": outside,
        "total": total,
        "share": outside / total,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller, not saved")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    n_pool = 5_000 if options.quick else 50_000
    seeds = 1 if options.quick else options.seeds
    rows, worst = [], {}
    for kind in STRATEGIES:
        for strategy in STRATEGIES[kind]:
            runs = [measure(kind, strategy, n_pool, seed) for seed in range(seeds)]
            columns = (*PARTS, "outside", "total")
            cells = [f"{np.mean([r[c] for r in runs]):.3f}" for c in columns]
            cells.insert(0, f"{np.mean([r['rounds'] for r in runs]):.0f}")
            share, low, high = mean_interval([r["share"] for r in runs])
            spread = "" if np.isnan(low) else f" ± {100 * (high - share):.2f}"
            rows.append([kind, strategy, *cells, f"{100 * share:.2f}{spread}"])
            worst[kind] = max(worst.get(kind, 0.0), share)
    header = [
        "student",
        "strategy",
        "rounds",
        "teacher s",
        "student fit s",
        "student predict s",
        "query s",
        "outside s",
        "total s",
        "outside %",
    ]
    text = "\n".join(
        [
            "# Overhead of a fit",
            "",
            f"Pool {n_pool:,} x {N_FEATURES}, {N_LABELED:,} labeled rows, "
            f"{N_CLASSES} classes, budget {n_pool // 10 + N_CHECKS:,}, means "
            f"of {seeds} seeds, one thread. `outside` is the wall clock minus teacher, "
            "student fit and student predict; it holds `query`.",
            "",
            markdown_table(header, rows),
            "",
            f"Bar: at most {100 * BAR:.0f} % outside teacher and student. "
            + " ".join(
                f"{kind}, largest mean share {100 * share:.2f} %: "
                f"{'held' if share <= BAR else 'missed'}."
                for kind, share in worst.items()
            ),
            "",
            *machine_lines(),
        ]
    )
    if options.quick:
        print(text)
    else:
        save_result("overhead.md", text)


if __name__ == "__main__":
    main()
