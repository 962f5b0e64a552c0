"""A fit without labeled rows: which classes, which rows first, what is refused."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller, StudentNet
from skadistill._fit.cold_start import label_space
from skadistill.deploy import Cascade
from skadistill.exceptions import (
    BudgetWarning,
    SkadistillError,
    StudentError,
    TeacherError,
)
from skadistill.ledger import MemoryLedger
from skadistill.objectives import SLaM
from skadistill.teachers import as_teacher

STUDENT = LogisticRegression(max_iter=1000)


@pytest.fixture(scope="module")
def blobs():
    """Twelve clusters of 30 rows, three per class, far apart; a teacher that knows."""
    X, cluster = make_blobs(
        360, n_features=4, centers=12, cluster_std=0.3, random_state=1
    )
    y = cluster % 4
    return X, y, cluster, KNeighborsClassifier(1).fit(X, y)


def distiller(teacher, **params):
    params = {"student": STUDENT, "budget": 60, "random_state": 0} | params
    return ActiveDistiller(teacher, **params)


def refused(error, message, model, *args):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        model.fit(*args)


# Stories.


@pytest.mark.parametrize(
    "student",
    [STUDENT, StudentNet(max_epochs=60, random_state=0)],
    ids=["sklearn", "net"],
)
def test_a_pool_and_a_teacher_are_enough(student):
    """From no label at all the student comes near its teacher."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    teacher = KNeighborsClassifier(3).fit(X[:900], y[:900])
    fitted = distiller(teacher, student=student, budget=200).fit(X[900:])
    assert fitted.score(X[:900], y[:900]) > 0.88
    assert fitted.n_paid_ == fitted.n_queries_ == 200
    assert [r["n_labeled"] for r in fitted.history_][:3] == [0, 20, 30]
    assert fitted.history_[0]["student_score"] is None
    assert fitted.history_[1]["student_agreement"] is None
    assert fitted.history_[2]["student_agreement"] is not None
    assert sorted(np.unique(fitted.labeled_round_)) == [-1, 1, 2, 3, 4, 5, 6, 7]


def test_texts_of_a_pool():
    """Texts without any label, and a function that names no classes."""
    texts = [f"good film {i}" if i % 2 else f"bad film {i}" for i in range(80)]
    fitted = distiller(
        lambda X: np.where([t.startswith("good") for t in X], "pos", "neg"),
        student=make_pipeline(TfidfVectorizer(), LogisticRegression()),
        classes=["neg", "pos"],
        budget=20,
    ).fit(texts)
    assert fitted.predict(["a good one", "bad film"]).tolist() == ["pos", "neg"]
    assert fitted.classes_.tolist() == ["neg", "pos"]


def test_a_class_that_only_the_teacher_knows_is_learned(blobs):
    """Labeled rows of two classes, a teacher of four: the student learns four."""
    X, y, _, teacher = blobs
    rng = np.random.default_rng(0)
    known = np.flatnonzero(y < 2)[rng.permutation(180)[:20]]
    partly = np.full_like(y, -1)
    partly[known] = y[known]
    fitted = distiller(teacher).fit(X, partly)
    assert fitted.classes_.tolist() == [0, 1, 2, 3]
    assert set(fitted.predict(X)) == {0, 1, 2, 3}
    # The first batch went where no labeled row was.
    first = fitted.labeled_round_ == 1
    assert np.mean(y[first] >= 2) > 0.5


@pytest.mark.parametrize("kind", ["array", "list", "frame"])
def test_columns_are_read_in_the_order_of_the_named_classes(blobs, kind):
    """Of a function; a frame says itself what its columns are. Later calls, too."""
    X, y, _, teacher = blobs
    names = np.array(["d", "b", "c", "a"])

    def ask(rows):
        proba = teacher.predict_proba(rows)
        if kind == "frame":
            return pd.DataFrame(proba[:, [1, 0, 2, 3]], columns=list("bdca"))
        return proba.tolist() if kind == "list" else proba

    forest = RandomForestClassifier(20, random_state=0)
    fitted = distiller(ask, student=forest, classes=names).fit(X)
    assert fitted.classes_.tolist() == ["a", "b", "c", "d"]
    assert fitted.score(X, names[y]) > 0.95
    cascade = Cascade(fitted, target=0.9, n_audit=60).calibrate(X)
    assert cascade.report_["agreement"] > 0.95


