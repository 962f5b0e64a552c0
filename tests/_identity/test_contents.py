"""Equal contents give equal identities, in any process; other contents give others."""

import asyncio
import collections
import functools
import os
import pickle
import subprocess
import sys
import threading
import types

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from skorch import NeuralNetClassifier

from skadistill._identity import contents
from skadistill._identity.identity import content_identity, function_identity
from skadistill.student import StudentNet
from skadistill.teachers import as_teacher

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)
TEXTS = [" ".join(f"w{int(3 * v)}" for v in row) for row in X]


def net():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 8),
        torch.nn.Dropout(),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 3),
    )
    return NeuralNetClassifier(
        module, criterion=torch.nn.CrossEntropyLoss, max_epochs=1, verbose=0
    )


def boosted(package, name, **params):
    return lambda: getattr(pytest.importorskip(package), name)(**params)


TEACHERS = {
    "logistic": lambda: LogisticRegression(),
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(5, random_state=0),
    "ada": lambda: AdaBoostClassifier(n_estimators=3, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=3, random_state=0),
    "svc": lambda: SVC(random_state=0),
    "neighbors": lambda: KNeighborsClassifier(algorithm="kd_tree"),
    "ball tree": lambda: KNeighborsClassifier(algorithm="ball_tree"),
    "radius": lambda: RadiusNeighborsClassifier(5.0),
    "gaussian process": lambda: GaussianProcessClassifier(),
    "mlp": lambda: MLPClassifier(4, max_iter=300, random_state=0),
    "calibrated": lambda: CalibratedClassifierCV(LogisticRegression(), cv=2),
    "stacking": lambda: StackingClassifier(
        [
            ("f", RandomForestClassifier(3, random_state=0)),
            ("k", KNeighborsClassifier()),
        ]
    ),
    "voting": lambda: VotingClassifier(
        [("l", LogisticRegression()), ("k", KNeighborsClassifier())], voting="soft"
    ),
    "search": lambda: GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
    "tfidf": lambda: make_pipeline(
        TfidfVectorizer(stop_words=["w1"]), LogisticRegression()
    ),
    "sparse neighbors": lambda: make_pipeline(
        CountVectorizer(), KNeighborsClassifier()
    ),
    "student": lambda: StudentNet(max_epochs=1, random_state=0),
    "skorch": net,
    "xgboost": boosted("xgboost", "XGBClassifier", n_estimators=3),
    "lightgbm": boosted("lightgbm", "LGBMClassifier", n_estimators=3, verbose=-1),
    "catboost": boosted(
        "catboost",
        "CatBoostClassifier",
        iterations=3,
        verbose=0,
        allow_writing_files=False,
    ),
}


def fitted(name):
    rows = TEXTS if name in ("tfidf", "sparse neighbors") else X
    return TEACHERS[name]().fit(rows, Y), rows


def identity(obj):
    return as_teacher(obj).identity


@pytest.mark.filterwarnings("ignore")  # few steps, few rows
@pytest.mark.parametrize("name", TEACHERS)
def test_a_fitted_teacher_is_known_again(name, tmp_path):
    """Neither answering nor a way through a file changes who it is."""
    model, rows = fitted(name)
    before = identity(model)
    assert "process-" not in before
    model.predict(rows)
    assert identity(model) == before
    copy = pickle.loads(pickle.dumps(model))
    assert identity(copy) == before
    joblib.dump(copy, tmp_path / "model.joblib")
    read = joblib.load(tmp_path / "model.joblib")
    read.predict(rows[:3])
    assert identity(read) == before
    other = TEACHERS[name]()
    rows = rows[::-1] if isinstance(rows, list) else rows[::-1].copy()
    assert identity(other.fit(rows, Y)) != before


PROCESS = """
import sys, warnings
warnings.simplefilter("ignore")
import joblib
from skadistill.teachers import as_teacher
for path in sys.argv[1:]:
    model, rows = joblib.load(path)
    model.predict(rows)
    print(as_teacher(model).identity)
"""


