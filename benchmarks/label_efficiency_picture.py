"""Draw what paid labels bring, from the runs that `label_efficiency.py` kept.

    python benchmarks/label_efficiency_picture.py

writes ``docs/_static/label_efficiency.svg``, which the README shows. Nothing is
measured here, and the same runs give the same file.
"""

import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
RUNS = HERE / "results" / "label_efficiency_rad.jsonl"
PICTURE = HERE.parent / "docs" / "_static" / "label_efficiency.svg"

TEACHERS = {
    "trained": "teacher trained on the labeled rows",
    "stronger": "stronger teacher",
}
STRATEGIES = {"random": ("o", "0.55"), "robust": ("D", "C0"), "margin": ("|", "C1")}


def mean_accuracies(runs):
    """Map (teacher, data, strategy) to the mean over seeds, in %."""
    found = {}
    for run in runs:
        key = run["setting"], run["data"], run["strategy"]
        found.setdefault(key, []).append(run["accuracy"])
    return {key: 100 * np.mean(values) for key, values in found.items()}


def gains(accuracies, teacher, strategy):
    """Map each data set to the points gained over the student alone."""
    # Who learns from the labeled rows only needs no teacher, and was run once.
    alone = {d: v for (_, d, s), v in accuracies.items() if s == "none"}
    return {
        data: value - alone[data]
        for (t, data, s), value in accuracies.items()
        if (t, s) == (teacher, strategy)
    }


def draw(accuracies):
    """Return a figure: one panel a teacher, one line a data set."""
    order = gains(accuracies, "stronger", "robust")
    names = sorted(order, key=order.get)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True, sharey=True)
    for ax, (teacher, title) in zip(axes, TEACHERS.items(), strict=True):
        for strategy, (marker, color) in STRATEGIES.items():
            found = gains(accuracies, teacher, strategy)
            ax.plot(
                [found[name] for name in names],
                range(len(names)),
                ls="none",
                marker=marker,
                ms=10 if marker == "|" else 6,
                mew=2,
                color=color,
                label=f"{strategy} rows",
            )
        ax.axvline(0, color="0.3", lw=1)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.set(title=title, xlabel="points gained over the student alone")
    axes[0].set_yticks(range(len(names)), [n.removesuffix("_minilm") for n in names])
    axes[0].legend(loc="lower right")
    figure.tight_layout()
    return figure


def main():
    """Read the runs and write the picture."""
    runs = map(json.loads, RUNS.read_text(encoding="utf8").splitlines())
    matplotlib.rcParams["svg.hashsalt"] = "skadistill"
    draw(mean_accuracies(runs)).savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
