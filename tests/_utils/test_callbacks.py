"""Callbacks: one task a round, with scikit-learn's machinery or our stand-in for it."""

import inspect
import io
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from skadistill import ActiveDistiller
from skadistill._utils import callbacks as _callbacks
from skadistill.callbacks import TqdmProgress
from skadistill.checking import CheckPolicy


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
        self.snapshots.append(fitted_estimator)
        return context.task_name == self.stop_at

    def teardown(self, estimator, context):
        self.ended.append("teardown")


class Keeper(Recorder):
    """Pickle what there is in the middle of a fit, as one that writes files would."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.ended.append(pickle.dumps(fitted_estimator))


class Bystander:
    """Need nothing, and fail where told to."""

    def __init__(self, fail_in=""):
        self.fail_in = fail_in

    def _maybe_fail(self, where):
        if where == self.fail_in:
            raise OSError(f"asked to fail in {where}")

    def setup(self, estimator, context):
        self._maybe_fail("setup")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self._maybe_fail("end")

    def teardown(self, estimator, context):
        self._maybe_fail("teardown")


class StandIn(ActiveDistiller):
    """The distiller as it is with a scikit-learn that has no callbacks."""

    set_callbacks = _callbacks.CallbackSupportMixin.set_callbacks
    _init_callback_context = _callbacks.CallbackSupportMixin._init_callback_context
    fit = _callbacks.with_callbacks(inspect.unwrap(ActiveDistiller.fit))


@pytest.fixture(
    params=[
        pytest.param(ActiveDistiller, id="as-installed"),
        pytest.param(StandIn, id="stand-in"),
    ]
)
def distiller(request):
    """Return a function that makes distillers of three rounds."""

    def make(*callbacks):
        X, y, _ = data()
        model = request.param(
            KNeighborsClassifier().fit(X, y),
            LogisticRegression(),
            budget=30,
            query_size=10,
            teacher_checks=CheckPolicy(error_rate=0.1),
            random_state=0,
        )
        return model.set_callbacks(*callbacks)

    return make


def data():
    X, y = make_classification(200, random_state=0)
    return X, y, np.where(np.arange(200) < 50, y, -1)


def fit(model, **params):
    X, _, partly = data()
    return model.fit(X, partly, **params)


def test_one_task_a_round(distiller):
    """Callbacks see round 0 to 3 with a student that can predict, then fit."""
    recorder = Recorder()
    fit(distiller(recorder))
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
        fitted.predict_proba(data()[0])[0, 0].round(6) for fitted in recorder.snapshots
    ]
    # Each snapshot keeps the student of its round; the last is the fit's own.
    assert len(set(probabilities)) == 4
    assert probabilities[3] == probabilities[4]


def test_callbacks_see_what_a_fit_that_ended_there_would_leave(distiller):
    """Each snapshot has its own history, counts and labels, up to its round."""
    recorder = Recorder()
    model = fit(distiller(recorder))
    *rounds, whole = recorder.snapshots
    assert [fitted.n_paid_ for fitted in rounds] == [0, 10, 20, 30]
    assert [fitted.n_rounds_ for fitted in rounds] == [0, 1, 2, 3]
    for number, fitted in enumerate(rounds):
        # The last student of each is judged by a round that has not come yet.
        assert fitted.history_[:number] == model.history_[:number]
        judged = {key: None for key in model.history_[0] if key.startswith("pool_")}
        judged["n_effective"] = None
        assert fitted.history_[number] == model.history_[number] | judged
        asked = (model.labeled_round_ > 0) & (model.labeled_round_ <= number)
        assert ((fitted.labeled_round_ > 0) == asked).all()
        assert ((fitted.transduction_ != -1) == (fitted.labeled_round_ != -1)).all()
    assert whole.history_ == model.history_


def test_a_callback_can_stop_the_loop(distiller):
    """A callback that returns True ends the loop before the next payment."""
    fitted = fit(distiller(Recorder(stop_at="round 1"), Bystander()))
    assert fitted.termination_condition_ == "callback"
    assert fitted.n_paid_ == 10


@pytest.mark.parametrize("fail_in", ["setup", "end", "teardown"])
def test_callbacks_are_torn_down_whatever_happens(distiller, fail_in):
    """Also where another fails; one never set up is not torn down."""
    before, after = Recorder(), Recorder()
    model = distiller(before, Bystander(fail_in), after)
    with pytest.raises(OSError, match=f"fail in {fail_in}"):
        fit(model)
    assert before.ended[-1] == "teardown"
    assert after.ended[-1:] == ([] if fail_in == "setup" else ["teardown"])
    model.set_callbacks()
    assert fit(model).n_paid_ == 30


def test_clones_keep_callbacks_until_they_are_removed(distiller):
    """As in scikit-learn; without arguments set_callbacks removes them."""
    recorder = Recorder()
    copy = clone(distiller(recorder))
    fit(copy.set_callbacks())
    assert recorder.ended == []
    fit(clone(distiller(recorder)))
    assert recorder.ended[0] == "setup"


@pytest.mark.parametrize("wrong", [Recorder, object(), len])
def test_what_is_no_callback_is_refused(distiller, wrong):
    """Classes, and objects without the methods."""
    with pytest.raises(TypeError, match="callback"):
        distiller(wrong)


def test_the_stand_in_numbers_tasks_as_scikit_learn_does(distiller):
    """Name, number, parent and root of each task."""
    seen = []

    class Witness(Bystander):
        def on_fit_task_begin(self, estimator, context):
            parent = context.parent and context.parent.task_name
            seen.append((context.task_name, context.task_id, parent))
            roots.add(context.root_uuid)
            assert context.max_subtasks == (0 if parent else 4)

    roots = set()
    fit(distiller(Witness()))
    names = [f"round {number}" for number in range(4)]
    assert seen == [("fit", 0, None), *((n, i, "fit") for i, n in enumerate(names))]
    assert len(roots) == 1


def test_tqdm_draws_rounds_and_what_they_cost(distiller):
    """Four rounds, 30 labels paid, the teacher's error and the score beside them."""
    screen = io.StringIO()
    X, y, _ = data()
    model = distiller(TqdmProgress(file=screen, mininterval=0, desc="here", ncols=99))
    fit(model, X_val=X, y_val=y)
    lines = screen.getvalue().strip().split("\r")
    assert lines[0].startswith("here:   0%|")
    assert [" 0/4 " in lines[0], " 4/4 " in lines[-1]] == [True, True]
    assert [f"paid={n}," in screen.getvalue() for n in (0, 10, 20, 30)] == [True] * 4
    score = model.history_[-1]["student_score"]
    assert f"paid=30, teacher error=0.1, score={score:.3g}]" in lines[-1]


