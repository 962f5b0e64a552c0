"""The house rules that a program can check."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import skadistill

ROOT = Path(skadistill.__file__).parent
TESTS = Path(__file__).parent

FLOORS = [
    {"exceptions", "_utils", "_statistics"},
    {"_rows", "stopping", "callbacks"},
    {"ledger", "objectives", "query", "datasets"},
    {"teachers", "student"},
    {"soft_labels", "labeling", "llm"},
    {"checking"},
    {"_fit", "search"},
    {"_fitted"},
    {"_distiller"},
    {"deploy", "export", "model_selection", "plotting"},
]
# Stands outside: it may look into every room, and no room looks at it.
OUTSIDE = "testing"


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
PUBLIC = sorted(
    name
    for name in FILES
    if FILES[name].name == "__init__.py" and "._" not in name and "." in name
)


def room_of(module):
    """Return the folder or top-level file a module belongs to."""
    return module.split(".")[1] if "." in module else module


def floor_of(room):
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    return None


def imports_of(source, package, modules):
    """List the modules of the package that a source text imports, and from where.

    ``from package.room import name`` is an import of ``package.room.name`` where
    that is a module, of ``package.room`` otherwise.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.append((full if full in modules else base, node.lineno))
    inside = re.compile(rf"{package}(\.|$)|\.")
    return [(module, line) for module, line in found if inside.match(module)]


def cycle_in(graph):
    """Return one cycle of a graph as a list of nodes, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        path.append(node)
        for neighbor in graph.get(node, ()):
            if cycle := visit(neighbor):
                return cycle
        path.pop()
        done.add(node)
        return None

    for start in graph:
        if cycle := visit(start):
            return cycle
    return None


def complaints_about(module, imported):
    """Say what is wrong with one import, or nothing."""
    if imported.startswith("."):
        return "imports relatively"
    if imported == "skadistill":
        return "goes through the front door"
    here, there = room_of(module), room_of(imported)
    if here == there or here in (OUTSIDE, "skadistill"):
        return None
    if there == OUTSIDE:
        return "looks at the kit that stands outside"
    if floor_of(there) is None:
        return f"enters {there}, which has no floor"
    if floor_of(there) > floor_of(here):
        return "goes up"
    if floor_of(there) == floor_of(here) > 0:
        return "calls on a neighbor"
    return None


IMPORTS = {
    module: imports_of(path.read_text(encoding="utf8"), "skadistill", FILES)
    for module, path in FILES.items()
}


def test_every_room_has_a_floor():
    """No file or folder of the package is missing from the plan of the house."""
    rooms = {room_of(module) for module in FILES} - {"skadistill", OUTSIDE}
    assert sorted(room for room in rooms if floor_of(room) is None) == []


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down_only(module):
    """No file imports from above, from a neighbor or through the front door."""
    wrong = [
        f"{FILES[module].relative_to(ROOT.parent)}:{line} {complaint} ({imported})"
        for imported, line in IMPORTS[module]
        if (complaint := complaints_about(module, imported))
    ]
    assert wrong == []


def test_imports_make_no_circle():
    """The files of the package can be sorted so that each imports earlier ones."""
    graph = {
        module: sorted({imported for imported, _ in found} & FILES.keys())
        for module, found in IMPORTS.items()
    }
    assert cycle_in(graph) is None


def private_sklearn_imports(source):
    """List the private names of scikit-learn that a source text imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [
            name
            for name in names
            if name.startswith("sklearn.") and re.search(r"\._[^_]", name)
        ]
    return found


@pytest.mark.parametrize("module", sorted(FILES.keys() - {"skadistill._utils.compat"}))
def test_private_names_of_scikit_learn_are_in_one_file(module):
    """Only `_utils.compat` imports private names of scikit-learn."""
    assert private_sklearn_imports(FILES[module].read_text(encoding="utf8")) == []


def test_private_names_of_scikit_learn_are_found():
    """A private module and a private function are found, public names are not."""
    source = """
import sklearn.base
from sklearn.model_selection._search import BaseSearchCV
def f():
    from sklearn.utils import _safe_indexing, check_random_state
from skadistill._utils.compat import __all__
"""
    assert private_sklearn_imports(source) == [
        "sklearn.model_selection._search.BaseSearchCV",
        "sklearn.utils._safe_indexing",
    ]


def longest_chain(graph):
    """Return the longest path in a graph without cycles, as a list of nodes."""
    longest = {}

    def chain(node):
        if node not in longest:
            below = max((chain(n) for n in graph.get(node, ())), key=len, default=[])
            longest[node] = [node, *below]
        return longest[node]

    return max((chain(node) for node in graph), key=len, default=[])


def test_query_is_shallow():
    """A reader of the query strategies follows at most five files, one by one."""
    room = [module for module in FILES if room_of(module) == "query"]
    graph = {
        module: {imported for imported, _ in IMPORTS[module]} & set(room)
        for module in room
    }
    assert len(longest_chain(graph)) <= 5, longest_chain(graph)


def test_the_longest_chain_is_found():
    """Behind a branch, and of nodes that only others name."""
    assert longest_chain({"a": ["b", "d"], "b": ["c"], "c": ["e"]}) == list("abce")
    assert longest_chain({}) == []


