"""Two teachers share an identity only if they give the same answers."""

import gc
import os
import re
import subprocess
import sys
import weakref
from functools import partial

import numpy as np
import pytest
import scipy.spatial
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skadistill import ActiveDistiller
from skadistill.exceptions import TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.llm import BatchTeacher
from skadistill.teachers import (
    AsyncTeacher,
    FunctionTeacher,
    ParallelTeacher,
    as_teacher,
)
from skadistill.teachers._estimator import EstimatorTeacher
from skadistill.teachers._identity import _TOKENS, _token_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


def identity(obj, **options):
    return as_teacher(obj, **options).identity


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("big", None, "big"), ("big", "2", "big/2"), ("a/b", "2", "a%2Fb/2")],
)
def test_a_given_name_is_the_identity(name, version, expected):
    """What the user says is what the ledger files under."""
    assert identity(len, name=name, version=version) == expected
    fitted = GaussianNB().fit(X, Y)
    assert identity(fitted, name=name, version=version) == expected


def test_names_and_versions_do_not_run_together():
    """A slash in a name is not a version; a version alone is added."""
    assert identity(len, name="a/b") != identity(len, name="a", version="b")
    assert identity(len, version="2") == identity(len) + "/2"


@pytest.mark.parametrize("name", ["", 3])
def test_a_name_is_a_text(name):
    """An empty name or a number is refused."""
    with pytest.raises(TeacherError) as caught:
        identity(len, name=name)
    assert str(caught.value) == (
        f"The teacher's name is {name!r}, which is not a string; pass a non-empty "
        "one, or None to derive the identity."
    )


def ask(X):
    return [0] * len(X)


class Oracle:
    """A client of the user's own, and a function of it."""

    def __init__(self, connection=None):
        self.connection = connection

    def __call__(self, X):
        return [0] * len(X)

    def label(self, X):
        return [0] * len(X)


ORACLE = Oracle()

FUNCTIONS = {
    "a function": ask,
    "a lambda": lambda X: [0] * len(X),
    "a closure": (lambda model: lambda X: model.predict(X))(GaussianNB().fit(X, Y)),
    "a partial": partial(Oracle.label, ORACLE),
    "a callable": ORACLE,
    "a method": ORACLE.label,
    "a method of an estimator": GaussianNB().fit(X, Y).predict_proba,
    "a builtin": len,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_without_a_name_is_itself(name, tmp_path):
    """In this process: a ledger in a file asks for a name before anything is paid."""
    function = FUNCTIONS[name]
    assert identity(function) == identity(function)
    assert len({identity(each) for each in FUNCTIONS.values()}) == len(FUNCTIONS)
    calls = []
    teacher = FunctionTeacher(lambda X: calls.append(1) or function(X), classes=[0, 1])
    with pytest.raises(TeacherError) as caught:
        buy_labels(
            teacher, X[:2], classes=[0, 1], ledger=LabelLedger(tmp_path / "l.sqlite")
        )
    assert str(caught.value) == (
        "the teacher '<lambda>' has no name and is known in this process only, so that "
        "the next one would pay again for the labels in LabelLedger; name it, as in "
        'as_teacher(ask, name="...", version="1").'
    )
    assert not calls
    memory = MemoryLedger()
    unnamed = FunctionTeacher(ask, classes=[0, 1])
    paid = [buy_labels(unnamed, X[:2], classes=[0, 1], ledger=memory) for _ in range(2)]
    assert [purchase.n_paid for purchase in paid] == [2, 0]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: AsyncTeacher(ask, classes=[0, 1]), "AsyncTeacher(ask, name="),
        (lambda: BatchTeacher((ask, ask)), "BatchTeacher((submit, poll), name="),
        (lambda: FunctionTeacher(ask, version="2"), "as_teacher(ask, name="),
        (lambda: ParallelTeacher(ask), "as_teacher(ask, name="),
        (
            lambda: as_teacher(
                make_pipeline(FunctionTransformer(lambda X: X), GaussianNB()).fit(X, Y)
            ),
            "as_teacher(estimator, name=",
        ),
    ],
)
@pytest.mark.parametrize("fits", [False, True])
def test_the_message_shows_the_line_to_write(make, line, fits, tmp_path):
    """For every kind of teacher, also in a fit; a name is enough."""
    teacher, ledger = make(), LabelLedger(tmp_path / "labels.sqlite")
    buy = partial(buy_labels, teacher, X[:2], classes=[0, 1], ledger=ledger)
    distiller = ActiveDistiller(
        teacher, LogisticRegression(), budget=5, ledger=ledger, verbose=0
    )
    fit = partial(distiller.fit, X[:20], Y[:20], X_unlabeled=X[20:])
    with pytest.raises(TeacherError, match=re.escape(line)):
        (fit if fits else buy)()
    assert len(ledger) == ledger.summary()["n_lost"] == 0
    if isinstance(teacher, FunctionTeacher):
        teacher.set_params(name="mine")
        assert buy().n_paid == 2


