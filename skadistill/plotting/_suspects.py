"""SuspectsDisplay: how many wrong labels are found by looking at some of them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skadistill.plotting._drawing import Display, make_frame

__all__ = ["SuspectsDisplay"]


class SuspectsDisplay(Display):
    """Plot how many wrong labels a person finds who looks at the most suspect first.

    The expected number of mistakes among the first labels is the sum of their
    probabilities of being wrong. A dashed line shows the same labels in any order.

    Use :meth:`from_estimator` to draw one; :attr:`frame` holds the same numbers as a
    table, and :meth:`plot` draws it again.

    Parameters
    ----------
    probability_wrong : array-like of shape (n_suspects,)
        Probability that each paid label is wrong, in any order.
    rows : array-like of int of shape (n_suspects,) or None, default=None
        Positions of these rows in the data of the fit. None: 0, 1, and so on.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure that contains the axes.
    line_, chance_ : matplotlib Line2D
        Expected errors, the most suspect labels first and in any order.

    See Also
    --------
    skadistill.ActiveDistiller.suspects : The rows, with both opinions.

    Examples
    --------
    >>> from skadistill.plotting import SuspectsDisplay
    >>> display = SuspectsDisplay([0.1, 0.9, 0.5])
    >>> display.rows, display.expected_mistakes
    (array([1, 2, 0]), array([0.9, 1.4, 1.5]))
    """

    ax_: Any
    figure_: Any
    line_: Any
    chance_: Any

    def __init__(self, probability_wrong: ArrayLike, *, rows: Any = None) -> None:
        probability_wrong = np.asarray(probability_wrong, dtype=float)
        order = np.argsort(-probability_wrong, kind="stable")
        self.probability_wrong = probability_wrong[order]
        self.rows = order if rows is None else np.asarray(rows)[order]
        self.expected_mistakes = np.cumsum(self.probability_wrong)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, X_unlabeled: Any = None, ax: Any = None
    ) -> Any:
        """Draw the suspects of a fitted distiller; students are trained for it.

        Parameters
        ----------
        estimator : ActiveDistiller
            Fitted.
        X, X_unlabeled : as in ``fit``
            The same rows in the same order.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : SuspectsDisplay
            Drawn.

        Raises
        ------
        ValueError
            If these are not the rows of the fit.
        TeacherError
            If the teacher is missing: the ledger is read by its identity.
        """
        suspects = estimator.suspects(X, X_unlabeled=X_unlabeled)
        return cls(suspects["probability_wrong"], rows=suspects["row"]).plot(ax)

    @property
    def frame(self) -> Any:
        """Return the labels as a pandas DataFrame, the most suspect first."""
        return make_frame(
            {
                "row": self.rows,
                "probability_wrong": self.probability_wrong,
                "expected_mistakes": self.expected_mistakes,
            }
        )

    def _draw(self, ax):
        """Draw both orders from no label to all."""
        found = np.r_[0.0, self.expected_mistakes]
        looked = np.arange(len(found))
        (self.line_,) = ax.plot(looked, found, label="most suspect first")
        (self.chance_,) = ax.plot(
            looked[[0, -1]], found[[0, -1]], ls="--", color="0.4", label="in any order"
        )
        ax.set(xlabel="labels looked at", ylabel="expected number of wrong labels")
        ax.legend()
