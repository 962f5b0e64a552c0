"""ActiveDistiller and money: the budget is the bill, and what is owned is used."""

import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skadistill import ActiveDistiller, LabelLedger, MemoryLedger
from skadistill.checking import CheckPolicy
from skadistill.exceptions import BudgetError, LedgerCopyWarning, TeacherAnswerError
from skadistill.labeling._purchase import LabelPurchase
from skadistill.model_selection import PartiallyLabeledSplit
from skadistill.query import RADSampler
from skadistill.teachers import FunctionTeacher, as_teacher


class Teacher:
    """Tell the true class of each row and count the rows asked."""

    def __init__(self, X, y):
        self.truth = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
        self.asked = []

    @property
    def n_samples(self):
        return len(self.asked)

    def __call__(self, X):
        self.asked += [row.tobytes() for row in X]
        return np.array([self.truth[row.tobytes()] for row in X])


@pytest.fixture
def problem():
    """Sixty labeled rows of 300; a teacher that is never wrong."""
    X, y = make_classification(
        300, n_features=6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    return X, np.where(np.arange(300) < 60, y, -1), Teacher(X, y)


def distiller(teacher, **params):
    params = {
        "query_strategy": "rad",
        "budget": 50,
        "query_size": 10,
        "random_state": 0,
    } | params
    if callable(teacher):
        teacher = FunctionTeacher(teacher, name="oracle", cost_per_row=0.5)
    return ActiveDistiller(teacher, LogisticRegression(max_iter=500), **params)


# The budget is the bill.


@pytest.mark.parametrize("budget", [20, 50, 0.25, 0.9])
def test_the_budget_limits_everything_that_is_paid(problem, budget):
    """A fifth of the budget checks the teacher, and the sum is never more."""
    X, y, teacher = problem
    model = distiller(teacher, budget=budget).fit(X, y)
    total = budget if isinstance(budget, int) else int(budget * 240)
    assert model.n_paid_ == teacher.n_samples == total
    assert model.n_teacher_checks_ == total // 5
    assert model.n_queries_ == total - total // 5
    assert model.cost_ == total * 0.5
    assert model.n_free_ == 0
    assert model.termination_condition_ == "budget"


def test_checks_on_request_are_part_of_the_budget(problem):
    """A number of checks is taken as it is, from the same budget."""
    X, y, teacher = problem
    model = distiller(teacher, teacher_checks=25)
    plan = model.plan(X, y)
    assert (plan.n_queries, plan.n_teacher_checks, plan.cost) == (25, 25, 25.0)
    model.fit(X, y)
    assert (model.n_teacher_checks_, model.n_queries_, model.n_paid_) == (25, 25, 50)
    assert model.teacher_error_ == pytest.approx(1 / 27)


def test_the_whole_pool_comes_with_checks_on_top(problem):
    """budget=None asks for all rows, and checks as many as there are."""
    X, y, teacher = problem
    model = distiller(teacher, budget=None).fit(X, y)
    assert (model.n_queries_, model.n_teacher_checks_) == (240, 60)
    assert model.termination_condition_ == "pool_empty"


def test_a_teacher_fitted_here_is_checked_for_nothing(problem):
    """Cross-fitting takes no row of the budget."""
    X, y, _ = problem
    teacher = LogisticRegression()
    model = distiller(teacher, teacher_checks=CheckPolicy(on_weak="ignore")).fit(X, y)
    assert (model.n_queries_, model.n_teacher_checks_) == (50, 0)
    assert model.teacher_error_ is not None


@pytest.mark.parametrize("budget", [1, 4])
def test_a_small_budget_has_no_checks(problem, budget):
    """Below five rows all go to the pool, and the error rate stays unknown."""
    X, y, teacher = problem
    model = distiller(teacher, budget=budget).fit(X, y)
    assert (model.n_queries_, model.n_paid_) == (budget, budget)
    assert model.teacher_error_ is None


def test_checks_that_leave_nothing_are_refused(problem):
    """Before anything is paid, with the numbers."""
    X, y, teacher = problem
    message = (
        "teacher_checks takes 50 labeled rows and the whole budget is 50 rows, so "
        "that no row of the pool could be asked; pass fewer checks or a larger budget."
    )
    with pytest.raises(BudgetError, match=f"^{re.escape(message)}$"):
        distiller(teacher, teacher_checks=50).fit(X, y)
    with pytest.raises(BudgetError, match="learns from teacher checks"):
        distiller(teacher, budget=4, objective="slam").fit(X, y)
    assert teacher.asked == []


def test_cost_is_unknown_without_prices(problem):
    """A teacher that names no price leaves None, not 0."""
    X, y, teacher = problem
    model = distiller(FunctionTeacher(teacher, name="free")).fit(X, y)
    assert model.cost_ is None


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"budget": None},
        {"budget": 0.5, "teacher_checks": 10**9},
        {"query_strategy": "margin"},
        {"objective": "debiased"},
        {"query_size": "auto", "budget": 170},
        {"use_known": False},
        {"query_strategy": "robust", "budget": 150},
        {"query_strategy": "margin", "budget": 150},
        {"query_strategy": "random", "budget": 0.7, "use_known": False},
        {"query_strategy": "robust", "budget": None},
        {"query_strategy": "robust", "use_known": False, "query_size": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("owned", [0, 30, 120])
def test_plans_are_upper_bounds_that_hold(problem, params, owned):
    """No fit pays more than its plan, in rows or in money."""
    X, y, teacher = problem
    ledger = MemoryLedger()
    if owned:
        first = distiller(teacher, ledger=ledger, budget=owned, random_state=5)
        first.fit(X, y)
    model = distiller(teacher, ledger=ledger, **params)
    plan = model.plan(X, y)
    before = teacher.n_samples
    model.fit(X, y)
    assert teacher.n_samples - before == model.n_paid_ <= plan.n_rows_to_pay
    assert model.cost_ <= plan.cost == plan.n_rows_to_pay * 0.5
    assert model.n_teacher_checks_ <= plan.n_teacher_checks
    if plan.stops_checking:
        assert model.n_queries_ <= plan.n_queries
        assert "up to" in str(plan)
    else:
        assert model.n_queries_ == plan.n_queries
    if not owned and not (plan.stops_checking and model.budget is None):
        assert model.n_paid_ == plan.n_rows_to_pay


def test_a_plan_shows_itself_as_it_prints(problem):
    """A notebook shows the lines, not the fields."""
    X, y, teacher = problem
    plan = distiller(teacher).plan(X, y)
    assert (
        repr(plan)
        == str(plan)
        == (
            "rows asked about: 40 of 240 in the pool, new ones in 4 rounds\n"
            "teacher checks: 10 labeled rows\n"
            "rows to pay: 50 at most\n"
            "cost: 25 at most"
        )
    )


def test_a_plan_prices_the_worst_case(problem):
    """Tries that fail are in the price."""
    X, y, teacher = problem

    class Retrying(FunctionTeacher):
        @property
        def max_cost_per_row(self):
            return 3 * self.cost_per_row

    retrying = Retrying(teacher, name="retrying", cost_per_row=0.5)
    assert distiller(retrying).plan(X, y).cost == 75.0


# What is owned is used.


def test_a_fit_repeated_pays_nothing(problem):
    """The labels of the first fit train the second, from its first round."""
    X, y, teacher = problem
    ledger = MemoryLedger()
    first = distiller(teacher, ledger=ledger).fit(X, y)
    second = distiller(teacher, ledger=ledger).fit(X, y)
    assert (first.n_paid_, second.n_paid_) == (50, 0)
    assert (second.n_queries_, second.n_free_, second.cost_) == (40, 50, 0.0)
    assert [r["n_labeled"] for r in second.history_] == [60, 90, 100]
    np.testing.assert_array_equal(first.labeled_round_ > 0, second.labeled_round_ > 0)


@pytest.mark.parametrize(
    "change",
    [
        {"random_state": 1},
        {"query_strategy": "margin", "teacher_checks": CheckPolicy(error_rate=0.1)},
    ],
    ids=["seed", "strategy"],
)
def test_another_fit_starts_with_all_labels_owned(problem, change):
    """Another seed or strategy buys nothing again, and uses everything."""
    X, y, teacher = problem
    ledger = MemoryLedger()
    first = distiller(teacher, ledger=ledger).fit(X, y)
    other = distiller(teacher, ledger=ledger, budget=70, **change).fit(X, y)
    assert [r["n_free"] for r in other.history_[1:3]] == [30, first.n_queries_ - 30]
    assert len(set(teacher.asked)) == teacher.n_samples
    assert set(other.labeled_round_[first.labeled_round_ > 0]) == {1, 2}


def test_three_hundred_more_cost_three_hundred(problem):
    """A larger budget pays the difference, teacher checks included."""
    X, y, teacher = problem
    ledger = MemoryLedger()
    distiller(teacher, ledger=ledger, budget=50).fit(X, y)
    model = distiller(teacher, ledger=ledger, budget=150).fit(X, y)
    assert model.n_paid_ == 100
    assert teacher.n_samples == 150


def test_more_labels_owned_than_the_budget_are_all_used(problem):
    """They are free, so the budget does not limit them."""
    X, y, teacher = problem
    ledger = MemoryLedger()
    distiller(teacher, ledger=ledger, budget=200).fit(X, y)
    model = distiller(teacher, ledger=ledger, budget=20).fit(X, y)
    assert (model.n_queries_, model.n_paid_) == (160, 0)


@pytest.mark.parametrize("strategy", ["robust", "margin", "random"])
@pytest.mark.parametrize("query_size", [7, 25, "auto"])
def test_a_larger_budget_starts_with_the_rows_of_a_smaller_one(
    problem, strategy, query_size
):
    """Whatever the budgets, also where the last round is cut short."""
    X, y, teacher = problem
    rows = {}
    for budget in (12, 40, 41, 100):
        model = distiller(
            teacher,
            budget=budget,
            query_size=query_size,
            query_strategy=strategy,
            teacher_checks=CheckPolicy(error_rate=0.1),
        ).fit(X, y)
        rows[budget] = set(np.flatnonzero(model.labeled_round_ > 0))
        assert len(rows[budget]) == budget
    assert rows[12] < rows[40] < rows[41] < rows[100]


@pytest.mark.parametrize("owned", [0, 30])
@pytest.mark.parametrize("strategy", ["robust", "rad"])
def test_checked_rows_that_are_in_the_pool_too_are_paid_once(problem, strategy, owned):
    """They are free if they are asked about, or known if the ledger is not new."""
    X, y, teacher = problem
    pool = np.concatenate([X[60:], X[:60]])
    ledger = MemoryLedger()
    if owned:
        distiller(teacher, ledger=ledger, budget=owned, random_state=5).fit(X, y)
    model = distiller(
        teacher, query_strategy=strategy, budget=150, query_size=50, ledger=ledger
    )
    model.fit(X[:60], y[:60], X_unlabeled=pool)
    assert len(set(map(bytes, teacher.asked))) == teacher.n_samples
    assert model.n_paid_ + owned == teacher.n_samples <= 150
    assert bool(owned) == (model.history_[1]["n_asked"] == model.history_[1]["n_free"])


def test_known_labels_can_wait_for_their_turn(problem):
    """use_known=False asks the same rows whatever was paid before."""
    X, y, teacher = problem
    ledger = MemoryLedger()
    params = {"ledger": ledger, "use_known": False}
    first = distiller(teacher, **params).fit(X, y)
    second = distiller(teacher, **params).fit(X, y)
    assert second.n_paid_ == 0
    assert [r["n_free"] for r in second.history_[1:]] == [10] * 4
    np.testing.assert_array_equal(first.labeled_round_, second.labeled_round_)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_labels_of_another_teacher_are_not_used(problem):
    """A ledger answers for the teacher that was asked, and for no other."""
    X, y, teacher = problem
    ledger = MemoryLedger()
    distiller(teacher, ledger=ledger).fit(X, y)
    other = FunctionTeacher(teacher, name="another")
    assert distiller(other, ledger=ledger).fit(X, y).n_paid_ == 50


def test_a_path_opens_a_ledger(problem, tmp_path):
    """Text and path alike, and the second fit finds the labels of the first."""
    X, y, teacher = problem
    path = tmp_path / "labels.sqlite"
    first = distiller(teacher, ledger=str(path)).fit(X, y)
    second = distiller(teacher, ledger=path).fit(X, y)
    assert (first.n_paid_, second.n_paid_) == (50, 0)
    assert isinstance(second.ledger_, LabelLedger)


# Clones and searches.


def search(model, X, y, **options):
    grid = {"student__C": [0.1, 1.0], "query_size": [10, 20]}
    return GridSearchCV(model, grid, cv=PartiallyLabeledSplit(2), **options).fit(X, y)


def test_a_search_pays_for_no_label_twice(problem):
    """Without a ledger of one's own, the clones of a search share one."""
    X, y, teacher = problem
    found = search(distiller(teacher), X, y)
    assert len(set(teacher.asked)) == teacher.n_samples
    assert found.best_estimator_.ledger_.n_paid == teacher.n_samples


def test_candidates_do_not_see_what_others_paid(problem):
    """Equal candidates have equal scores, whichever is fitted first."""
    X, y, teacher = problem
    model = distiller(teacher, ledger=MemoryLedger())
    grid = {"student__C": [1.0, 1.0], "query_size": [10]}
    cv = PartiallyLabeledSplit(2)
    found = GridSearchCV(model, grid, cv=cv).fit(X, y)
    assert len(set(found.cv_results_["mean_test_score"])) == 1
    ledger_full = GridSearchCV(model, grid, cv=cv).fit(X, y)
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"],
        ledger_full.cv_results_["mean_test_score"],
    )


