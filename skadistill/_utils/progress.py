"""A line on the screen that shows what a fit pays, while it pays."""

import functools
import sys
from contextvars import ContextVar
from time import monotonic
from typing import Any

__all__ = ["ProgressLine", "announce", "count_paid", "with_progress"]

# Seconds between two drawings; an answer in between is shown by the next one.
_PAUSE = 0.1
_N_MARKS = 20

# The line of the fit that runs, on which payments are counted; False if it shows none,
# so that a fit inside it, of a teacher that is a distiller, shows none either.
_LINE: ContextVar = ContextVar("progress line", default=None)


class ProgressLine:
    """Draw rows and money paid so far on one line of a stream, or as a cell's output.

    Nothing is written before the first call of `announce`. `display` is IPython's: what
    it shows is replaced, so that a saved notebook keeps the last line alone.
    """

    def __init__(self, stream=None, clock=monotonic, display=None):
        self.stream = stream
        self.display = display
        self.clock = clock
        self.n_rows = 0
        self.cost = 0.0
        self._total = None
        self._width = 0
        self._shown = None  # in a notebook

    def announce(self, total):
        """Draw the empty line, for at most `total` rows."""
        self._total = total
        self._start = self.clock()
        self._draw()

    def count(self, n_rows, cost):
        """Add rows that were paid for, and their cost if it is known."""
        self.n_rows += n_rows
        self.cost += cost or 0.0
        if self._total is not None and self.clock() - self._drawn >= _PAUSE:
            self._draw()

    def close(self):
        """Draw the final numbers and end the line."""
        if self._total is not None:
            self._draw()
            if self.stream is not None:
                self.stream.write("\n")
                self.stream.flush()
            self._total = self._shown = None

    def _draw(self):
        self._drawn = self.clock()
        text = self._text()
        if self.display is not None:
            shown = {"text/plain": text}
            if self._shown is None:
                self._shown = self.display(shown, raw=True, display_id=True)
            else:
                self._shown.update(shown, raw=True)
            return
        # Blanks cover what is left of a longer text. The cursor waits at the start of
        # the line, so that a warning begins there, not behind the text.
        self.stream.write("\r" + text.ljust(self._width) + "\r")
        self.stream.flush()
        self._width = len(text)

    def _text(self):
        share = min(self.n_rows / self._total, 1.0) if self._total else 1.0
        marks = "#" * int(share * _N_MARKS)
        seconds = int(self._drawn - self._start)
        money = f", cost {self.cost:.4g}" if self.cost else ""
        return (
            f"[{marks.ljust(_N_MARKS, '.')}] paid for {self.n_rows} of at most "
            f"{self._total} rows{money}, {seconds // 60}:{seconds % 60:02d}"
        )


def announce(total):
    """Tell the line of this fit, if it has one, how many rows may be paid for."""
    if line := _LINE.get():
        line.announce(total)


def count_paid(n_rows, cost):
    """Count rows that were just paid for on the line of this fit, if it has one."""
    if line := _LINE.get():
        line.count(n_rows, cost)


def interactive_line():
    """Return a line where a person is watching, or None."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if type(shell).__name__ == "ZMQInteractiveShell":
        return ProgressLine(display=ipython.display.display)
    stream = sys.stderr
    try:
        seen = stream is not None and stream.isatty()
    except ValueError:  # closed
        seen = False
    return ProgressLine(stream) if seen else None


def with_progress(fit):
    """Show a line during a fit whose `verbose` is "auto", if a person is watching.

    Clones show none, since a search fits many of them, and neither does a fit inside
    another one.
    """

    @functools.wraps(fit)
    def shown(self, *args, **kwargs):
        # Only the outermost fit draws.
        line, is_inner = None, _LINE.get() is not None
        if self.verbose == "auto" and self._clone_ledger is None and not is_inner:
            line = interactive_line()
        token = _LINE.set(line or False)
        try:
            return fit(self, *args, **kwargs)
        finally:
            _LINE.reset(token)
            if line:
                line.close()

    return shown
