"""The line that shows what a fit pays: drawn where a person looks, and true."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._utils import progress as _progress
from skadistill._utils.progress import ProgressLine
from skadistill.exceptions import TeacherError
from skadistill.teachers import FunctionTeacher

X = np.linspace(-1, 1, 80)[:, None]
Y = np.where(np.arange(80) % 8 == 0, X[:, 0] > 0, -1)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines_of(stream):
    return [text for text in stream.getvalue().split("\r") if text.strip()]


def make_distiller(ask=None, **params):
    teacher = FunctionTeacher(
        ask or (lambda X: X[:, 0] > 0), name="sign", cost_per_row=0.5
    )
    return ActiveDistiller(
        teacher,
        LogisticRegression(),
        query_strategy="margin",
        budget=20,
        query_size=5,
        random_state=0,
        **params,
    )


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    # Not sys.stderr itself, which pytest sets again before the test.
    monkeypatch.setattr(_progress, "sys", SimpleNamespace(stderr=stream, modules={}))
    return stream


def test_a_terminal_shows_rows_and_money(terminal):
    """From nothing paid to the whole bill, on one line."""
    make_distiller().fit(X, Y)
    assert terminal.getvalue().startswith(
        "\r[....................] paid for 0 of at most 20 rows, 0:00"
    )
    last = lines_of(terminal)[-1]
    assert last.startswith(
        "[####################] paid for 20 of at most 20 rows, cost 10, 0:0"
    )
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize("verbose", [0, False])
def test_verbose_0_shows_nothing(terminal, capsys, verbose):
    """Neither the line nor the records of rounds."""
    make_distiller(verbose=verbose).fit(X, Y)
    assert terminal.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_verbose_1_prints_rounds_and_no_line(terminal, capsys):
    """Lines of rounds would break a line that is drawn over itself."""
    make_distiller(verbose=1).fit(X, Y)
    assert terminal.getvalue() == ""
    assert capsys.readouterr().out.count("[ActiveDistiller]") == 5


def test_where_nobody_looks_nothing_is_drawn(monkeypatch, capsys):
    """A file, or no stream at all, gets no line."""
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        make_distiller().fit(X, Y)
        assert stream is None or stream.getvalue() == ""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    make_distiller().fit(X, Y)
    assert capsys.readouterr().out == ""


class Notebook:
    """Keeps the outputs of a cell as a saved notebook does."""

    def __init__(self):
        self.outputs = []
        self.display = SimpleNamespace(display=self.show)

    def get_ipython(self):
        return type("ZMQInteractiveShell", (), {})()

    def show(self, data, *, raw, display_id):
        assert raw
        assert display_id
        self.outputs.append(data)
        number = len(self.outputs) - 1

        def update(data, *, raw):
            self.outputs[number] = data

        return SimpleNamespace(update=update)


def test_a_saved_notebook_holds_one_line(monkeypatch, capsys):
    """The last one: the lines before it were replaced."""
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setattr(_progress, "_PAUSE", 0.0)
    make_distiller().fit(X, Y)
    (shown,) = notebook.outputs
    assert "paid for 20 of at most 20 rows, cost 10" in shown["text/plain"]
    make_distiller().fit(X, Y)
    assert len(notebook.outputs) == 2
    assert capsys.readouterr() == ("", "")


def test_a_warning_begins_at_the_start_of_its_line(terminal):
    """It does not go on behind the numbers."""

    def ask(rows):
        terminal.write("a warning about rows\n")
        return rows[:, 0] > 0

    make_distiller(ask).fit(X, Y)
    screen = [""]
    for letter in terminal.getvalue():
        if letter == "\n":
            screen.append("")
        elif letter == "\r":
            at = 0
        else:
            at = 0 if not screen[-1] else at
            screen[-1] = screen[-1][:at] + letter + screen[-1][at + 1 :]
            at += 1
    warned = [line for line in screen if "warning" in line]
    assert warned
    assert all(line.startswith("a warning about rows") for line in warned)


def test_a_fit_that_pays_nothing_shows_nothing(terminal):
    """With a budget of 0 there is nothing to wait for."""
    make_distiller().set_params(budget=0).fit(X, Y)
    assert terminal.getvalue() == ""


def test_clones_and_fits_within_fits_show_nothing(terminal):
    """A search would draw a line per candidate; a teacher may be a distiller."""
    clone(make_distiller()).fit(X, Y)
    assert terminal.getvalue() == ""

    def ask(rows):
        return make_distiller().fit(X, Y).predict(rows)

    make_distiller(ask).fit(X, Y)
    assert "paid for 20 of at most 20" in lines_of(terminal)[-1]
    assert terminal.getvalue().count("\n") == 1
    shown = terminal.getvalue()
    make_distiller(ask, verbose=0).fit(X, Y)
    assert terminal.getvalue() == shown


def test_a_fit_that_fails_leaves_what_was_paid(terminal):
    """The last numbers stay on the screen, and the next fit starts at 0."""
    calls = []

    def ask(rows):
        calls.append(len(rows))
        if len(calls) > 3:
            raise ConnectionError
        return rows[:, 0] > 0

    distiller = make_distiller(ask)
    with pytest.raises(TeacherError):
        distiller.fit(X, Y)
    line = terminal.getvalue()
    assert f"paid for {len(distiller.ledger_)} of at most 20 rows" in line
    assert line.endswith("\n")
    make_distiller().fit(X, Y)
    assert terminal.getvalue()[len(line) :].startswith("\r[.....")


def test_it_is_drawn_at_most_ten_times_a_second():
    """Many answers in a moment are one drawing; the last one is not lost."""
    stream, now = io.StringIO(), [0.0]
    line = ProgressLine(stream, clock=lambda: now[0])
    line.announce(1000)
    for _ in range(999):
        now[0] += 0.001
        line.count(1, None)
    assert len(lines_of(stream)) <= 11
    line.close()
    assert (
        stream.getvalue().rstrip().endswith("paid for 999 of at most 1000 rows, 0:00")
    )
    now[0] = 75.0
    line.announce(1000)
    now[0] += 65.0
    line.count(1, 0.25)
    assert stream.getvalue().endswith("rows, cost 0.25, 1:05\r")


def test_a_shorter_text_covers_a_longer_one():
    """No letters of the text before stay behind it."""
    stream = io.StringIO()
    line = ProgressLine(stream, clock=lambda: 0.0)
    line.announce(10**9)
    width = len(stream.getvalue()) - 2
    line.announce(1)
    assert len(stream.getvalue().split("\r")[-2]) == width
