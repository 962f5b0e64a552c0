"""Estimators and functions become teachers that answer in the caller's classes."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils._param_validation import InvalidParameterError

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.exceptions import (
    TeacherAnswerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger
from skadistill.teachers import (
    BaseTeacher,
    FunctionTeacher,
    as_teacher,
)
from skadistill.teachers._estimator import EstimatorTeacher

X, POSITION = make_classification(
    60, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0
)

CLASSES = np.array(["ant", "bee", "cat"])
Y = CLASSES[POSITION]


class Duck:
    """A classifier that has never heard of scikit-learn."""

    def __init__(self):
        self.asked = 0

    def fit(self, X, y):
        self.known_ = sorted(set(y))
        return self

    def predict_proba(self, X):
        self.asked += 1
        return [[0.5, 0.25, 0.25]] * len(X)


class Server:
    """Can answer and cannot be fitted."""

    def predict(self, X):
        return ["bee"] * len(X)


@pytest.mark.parametrize(
    ("obj", "is_fitted"),
    [
        (LogisticRegression(), False),
        (LogisticRegression().fit(X, Y), True),
        (make_pipeline(StandardScaler(), GaussianNB()), False),
        (make_pipeline(StandardScaler(), GaussianNB()).fit(X, Y), True),
        (FrozenEstimator(GaussianNB().fit(X, Y)), True),
        (make_pipeline(FunctionTransformer(), FrozenEstimator(GaussianNB().fit(X, Y))),
         True),
        (GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}), False),
        (CalibratedClassifierCV(FrozenEstimator(LinearSVC().fit(X, Y))), False),
        (Duck(), False),
        (Duck().fit(X, Y), True),
        (Server(), True),
        (lambda X: X, True),
    ],
)  # fmt: skip
def test_is_fitted(obj, is_fitted):
    """Whether a teacher must be fitted is found out without calling it."""
    assert as_teacher(obj).is_fitted is is_fitted


def test_a_teacher_passes_through():
    """as_teacher of a teacher is that teacher; options it cannot follow are refused."""
    teacher = FunctionTeacher(len)
    assert as_teacher(teacher) is teacher
    with pytest.raises(TeacherError) as caught:
        as_teacher(teacher, name="n", allow_missing_classes=True)
    assert str(caught.value) == (
        "as_teacher received a teacher, FunctionTeacher, together with "
        "allow_missing_classes, name; set these on the teacher itself."
    )


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            LogisticRegression,
            "as_teacher received the class LogisticRegression; pass an instance of it.",
        ),
        (
            3,
            "as_teacher received 3, of type int, which cannot be asked; pass an "
            "estimator with predict_proba, decision_function or predict, or a function "
            "that takes rows and returns probabilities or labels.",
        ),
        (
            StandardScaler(),
            "as_teacher received StandardScaler(), of type StandardScaler, which "
            "cannot be asked; pass an estimator with predict_proba, decision_function "
            "or predict, or a function that takes rows and returns probabilities or "
            "labels.",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(obj, message):
    """A class, a number, a transformer: not teachers."""
    with pytest.raises(TeacherError) as caught:
        as_teacher(obj)
    assert str(caught.value) == message


def test_options_reach_the_adapter():
    """Names, classes and allowances are the adapter's."""
    options = {
        "classes": CLASSES,
        "allow_missing_classes": True,
        "allow_extra_classes": True,
        "name": "n",
        "version": "1",
    }
    for obj in (LogisticRegression(), len):
        teacher = as_teacher(obj, **options)
        assert {k: getattr(teacher, k) for k in options} == options


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
        GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=2),
    ],
)
def test_probabilities_are_the_estimators_own(model):
    """predict_proba comes first, in the caller's order of classes."""
    model = clone(model).fit(X, Y)
    labels = as_teacher(model).ask(X, CLASSES[::-1])
    np.testing.assert_allclose(labels, model.predict_proba(X)[:, ::-1], rtol=1e-14)


@pytest.mark.parametrize("model", [LinearSVC(), RidgeClassifier(), Perceptron()])
def test_scores_of_many_classes_go_through_softmax(model):
    """decision_function only: softmax of the scores."""
    model = clone(model).fit(X, Y)
    np.testing.assert_allclose(
        as_teacher(model).ask(X, CLASSES),
        softmax(model.decision_function(X), axis=1),
        rtol=1e-12,
    )


