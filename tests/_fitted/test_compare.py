"""`compare`: teacher, student and doing without, on the same rows, at no surprise."""

import pickle
import sys

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.deploy import Cascade
from skadistill.teachers import FunctionTeacher

ALONE = "student, labeled rows only"


def make(n_labeled=60, teacher_error=0.05, **params):
    options = {"n_classes": 3, "n_features": 12, "class_sep": 1.2, "random_state": 0}
    return make_noisy_teacher_problem(
        n_labeled=n_labeled,
        n_pool=1500,
        teacher_error=teacher_error,
        **options,
        **params,
    )


class Counted:
    """A teacher that knows how often it was asked."""

    def __init__(self, problem):
        self.ask, self.n_rows = problem.teacher, 0

    def __call__(self, X):
        self.n_rows += len(X)
        return self.ask(X)


@pytest.fixture
def problem():
    return make()


@pytest.fixture
def counted(problem):
    return Counted(problem)


def fit(problem, teacher, **params):
    params = {"budget": 200, "random_state": 0} | params
    teacher = FunctionTeacher(teacher, name="t", cost_per_row=0.002)
    return ActiveDistiller(teacher, LogisticRegression(), **params).fit(
        problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool[:1000]
    )


def split(problem):
    return problem.X_pool[1000:], problem.y_pool[1000:]


def by_name(comparison):
    return {record["model"]: record for record in comparison.records}


def test_nothing_is_paid_unless_the_user_says_so(problem, counted):
    """A teacher that is called is measured by what the ledger holds of it."""
    model = fit(problem, counted)
    before, n_known = counted.n_rows, len(model.ledger_)
    found = model.compare(*split(problem))
    assert (counted.n_rows, len(model.ledger_)) == (before, n_known)
    assert "teacher" not in by_name(found)
    assert "ask_teacher=True" in "".join(found.notes)
    asked = model.compare(*split(problem), ask_teacher=True)
    assert counted.n_rows - before == 500
    # Paid once: the answers are in the ledger.
    again = model.compare(*split(problem))
    assert counted.n_rows - before == 500
    assert by_name(again)["teacher"] | {"ms_per_row": 0} == (
        by_name(asked)["teacher"] | {"ms_per_row": 0}
    )


def test_limits_of_the_ledger_hold(problem, counted):
    """Answers stop where the ledger's budget ends, and only rows answered count."""
    model = fit(problem, counted, ledger=MemoryLedger(max_rows=230))
    found = model.compare(*split(problem), ask_teacher=True)
    assert by_name(found)["teacher"]["n_rows"] == 230 - model.n_paid_
    assert by_name(found)["student"]["n_rows"] == 500
    assert "rows" in found.cells()[0]
    assert "limit" in "".join(found.notes)


def test_the_table_says_what_can_be_counted(problem, counted):
    """Shares, intervals, worst classes, prices and labels, by hand."""
    model = fit(problem, counted)
    X, y = split(problem)
    rows = by_name(model.compare(X, y, ask_teacher=True))
    student, teacher = rows["student"], rows["teacher"]
    predicted, answers = model.predict(X), np.asarray(problem.teacher(X))
    assert student["accuracy"] == np.mean(predicted == y)
    assert teacher["accuracy"] == np.mean(answers.argmax(axis=1) == y)
    recalls = {c: np.mean(predicted[y == c] == c) for c in np.unique(y)}
    assert student["balanced"] == pytest.approx(np.mean(list(recalls.values())))
    assert student["worst_recall"] == min(recalls.values())
    assert recalls[student["worst_class"]] == student["worst_recall"]
    assert student["low"] < student["accuracy"] < student["high"]
    assert teacher["cost_per_million"] == pytest.approx(2000)
    assert student["cost_per_million"] == rows[ALONE]["cost_per_million"] == 0
    assert (student["teacher_labels"], rows[ALONE]["teacher_labels"]) == (200, 0)
    assert student["size_bytes"] == len(pickle.dumps(model.student_, protocol=4))
    alone = LogisticRegression().fit(problem.X_labeled, problem.y_labeled)
    assert rows[ALONE]["accuracy"] == pytest.approx(alone.score(X, y), abs=0.004)
    # The fifth one is the best of the default students on the same rows.
    assert len(rows) == 4
    assert sum("labeled rows only" in name for name in rows) == 2


def test_a_useful_teacher_is_told_from_a_useless_one():
    """Few labeled rows: its labels bring points. Many: a classifier does without."""
    few = make(n_labeled=15, teacher_error=0.0)
    found = fit(few, few.teacher, budget=400, teacher_checks=0).compare(*split(few))
    assert "labels brought" in found.conclusion
    many = make(n_labeled=3000, teacher_error=0.3)
    model = fit(many, many.teacher, budget=100, teacher_checks=0)
    X = np.concatenate(
        [many.X_pool[1000:]] + [many.X_pool[1000:] + k / 1e9 for k in (1, 2)]
    )
    found = model.compare(X, np.tile(many.y_pool[1000:], 3))
    assert "You do not need a teacher" in found.conclusion


