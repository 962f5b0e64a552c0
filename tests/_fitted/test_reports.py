"""Suspects for people to look at, and the summary in HTML."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.exceptions import TeacherError
from skadistill.teachers import FunctionTeacher


@pytest.fixture(scope="module")
def problem():
    return make_noisy_teacher_problem(
        n_labeled=200,
        n_pool=1500,
        n_classes=3,
        class_sep=2.0,
        teacher_error=0.1,
        random_state=0,
    )


def fit(problem, **params):
    params = {"budget": 900, "query_strategy": "random", "random_state": 0} | params
    params = {"teacher_checks": CheckPolicy(on_weak="ignore")} | params
    return ActiveDistiller(problem.teacher, LogisticRegression(), **params).fit(
        problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool
    )


def precision(problem, found, n=50):
    rows = np.asarray(found["row"])[:n] - 200
    return problem.teacher_wrong[rows].mean()


@pytest.mark.parametrize(
    "params", [{}, {"objective": "corrected"}], ids=["", "checked"]
)
def test_most_suspects_are_mistakes_of_the_teacher(problem, params):
    """Of the first fifty most are, where one row in ten is; nothing is paid."""
    model = fit(problem, **params)
    n_known = len(model.ledger_)
    found = model.suspects(problem.X_labeled, X_unlabeled=problem.X_pool)
    assert len(found) == model.n_queries_
    assert precision(problem, found) > 0.6
    assert len(model.ledger_) == n_known
    assert found["probability_wrong"].is_monotonic_decreasing
    assert (model.labeled_round_[found["row"]] == found["round"]).all()
    assert (found["round"] > 0).all()
    labels = model.transduction_[found["row"]]
    np.testing.assert_array_equal(labels, found["label"])


def test_as_many_as_wanted(problem):
    """The first of the whole list."""
    model = fit(problem)
    rows = {"X_unlabeled": problem.X_pool}
    few = model.suspects(problem.X_labeled, n_suspects=7, **rows)
    assert few.equals(model.suspects(problem.X_labeled, **rows)[:7])


@pytest.mark.parametrize("n_suspects", [-1, 2.5, True, "ten"])
def test_numbers_of_suspects_are_checked(problem, n_suspects):
    """A negative one would leave out the least doubtful labels."""
    model = fit(problem, budget=20)
    with pytest.raises(ValueError, match="n_suspects is"):
        model.suspects(
            problem.X_labeled, X_unlabeled=problem.X_pool, n_suspects=n_suspects
        )


@pytest.mark.parametrize("case", ["no pool", "no budget"])
def test_a_fit_without_paid_labels_has_no_suspects(problem, case):
    """An empty table with all columns, though no teacher was needed."""
    rows = {} if case == "no pool" else {"X_unlabeled": problem.X_pool}
    model = ActiveDistiller(problem.teacher, LogisticRegression(), budget=0)
    model.fit(problem.X_labeled, problem.y_labeled, **rows)
    found = model.suspects(problem.X_labeled, **rows)
    assert len(found) == 0
    assert {"row", "label", "suggestion", "probability_wrong"} <= set(found)


def test_corrected_labels_cost_nothing_again(problem):
    """Suspects with their true labels become given rows of the next fit."""
    ledger = MemoryLedger()
    model = fit(problem, ledger=ledger, objective="soft")
    found = model.suspects(problem.X_labeled, X_unlabeled=problem.X_pool, n_suspects=50)
    at = found["row"].to_numpy() - 200
    X = np.concatenate([problem.X_labeled, problem.X_pool[at]])
    y = np.concatenate([problem.y_labeled, problem.y_pool[at]])
    again = ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=850,
        query_strategy="random",
        objective="soft",
        teacher_checks=CheckPolicy(on_weak="ignore"),
        ledger=ledger,
        random_state=0,
    ).fit(X, y, X_unlabeled=np.delete(problem.X_pool, at, axis=0))
    assert again.n_paid_ == 0
    assert (again.labeled_round_[:250] == 0).all()


def test_other_rows_are_refused(problem):
    model = fit(problem)
    with pytest.raises(ValueError, match="pass the rows of the fit"):
        model.suspects(problem.X_labeled)
    with pytest.raises(TeacherError, match="the ledger holds no label for"):
        model.suspects(problem.X_labeled, X_unlabeled=problem.X_pool + 1)
    model.teacher_ = None
    with pytest.raises(TeacherError, match="assign it to teacher_"):
        model.suspects(problem.X_labeled, X_unlabeled=problem.X_pool)


def test_without_pandas_the_columns_are_arrays(problem, monkeypatch):
    import builtins

    model = fit(problem)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    found = model.suspects(problem.X_labeled, X_unlabeled=problem.X_pool, n_suspects=3)
    assert isinstance(found, dict)
    assert [len(column) for column in found.values()] == [3] * 7


def test_a_notebook_shows_the_bill(problem):
    """Teacher, bill, agreement and why it ended; escaped, and only after a fit."""

    def answer(X):
        return problem.teacher(X)

    teacher = FunctionTeacher(answer, name="<b>oracle</b>", cost_per_row=0.5)
    model = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=300,
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
    )
    assert "Bill" not in model._repr_mimebundle_()["text/html"]
    model.fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)
    text = model._repr_mimebundle_()["text/html"]
    assert "300 rows paid, 0 free, cost 150" in text
    assert "Agreement with the teacher" in text
    assert "<td style='text-align:left'>budget</td>" in text
    assert "&lt;b&gt;oracle" in text.rpartition("<table>")[2]
    assert text.count("Bill") == model._repr_html_().count("Bill") == 1
