"""Rows, labels and metadata of a fit."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from skadistill import ActiveDistiller
from skadistill._fit.inputs import extend_metadata
from skadistill._rows._table import RowTable
from skadistill.checking import CheckPolicy
from skadistill.exceptions import BudgetWarning


def test_weights_of_unlabeled_rows_are_one():
    """Rows of X_unlabeled get weight 1, and weights go with their rows."""
    table = RowTable(np.zeros((3, 1)), np.zeros((2, 1)))
    cut = extend_metadata({"sample_weight": [0.5, 2.0, 3.0]}, table)
    np.testing.assert_array_equal(cut(np.array([4, 1]))["sample_weight"], [1.0, 2.0])


def test_other_metadata_cannot_be_extended():
    """Nobody can say what the groups of rows of X_unlabeled are."""
    table = RowTable(np.zeros((3, 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"^'groups' has one entry for each of the 3"):
        extend_metadata({"groups": [1, 2, 3]}, table)


class Teacher:
    """Answer the first class and count the rows asked."""

    def __init__(self, label=0):
        self.label, self.n_asked = label, 0

    def __call__(self, X):
        self.n_asked += len(X)
        return [self.label] * len(X)


@pytest.fixture
def numbers():
    X = np.random.default_rng(0).normal(size=(200, 4))
    return X, np.where(np.arange(200) < 80, X[:, 0] > 0, -1)


def fit(X, y, student, teacher=None, **data):
    model = ActiveDistiller(
        teacher or Teacher(),
        student,
        budget=30,
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
    )
    return model.fit(X, y, **data)


def broken(kind):
    """Return rows of which one in the pool cannot be scored, and a student."""
    X = np.random.default_rng(0).normal(size=(200, 4))
    if kind == "text":
        texts = [f"word{i % 7} word{i % 3}" for i in range(200)]
        texts[150] = None
        return texts, make_pipeline(TfidfVectorizer(), LogisticRegression())
    if kind == "student without probabilities":
        return X, LinearSVC()
    if kind == "unknown category":
        rows = np.where(np.arange(200) == 150, "new", "old").astype(object)[:, None]
        return rows, make_pipeline(OneHotEncoder(), LogisticRegression())
    X[150, 1] = np.inf if kind == "infinity" else np.nan
    X = pd.DataFrame(X, columns=list("abcd")) if kind == "frame" else X
    return X, LogisticRegression()


@pytest.mark.parametrize(
    "kind",
    [
        "array",
        "frame",
        "infinity",
        "text",
        "unknown category",
        "student without probabilities",
    ],
)
@pytest.mark.parametrize("strategy", ["robust", "margin", "random"])
@pytest.mark.parametrize("teacher_error", ["auto", 0.1])
def test_a_row_that_cannot_be_scored_costs_nothing(kind, strategy, teacher_error):
    """The student scores the pool before the teacher is asked about anything."""
    X, student = broken(kind)
    teacher = Teacher()
    y = np.where(np.arange(200) < 80, np.arange(200) % 2, -1)
    model = ActiveDistiller(
        teacher,
        student,
        budget=30,
        query_strategy=strategy,
        teacher_checks=CheckPolicy(error_rate=teacher_error),
        random_state=0,
    )
    with pytest.raises((ValueError, TypeError, AttributeError)):
        model.fit(X, y)
    assert teacher.n_asked == 0


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame])
def test_missing_values_reach_those_who_impute(numbers, container):
    """NaN in arrays is as good as NaN in frames."""
    X, y = numbers
    X[::7, 2] = np.nan
    boosting = HistGradientBoostingClassifier(max_iter=5)
    imputing = make_pipeline(SimpleImputer(), LogisticRegression())
    for student, teacher in ((imputing, boosting), (boosting, imputing)):
        assert fit(container(X), y, student, teacher).n_queries_ == 30


def test_lists_of_dicts(numbers):
    """Records go to a DictVectorizer, from both sources of rows."""
    X, y = numbers
    records = [{"a": float(r[0]), "b": "u" if r[1] > 0 else "v"} for r in X]
    student = make_pipeline(DictVectorizer(), LogisticRegression())
    one = fit(records, y, student)
    two = fit(records[:80], y[:80], student, X_unlabeled=records[80:])
    np.testing.assert_array_equal(one.labeled_round_, two.labeled_round_)
    np.testing.assert_array_equal(one.predict(records), two.predict(records))


def test_arrays_of_objects(numbers):
    """Strings among numbers are the pipeline's to encode; plain numbers are numbers."""
    X, y = numbers
    objects = X.astype(object)
    plain = fit(objects, y, LogisticRegression())
    np.testing.assert_array_equal(
        plain.predict_proba(X), fit(X, y, LogisticRegression()).predict_proba(X)
    )
    objects[:, 0] = np.where(X[:, 0] > 0, "high", "low")
    encoder = make_column_transformer((OneHotEncoder(), [0]), remainder="passthrough")
    student = make_pipeline(encoder, LogisticRegression())
    model = fit(objects[:80], y[:80], student, X_unlabeled=objects[80:])
    assert model.score(objects[:80], y[:80].astype(int)) > 0.5


