"""Train real students under limits on their size: LayerNAS, random search, uniform.

Run ``SKADISTILL_DATA=... python benchmarks/layernas_students.py [--save]``; it needs
Pillow. Sized for an hour or so of one CPU core: rows are subsampled, images are shrunk
to 16 x 16 by averaging, and students are trained for few epochs.

LayerNAS and random search train the same number of candidates on three quarters of
the rows, choose on the last quarter, and train their choice on all. The uniform
student is the widest one of equal layers within the limit and is trained once. All
are judged on test rows that nobody else saw.
"""

import argparse
import sys
import time
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from _common import (
    load,
    machine_lines,
    markdown_table,
    mean_interval,
    paired_difference,
    remembered,
    save_result,
    standardize,
)
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit

from skadistill.search import (
    LayeredCNN,
    LayeredMLP,
    LayerNASSearchCV,
    cnn_space,
    mlp_space,
)
from skadistill.search._size import count_params
from skadistill.student import StudentNet

RUNS = Path(__file__).parent / "results" / "layernas_students.jsonl"


def letter(seed):
    """Draw 6000 of the 16,000 training rows."""
    X, y, X_test, y_test = load("letter")
    rows = np.random.default_rng(seed).permutation(len(X))[:6000]
    return X[rows], y[rows], X_test, y_test


def cifar10(seed):
    """Draw 3000 of the 50,000 training images and 3000 test images, 16 x 16."""
    rng = np.random.default_rng(seed)
    X, y, X_test, y_test = all_images()
    rows, test = rng.permutation(len(X))[:3000], rng.permutation(len(X_test))[:3000]
    return shrunk(X[rows]), y[rows], shrunk(X_test[test]), y_test[test]


@cache
def all_images():
    return load("cifar10")


def shrunk(images):
    images, _ = standardize(images, images[:0])
    n = len(images)
    images = images.reshape(n, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) - 0.5)


class Task:
    """What is trained on what: a net, its space, its uniform family and limits."""

    def __init__(self, name, data, net, space, uniform, limits, n_trainings, n_seeds):
        self.name, self.data, self.net = name, data, net
        self.space, self.uniform, self.limits = space, uniform, limits
        self.n_trainings, self.n_seeds = n_trainings, n_seeds

    def widest_uniform(self, X, y, limit):
        """Find the largest width whose uniform student is within the limit."""
        fitting = [
            width
            for width in range(1, 257)
            if count_params(self.net(0).set_params(**self.uniform(width)), X, y)
            <= limit
        ]
        return self.uniform(max(fitting))


TASKS = [
    Task(
        "letter",
        letter,
        lambda seed: StudentNet(
            LayeredMLP, standardize=True, max_epochs=20, random_state=seed
        ),
        mlp_space(3, (12, 16, 24, 32, 48, 64, 96)),
        lambda width: {"module__width_1": width, "module__width_2": width},
        (1_500, 4_000, 12_000),
        40,
        10,
    ),
    Task(
        "cifar10",
        cifar10,
        lambda seed: StudentNet(LayeredCNN, max_epochs=10, random_state=seed),
        cnn_space(3, (8, 12, 16, 24, 32), (3,)),
        lambda width: {f"module__width_{i}": width for i in (1, 2, 3)},
        (3_000, 6_000, 12_000),
        20,
        5,
    ),
]


def random_candidates(task, X, y, limit, rng):
    """Draw distinct candidates within the limit, all alike likely."""
    drawn, layers = {}, task.space.items()
    while len(drawn) < task.n_trainings:
        choice = tuple(int(rng.integers(len(options))) for _, options in layers)
        params = {}
        for (name, options), i in zip(layers, choice, strict=True):
            option = options[i]
            params.update(option if isinstance(option, dict) else {name: option})
        if count_params(task.net(0).set_params(**params), X, y) <= limit:
            drawn[choice] = {key: [value] for key, value in params.items()}
    return list(drawn.values())


def run(task, limit, seed):
    """Return test accuracy (%), size and seconds of processor of three students."""
    X, y, X_test, y_test = task.data(seed)
    cv = StratifiedShuffleSplit(1, test_size=0.25, random_state=seed)
    layernas = LayerNASSearchCV(
        task.net(seed),
        task.space,
        max_size=limit,
        max_evaluations=task.n_trainings,
        cv=cv,
    )
    rng = np.random.default_rng([seed, limit])
    candidates = random_candidates(task, X, y, limit, rng)
    start = time.process_time()
    students = {
        "LayerNAS": layernas.fit(X, y).best_estimator_,
        "random search": GridSearchCV(task.net(seed), candidates, cv=cv)
        .fit(X, y)
        .best_estimator_,
        "uniform": task.net(seed)
        .set_params(**task.widest_uniform(X, y, limit))
        .fit(X, y),
    }
    assert len(layernas.cv_results_["params"]) <= task.n_trainings
    seconds = time.process_time() - start
    return {"seconds": seconds} | {
        name: (
            100 * student.score(X_test, y_test),
            sum(p.numel() for p in student.module_.parameters()),
        )
        for name, student in students.items()
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="default: as each task has it")
    parser.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS])
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    minutes = 0.0
    lines = [
        "# Students under limits on their size",
        "",
        "Test accuracy (%), mean over seeds ± half of its 95 % t interval; in brackets "
        "the mean number of parameters.",
        "LayerNAS and random search train the same number of candidates on one split, "
        "and their choice once more; the uniform student is trained once.",
        "letter: 10 seeds, 6000 training rows, 20 epochs, up to three hidden layers of "
        "12 to 96 units, 40 candidates; uniform is two equal layers.",
        "cifar10: 5 seeds, 3000 training images of 16 x 16 pixels, 10 epochs, up to "
        "three blocks of 8 to 32 channels, 20 candidates; uniform is three equal "
        "blocks.",
        "Made by `python benchmarks/layernas_students.py --save`.",
        "",
    ]
    rows, differences = [], []
    for task in (task for task in TASKS if task.name in options.tasks):
        for limit in task.limits:
            runs = [
                remembered(
                    RUNS, [task.name, limit, seed], partial(run, task, limit, seed)
                )
                for seed in range(options.seeds or task.n_seeds)
            ]
            minutes += sum(r.pop("seconds") for r in runs) / 60
            cells = [f"{task.name}, {limit:,}"]
            scores = {}
            for name in runs[0]:
                scores[name] = [r[name][0] for r in runs]
                mean, low, _ = mean_interval(scores[name])
                size = np.mean([r[name][1] for r in runs])
                cells.append(f"{mean:.2f} ± {mean - low:.2f} ({size:,.0f})")
            rows.append(cells)
            print(*cells, f"{minutes:.0f} minutes", file=sys.stderr)
            for rival in ("random search", "uniform"):
                mean, low, high, p = paired_difference(
                    scores["LayerNAS"], scores[rival]
                )
                differences.append(
                    f"- {cells[0]}: LayerNAS {mean:+.2f} ({low:+.2f} to {high:+.2f}, "
                    f"p = {p:.2g}) against {rival}."
                )
    header = ["Data, limit", *runs[0]]
    lines += [markdown_table(header, rows), "", *differences, ""]
    lines.append(f"{minutes:.0f} minutes of one core.")
    lines += ["", *(f"- {line}" for line in machine_lines())]
    text = "\n".join(lines)
    if options.save:
        save_result("layernas_students.md", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
