"""ActiveDistiller: the loop, its evidence, its errors."""

import pickle
import re
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skadistill import ActiveDistiller, StudentNet
from skadistill.checking import CheckPolicy
from skadistill.exceptions import (
    BudgetError,
    BudgetWarning,
    QueryStrategyError,
    SkadistillError,
    TeacherAnswerError,
    TeacherCallError,
    UnlabeledTestRowsWarning,
)
from skadistill.query import RADSampler, UncertaintySampler
from skadistill.stopping import StablePredictions
from skadistill.teachers import as_teacher

# A student that trains in milliseconds; the network has tests of its own.
STUDENT = LogisticRegression(max_iter=500)


class CountingTeacher:
    """Answer from the truth table of some rows and count what is asked."""

    def __init__(self, X, y, n_classes=3):
        self.truth = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
        self.n_classes = n_classes
        self.n_samples = 0
        self.calls = []

    def __call__(self, X):
        self.calls.append(len(X))
        self.n_samples += len(X)
        codes = [self.truth[row.tobytes()] for row in np.asarray(X)]
        return np.eye(self.n_classes)[codes] * 0.9 + 0.1 / self.n_classes


@pytest.fixture
def problem():
    """Sixty labeled rows of 300, three classes; a teacher that knows all."""
    X, y = make_classification(
        300, n_features=6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    partly = y.copy()
    partly[60:] = -1
    return X, y, partly, CountingTeacher(X, y)


def distiller(teacher, **params):
    params = {
        "student": STUDENT,
        "budget": 50,
        "teacher_checks": CheckPolicy(error_rate=0.1),
        "random_state": 0,
    } | params
    return ActiveDistiller(teacher, **params)


def test_loop_asks_pays_and_trains(problem):
    """The budget is asked in equal rounds, paid once, and used in training."""
    X, _, partly, teacher = problem
    fitted = distiller(teacher, query_size=13).fit(X, partly)
    assert teacher.calls == [2, 11, 13, 13, 11]
    assert [r["n_asked"] for r in fitted.history_] == [0, 13, 13, 13, 11]
    assert [r["n_labeled"] for r in fitted.history_] == [60, 73, 86, 99, 110]
    assert [r["n_pool"] for r in fitted.history_] == [240, 227, 214, 201, 190]
    assert fitted.n_queries_ == fitted.n_paid_ == 50
    assert fitted.n_rounds_ == 4
    assert fitted.termination_condition_ == "budget"


def test_evidence_of_each_row(problem):
    """labeled_round_ and transduction_ say when each row got which label."""
    X, y, partly, teacher = problem
    fitted = distiller(teacher, query_size=25).fit(X, partly)
    np.testing.assert_array_equal(fitted.labeled_round_[:60], 0)
    rounds, counts = np.unique(fitted.labeled_round_[60:], return_counts=True)
    np.testing.assert_array_equal(rounds, [-1, 1, 2])
    np.testing.assert_array_equal(counts, [190, 25, 25])
    asked = fitted.labeled_round_ >= 0
    np.testing.assert_array_equal(fitted.transduction_[asked], y[asked])
    np.testing.assert_array_equal(fitted.transduction_[~asked], -1)


def test_student_is_trained_on_soft_labels_of_known_rows(problem):
    """The last student is the student fitted on given and paid labels."""
    X, _, partly, teacher = problem
    fitted = distiller(teacher).fit(X, partly)
    known = fitted.labeled_round_ >= 0
    soft = np.eye(3)[fitted.transduction_[known].astype(int)]
    paid = fitted.labeled_round_[known] > 0
    soft[paid] = soft[paid] * 0.9 + 0.1 / 3
    n = known.sum()
    expected = LogisticRegression(max_iter=500).fit(
        np.repeat(X[known], 3, axis=0), np.tile([0, 1, 2], n), soft.ravel()
    )
    np.testing.assert_allclose(
        fitted.predict_proba(X), expected.predict_proba(X), atol=2e-3
    )


def test_history_has_every_key_in_every_round(problem):
    """A history becomes a table without holes, and its seconds add up."""
    X, _, partly, teacher = problem
    history = distiller(teacher).fit(X, partly).history_
    assert len({tuple(sorted(record)) for record in history}) == 1
    for record in history:
        parts = sum(v for k, v in record.items() if k.startswith("seconds_"))
        assert parts <= 2 * record["seconds_total"]
    assert all(record["water_level"] > 0 for record in history[1:])
    assert all(0 <= record["student_agreement"] <= 1 for record in history[1:])


def test_scores_on_rows_kept_aside(problem):
    """X_val and y_val give the student's accuracy after each round."""
    X, y, partly, teacher = problem
    fitted = distiller(teacher, query_size=25).fit(
        X[:200], partly[:200], X_val=X[200:], y_val=y[200:]
    )
    scores = [record["student_score"] for record in fitted.history_]
    alone = distiller(teacher, budget=0).fit(X[:200], partly[:200])
    assert scores[0] == alone.score(X[200:], y[200:])
    assert scores[2] == fitted.score(X[200:], y[200:])
    assert len(fitted.labeled_round_) == 200
    assert distiller(teacher).fit(X, partly).history_[0]["student_score"] is None
    with pytest.raises(ValueError, match=r"^y_val is None but its partner is not"):
        distiller(teacher).fit(X, partly, X_val=X)


@pytest.mark.parametrize("strategy", ["robust", "margin", "random"])
def test_same_seed_same_queries(problem, strategy):
    """The seed decides which rows are asked; another seed asks others."""
    X, _, partly, teacher = problem

    def rounds(seed):
        model = distiller(teacher, query_strategy=strategy, random_state=seed)
        return model.fit(X, partly).labeled_round_

    np.testing.assert_array_equal(rounds(0), rounds(0))
    if strategy != "margin":
        assert (rounds(0) != rounds(1)).any()


_SCRIPT = """
import numpy as np
from sklearn.datasets import make_classification
from skadistill import ActiveDistiller, StudentNet
X, y = make_classification(200, n_features=6, n_informative=5, n_redundant=0,
                           n_classes=3, random_state=0)
partly = np.where(np.arange(200) < 50, y, -1)
model = ActiveDistiller(lambda X: np.full((len(X), 3), 1 / 3), StudentNet(max_epochs=3),
                        budget=30, query_size=10, teacher_checks=0, random_state=7)
rounds = model.fit(X, partly).labeled_round_.tolist()
"""


def test_same_seed_same_queries_in_a_new_process():
    """Queries do not depend on the process, with the network as student."""
    there = subprocess.run(
        [sys.executable, "-c", _SCRIPT + "print(rounds)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here: dict = {}
    exec(_SCRIPT, here)
    assert there.strip() == str(here["rounds"])
    assert here["rounds"].count(3) == 10


def test_labels_pay_off():
    """On digits the distilled student beats the student on the labels alone."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    train, test = np.arange(1200), np.arange(1200, len(X))
    partly = np.where(train < 100, y[train], -1)
    teacher = FrozenEstimator(KNeighborsClassifier(3).fit(X[train], y[train]))
    student = StudentNet(max_epochs=30)
    gains = []
    for seed in range(3):
        params = {
            "teacher_checks": CheckPolicy(error_rate=0.02),
            "random_state": seed,
            "query_size": 100,
        }
        alone = ActiveDistiller(teacher, student, budget=0, **params)
        taught = ActiveDistiller(teacher, student, budget=300, **params)
        gains.append(
            taught.fit(X[train], partly).score(X[test], y[test])
            - alone.fit(X[train], partly).score(X[test], y[test])
        )
    assert min(gains) > 0.02


# The two doors.


def test_both_doors_ask_the_same_rows(problem):
    """Rows marked in y and the same rows in X_unlabeled are one pool."""
    X, _, partly, teacher = problem
    first = distiller(teacher).fit(X, partly)
    second = distiller(teacher).fit(X[:60], partly[:60], X_unlabeled=X[60:])
    both = distiller(teacher).fit(X[:150], partly[:150], X_unlabeled=X[150:])
    for other in (second, both):
        np.testing.assert_array_equal(first.labeled_round_, other.labeled_round_)
        np.testing.assert_allclose(first.predict_proba(X), other.predict_proba(X))


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.BudgetWarning")
def test_no_pool_is_supervised_training(problem):
    """Without a pool the student is trained on the labels; nobody is asked."""
    X, y, _, teacher = problem
    fitted = distiller(teacher, budget=0.5).fit(X, y)
    alone = clone(STUDENT).fit(X, y)
    np.testing.assert_allclose(
        fitted.predict_proba(X), alone.predict_proba(X), atol=2e-3
    )
    assert fitted.termination_condition_ == "no_pool"
    assert teacher.calls == []
    assert fitted.teacher_ is None


@pytest.mark.parametrize(
    ("budget", "asked", "reason"),
    [
        (0, 0, "budget"),
        (0.25, 60, "budget"),
        (None, 240, "pool_empty"),
        (1, 1, "budget"),
    ],
)
def test_budget(problem, budget, asked, reason):
    """An int counts rows, a float is a share, None is the whole pool."""
    X, _, partly, teacher = problem
    fitted = distiller(teacher, budget=budget).fit(X, partly)
    assert fitted.n_queries_ == asked == (fitted.labeled_round_ > 0).sum()
    assert fitted.termination_condition_ == reason


@pytest.mark.parametrize("student", [STUDENT, StudentNet(max_epochs=2)])
def test_containers(problem, as_table, student):
    """Sparse, frames, float32 and lists go through both doors."""
    X, _y, partly, _ = problem
    teacher = RandomForestClassifier(5, random_state=0)
    X = np.where(X > 0, X, 0.0)
    model = distiller(teacher, student=student, query_size=25)
    fitted = model.fit(as_table(X[:100]), partly[:100], X_unlabeled=as_table(X[100:]))
    assert fitted.n_queries_ == 50
    assert fitted.predict(as_table(X)).shape == (300,)
    proba = fitted.predict_proba(as_table(X))
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_frames_reach_the_teacher_as_frames(problem):
    """A teacher that selects columns by name gets the user's frame."""
    X, _y, partly, _ = problem
    seen = []

    def teacher(frame):
        seen.append(type(frame))
        return frame["a"].gt(0).to_numpy().astype(int)

    frame = pd.DataFrame(X, columns=list("abcdef"))
    fitted = distiller(teacher).fit(frame, partly)
    assert set(seen) == {pd.DataFrame}
    np.testing.assert_array_equal(fitted.feature_names_in_, list("abcdef"))


def test_texts():
    """Texts go to a text pipeline as student and to a function as teacher."""
    texts = ["good film", "bad film", "good plot", "bad plot"] * 10
    y = np.array([1, 0, 1, 0] * 10)
    partly = np.where(np.arange(40) < 8, y, -1)
    student = make_pipeline(TfidfVectorizer(), LogisticRegression())
    fitted = ActiveDistiller(
        lambda X: np.array([int("good" in text) for text in X]),
        student,
        budget=10,
        teacher_checks=4,
        random_state=0,
    ).fit(texts, partly)
    assert fitted.score(texts, y) == 1.0
    assert fitted.n_teacher_checks_ > 0


@pytest.mark.parametrize(
    "names",
    [np.array(["ant", "bee", "cow"], dtype=object), np.array([3, 10, 42])],
    ids=["strings", "gapped integers"],
)
def test_any_labels(problem, names):
    """String and gapped labels give the answers that 0, 1, 2 give."""
    X, _, partly, teacher = problem
    plain = distiller(teacher).fit(X, partly)
    named = np.where(partly >= 0, names[partly], -1)
    if names.dtype == object:
        named = named.astype(object)
        named[partly < 0] = -1
    other = distiller(teacher).fit(X, named)
    np.testing.assert_array_equal(plain.labeled_round_, other.labeled_round_)
    np.testing.assert_array_equal(names[plain.predict(X)], other.predict(X))
    np.testing.assert_array_equal(other.classes_, names)
    known = other.labeled_round_ >= 0
    np.testing.assert_array_equal(
        other.transduction_[known], names[plain.transduction_[known].astype(int)]
    )


def test_score_warns_of_unlabeled_rows(problem):
    """Rows without label count as wrong, in strings and numbers, with a warning."""
    X, y, partly, teacher = problem
    for names in (np.arange(3), np.array(["ant", "bee", "cow"], dtype=object)):
        given = names[partly]
        given[partly == -1] = -1
        fitted = distiller(teacher).fit(X, given)
        with pytest.warns(UnlabeledTestRowsWarning):
            score = fitted.score(X, given)
        right = (fitted.predict(X) == names[y])[:60].sum()
        assert score == right / 300
        assert fitted.score(X, names[y]) == (fitted.predict(X) == names[y]).mean()


@pytest.mark.parametrize(
    ("marker", "fill"), [("?", "?"), (-7, -7), (None, -1)], ids=str
)
def test_markers(problem, marker, fill):
    """Any marker works, stays on rows never asked, and None means none."""
    X, y, partly, teacher = problem
    model = distiller(teacher, unlabeled_marker=marker)
    if marker is None:
        fitted = model.fit(X[:60], y[:60], X_unlabeled=X[60:])
    else:
        given = partly.astype(object if isinstance(marker, str) else int)
        given[60:] = marker
        fitted = model.fit(X, given)
    asked = fitted.labeled_round_ >= 0
    assert set(fitted.transduction_[~asked]) == {fill}
    np.testing.assert_array_equal(fitted.transduction_[asked].astype(int), y[asked])


# Money.


def test_a_fault_keeps_the_labels_paid_before_it(problem):
    """A teacher that fails in a later batch costs that batch only."""
    X, _, partly, teacher = problem

    def failing(rows):
        if len(teacher.calls) == 4:
            raise ConnectionError("line dropped")
        return teacher(rows)

    model = distiller(as_teacher(failing, batch_size=10), query_size=25)
    with pytest.raises(TeacherCallError, match="line dropped"):
        model.fit(X, partly)
    assert len(model.ledger_) == 25  # calls of 2, 10, 10 and 3 rows
    assert not hasattr(model, "student_")
    teacher.calls.append(None)  # the line is back
    again = model.set_params(ledger=model.ledger_).fit(X, partly)
    assert again.n_queries_ == 50
    assert again.n_paid_ == 25
    assert teacher.n_samples == 50


def test_interrupts_pass_through(problem):
    """Ctrl-C during a teacher's call is not swallowed; paid labels stay."""
    X, _, partly, teacher = problem

    def interrupted(rows):
        if len(teacher.calls) == 2:
            raise KeyboardInterrupt
        return teacher(rows)

    model = distiller(interrupted, query_size=10)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, partly)
    assert len(model.ledger_) == 10


@pytest.mark.parametrize("strategy", ["margin", "random", lambda proba: proba[:, 0]])
def test_no_validation_rows_for_strategies_that_need_none(problem, strategy):
    """Only a strategy that reads the teacher's error makes us pay for it."""
    X, _, partly, teacher = problem
    model = distiller(teacher, teacher_checks="auto", query_strategy=strategy)
    assert model.plan(X, partly).n_teacher_checks == 0
    fitted = model.fit(X, partly)
    assert teacher.n_samples == fitted.n_paid_ == 50
    assert fitted.teacher_error_ is None
    regret = distiller(
        teacher, teacher_checks="auto", query_strategy=RADSampler(n_mistakes=None)
    )
    assert regret.plan(X, partly).n_teacher_checks == 0


def test_plan_pays_nothing(problem):
    """plan() says the rounds and touches neither teacher nor estimator."""
    X, _, partly, teacher = problem
    model = distiller(teacher, query_size=17)
    plan = model.plan(X, partly)
    assert plan.rounds == (17, 17, 16)
    assert (plan.n_labeled, plan.n_pool, plan.cost) == (60, 240, None)
    assert teacher.calls == []
    assert not hasattr(model, "n_features_in_")
    assert str(plan) == (
        "rows asked about: 50 of 240 in the pool, new ones in 3 rounds\n"
        "rows to pay: 50 at most"
    )


def test_a_fitted_teacher_is_shared_not_copied(problem):
    """clone() and fit() use a fitted teacher as it is."""
    X, y, partly, _ = problem
    forest = RandomForestClassifier(3, random_state=0).fit(X[:60], y[:60])
    model = distiller(forest)
    assert clone(model).teacher is forest
    assert clone(make_pipeline(StandardScaler(), model))[-1].teacher is forest
    assert clone(model).fit(X, partly).teacher_ is forest
    assert clone(distiller(RandomForestClassifier())).teacher is not forest


def test_clones_share_the_ledger(problem):
    """Also a ledger of somebody else's make."""

    class Ledger:
        lookup = record = None

    ledger = Ledger()
    assert clone(distiller(lambda X: X, ledger=ledger)).ledger is ledger


def test_an_unfitted_teacher_is_fitted_on_the_labeled_rows(problem):
    """The teacher is cloned, fitted on the labels and scored by cross-fitting."""
    X, y, partly, _ = problem
    model = distiller(
        RandomForestClassifier(20, random_state=0), teacher_checks="auto"
    ).fit(X, partly)
    expected = RandomForestClassifier(20, random_state=0).fit(X[:60], y[:60])
    np.testing.assert_allclose(
        model.teacher_.estimator_.predict_proba(X), expected.predict_proba(X)
    )
    assert 0 < model.teacher_error_ < 0.7
    assert model.n_teacher_checks_ == 0
    with pytest.raises(NotFittedError):
        model.teacher.predict(X)


# Stopping.


class Certain(ClassifierMixin, BaseEstimator):
    """A student that gives the first class with probability 1, whatever it learned."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile(np.eye(len(self.classes_))[0], (len(X), 1))

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize("error_rate", [None, 0.1])
@pytest.mark.parametrize("strategy", ["robust", "rad", "margin", "entropy"])
def test_certain_student_gets_random_rows(problem, strategy, error_rate):
    """Without any gain the budget is spent all the same, on rows of the whole pool."""
    X, _, partly, teacher = problem
    model = distiller(
        teacher,
        student=Certain(),
        query_strategy=strategy,
        teacher_checks=CheckPolicy(error_rate=error_rate, on_weak="ignore"),
    )
    with pytest.warns(BudgetWarning, match="Certain is certain of every row") as told:
        model.fit(X, partly)
    assert len(told) == 1
    assert model.termination_condition_ == "budget"
    assert model.n_paid_ == 50
    asked = np.flatnonzero(model.labeled_round_ > 0)
    # 60 labeled rows, then 240: their middle, give or take four standard errors.
    assert abs(asked.mean() - 179.5) < 4 * 240 / np.sqrt(12 * len(asked))


def test_tree_as_student(problem):
    """A tree that is grown out has no margins, but learns from what is paid."""
    X, _, partly, teacher = problem
    model = distiller(teacher, student=DecisionTreeClassifier(), budget=100)
    with pytest.warns(BudgetWarning, match="a forest instead of a tree"):
        model.fit(X, partly)
    assert model.n_queries_ == 100


def test_no_warning_if_every_row_is_asked(problem):
    """Where all rows are asked about, it does not matter that none has a gain."""
    X, _, partly, teacher = problem
    model = distiller(teacher, student=Certain(), budget=None).fit(X, partly)
    assert model.termination_condition_ == "pool_empty"
    assert (model.labeled_round_ >= 0).all()


def test_negative_measure_is_no_reason_to_stop(problem):
    """A measure may have any sign: only its order counts."""
    X, _, partly, teacher = problem
    measure = UncertaintySampler(measure=lambda proba: -proba.max(axis=1))
    fitted = distiller(teacher, query_strategy=measure).fit(X, partly)
    same = distiller(teacher, query_strategy="least_confident").fit(X, partly)
    assert fitted.n_queries_ == 50
    assert_array_equal(fitted.labeled_round_ > 0, same.labeled_round_ > 0)


@pytest.mark.parametrize("strategy", ["robust", "random"])
def test_stops_when_the_student_is_stable(problem, strategy):
    """Unchanged predictions in a row end the loop before the next payment."""
    X, _, partly, teacher = problem
    fitted = distiller(
        teacher,
        query_strategy=strategy,
        query_size=5,
        stopping_criterion=StablePredictions(patience=2, min_agreement=0.0),
    ).fit(X, partly)
    assert fitted.termination_condition_ == "stable_predictions"
    # Round 1 has nothing to compare with; rounds 1 and 2 change too little.
    assert fitted.n_rounds_ == 2
    assert teacher.n_samples == 10
    never = distiller(
        teacher,
        stopping_criterion=StablePredictions(patience=1, min_agreement=1.0),
        query_size=17,
    ).fit(X, partly)
    assert all(0 < r["student_stability"] <= 1 for r in never.history_[2:])


def test_stability_counts_rows_of_the_pool_only(problem):
    """A student that changes its mind about every row has a stability of 0."""

    class Fickle(ClassifierMixin, BaseEstimator):
        n_fits = 0

        def fit(self, X, y, sample_weight=None):
            Fickle.n_fits += 1
            self.classes_ = np.unique(y)
            self.answer_ = Fickle.n_fits % 2
            return self

        def predict_proba(self, X):
            proba = np.full((len(X), 3), 0.2)
            proba[:, self.answer_] = 0.6
            return proba

        def predict(self, X):
            return self.classes_[self.predict_proba(X).argmax(axis=1)]

    X, _, partly, teacher = problem
    fitted = distiller(
        teacher, student=Fickle(), query_size=17, stopping_criterion=StablePredictions()
    ).fit(X, partly)
    assert [r["student_stability"] for r in fitted.history_] == [None, None, 0.0, 0.0]


# Strategies.


def test_functions_and_objects_as_strategies(problem):
    """A function of probabilities chooses like the strategy of that name."""
    X, _, partly, teacher = problem

    def closeness(proba):
        top = np.sort(proba, axis=1)
        return top[:, -2] - top[:, -1]

    by_name = distiller(teacher, query_strategy="margin").fit(X, partly)
    by_function = distiller(teacher, query_strategy=closeness).fit(X, partly)
    np.testing.assert_array_equal(by_name.labeled_round_, by_function.labeled_round_)


class Fixed:
    def __init__(self, positions):
        self.positions = positions

    def query(self, pool, n_queries, random_state):
        return np.asarray(self.positions)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (
            [1, 1, 2],
            "the query strategy Fixed returned position 1 2 times; return distinct "
            "positions, a label is paid once.",
        ),
        (
            [1, 240, 2],
            "the query strategy Fixed returned position 240, which is not an "
            "unlabeled row: the pool has 240 rows; return positions in [0, 240), "
            "labeled rows are not part of the pool.",
        ),
        (
            [1, 2],
            "the query strategy Fixed returned 2 positions, but 3 were requested; "
            "return "
            "exactly that many positions.",
        ),
        (
            [0.5, 1.0, 2.0],
            "the query strategy Fixed must return a one-dimensional array of integer "
            "positions, got dtype float64 and shape (3,); return positions in the pool "
            "it was shown.",
        ),
    ],
)
def test_strategies_are_held_to_their_contract(problem, positions, message):
    """A strategy that repeats, leaves the pool or miscounts is a named error."""
    X, _, partly, teacher = problem
    model = distiller(
        teacher,
        query_strategy=Fixed(positions),
        budget=3,
        query_size=3,
        uniform_share=0.0,
    )
    with pytest.raises(QueryStrategyError, match=f"^{re.escape(message)}$"):
        model.fit(X, partly)
    assert teacher.calls == []


# Errors, each for its whole sentence.


def _error(error, message, model, *args, **kwargs):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        model.fit(*args, **kwargs)


def test_error_no_labeled_row(problem):
    """No label at all."""
    X, _, partly, teacher = problem
    _error(
        SkadistillError,
        "no row has a label and neither `classes` nor the teacher says which classes "
        "there are; give some labels, pass classes=[...], or name the classes of the "
        "teacher with as_teacher(teacher, classes=[...]).",
        distiller(teacher),
        X,
        np.full_like(partly, -1),
    )


def test_error_one_class(problem):
    """Labels of one class."""
    X, _, partly, teacher = problem
    _error(
        SkadistillError,
        "the 60 labeled rows hold one class only, 1; a classifier needs labeled rows "
        "of at least two classes, or to know of others by classes=[...]. Rows with -1 "
        "in y count as unlabeled; if that is a class, pass unlabeled_marker=None.",
        distiller(teacher),
        X,
        np.where(partly >= 0, 1, -1),
    )


def test_error_empty_pool(problem):
    """A number of rows to buy and none to sell."""
    X, y, _, teacher = problem
    _error(
        BudgetError,
        "budget=50 but the pool is empty: no row of y equals the unlabeled_marker and "
        "X_unlabeled holds no row; mark unlabeled rows, pass X_unlabeled, or set "
        "budget=0.",
        distiller(teacher),
        X,
        y,
    )


def test_error_budget_larger_than_pool(problem):
    """More rows than there are."""
    X, _, partly, teacher = problem
    _error(
        BudgetError,
        "budget=241 is larger than the pool of 240 unlabeled rows; pass at most 240, "
        "a share such as 0.5, or None for the whole pool.",
        distiller(teacher, budget=241),
        X,
        partly,
    )


def test_error_features_differ(problem):
    """X_unlabeled with other features."""
    X, _, partly, teacher = problem
    _error(
        ValueError,
        "X_unlabeled has rows of shape (5,) but X has rows of shape (6,); both must "
        "hold the same features.",
        distiller(teacher),
        X,
        partly,
        X_unlabeled=X[:, :5],
    )
    frame = pd.DataFrame(X, columns=list("abcdef"))
    _error(
        ValueError,
        "X_unlabeled and X must have the same columns in the same order, they differ "
        "in ['f', 'g']; select the columns of X from X_unlabeled.",
        distiller(teacher),
        frame,
        partly,
        X_unlabeled=frame.rename(columns={"f": "g"}),
    )
    _error(
        ValueError,
        "X is a DataFrame and X_unlabeled a ndarray; pass both in the same container.",
        distiller(teacher),
        frame,
        partly,
        X_unlabeled=X,
    )


def test_error_string_marker(problem):
    """A fixed-width string array has swallowed the marker."""
    X, _, partly, teacher = problem
    _error(
        ValueError,
        "y holds strings of dtype <U21 and some equal '-1', but unlabeled_marker=-1 is "
        "not a string; build y with dtype=object so that the marker stays what it is, "
        "or pass unlabeled_marker='-1'.",
        distiller(teacher),
        X,
        partly.astype(str),
    )
    # np.str_ needs no more than this to work
    assert distiller(teacher, unlabeled_marker="-1").fit(X, partly.astype(str))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda n: np.tile([np.nan, 0.5, 0.5], (n, 1)), TeacherAnswerError),
        (lambda n: np.tile([1.2, -0.2, 0.0], (n, 1)), TeacherAnswerError),
        (lambda n: np.full((n, 3), 0.5), TeacherAnswerError),
        (lambda n: np.full((n, 4), 0.25), TeacherAnswerError),
        (lambda n: np.full((n + 1, 3), 1 / 3), TeacherAnswerError),
        (lambda n: np.full(n, 7), TeacherAnswerError),
    ],
    ids=["nan", "negative", "sum", "columns", "rows", "unknown class"],
)
def test_teacher_faults_stop_the_fit(problem, answer, error):
    """Wrong answers are named errors; nothing wrong enters the ledger."""
    X, _, partly, _ = problem
    model = distiller(lambda rows: answer(len(rows)))
    with pytest.raises(error):
        model.fit(X, partly)
    assert len(model.ledger_) == 0


def test_error_teacher_with_other_classes(problem):
    """A teacher that knows a class the labels do not."""
    X, y, partly, _ = problem
    teacher = RandomForestClassifier(3).fit(X, np.where(y == 2, 9, y))
    with pytest.raises(TeacherAnswerError, match="9"):
        distiller(teacher).fit(X, partly)


def test_error_unfitted_predict(problem):
    """Prediction before fit, and after a failed fit."""
    X, _, partly, _ = problem
    model = distiller(lambda rows: rows)
    for method in (model.predict, model.predict_proba):
        with pytest.raises(NotFittedError):
            method(X)
    with pytest.raises(TeacherAnswerError):
        model.fit(X, partly)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_error_metadata_without_routing(problem):
    """Fit parameters need routing, and the message says how."""
    X, _, partly, teacher = problem
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        distiller(teacher).fit(X, partly, sample_weight=np.ones(300))


def test_error_unknown_strategy_costs_nothing(problem):
    """A misspelt strategy is found before the teacher is asked about anything."""
    X, _, partly, teacher = problem
    model = distiller(teacher, query_strategy="robbust", teacher_checks="auto")
    with pytest.raises(ValueError, match="got 'robbust'"):
        model.fit(X, partly)
    assert teacher.calls == []


def test_errors_come_before_the_first_payment(problem):
    """A student or validation rows that cannot be used cost no label."""
    X, y, partly, teacher = problem
    model = distiller(teacher, teacher_checks="auto", student=KNeighborsClassifier())
    with pytest.raises(TypeError, match="sample_weight"):
        model.fit(X, partly)
    model = distiller(teacher, teacher_checks="auto")
    with pytest.raises(ValueError, match="features"):
        model.fit(X, partly, X_val=X[:, :3], y_val=y)
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        model.fit(X, partly, sample_weight=np.ones(300))
    assert teacher.calls == []


# Metadata.


@pytest.mark.usefixtures("metadata_routing")
def test_sample_weight_reaches_the_student(problem):
    """Weights of rows of X go with the rows; rows of X_unlabeled weigh 1."""
    X, y, partly, teacher = problem
    weight = np.where(np.arange(300) < 30, 0.0, 1.0)
    student = LogisticRegression(max_iter=500).set_fit_request(sample_weight=True)
    fitted = distiller(teacher, student=student).fit(X, partly, sample_weight=weight)
    zeroed = partly.copy()
    zeroed[:30] = -1
    known = (fitted.labeled_round_ >= 0) & (weight > 0)
    soft = np.eye(3)[y[known]]
    paid = fitted.labeled_round_[known] > 0
    soft[paid] = soft[paid] * 0.9 + 0.1 / 3
    expected = LogisticRegression(max_iter=500).fit(
        np.repeat(X[known], 3, axis=0), np.tile([0, 1, 2], known.sum()), soft.ravel()
    )
    np.testing.assert_allclose(
        fitted.predict_proba(X), expected.predict_proba(X), atol=2e-3
    )
    split = distiller(teacher, student=student).fit(
        X[:60], partly[:60], X_unlabeled=X[60:], sample_weight=weight[:60]
    )
    np.testing.assert_allclose(fitted.predict_proba(X), split.predict_proba(X))


@pytest.mark.usefixtures("metadata_routing")
def test_sample_weight_reaches_the_teacher(problem):
    """The teacher is fitted with the weights of the labeled rows."""
    X, y, partly, _ = problem
    weight = np.linspace(0.1, 2, 300)
    teacher = LogisticRegression(max_iter=500).set_fit_request(sample_weight=True)
    student = LogisticRegression(max_iter=500).set_fit_request(sample_weight=False)
    fitted = distiller(teacher, student=student, teacher_checks="auto").fit(
        X, partly, sample_weight=weight
    )
    expected = LogisticRegression(max_iter=500).fit(X[:60], y[:60], weight[:60])
    np.testing.assert_allclose(
        fitted.teacher_.estimator_.predict_proba(X), expected.predict_proba(X)
    )


NOTES = {
    "short string": "run of 3 November",
    "string as long as X": "x" * 60,
    "bytes as long as X": b"x" * 60,
    "dict as long as X": {i: i for i in range(60)},
    "set as long as X": set(range(60)),
    "generator": (i for i in range(60)),
    "number": 3,
    "array of another length": np.arange(7),
    "function": len,
}


@pytest.mark.usefixtures("metadata_routing")
@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
@pytest.mark.parametrize("X_unlabeled", [False, True])
def test_metadata_that_is_not_per_row_arrives_unharmed(problem, note, X_unlabeled):
    """Student and teacher get the very object, whatever its length."""
    X, y, _, _ = problem
    seen = []

    class Noted(LogisticRegression):
        def fit(self, X, y, sample_weight=None, note=None):
            seen.append(note)
            return super().fit(X, y, sample_weight)

    model = Noted(max_iter=200).set_fit_request(note=True, sample_weight=False)
    partly = np.where(np.arange(60) < 30, y[:60], -1)
    distiller(model, student=model, budget=4, teacher_checks="auto").fit(
        X[:60], partly, note=note, X_unlabeled=X[60:] if X_unlabeled else None
    )
    assert len(seen) > 5
    assert all(value is note for value in seen)


# Objects.


def test_pickle_and_joblib(problem, tmp_path):
    """A fitted distiller survives pickle and joblib with the same answers."""
    X, _y, partly, _ = problem
    fitted = distiller(
        RandomForestClassifier(5, random_state=0), student=StudentNet(max_epochs=2)
    ).fit(X, partly)
    joblib.dump(fitted, tmp_path / "model.joblib")
    for other in (
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "model.joblib"),
    ):
        np.testing.assert_array_equal(fitted.predict(X), other.predict(X))


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_html_repr_shows_teacher_and_student(problem):
    """The notebook's picture names both, before and after fit."""
    X, _, partly, _ = problem
    model = distiller(RandomForestClassifier(3), student=LogisticRegression())
    for html in (model._repr_html_(), model.fit(X, partly)._repr_html_()):
        assert "RandomForestClassifier" in html
        assert "LogisticRegression" in html
        assert "ActiveDistiller" in html
    assert "ActiveDistiller" in ActiveDistiller(lambda X: X)._repr_html_()


def test_verbose_prints_a_line_a_round(problem, capsys):
    """verbose=1 tells what each round cost."""
    X, _, partly, teacher = problem
    distiller(teacher, query_size=25, verbose=1).fit(X, partly)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(
        "[ActiveDistiller] round 1: 85 labeled rows, 25 asked, 25 paid, "
    )


def test_warm_start_continues(problem):
    """A student with ``warm_start=True`` is trained on, any other one from scratch."""
    X, _, partly, teacher = problem
    student = StudentNet(max_epochs=2)
    cold = distiller(teacher, student=student, query_size=25).fit(X, partly)
    student = StudentNet(max_epochs=2, warm_start=True)
    warm = distiller(teacher, student=student, query_size=25).fit(X, partly)
    assert len(cold.student_.history) == 2
    assert len(warm.student_.history) == 6


class CountingStudent(LogisticRegression):
    """Count the rows that all fits of a loop are asked about."""

    n_scored = 0

    def predict_proba(self, X):
        CountingStudent.n_scored += len(X)
        return super().predict_proba(X)


@pytest.mark.parametrize("stopping", [None, StablePredictions(min_agreement=1.0)])
def test_a_student_scores_the_pool_once(problem, stopping):
    """Every student is another one, and none looks at a row of the pool twice.

    What it thinks of the rows asked is read once more, after the choice, and what it
    thinks of those that were asked before.
    """
    X, _, partly, teacher = problem
    CountingStudent.n_scored = 0
    student = CountingStudent(max_iter=300)
    model = distiller(teacher, student=student, stopping_criterion=stopping).fit(
        X, partly
    )
    pools = [record["n_pool"] for record in model.history_[:-1]]
    before = [record["n_labeled"] - 60 for record in model.history_[:-1]]
    assert CountingStudent.n_scored == sum(pools) + model.n_queries_ + sum(before)