def test_tests_do_not_lean_on_benchmarks():
    """No test imports a benchmark."""
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in TESTS.rglob("*.py")
        for _, line in imports_of(path.read_text(encoding="utf8"), "benchmarks", {})
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "imported", "complaint"),
    [
        ("skadistill.query._robust", "skadistill.exceptions", None),
        ("skadistill.query._robust", "skadistill.query._base", None),
        ("skadistill._distiller", "skadistill.query", None),
        ("skadistill._distiller", "skadistill._fit.state", None),
        ("skadistill", "skadistill._distiller", None),
        ("skadistill.testing", "skadistill.plotting", None),
        ("skadistill._utils.compat", "skadistill.exceptions", None),
        ("skadistill.ledger._sql", "skadistill.teachers._base", "goes up"),
        ("skadistill.query._robust", "skadistill.datasets", "calls on a neighbor"),
        ("skadistill.search._cv", "skadistill._fit.state", "calls on a neighbor"),
        ("skadistill._utils.interrupts", "skadistill._rows._keys", "goes up"),
        ("skadistill._rows._keys", "skadistill._utils.interrupts", None),
        ("skadistill.query._robust", "skadistill.ledger._base", "calls on a neighbor"),
        ("skadistill._utils.validation", "skadistill.student", "goes up"),
        ("skadistill.query._robust", "skadistill", "goes through the front door"),
        ("skadistill.query._robust", "._base", "imports relatively"),
        ("skadistill.query", "skadistill.testing", "looks at the kit that stands out"),
        ("skadistill.query", "skadistill.attic", "enters attic, which has no floor"),
    ],
)
def test_the_rules_tell_right_from_wrong(module, imported, complaint):
    """Each rule complains about its own breach and about nothing else."""
    found = complaints_about(module, imported)
    assert found is complaint is None or found.startswith(complaint)


def test_the_reader_of_imports_sees_every_kind():
    """Plain, aliased, nested, whole-module and relative imports are all found."""
    source = """
import numpy, skadistill.a.b as c
from skadistill.a import b, name
from skadistill import a
def f():
    from skadistill import __version__
    from ._x import y
"""
    modules = {"skadistill", "skadistill.a", "skadistill.a.b"}
    assert imports_of(source, "skadistill", modules) == [
        ("skadistill.a.b", 2),
        ("skadistill.a.b", 3),
        ("skadistill.a", 3),
        ("skadistill.a", 4),
        ("skadistill", 6),
        ("._x", 7),
    ]


def test_the_finder_of_circles_finds_them():
    """A circle is found behind a tail and past finished branches; a tree has none."""
    assert cycle_in({"a": ["b", "c"], "b": ["c"], "c": []}) is None
    found = cycle_in({"a": ["x", "b"], "x": [], "b": ["c"], "c": ["d"], "d": ["b"]})
    assert found == ["b", "c", "d", "b"]


@pytest.mark.parametrize("module", FILES)
def test_every_file_says_what_it_holds(module):
    """Every file begins with a docstring whose first line is a sentence."""
    text = ast.get_docstring(ast.parse(FILES[module].read_text(encoding="utf8")))
    assert text, f"{module} has no docstring"
    assert re.search(r"[.:?]$", text.split("\n\n")[0].strip()), text.splitlines()[0]


@pytest.mark.parametrize("room", PUBLIC)
def test_public_names_exist_and_are_documented(room):
    """Each name in a folder's __all__ exists, once, with a docstring of its own."""
    module = importlib.import_module(room)
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    objects = {name: getattr(module, name) for name in module.__all__}
    assert [n for n, o in objects.items() if callable(o) and not o.__doc__] == []


# Returned by public functions, and documented, but not exported.
RETURNED = {"Forecast", "ShareEstimate"}
SECTION = re.compile(r"^(?:Parameters|Returns|Yields|Raises|Examples)\n-{3,}$", re.M)


def reachable(obj):
    """Return the full names of an object and its public methods, inherited or not."""
    found = {f"{obj.__module__}.{obj.__qualname__}"}
    for owner in getattr(obj, "__mro__", ()):
        for name, value in vars(owner).items():
            # Properties, class methods, cached and conditional methods hold another.
            for inside in ("fget", "__func__", "func", "fn"):
                value = getattr(value, inside, None) or value
            if inspect.isfunction(value) and (name == "__call__" or name[0] != "_"):
                found.add(f"{value.__module__}.{value.__qualname__}")
    return found


def public_code():
    """Return the full names of the classes, functions and methods that users reach."""
    found = set()
    for name in FILES:
        module = importlib.import_module(name)
        public = RETURNED if "._" in name else getattr(module, "__all__", ())
        for obj in (getattr(module, each, None) for each in public):
            if callable(obj):
                found |= reachable(obj)
    return found


def documented_code(module, source):
    """Yield the full name and the docstring of each class and function of a source."""

    def visit(node, inside):
        for child in ast.iter_child_nodes(node):
            here = inside
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                here = f"{inside}.{child.name}"
                yield here, ast.get_docstring(child) or ""
            yield from visit(child, here)

    yield from visit(ast.parse(source), module)


def test_private_code_has_no_reference_documentation():
    """Sections for parameters and results are written where somebody can open them."""
    public = public_code()
    assert len(public) > 200
    private = [
        name
        for module, path in FILES.items()
        for name, text in documented_code(module, path.read_text(encoding="utf8"))
        if SECTION.search(text) and name not in public
    ]
    assert private == []


def test_reference_documentation_is_found():
    """Of methods and of functions inside functions; a word alone is not a section."""
    text = "Do.\n\n    Returns\n    -------\n    x : int\n        It.\n    "
    source = f'''
class A:
    def f(self):
        """{text}"""

def g():
    """Do what Returns does."""
    def h():
        """{text}"""
'''
    found = [name for name, doc in documented_code("m", source) if SECTION.search(doc)]
    assert found == ["m.A.f", "m.g.h"]
