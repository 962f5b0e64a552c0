"""Settings that mean something else once a row has several copies."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier
from sklearn.metrics import recall_score
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skadistill.exceptions import StudentError
from skadistill.soft_labels import fit_student
from skadistill.soft_labels._settings import (
    balance_of,
    balancing_settings,
    changed,
    settings_for_copies,
)


class Counting(ClassifierMixin, BaseEstimator):
    """Notes what it was fitted to."""

    def fit(self, X, y, sample_weight=None, note=None):
        self.classes_ = np.unique(y)
        self.X_, self.weight_, self.note_ = X, sample_weight, note
        return self


@pytest.fixture(scope="module")
def rare():
    """One row in ten is of class 1, and its probabilities seldom reach 0.5."""
    X, y = make_classification(
        1200, 6, n_informative=4, weights=[0.9], class_sep=0.7, random_state=1
    )
    proba = RandomForestClassifier(30, min_samples_leaf=8, random_state=0).fit(X, y)
    return X, y, proba.predict_proba(X)


@pytest.mark.parametrize("n_classes", [2, 10, 77])
def test_memory_does_not_grow_with_the_classes(n_classes, rng):
    """The rows and their copies are at most three tables, and no class is lost."""
    targets = rng.dirichlet(np.ones(n_classes), size=400)
    student = fit_student(
        Counting(), rng.normal(size=(400, 3)), targets, classes=np.arange(n_classes)
    )
    assert len(student.X_) <= 2 * 400 + n_classes
    assert student.weight_.sum() == pytest.approx(400)


def test_metadata_of_rows_is_copied_with_them(rng):
    """A fit parameter with one entry per row has one per copy."""
    X, targets = rng.normal(size=(30, 2)), rng.dirichlet([1, 1], size=30)
    student = fit_student(Counting(), X, targets, classes=[0, 1], note=X[:, 0])
    np.testing.assert_array_equal(student.note_, student.X_[:, 0])
    assert len(student.note_) > 30


@pytest.mark.parametrize(
    "student",
    [
        DecisionTreeClassifier(max_depth=4, random_state=0),
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
        RandomForestClassifier(20, max_depth=5, random_state=0),
        LogisticRegression(),
    ],
    ids=lambda s: type(s).__name__,
)
def test_balanced_classes_are_balanced(student, rare):
    """More rows of the rare class are found, as with hard labels."""
    X, y, proba = rare
    recall = {}
    for weight in (None, "balanced"):
        student.set_params(class_weight=weight)
        fit_student(student, X, proba, classes=[0, 1])
        recall[weight] = recall_score(y, student.predict(X))
        assert student.class_weight == weight
    assert recall["balanced"] > recall[None] + 0.15


def test_the_balance_is_that_of_masses(rng):
    """Each class gets the same total; on labels these are scikit-learn's weights."""
    targets, weight = rng.dirichlet([5, 1, 1], size=50), rng.uniform(size=50)
    balance = balance_of(targets, weight)
    total = (targets * weight[:, None] * balance).sum(axis=0)
    np.testing.assert_allclose(total, weight.sum() / 3)
    y = np.repeat([0, 1, 2], [6, 3, 1])
    np.testing.assert_allclose(
        balance_of(np.eye(3)[y], None), 10 / (3 * np.bincount(y))
    )
    # A class without any mass is divided by nothing.
    assert np.isfinite(balance_of(np.array([[1.0, 0.0]]), None)).all()


def test_half_a_balance_is_said():
    """Parts that balance beside parts that do not cannot be done by weights."""
    both = VotingClassifier(
        [
            ("a", DecisionTreeClassifier(class_weight="balanced")),
            ("b", DecisionTreeClassifier()),
        ]
    )
    with pytest.warns(UserWarning, match=r"a__class_weight='balanced' has no effect"):
        assert balancing_settings(both) == {}
    both.set_params(b__class_weight="balanced")
    assert balancing_settings(both) == {
        "a__class_weight": None,
        "b__class_weight": None,
    }


def test_settings_come_back_after_an_error():
    """A student whose fit fails is as its user left it."""
    tree = DecisionTreeClassifier(class_weight="balanced")
    seen = []

    def fails():
        with changed(tree, {"class_weight": None}):
            seen.append(tree.class_weight)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert seen == [None]
    assert tree.class_weight == "balanced"


LIKELIEST = np.arange(40) % 2
ROWS = np.repeat(np.arange(40), 2)


@pytest.mark.parametrize(
    ("student", "settings"),
    [
        (HistGradientBoostingClassifier(), {"early_stopping": False}),
        (GaussianNB(), {}),
        (GradientBoostingClassifier(), {}),
        (SGDClassifier(loss="log_loss"), {}),
        (RandomForestClassifier(), {}),
    ],
    ids=str,
)
def test_what_nobody_asked_for_changes_in_silence(student, settings):
    """Only the automatic setting of boosting."""
    assert settings_for_copies(student, LIKELIEST, ROWS) == settings


@pytest.mark.parametrize(
    ("student", "settings"),
    [
        (
            HistGradientBoostingClassifier(early_stopping=True),
            {"early_stopping": False},
        ),
        (SGDClassifier(early_stopping=True), {"early_stopping": False}),
        (GradientBoostingClassifier(n_iter_no_change=3), {"n_iter_no_change": None}),
        (RandomForestClassifier(oob_score=True), {"oob_score": False}),
        (
            VotingClassifier([("f", RandomForestClassifier(oob_score=True))]),
            {"f__oob_score": False},
        ),
    ],
    ids=str,
)
def test_what_was_asked_for_is_not_switched_off_in_silence(student, settings):
    """The warning names the setting, the class and what to set."""
    with pytest.warns(UserWarning, match=r"would hold out copies .* set \w+ to "):
        assert settings_for_copies(student, LIKELIEST, ROWS) == settings


