"""The README runs, shows the numbers that were kept, and points to what is there."""

import ast
import re
import textwrap
import tomllib
from pathlib import Path

import pytest

import skadistill

ROOT = Path(skadistill.__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").exists(), reason="needs the sources"
)


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text(encoding="utf8")


def test_its_lines_are_those_of_the_first_page(readme):
    """The first block of Python is what tests/test_docs.py runs, but for the comments.

    The second one is run by tests/llm.
    """
    block, _ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    page = (ROOT / "docs" / "index.rst").read_text(encoding="utf8")
    shown = re.search(r"code-block:: python\n\n((?: {4}.*\n|\n)+)", page)[1]
    assert ast.dump(ast.parse(block)) == ast.dump(ast.parse(textwrap.dedent(shown)))


def test_its_table_is_the_kept_one(readme):
    """Labels paid, means and deviations are those of benchmarks/results."""
    rows = re.findall(
        r"^\| ([a-z ]+?) +\| +(\d*) \| +([\d.]+) (\(.*?\)) \|$", readme, re.M
    )
    kept = (RESULTS / "quickstart.md").read_text(encoding="utf8")
    digits = kept.partition("digits:")[2].partition("letter:")[0]
    expected = re.findall(r"^([a-z ]+?) {2,}(\d*) +([\d.]+) +(\(.*\))$", digits, re.M)
    named = [
        (f"{who} rows" if paid else who, paid, *rest) for who, paid, *rest in expected
    ]
    assert rows == named
    assert len(rows) == 4
    letter = re.findall(
        r"^[a-z ]+ {2,}(?:\d+)? +([\d.]+) ", kept.partition("letter:")[2], re.M
    )
    said = re.search(r"for 26 letters: ([\d.]+) alone, ([\d.]+) .*?, ([\d.]+)", readme)
    assert list(said.groups()) == letter[1:]


def test_it_points_to_what_is_there(readme):
    """Files, folders, measurements and optional dependencies that it names exist."""
    targets = re.findall(r"\]\((?!http)([^)]+)\)", readme)
    targets += re.findall(r"`((?:docs|examples|benchmarks)/[^`]*)`", readme)
    assert len(targets) >= 7
    assert [path for path in targets if not (ROOT / path).exists()] == []
    section = readme.partition("## Results")[2].partition("## Status")[0]
    named = re.findall(r"\(`(\w+)`", section)
    assert len(named) >= 8
    assert [name for name in named if not (RESULTS / f"{name}.md").exists()] == []
    extras = set(re.findall(r'pip install "\.\[(\w+)\]"', readme))
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    declared = tomllib.loads(pyproject)["project"]["optional-dependencies"]
    assert extras == declared.keys()
    everything = re.search(r"\[(.*)\]", declared["all"][0])[1].split(",")
    assert set(everything) == declared.keys() - {"all"}
