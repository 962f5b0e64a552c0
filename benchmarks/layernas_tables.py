"""Compare LayerNAS with other searches on tables of trained networks.

Run ``SKADISTILL_DATA=... python benchmarks/layernas_tables.py [--save]``; it needs
pandas and Optuna. The tables hold the accuracy and the cost of every network of a
space, so that each search can be run many times and judged by the truth.

What a search sees of a network is its accuracy in the table plus normal noise, the
same whenever the network comes up again; what is reported is the table's accuracy of
its choice. All methods meet the same noise with the same seed. Costs are known
without training: no method pays for looking at a network over the limit, and none of
the rivals trains one.
"""

import argparse
import sys
import warnings
from collections import deque
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _common import (
    data_folder,
    machine_lines,
    markdown_table,
    mean_interval,
    paired_difference,
    remembered,
    save_result,
)

from skadistill.search import layernas
from skadistill.search._layernas import bound_evaluations

COUNTS = (70, 140, 450)
# The mean published deviation between the runs of one network of nasbench_macro.
NOISE = 0.15
RUNS = Path(__file__).parent / "results" / "layernas_tables.jsonl"
POPULATION, TOURNAMENT = 20, 5
RUNGS = (1, 2, 4)


class Space:
    """A table of networks: options by layer, their costs and accuracies."""

    def __init__(self, name, choices, costs, accuracies, limit, unit):
        self.name, self.limit, self.unit = name, limit, unit
        costs, accuracies = np.asarray(costs), np.asarray(accuracies)
        self.sizes = choices.max(axis=0) + 1
        order = np.ravel_multi_index(choices.T, self.sizes).argsort()
        self.costs, self.accuracies = costs[order], accuracies[order]
        self.allowed = np.flatnonzero(self.costs <= limit)
        self.layers = {f"layer_{i}": range(n) for i, n in enumerate(self.sizes)}

    def number(self, choice):
        return int(np.ravel_multi_index(tuple(choice), self.sizes))

    def choice(self, number):
        return [int(i) for i in np.unravel_index(number, self.sizes)]


def nats_size():
    table = pd.read_csv(data_folder() / "nats_size_cifar10.csv.gz")
    choices = table[[f"c{i}" for i in range(1, 6)]].to_numpy() // 8 - 1
    return Space(
        "nats_size", choices, table.flops / 1e6, table.accuracy, 140.0, "MFLOPs"
    )


def nasbench_macro():
    table = pd.read_csv(data_folder() / "nasbench_macro.csv.gz", dtype={"arch": str})
    choices = np.array([[int(digit) for digit in arch] for arch in table.arch])
    flops = table.flops / 1e6
    return Space(
        "nasbench_macro", choices, flops, table.acc_mean, flops.median(), "MFLOPs"
    )


def nasbench201(column, scale, unit):
    table = pd.read_csv(data_folder() / "nasbench201.csv.gz")
    edges = ["0to1", "0to2", "1to2", "0to3", "1to3", "2to3"]
    choices = table[[f"op_{edge}" for edge in edges]].to_numpy()
    costs = table[column] / scale
    name = f"nasbench201, {unit}"
    return Space(name, choices, costs, table.acc_cifar10, costs.median(), unit)


class Trainer:
    """Hand out noisy accuracies, and keep the networks trained, in order."""

    def __init__(self, space, noise, seed):
        self.space = space
        rng = np.random.default_rng([seed, 1])
        self.noise = noise * rng.normal(size=(max(RUNGS), len(space.costs)))
        self.seen = {}

    def __call__(self, number):
        if number not in self.seen:
            self.seen[number] = self.mean_score(number, 1)
        return self.seen[number]

    def mean_score(self, number, n_runs):
        return self.space.accuracies[number] + self.noise[:n_runs, number].mean()

    def answer(self, n_evaluations):
        """Return the true accuracy of the best-looking network so far."""
        seen = list(self.seen.items())[:n_evaluations]
        allowed = [(s, n) for n, s in seen if self.space.costs[n] <= self.space.limit]
        return self.space.accuracies[max(allowed)[1]]


