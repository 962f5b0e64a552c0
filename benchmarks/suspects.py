"""How many of the first hundred suspects are mistakes, beside cleanlab's.

Teachers with injected mistakes on six data sets. Both see the same paid labels, and
students of the same kind: cleanlab those of one cross-validation of the paid and given
rows, by its self-confidence.

    SKADISTILL_DATA=... python benchmarks/suspects.py --seeds 3    # restartable
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from _common import machine_lines, markdown_table, remembered, save_result
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from uniform_share import TASKS, problem

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.soft_labels._out_of_fold import predict_out_of_fold
from skadistill.teachers import as_teacher

KEPT = Path(__file__).resolve().parent / "results" / "suspects.jsonl"
METHODS = ("checks", "no checks", "cleanlab")


def run(name, seed):
    """Return the precision among the first hundred, and the share of mistakes."""
    X, y, pool, _, _, teacher = problem(name, seed)
    classes = np.unique(y)
    found = {}
    for method, objective in {"checks": "corrected", "no checks": "soft"}.items():
        model = ActiveDistiller(
            teacher,
            LogisticRegression(max_iter=200),
            query_strategy="random",
            budget=1000,
            objective=objective,
            teacher_checks=CheckPolicy(
                150 if method == "checks" else "auto", error_rate=TASKS[name][3]
            ),
            random_state=seed,
        ).fit(X, y, X_unlabeled=pool)
        wrong = mistakes(name, seed)
        suspects = model.suspects(X, X_unlabeled=pool)
        at = suspects["row"].to_numpy() - len(X)
        found[method] = float(wrong[at[:100]].mean())
    rows = np.concatenate([np.arange(len(X)), len(X) + np.sort(at)])
    both = np.concatenate([X, pool])[rows]
    codes = np.concatenate(
        [
            np.searchsorted(classes, y),
            as_teacher(teacher).ask(pool[np.sort(at)], classes).argmax(axis=1),
        ]
    )
    proba = predict_out_of_fold(
        LogisticRegression(max_iter=200),
        both,
        np.eye(len(classes))[codes],
        classes=classes,
        given=np.arange(len(rows)) < len(X),
        n_folds=5,
        seed=seed,
    )
    proba /= proba.sum(axis=1, keepdims=True)
    quality = get_label_quality_scores(codes, proba)[len(X) :]
    found["cleanlab"] = float(wrong[np.sort(at)[np.argsort(quality)[:100]]].mean())
    found["all"] = float(wrong[at].mean())
    return found


def mistakes(name, seed):
    """Return the rows of the pool on which the teacher is wrong."""
    X, _, pool, _, _, teacher = problem(name, seed)
    return np.asarray(teacher.wrong_)[len(X) : len(X) + len(pool)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for name in TASKS:
        found = []
        for seed in range(options.seeds):
            found.append(remembered(KEPT, [name, seed], partial(run, name, seed)))
            print(name, seed, found[-1], flush=True)
        mean = {k: 100 * np.mean([f[k] for f in found]) for k in found[0]}
        rows.append([name, *(f"{mean[k]:.0f}" for k in (*METHODS, "all"))])
    text = [
        "# Mistakes among the first hundred suspects, %",
        "",
        markdown_table(["data", *METHODS, "all paid labels"], rows),
        "",
        f"{options.seeds} seeds; students: logistic regressions; mistakes mostly near "
        "the class boundaries.",
        "",
        *machine_lines(),
    ]
    save_result("suspects.md", "\n".join(text))


if __name__ == "__main__":
    main()
