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
    {"exceptions", "_validation", "_callbacks", "_compat"},
    {"objectives", "query", "datasets", "model_selection"},
    {"teachers", "student"},
    {"_distiller", "search"},
    {"export", "plotting"},
]
# Stands outside: it may look into every room, and no room looks at it.
OUTSIDE = "testing"
NOT_VERBS = {
    *("A", "An", "The", "This", "That", "These", "It", "Its", "All", "Each", "Every"),
    *("Class", "Function", "Method", "Object", "Helper", "Wrapper", "Base", "Mixin"),
    *("One", "Some", "Any", "No", "If", "When", "For", "In", "On", "Of", "To", "With"),
}
VERBS_IN_S = {"Pass", "Guess", "Process", "Express", "Press", "Discuss", "Focus"}


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
ROOMS = sorted(name for name in FILES if FILES[name].name == "__init__.py")[1:]


def room_of(module):
    """Return the room a module belongs to; the front door is its own."""
    part = module.split(".")[1] if "." in module else module
    if part.startswith("_") and floor_of(part) is None:
        # Private files beside the estimator are parts that it was cut into.
        return "_distiller"
    return part


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
        for neighbour in graph.get(node, ()):
            if cycle := visit(neighbour):
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
        return "calls on a neighbour"
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
    """No file imports from above, from a neighbour or through the front door."""
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
        ("skadistill.query._game", "skadistill.exceptions", None),
        ("skadistill.query._game", "skadistill.query._base", None),
        ("skadistill._distiller", "skadistill.query", None),
        ("skadistill._distiller", "skadistill._rounds", None),
        ("skadistill", "skadistill._distiller", None),
        ("skadistill.testing", "skadistill.plotting", None),
        ("skadistill._compat", "skadistill.exceptions", None),
        ("skadistill.query._game", "skadistill.datasets", "calls on a neighbour"),
        ("skadistill.search._cv", "skadistill._rounds", "calls on a neighbour"),
        ("skadistill.query._game", "skadistill.teachers._ledger", "goes up"),
        ("skadistill._validation", "skadistill.student", "goes up"),
        ("skadistill.query._game", "skadistill", "goes through the front door"),
        ("skadistill.query._game", "._base", "imports relatively"),
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


def first_line_fault(text):
    """Say what is wrong with a docstring's first line, or nothing."""
    if not text:
        return "there is none"
    line = text.splitlines()[0]
    first = re.match(r"[^\s,;:.]*", line).group()
    if not re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)?", first):
        return "it does not begin with a capitalised word"
    if first in NOT_VERBS:
        return f"{first!r} is no verb"
    if (first.endswith("s") and first not in VERBS_IN_S) or first.endswith("ing"):
        return f"{first!r} is not imperative"
    return None if line.endswith(".") else "it is not one sentence"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Return the mask.", None),
        ("Re-read the file.\n\nMore.", None),
        ("Pass labels on.", None),
        ("", "there is none"),
        (None, "there is none"),
        ("return the mask.", "it does not begin with a capitalised word"),
        ("The mask.", "'The' is no verb"),
        ("Returns the mask.", "'Returns' is not imperative"),
        ("Masking rows.", "'Masking' is not imperative"),
        ("Return the mask", "it is not one sentence"),
    ],
)
def test_the_judge_of_first_lines_is_fair(text, fault):
    """Verb phrases pass; everything else is told what it lacks."""
    assert first_line_fault(text) == fault


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_exist_and_say_what_they_do(room):
    """Each name in a room's __all__ exists; functions and classes open with a verb."""
    module = importlib.import_module(room)
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    faults = {}
    for name in module.__all__:
        found = getattr(module, name)
        if inspect.isroutine(found) or inspect.isclass(found):
            # Not inspect.getdoc, which would borrow a parent's docstring.
            faults[name] = first_line_fault(found.__doc__)
        if inspect.isclass(found) and issubclass(found, BaseException):
            # An error states what happened, it does nothing.
            faults[name] = None if found.__doc__ else "there is none"
    assert {name: fault for name, fault in faults.items() if fault} == {}