def test_scores_of_two_classes_go_through_the_sigmoid():
    """A positive score speaks for the second class."""
    y = np.where(POSITION > 0, "yes", "no")
    model = LinearSVC().fit(X, y)
    score = model.decision_function(X)
    labels = as_teacher(model).ask(X, ["yes", "no"])
    np.testing.assert_allclose(labels, np.column_stack([expit(score), expit(-score)]))
    assert (np.array(["yes", "no"])[labels.argmax(axis=1)] == model.predict(X)).all()


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (
            [0.0, np.inf],
            TeacherAnswerError,
            "the teacher 'Scorer' answered the score inf for row 1 of the batch; "
            "return finite scores.",
        ),
        (
            np.zeros((2, 6)),
            TeacherAnswerError,
            "the teacher 'Scorer' answered 6 scores per row but has 2 classes; use "
            "one score per class (decision_function_shape='ovr' in SVC).",
        ),
        (
            np.zeros((2, 2, 2)),
            TeacherAnswerError,
            "the teacher 'Scorer' answered an array of shape (2, 2, 2); return one of "
            "shape (n_samples, n_classes).",
        ),
    ],
)
def test_broken_scores_are_named(scores, error, message):
    """Scores are checked before they are squashed."""

    class Scorer:
        classes_ = ["no", "yes"]

        def decision_function(self, X):
            return scores

    with pytest.raises(error) as caught:
        as_teacher(Scorer()).ask([[0.0]] * 2, ["no", "yes"])
    assert str(caught.value) == message


def test_one_against_one_scores_are_refused():
    """Four classes give six scores: a mistake that a softmax would hide."""
    y = np.arange(60) % 4
    model = SVC(decision_function_shape="ovo").fit(X, y)
    with pytest.raises(TeacherAnswerError, match="6 scores per row but has 4"):
        as_teacher(model).ask(X, range(4))


def test_predict_only_gives_one_hot_rows():
    """Hard labels become rows with a single 1; missing classes are still named."""
    labels = as_teacher(Server()).ask(X[:2], CLASSES)
    np.testing.assert_array_equal(labels, [[0, 1, 0], [0, 1, 0]])
    with pytest.raises(TeacherAnswerError, match="does not know the class 'cat'"):
        as_teacher(Server(), classes=["ant", "bee"]).ask(X, CLASSES)


def test_a_teacher_of_one_class_when_allowed():
    """(n, 1) probabilities of a single known class are not hard labels."""
    model = GaussianNB().fit(X, np.full(60, "bee"))
    labels = as_teacher(model, allow_missing_classes=True).ask(X[:2], CLASSES)
    np.testing.assert_array_equal(labels, [[0, 1, 0], [0, 1, 0]])


def test_an_unfitted_teacher_does_not_answer():
    """Asking before fitting names what to do."""
    with pytest.raises(TeacherCallError) as caught:
        as_teacher(LogisticRegression()).ask(X, CLASSES)
    assert str(caught.value) == (
        "the teacher 'LogisticRegression' was asked about 60 rows before it was "
        "fitted; call fit(X, y) first."
    )


def test_fit_fits_a_clone():
    """The user's estimator stays unfitted; fit parameters arrive."""
    model = LogisticRegression()
    weight = np.where(Y == "ant", 100.0, 1.0)
    teacher = as_teacher(model, name="n").fit(X, Y, sample_weight=weight)
    assert not hasattr(model, "coef_")
    assert teacher.estimator is model
    assert teacher.estimator_.coef_.shape == (3, 5)
    assert teacher.is_fitted
    assert clone(teacher) is teacher
    assert teacher.name == "n"
    expected = LogisticRegression().fit(X, Y, sample_weight=weight).predict_proba(X)
    np.testing.assert_allclose(teacher.ask(X, CLASSES), expected)
    with pytest.raises(NotFittedError):
        FrozenEstimator(LogisticRegression()).fit(X, Y)


def test_a_duck_is_copied_when_it_must_be_fitted():
    """An estimator without get_params is copied, not changed."""
    duck = Duck()
    teacher = as_teacher(duck).fit(X, Y)
    assert not hasattr(duck, "known_")
    np.testing.assert_array_equal(teacher.ask([[0.0]], CLASSES), [[0.5, 0.25, 0.25]])


