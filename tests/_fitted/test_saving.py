"""A distiller whose teacher holds a client says what can be done with it."""

import copy
import pickle
import re
import threading

import joblib
import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.deploy import Cascade
from skadistill.exceptions import TeacherError
from skadistill.teachers import as_teacher


class Client:
    """Like a connection: it has a lock, and a key that nobody may see."""

    def __init__(self):
        self.lock = threading.Lock()
        self.key = "sk-secret"
        self.n_asked = 0

    def __call__(self, X):
        with self.lock:
            self.n_asked += len(X)
        p = 1 / (1 + np.exp(-X[:, 0]))
        return np.c_[1 - p, p]


def closure():
    client = Client()
    return lambda X: client(X)


TEACHERS = {
    "object": Client,
    "closure": closure,
    "adapter": lambda: as_teacher(Client(), name="judge", version="1"),
}


@pytest.fixture(scope="module")
def data():
    X, y = make_classification(200, 4, random_state=0)
    return X, y, np.where(np.arange(200) < 60, y, -1)


def distiller(teacher, **params):
    return ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=10,
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
        **params,
    )


MESSAGE = (
    r"^the teacher [^\n]* cannot be pickled \(TypeError: cannot pickle '_thread.lock' "
    r"object\); save student_ instead of the distiller, or set its teacher to None "
    r"before, and run searches in threads, "
    r"with joblib\.parallel_config\(backend='threading'\)\.$"
)


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
def test_saving_says_to_save_the_student(name, dump, data, tmp_path):
    """The error comes instead of "cannot pickle", and the student can be saved."""
    X, _, partly = data
    model = distiller(TEACHERS[name]()).fit(X, partly)
    with (
        (tmp_path / "model").open("wb") as file,
        pytest.raises(TeacherError, match=MESSAGE) as told,
    ):
        dump(model, file)
    assert "sk-secret" not in str(told.value)
    again = pickle.loads(pickle.dumps(model.student_))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_copies_in_memory_are_nobodys_business(data):
    """A shallow copy shares the client; a deep copy of a closure works as well."""
    X, _, partly = data
    model = distiller(closure()).fit(X, partly)
    for other in (copy.copy(model), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))


def sign(column):
    """Return a function that pickle cannot find by its name."""
    return lambda X: (X[:, column] > 0).astype(int)


LOCAL = {
    "teacher": lambda: {"teacher": sign(0)},
    "adapter": lambda: {"teacher": as_teacher(sign(0), name="sign", version="1")},
    "strategy": lambda: {"query_strategy": lambda proba: -proba.max(axis=1)},
    "all": lambda: {"teacher": sign(0), "query_strategy": lambda proba: proba[:, 0]},
}


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
def test_local_functions_are_saved_by_value(name, dump, data, tmp_path):
    """A lambda is no reason to lose a distiller; a copy holds the function itself."""
    X, _, partly = data
    params = {"teacher": LogisticRegression()} | LOCAL[name]()
    model = distiller(**params).fit(X, partly)
    assert copy.copy(model).query_strategy is model.query_strategy
    with (tmp_path / "model").open("wb") as file:
        dump(model, file)
    again = joblib.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.fit(X, partly).labeled_round_.tolist() == model.labeled_round_.tolist()
    if name != "strategy":
        assert again.teacher_ is again.teacher


def test_without_its_teacher_a_distiller_is_saved(data):
    """Also what the fit left of the teacher goes."""
    X, _, partly = data
    model = distiller(closure()).fit(X, partly)
    model.teacher = None
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.teacher_ is None


@pytest.mark.parametrize("name", TEACHERS)
def test_a_cascade_is_saved_without_the_client(name, data):
    """Before and after predictions."""
    X, _, partly = data
    cascade = Cascade(distiller(TEACHERS[name]()), target=0.6, n_audit=40)
    cascade.fit(X, partly)
    cascade.predict(X)
    again = pickle.loads(pickle.dumps(cascade))
    assert again.teacher_ is None
    np.testing.assert_array_equal(
        again.distiller_.predict(X), cascade.distiller_.predict(X)
    )


def test_distillers_that_can_be_saved_are_saved(data):
    """Nothing of this is in the state of others."""
    X, _, partly = data
    model = distiller(LogisticRegression()).fit(X, partly)
    again = pickle.loads(pickle.dumps(model))
    assert "_refusal" not in model.__getstate__()
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_processes_are_refused_and_threads_work(data):
    """A search with a client says why processes cannot; threads share the ledger."""
    X, y, _ = data
    client = Client()
    search = GridSearchCV(distiller(client), {"query_size": [5, 10]}, cv=3, n_jobs=2)
    with pytest.raises(pickle.PicklingError) as told:
        search.fit(X[:60], y[:60])
    assert re.search("cannot be pickled", str(told.value.__cause__))


def test_threads_pay_each_row_once(data):
    """Candidates and folds in two threads share one client and one ledger."""
    X, y, _ = data
    client = Client()
    pool = X[60:100]
    models = GridSearchCV(
        distiller(client, query_strategy="random"),
        {"query_size": [5, 10]},
        cv=3,
        n_jobs=2,
        error_score="raise",
    )
    with joblib.parallel_config(backend="threading"):
        models.fit(X[:60], y[:60], X_unlabeled=pool)
    assert 0 < client.n_asked <= len(pool)
    assert models.best_estimator_.n_queries_ == 10
