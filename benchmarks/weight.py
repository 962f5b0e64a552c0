"""What importing the package costs, beside importing scikit-learn.

Each line is a new process: seconds of CPU and the peak of resident memory when it ends,
medians of several runs that take turns, and the packages it has loaded.

    python benchmarks/weight.py [runs]
"""

import json
import subprocess
import sys

import numpy as np
from _common import machine_lines, markdown_table, save_result

TEXT_FIT = """
from skadistill import ActiveDistiller
texts = [f"good film {i}" if i % 2 else f"bad film {i}" for i in range(80)]
ActiveDistiller(
    lambda X: ["pos" if t.startswith("good") else "neg" for t in X],
    classes=["neg", "pos"], budget=20, random_state=0,
).fit(texts).predict(["a good one"])
"""
CASES = {
    "import sklearn.linear_model": "import sklearn.linear_model",
    "import skadistill": "import skadistill",
    "from skadistill import ActiveDistiller": "from skadistill import ActiveDistiller",
    "a fit of texts, and a prediction": TEXT_FIT,
    "from skadistill import StudentNet": "from skadistill import StudentNet",
}
WATCHED = ("sklearn", "pandas", "sqlite3", "torch", "skorch")
REPORT = f"""
import json, resource, sys
# ru_maxrss would start at the peak of the parent process.
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, peak,
                  [name for name in {WATCHED!r} if name in sys.modules]]))
"""


def main(n_runs=7):
    """Print the table."""
    runs = {name: [] for name in CASES}
    for _ in range(n_runs):
        for name, code in CASES.items():
            out = subprocess.run(
                [sys.executable, "-c", code + REPORT],
                capture_output=True,
                text=True,
                check=True,
            )
            runs[name].append(json.loads(out.stdout.splitlines()[-1]))
    base = np.median([run[0] for run in runs["import sklearn.linear_model"]])
    rows = []
    for name, found in runs.items():
        seconds, memory = np.median([run[:2] for run in found], axis=0)
        loaded = ", ".join(found[0][2]) or "none of these"
        rows.append(
            [name, f"{seconds:.2f}", f"{seconds / base:.2f}", f"{memory:.0f}", loaded]
        )
    header = ["process", "CPU s", "of scikit-learn", "peak MB", "loaded"]
    text = "\n".join(
        [
            "# What importing costs",
            "",
            f"Medians of {n_runs} runs that take turns.",
            "",
            markdown_table(header, rows),
            "",
            *(f"- {line}" for line in machine_lines()),
        ]
    )
    save_result("weight.md", text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
