"""Run the two quick starts of the documentation, and draw their pictures.

    python benchmarks/quickstarts.py            # measures, then draws
    python benchmarks/quickstarts.py --draw     # draws the kept runs

The first is a language model that assigns questions about programming to 20 topics; its
answers were recorded once (SKADISTILL_ANSWERS names their folder, see
`real_teachers.py`). The second is the session of ``docs/quickstart_table.rst``, on
scikit-learn's digits. Both use default settings; only rows, budget and seed are given.
The student after each round is scored on test rows that nothing else uses. Writes
``results/quickstarts.jsonl`` and ``docs/_static/quickstart_llm.svg`` and
``quickstart_table.svg``.
"""

import argparse
import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from _common import machine_lines, markdown_table
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split

from skadistill import ActiveDistiller
from skadistill.teachers import as_teacher

HERE = Path(__file__).parent
RUNS = HERE / "results" / "quickstarts.jsonl"
STATIC = HERE.parent / "docs" / "_static"
STRATEGIES = {"robust": ("C0", "-", "chosen rows"), "random": ("0.5", "--", "random")}


def texts_and_model(seed):
    """Return rows, labels, teacher, accuracy of the teacher, and the budget."""
    from real_teachers import as_proba, load_answers

    texts, truth, classes, models, *_ = load_answers()("stackoverflow_llm")
    proba = as_proba(models["llama32_3b"], "label", len(classes))
    where = {text: row for row, text in reversed(list(enumerate(texts)))}
    rows, test = train_test_split(
        np.arange(len(texts)), test_size=4000, random_state=seed
    )

    def answer(asked):
        return proba[[where[text] for text in asked]]

    teacher = as_teacher(
        answer, classes=range(len(classes)), name="recorded", version="1"
    )
    y = np.full(len(rows), -1)
    y[:100] = truth[rows[:100]]
    right = np.mean(np.nan_to_num(proba[test]).argmax(axis=1) == truth[test])
    X = list(texts[rows]), list(texts[test])
    return X, y, truth[test], teacher, right, 2000


def digits_and_trees(seed):
    """Return the same for the table."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    X_theirs, X, y_theirs, y = train_test_split(X, y, train_size=600, random_state=seed)
    X, X_test, y, y_test = train_test_split(X, y, test_size=500, random_state=seed)
    teacher = ExtraTreesClassifier(300, random_state=seed).fit(X_theirs, y_theirs)
    right = teacher.score(X_test, y_test)
    y.iloc[50:] = -1
    return (X, X_test), y, y_test, teacher, right, 300


PROBLEMS = {"llm": texts_and_model, "table": digits_and_trees}


def measure(seeds):
    """Yield one record per problem, strategy and seed."""
    for name, make in PROBLEMS.items():
        for seed in range(seeds):
            (X, X_test), y, y_test, teacher, right, budget = make(seed)
            for strategy in STRATEGIES:
                distiller = ActiveDistiller(
                    teacher, budget=budget, query_strategy=strategy, random_state=seed
                ).fit(X, y, X_val=X_test, y_val=y_test)
                history = distiller.history_
                yield {
                    "problem": name,
                    "strategy": strategy,
                    "seed": seed,
                    "teacher": right,
                    "n_paid": np.cumsum([r["n_paid"] for r in history]).tolist(),
                    "accuracy": [r["student_score"] for r in history],
                    "final": distiller.score(X_test, y_test),
                    "error": distiller.teacher_error_,
                }


def draw(runs, title, unit):
    """Return a figure: accuracy against labels bought, with the teacher as a line."""
    figure, ax = plt.subplots(figsize=(6, 3.4))
    for strategy, (color, style, label) in STRATEGIES.items():
        found = [run for run in runs if run["strategy"] == strategy]
        most = max(run["n_paid"][-1] for run in found)
        least = max(run["n_paid"][0] for run in found)
        at = np.linspace(least, most, 60)
        curves = [np.interp(at, r["n_paid"], r["accuracy"]) for r in found]
        mean, spread = 100 * np.mean(curves, axis=0), 100 * np.std(curves, axis=0)
        ax.plot(at, mean, color=color, ls=style, label=f"student, {label}")
        ax.fill_between(at, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
    teacher = 100 * np.mean([run["teacher"] for run in runs])
    ax.axhline(teacher, color="C1", ls=":", label="the teacher itself")
    ax.set(title=title, xlabel=f"{unit} labeled by the teacher", ylabel="accuracy in %")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(loc="lower right")
    figure.tight_layout()
    return figure


def summarize(runs):
    """Return the table: means over seeds at the start and at the end."""
    rows = []
    for name in PROBLEMS:
        for strategy in STRATEGIES:
            found = [
                run
                for run in runs
                if (run["problem"], run["strategy"]) == (name, strategy)
            ]
            mean = {
                key: 100 * np.mean([value(run) for run in found])
                for key, value in {
                    "teacher": lambda run: run["teacher"],
                    "alone": lambda run: run["accuracy"][0],
                    "final": lambda run: run["final"],
                }.items()
            }
            paid = round(np.mean([run["n_paid"][-1] for run in found]))
            rows.append([name, strategy, paid, *(f"{v:.1f}" for v in mean.values())])
    header = ["run", "strategy", "labels of the pool", "teacher %"]
    return markdown_table([*header, "labeled rows alone %", "student %"], rows)


def main():
    """Measure unless told otherwise, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="draw the kept runs only")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if not given.draw:
        with RUNS.open("w", encoding="utf8") as stream:
            for run in measure(given.seeds):
                print(run["problem"], run["strategy"], run["seed"], run["final"])
                stream.write(json.dumps(run) + "\n")
                stream.flush()
    runs = [json.loads(line) for line in RUNS.read_text(encoding="utf8").splitlines()]
    if not given.draw:
        text = (
            "# The quick starts\n\n"
            "Means over seeds; checks of the teacher are not counted.\n\n"
            f"{summarize(runs)}\n"
        )
        lines = "".join(f"\n- {line}" for line in machine_lines())
        (HERE / "results" / "quickstarts.md").write_text(text + lines + "\n")
    matplotlib.rcParams.update({"svg.hashsalt": "skadistill", "svg.fonttype": "none"})
    titles = {
        "llm": ("Programming questions, 20 topics, a recorded LLM", "questions"),
        "table": ("Handwritten digits, 64 columns, an ensemble", "rows"),
    }
    for name, (title, unit) in titles.items():
        figure = draw([run for run in runs if run["problem"] == name], title, unit)
        figure.savefig(STATIC / f"quickstart_{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