@pytest.mark.parametrize("package", ["httpx", "openai"])
def test_a_client_of_an_api_does_not_show(package):
    """Neither in a partial nor as the object of a method."""
    module = pytest.importorskip(package)
    client = module.Client() if package == "httpx" else module.OpenAI(api_key="sk-1")
    method = client.get if package == "httpx" else client.chat.completions.create
    for function in (partial(ask, client), method):
        assert "sk-1" not in identity(function)
        assert identity(function) == identity(function)


def test_declared_classes_count():
    """The same function with its columns named otherwise gives other labels."""
    model = GaussianNB().fit(X, Y)
    for obj in (len, model):
        ids = {identity(obj, classes=c) for c in ((0, 1), (1, 0), ("0", "1"))}
        assert len(ids | {identity(obj)}) == 4
        assert identity(obj, classes=np.array([0, 1])) == identity(obj, classes=[0, 1])


def test_a_fitted_estimator_is_its_content():
    """Fitting again on the same rows is the same teacher; other rows, another."""
    forests = [
        RandomForestClassifier(3, random_state=0).fit(X, y) for y in (Y, Y, 1 - Y)
    ]
    one, same, other = map(identity, forests)
    assert one == same
    assert one != other
    assert identity(FrozenEstimator(forests[0])) == one
    assert EstimatorTeacher(forests[0]).identity == one


def test_asking_does_not_change_who_one_is():
    """The identity is the same before and after answering."""
    teacher = as_teacher(RandomForestClassifier(3, random_state=0).fit(X, Y))
    before = teacher.identity
    teacher.ask(X, [0, 1])
    assert teacher.identity == before


class Own(GaussianNB):
    """A classifier whose code the user may change tomorrow."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(FunctionTransformer(lambda X: X + 1), GaussianNB()),
        lambda: make_pipeline(FunctionTransformer(closing_over), GaussianNB()),
        lambda: Own(),
        lambda: VotingClassifier([("own", Own()), ("lr", LogisticRegression())]),
        lambda: GridSearchCV(GaussianNB(), {}, scoring=lambda m, X, y: 0.0, cv=2),
    ],
)
def test_an_estimator_with_code_of_the_user_is_itself(make):
    """A class or function may be another one tomorrow, under the same name."""
    model = make().fit(X, Y)
    assert "process-" in identity(model)
    assert identity(model) == identity(model) != identity(make().fit(X, 1 - Y))


def closing_over(X):
    return X


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(FunctionTransformer(np.log1p), GaussianNB()),
        lambda: make_pipeline(FunctionTransformer(np.nan_to_num), GaussianNB()),
        lambda: GridSearchCV(GaussianNB(), {}, scoring="accuracy", cv=2),
        lambda: KNeighborsClassifier(metric=scipy.spatial.distance.euclidean),
    ],
)
def test_functions_of_installed_packages_are_their_names(make):
    """A file keeps such an estimator's labels."""
    one, same, other = (
        identity(make().fit(np.abs(X), y)) for y in (Y, Y, np.roll(Y, 1))
    )
    assert one == same != other
    assert "process-" not in one