def test_a_ready_teacher_is_never_copied_or_fitted():
    """clone, fit and asking all use the very object."""
    duck = Duck().fit(X, Y)
    teacher = as_teacher(duck)
    assert clone(teacher) is teacher
    assert teacher.fit(X[:3], Y[:3]) is teacher
    teacher.ask(X, CLASSES)
    assert duck.asked == 1
    function = FunctionTeacher(lambda X: Y[: len(X)])
    assert clone(function) is function
    assert function.fit(X, Y) is function


def test_clones_of_unfitted_teachers_are_independent():
    """A search may set parameters of a clone without touching the original."""
    teacher = EstimatorTeacher(LogisticRegression(C=1.0), name="n")
    copy = clone(teacher).set_params(estimator__C=7.0)
    assert teacher.estimator.C == 1.0
    assert copy.estimator.C == 7.0
    assert copy.name == "n"


def test_the_teacher_sees_the_callers_container(as_rows):
    """Arrays, sparse matrices, frames and texts arrive as they are."""
    seen = []

    def look(X):
        seen.append(X)
        return ["ant"] * 3

    rows = as_rows(np.arange(6.0).reshape(3, 2))
    as_teacher(look).ask(rows, CLASSES)
    assert seen[-1] is rows


def test_texts_and_frames_through_a_pipeline():
    """A text pipeline is a teacher like any other."""
    texts, y = ["good film", "bad film", "good", "bad"], [1, 0, 1, 0]
    teacher = as_teacher(make_pipeline(TfidfVectorizer(), LogisticRegression()))
    labels = teacher.fit(texts, y).ask(["good", "bad"], [0, 1])
    assert labels.argmax(axis=1).tolist() == [1, 0]


def test_routing_is_the_estimators():
    """A wrapped estimator's metadata requests stay visible."""
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        routing = as_teacher(model).get_metadata_routing()
        assert routing.fit.requests["sample_weight"] is True
        assert FunctionTeacher(len).get_metadata_routing().fit.requests == {}


def test_a_teacher_of_ones_own():
    """A subclass says how to answer and who it is; ask checks it."""

    class Oracle(BaseTeacher):
        def __init__(self, version=None):
            self.version = version

        def answer(self, X):
            return CLASSES[[0] * len(X)]

        def derived_identity(self):
            return "oracle"

    assert Oracle().identity == "oracle"
    assert Oracle("2").identity == "oracle/2"
    np.testing.assert_array_equal(Oracle().ask(X[:1], CLASSES), [[1, 0, 0]])
    assert isinstance(Oracle(), BaseEstimator)


@pytest.mark.parametrize("missing", ["answer", "derived_identity"])
def test_the_base_class_is_abstract(missing):
    """A subclass writes two methods, `answer` and `derived_identity`, or is refused."""
    methods = {"answer": len, "derived_identity": repr}
    del methods[missing]
    with pytest.raises(TypeError, match=f"abstract method '?{missing}"):
        type("Half", (BaseTeacher,), methods)()
    assert BaseTeacher.__abstractmethods__ == {"answer", "derived_identity"}


class ProbaOnly:
    """A model server with one method and no `fit`."""

    def predict_proba(self, X):
        return [[0.25, 0.25, 0.5]] * len(X)


class ProbabilitiesByPredict(ProbaOnly):
    """Call them predictions, as Keras does."""

    predict = ProbaOnly.predict_proba
    predict_proba = None


@pytest.mark.parametrize("model", [ProbaOnly(), ProbabilitiesByPredict()])
def test_probabilities_by_either_method(model):
    """`predict_proba` alone is enough, and `predict` may return probabilities."""
    labels = as_teacher(model, name="m").ask(X[:2], CLASSES)
    np.testing.assert_array_equal(labels, [[0.25, 0.25, 0.5]] * 2)


@pytest.mark.parametrize(
    ("teacher", "parameter"),
    [
        (EstimatorTeacher(GaussianNB(), embedding=3), "embedding"),
        (EstimatorTeacher(GaussianNB(), allow_missing_classes="no"), "allow_missing"),
        (FunctionTeacher("no function"), "function"),
        (FunctionTeacher(len, classes=3), "classes"),
        (FunctionTeacher(len, name=3), "name"),
    ],
)
def test_wrong_parameters_are_named(teacher, parameter):
    """They are checked when the teacher is used, not by the constructor."""
    with pytest.raises(InvalidParameterError, match=parameter):
        teacher.ask(X, CLASSES)


