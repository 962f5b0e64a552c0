"""The server and the batch job of the documentation predict what the student does."""

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import skadistill
from skadistill.export import to_onnx

CODE = Path(skadistill.__file__).parents[1] / "docs" / "code"

pytestmark = pytest.mark.skipif(not CODE.exists(), reason="needs the sources")
pytest.importorskip("onnxscript")
pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")

# Listens on any free port, says which, and ends with its input.
SERVE = """
import socket, sys, threading
import uvicorn
from serve import app

listener = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
threading.Thread(target=server.run, args=([listener],), daemon=True).start()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
print(sorted({"torch", "skorch", "sklearn", "skadistill"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "hours per week": rng.normal(40, 10, 60).round(1),
            "work-class": rng.choice(["Private", "Gov", None], 60),
            "age": rng.integers(17, 90, 60),
        }
    )


@pytest.fixture(scope="module")
def student(rows):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["work-class"]),
        remainder="passthrough",
    )
    y = np.where(rows["hours per week"] + rows["age"] / 10 > 45, "long", "short")
    return make_pipeline(columns, LogisticRegression(max_iter=5000)).fit(rows, y)


@pytest.fixture(scope="module")
def graph(student, rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "student.onnx"
    path.write_bytes(to_onnx(student, rows).SerializeToString())
    return path


def test_the_server_predicts_the_same(student, rows, graph):
    """One row or many, with gaps; neither torch nor scikit-learn is loaded."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=CODE,
        env=os.environ | {"STUDENT": str(graph), "PYTHONPATH": str(CODE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(server.stdout.readline())
        for frame in (rows, rows[-1:]):
            columns = json.loads(frame.to_json(orient="split"))
            columns = dict(
                zip(columns["columns"], zip(*columns["data"], strict=True), strict=True)
            )
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict",
                json.dumps(columns).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request) as reply:
                answer = json.load(reply)
            expected = student.predict_proba(frame)
            np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
            assert answer["label"] == student.predict(frame).tolist()
    finally:
        out, _ = server.communicate("")
    assert out.split() == ["[]"]


def test_the_batch_job_predicts_the_same(student, rows, graph, tmp_path):
    """In chunks, with gaps, and with the header once."""
    spec = importlib.util.spec_from_file_location("score_file", CODE / "score_file.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    module.score(str(graph), tmp_path / "rows.csv", tmp_path / "out.csv", chunk=25)
    found = pd.read_csv(tmp_path / "out.csv")
    assert found["label"].tolist() == student.predict(rows).tolist()
    expected = student.predict_proba(rows).max(axis=1)
    np.testing.assert_allclose(found["probability"], expected, atol=1e-5)
    assert list(found)[:3] == list(rows)
