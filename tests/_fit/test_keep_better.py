"""A teacher that is no better than the student is told, and costs no accuracy."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from skadistill import ActiveDistiller
from skadistill._fit import keep_better
from skadistill._fit.keep_better import _labeled_rows
from skadistill.checking import CheckPolicy
from skadistill.exceptions import TeacherError, TeacherWarning
from skadistill.objectives import PosteriorTargets
from skadistill.teachers import as_teacher


@pytest.fixture
def problem():
    """Make a linear problem: the student is good at it, and a stump is not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 8))
    y = (X @ rng.normal(size=8) + 0.3 * rng.normal(size=800) > 0).astype(int)
    return X, np.where(np.arange(800) < 150, y, -1), y


def distiller(teacher, **params):
    params = {"budget": 300, "random_state": 0} | params
    return ActiveDistiller(teacher, LogisticRegression(), **params)


STUMP = DecisionTreeClassifier(max_depth=1)


def test_a_weak_teacher_is_told_before_it_is_paid(problem):
    """With the numbers of both; silent if asked to be."""
    X, y, _ = problem
    with pytest.warns(
        TeacherWarning, match=r"right on \d+ of 150 labeled rows, and st"
    ):
        distiller(STUMP).fit(X, y)
    distiller(STUMP, teacher_checks=CheckPolicy(on_weak="ignore")).fit(X, y)


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_a_weak_teacher_can_be_refused(problem):
    """No row of the pool is paid for; the checks were."""
    X, y, _ = problem
    asked = []

    def teacher(X):
        asked.append(len(X))
        return np.random.default_rng(len(asked)).integers(0, 2, len(X))

    model = distiller(
        teacher,
        query_strategy="rad",
        teacher_checks=CheckPolicy(60, on_weak="raise"),
    )
    with pytest.raises(TeacherError, match="its labels may do more harm than good"):
        model.fit(X, y)
    assert sum(asked) == 60


def test_a_good_teacher_is_not_doubted(problem):
    """No warning, and the last student is kept."""
    X, y, _ = problem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = distiller(lambda rows: _truth(X, problem[2], rows)).fit(X, y)
    assert model.student_round_ == model.n_rounds_ > 0


def _truth(X, y, rows):
    known = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
    return np.array([known[row.tobytes()] for row in rows])


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
@pytest.mark.parametrize("teacher", [STUMP, DummyClassifier()], ids=["stump", "dummy"])
def test_the_better_student_is_kept(problem, teacher):
    """The one of the given labels alone: nothing is lost by the bad teacher."""
    X, y, truth = problem
    model = distiller(teacher).fit(X, y)
    alone = LogisticRegression().fit(X[:150], y[:150])
    assert model.student_round_ == 0 < model.n_rounds_
    np.testing.assert_array_equal(model.predict(X), alone.predict(X))
    worse = distiller(teacher, teacher_checks=CheckPolicy(on_weak="ignore")).fit(X, y)
    assert worse.student_round_ == worse.n_rounds_
    assert worse.score(X, truth) < model.score(X, truth) - 0.03


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
@pytest.mark.parametrize("kind", ["fitted here", "called"])
def test_a_class_with_one_labeled_row(problem, kind):
    """The students that judge a paid fit may have to do without that row."""
    X, y, _ = problem
    y[0] = 2
    guess = as_teacher(
        lambda rows: np.random.default_rng(0).integers(0, 2, len(rows)),
        classes=[0, 1, 2],
    )
    teacher = STUMP if kind == "fitted here" else guess
    model = distiller(teacher, teacher_checks=100, objective="soft").fit(X, y)
    assert model.student_round_ == 0 < model.n_rounds_


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
@pytest.mark.parametrize("strategy", ["random", "margin", "rad", "robust"])
def test_a_teacher_fitted_here_is_judged_for_free(problem, strategy):
    """With every strategy, unless there are to be no checks, or no judgment."""
    X, y, _ = problem
    rounds = [
        distiller(STUMP, query_strategy=strategy, teacher_checks=checks)
        .fit(X, y)
        .student_round_
        for checks in ("auto", 0, CheckPolicy(on_weak="ignore"))
    ]
    assert rounds[0] == 0 < min(rounds[1:])


