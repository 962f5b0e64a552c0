"""Pipelines, cross-validation and searches: the right score, each row paid once."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller, MemoryLedger, StudentNet
from skadistill.checking import CheckPolicy
from skadistill.exceptions import UnlabeledTestRowsWarning
from skadistill.model_selection import PartiallyLabeledSplit

# A teacher that is fitted here is judged, and few rows make some of these look weak.
pytestmark = pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")


class CountingTeacher:
    """A fitted teacher behind a function; counts rows, keeps no state in answers."""

    def __init__(self, X, y):
        self.model = KNeighborsClassifier(3).fit(X, y)
        self.n_samples = 0
        self.seen = set()

    def __call__(self, X):
        self.n_samples += len(X)
        self.seen |= {row.tobytes() for row in np.asarray(X)}
        return self.model.predict_proba(X)


@pytest.fixture(scope="module")
def digits():
    """200 labeled and 600 unlabeled digits, the truth and 900 held-out rows."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    partly = np.where(np.arange(800) < 200, y[:800], -1)
    return X[:800], y[:800], partly, X[800:], y[800:]


def _model(teacher, **params):
    params = {
        "student": LogisticRegression(max_iter=300),
        "budget": 150,
        "query_size": 75,
        "teacher_checks": CheckPolicy(error_rate=0.05),
        "random_state": 0,
    } | params
    return ActiveDistiller(teacher, **params)


def test_marked_rows_through_the_splitter(digits):
    """With the splitter the cross-validated score is that of held-out rows."""
    X, y, partly, X_test, y_test = digits
    model = _model(CountingTeacher(X, y))
    scores = cross_val_score(model, X, partly, cv=PartiallyLabeledSplit(4))
    truth = model.fit(X, partly).score(X_test, y_test)
    assert abs(scores.mean() - truth) < 0.05


def test_the_naive_way_is_told_apart(digits):
    """Unlabeled rows in a test fold score far too low, and a warning says so."""
    X, y, partly, X_test, y_test = digits
    model = _model(CountingTeacher(X, y), budget=0.2)
    with pytest.warns(UnlabeledTestRowsWarning):
        naive = cross_val_score(model, X, partly, cv=StratifiedKFold(4))
    truth = model.fit(X, partly).score(X_test, y_test)
    assert naive.mean() < truth - 0.5


@pytest.mark.usefixtures("metadata_routing")
def test_unlabeled_rows_through_routing(digits):
    """X_unlabeled reaches every fit whole, and no fold holds an unlabeled row."""
    X, y, _, X_test, y_test = digits
    model = _model(CountingTeacher(X, y)).set_fit_request(X_unlabeled=True)
    result = cross_validate(
        model,
        X[:200],
        y[:200],
        cv=4,
        params={"X_unlabeled": X[200:]},
        return_estimator=True,
    )
    assert all(len(m.labeled_round_) == 150 + 600 for m in result["estimator"])
    truth = model.fit(X[:200], y[:200], X_unlabeled=X[200:]).score(X_test, y_test)
    assert abs(result["test_score"].mean() - truth) < 0.05


@pytest.mark.usefixtures("metadata_routing")
def test_unlabeled_rows_through_a_pipeline(digits):
    """transform_input sends X_unlabeled through the pipeline's transformers."""
    X, y, _, X_test, y_test = digits
    scaler = StandardScaler()
    # The teacher is asked about scaled rows, as everything behind the scaler is.
    scaled = StandardScaler().fit(X[:200]).transform(X)
    pipeline = Pipeline(
        [
            ("scale", scaler),
            (
                "distill",
                _model(CountingTeacher(scaled, y)).set_fit_request(X_unlabeled=True),
            ),
        ],
        transform_input=["X_unlabeled"],
    )
    fitted = clone(pipeline).fit(X[:200], y[:200], X_unlabeled=X[200:])
    by_hand = _model(CountingTeacher(scaled, y)).fit(
        scaled[:200], y[:200], X_unlabeled=scaled[200:]
    )
    np.testing.assert_array_equal(fitted[-1].labeled_round_, by_hand.labeled_round_)
    scores = cross_val_score(
        pipeline, X[:200], y[:200], cv=4, params={"X_unlabeled": X[200:]}
    )
    assert abs(scores.mean() - fitted.score(X_test, y_test)) < 0.05