@pytest.mark.parametrize(
    "X", [{"a": np.zeros(3)}, pytest.param("dask", id="dask")], ids=["dict", None]
)
def test_containers_without_rows_are_refused_in_a_sentence(X):
    """The message says which containers are taken."""
    if isinstance(X, str):
        dask = pytest.importorskip("dask.dataframe")
        X = dask.from_pandas(pd.DataFrame({"a": [1.0, 2.0, 3.0]}), npartitions=1)
    with pytest.raises(TypeError, match=r"pass an array, a sparse matrix, a DataFrame"):
        fit(X, [0, 1, -1], LogisticRegression())


@pytest.mark.parametrize("budget", [0.2, 1.0])
def test_an_empty_pool_is_said(numbers, budget):
    """For a share of the pool as for a number of rows."""
    X, y = numbers
    model = ActiveDistiller(Teacher(), LogisticRegression(), budget=budget)
    with pytest.warns(BudgetWarning, match=f"budget={budget} but the pool is empty"):
        model.fit(X[:80], y[:80])
    with pytest.warns(BudgetWarning, match="VotingClassifier"):
        VotingClassifier([("d", model)]).fit(X, y)
    model.set_params(budget=0).fit(X[:80], y[:80])
    model.set_params(budget=None).fit(X[:80], y[:80])


def test_validation_rows_without_a_label_are_left_out(numbers):
    """They are no mistakes of the student; NaN and the marker are the same."""
    X, y = numbers
    truth = (X[:, 0] > 0).astype(int)
    scores = []
    for gap in (None, -1, np.nan):
        y_val = truth[100:].astype(object if gap == -1 else float)
        if gap is not None:
            y_val[::3] = gap
        rows = np.arange(100) % 3 > 0 if gap is None else slice(None)
        model = ActiveDistiller(
            lambda X: (X[:, 0] > 0).astype(int),
            LogisticRegression(),
            budget=10,
            random_state=0,
        ).fit(X[:100], y[:100], X_val=X[100:][rows], y_val=y_val[rows])
        assert {r["n_val"] for r in model.history_} == {66}
        scores.append([r["student_score"] for r in model.history_])
    assert scores[0] == scores[1] == scores[2]


FAULTS = {
    "too short": lambda X, y: (X, y[1:]),
    "a gap": lambda X, y: (np.where(np.arange(len(X))[:, None] == 3, np.nan, X), y),
    "strings for numbers": lambda X, y: (X, y.astype(str)),
    "no label": lambda X, y: (X, np.full(len(y), -1)),
    "fewer columns": lambda X, y: (X[:, :2], y),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("has_labels", [True, False])
def test_validation_rows_are_checked_before_anything_is_paid(
    numbers, fault, has_labels
):
    """With labels and without."""
    X, y = numbers
    X_val, y_val = FAULTS[fault](X[100:], (X[100:, 0] > 0).astype(int))
    teacher = Teacher()
    model = ActiveDistiller(
        teacher, LogisticRegression(), classes=[0, 1], budget=10, random_state=0
    )
    with pytest.raises(ValueError):
        model.fit(X[:100], y[:100] if has_labels else None, X_val=X_val, y_val=y_val)
    assert teacher.n_asked == 0


def test_a_cold_start_is_forecast_by_validation_rows(numbers):
    """Its first round has no student to score."""
    X, _ = numbers
    model = ActiveDistiller(
        lambda X: (X[:, 0] > 0).astype(int),
        LogisticRegression(),
        classes=[0, 1],
        budget=40,
        query_size=10,
        random_state=0,
    ).fit(X[:100], X_val=X[100:], y_val=(X[100:, 0] > 0).astype(int))
    assert model.forecast_.score_name == "student_score"
