"""QueryRoundsDisplay: which rows were asked about, and in which round."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from skadistill.plotting._drawing import Display, make_frame

__all__ = ["QueryRoundsDisplay"]


class QueryRoundsDisplay(Display):
    """Plot the rows in two dimensions, colored by the round they were asked in.

    Use :meth:`from_estimator` to draw one; :attr:`frame` holds the same numbers as a
    table, and :meth:`plot` draws it again.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Coordinates of the rows in the plot.
    rounds : array-like of int of shape (n_samples,)
        0: label given; r: asked in round r; -1: never asked.
    axis_names : sequence of two str, default=("x1", "x2")
        Names of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure that contains the axes.
    scatters_ : dict of int to matplotlib PathCollection
        The rows of each round, including -1 and 0.

    Examples
    --------
    >>> from skadistill.plotting import QueryRoundsDisplay
    >>> display = QueryRoundsDisplay([[0, 0], [1, 0], [1, 1]], [0, 1, -1])
    >>> display.rounds
    array([ 0,  1, -1])
    """

    ax_: Any
    figure_: Any
    scatters_: dict[str, Any]

    def __init__(
        self, points: ArrayLike, rounds: ArrayLike, *, axis_names: Any = ("x1", "x2")
    ) -> None:
        self.points = np.asarray(points, dtype=float)
        self.rounds = np.asarray(rounds)
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        X_unlabeled: Any = None,
        projection: Any = None,
        ax: Any = None,
    ) -> Any:
        """Draw the rows of a fitted distiller.

        Parameters
        ----------
        estimator : ActiveDistiller
            A fitted distiller; it stores the rounds but not the rows.
        X : array-like of shape (n_x, n_features)
            The rows it was fitted with.
        X_unlabeled : array-like of shape (n_u, n_features) or None, default=None
            The unlabeled rows it was fitted with.
        projection : transformer or None, default=None
            Its ``fit_transform`` maps the rows to two columns. None: two columns are
            drawn unchanged, more by their first two principal components.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : QueryRoundsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the rows are not those of the fit, or are not mapped to two columns.
        """
        check_is_fitted(estimator, "labeled_round_")
        rows = np.asarray(X)
        if X_unlabeled is not None:
            rows = np.concatenate([rows, np.asarray(X_unlabeled)])
        rounds = estimator.labeled_round_
        if len(rows) != len(rounds):
            raise ValueError(
                f"got {len(rows)} rows, but this {type(estimator).__name__} was fitted "
                f"with {len(rounds)}; pass the X and X_unlabeled of its fit."
            )
        points, axis_names = _project(rows, projection)
        return cls(points, rounds, axis_names=axis_names).plot(ax)

    @property
    def frame(self) -> Any:
        """Return the rows as a pandas DataFrame.

        The columns are the two axes and the ``round``.
        """
        first, second = self.axis_names
        return make_frame(
            {first: self.points[:, 0], second: self.points[:, 1], "round": self.rounds}
        )

    def _draw(self, ax):
        """Draw rows never asked in gray, given ones as crosses, asked ones by round."""
        self.scatters_ = {}
        found = np.unique(self.rounds).tolist()
        n_rounds = max(found, default=0)
        # Given rows last: they are few, and others must not cover them.
        for round_ in sorted(found, key=lambda r: (r == 0, r)):
            rows = self.rounds == round_
            self.scatters_[round_] = ax.scatter(
                *self.points[rows].T, **_style(round_, n_rounds)
            )
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        ax.legend()


def _project(rows, projection):
    """Map rows to two columns, and return the names of the axes."""
    names = ("x1", "x2")
    if projection is None and rows.ndim == 2 and rows.shape[1] > 2:
        projection, names = PCA(2), ("component 1", "component 2")
    points = rows if projection is None else projection.fit_transform(rows)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"the rows have shape {points.shape} and two columns can be drawn; pass a "
            "projection with two outputs, such as PCA(2)."
        )
    return points, names


def _style(round_, n_rounds):
    """Return the style of the rows of a round."""
    if round_ == -1:
        return {"s": 6, "color": "0.8", "label": "never asked"}
    if round_ == 0:
        return {"s": 40, "color": "k", "marker": "x", "label": "given"}
    from matplotlib import colormaps

    color = colormaps["viridis"]((round_ - 0.5) / n_rounds)
    return {"s": 16, "color": color, "label": f"round {round_}"}