def test_few_rows_decide_nothing(problem, counted):
    """Ten test rows do not show whether the teacher's labels help."""
    X, y = split(problem)
    found = fit(problem, counted).compare(X[:10], y[:10])
    assert "These 10 rows do not show" in found.conclusion


def test_without_labels_models_are_compared_by_agreement(problem, counted):
    """Only rows whose answer is known count; with none of them, an error says so."""
    model, (X, _) = fit(problem, counted), split(problem)
    with pytest.raises(ValueError, match="ask_teacher=True to pay for up to 500"):
        model.compare(X)
    model.compare(X[:100], ask_teacher=True)
    found = model.compare(X)
    rows = by_name(found)
    assert rows["student"]["n_rows"] == rows["teacher"]["n_rows"] == 100
    assert rows["teacher"]["agreement"] == 1
    taught = np.asarray(problem.teacher(X[:100])).argmax(axis=1)
    assert rows["student"]["agreement"] == np.mean(model.predict(X[:100]) == taught)
    assert "agrees with the teacher on" in found.conclusion
    assert "You do not need" not in found.conclusion


def test_a_teacher_fitted_here_is_asked(problem):
    """Its answers cost nothing."""
    model = ActiveDistiller(
        RandomForestClassifier(20, random_state=0),
        budget=30,
        teacher_checks=0,
        random_state=0,
    ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool[:1000])
    X, y = split(problem)
    n_known = len(model.ledger_)
    rows = by_name(model.compare(X, y))
    forest = model.teacher_.estimator_
    assert rows["teacher"]["accuracy"] == forest.score(X, y)
    assert rows["teacher"]["size_bytes"] == len(pickle.dumps(forest, protocol=4))
    assert rows["teacher"]["cost_per_million"] is None
    assert len(model.ledger_) == n_known


def test_rows_of_the_training_and_rows_without_a_label_are_left_out(problem, counted):
    """They would make the student look better than it is, or cannot be judged."""
    model, (X, y) = fit(problem, counted), split(problem)
    y = np.r_[y[:-5], np.full(5, -1), problem.y_labeled]
    found = model.compare(np.concatenate([X, problem.X_labeled]), y)
    assert by_name(found)["student"]["n_rows"] == 495
    assert [note.split()[2] for note in found.notes[:2]] == ["5", "60"]
    with pytest.raises(ValueError, match="none of the 60 test rows"):
        model.compare(problem.X_labeled, problem.y_labeled)


def test_an_answer_without_a_label_is_not_right(problem):
    """Of a deployed teacher it would be no answer either."""

    def teacher(X):
        answers = np.asarray(problem.teacher(X), dtype=float)
        answers[X[:, 0] > 1] = np.nan
        return answers

    model, (X, y) = fit(problem, teacher), split(problem)
    rows = by_name(model.compare(X, y, ask_teacher=True))
    right = (np.asarray(problem.teacher(X)).argmax(axis=1) == y) & ~(X[:, 0] > 1)
    assert rows["teacher"]["n_rows"] == 500
    assert rows["teacher"]["accuracy"] == right.mean()


def test_a_cascade_is_measured_by_known_answers(problem, counted):
    """What it defers costs its share of the price; nothing counts as its usage."""
    model, (X, y) = fit(problem, counted), split(problem)
    cascade = Cascade(model, max_deferred=0.3, random_state=0).calibrate(X)
    fresh = X + 1e-9
    n_rows = counted.n_rows
    unknown = model.compare(fresh, y, cascade=cascade)
    assert "cascade is not measured" in "".join(unknown.notes)
    assert counted.n_rows == n_rows
    assert cascade.usage_["n_predictions"] == 0
    found = model.compare(X, y, cascade=cascade, ask_teacher=True)
    last = found.records[-1]
    predicted, source = cascade.predict(X, return_source=True)
    assert last["accuracy"] == np.mean(predicted == y)
    share = np.mean(source == "teacher")
    assert 0 < share < 0.3
    assert last["cost_per_million"] == pytest.approx(2000 * share)


def test_it_prints_without_pandas(problem, counted, monkeypatch):
    """As text with one line per model; names are escaped in HTML."""
    model, (X, y) = fit(problem, counted), split(problem)
    names = np.array(["<b>", "spam & eggs", "ham"])
    found = ActiveDistiller(problem.teacher, LogisticRegression(), budget=0).fit(
        problem.X_labeled, names[problem.y_labeled]
    )
    found = found.compare(X, names[y])
    text = found._repr_html_()
    assert "<b>" not in text
    assert "&lt;b&gt;" in text or "spam &amp; eggs" in text
    found = model.compare(X, y)
    assert found.to_frame().shape == (3, len(found.records[0]))
    monkeypatch.setitem(sys.modules, "pandas", None)
    lines = str(found).splitlines()
    assert [line.partition("  ")[0] for line in lines[1:3]] == ["student", ALONE]
    assert lines[-1] == found.conclusion


def test_a_model_file_holds_no_rows_of_the_user(problem, counted):
    """After loading, the models that would need them are left out."""
    model = fit(problem, counted)
    model.teacher = model.teacher_ = None
    data = pickle.dumps(model)
    assert problem.X_labeled.tobytes() not in data
    loaded = pickle.loads(data)
    assert list(by_name(loaded.compare(*split(problem)))) == ["student"]
