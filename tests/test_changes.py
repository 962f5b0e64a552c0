"""Fragments of the changelog end up under their version, each once."""

import importlib.util
from pathlib import Path

import pytest

import skadistill

PATH = Path(skadistill.__file__).parents[1] / "docs" / "_extensions" / "changes.py"

pytestmark = pytest.mark.skipif(not PATH.exists(), reason="needs the sources")

PAGE = """\
Changelog
=========

.. include:: assembled/changes.rst
"""


@pytest.fixture
def changes():
    spec = importlib.util.spec_from_file_location("changes", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "changes").mkdir()
    (tmp_path / "changelog.rst").write_text(PAGE)
    write(tmp_path, "0001.fixed.rst", "A bug.\n")
    write(tmp_path, "0002.new.rst", "A table:\n\n.. csv-table::\n\n   a, b\n")
    return tmp_path


def write(docs, name, text):
    (docs / "changes" / name).write_text(text)


def test_fragments_are_one_item_each_by_kind(changes, docs):
    """What is new comes first; further paragraphs stay inside their item."""
    assert changes.unreleased(docs / "changes") == (
        "Not released yet\n----------------\n\n"
        "New\n~~~\n\n- A table:\n\n  .. csv-table::\n\n     a, b\n\n"
        "Fixed\n~~~~~\n\n- A bug.\n"
    )


def test_nothing_to_release_is_no_section(changes, docs):
    """After a release the page starts with the newest version."""
    changes.release(docs, "0.1.0", "2026-11-27")
    assert changes.unreleased(docs / "changes") == ""


def test_a_release_moves_fragments_into_the_page(changes, docs):
    """They are deleted, so that the next release does not repeat them."""
    assert changes.release(docs, "0.1.0", "2026-11-27") == 2
    assert list((docs / "changes").iterdir()) == []
    assert (docs / "changelog.rst").read_text() == PAGE + (
        "\n0.1.0 (2026-11-27)\n------------------\n\n"
        "New\n~~~\n\n- A table:\n\n  .. csv-table::\n\n     a, b\n\n"
        "Fixed\n~~~~~\n\n- A bug.\n"
    )


def test_late_fragments_join_the_section_of_their_version(changes, docs):
    """A second run keeps what the first and an editor wrote, and the older versions."""
    changes.release(docs, "0.1.0", "2026-11-20")
    write(docs, "0003.new.rst", "A name.")
    changes.release(docs, "0.1.1", "2026-11-21")
    page = docs / "changelog.rst"
    edited = "0.1.1 (2026-11-21)\n------------------\n\nA sentence about it.\n"
    page.write_text(page.read_text().replace(edited[:38], edited))
    write(docs, "0004.breaking.rst", "Another.")
    write(docs, "0005.new.rst", "A second name.")
    changes.release(docs, "0.1.1", "2026-11-22")
    newest, oldest = page.read_text().split("0.1.0 (2026-11-20)\n")
    assert newest == PAGE + (
        "\n0.1.1 (2026-11-22)\n------------------\n\nA sentence about it.\n\n"
        "New\n~~~\n\n- A name.\n\n- A second name.\n\n"
        "Breaking\n~~~~~~~~\n\n- Another.\n\n"
    )
    assert oldest.count("- A bug.") == 1


def test_releasing_twice_changes_nothing(changes, docs):
    """Without new fragments the page stays as it is."""
    changes.release(docs, "0.1.0", "2026-11-27")
    before = (docs / "changelog.rst").read_text()
    assert changes.release(docs, "0.1.0", "2026-11-27") == 0
    assert (docs / "changelog.rst").read_text() == before