def test_tqdm_can_be_used_again(distiller):
    """After a fit that failed, and with a line of its own for each."""
    screen = io.StringIO()
    progress = TqdmProgress(file=screen)
    with pytest.raises(OSError, match="asked to fail"):
        fit(distiller(progress, Bystander("end")))
    fit(distiller(progress))
    assert screen.getvalue().count("\n") == 2


def test_students_can_be_kept_in_the_middle_of_a_fit(distiller):
    """What a callback gets can be pickled, with callbacks at work and bars drawn."""
    keeper = Keeper()
    model = fit(distiller(TqdmProgress(file=io.StringIO()), keeper))
    first, *_, last = map(pickle.loads, keeper.ended[1:-1])
    X, _, _ = data()
    assert (first.predict(X) != last.predict(X)).any()
    assert (last.predict(X) == model.predict(X)).all()


def test_scikit_learns_progress_bar_draws_the_fit(capsys):
    """A line with its name and 100 %, once every round is over."""
    callback = pytest.importorskip(
        "sklearn.callback", reason="callbacks came with scikit-learn 1.9"
    )
    pytest.importorskip("rich", reason="that bar is drawn with rich")
    X, y, partly = data()
    model = ActiveDistiller(
        KNeighborsClassifier().fit(X, y), LogisticRegression(), budget=30
    )
    model.set_callbacks(callback.ProgressBar()).fit(X, partly)
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("ActiveDistiller - fit")
    assert "100%" in line
