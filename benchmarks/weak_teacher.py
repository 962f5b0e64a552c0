"""Whether the better student is kept if the teacher learned from the labeled rows.

The same labeled rows, pool, teacher and student: the student of the labeled rows alone,
the distilled one, and what ``on_weak_teacher="warn"`` keeps. Scored on training rows of
the data sets that are used for nothing else.

    SKADISTILL_DATA=... python benchmarks/weak_teacher.py --seeds 3    # restartable
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _common import (
    machine_lines,
    markdown_table,
    mean_interval,
    remembered,
    save_result,
)
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from uniform_share import problem

from skadistill import ActiveDistiller
from skadistill.exceptions import TeacherWarning

KEPT = Path(__file__).resolve().parent / "results" / "weak_teacher.jsonl"
DATA = ("pendigits", "magic", "adult", "sst2_sentences_minilm")
TEACHERS = {
    "trees": ExtraTreesClassifier(40, random_state=0),
    "neighbors": KNeighborsClassifier(5),
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
}


def run(name, teacher, seed):
    """Return scores of the three students, and whether the first one was kept."""
    X, y, pool, X_scored, y_scored, _ = problem(name, seed)
    scores = {}
    for arm, settings in {
        "alone": {"budget": 0},
        "distilled": {"on_weak_teacher": "ignore"},
        "kept": {},
    }.items():
        student = LogisticRegression(max_iter=200)
        settings = {"budget": 300, "random_state": seed} | settings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = ActiveDistiller(TEACHERS[teacher], student, **settings)
            model.fit(X, y, X_unlabeled=pool[:2500])
        scores[arm] = model.score(X_scored, y_scored)
        if arm == "kept":
            scores["first"] = float(model.student_round_ == 0)
            scores["warned"] = float(
                any(issubclass(w.category, TeacherWarning) for w in caught)
            )
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows, everything = [], []
    for teacher in TEACHERS:
        for name in DATA:
            found = []
            for seed in range(options.seeds):
                key = [name, teacher, seed]
                found.append(remembered(KEPT, key, partial(run, *key)))
                print(*key, found[-1], flush=True)
            everything += found
            mean = {k: np.mean([f[k] for f in found]) for k in found[0]}
            rows.append(
                [
                    teacher,
                    name,
                    *(f"{100 * mean[k]:.1f}" for k in ("alone", "distilled", "kept")),
                    f"{100 * mean['first']:.0f}",
                    f"{100 * mean['warned']:.0f}",
                ]
            )
    header = [
        "teacher",
        "data",
        "alone",
        "distilled",
        "kept",
        "first kept %",
        "warned %",
    ]
    gaps = [100 * (f["kept"] - f["distilled"]) for f in everything]
    mean, low, high = mean_interval(gaps)
    chosen = [f for f in everything if f["first"]]
    right = sum(f["alone"] > f["distilled"] for f in chosen)
    text = [
        "# Teachers trained on the labeled rows",
        "",
        markdown_table(header, rows),
        "",
        f"Kept minus distilled: {mean:+.2f} [{low:+.2f}, {high:+.2f}] points over "
        f"{len(gaps)} runs. The first student was kept in {len(chosen)} of them, and "
        f"was the better one in {right}; it would have been in "
        f"{sum(f['alone'] > f['distilled'] for f in everything)} of all.",
        "",
        *machine_lines(),
    ]
    save_result("weak_teacher.md", "\n".join(text))


if __name__ == "__main__":
    main()
