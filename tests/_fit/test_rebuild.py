"""The second day: rounds and forecast of a fit that continues a ledger."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, LabelLedger, MemoryLedger
from skadistill._statistics.intervals import post_stratified
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.teachers import FunctionTeacher


def make_problem(seed=0):
    return make_noisy_teacher_problem(
        n_labeled=60,
        n_pool=2000,
        n_classes=3,
        n_features=12,
        class_sep=1.0,
        teacher_error=0.1,
        random_state=seed,
    )


def fit(problem, ledger, *, n_pool=2000, **params):
    teacher = FunctionTeacher(problem.teacher, classes=[0, 1, 2], name="t")
    options = {"budget": 400, "random_state": 0, "ledger": ledger} | params
    model = ActiveDistiller(teacher, LogisticRegression(max_iter=500), **options)
    return model.fit(
        problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool[:n_pool]
    )


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_rounds_are_those_of_the_first_day(kind, tmp_path):
    """In their order and sizes, whatever the seed of the second day is; all free."""
    problem = make_problem()
    ledger = MemoryLedger() if kind == "memory" else LabelLedger(tmp_path / "l.sqlite")
    first = fit(problem, ledger)
    second = fit(problem, ledger, random_state=1)
    assert (second.n_paid_, second.n_queries_) == (0, first.n_queries_)
    asked = first.labeled_round_ > 0
    assert (second.labeled_round_[asked] == first.labeled_round_[asked]).all()
    assert second.n_rounds_ == first.n_rounds_
    assert second.forecast_ is not None
    n_labeled = [record["n_labeled"] for record in first.history_]
    assert [record["n_labeled"] for record in second.history_] == n_labeled


def test_more_budget_goes_on_after_the_rebuilt_rounds():
    """And the forecast rests on the rounds of both days."""
    problem, ledger = make_problem(), MemoryLedger()
    first = fit(problem, ledger)
    second = fit(problem, ledger, budget=600, random_state=1)
    assert second.n_paid_ == 200
    known = second.history_[: first.n_rounds_ + 1]
    assert sum(record["n_paid"] for record in known) == 0
    scored = [r for r in second.history_ if r["pool_agreement"] is not None]
    assert len(second.forecast_.scores) == len(scored) == second.n_rounds_


def test_a_thousand_small_rounds_are_not_trained_again():
    """Rebuilt rounds grow with the labels, whatever the size of a round was."""
    problem, ledger = make_problem(), MemoryLedger()
    first = fit(problem, ledger, query_size=10, teacher_checks=0)
    assert first.n_rounds_ == 40
    assert fit(problem, ledger, query_size=10, teacher_checks=0).n_rounds_ == 6


def test_validation_rows_score_rebuilt_rounds():
    """The forecast is of their score then."""
    problem, ledger = make_problem(), MemoryLedger()
    fit(problem, ledger, n_pool=1500)
    teacher = FunctionTeacher(problem.teacher, classes=[0, 1, 2], name="t")
    model = ActiveDistiller(
        teacher, LogisticRegression(), budget=400, ledger=ledger, random_state=0
    ).fit(
        problem.X_labeled,
        problem.y_labeled,
        X_unlabeled=problem.X_pool[:1500],
        X_val=problem.X_pool[1500:],
        y_val=problem.y_pool[1500:],
    )
    assert model.forecast_.score_name == "student_score"
    assert len(model.forecast_.scores) == model.n_rounds_ + 1


class Collect:
    """Keeps the student of each round."""

    def __init__(self):
        self.students = []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.students.append(fitted_estimator.student_)


@pytest.mark.parametrize("strategy", ["margin", "random"])
def test_rebuilt_agreements_are_about_right(strategy):
    """Rows that were chosen as hard do not make the students look bad."""
    covered, gaps, naive = [], [], []
    for seed in range(6):
        problem, ledger = make_problem(seed), MemoryLedger()
        params = {"query_strategy": strategy, "n_pool": 1500, "teacher_checks": 0}
        first = fit(problem, ledger, **params)
        teacher, collect = first.teacher, Collect()
        second = ActiveDistiller(
            teacher,
            LogisticRegression(max_iter=500),
            budget=400,
            query_strategy=strategy,
            teacher_checks=0,
            ledger=ledger,
            random_state=1,
        )
        second.set_callbacks(collect).fit(
            problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool[:1500]
        )
        X = problem.X_pool[1500:]
        taught = np.asarray(problem.teacher(X)).argmax(axis=1)
        history = second.history_
        for k in range(second.n_rounds_):
            record = history[k]
            if history[k + 1]["n_asked"] < 20:  # too few to judge by
                continue
            truth = np.mean(collect.students[k].predict(X) == taught)
            low, high = record["pool_agreement_low"], record["pool_agreement_high"]
            covered.append(low <= truth <= high)
            gaps.append(record["pool_agreement"] - truth)
            if k:
                naive.append(history[k + 1]["student_agreement"] - truth)
    assert np.mean(covered) > 0.85
    assert abs(np.mean(gaps)) < 0.025
    if strategy == "margin":
        assert np.mean(naive) < -0.06


def test_post_stratification_undoes_a_choice_by_scores():
    """Hard rows are drawn five times as often; the share is that of all rows."""
    rng = np.random.default_rng(0)
    found, covered = [], []
    for _ in range(300):
        scores = rng.random(5000)
        hits = rng.random(5000) < 0.5 + 0.5 * scores
        p = np.where(scores < 0.5, 5.0, 1.0)
        rows = rng.choice(5000, 200, replace=False, p=p / p.sum())
        estimate = post_stratified(hits[rows], scores[rows], scores)
        low, high = estimate.interval()
        found.append(estimate.share - hits.mean())
        covered.append(low <= hits.mean() <= high)
    assert abs(np.mean(found)) < 0.02
    assert 0.92 < np.mean(covered) < 0.99


def test_students_that_are_sure_of_everything_are_judged_as_well():
    """With one score for all rows the share is that of the rows."""
    hits = np.arange(40) < 30
    estimate = post_stratified(hits, np.ones(40), np.ones(100))
    assert estimate.share == pytest.approx(30.5 / 41)
    # Rows of the pool that are surer than any judged one stand with the surest.
    estimate = post_stratified(hits, np.full(40, 0.5), np.linspace(0, 1, 100))
    assert estimate.share == pytest.approx(30.5 / 41)
