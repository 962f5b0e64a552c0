"""What serving a student costs: memory, packages and milliseconds, by format.

Each line is a new process that loads one file and predicts: the default student of
texts (200 texts of 4 kinds, words and letters) and a `StudentNet` of 64 numbers.

    python benchmarks/serve.py [runs]
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _common import machine_lines, markdown_table, save_result
from sklearn.datasets import load_digits

from skadistill.export import to_onnx
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._default import default_students
from skadistill.student import StudentNet

GRAPH = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
predict = lambda rows: session.run(["probabilities"], {"X": rows})
"""
PICKLE = """
import pickle
student = pickle.loads(open(sys.argv[1], "rb").read())
flat = lambda rows: rows[:, 0] if rows.dtype.kind == "U" else rows
predict = lambda rows: student.predict_proba(flat(rows))
"""
MEASURE = """
import json, resource
from time import process_time
import numpy as np
rows = np.load(sys.argv[2])
def ms(rows, n_runs):
    times = []
    for _ in range(n_runs):
        start = process_time()
        predict(rows)
        times.append(process_time() - start)
    return 1e3 * min(times)
loaded = process_time()
times = ms(rows[:1], 50), ms(rows, 5)
# ru_maxrss would start at the peak of the parent process.
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
watched = ["onnxruntime", "sklearn", "pandas", "torch", "skorch", "skadistill"]
print(json.dumps([loaded, peak,
                  *times, [name for name in watched if name in sys.modules]]))
"""


def students():
    """Yield the name, the student, its rows and what they are fed to a graph as."""
    kinds = ["account", "address", "delivery", "refund"]
    y = np.arange(200) % 4
    texts = [
        f"a question {n % 17} about my {kinds[k]}, please" for n, k in enumerate(y)
    ]
    student, *_ = default_students([texts], 4).values()
    fit_student(student, texts, np.eye(4)[y], classes=kinds)
    yield "default student, texts", student, texts, np.array(texts * 5)[:, None]
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    net = StudentNet(max_epochs=5, random_state=0, device="cpu").fit(X, y)
    yield "StudentNet, numbers", net, X[:1000], X[:1000]


def main(n_runs=3):
    """Print the table."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name, student, X, rows in students():
            np.save(Path(folder, "rows.npy"), rows)
            graph = to_onnx(student, X).SerializeToString()
            for kind, content, load in (
                ("ONNX", graph, GRAPH),
                ("pickle", pickle.dumps(student), PICKLE),
            ):
                Path(folder, "student").write_bytes(content)
                command = [sys.executable, "-c", "import sys\n" + load + MEASURE]
                command += [f"{folder}/student", f"{folder}/rows.npy"]
                runs = []
                for _ in range(n_runs):
                    out = subprocess.run(
                        command, capture_output=True, text=True, check=True, env=env
                    )
                    runs.append(json.loads(out.stdout.splitlines()[-1]))
                start, memory, one, many = np.median([r[:4] for r in runs], axis=0)
                cells = [f"{start:.2f}", f"{memory:.0f}", f"{one:.2f}", f"{many:.1f}"]
                size = f"{len(content) / 1e3:.0f}"
                table.append([name, kind, size, *cells, ", ".join(runs[0][4])])
    header = ["student", "file", "KB", "start, CPU s", "peak MB", "ms of 1 row"]
    header += ["ms of 1,000 rows", "loaded"]
    text = "\n".join(
        [
            "# Serving a student",
            "",
            f"Medians of {n_runs} processes; CPU time of one thread.",
            "",
            markdown_table(header, table),
            "",
            *(f"- {line}" for line in machine_lines()),
        ]
    )
    save_result("serve.md", text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
