"""How a budget becomes rounds, and what a fit would cost before it is run."""

from dataclasses import dataclass
from numbers import Integral

from skadistill._fit.teacher import needs_checks
from skadistill._rows._keys import row_keys
from skadistill.exceptions import BudgetError, EmptyPoolError

__all__ = ["KnownAnswers", "Plan", "make_plan", "resolve_budget", "split_budget"]


@dataclass(frozen=True)
class Plan:
    """Say what a fit would ask and pay, before anything is paid.

    Parameters
    ----------
    n_labeled : int
        Rows with a given label.
    n_pool : int
        Unlabeled rows.
    rounds : tuple of int
        Rows to ask for in each round.
    n_teacher_checks : int
        Labeled rows the teacher would be asked about to estimate its error rate;
        0 where it is cross-fitted, given or not needed.
    cost_per_row : float or None, default=None
        Price of one answer, in the user's currency.
    n_known : int, default=0
        Rows of the pool whose answers the ledger holds.
    n_known_validation : int, default=0
        Labeled rows whose answers the ledger holds.
    seconds_per_row : float or None, default=None
        How long the teacher took for a row so far; None: it was never asked.
    """

    n_labeled: int
    n_pool: int
    rounds: tuple
    n_teacher_checks: int
    cost_per_row: float | None = None
    n_known: int = 0
    n_known_validation: int = 0
    seconds_per_row: float | None = None

    @property
    def n_queries(self):
        """Rows of the pool to ask for."""
        return sum(self.rounds)

    @property
    def n_rows_to_pay(self):
        """Rows to pay for at most: those of the pool and those for validation."""
        unknown = self.n_pool - self.n_known
        unknown_validation = self.n_labeled - self.n_known_validation
        return min(self.n_queries, unknown) + min(
            self.n_teacher_checks, unknown_validation
        )

    @property
    def n_rows_to_pay_at_least(self):
        """Rows to pay for if every row the ledger knows is among those asked."""
        return max(0, self.n_queries - self.n_known) + max(
            0, self.n_teacher_checks - self.n_known_validation
        )

    @property
    def cost(self):
        """The bill at most, in the user's currency; None without a price."""
        if self.cost_per_row is None:
            return None
        return self.n_rows_to_pay * self.cost_per_row

    @property
    def seconds(self):
        """The teacher's time at most; None where it was never asked."""
        if self.seconds_per_row is None:
            return None
        return self.n_rows_to_pay * self.seconds_per_row

    def __str__(self):
        text = (
            f"{self.n_queries} of {self.n_pool} pool rows in {len(self.rounds)} rounds "
            f"and {self.n_teacher_checks} labeled rows for validation: at most "
            f"{self.n_rows_to_pay} rows to pay"
        )
        if self.n_known or self.n_known_validation:
            n_known = self.n_known + self.n_known_validation
            text += f" and at least {self.n_rows_to_pay_at_least}, {n_known} being paid"
        if self.cost is not None:
            text += f", {self.cost:g} in all"
        if self.seconds is not None:
            text += f", about {self.seconds:.3g} s"
        return text


def make_plan(
    components,
    labels,
    *,
    budget,
    n_rounds,
    teacher_error,
    n_teacher_checks,
    ledger,
    cost_per_row,
):
    """Work out what a fit would ask and pay for.

    Parameters
    ----------
    components : Components
        Teacher, strategy and objective.
    labels : Labels
        The rows, of which only the given ones have a label.
    budget, n_rounds, teacher_error, n_teacher_checks, ledger : as in `ActiveDistiller`
        The settings of the fit.
    cost_per_row : float or None
        Price of one answer. None: the teacher's own.

    Returns
    -------
    plan : Plan
        Upper bounds.
    """
    teacher, table = components.teacher, labels.table
    n_labeled = labels.rows.size
    rounds = split_budget(resolve_budget(budget, labels.pool.size), n_rounds)
    n_checks = 0
    if rounds and needs_checks(components, teacher_error) and not teacher.needs_fit:
        n_checks = min(n_labeled, n_teacher_checks or n_labeled)
    known = KnownAnswers(teacher, ledger, labels.classes)
    return Plan(
        n_labeled,
        labels.pool.size,
        rounds,
        n_checks,
        teacher.cost_per_row if cost_per_row is None else cost_per_row,
        n_known=known.count(table, labels.pool) if rounds else 0,
        n_known_validation=known.count(table, labels.rows) if n_checks else 0,
        seconds_per_row=known.seconds_per_row(),
    )


class KnownAnswers:
    """Look for answers of a teacher in a ledger, before anything is paid.

    Parameters
    ----------
    teacher : BaseTeacher
        Who would be asked. One that still has to be fitted is another teacher each
        time it is: nothing is known of it.
    ledger : BaseLedger or None
        Where to look.
    classes : ndarray of shape (n_classes,)
        What would be asked for.
    """

    def __init__(self, teacher, ledger, classes):
        self.ledger = None if teacher.needs_fit else ledger
        self.identity = None if self.ledger is None else teacher.identity
        self.classes = classes

    def count(self, table, rows):
        """Count the rows of a table whose answers are known.

        Parameters
        ----------
        table : RowTable
            All rows.
        rows : ndarray of int of shape (n_samples,)
            Which of them.

        Returns
        -------
        n_known : int
            How many of those the ledger can answer.
        """
        if self.ledger is None or not len(rows):
            return 0
        keys = row_keys(table.take(rows))
        return int(self.ledger.lookup(keys, self.identity, self.classes)[0].sum())

    def seconds_per_row(self):
        """Return how long the teacher took for a row so far, None if unknown.

        Returns
        -------
        seconds : float or None
            Time of all calls over the rows they answered.
        """
        teachers = {} if self.ledger is None else self.ledger.summary()["teachers"]
        counts = teachers.get(self.identity)
        if not counts or not counts["n_paid"]:
            return None
        return counts["seconds"] / counts["n_paid"]


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
    >>> from skadistill._fit.plan import resolve_budget
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
                "unlabeled_marker and X_unlabeled holds no row; mark unlabeled rows, "
                "pass X_unlabeled, or set budget=0."
            )
        if budget > n_pool:
            raise BudgetError(
                f"budget={budget} is larger than the pool of {n_pool} unlabeled rows; "
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
    >>> from skadistill._fit.plan import split_budget
    >>> split_budget(7, 3), split_budget(2, 5), split_budget(0, 5)
    ((3, 2, 2), (1, 1), ())
    """
    n_rounds = min(n_rounds, n_queries)
    if n_rounds == 0:
        return ()
    size, extra = divmod(n_queries, n_rounds)
    return tuple(size + (i < extra) for i in range(n_rounds))
