"""How a budget becomes rounds, and what a fit would cost before it is run."""

from dataclasses import dataclass
from numbers import Integral

from skadistill.exceptions import BudgetError, EmptyPoolError

__all__ = ["Plan", "resolve_budget", "split_budget"]


@dataclass(frozen=True)
class Plan:
    """Say what a fit would ask and pay, before anything is paid.

    Parameters
    ----------
    n_labeled : int
        Rows with a given label.
    n_pool : int
        Unlabelled rows.
    rounds : tuple of int
        Rows to ask for in each round.
    n_validation_rows : int
        Labelled rows the teacher would be asked about to estimate its error rate;
        0 where it is cross-fitted, given or not needed.
    cost_per_row : float or None, default=None
        Price of one answer, in the user's currency.
    """

    n_labeled: int
    n_pool: int
    rounds: tuple
    n_validation_rows: int
    cost_per_row: float | None = None

    @property
    def n_queries(self):
        """Rows of the pool to ask for."""
        return sum(self.rounds)

    @property
    def n_rows_to_pay(self):
        """Rows to pay for at most: those of the pool and those for validation."""
        return self.n_queries + self.n_validation_rows

    @property
    def cost(self):
        """The bill at most, in the user's currency; None without a price."""
        if self.cost_per_row is None:
            return None
        return self.n_rows_to_pay * self.cost_per_row

    def __str__(self):
        text = (
            f"{self.n_queries} of {self.n_pool} pool rows in {len(self.rounds)} rounds "
            f"and {self.n_validation_rows} labelled rows for validation: at most "
            f"{self.n_rows_to_pay} rows to pay"
        )
        return text if self.cost is None else f"{text}, {self.cost:g} in all"


def resolve_budget(budget, n_pool):
    """Turn a budget into a number of rows.

    Parameters
    ----------
    budget : int, float or None
        Rows; a share of the pool (at least one row of a pool that is not empty);
        or the whole pool.
    n_pool : int
        Rows of the pool.

    Returns
    -------
    n_queries : int
        Rows to ask for, at most `n_pool`.

    Raises
    ------
    EmptyPoolError
        If rows are to be asked for and there are none.
    BudgetError
        If the budget is larger than the pool.

    Examples
    --------
    >>> from skadistill._plan import resolve_budget
    >>> resolve_budget(0.29, 100), resolve_budget(7, 100), resolve_budget(None, 100)
    (29, 7, 100)
    """
    if budget is None:
        return n_pool
    if isinstance(budget, Integral):
        budget = int(budget)
        if budget > 0 and n_pool == 0:
            raise EmptyPoolError(
                f"budget={budget} but the pool is empty: no row of y equals the "
                "unlabeled_marker and X_unlabeled holds no row; mark unlabelled rows, "
                "pass X_unlabeled, or set budget=0."
            )
        if budget > n_pool:
            raise BudgetError(
                f"budget={budget} is larger than the pool of {n_pool} unlabelled rows; "
                f"pass at most {n_pool}, a share such as 0.5, or None for the whole "
                "pool."
            )
        return budget
    # 0.29 * 100 is 28.999...: round away the last bits before cutting.
    share = int(round(budget * n_pool, 9))
    return max(share, 1) if budget > 0 and n_pool > 0 else share


def split_budget(n_queries, n_rounds):
    """Split rows into rounds of equal size, the first ones larger by at most one.

    Parameters
    ----------
    n_queries : int
        Rows to ask for.
    n_rounds : int
        Rounds at most; no round is empty.

    Returns
    -------
    rounds : tuple of int
        Rows of each round, adding up to `n_queries`.

    Examples
    --------
    >>> from skadistill._plan import split_budget
    >>> split_budget(7, 3), split_budget(2, 5), split_budget(0, 5)
    ((3, 2, 2), (1, 1), ())
    """
    n_rounds = min(n_rounds, n_queries)
    if n_rounds == 0:
        return ()
    size, extra = divmod(n_queries, n_rounds)
    return tuple(size + (i < extra) for i in range(n_rounds))