def test_early_stopping_is_off_and_comes_back(rng):
    """Boosting uses all its rounds, however many copies there are."""
    X, targets = rng.normal(size=(300, 3)), rng.dirichlet(np.ones(3), size=300)
    student = HistGradientBoostingClassifier(
        max_iter=15, early_stopping=True, n_iter_no_change=1
    )
    with pytest.warns(UserWarning, match=r"early_stopping=True of HistGradient"):
        fit_student(student, X, targets, classes=[0, 1, 2])
    assert (student.n_iter_, student.early_stopping) == (15, True)


@pytest.mark.parametrize("cv", [None, 4])
def test_copies_are_held_out_with_their_row(cv):
    """No row is on both sides of a split of the calibration."""
    student = CalibratedClassifierCV(GaussianNB(), cv=cv)
    splits = settings_for_copies(student, LIKELIEST, ROWS)["cv"]
    assert len(splits) == (cv or 5)
    for train, test in splits:
        assert not set(ROWS[train]) & set(ROWS[test])
        assert len(train) + len(test) == len(ROWS)


def test_calibrated_students_can_be_fitted(rng):
    """A calibrated student learns from soft labels, and keeps its cv."""
    X = rng.normal(size=(80, 2))
    p = 1 / (1 + np.exp(-3 * X[:, 0]))
    student = CalibratedClassifierCV(GaussianNB(), cv=3)
    fit_student(student, X, np.c_[1 - p, p], classes=[0, 1])
    assert np.mean(student.predict(X) == (p > 0.5)) > 0.85
    assert student.cv == 3


@pytest.mark.parametrize("loss", ["log_loss", "modified_huber", "hinge"])
@pytest.mark.parametrize("n_classes", [2, 10])
def test_stochastic_gradients_learn_soft_labels(loss, n_classes):
    """Not worse than from the likeliest labels: copies of a row do not fight."""
    load = load_breast_cancer if n_classes == 2 else load_digits
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    soft, hard = [], []
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(len(y))
        train, test = rows[:200], rows[200:]
        rest = 0.2 / (n_classes - 1)
        targets = np.where(np.eye(n_classes)[y[train]] > 0, 0.8, rest)
        student = SGDClassifier(loss=loss, random_state=seed)
        hard.append(clone(student).fit(X[train], y[train]).score(X[test], y[test]))
        fit_student(student, X[train], targets, classes=np.arange(n_classes))
        assert student.average is False  # as the user set it
        soft.append(student.score(X[test], y[test]))
    assert np.mean(soft) > np.mean(hard) - 0.01
    assert np.min(soft) > np.min(hard) - 0.02


@pytest.mark.parametrize(
    "wrap", [BaggingClassifier, lambda s: VotingClassifier([("sgd", s)])]
)
def test_stochastic_gradients_inside_others_are_averaged(wrap, monkeypatch):
    """Wherever they are in an ensemble."""
    seen, fit = [], SGDClassifier.fit

    def watched(self, X, y, sample_weight=None):
        seen.append(self.average)
        return fit(self, X, y, sample_weight=sample_weight)

    monkeypatch.setattr(SGDClassifier, "fit", watched)
    X, y = load_breast_cancer(return_X_y=True)
    targets = np.where(np.eye(2)[y] > 0, 0.8, 0.2)
    student = wrap(SGDClassifier(loss="log_loss", random_state=0))
    fit_student(student, X[:100], targets[:100], classes=[0, 1])
    assert seen
    assert all(seen)


def test_a_perceptron_learns_the_likeliest_labels():
    """It has no averaged weights."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    student = Perceptron(random_state=0)
    fit_student(student, X, np.where(np.eye(2)[y] > 0, 0.8, 0.2), classes=[0, 1])
    plain = Perceptron(random_state=0).fit(X, y)
    np.testing.assert_array_equal(student.coef_, plain.coef_)


class Balances(LogisticRegression):
    """Like LightGBM's classifier: balances classes by numbers of rows."""

    def __init__(self, is_unbalance=False):
        super().__init__()
        self.is_unbalance = is_unbalance

    def fit(self, X, y, sample_weight=None):
        self.was = self.is_unbalance
        return super().fit(X, y, sample_weight)


def test_other_names_of_balanced_classes_are_known():
    """Rows are weighed by probability, and the library does not count copies."""
    rng = np.random.default_rng(0)
    X, p = rng.normal(size=(300, 2)), np.where(np.arange(300) < 30, 0.9, 0.05)
    X[:30] += 0.7
    targets = np.c_[1 - p, p]
    one = fit_student(Balances(is_unbalance=True), X, targets, classes=[0, 1])
    assert one.was is False
    assert one.is_unbalance is True
    other = fit_student(
        LogisticRegression(class_weight="balanced", solver="newton-cg"),
        X,
        targets,
        classes=[0, 1],
    )
    np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-3)


class Resamples(LogisticRegression):
    """Like the ensembles of imbalanced-learn."""

    def __init__(self, sampling_strategy="auto"):
        super().__init__()
        self.sampling_strategy = sampling_strategy


@pytest.mark.parametrize("wrap", [lambda s: s, BaggingClassifier])
def test_ensembles_that_resample_by_label_are_refused(wrap):
    """Copies of a row would be drawn as rows of both classes."""
    targets = np.tile([[0.3, 0.7], [0.6, 0.4]], (5, 1))
    with pytest.raises(StudentError, match="draws rows by their labels"):
        fit_student(wrap(Resamples()), np.zeros((10, 1)), targets, classes=[0, 1])
