"""Cascade: who answers, what it costs, and what is promised."""

import copy
import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.checking import CheckPolicy
from skadistill.deploy import Cascade
from skadistill.exceptions import (
    BudgetError,
    BudgetWarning,
    CascadeError,
    TeacherCallError,
)
from skadistill.teachers import FunctionTeacher


def fit(problem, distiller=None, **params):
    params = {"target": 0.95, "random_state": 0} | params
    cascade = Cascade(distiller or problem.distiller(), **params)
    return cascade.fit(
        problem.X[:100], problem.y[:100], X_unlabeled=problem.X[100:2000]
    )


def test_the_student_answers_what_it_is_sure_of(problem):
    """The rest comes from the teacher, and the sources say so."""
    cascade = fit(problem)
    X, taught = problem.X[2000:], problem.taught[2000:]
    before = problem.n_asked
    y, source = cascade.predict(X, return_source=True)
    sure = cascade.distiller_.predict_proba(X).max(axis=1) > cascade.threshold_
    np.testing.assert_array_equal(source, np.where(sure, "student", "teacher"))
    np.testing.assert_array_equal(y[~sure], taught[~sure])
    np.testing.assert_array_equal(y[sure], cascade.distiller_.predict(X)[sure])
    assert problem.n_asked - before == cascade.usage_["n_paid"] == (~sure).sum()
    assert 0 < cascade.usage_["n_deferred"] < len(X) == cascade.usage_["n_predictions"]
    assert np.mean(y == taught) >= 0.95
    proba = cascade.predict_proba(X)
    np.testing.assert_array_equal(cascade.classes_[proba.argmax(axis=1)], y)


def test_deferred_answers_are_in_the_ledger(problem):
    """The same rows cost nothing again."""
    cascade = fit(problem)
    first = cascade.predict(problem.X[2000:])
    before = problem.n_asked
    np.testing.assert_array_equal(cascade.predict(problem.X[2000:]), first)
    assert problem.n_asked == before


def test_audit_rows_are_kept_apart(problem):
    """They are rows of the pool, paid for, and nobody is trained on them."""
    cascade = fit(problem)
    assert cascade.report_["n_audit"] == cascade.report_["n_paid"] == 300
    assert len(cascade.distiller_.labeled_round_) == 100 + 1900 - 300
    in_x = Cascade(problem.distiller(), target=0.95, random_state=0)
    y = np.where(np.arange(2000) < 100, problem.y[:2000], -1)
    in_x.fit(problem.X[:2000], y)
    assert len(in_x.distiller_.labeled_round_) == 1700
    both = (in_x.report_, cascade.report_)
    first, second = ({k: v for k, v in r.items() if k != "curve"} for r in both)
    assert first == second


def test_the_report_adds_up(problem):
    """Shares of the audit rows, and money."""
    cascade = fit(problem)
    report = cascade.report_
    assert report["agreement"] >= report["agreement_low"] >= 0.95
    assert report["deferred"] <= report["deferred_high"]
    assert report["cost"] == pytest.approx(30.0)
    assert report["cost_per_1000"] == pytest.approx(1000 * report["deferred"] * 0.1)
    n_paid = cascade.distiller_.n_paid_ + 300
    volume = report["break_even"]
    curve = report["curve"]
    assert (np.diff(curve["agreement"]) >= 0).all()
    assert curve["agreement"][-1] == curve["deferred"][-1] == 1.0
    at = round(report["deferred"] * 300)
    assert curve["agreement"][at] == pytest.approx(report["agreement"])
    # The teacher alone would have cost as much for so many rows.
    assert n_paid + volume * report["deferred"] == pytest.approx(volume)


def test_without_deferral_it_is_the_student(problem):
    """max_deferred=0 asks nobody; a share between is not exceeded."""
    cascade = fit(problem, max_deferred=0)
    before = problem.n_asked
    y, source = cascade.predict(problem.X[2000:], return_source=True)
    np.testing.assert_array_equal(y, cascade.distiller_.predict(problem.X[2000:]))
    assert set(source) == {"student"}
    assert problem.n_asked == before
    some = fit(problem, max_deferred=0.2)
    assert 0.05 < some.report_["deferred"] < some.report_["deferred_high"] <= 0.2


def test_a_fitted_distiller_can_be_calibrated(problem):
    """It is used as it is; rows that it was trained on are left out."""
    distiller = problem.fit()
    cascade = Cascade(distiller, target=0.95, n_audit=400, random_state=0)
    assert cascade.calibrate(problem.X[1000:2000]).distiller_ is distiller
    assert cascade.report_["n_audit"] == 400
    with pytest.raises(NotFittedError):
        Cascade(problem.distiller()).calibrate(problem.X)


