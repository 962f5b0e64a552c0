"""What displays share: axes to draw on, a table to read, and who is missing."""

from abc import ABC, abstractmethod

__all__ = ["Display", "make_frame"]


class Display(ABC):
    """Draw numbers that can also be read; a subclass says how, in `_draw`."""

    def plot(self, ax=None):
        """Draw what the class describes.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        display : object
            This display, with the artists.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        ax = make_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax)
        return self

    @abstractmethod
    def _draw(self, ax):
        """Draw on the axes and keep the artists as attributes."""


def make_axes(ax=None):
    """Return axes to draw on; matplotlib is imported only here.

    Parameters
    ----------
    ax : matplotlib Axes or None, default=None
        Returned as they are. None: those of a new figure.

    Returns
    -------
    ax : matplotlib Axes
        Where to draw.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "drawing needs matplotlib, which is missing; run `pip install "
            "matplotlib`, or look at the numbers in `frame`."
        ) from error
    return plt.subplots()[1] if ax is None else ax


def make_frame(columns):
    """Return columns as a table; pandas is imported only here.

    Parameters
    ----------
    columns : dict of array-like, or list of dict
        Columns by name, all of one length; or rows.

    Returns
    -------
    frame : pandas.DataFrame
        The table.

    Raises
    ------
    ImportError
        If pandas is missing.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "the frame of a display is a pandas DataFrame and pandas is missing; "
            "run `pip install pandas`."
        ) from error
    return pd.DataFrame(columns)