@pytest.mark.parametrize("price", ["0.1", np.nan, -1, True, np.inf, [1, 2]])
def test_prices_are_amounts_of_money(price):
    """A price that is not one is an error that names it."""
    with pytest.raises(TeacherError, match=r"cost_per_row is .*, which is not an am"):
        as_teacher(lambda X: Y[: len(X)], cost_per_row=price).ask(X, CLASSES)


def test_a_callable_may_name_its_classes():
    """A callable's own classes_ map its columns, as an estimator's do."""

    class Client:
        classes_ = ("cow", "ant", "bee")

        def __call__(self, X):
            return np.tile([0.7, 0.2, 0.1], (len(X), 1))

    np.testing.assert_allclose(
        as_teacher(Client()).ask(X[:1], ["ant", "bee", "cow"]), [[0.2, 0.1, 0.7]]
    )
    declared = as_teacher(Client(), classes=["ant", "bee", "cow"])
    np.testing.assert_allclose(
        declared.ask(X[:1], ["ant", "bee", "cow"]), [[0.7, 0.2, 0.1]]
    )


@pytest.mark.parametrize(
    "estimator",
    [
        StackingClassifier([("l", LogisticRegression())]),
        Pipeline([("scale", StandardScaler()), ("s", SVC())]),
        make_pipeline(StackingClassifier([("l", LogisticRegression())])),
        GridSearchCV(StackingClassifier([("l", LogisticRegression())]), {}, cv=2),
    ],
)
def test_classifiers_that_show_their_methods_once_fitted(estimator):
    """An unfitted stack is a teacher, alone, in a pipeline or in a search."""
    teacher = as_teacher(estimator)
    assert not teacher.is_fitted
    rows = np.random.default_rng(0).normal(size=(200, 2))
    y = (rows[:, 0] > 0).astype(int)
    labels = clone(teacher).fit(rows, y).ask(rows, [0, 1])
    assert (labels.argmax(axis=1) == y).mean() > 0.8
    partly = np.where(np.arange(200) < 100, y, -1)
    distiller = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=20,
        teacher_checks=CheckPolicy(on_weak="ignore"),
    )
    assert distiller.fit(rows, partly).n_queries_ == 20


@pytest.mark.parametrize("fitted", [False, True])
def test_a_batch_size_is_kept_by_fits_and_purchases(fitted):
    """No call has more rows, embeddings of known labels included."""
    sizes = []

    def ask(rows):
        sizes.append(len(rows))
        return POSITION[: len(rows)]

    class Net(GaussianNB):
        def predict_proba(self, X):
            sizes.append(len(X))
            return super().predict_proba(X)

        def transform(self, X):
            sizes.append(len(X))
            return X

    model = Net().fit(X, POSITION) if fitted else ask
    teacher = as_teacher(model, batch_size=7, name="t")
    ledger = MemoryLedger()
    buy_labels(teacher, X, classes=[0, 1, 2], ledger=ledger)
    assert sizes == [7] * 8 + [4]
    assert clone(teacher).batch_size == 7
    if fitted:
        sizes.clear()
        embedding = as_teacher(model, batch_size=9, name="t", embedding="transform")
        question = {"classes": [0, 1, 2], "ledger": ledger, "with_embeddings": True}
        assert np.isfinite(buy_labels(embedding, X, **question).embeddings).all()
        assert sizes == [9] * 6 + [6]
    sizes.clear()
    distiller = ActiveDistiller(
        teacher, LogisticRegression(), budget=20, query_size=20, teacher_checks=0
    )
    distiller.fit(X[:30], POSITION[:30], X_unlabeled=X[30:])
    assert max(sizes) == 7


@pytest.mark.parametrize("size", [0, 2.5, "all"])
def test_a_batch_size_is_a_number_of_rows(size):
    """Other values are refused before anything is asked."""
    with pytest.raises(InvalidParameterError, match="'batch_size' parameter of Func"):
        as_teacher(len, batch_size=size).ask(X, CLASSES)
    with pytest.raises(TeacherError, match=r"together with batch_size; set these"):
        as_teacher(as_teacher(len), batch_size=3)