def run_layernas(space, trainer, count, seed, *, plain=False):
    """Search layer by layer; `plain` as in the paper, without refinement."""

    def number(candidate):
        return space.number(candidate.values())

    settings = {"max_evaluations": count}
    if plain:
        fitting = [h for h in range(1, count) if layers_bound(space, h) <= count]
        n_buckets = max(fitting, default=1)
        settings = {"n_buckets": n_buckets, "default": "largest"}
    layernas(
        lambda candidates: [trainer(number(c)) for c in candidates],
        lambda candidate: space.costs[number(candidate)],
        space.layers,
        max_size=space.limit,
        **settings,
    )


def layers_bound(space, n_buckets):
    return bound_evaluations(space.layers, n_buckets=n_buckets)


def run_random(space, trainer, count, seed):
    """Train networks within the limit, drawn without replacement."""
    rng = np.random.default_rng([seed, 2])
    for number in rng.permutation(space.allowed)[:count]:
        trainer(int(number))


def run_evolution(space, trainer, count, seed):
    """Regularized evolution (Real et al. 2019): the oldest leaves, a mutant enters.

    A mutant differs in one layer; one over the limit is drawn again.
    """
    rng = np.random.default_rng([seed, 3])
    population = deque(maxlen=POPULATION)
    for number in rng.permutation(space.allowed)[:POPULATION]:
        population.append((trainer(int(number)), int(number)))
    for _ in range(20 * count):
        if len(trainer.seen) >= count:
            break
        rivals = rng.choice(len(population), TOURNAMENT, replace=False)
        parent = space.choice(max(population[i] for i in rivals)[1])
        while True:
            child = list(parent)
            layer = rng.integers(len(child))
            child[layer] = int(
                rng.choice(np.delete(np.arange(space.sizes[layer]), child[layer]))
            )
            if space.costs[space.number(child)] <= space.limit:
                break
        number = space.number(child)
        population.append((trainer(number), number))


