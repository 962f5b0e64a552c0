"""CostFrontierDisplay: score against cost, the frontier, the limit, the choice."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skadistill.plotting._drawing import Display, make_frame

__all__ = ["CostFrontierDisplay", "cost_frontier"]


def cost_frontier(costs, scores):
    """Mark the candidates that no other one beats in both cost and score.

    Parameters
    ----------
    costs : array-like of shape (n_candidates,)
        Costs, lower is better.
    scores : array-like of shape (n_candidates,)
        Scores, higher is better; one that is NaN is never on the frontier.

    Returns
    -------
    on_frontier : ndarray of bool of shape (n_candidates,)
        True where every candidate that is as cheap scores worse, and every one that
        scores as high costs more. Of equal ones the first is marked.

    Examples
    --------
    >>> from skadistill.plotting._cost_frontier import cost_frontier
    >>> cost_frontier([1, 2, 2, 3], [0.5, 0.8, 0.7, 0.8])
    array([ True,  True, False, False])
    """
    costs, scores = np.asarray(costs, dtype=float), np.asarray(scores, dtype=float)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    on_frontier = np.zeros(len(costs), dtype=bool)
    best = -np.inf
    for i in np.lexsort((-scores, costs)):
        if scores[i] > best:
            on_frontier[i] = True
            best = scores[i]
    return on_frontier


class CostFrontierDisplay(Display):
    """Show what a search under a cost limit found: score against cost.

    Make one with :meth:`from_estimator`; :meth:`plot` draws it, and :attr:`frame`
    holds the same numbers as a table.

    Parameters
    ----------
    costs : array-like of shape (n_candidates,)
        Cost of each candidate.
    scores : array-like of shape (n_candidates,)
        Mean test score of each candidate.
    best_index : int
        Position of the choice.
    max_cost : float or None, default=None
        The limit; None: there was none.
    score_stds : array-like of shape (n_candidates,) or None, default=None
        Standard deviation of the scores over folds.
    steps : array-like of int of shape (n_candidates,) or None, default=None
        The step of the search that asked for each candidate.
    params : list of dict or None, default=None
        Parameters of each candidate.
    cost_name : str, default="cost"
        What costs are called on the axis.
    score_name : str, default="score"
        What scores are called on the axis.

    Attributes
    ----------
    frontier : ndarray of int of shape (n_frontier,)
        Positions of the candidates that no other beats in both, by cost.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure around it.
    scatter_, limit_, frontier_, choice_ : matplotlib artists
        All candidates, the limit (None where there is none), the frontier and the
        choice.

    Examples
    --------
    >>> from skadistill.plotting import CostFrontierDisplay
    >>> display = CostFrontierDisplay(
    ...     costs=[10, 20, 30], scores=[0.7, 0.9, 0.8], best_index=1, max_cost=25
    ... )
    >>> display.frontier
    array([0, 1])
    """

    def __init__(
        self,
        costs,
        scores,
        best_index,
        *,
        max_cost=None,
        score_stds=None,
        steps=None,
        params=None,
        cost_name="cost",
        score_name="score",
    ):
        self.costs = np.asarray(costs, dtype=float)
        self.scores = np.asarray(scores, dtype=float)
        self.best_index = best_index
        self.max_cost = max_cost
        self.score_stds = score_stds
        self.steps = steps
        self.params = params
        self.cost_name = cost_name
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, search):
        """Read a fitted search.

        Parameters
        ----------
        search : LayerNASSearchCV
            Fitted; any search will do whose ``cv_results_`` has a column ``cost``.

        Returns
        -------
        display : CostFrontierDisplay
            Not drawn yet.

        Raises
        ------
        ValueError
            If the search has no costs.
        """
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        if "cost" not in results:
            raise ValueError(
                f"the cv_results_ of this {type(search).__name__} have no column "
                "'cost'; pass a fitted LayerNASSearchCV."
            )
        metric = "score"
        if isinstance(search.refit, str) and f"mean_test_{search.refit}" in results:
            metric = search.refit
        cost = getattr(search, "cost", None)
        return cls(
            results["cost"],
            results[f"mean_test_{metric}"],
            search.best_index_,
            max_cost=getattr(search, "max_cost", None),
            score_stds=results[f"std_test_{metric}"],
            steps=results.get("step"),
            params=results["params"],
            cost_name=cost if isinstance(cost, str) else "cost",
            score_name=metric if metric != "score" else _scoring_name(search),
        )

    @property
    def frontier(self):
        """Return the positions on the frontier, from the cheapest."""
        marked = np.flatnonzero(cost_frontier(self.costs, self.scores))
        return marked[np.argsort(self.costs[marked])]

    @property
    def frame(self):
        """Return the candidates as a pandas DataFrame, one row each.

        The columns are the cost, the score, its standard deviation and the step
        where known, whether the candidate is within the limit (``allowed``), on the
        ``frontier`` and ``chosen``, and its parameters.
        """
        n = len(self.costs)
        limit = np.inf if self.max_cost is None else self.max_cost
        columns = {
            "cost": self.costs,
            "score": self.scores,
            "score_std": self.score_stds,
            "step": self.steps,
            "allowed": self.costs <= limit,
            "frontier": np.isin(np.arange(n), self.frontier),
            "chosen": np.arange(n) == self.best_index,
        }
        frame = make_frame({k: v for k, v in columns.items() if v is not None})
        if self.params is None:
            return frame
        return frame.join(make_frame(list(self.params)))

    def _draw(self, ax):
        """Draw all candidates, the frontier, the limit and the choice."""
        self.scatter_ = ax.scatter(
            self.costs, self.scores, s=18, c="0.6", label="candidates"
        )
        (self.frontier_,) = ax.plot(
            self.costs[self.frontier],
            self.scores[self.frontier],
            drawstyle="steps-post",
            marker="o",
            markersize=4,
            label="frontier",
        )
        self.limit_ = None
        if self.max_cost is not None:
            self.limit_ = ax.axvline(self.max_cost, ls="--", color="0.3", label="limit")
        (self.choice_,) = ax.plot(
            self.costs[[self.best_index]],
            self.scores[[self.best_index]],
            ls="none",
            marker="*",
            markersize=14,
            label="choice",
        )
        ax.set(xlabel=self.cost_name, ylabel=self.score_name)
        ax.legend()


def _scoring_name(search):
    """Name a search's single metric, where it has a name."""
    scoring = getattr(search, "scoring", None)
    return scoring if isinstance(scoring, str) else "score"
