"""Whose code a function is made of: the user's own, or a package's."""

import sys

import pytest

from skadistill._identity.code import _installed_into, is_users
from skadistill.teachers import as_teacher


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a folder that modules are imported from and forgotten again."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    is_users.cache_clear()
    _installed_into.cache_clear()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    is_users.cache_clear()
    _installed_into.cache_clear()


def install(folder, name, record="RECORD", info="dist-info"):
    """Put a package and its metadata there, as pip or a build tool would."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(
        "__version__, TABLE = '1.0', [0.0]\n"
        "class Model:\n"
        "    def predict(self, X):\n"
        "        return [int(row[0] > TABLE[0]) for row in X]\n"
    )
    metadata = folder / f"{name}-1.0.{info}"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    (metadata / record).write_text(f"{name}/__init__.py,,\n")


def test_packages_in_any_folder_are_told_from_the_code_beside_them(folder):
    """As in a layer of a cloud function: pip install --target, and a script."""
    install(folder, "vendored_package")
    install(folder, "developed_package", record="SOURCES.txt", info="egg-info")
    (folder / "handler_beside.py").write_text("CUT = 0.0\n")
    assert not is_users("vendored_package")
    assert is_users("handler_beside")
    assert is_users("developed_package")
    import handler_beside  # noqa: F401
    import vendored_package  # noqa: F401

    is_users.cache_clear()
    assert not is_users("vendored_package.part")
    assert is_users("handler_beside")


def test_the_code_of_a_vendored_package_is_not_read(folder):
    """What it holds is not read: it may be megabytes of code."""
    install(folder, "vendored_package")
    import vendored_package

    first = as_teacher(vendored_package.Model().predict).identity
    vendored_package.TABLE[0] = 1.0
    assert as_teacher(vendored_package.Model().predict).identity == first


def test_the_users_code_beside_it_counts_by_its_contents(folder):
    """A change of the script makes another teacher."""
    install(folder, "vendored_package")
    (folder / "handler_beside.py").write_text(
        "CUT = 0.0\ndef ask(X):\n    return [int(row[0] > CUT) for row in X]\n"
    )
    import handler_beside

    first = as_teacher(handler_beside.ask).identity
    handler_beside.CUT = 1.0
    assert as_teacher(handler_beside.ask).identity != first