def test_pipeline_with_marked_rows(digits):
    """A pipeline in front works like scaling by hand."""
    X, _y, partly, X_test, _ = digits
    pipeline = make_pipeline(
        StandardScaler(), _model(RandomForestClassifier(20, random_state=0))
    ).fit(X, partly)
    scaler = StandardScaler().fit(X)
    by_hand = _model(RandomForestClassifier(20, random_state=0)).fit(
        scaler.transform(X), partly
    )
    np.testing.assert_array_equal(
        pipeline.predict(X_test), by_hand.predict(scaler.transform(X_test))
    )


@pytest.mark.parametrize(
    "grid",
    [
        {"budget": [0, 0.1, 100]},
        {"query_strategy": ["robust", "margin", "random"]},
        {"student__C": [1e-4, 1.0]},
    ],
    ids=["budget", "query_strategy", "student"],
)
def test_grid_search_in_two_processes(digits, grid):
    """GridSearchCV(n_jobs=2) agrees with one process and ranks as expected."""
    X, y, partly, X_test, y_test = digits
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    model = _model(forest)
    split = PartiallyLabeledSplit(3)
    two = GridSearchCV(model, grid, cv=split, n_jobs=2).fit(X, partly)
    one = GridSearchCV(model, grid, cv=split).fit(X, partly)
    np.testing.assert_allclose(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    assert two.score(X_test, y_test) > 0.85
    if "student__C" in grid:
        assert two.best_params_ == {"student__C": 1.0}
    if "budget" in grid:
        assert two.best_params_["budget"] != 0


def test_grid_search_over_the_networks_parameters(digits):
    """student__... reaches the network, in two processes."""
    X, y, partly, _, _ = digits
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    model = _model(forest, student=StudentNet(), query_size=150)
    search = GridSearchCV(
        model,
        {"student__max_epochs": [1, 30], "student__lr": [1e-3]},
        cv=PartiallyLabeledSplit(2),
        n_jobs=2,
    ).fit(X, partly)
    assert search.best_params_["student__max_epochs"] == 30
    assert search.best_score_ > 0.8


@pytest.mark.usefixtures("metadata_routing")
def test_a_search_pays_each_distinct_row_once(digits):
    """3 candidates x 5 folds and a refit: with one ledger no row is paid twice."""
    X, y, _, _, _ = digits
    teacher = CountingTeacher(X, y)
    ledger = MemoryLedger()
    model = _model(teacher, ledger=ledger, budget=60).set_fit_request(X_unlabeled=True)
    search = GridSearchCV(
        model, {"query_strategy": ["robust", "margin", "random"]}, cv=5
    ).fit(X[:200], y[:200], X_unlabeled=X[200:])
    assert teacher.n_samples == len(teacher.seen) == len(ledger)
    assert teacher.n_samples < 16 * 60
    again = clone(search.best_estimator_).fit(X[:200], y[:200], X_unlabeled=X[200:])
    assert again.n_paid_ == 0


def test_a_search_over_marked_rows_pays_once(digits):
    """The same with rows marked in y."""
    X, y, partly, _, _ = digits
    teacher = CountingTeacher(X, y)
    model = _model(teacher, ledger=MemoryLedger(), budget=60)
    GridSearchCV(
        model,
        {"query_strategy": ["robust", "margin", "random"]},
        cv=PartiallyLabeledSplit(5),
    ).fit(X, partly)
    assert teacher.n_samples == len(teacher.seen)


def test_folds_of_a_fitted_teacher_never_share_labels(digits):
    """A teacher fitted fold by fold is another teacher in each fold."""
    X, _, partly, _, _ = digits
    ledger = MemoryLedger()
    model = _model(RandomForestClassifier(5, random_state=0), ledger=ledger, budget=60)
    result = cross_validate(
        model, X, partly, cv=PartiallyLabeledSplit(3), return_estimator=True
    )
    assert [m.n_paid_ for m in result["estimator"]] == [60, 60, 60]
    assert len(ledger) == 180


def test_string_labels_with_a_marker(digits):
    """String labels with -1 in an object array go through splitter and search."""
    X, _, partly, _, _ = digits
    names = np.array([f"digit {i}" for i in range(10)], dtype=object)
    y = names[partly]
    y[partly == -1] = -1
    model = _model(RandomForestClassifier(20, random_state=0), budget=50)
    by_name = cross_val_score(model, X, y, cv=PartiallyLabeledSplit(3))
    by_number = cross_val_score(model, X, partly, cv=PartiallyLabeledSplit(3))
    np.testing.assert_allclose(by_name, by_number)