def test_a_dead_objects_token_is_not_inherited():
    """A new object at a freed address is somebody else."""
    tokens = set()
    for _ in range(50):
        tokens.add(_token_of(lambda X: X))
    gc.collect()
    assert len(tokens) == 50
    before = len(_TOKENS)
    function = lambda X: X  # noqa: E731 (what is tested)
    _token_of(function)
    assert len(_TOKENS) == before + 1
    del function
    gc.collect()
    assert len(_TOKENS) == before
    stale = lambda X: X  # noqa: E731 (what is tested)
    _TOKENS[id(stale)] = (weakref.ref(GaussianNB), "somebody else")
    assert _token_of(stale) != "somebody else"


def test_training_identity():
    """Parameters, rows, labels and fit parameters make the identity; chance does not.

    Two folds never share; two candidates on one fold do.
    """

    def trained(rows=X, y=Y, C=1.0, **params):
        model = as_teacher(LogisticRegression(C=C))
        return model.fit(rows[:30], y[:30], **params).identity

    assert trained() == trained()
    others = [
        trained(rows=np.where(np.arange(40)[:, None] == 7, X + 1e-9, X)),
        trained(y=1 - Y),
        trained(C=2.0),
        trained(sample_weight=np.arange(30.0)),
    ]
    assert len({trained(), *others}) == 5


def test_a_named_teacher_still_knows_its_fold():
    """A name does not make two folds' teachers the same."""
    teacher = as_teacher(LogisticRegression(), name="n", version="1")
    a = clone(teacher).fit(X[:30], Y[:30])
    b = clone(teacher).fit(X[10:], Y[10:])
    assert a.identity.startswith("n/1:")
    assert a.identity != b.identity
    assert teacher.fit(X[:30], Y[:30]).identity == a.identity


def test_a_trained_teachers_columns_count():
    """Declared classes are part of a trained teacher's derived identity."""
    ids = {
        EstimatorTeacher(LogisticRegression(), classes=c).fit(X, Y).identity
        for c in (None, [0, 1], [1, 0])
    }
    assert len(ids) == 3


def test_rows_only_the_estimator_understands():
    """Training rows whose content cannot be read still make an identity."""

    class Picky(GaussianNB):
        def fit(self, X, y):
            return super().fit([[float(i)] for i in range(len(X))], y)

    rows, others = [range, len, print], [print, len, range]
    teacher = as_teacher(Picky())
    first = teacher.fit(rows, [0, 1, 1]).identity
    assert first.startswith("trained:")
    assert first != teacher.fit(others, [0, 1, 1]).identity


def test_a_teacher_fitted_here_may_be_the_users_own():
    """Its class counts by name; what cannot be read, by what the name says."""
    assert "process-" not in as_teacher(Own()).fit(X, Y).identity
    steps = FunctionTransformer(lambda X: X + 1), GaussianNB()
    unnamed = as_teacher(make_pipeline(*steps))
    same, other = clone(unnamed), clone(unnamed)
    assert "process-" in unnamed.fit(X, Y).identity
    assert same.fit(X, Y).identity == unnamed.identity
    assert other.fit(X, 1 - Y).identity != unnamed.identity
    named = as_teacher(make_pipeline(*steps), name="n", version="1")
    assert "process-" not in named.fit(X, Y).identity


PROCESS = """
import numpy as np
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skadistill.teachers import as_teacher
X = np.random.default_rng(0).normal(size=(40, 3))
y = np.where(X[:, 0] > 0, "yes", "no")
print(as_teacher(RandomForestClassifier(3, random_state=0).fit(X, y)).identity)
print(as_teacher(LogisticRegression()).fit(X, y).identity)
print(as_teacher(LogisticRegression(), name="n").fit(X, y).identity)
vocabulary = {"abc", "b", "cd", "e", "fg"}
texts = TfidfVectorizer(vocabulary=vocabulary)
texts = make_pipeline(texts, LogisticRegression())
print(as_teacher(texts.fit(["abc", "xyz"] * 20, y)).identity)
print(as_teacher(clone(texts)).fit(["abc", "xyz"] * 20, y).identity)
"""


def test_identities_are_the_same_in_a_new_process(capsys):
    """Neither hash randomization nor memory addresses show."""
    exec(PROCESS, {"__name__": "__main__"})
    here = capsys.readouterr().out
    there = subprocess.run(
        [sys.executable, "-c", PROCESS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    ).stdout
    assert here == there
    assert len(set(here.split())) == 5