@pytest.mark.filterwarnings("ignore")
def test_other_processes_know_teachers_read_from_a_file(tmp_path):
    """The same files give the same identities, whatever seeds the hashes."""
    expected, paths = [], []
    for name in TEACHERS:
        try:
            model, rows = fitted(name)
        except pytest.skip.Exception:
            continue
        paths.append(str(tmp_path / f"{name}.joblib"))
        joblib.dump((model, rows[:5]), paths[-1])
        expected.append(identity(model))
    assert len(set(expected)) == len(expected) >= 20
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", PROCESS, *paths],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.split("\n")
        assert found[:-1] == expected


def cell(source, **names):
    """Run source text as a notebook cell would."""
    module = types.ModuleType("cell")
    module.__dict__.update(names)
    exec(source, module.__dict__)
    return module


CHANGES = {
    "a constant": "P = 'OLD'\ndef ask(X): return P",
    "in a comprehension": "P = 'OLD'\ndef ask(X): return [P + x for x in X]",
    "a nested table": "T = {'a': {'b': [1, 'OLD']}}\ndef ask(X): return T",
    "a helper of a helper": (
        "def low(x): return 'OLD'\ndef high(x): return low(x)\n"
        "def ask(X): return high(X)"
    ),
    "functions that call each other": (
        "P = 'OLD'\ndef odd(n): return ask(n - 1) if n else P\n"
        "def ask(n): return odd(n - 1)"
    ),
    "a method": (
        "class Prompt:\n def text(self): return 'OLD'\ndef ask(X): return "
        "Prompt().text()"
    ),
    "a base class": (
        "class Base: P = 'OLD'\nclass Prompt(Base): pass\ndef ask(X): return Prompt.P"
    ),
    "a property": (
        "class Prompt:\n @property\n def text(self): return 'OLD'\n"
        "def ask(X): return Prompt().text"
    ),
    "an enum": (
        "import enum\nclass Prompt(enum.Enum): P = 'OLD'\ndef ask(X): return Prompt.P"
    ),
    "a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass Prompt:\n text: str = "
        "'OLD'\n"
        "def ask(X): return Prompt().text"
    ),
    "a global object": (
        "class Prompt: pass\np = Prompt()\np.text = 'OLD'\ndef ask(X): return p.text"
    ),
    "a default": "def ask(X, *, p={'a': ['OLD']}): return p",
    "an attribute of the function": "def ask(X): return ask.p\nask.p = 'OLD'",
    "a decorator": (
        "def quoted(f):\n def inner(X): return 'OLD', f(X)\n return inner\n"
        "@quoted\ndef ask(X): return X"
    ),
    "a decorated function": (
        "import functools\ndef quoted(f):\n @functools.wraps(f)\n"
        " def inner(X): return f(X)\n return inner\n@quoted\ndef ask(X): return 'OLD'"
    ),
    "a cached function": (
        "import functools\n@functools.lru_cache\ndef ask(X): return 'OLD'"
    ),
    "the function in a partial": (
        "import functools\ndef base(p, X): return 'OLD'\nask = functools.partial(base, "
        "1)"
    ),
    "an argument of a partial": (
        "import functools\ndef base(X, p): return p\nask = functools.partial(base, "
        "p='OLD')"
    ),
    "the object of a method": (
        "class Prompt:\n def __init__(self, p): self.p = p\n"
        " def label(self, X): return self.p\nask = Prompt('OLD').label"
    ),
    "a callable object": (
        "class Prompt:\n def __call__(self, X): return 'OLD'\nask = Prompt()"
    ),
    "a closure in a closure": (
        "def outer(p):\n def inner(): return p\n def ask(X): return inner()\n"
        " return ask\nask = outer('OLD')"
    ),
    "an error that is caught": (
        "def ask(X):\n try: return X\n except KeyError if 'OLD' == 'OLD' else OSError:"
        " return 0"
    ),
    "a pattern": "import re\nR = re.compile('OLD')\ndef ask(X): return R.match(X)",
    "a tensor": "import torch\nW = torch.full((3,), len('OLD'))\ndef ask(X): return W "
    "@ X",
    "the method of a dictionary": "T = {'a': 'OLD'}\nask = T.get",
    "async": "P = 'OLD'\nasync def ask(X): return P",
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_function_uses_counts(name):
    """A change anywhere in what it reads makes another teacher; a second run none."""
    source = CHANGES[name]
    one, same = (identity(cell(source).ask) for _ in range(2))
    moved = identity(cell("\n\n# moved\n" + source).ask)
    assert one == same == moved
    assert "process-" not in one
    assert identity(cell(source.replace("OLD", "CHANGED", 1)).ask) != one


