"""Two teachers share an identity only if they give the same answers."""

import functools
import gc
import os
import ssl
import subprocess
import sys
import threading
import types
import weakref

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skadistill._identity.contents import _TOKENS, object_token
from skadistill.exceptions import TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.teachers import EstimatorTeacher, FunctionTeacher, as_teacher

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


def compiled(source, **names):
    """Make a function of source text, as a notebook cell would."""
    module = types.ModuleType("cell")
    module.__dict__.update(names)
    exec(source, module.__dict__)
    return module.teacher


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
        f"The teacher's name is {name!r}, which is not a text; pass a non-empty "
        "string, or None to derive the identity."
    )


SOURCE = "def teacher(X):\n    return X > 0.5\n"


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace("0.5", "0.25"),
        SOURCE.replace(">", "<"),
        SOURCE.replace("(X)", "(X, k=1)"),
        SOURCE.replace("X > 0.5", "[x > 0.5 for x in X]"),
        SOURCE.replace("X > 0.5", "X.T > 0.5"),
        "def teacher(X):\n    return X in {'a', 'b'}\n",
    ],
)
def test_another_code_is_another_teacher(other):
    """A changed constant, operator, default or name changes the identity."""
    assert identity(compiled(SOURCE)) == identity(compiled(SOURCE))
    assert identity(compiled("\n\n# moved\n" + SOURCE)) == identity(compiled(SOURCE))
    assert identity(compiled(other)) != identity(compiled(SOURCE))
    assert identity(compiled(other)) == identity(compiled(other))


def test_code_inside_the_code_counts():
    """A constant in a nested function is seen."""
    source = "def teacher(X):\n    return [(lambda x: x + {})(x) for x in X]\n"
    assert identity(compiled(source.format(1))) != identity(compiled(source.format(2)))


def test_defaults_count():
    """The same code with another default is another teacher."""
    source = "def teacher(X, k={}, *, j={}):\n    return X * k * j\n"
    ids = {identity(compiled(source.format(k, j))) for k in (1, 2) for j in (1, 2)}
    assert len(ids) == 4


def test_a_model_in_a_global_counts():
    """The commonest teacher of all: a function around a fitted global model."""
    source = "def teacher(X):\n    return (lambda: model.predict_proba(X))()\n"
    first = GaussianNB().fit(X, Y)
    again = GaussianNB().fit(X, Y)
    second = GaussianNB().fit(X, 1 - Y)
    a, b, c = (identity(compiled(source, model=m)) for m in (first, again, second))
    assert a == b
    assert a != c


def test_a_counter_in_a_global_does_not_count():
    """Keeping a list of calls does not make a teacher forget itself."""
    calls = []
    function = compiled(
        "def teacher(X):\n    calls.append(1)\n    return X\n", calls=calls
    )
    before = identity(function)
    function(3)
    assert calls == [1]
    assert identity(function) == before


def closing_over(model):
    def teacher(X):
        return model.predict_proba(X)

    return teacher


def test_a_closure_is_its_values():
    """Functions that close over something are told apart by what it contains."""
    first, again = (closing_over(GaussianNB().fit(X, Y)) for _ in range(2))
    second = closing_over(GaussianNB().fit(X, 1 - Y))
    assert identity(first) == identity(again)
    assert identity(first) != identity(second)


def test_declared_classes_count():
    """The same function with its columns named otherwise gives other labels."""
    model = GaussianNB().fit(X, Y)
    for obj in (len, model):
        ids = {identity(obj, classes=c) for c in ((0, 1), (1, 0), ("0", "1"))}
        assert len(ids | {identity(obj)}) == 4
        assert identity(obj, classes=np.array([0, 1])) == identity(obj, classes=[0, 1])


def test_methods_and_partials_are_their_content():
    """A bound method is its object's content; so is a partial."""
    a, b = GaussianNB().fit(X, Y), GaussianNB().fit(X, 1 - Y)
    again = GaussianNB().fit(X, Y)
    assert identity(a.predict_proba) == identity(again.predict_proba)
    assert identity(a.predict_proba) != identity(b.predict_proba)
    assert identity(a.predict_proba) != identity(a.predict)
    partials = [functools.partial(np.add, k) for k in (1, 1, 2)]
    one, same, other = map(identity, partials)
    assert one == same
    assert one != other


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


