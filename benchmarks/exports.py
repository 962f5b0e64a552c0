"""Which students are exported as ONNX graphs, how large they are and how fast.

Kinds of students and frames are those of `tests/export/kinds.py`, which the tests
compare; here they are fitted to 2,000 rows of adult. Milliseconds are CPU time of one
thread, the fastest of several runs, of the graph and of the student itself.

    SKADISTILL_DATA=... python benchmarks/exports.py

Rows are generated without SKADISTILL_DATA, and nothing is saved.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import csv
import io
import pickle
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
from _common import machine_lines, markdown_table, save_result

from skadistill.export import to_onnx
from skadistill.export._inputs import Input, feed, inputs_of

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "export"))
import kinds

PACKAGES = ("onnx", "onnxruntime", "skl2onnx", "onnxmltools")
PACKAGES += ("lightgbm", "xgboost", "catboost")
HEADER = [
    "student",
    "rows",
    "graph, KB",
    "pickle, KB",
    "graph, ms of 1 row",
    "student, ms of 1 row",
    "graph, ms of 1,000 rows",
    "student, ms of 1,000 rows",
    "largest difference",
]

SHORT = [
    "student",
    "rows",
    "KB",
    "ms of a row",
    "without ONNX",
    "difference",
]


def cpu_ms(function, n_runs):
    """Return the CPU time of the fastest run."""
    times = []
    for _ in range(n_runs):
        start = time.process_time_ns()
        function()
        times.append(time.process_time_ns() - start)
    return min(times) / 1e6


def measure(model, X):
    """Return sizes, times and the largest difference of a model and its graph."""
    content = to_onnx(model, X).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    by_column = [entry.name for entry in session.get_inputs()] != ["X"]
    inputs: list[Input] = inputs_of(X, by_column)
    predict = getattr(model, "predict_proba", model.predict)
    cells = [f"{len(content) / 1e3:.0f}", f"{len(pickle.dumps(model)) / 1e3:.0f}"]
    for rows, n_runs in ((X[:1], 30), (X[:1000], 5)):
        values = {name: value[: len(rows)] for name, value in feed(X, inputs).items()}
        cells.append(f"{cpu_ms(lambda v=values: session.run(None, v), n_runs):.2f}")
        cells.append(f"{cpu_ms(lambda r=rows: predict(r), n_runs):.2f}")
    if not hasattr(model, "predict_proba"):
        return [*cells, "0 labels"]
    proba = session.run(["probabilities"], feed(X, inputs))[0]
    return [*cells, f"{np.abs(proba - predict(X)).max():.0e}"]


def main():
    warnings.simplefilter("ignore")
    real = "SKADISTILL_DATA" in os.environ
    frames, y = kinds.real_frames() if real else kinds.make_frames()
    rows = []
    for kind, (fit, names) in kinds.KINDS.items():
        for name in names:
            truth = (y == kinds.CLASSES[1]).astype(int) if kind == "XGBoost" else y
            rows.append([kind, name, *measure(fit(frames[name], truth), frames[name])])
    lines = machine_lines()
    lines.append(
        "Export: " + ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    )
    text = "\n".join(
        [
            "# Students as ONNX graphs",
            "",
            f"{len(y):,} rows of adult, in the shapes of `tests/export/kinds.py`. "
            "CPU time of one thread.",
            "",
            markdown_table(HEADER, rows),
            "",
            *(f"- {line}" for line in lines),
        ]
    )
    if not real:
        print(text)
        return
    save_result("exports.md", text)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([SHORT, *by_kind(rows)])
    save_result("exports.csv", stream.getvalue())


def by_kind(rows):
    """Return one line per student: the largest of each number over its frames."""
    lines = []
    for kind in dict.fromkeys(row[0] for row in rows):
        cells = [row[1:] for row in rows if row[0] == kind]
        frames = ", ".join(cell[0] for cell in cells)
        if len(cells) == 6:
            frames = "numbers, and all five frames"
        elif len(cells) == 5:
            frames = "all five frames"
        sizes, graphs, models = (
            max((cell[place] for cell in cells), key=float) for place in (1, 3, 4)
        )
        off = max((cell[7] for cell in cells), key=lambda text: float(text.split()[0]))
        lines.append([kind, frames, sizes, graphs, models, off])
    return lines


if __name__ == "__main__":
    main()