USES = {
    "a cache": "C = {}\ndef ask(x):\n if x not in C: C[x] = 2 * x\n return C[x]",
    "a counter": "n = 0\ndef ask(x):\n global n\n n += 1\n return x",
    "a counter in a table": "N = {'n': 0}\ndef ask(x):\n N['n'] += 1\n return x",
    "a list of calls": "L = []\ndef ask(x):\n L.append(x)\n return x",
    "a helper's cache": (
        "C = {}\ndef keep(x): C.setdefault(x, 2 * x)\ndef ask(x):\n keep(x)\n return "
        "C[x]"
    ),
    "numbers in order": (
        "import itertools\nI = itertools.count()\ndef ask(x): return x, next(I)"
    ),
    "an attribute of a global": (
        "class S: n = 0\ns = S()\ndef ask(x):\n s.n += 1\n return x"
    ),
    "a client made late": (
        "c = None\ndef client():\n global c\n c = c or (i for i in [1])\n return c\n"
        "def ask(x): return client() and x"
    ),
    "counters of an object": (
        "class S:\n def __init__(self): self.n, self.seen, self.cache = 0, [], {}\n"
        " def __call__(self, x):\n  self.n += 1\n  self._keep(x)\n  return x\n"
        " def _keep(self, x):\n  self.seen.append(x)\n  self.cache[x] = x\nask = S()"
    ),
    "a method's client made late": (
        "class S:\n c = None\n def label(self, x):\n"
        "  self.c = self.c or (i for i in [1])\n  return x\nask = S().label"
    ),
    "a cached property": (
        "import functools\nclass S:\n @functools.cached_property\n"
        " def model(self): return 3\n def __call__(self, x): return x * self.model\n"
        "ask = S()"
    ),
    "a counter in the closure": (
        "def make():\n n = 0\n def ask(x):\n  nonlocal n\n  n += 1\n  return x\n"
        " return ask\nask = make()"
    ),
    "calls that are remembered": (
        "import functools\n@functools.lru_cache\ndef low(x): return x\n"
        "def ask(x): return low(x)"
    ),
}


@pytest.mark.parametrize("name", USES)
def test_what_answering_writes_does_not_count(name):
    """Caches and counters move with every answer; the teacher stays who it is."""
    ask = cell(USES[name]).ask
    before = identity(ask)
    assert ask(3) is not None
    assert identity(ask) == before
    assert "process-" not in before


def test_attributes_that_a_user_sets_count():
    """A counter beside a prompt does not hide the prompt."""
    module = cell(USES["counters of an object"])
    before = identity(module.ask)
    module.ask.prompt = "new"
    assert identity(module.ask) != before


