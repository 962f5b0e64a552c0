"""What a user reads says it in the field's words, and in the order of English."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import skadistill

ROOT = Path(skadistill.__file__).parent
PROJECT = ROOT.parent

# Each with what to write instead.
PATTERNS = {
    r"\b(?:the|a|whole|small|equal|same|expected|larg\w+) bills?\b": "cost, labels",
    r"\bbills every\b": "charges for every",
    r"\b(?:is|are|was|were|be) right on (?!all\b)": "is 95 % accurate",
    r"\b(?:rows?|those|texts?|labels?|cases|students?|teachers?)"
    r" (?:of|on|in|with|about) which\b": "rows that the teacher gets wrong",
    r"\b(?:of|with|on) which (?:there|the|a|one|each|every|either|both)\b": "whose",
    r"\b(?:rows|endpoints|data) (?:decide|that decide)\b": "depends on the data",
    r"\b(?:plays?|played|playing) (?!no part)": "use, strategy",
    r"\bdoubt(?:ed|ful)\b": "distrusted, suspect",
    r"\bhides? kinds\b|\bclasses with parts\b": "hidden subclasses",
    r"\ba text\b(?! (?:column|encoder))": "a string",
    r"\b(?:drawn evenly|evenly drawn|even rows?)\b": "uniform sample",
    r"\bjudge[sd]?\b(?!\()": "evaluate, score",
    r"\bin the mean\b": "on average",
    r"\bfor nothing\b(?! else)": "at no cost, in vain",
    r"\bwrong where\b": "wrong if",
    r"(?<!there )\bis no (?:file|ledger|label|number|text|row)\b": "is not a",
    r"\bforbids? to\b": "forbids ...ing",
    r"\bsomething else than\b": "disagrees with",
    r"\bheld against\b": "compared with",
    r"\brows? that teach\b|\bteach(?:es)? (?:it )?(?:most|a little)\b": "learns from",
    r"\bby turns\b|\bas much again\b|\bof the moment\b": "alternately",
    r"\bgoes? nowhere\b": "is ignored",
    r"\bfound out by\b": "detected by",
    r"\badmits? the\b": "allows",
    r"\bcomes? to the client\b": "is sent to",
    r"\bas they come in use\b": "distributed as in production",
    r"\bone number a row\b": "one value per row",
    r"\brows repeat each other\b": "near-duplicates",
    r"\b[Ll]asts for hours\b": "takes hours",
    r"\bfrom which (?:text|file|row)\b": "whose",
}
# Words of others: a paper's term, a transcript, a model's name.
ALLOWED = {
    'model="judge"',
    "judge_prompt",
}


def complaints(text):
    """Return the phrases of a text that a native reader would notice."""
    flat = " ".join(text.split())
    for word in ALLOWED:
        flat = flat.replace(word, "")
    return [
        f"{found[0]!r}: {better}"
        for pattern, better in PATTERNS.items()
        for found in re.finditer(pattern, flat)
    ]


def pages():
    """Yield each page and example."""
    docs = PROJECT / "docs"
    yield PROJECT / "README.md"
    # The changelog tells what was, in the words of its time.
    yield from sorted({*docs.glob("*.rst")} - {docs / "changelog.rst"})
    yield from sorted(docs.glob("api/*.rst"))
    yield from sorted((PROJECT / "examples").glob("*.py"))


def public_docstrings():
    """Map the full names of what users reach to its docstring."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        if any(part[0] == "_" and part != "__init__" for part in parts):
            continue
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for obj in (getattr(module, name) for name in module.__all__):
            found |= docstrings_of(obj)
    return found


def docstrings_of(obj):
    """Map a class or function and its public methods to their docstrings."""
    if not getattr(obj, "__module__", "").startswith("skadistill"):
        return {}
    found = {f"{obj.__module__}.{obj.__qualname__}": obj.__doc__ or ""}
    for owner in getattr(obj, "__mro__", ()):
        for name, value in vars(owner).items():
            text = getattr(value, "__doc__", None)
            ours = owner.__module__.startswith("skadistill") and name[0] != "_"
            if ours and isinstance(text, str) and not inspect.isclass(value):
                found[f"{owner.__module__}.{owner.__qualname__}.{name}"] = text
    return found


def messages(source):
    """Return the texts of errors, warnings and log lines in a source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for given in [*node.args, *(k.value for k in node.keywords)]:
                text = text_of(given)
                if len(text.split()) > 3:
                    found.append(text)
    return found


def text_of(node):
    """Return what is written in a string or an f-string; values are an ellipsis."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "..." for part in node.values)
    return ""


@pytest.mark.parametrize("path", list(pages()), ids=lambda path: path.name)
def test_pages_and_examples_read_as_english(path):
    """No page holds a phrase of the list."""
    if not path.exists():
        pytest.skip("needs the sources")
    assert complaints(path.read_text(encoding="utf8")) == []


def test_reference_reads_as_english():
    """No docstring of a public name holds a phrase of the list."""
    found = public_docstrings()
    assert len(found) > 200
    wrong = {name: complaints(text) for name, text in found.items()}
    assert {name: what for name, what in wrong.items() if what} == {}


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_messages_read_as_english(path):
    """No error, warning or log line holds a phrase of the list."""
    found = messages(path.read_text(encoding="utf8"))
    wrong = {text: complaints(text) for text in found}
    assert {text: what for text, what in wrong.items() if what} == {}


@pytest.mark.parametrize(
    ("text", "n_found"),
    [
        ("The rows on which\nthe teacher is wrong", 1),
        ("The student is right on 95 % of new rows", 1),
        ("Labels paid are the whole bill", 1),
        ("Rows are drawn evenly, at no cost", 1),
        ("It must be a text", 1),
        ("It must be a text column", 0),
        ("which of which", 0),
        ("The student is 95 % accurate, on average", 0),
        ("rows used for nothing else", 0),
    ],
)
def test_phrases_are_found(text, n_found):
    """Across line ends, and not in other words."""
    assert bool(complaints(text)) == n_found


def test_messages_are_found():
    """In calls, with and without values in them; docstrings are something else."""
    source = '''
def f(x):
    """Return a text."""
    raise ValueError(f"the name is {x}, " "which is not a text; pass a string")
'''
    assert messages(source) == ["the name is ..., which is not a text; pass a string"]
