"""The callback that the guide shows for MLflow, with a tracker that is not MLflow."""

import importlib.util
import pickle
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from sklearn.naive_bayes import GaussianNB

import skadistill

FILE = Path(skadistill.__file__).parents[1] / "docs" / "code" / "log_rounds.py"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason="the documentation is not part of an installed package"
)


@pytest.fixture
def tracked(monkeypatch):
    """Put a tracker in the place of mlflow that keeps what it is told."""
    told = {"params": {}, "rounds": [], "metrics": {}, "tags": {}, "open": []}

    @contextmanager
    def start_run(run_name):
        told["open"].append(True)
        yield
        told["open"].append(False)

    def log_metrics(metrics, step):
        assert told["open"] == [True]
        told["rounds"].append((step, metrics))

    tracker = SimpleNamespace(
        start_run=start_run,
        log_params=told["params"].update,
        log_metrics=log_metrics,
        log_metric=told["metrics"].__setitem__,
        set_tag=told["tags"].__setitem__,
    )
    monkeypatch.setitem(sys.modules, "mlflow", tracker)
    return told


@pytest.fixture
def shown(tracked, monkeypatch):
    """Import the file."""
    spec = importlib.util.spec_from_file_location("log_rounds", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "log_rounds", module)
    spec.loader.exec_module(module)
    return module


def test_each_round_is_logged_once(shown, tracked, monkeypatch):
    """Labels paid, teacher error and student score, numbered by the round."""
    kept = []
    fit = shown.ActiveDistiller.fit

    def keep(self, *args, **kwargs):
        kept.append(self)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(shown.ActiveDistiller, "fit", keep)
    # The file's own student is compared with others on every fit, which takes long.
    monkeypatch.setattr(
        shown, "ActiveDistiller", partial(shown.ActiveDistiller, student=GaussianNB())
    )
    shown.main()
    (distiller,) = kept
    steps, metrics = zip(*tracked["rounds"], strict=True)
    assert steps == (0, 1, 2, 3, 4)
    assert [m["labels_paid"] for m in metrics] == [0, 90, 165, 278, 400]
    scores = [record["student_score"] for record in distiller.history_]
    assert [m["student_score"] for m in metrics] == scores
    # The error is learned after round 0, and only if a row is to be paid for.
    assert "teacher_error" not in metrics[0]
    assert {m["teacher_error"] for m in metrics[1:]} == {distiller.teacher_error_}
    assert tracked["params"]["budget"] == 400
    assert tracked["metrics"] == {"cost": distiller.ledger_.summary()["cost"]}
    assert tracked["tags"] == {"stopped": "budget"}


def test_it_can_be_pickled_with_the_distiller(shown):
    """As a search in several processes does."""
    distiller = shown.ActiveDistiller(len).set_callbacks(shown.LogRounds())
    (callback,) = pickle.loads(pickle.dumps(distiller))._skl_callbacks
    assert isinstance(callback, shown.LogRounds)
