"""What a user passes as a ledger becomes one."""

from pathlib import Path

import pytest

from skadistill.exceptions import LedgerError
from skadistill.ledger import LabelLedger, MemoryLedger, row_keys
from skadistill.ledger._as_ledger import as_ledger


def test_a_ledger_is_returned_as_it_is():
    """Also one of a user's own, if it has the four methods."""

    class Own:
        lookup = record = claim = release = None

    for ledger in (MemoryLedger(), Own()):
        assert as_ledger(ledger) is ledger


def test_none_is_a_new_ledger_in_memory():
    """Each time another one."""
    assert isinstance(as_ledger(None), MemoryLedger)
    assert as_ledger(None) is not as_ledger(None)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_is_opened(path, kind):
    """The same path gives the same labels."""
    keys = row_keys(["x"])
    as_ledger(kind(path)).record(keys, "t", ["a", "b"], [[0.5, 0.5]])
    ledger = as_ledger(kind(path))
    assert isinstance(ledger, LabelLedger)
    assert ledger.lookup(keys, "t", ["a", "b"])[0].all()


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    """As in a shell, whoever opens the file: a text, a path or the class."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    keys = row_keys(["x"])
    as_ledger("~/labels.sqlite").record(keys, "t", ["a", "b"], [[0.5, 0.5]])
    assert (tmp_path / "labels.sqlite").exists()
    for again in (as_ledger(Path("~/labels.sqlite")), LabelLedger("~/labels.sqlite")):
        assert again.lookup(keys, "t", ["a", "b"])[0].all()


def test_a_url_is_connected_to(postgres_url):
    """With a driver in it, and without."""
    for url in (postgres_url, postgres_url.replace("+psycopg", "")):
        ledger = as_ledger(url)
        assert len(ledger) == 0
        ledger.check()
        ledger.close()


@pytest.mark.parametrize(
    ("ledger", "message"),
    [
        (3, "ledger is 3 of type int; pass a ledger, the path"),
        ("mysql://host/labels", "a URL of the scheme 'mysql'"),
        ({}, "of type dict"),
    ],
)
def test_what_is_not_a_ledger_is_an_error(ledger, message):
    """It names the value and what to pass."""
    with pytest.raises(LedgerError, match=message):
        as_ledger(ledger)
