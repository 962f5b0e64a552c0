"""ParetoFrontDisplay: score against size, Pareto front, limit and choice."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skadistill.plotting._drawing import Display, make_frame

__all__ = ["ParetoFrontDisplay", "pareto_front"]


def pareto_front(sizes, scores):
    """Mark the candidates on the Pareto front of size and score."""
    sizes, scores = np.asarray(sizes, dtype=float), np.asarray(scores, dtype=float)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    on_front = np.zeros(len(sizes), dtype=bool)
    best = -np.inf
    for i in np.lexsort((-scores, sizes)):
        if scores[i] > best:
            on_front[i] = True
            best = scores[i]
    return on_front


class ParetoFrontDisplay(Display):
    """Plot score against size for the candidates of a search under a size limit.

    Use :meth:`from_estimator` to draw one; :attr:`frame` holds the same numbers as a
    table, and :meth:`plot` draws it again.

    Parameters
    ----------
    sizes : array-like of shape (n_candidates,)
        Size of each candidate.
    scores : array-like of shape (n_candidates,)
        Mean test score of each candidate.
    best_index : int
        Position of the chosen candidate.
    max_size : float or None, default=None
        The size limit; None without one.
    score_stds : array-like of shape (n_candidates,) or None, default=None
        Standard deviation of the scores over folds.
    steps : array-like of int of shape (n_candidates,) or None, default=None
        The step of the search in which each candidate was scored.
    params : list of dict or None, default=None
        Parameters of each candidate.
    size_name : str, default="size"
        Name of the size on its axis.
    score_name : str, default="score"
        Name of the score on its axis.

    Attributes
    ----------
    front : ndarray of int of shape (n_front,)
        Positions of the candidates on the Pareto front, smallest first.
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure that contains the axes.
    scatter_, limit_, front_, choice_ : matplotlib artists
        All candidates, the limit (None if there is none), the Pareto front and the
        chosen candidate.

    Examples
    --------
    >>> from skadistill.plotting import ParetoFrontDisplay
    >>> display = ParetoFrontDisplay(
    ...     sizes=[10, 20, 30], scores=[0.7, 0.9, 0.8], best_index=1, max_size=25
    ... )
    >>> display.front
    array([0, 1])
    """

    ax_: Any
    figure_: Any
    scatter_: Any
    limit_: Any
    front_: Any
    choice_: Any

    def __init__(
        self,
        sizes: ArrayLike,
        scores: ArrayLike,
        best_index: int,
        *,
        max_size: float | None = None,
        score_stds: ArrayLike | None = None,
        steps: ArrayLike | None = None,
        params: list[dict[str, Any]] | None = None,
        size_name: str = "size",
        score_name: str = "score",
    ) -> None:
        self.sizes = np.asarray(sizes, dtype=float)
        self.scores = np.asarray(scores, dtype=float)
        self.best_index = best_index
        self.max_size = max_size
        self.score_stds = score_stds
        self.steps = steps
        self.params = params
        self.size_name = size_name
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, search: Any, *, ax: Any = None) -> Any:
        """Draw the candidates of a fitted search.

        Parameters
        ----------
        search : LayerNASSearchCV
            Fitted; any search will do whose ``cv_results_`` has a column ``size``.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : ParetoFrontDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the search has no column of sizes.
        """
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        if "size" not in results:
            raise ValueError(
                f"the cv_results_ of this {type(search).__name__} have no column "
                "'size'; pass a fitted LayerNASSearchCV."
            )
        metric = "score"
        if isinstance(search.refit, str) and f"mean_test_{search.refit}" in results:
            metric = search.refit
        size = getattr(search, "size", None)
        return cls(
            results["size"],
            results[f"mean_test_{metric}"],
            search.best_index_,
            max_size=getattr(search, "max_size", None),
            score_stds=results[f"std_test_{metric}"],
            steps=results.get("step"),
            params=results["params"],
            size_name=size if isinstance(size, str) else "size",
            score_name=metric if metric != "score" else _scoring_name(search),
        ).plot(ax)

    @property
    def front(self) -> Any:
        """Return the positions of the candidates on the front, smallest first."""
        marked = np.flatnonzero(pareto_front(self.sizes, self.scores))
        return marked[np.argsort(self.sizes[marked])]

    @property
    def frame(self) -> Any:
        """Return the candidates as a pandas DataFrame, one row per candidate.

        The columns are the size, the score, its standard deviation and the step
        if known, whether the candidate is within the limit (``allowed``), on the
        ``front`` and ``chosen``, and its parameters.
        """
        n = len(self.sizes)
        limit = np.inf if self.max_size is None else self.max_size
        columns = {
            "size": self.sizes,
            "score": self.scores,
            "score_std": self.score_stds,
            "step": self.steps,
            "allowed": self.sizes <= limit,
            "front": np.isin(np.arange(n), self.front),
            "chosen": np.arange(n) == self.best_index,
        }
        frame = make_frame({k: v for k, v in columns.items() if v is not None})
        if self.params is None:
            return frame
        return frame.join(make_frame(list(self.params)))

    def _draw(self, ax):
        """Draw all candidates, the Pareto front, the limit and the choice."""
        self.scatter_ = ax.scatter(
            self.sizes, self.scores, s=18, c="0.6", label="candidates"
        )
        (self.front_,) = ax.plot(
            self.sizes[self.front],
            self.scores[self.front],
            drawstyle="steps-post",
            marker="o",
            markersize=4,
            label="Pareto front",
        )
        self.limit_ = None
        if self.max_size is not None:
            self.limit_ = ax.axvline(self.max_size, ls="--", color="0.3", label="limit")
        (self.choice_,) = ax.plot(
            self.sizes[[self.best_index]],
            self.scores[[self.best_index]],
            ls="none",
            marker="*",
            markersize=14,
            label="choice",
        )
        ax.set(xlabel=self.size_name, ylabel=self.score_name)
        ax.legend()


def _scoring_name(search):
    """Return the name of a search's single metric, or "score"."""
    scoring = getattr(search, "scoring", None)
    return scoring if isinstance(scoring, str) else "score"
