"""A teacher on trial: what it gets wrong, and no row paid for twice."""

import html

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, LabelLedger, MemoryLedger
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.exceptions import TeacherError
from skadistill.teachers import as_teacher

TEXTS = [f"{word} {i}" for i in range(10) for word in ("spam", "ham", "eggs")]
LABELS = [text.split()[0] for text in TEXTS]


class Clerk:
    """Takes eggs for ham, cannot read the last row, and counts what it is asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += list(texts)
        return [self.answer(text) for text in texts]

    def answer(self, text):
        return None if text == "eggs 9" else text.split()[0].replace("eggs", "ham")


@pytest.fixture
def clerk():
    return Clerk()


def as_named(function):
    options = {"classes": ["eggs", "ham", "spam"], "name": "t", "cost_per_row": 0.01}
    return as_teacher(function, **options)


def test_what_a_trial_tells(clerk):
    """Right, confusions, no label, money and time."""
    trial = as_named(clerk).try_on(TEXTS, LABELS)
    assert (trial.n_right, trial.n_no_label, trial.n_paid) == (20, 1, 30)
    assert trial.confusions == {("eggs", "ham"): 9}
    assert trial.cost == pytest.approx(0.3)
    assert trial.seconds >= 0
    text = repr(trial)
    assert "right on 20 of 30 rows: 66.7 % (95 % interval" in text
    assert "'eggs' answered as 'ham': 9 times" in text
    assert "no label: 1 times" in text
    assert "paid: 30 rows, cost 0.3 (10 per 1,000 rows)" in text
    assert html.escape(text) in trial._repr_html_()
    frame = trial.to_frame()
    assert frame["answer"].isna().sum() == 1
    assert (frame["label"] == np.array(LABELS)[frame["row"]]).all()


def test_few_rows_are_asked_about_and_the_same_ones_of_each_teacher(clerk):
    """Two prompts are compared on the same rows."""
    first = as_named(clerk).try_on(TEXTS, LABELS, n_rows=8, random_state=3)
    again = as_named(Clerk()).try_on(TEXTS, LABELS, n_rows=8, random_state=3)
    assert len(clerk.asked) == len(first.rows) == 8
    assert first.rows.tolist() == again.rows.tolist()
    with pytest.raises(ValueError, match="n_rows is 0"):
        as_named(clerk).try_on(TEXTS, LABELS, n_rows=0)


def test_a_label_that_is_no_class_is_told_before_anything_is_paid(clerk):
    """As it is when a fit checks the teacher."""
    with pytest.raises(TeacherError, match=r"y holds the label 'bacon' in row 2"):
        as_named(clerk).try_on(TEXTS, [*LABELS[:2], "bacon", *LABELS[3:]])
    assert clerk.asked == []


def test_answers_are_paid_for_once(clerk, tmp_path):
    """The second trial is free, within the limits of the ledger."""
    path = tmp_path / "labels.sqlite"
    as_named(clerk).try_on(TEXTS, LABELS, ledger=path)
    again = as_named(clerk).try_on(TEXTS, LABELS, ledger=path)
    assert (again.n_paid, again.cost, again.n_right) == (0, None, 20)
    assert len(clerk.asked) == 30
    limited = as_named(Clerk()).try_on(TEXTS, LABELS, ledger=MemoryLedger(max_rows=12))
    assert len(limited.rows) == limited.n_paid == 12


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("strategy", ["robust", "rad"])
def test_a_fit_checks_the_teacher_on_tried_rows_first(kind, strategy, tmp_path):
    """Aimed checks and random ones: no labeled row is paid for, and none twice."""
    problem = make_noisy_teacher_problem(
        n_labeled=200, n_pool=600, n_classes=3, teacher_error=0.1, random_state=0
    )
    asked = []

    def ask(X):
        asked.extend(map(tuple, X))
        return problem.teacher(X)

    ledger = MemoryLedger() if kind == "memory" else LabelLedger(tmp_path / "l.sqlite")
    teacher = as_teacher(ask, classes=[0, 1, 2], name="t")
    X, y = problem.X_labeled, problem.y_labeled
    trial = teacher.try_on(X, y, ledger=ledger, n_rows=60, random_state=0)
    fitted = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=100,
        query_strategy=strategy,
        teacher_checks=20,
        ledger=ledger,
        random_state=0,
    ).fit(X, y, X_unlabeled=problem.X_pool)
    checks = fitted.teacher_checks_
    in_trial = np.isin(checks.rows, trial.rows)
    assert in_trial.sum() >= min(20, checks.n_samples)
    assert fitted.n_teacher_checks_ == (~in_trial).sum()
    assert fitted.n_paid_ <= 100
    assert len(asked) == len(set(asked))


def test_mistakes_that_a_person_corrected_are_not_the_first_checks():
    """They would make a good teacher look bad; they were paid for as rows of the pool.

    Only rows answered before any other one come first.
    """
    problem = make_noisy_teacher_problem(
        n_labeled=200, n_pool=1000, teacher_error=0.1, random_state=0
    )
    teacher = as_teacher(problem.teacher, name="t")
    params = {"query_strategy": "rad", "teacher_checks": 30, "random_state": 0}
    params |= {"ledger": MemoryLedger(), "budget": 300}
    model = ActiveDistiller(teacher, LogisticRegression(), **params)
    X, y = problem.X_labeled, problem.y_labeled
    first = model.fit(X, y, X_unlabeled=problem.X_pool).teacher_checks_
    asked = model.labeled_round_[200:] > 0
    wrong = np.flatnonzero(asked & problem.teacher_wrong)
    assert len(wrong) > 15
    X = np.concatenate([X, problem.X_pool[wrong]])
    y = np.concatenate([y, problem.y_pool[wrong]])
    second = model.fit(X, y, X_unlabeled=problem.X_pool).teacher_checks_
    assert np.isin(first.rows, second.rows).mean() > 0.9
    assert model.n_teacher_checks_ == 0