def test_an_original_remembers_nothing_of_its_clones(problem):
    """ledger=None is a new ledger for each fit of the original."""
    X, y, teacher = problem
    model = distiller(teacher)
    clone(model).fit(X, y)
    assert clone(model).fit(X, y).n_paid_ == 0
    assert clone(clone(model)).fit(X, y).n_paid_ == 0
    assert model.fit(X, y).n_paid_ == 50
    assert model.fit(X, y).n_paid_ == 50


@pytest.mark.parametrize("owner", ["call", "estimator"])
def test_clones_in_another_process_say_that_nothing_is_shared(problem, owner):
    """A teacher that is called makes the copied ledger warn, a model does not."""
    X, y, teacher = problem
    model = clone(distiller(teacher if owner == "call" else LogisticRegression()))
    fit = partial(model.set_params(budget=10).fit, X, y)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as other:
        warned = other.submit(warnings_of, fit).result()
    assert (LedgerCopyWarning.__name__ in warned) == (owner == "call")


def warnings_of(function):
    """Name the warnings that a call gives."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        function()
    return [warning.category.__name__ for warning in told]


# The first call.


def test_a_new_teacher_is_first_asked_about_two_rows(problem):
    """An answer that cannot be used costs two rows."""
    X, y, _ = problem
    calls = []

    def broken(X):
        calls.append(len(X))
        return np.zeros((len(X), 7))

    for teacher, params in (
        (broken, {}),
        (broken, {"teacher_checks": CheckPolicy(error_rate=0.1)}),
        (as_teacher(broken, batch_size=30), {}),
    ):
        calls.clear()
        with pytest.raises(TeacherAnswerError):
            distiller(teacher, **params).fit(X, y)
        assert calls == [2]


def test_a_teacher_in_the_ledger_is_not_tried_again(problem):
    """Rounds are one call each once the teacher has answered."""
    X, y, teacher = problem
    calls = []

    def counting(X):
        calls.append(len(X))
        return teacher(X)

    ledger = MemoryLedger()
    distiller(counting, ledger=ledger, teacher_checks=CheckPolicy(error_rate=0.1)).fit(
        X, y
    )
    assert calls == [2, 8, 10, 10, 10, 10]
    calls.clear()
    distiller(
        counting, ledger=ledger, teacher_checks=CheckPolicy(error_rate=0.1), budget=70
    ).fit(X, y)
    assert calls == [10, 10]


# Answers without a label.


@pytest.fixture
def refusals(monkeypatch):
    """Let the teacher give no label for rows whose first feature is large."""
    import skadistill._fit.ask as module
    from skadistill._fit import state

    buy = module.buy_labels

    def buy_some(teacher, X, **options):
        purchase = buy(teacher, X, **options)
        refused = X[:, 0] > buy_some.limit
        values = vars(purchase) | {"labeled": purchase.labeled & ~refused}
        some = LabelPurchase(**values)
        object.__setattr__(some, "no_label", refused)
        return some

    buy_some.limit = np.inf
    monkeypatch.setattr(module, "buy_labels", buy_some)
    monkeypatch.setattr(state, "MAX_NO_LABEL", 1.0)
    return buy_some


def test_the_time_of_replacing_rows_is_kept(problem, refusals, monkeypatch):
    """Each look at the pool counts, also those for other rows in the same round."""
    import skadistill._fit.choose as module

    X, y, teacher = problem
    refusals.limit, view, looks = np.quantile(X[:, 0], 0.8), module.view_of, []

    def slow_view(state):
        looks.append(view(state))
        looks[-1].seconds = 1000.0
        return looks[-1]

    monkeypatch.setattr(module, "view_of", slow_view)
    model = distiller(teacher, teacher_checks=CheckPolicy(error_rate=0.1)).fit(X, y)
    total = sum(record["seconds_predict"] for record in model.history_)
    assert len(looks) > model.n_rounds_
    assert 1000 * len(looks) <= total < 1000 * (len(looks) + 1)


def test_rows_without_a_label_are_replaced(problem, refusals):
    """They are paid, leave the pool, and others take their place in the round."""
    X, y, teacher = problem
    refusals.limit = np.quantile(X[:, 0], 0.8)
    model = distiller(teacher, teacher_checks=CheckPolicy(error_rate=0.1)).fit(X, y)
    refused = X[:, 0] > refusals.limit
    assert model.n_no_label_ > 0
    assert model.n_paid_ == model.n_queries_ == teacher.n_samples == 50
    assert (model.labeled_round_ > 0).sum() == 50 - model.n_no_label_
    assert not (model.labeled_round_[refused] > 0).any()
    sizes = [r["n_asked"] - r["n_no_label"] for r in model.history_[1:]]
    assert sizes[:-1] == [10] * (len(sizes) - 1)
    assert len(set(teacher.asked)) == 50


def test_too_many_rows_without_a_label_end_the_loop(problem, refusals, monkeypatch):
    """A teacher that refuses everything does not get the whole budget."""
    X, y, teacher = problem
    refusals.limit = -np.inf
    monkeypatch.setattr("skadistill._fit.state.MAX_NO_LABEL", 0.1)
    model = distiller(teacher, teacher_checks=CheckPolicy(error_rate=0.1)).fit(X, y)
    assert model.termination_condition_ == "no_label"
    assert model.n_paid_ == model.n_no_label_ == 10
    assert [r["n_no_label"] for r in model.history_] == [0, 10]


def test_no_checks_for_strategies_that_need_none(problem):
    """Only a strategy that reads the teacher's error makes the fit pay for it."""
    X, y, teacher = problem
    strategies = ("margin", "random", RADSampler(n_mistakes=None))
    for strategy in strategies:
        model = distiller(teacher, query_strategy=strategy)
        assert model.plan(X, y).n_teacher_checks == 0