def test_a_function_inside_an_estimator_is_its_code():
    """Pipelines around equal lambdas are one teacher, around others another."""
    functions = [lambda X: X + 1, lambda X: X + 1, lambda X: X + 2]
    one, same, other = (
        identity(make_pipeline(FunctionTransformer(f), GaussianNB()).fit(X, Y))
        for f in functions
    )
    assert one == same
    assert one != other


def holding(thing):
    def teacher(X):
        return [0] * len(X) if thing else [1] * len(X)

    return teacher


class Remote:
    """A client as `self`."""

    def __init__(self, connection):
        self.connection = connection

    def label(self, X):
        return [0] * len(X)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: holding(i for i in range(3)), "builtins.generator"),
        (lambda: Remote(ssl.create_default_context()).label, "ssl.SSLContext"),
        (lambda: functools.partial(Remote.label, threading.local()), "_thread._local"),
    ],
)
def test_without_contents_the_identity_ends_with_the_process(make, kind, tmp_path):
    """It is refused, before anything is paid, by a ledger that outlives the process."""
    function, other = make(), make()
    calls = []
    teacher = FunctionTeacher(lambda X: calls.append(1) or function(X), classes=[0, 1])
    assert teacher.identity == teacher.identity
    assert teacher.identity != FunctionTeacher(other).identity
    rows = np.ones((2, 1))
    with pytest.raises(TeacherError) as caught:
        buy_labels(
            teacher, rows, classes=[0, 1], ledger=LabelLedger(tmp_path / "l.sqlite")
        )
    assert str(caught.value) == (
        f"the teacher '<lambda>' holds an object of type {kind}, whose contents cannot "
        "be read, so that the labels kept in LabelLedger would be paid again by the "
        "next process; pass name= and version= to the teacher."
    )
    assert not calls
    named = FunctionTeacher(lambda X: [0] * len(X), name="remote", version="1")
    ledger = LabelLedger(tmp_path / "l.sqlite")
    assert buy_labels(named, rows, classes=[0, 1], ledger=ledger).n_paid == 1
    memory = MemoryLedger()
    unnamed = FunctionTeacher(holding(function), classes=[0, 1])
    paid = [buy_labels(unnamed, rows, classes=[0, 1], ledger=memory) for _ in range(2)]
    assert [purchase.n_paid for purchase in paid] == [1, 0]


@pytest.mark.parametrize("package", ["httpx", "openai"])
def test_a_client_of_an_api_has_no_contents(package):
    """Neither in a closure nor as the object of a method."""
    module = pytest.importorskip(package)
    client = module.Client() if package == "httpx" else module.OpenAI(api_key="sk-1")
    method = client.get if package == "httpx" else client.chat.completions.create
    for function in (holding(client), method):
        assert ":process-" in identity(function)
        assert "sk-1" not in identity(function)
        assert identity(function) == identity(function)


def test_a_dead_objects_token_is_not_inherited():
    """A new object at a freed address is somebody else."""
    tokens = set()
    for _ in range(50):
        tokens.add(object_token(lambda X: X))
    gc.collect()
    assert len(tokens) == 50
    before = len(_TOKENS)
    function = lambda X: X  # noqa: E731 (what is tested)
    object_token(function)
    assert len(_TOKENS) == before + 1
    del function
    gc.collect()
    assert len(_TOKENS) == before
    stale = lambda X: X  # noqa: E731 (what is tested)
    _TOKENS[id(stale)] = (weakref.ref(GaussianNB), "somebody else")
    assert object_token(stale) != "somebody else"


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
    first = teacher.fit(rows, [0, 1, 1])
    assert first.identity.startswith("trained:")
    assert first.identity != teacher.fit(others, [0, 1, 1]).identity


PROCESS = """
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from skadistill.teachers import as_teacher
X = np.random.default_rng(0).normal(size=(40, 3))
y = np.where(X[:, 0] > 0, "yes", "no")
from statistics import mean
print(as_teacher(mean).identity)
print(as_teacher(RandomForestClassifier(3, random_state=0).fit(X, y)).identity)
print(as_teacher(LogisticRegression()).fit(X, y).identity)
exec('def teacher(X):\\n    return X in {"a", "b", "c"}', globals())
print(as_teacher(teacher).identity)
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
    assert len(set(here.split())) == 4


def test_function_teacher_of_a_builtin():
    """Functions without bytecode have an identity too."""
    assert FunctionTeacher(len).identity != FunctionTeacher(sum).identity