@pytest.mark.parametrize(
    ("called", "n_better", "n_worse", "kept"),
    [
        # The student of the given labels is right on so many rows alone, and wrong.
        (True, 6, 3, "last"),
        (True, 12, 4, "first"),
        (True, 40, 28, "last"),
        (True, 0, 0, "last"),
        (False, 4, 3, "first"),
        (False, 3, 3, "last"),
    ],
)
def test_labels_that_were_paid_for_are_given_up_beyond_chance_only(
    monkeypatch, called, n_better, n_worse, kept
):
    """More than 1.64 standard errors of the rows on which two students differ."""
    alone = np.arange(100) < 60
    last = alone.copy()
    last[:n_better], last[99 - n_worse : 99] = False, True
    monkeypatch.setattr(keep_better, "_labeled_rows", lambda _: [(None, None)])
    monkeypatch.setattr(keep_better, "_right_out_of_fold", lambda *_: last)
    given = np.arange(150) < 100
    state = SimpleNamespace(
        labels=SimpleNamespace(targets=np.eye(2)[given.astype(int)], given=given),
        students=SimpleNamespace(first="first", last="last", last_round=3),
        asked=SimpleNamespace(findings=SimpleNamespace(right_alone=alone)),
        components=SimpleNamespace(teacher=SimpleNamespace(is_fitted=called)),
    )
    keep_better.keep_better_student(state)
    assert state.students.last == kept
    assert (state.students.last_round == 0) == (kept == "first")


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_the_last_student_is_judged_by_what_it_learned(problem, monkeypatch):
    """Labels that the objective has corrected, not those that the teacher gave."""
    X, y, truth = problem
    seen = []

    def spy(state):
        paid = ~state.labels.given
        seen.append((state.labels.targets[paid], list(_labeled_rows(state))[-1][1]))
        return []

    monkeypatch.setattr(keep_better, "_labeled_rows", spy)
    stump = clone(STUMP).fit(X[-100:], truth[-100:])
    distiller(stump, objective=PosteriorTargets(strength=1.0)).fit(X, y)
    said, learned = seen[0]
    assert said.shape == learned.shape
    assert not np.allclose(said, learned)


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_few_rows_tell_nothing(problem):
    """Twenty labeled rows neither warn nor choose."""
    X, y, _ = problem
    y = np.where(np.arange(800) < 20, y, -1)
    model = distiller(STUMP).fit(X, y)
    assert model.student_round_ == model.n_rounds_


def test_a_teacher_of_the_same_kind_is_hardly_ever_refused():
    """It is worse by more than chance in 5 % of cases; here in at most 4 of 20."""
    refused = 0
    for seed in range(20):
        X, y = make_classification(300, n_features=8, random_state=seed)
        y[100:] = -1
        teacher, student = (
            RandomForestClassifier(10, random_state=seed + k) for k in (0, 1)
        )
        model = distiller(
            teacher, budget=20, teacher_checks=CheckPolicy(on_weak="raise")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TeacherWarning)
            try:
                model.set_params(student=student).fit(X, y)
            except TeacherError:
                refused += 1
    assert refused <= 4


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_rows_of_the_strategy_do_not_speak_for_the_last_student():
    """Soft labels near one half of rows between the classes: they hide what is lost.

    The strategy chose these rows by a student that had learned the given rows, so that
    students without a given row learn from what is chosen how that row is labeled.
    """
    gains = {"warn": [], "ignore": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(2000, 100))
        y = (X[:, :10].sum(axis=1) + rng.normal(size=2000) > 0).astype(int)
        hidden = np.where(np.arange(1200) < 200, y[:1200], -1)
        alone = LogisticRegression().fit(X[:200], y[:200]).score(X[1200:], y[1200:])
        for what, found in gains.items():
            model = distiller(
                KNeighborsClassifier(),
                query_strategy="margin",
                objective="corrected",
                teacher_checks=CheckPolicy(on_weak=what),
                random_state=seed,
            )
            found.append(model.fit(X[:1200], hidden).score(X[1200:], y[1200:]) - alone)
    assert np.mean(gains["ignore"]) < -0.01
    assert np.mean(gains["warn"]) > -0.003


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
@pytest.mark.parametrize(
    ("fitted", "uniform_share", "n_rows"),
    [(True, 0.25, 25), (True, 0, 100), (False, 0, 100)],
)
def test_rows_drawn_evenly_judge(problem, monkeypatch, fitted, uniform_share, n_rows):
    """Of a ready teacher those paid for, then all; else random ones."""
    X, y, truth = problem
    seen = []

    def spy(state):
        seen.extend((*pair, state.labels) for pair in _labeled_rows(state))
        return [pair[:2] for pair in seen]

    monkeypatch.setattr(keep_better, "_labeled_rows", spy)
    teacher = STUMP if not fitted else clone(STUMP).fit(X[-100:], truth[-100:])
    distiller(
        teacher,
        query_strategy="margin",
        objective="corrected",
        query_size=20,
        budget=100 if not fitted else 140,
        teacher_checks=40,
        uniform_share=uniform_share,
    ).fit(X, y)
    rows, targets, labels = seen[0]
    assert len(seen) == (2 if fitted and uniform_share else 1)
    assert len(np.unique(rows)) == n_rows
    assert (targets is None) is not fitted
    paid = labels.round[rows] > 0
    assert paid.all() if fitted else 0 < paid.sum() < 60
    if uniform_share:
        assert labels.even[rows].all()
        assert labels.even.sum() == n_rows
        # And all that were paid, which speak for the last student too well.
        assert len(seen[-1][0]) > n_rows or not fitted