def run_tpe(space, trainer, count, seed):
    """Optuna's multivariate TPE with the limit as a constraint.

    Trials over the limit are told to the sampler but not trained, and a network
    proposed again is free; there are at most half as many such trials as trainings.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")

    def objective(trial):
        choice = [
            trial.suggest_categorical(f"layer_{i}", list(range(n)))
            for i, n in enumerate(space.sizes)
        ]
        number = space.number(choice)
        excess = float(space.costs[number] - space.limit)
        trial.set_user_attr("excess", [excess])
        return float(trainer(number)) if excess <= 0 else 0.0

    sampler = optuna.samplers.TPESampler(
        seed=seed,
        multivariate=True,
        constraints_func=lambda trial: trial.user_attrs["excess"],
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def enough(study, trial):
        if len(trainer.seen) >= count:
            study.stop()

    study.optimize(objective, n_trials=3 * count // 2, callbacks=[enough])


def run_halving(space, trainer, count, seed):
    """Successive halving over repeated trainings, 1, 2, then 4 of each network.

    The tables hold no learning curves, so a rung is a number of trainings whose
    scores are averaged; each counts. Returns its choice.
    """
    rng = np.random.default_rng([seed, 4])
    # Every rung after the first costs half as many trainings as the first.
    survivors = rng.permutation(space.allowed)[: count // 2]
    for n_runs in RUNGS:
        scores = np.array([trainer.mean_score(n, n_runs) for n in survivors])
        best = survivors[scores.argmax()]
        survivors = survivors[np.argsort(-scores)[: len(survivors) // 2]]
    return space.accuracies[best]


METHODS = {
    "LayerNAS": run_layernas,
    "LayerNAS as in the paper": partial(run_layernas, plain=True),
    "random search": run_random,
    "regularized evolution": run_evolution,
    "Optuna TPE, constrained": run_tpe,
    "successive halving": run_halving,
}
# One run of these shows what fewer evaluations would have given.
ANYTIME = {run_random, run_evolution, run_tpe}


def run_seed(space, method, noise, seed):
    """Run a method once; the answer and the trainings used for each count."""
    answers, used = [], []
    trainer = Trainer(space, noise, seed)
    if method in ANYTIME:
        method(space, trainer, max(COUNTS), seed)
    for count in COUNTS:
        answer = None
        if method not in ANYTIME:
            trainer = Trainer(space, noise, seed)
            answer = method(space, trainer, count, seed)
        used.append(count if answer else min(count, len(trainer.seen)))
        answers.append(float(answer or trainer.answer(count)))
    return answers, used


def true_accuracies(space, name, noise, n_seeds):
    """Run a method, or look up earlier runs; two arrays (n_counts, n_seeds)."""
    runs = []
    for seed in range(n_seeds):
        run = partial(run_seed, space, METHODS[name], noise, seed)
        runs.append(remembered(RUNS, [space.name, name, noise, seed], run))
    answers, used = zip(*runs, strict=True)
    return np.array(answers).T, np.array(used).T


def cell(values):
    mean, low, _ = mean_interval(values)
    return f"{mean:.3f} ± {mean - low:.3f}"


def compare(space, noise, n_seeds):
    """Lay out one table; one row a method."""
    results = {}
    rows = []
    for name in METHODS:
        found, used = true_accuracies(space, name, noise, n_seeds)
        results[name] = found
        trainings = ", ".join(f"{n:.0f}" for n in used.mean(axis=1))
        rows.append([name, *map(cell, found), trainings])
        print(space.name, noise, *rows[-1], sep=" | ", file=sys.stderr)
    ours, rivals = results["LayerNAS"], list(METHODS)[2:]
    lines = []
    for i, count in enumerate(COUNTS):
        rival = max(rivals, key=lambda name: results[name][i].mean())
        mean, low, high, p = paired_difference(ours[i], results[rival][i])
        lines.append(
            f"- {count}: {mean:+.3f} ({low:+.3f} to {high:+.3f}, p = {p:.2g}) against "
            f"{rival}, the best rival."
        )
    best = space.accuracies[space.allowed].max()
    share = len(space.allowed) / len(space.costs)
    header = ["Method", *(f"{count} trainings" for count in COUNTS), "used, mean"]
    return [
        f"## {space.name}",
        "",
        f"{len(space.costs):,} networks, {share:.0%} of them within the limit of "
        f"{space.limit:.4g} {space.unit}; the best of these has {best:.2f}.",
        "",
        markdown_table(header, rows),
        "",
        *lines,
        "",
    ]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--spaces", type=int, default=4, help="how many of them")
    parser.add_argument("--noise", type=float, default=NOISE)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args(argv)
    spaces = [
        nats_size(),
        nasbench_macro(),
        nasbench201("flops_derived", 1e6, "MFLOPs"),
        nasbench201("lat_ms_pixel3", 1, "ms on a Pixel 3"),
    ]
    import optuna

    lines = [
        "# LayerNAS against other searches on tables",
        "",
        f"Accuracy in the table (%) of the choice, mean of {options.seeds} seeds "
        "± half of its 95 % t interval.",
        "The search sees accuracies with normal noise of standard deviation "
        f"{options.noise:g} points; a network seen again has the same.",
        'LayerNAS has its defaults and `max_evaluations`; "as in the paper" completes '
        "by the largest options, does not refine, and has as many buckets as the "
        "count allows.",
        f"Evolution: population {POPULATION}, tournament {TOURNAMENT}. Successive "
        f"halving: rungs of {', '.join(map(str, RUNGS))} trainings, since the tables "
        "hold no learning curves.",
        "Made by `python benchmarks/layernas_tables.py --save`.",
        "",
    ]
    for space in spaces[: options.spaces]:
        lines += compare(space, options.noise, options.seeds)
    lines += [f"- {line}" for line in machine_lines()]
    lines.append(f"- optuna {optuna.__version__}, pandas {pd.__version__}")
    text = "\n".join(lines)
    if options.save:
        name = "" if options.noise == NOISE else f"_noise_{options.noise:g}"
        save_result(f"layernas_tables{name}.md", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
