"""CascadeDisplay: agreement and money against the share of rows deferred."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skadistill.plotting._drawing import Display, make_frame

__all__ = ["CascadeDisplay"]


class CascadeDisplay(Display):
    """Plot what a cascade gains by deferring rows to the teacher, and what it costs.

    Use :meth:`from_estimator` to draw one; :attr:`frame` holds the same numbers as a
    table, and :meth:`plot` draws it again.

    Parameters
    ----------
    deferred : array-like of shape (n_points,)
        Shares of rows deferred, ascending.
    agreement : array-like of shape (n_points,)
        Agreement of the cascade with the teacher for each.
    chosen : float or None, default=None
        Share that the cascade defers.
    target : float or None, default=None
        Agreement that it promises.
    cost_per_row : float or None, default=None
        Price of an answer; with it a second axis shows money per 1,000 predictions.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure that contains the axes.
    line_, choice_, target_, cost_ax_ : matplotlib artists
        The trade-off, the choice, the target and the axis of money; the last three
        are None if they are not known.

    Examples
    --------
    >>> from skadistill.plotting import CascadeDisplay
    >>> display = CascadeDisplay([0.0, 0.2, 1.0], [0.9, 0.97, 1.0], chosen=0.2)
    >>> display.agreement
    array([0.9 , 0.97, 1.  ])
    """

    ax_: Any
    figure_: Any
    line_: Any
    choice_: Any
    target_: Any
    cost_ax_: Any

    def __init__(
        self,
        deferred: ArrayLike,
        agreement: ArrayLike,
        *,
        chosen: float | None = None,
        target: float | None = None,
        cost_per_row: float | None = None,
    ) -> None:
        self.deferred = np.asarray(deferred, dtype=float)
        self.agreement = np.asarray(agreement, dtype=float)
        self.chosen = chosen
        self.target = target
        self.cost_per_row = cost_per_row

    @classmethod
    def from_estimator(cls, cascade: Any, *, ax: Any = None) -> Any:
        """Draw what a cascade's audit rows show.

        Parameters
        ----------
        cascade : Cascade
            Fitted.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : CascadeDisplay
            Drawn.
        """
        check_is_fitted(cascade, "report_")
        report = cascade.report_
        cost = report["cost_per_1000"]
        price = None
        if cost is not None and report["deferred"]:
            price = cost / 1000 / report["deferred"]
        return cls(
            report["curve"]["deferred"],
            report["curve"]["agreement"],
            chosen=report["deferred"],
            target=cascade.target if cascade.max_deferred is None else None,
            cost_per_row=price,
        ).plot(ax)

    @property
    def frame(self) -> Any:
        """Return the points as a pandas DataFrame, one row per point."""
        columns = {"deferred": self.deferred, "agreement": self.agreement}
        if self.cost_per_row is not None:
            columns["cost_per_1000"] = 1000 * self.cost_per_row * self.deferred
        return make_frame(columns)

    def _draw(self, ax):
        """Draw the trade-off, the choice and the target."""
        (self.line_,) = ax.step(self.deferred, self.agreement, where="post")
        self.choice_ = self.target_ = self.cost_ax_ = None
        if self.chosen is not None:
            self.choice_ = ax.axvline(self.chosen, ls="--", color="0.4", label="chosen")
        if self.target is not None:
            self.target_ = ax.axhline(self.target, ls=":", color="0.4", label="target")
        if self.cost_per_row is not None:
            price = 1000 * self.cost_per_row
            self.cost_ax_ = ax.secondary_xaxis(
                "top", functions=(lambda x: x * price, lambda x: x / price)
            )
            self.cost_ax_.set_xlabel("cost per 1,000 predictions")
        ax.set(xlabel="share deferred", ylabel="agreement with the teacher")
        if self.chosen is not None or self.target is not None:
            ax.legend()
