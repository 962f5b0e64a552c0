"""scikit-learn's callbacks: one task a round."""

import pytest

callback = pytest.importorskip(
    "sklearn.callback", reason="callbacks came with scikit-learn 1.9"
)
import numpy as np  # noqa: E402
from sklearn.datasets import make_classification  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402

from skadistill import ActiveDistiller  # noqa: E402


class Recorder:
    """Write down every task; ask to stop at the end of a given one."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.ended = []
        self.snapshots = []

    def setup(self, estimator, context):
        self.ended.append("setup")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.ended.append(context.task_name)
        if fitted_estimator is not None:
            self.snapshots.append(fitted_estimator)
        return context.task_name == self.stop_at

    def teardown(self, estimator, context):
        self.ended.append("teardown")


@pytest.fixture
def data():
    X, y = make_classification(200, random_state=0)
    return X, y, np.where(np.arange(200) < 50, y, -1)


def _fit(data, recorder):
    X, y, partly = data
    model = ActiveDistiller(
        KNeighborsClassifier().fit(X, y),
        LogisticRegression(),
        budget=30,
        n_rounds=3,
        teacher_error=0.1,
        random_state=0,
    )
    return model.set_callbacks(recorder).fit(X, partly)


def test_one_task_a_round(data):
    """Callbacks see round 0 to 3 with a student that can predict, then fit."""
    recorder = Recorder()
    _fit(data, recorder)
    assert recorder.ended == [
        "setup",
        "round 0",
        "round 1",
        "round 2",
        "round 3",
        "fit",
        "teardown",
    ]
    probabilities = [
        fitted.predict_proba(data[0])[0, 0].round(6) for fitted in recorder.snapshots
    ]
    # Each snapshot keeps the student of its round; the last is the fit's own.
    assert len(set(probabilities)) == 4
    assert probabilities[3] == probabilities[4]


def test_a_callback_can_stop_the_loop(data):
    """A callback that returns True ends the loop before the next payment."""
    fitted = _fit(data, Recorder(stop_at="round 1"))
    assert fitted.termination_condition_ == "callback"
    assert fitted.n_paid_ == 10


def test_progress_bar(data, capsys):
    """scikit-learn's own progress bar runs where rich is installed."""
    pytest.importorskip("rich", reason="the progress bar draws with rich")
    _fit(data, callback.ProgressBar())