@pytest.mark.parametrize(
    ("marker", "labels"), [(-1, [-1, 1]), (-1, [-1, 0, 1]), ("?", ["?", "yes"])]
)
@pytest.mark.parametrize("who", ["teacher", "classes"])
def test_a_marker_that_is_also_a_class_is_refused(marker, labels, who):
    """Before anything is paid, with the way out."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 2)), np.resize(np.array(labels, dtype=object), 90)
    known = KNeighborsClassifier().fit(X, y.tolist())
    ask = known if who == "teacher" else NotAsked()
    model = distiller(
        ask, classes=labels if who == "classes" else None, unlabeled_marker=marker
    )
    with pytest.raises(ValueError, match="pass unlabeled_marker=None"):
        model.fit(X[:40], y[:40], X_unlabeled=X[40:])


def test_labels_1_and_minus_1_beside_a_pool_are_doubtful(blobs):
    """If nothing names the classes, -1 is taken as unlabeled, and that is said."""
    X, y, _, _ = blobs
    signs = np.where(y > 1, 1, -1)
    ask = as_teacher(lambda rows: (rows[:, 0] > 0).astype(int), classes=[0, 1])
    with pytest.warns(BudgetWarning, match="y holds -1 and 1 only"):
        distiller(ask, budget=10).fit(X[:90], signs[:90], X_unlabeled=X[90:])


class NotAsked:
    """A teacher that must not be asked."""

    def __call__(self, rows):
        raise AssertionError("was asked")


def test_a_marked_y_is_the_same_as_none(blobs):
    """fit(X), y all marker and y all missing ask for the same rows."""
    X, y, _, teacher = blobs
    rounds = [
        distiller(teacher).fit(X, labels).labeled_round_
        for labels in (None, np.full_like(y, -1), np.full(len(y), np.nan))
    ]
    np.testing.assert_array_equal(rounds[0], rounds[1])
    np.testing.assert_array_equal(rounds[0], rounds[2])


def test_both_doors_lead_to_one_pool(blobs):
    """Rows of X and of X_unlabeled are one pool."""
    X, _, _, teacher = blobs
    fitted = distiller(teacher).fit(X[:100], X_unlabeled=X[100:])
    assert fitted.labeled_round_.shape == (360,)
    assert (fitted.labeled_round_[100:] > 0).any()


def test_a_larger_budget_begins_with_the_rows_of_a_smaller_one(blobs):
    """As for fits with labels, also where the first batch is cut short."""
    X, _, _, teacher = blobs
    chosen = [
        set(np.flatnonzero(distiller(teacher, budget=n).fit(X).labeled_round_ > 0))
        for n in (5, 30, 60)
    ]
    assert chosen[0] < chosen[1] < chosen[2]


def test_the_plan_is_what_happens(blobs):
    """plan(X) counts the rounds of fit(X)."""
    X, _, _, teacher = blobs
    model = distiller(teacher, query_size=7, budget=23)
    plan = model.plan(X)
    assert plan.rounds == (7, 7, 7, 2)
    asked = [r["n_asked"] for r in model.fit(X).history_]
    assert asked == [0, *plan.rounds]


def test_a_clone_keeps_the_classes(blobs):
    """A search clones: the label space goes along."""
    X, _, _, teacher = blobs
    model = distiller(lambda X: teacher.predict(X), classes=[0, 1, 2, 3])
    assert clone(model).fit(X).classes_.tolist() == [0, 1, 2, 3]


def test_a_search_whose_folds_lack_a_class(blobs, metadata_routing):
    """A fold without a class learns it from the teacher."""
    X, y, _, teacher = blobs
    rows = np.concatenate([np.flatnonzero(y < 3)[:20], np.flatnonzero(y == 3)[:1]])
    model = distiller(teacher, budget=30).set_fit_request(X_unlabeled=True)
    search = GridSearchCV(
        model, {"query_strategy": ["margin", "random"]}, cv=KFold(3, shuffle=False)
    )
    pool = np.delete(np.arange(len(y)), rows)
    search.fit(X[rows], y[rows], X_unlabeled=X[pool])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.8


def test_nothing_made_up_is_kept_by_a_warm_start(blobs):
    """The first true training starts afresh."""
    X, _, _, teacher = blobs
    net = StudentNet(max_epochs=5, random_state=0)
    proba = [
        distiller(
            teacher, student=clone(net).set_params(warm_start=warm), budget=8
        ).fit(X)
        for warm in (True, False)
    ]
    np.testing.assert_array_equal(*(model.predict_proba(X) for model in proba))


def test_known_answers_come_first(blobs):
    """Labels of an earlier fit train the student; nothing is paid twice."""
    X, _, _, teacher = blobs
    ledger = MemoryLedger()
    first = distiller(teacher, ledger=ledger).fit(X)
    again = distiller(teacher, ledger=ledger).fit(X)
    assert (first.n_paid_, again.n_paid_, again.n_free_) == (60, 0, 60)


# What is refused, before anything is paid.


def test_classes_that_nobody_names():
    """A function without classes and no label."""
    refused(
        SkadistillError,
        "no row has a label and neither `classes` nor the teacher says which classes "
        "there are; give some labels, pass classes=[...], or name the classes of the "
        "teacher with as_teacher(teacher, classes=[...]).",
        distiller(lambda X: pytest.fail("asked")),
        np.eye(5),
    )


def test_a_teacher_that_needs_labels(blobs):
    """An unfitted teacher cannot start from nothing."""
    refused(
        SkadistillError,
        "This ActiveDistiller estimator requires y to be passed, but the target y is "
        "None: the teacher has to be fitted on labeled rows; pass y, or a fitted "
        "teacher.",
        distiller(KNeighborsClassifier(), classes=[0, 1]),
        blobs[0],
    )
    refused(
        SkadistillError,
        "none of the 360 rows has a label, and the teacher has to be fitted on labeled "
        "rows; give some labels in y.",
        distiller(KNeighborsClassifier(), classes=[0, 1]),
        blobs[0],
        np.full(360, -1),
    )


def test_every_row_labeled_and_no_label(blobs):
    """unlabeled_marker=None says that y holds labels only."""
    refused(
        SkadistillError,
        "This ActiveDistiller estimator requires y to be passed, but the target y is "
        "None: unlabeled_marker=None says that every row of X has a label; pass y, or "
        "another marker.",
        distiller(blobs[3], unlabeled_marker=None),
        blobs[0],
    )


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"budget": 0}, "the budget is 0, so that the teacher gives none"),
        (
            {"objective": SLaM()},
            "the objective SLaM() learns from the teacher's answers on labeled rows",
        ),
    ],
    ids=["budget", "objective"],
)
def test_fits_that_labels_are_needed_for(blobs, params, reason):
    """No budget, or an objective that learns from teacher checks."""
    message = f"none of the 360 rows has a label, and {reason}; give some labels in y."
    refused(SkadistillError, message, distiller(blobs[3], **params), blobs[0])


def test_one_class_and_no_budget(blobs):
    """Labels of one class are enough only if the teacher is asked for the others."""
    X, y, _, teacher = blobs
    partly = np.where((y == 1) & (np.cumsum(y == 1) <= 30), 1, -1)
    refused(
        SkadistillError,
        "the 30 labeled rows hold one class only, 1; a classifier needs labeled rows "
        "of at least two classes, or a teacher that can be asked for others.",
        distiller(teacher, budget=0),
        X,
        partly,
    )
    assert set(distiller(teacher).fit(X, partly).predict(X)) == {0, 1, 2, 3}


def test_a_label_outside_the_named_classes(blobs):
    """classes= must hold every label of y."""
    X, y, _, teacher = blobs
    refused(
        ValueError,
        "y holds labels that are not among classes=[0, 1]: [2, 3]; name every class, "
        "or leave `classes` at None.",
        distiller(teacher, classes=[0, 1]),
        X,
        y,
    )


def test_a_student_that_cannot_be_trained_costs_nothing(blobs):
    """The student is trained on made-up labels before the teacher is asked."""

    class Unweighted(KNeighborsClassifier):
        pass

    asked = []
    model = distiller(asked.append, student=Unweighted(), classes=[0, 1])
    with pytest.raises(StudentError, match="fit takes sample_weight"):
        model.fit(blobs[0])
    assert asked == []


def test_a_teacher_without_any_answer(blobs):
    """Rows without a label as answer: an error, for there is no student."""
    model = distiller(lambda X: [None] * len(X), classes=[0, 1])
    with pytest.raises(TeacherError, match="no student can be trained"):
        model.fit(blobs[0])
    assert not hasattr(model, "student_")


# The label space.


class Knows:
    """What `label_space` looks at of a teacher."""

    multilabel = False

    is_fitted = True

    def __init__(self, classes, extra=False, missing=False):
        self.classes_ = classes
        self.allow_extra_classes, self.allow_missing_classes = extra, missing


@pytest.mark.parametrize(
    ("named", "given", "teacher", "expected"),
    [
        (None, [1, 0], Knows(None), [0, 1]),
        (None, [], Knows(["b", "a"]), ["a", "b"]),
        (None, [1, 0], Knows([0, 1, 2]), [0, 1, 2]),
        (None, [1, 0], Knows([0, 1, 2], extra=True), [0, 1]),
        (None, [1, 0], Knows([0, 2]), [0, 1]),  # the teacher will say what it lacks
        (None, [1, 0], Knows([0, 2], missing=True), [0, 1, 2]),
        (None, [1, 0], Knows(["0", "1", "2"], missing=True), [0, 1]),
        ([2, 1, 0, 1], [1, 0], Knows([0, 1]), [0, 1, 2]),
        (["b", "a"], [], Knows(None), ["a", "b"]),
    ],
)
def test_label_space(named, given, teacher, expected):
    """Named classes, else those of the labels and of the teacher."""
    space = label_space(named, np.array(given), teacher)
    assert space.classes.tolist() == expected


def test_labels_keep_their_dtype():
    """Classes that bring nothing new leave the dtype of y as it is."""
    given = np.array([0, 1], dtype=np.int8)
    assert label_space([1, 0], given, Knows(None)).classes.dtype == np.int8
    assert label_space(None, given, Knows(np.arange(2))).classes.dtype == np.int8


def test_texts_and_numbers_are_not_mixed():
    """They cannot be sorted."""
    with pytest.raises(ValueError, match="mixes texts and numbers"):
        label_space(["a", 1], np.array([]), Knows(None))


def test_a_named_teacher_is_enough(blobs):
    """as_teacher(classes=...) names the label space as well."""
    X, _, _, teacher = blobs
    named = as_teacher(lambda X: teacher.predict_proba(X), classes=[0, 1, 2, 3])
    assert distiller(named).fit(X).classes_.tolist() == [0, 1, 2, 3]
