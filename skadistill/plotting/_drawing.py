"""What displays share: axes to draw on and a table to read."""

from abc import ABC, abstractmethod
from typing import Any

from skadistill._utils.optional import require

__all__ = ["Display", "make_frame"]


class Display(ABC):
    """Base class of displays; a subclass draws in `_draw`."""

    def plot(self, ax: Any = None) -> Any:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : object
            This display, with the artists as attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = make_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax)
        return self

    @abstractmethod
    def _draw(self, ax):
        """Draw on the axes and keep the artists as attributes."""


def make_axes(ax=None):
    """Return axes to draw on; None makes a new figure. Imports matplotlib lazily."""
    pyplot = require("matplotlib.pyplot", "plotting")
    return pyplot.subplots()[1] if ax is None else ax


def make_frame(columns):
    """Return a dict of columns, or a list of rows, as a DataFrame."""
    return require("pandas", "pandas").DataFrame(columns)