def test_nothing_is_asked_once_the_budget_is_spent(problem):
    """The student answers, the source says so, and a warning counts the rows."""
    cascade = fit(problem, budget=30)
    with pytest.warns(BudgetWarning, match="the budget is spent: the student answers"):
        y, source = cascade.predict(problem.X[2000:], return_source=True)
    assert (source == "teacher").sum() == cascade.usage_["n_paid"] == 30
    fallback = source == "fallback"
    assert fallback.sum() == cascade.usage_["n_fallback"] > 0
    student = cascade.distiller_.predict(problem.X[2000:])
    np.testing.assert_array_equal(y[fallback], student[fallback])
    before = problem.n_asked
    with pytest.warns(BudgetWarning):
        cascade.predict(problem.X[2000:])
    assert problem.n_asked == before


def test_the_ledgers_budget_counts(problem):
    """Fit, audit and predictions share it."""
    cascade = fit(problem, problem.distiller(ledger=MemoryLedger(max_rows=520)))
    with pytest.warns(BudgetWarning):
        cascade.predict(problem.X[2000:])
    assert problem.n_asked == 520
    assert cascade.usage_["n_paid"] == 20


def test_a_teacher_that_fails_spends_no_more_than_the_budget(problem):
    """Batches before the fault are paid, kept and counted; the prediction is not."""
    cascade = fit(problem, budget=30)
    asked = []

    def failing(X):
        asked.append(len(X))
        if len(asked) % 3 == 0:
            raise ConnectionError("503")
        return problem.answer(X)

    cascade.teacher_ = FunctionTeacher(
        failing, name="oracle", cost_per_row=0.1, batch_size=5
    )
    known = len(cascade.distiller_.ledger_)
    for start in (2000, 2250):
        with pytest.raises(TeacherCallError, match="503"):
            cascade.predict(problem.X[start : start + 250])
        n_paid = len(cascade.distiller_.ledger_) - known
        assert cascade.usage_["n_paid"] == n_paid
        assert cascade.usage_["n_predictions"] == cascade.usage_["n_deferred"] == 0
    cascade.teacher_ = problem.teacher
    with pytest.warns(BudgetWarning, match="the budget is spent"):
        cascade.predict(problem.X[2000:])
    assert cascade.usage_["n_paid"] == 30
    assert len(cascade.distiller_.ledger_) - known == 30


def test_rows_without_an_answer_fall_back_in_silence(problem):
    """The teacher was asked; there is nothing to be spent."""
    cascade = fit(problem)
    cascade.teacher_ = lambda X: [None] * len(X)
    y, source = cascade.predict(problem.X[2000:2500], return_source=True)
    assert set(source) == {"student", "fallback"}
    np.testing.assert_array_equal(y, cascade.distiller_.predict(problem.X[2000:2500]))


def test_a_pickle_holds_neither_teacher_nor_rows(problem):
    """It answers what the student is sure of, and the rest once it has a teacher."""
    cascade = fit(problem)
    stored = pickle.dumps(cascade)
    assert problem.X[0].tobytes() not in stored
    loaded = pickle.loads(stored)
    assert loaded.teacher_ is loaded.distiller_.teacher_ is loaded.distiller.teacher
    with pytest.warns(BudgetWarning, match="assign the teacher to teacher_"):
        _, source = loaded.predict(problem.X[2000:], return_source=True)
    assert set(source) == {"student", "fallback"}
    loaded.teacher_ = problem.teacher
    np.testing.assert_array_equal(
        loaded.predict(problem.X[2000:]), cascade.predict(problem.X[2000:])
    )
    assert cascade.teacher_ is not None
    with pytest.raises(ValueError, match="pass X_audit"):
        loaded.refit(problem.X[:100], problem.y[:100], X_unlabeled=problem.X[100:200])


def test_refit_learns_from_deferred_rows_for_nothing(problem):
    """More rows are known, no row is paid for, and the audit rows stay apart."""
    cascade = fit(problem)
    cascade.predict(problem.X[2000:])
    n_deferred, before = cascade.usage_["n_paid"], problem.n_asked
    n_labeled = cascade.distiller_.history_[-1]["n_labeled"]
    cascade.refit(problem.X[:100], problem.y[:100], X_unlabeled=problem.X[100:2000])
    assert problem.n_asked == before
    assert cascade.distiller_.history_[-1]["n_labeled"] == n_labeled + n_deferred
    assert cascade.report_["n_audit"] == 300
    assert cascade.usage_["n_paid"] == n_deferred
    # What was invested before still is.
    assert cascade.report_["break_even"] >= cascade.distiller_.budget