def test_modules_of_the_user_are_read(tmp_path, monkeypatch):
    """A prompt in a module counts, however it is imported; what is unused does not."""
    (tmp_path / "my_prompts.py").write_text("PROMPT = 'old'\nOTHER = 1\n")
    (tmp_path / "my_teachers.py").write_text(
        "import my_prompts\n"
        "from my_prompts import PROMPT\n"
        "def by_module(X): return my_prompts.PROMPT\n"
        "def by_name(X): return PROMPT\n"
        "def inside(X):\n    from my_prompts import PROMPT as P\n    return P\n"
        "def whole(X):\n    import my_prompts as m\n    return m.PROMPT\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    teachers, prompts = map(__import__, ("my_teachers", "my_prompts"))
    functions = [teachers.by_module, teachers.by_name, teachers.inside, teachers.whole]
    before = list(map(identity, functions))
    prompts.OTHER = 2
    assert list(map(identity, functions[:3])) == before[:3]
    prompts.PROMPT = teachers.PROMPT = "new"
    assert not set(map(identity, functions)) & set(before)


def test_installed_functions_are_their_name_and_version(monkeypatch):
    """What pip installs is not read; an upgrade makes another teacher."""
    function = cell("import numpy as np\ndef ask(X): return np.mean(X)").ask
    before = function_identity(function)
    monkeypatch.setattr(contents, "version_of", lambda name: "another")
    assert function_identity(function) != before


def test_a_worker_knows_functions_of_the_main_module():
    """What joblib sends by value to other processes keeps its identity."""
    script = (
        "import joblib\nfrom skadistill.teachers import as_teacher\nP = 'a'\n"
        "class Prompt:\n W = 3\n def text(self, x): return super().__init__() or P\n"
        "def low(x): return Prompt().text(x)\ndef ask(X): return low(X)\n"
        "def identity(f): return as_teacher(f).identity\n"
        "if __name__ == '__main__':\n"
        "    there = joblib.Parallel(2)(joblib.delayed(identity)(f) for f in [ask] * "
        "2)\n"
        "    print(*there, identity(ask))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(found) == 3
    assert len(set(found)) == 1


def padded(byte):
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    array = np.empty(3, dtype=dtype)
    array.view(np.uint8)[:] = byte
    array["a"], array["b"] = 1, 2.0
    return array


TABLE = np.arange(600.0).reshape(20, 30)


def cyclic():
    items = [1]
    items.append(items)
    return items


def unsorted():
    matrix = sparse.csr_matrix(([1.0, 2.0], [2, 0], [0, 2]), shape=(1, 3))
    return matrix, sparse.csr_matrix(([2.0, 1.0], [0, 2], [0, 2]), shape=(1, 3))


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (padded(0), padded(255)),
        (TABLE, np.asfortranarray(TABLE)),
        (np.arange(99.0), np.arange(99.0).astype(">f8")),
        (
            np.array(["a", None, 3], dtype=object),
            np.array(["a", None, 3], dtype=object),
        ),
        (np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 9], [0, 1])),
        unsorted(),
        (torch.ones(3, dtype=torch.bfloat16), torch.ones(6, dtype=torch.bfloat16)[::2]),
        (cyclic(), cyclic()),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (threading.Lock(), threading.Lock()),
        (asyncio.Semaphore(2), asyncio.Semaphore(2)),
        ([padded(0)] * 2, [padded(0), padded(1)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layout_does_not_count(one, same):
    """Padding, order in memory and shared references are not contents."""
    assert content_identity(one) == content_identity(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ("1", b"1"),
        ([1], (1,)),
        (np.float32([1]), np.float64([1])),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.longdouble([1.1]), np.nextafter(np.longdouble([1.1]), np.longdouble(2))),
        (np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [1, 0])),
        (torch.tensor(1.0), torch.tensor(2.0)),
        (["ab", "c"], ["a", "bc"]),
        (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
        (functools.partial(max, 1), functools.partial(min, 1)),
        (collections.OrderedDict(a=1), {"a": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_contents_count(one, other):
    """Types, shapes, masks and the last bit are contents."""
    assert content_identity(one) != content_identity(other)


def test_a_schema_is_read():
    """A pydantic model, as clients of language models take them, is its schema."""
    pydantic = pytest.importorskip("pydantic")

    def schema(default):
        return pydantic.create_model("Label", label=(str, default))

    assert content_identity(schema("a")) == content_identity(schema("a"))
    assert content_identity(schema("a")) != content_identity(schema("b"))
    assert "process-" not in content_identity(schema("a"))


def test_jobs_do_not_count():
    """How many processes answer changes no answer."""
    model = RandomForestClassifier(3, random_state=0).fit(X, Y)
    before = identity(model)
    assert identity(model.set_params(n_jobs=2, verbose=1)) == before
    assert identity(model.set_params(max_depth=1)) != before


def test_skops_keeps_identities():
    """Files that run no code when they are read keep who a teacher is."""
    io = pytest.importorskip("skops.io")
    for model in (LogisticRegression(), HistGradientBoostingClassifier(max_iter=3)):
        data = io.dumps(model.fit(X, Y))
        read = io.loads(data, trusted=io.get_untrusted_types(data=data))
        assert identity(read) == identity(model)