def test_in_a_pipeline(problem):
    """Steps before it transform the rows, also those that are deferred."""
    X = pd.DataFrame(problem.X, columns=list("abcdefgh"))
    y = np.where(np.arange(2000) < 100, problem.y[:2000], -1)
    cascade = Cascade(problem.distiller(), target=0.95, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(lambda X: X.to_numpy()), cascade)
    pipeline.fit(X[:2000], y)
    labels, source = pipeline.predict(X[2000:], return_source=True)
    assert set(source) == {"student", "teacher"}
    assert np.mean(labels == problem.taught[2000:]) >= 0.95


def test_frames_and_texts(problem):
    """Rows keep their container on the way to the teacher."""
    X = pd.DataFrame(problem.X, columns=list("abcdefgh"))

    def teacher(frame):
        assert isinstance(frame, pd.DataFrame)
        return problem.answer(np.ascontiguousarray(frame.to_numpy()))

    distiller = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=200,
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
    )
    cascade = Cascade(distiller, target=0.95, random_state=0)
    cascade.fit(X[:100], problem.y[:100], X_unlabeled=X[100:2000])
    assert np.mean(cascade.predict(X[2000:]) == problem.taught[2000:]) >= 0.95
    cascade.refit(X[:100], problem.y[:100], X_unlabeled=X[100:2000])
    assert cascade.n_features_in_ == 8


def test_clones_are_unfitted_and_share_the_teacher(problem):
    cascade = fit(problem)
    copy = clone(cascade)
    assert copy.distiller.teacher is problem.teacher
    with pytest.raises(NotFittedError):
        copy.predict(problem.X[:5])


def test_promises_that_cannot_be_kept_are_refused(problem):
    """Too few audit rows, too small a pool, and parameters that are none."""
    with pytest.raises(CascadeError, match="pass at least 149"):
        fit(problem, target=0.98, n_audit=100)
    with pytest.raises(BudgetError, match="at most half of the pool"):
        fit(problem, n_audit=951)
    for wrong in ({"target": 1.0}, {"max_deferred": 1.0}, {"n_audit": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fit(problem, **wrong)


AUDIT_FAULTS = {
    "too few for the target": ({"target": 0.995}, {}),
    "too few for the deferral": ({"max_deferred": 0.001}, {}),
    "fewer columns": ({}, {"X_audit": lambda X: X[2000:, :5]}),
    "a gap": ({}, {"X_audit": lambda X: np.where(X[2500, 1] == X, np.nan, X)[2000:]}),
}


@pytest.mark.parametrize("fault", AUDIT_FAULTS)
@pytest.mark.parametrize("has_labels", [True, False])
def test_what_the_arguments_decide_is_said_before_anything_is_paid(
    problem, fault, has_labels
):
    """With labeled rows and without."""
    settings, rows = AUDIT_FAULTS[fault]
    cascade = Cascade(problem.distiller(classes=[0, 1]), random_state=0, **settings)
    rows = {name: value(problem.X) for name, value in rows.items()}
    X, y = problem.X[:2000], np.where(np.arange(2000) < 100, problem.y[:2000], -1)
    with pytest.raises(ValueError):
        cascade.fit(X, y if has_labels else None, **rows)
    assert problem.n_asked == 0


def test_a_cascade_needs_no_label(problem):
    """As its distiller does, y may be left out."""
    cascade = Cascade(problem.distiller(classes=[0, 1]), target=0.9, random_state=0)
    cascade.fit(problem.X[:2000])
    assert cascade.report_["agreement_low"] >= 0.9
    cascade.refit(problem.X[:2000])


def test_the_budget_holds_in_threads(problem):
    """Eight predictions at once pay for as many rows as one may."""
    cascade = fit(problem, budget=10)
    before = problem.n_asked
    X = problem.X[2000:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BudgetWarning)
        with ThreadPoolExecutor(8) as pool:
            parts = np.array_split(np.arange(len(X)), 8)
            list(pool.map(lambda rows: cascade.predict(X[rows]), parts))
    assert problem.n_asked - before == 10
    assert cascade.usage_["n_paid"] == 10


def _predict_in_child(cascade, X, results):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cascade.predict(X)
    results.put(cascade.usage_["n_paid"])


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)
def test_the_budget_holds_in_forked_workers(problem):
    """As with gunicorn's --preload; a copy that was pickled has what is left."""
    cascade = fit(problem, budget=10)
    X = problem.X[2000:]
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    parts = np.array_split(np.arange(len(X)), 4)
    workers = [
        fork.Process(target=_predict_in_child, args=(cascade, X[rows], results))
        for rows in parts
    ]
    for worker in workers:
        worker.start()
    paid = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(paid) == 10
    cascade.usage_["n_paid"] = 4
    assert copy.deepcopy(cascade)._reserve(100) == 6
