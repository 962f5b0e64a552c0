"""How a budget becomes rounds, and what a fit would cost before it is run."""

import math
import warnings
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from skadistill._fit.cold_start import check_learnable
from skadistill._fit.known import KnownAnswers
from skadistill._statistics.forecast import Forecast
from skadistill.exceptions import BudgetError, BudgetWarning

__all__ = [
    "Budget",
    "Plan",
    "make_plan",
    "round_size",
    "share_budget",
    "shares_of_fit",
    "split_rounds",
]

_Z_99 = 2.326  # of the normal distribution
#: Rows of the pool by which a teacher estimates its prices.
EXAMPLE_ROWS = 200


@dataclass(frozen=True, repr=False)
class Plan:
    """Hold what a fit would ask and pay, before anything is paid; one fact a line."""

    n_labeled: int
    n_pool: int
    rounds: tuple[Any, ...]
    n_teacher_checks: int
    n_rows_to_pay: int
    n_rows_expected: int
    n_known: int = 0
    n_known_checks: int = 0
    uses_known: bool = False
    cost_per_row: float | None = None
    seconds_per_row: float | None = None
    expected_costs: tuple[Any, ...] = ()
    stops_checking: bool = False
    forecast: Forecast | None = None
    example: str | None = None

    @property
    def n_queries(self) -> Any:
        """Rows of the pool with a label of the teacher at most, known ones included."""
        return sum(self.rounds) + self.n_known * self.uses_known

    @property
    def cost(self) -> Any:
        """The worst case, in the user's currency; None without a price."""
        if self.cost_per_row is None:
            return None
        return self.n_rows_to_pay * self.cost_per_row

    @property
    def expected_cost(self) -> Any:
        """The cost of the rows expected, without failed calls, or None."""
        if not self.expected_costs:
            return None
        return self.n_rows_expected * float(np.mean(self.expected_costs))

    @property
    def likely_cost(self) -> Any:
        """What all rows cost less than with a probability of 99 %, or None.

        Without failed tries, and if they are like those in the pool.
        """
        if len(self.expected_costs) < 2:
            return None
        n, n_seen = self.n_rows_to_pay, len(self.expected_costs)
        spread = np.std(self.expected_costs, ddof=1) * np.sqrt(n + n**2 / n_seen)
        most = n * float(np.mean(self.expected_costs)) + _Z_99 * float(spread)
        return most if self.cost is None else min(most, self.cost)

    @property
    def seconds(self) -> Any:
        """The teacher's time at its usual pace; None if it was never asked."""
        if self.seconds_per_row is None:
            return None
        return self.n_rows_expected * self.seconds_per_row

    def __repr__(self) -> str:
        up_to = "up to " * self.stops_checking
        lines = [
            f"rows asked about: {up_to}{self.n_queries} of {self.n_pool} in the pool, "
            f"new ones in {len(self.rounds)} rounds"
        ]
        if self.n_teacher_checks:
            lines.append(f"teacher checks: {up_to}{self.n_teacher_checks} labeled rows")
        if self.n_known or self.n_known_checks:
            n_known = self.n_known + self.n_known_checks
            lines.append(f"known to the ledger: {n_known}, which cost nothing")
        expected = f"{self.n_rows_expected} expected, "
        expected *= self.n_rows_expected < self.n_rows_to_pay
        lines.append(f"rows to pay: {expected}{self.n_rows_to_pay} at most")
        if self.expected_cost is not None:
            text = f"cost: about {self.expected_cost:.3g}"
            if self.likely_cost is not None:
                text += f", with 99 % probability below {self.likely_cost:.3g}"
            most = "" if self.cost is None else f" ({self.cost:.4g} at most)"
            lines.append(text + most)
        elif self.cost is not None:
            lines.append(f"cost: {self.cost:g} at most")
        if self.seconds is not None:
            lines.append(f"time: about {self.seconds:.3g} s")
        if self.forecast is not None:
            n_more = self.n_labeled + self.n_queries - self.forecast.n_now
            score, low, high = self.forecast.after(max(n_more, 0))
            name = self.forecast.score_name.replace("_", " ")
            lines.append(f"{name} then: {score:.3f} ({low:.3f} to {high:.3f})")
        return "\n".join(lines)

    def __str__(self) -> str:
        # Not in repr, which logs and tracebacks show: it holds a row.
        if self.example is None:
            return repr(self)
        return f"{self!r}\nPrompt for the first row:\n{self.example}"


class Budget(NamedTuple):
    """Share of the budget for teacher checks, and for rows of the pool."""

    n_checks: int
    n_queries: int


def share_budget(budget, n_pool, count_checks=None):
    """Share a budget between teacher checks and rows of the pool.

    ``count_checks(total, is_limited=...)`` returns the checks at most.
    """
    total = _resolve_budget(budget, n_pool)
    n_checks = 0
    if count_checks is not None:
        n_checks = count_checks(total, is_limited=budget is not None)
    if budget is None:
        return Budget(n_checks, n_pool)
    if n_checks >= total > 0:
        raise BudgetError(
            f"teacher_checks takes {n_checks} labeled rows and the whole "
            f"budget is {total} rows, so that no row of the pool could be asked; pass "
            "fewer checks or a larger budget."
        )
    if total - n_checks > n_pool:
        checks = f" and {n_checks} teacher checks" * bool(n_checks)
        raise BudgetError(
            f"budget={budget} is larger than the pool of {n_pool} unlabeled rows"
            f"{checks}; pass at most {n_pool + n_checks}, a share such as 0.5, or None "
            "for the whole pool."
        )
    return Budget(n_checks, total - n_checks)


def _resolve_budget(budget, n_pool):
    """Turn a budget into a number of rows."""
    if budget is None:
        return n_pool
    if isinstance(budget, Integral):
        budget = int(budget)
        if budget > 0 and n_pool == 0:
            raise BudgetError(
                f"budget={budget} but the pool is empty: no row of y equals the "
                "unlabeled_marker and X_unlabeled holds no row; mark unlabeled rows, "
                "pass X_unlabeled, or set budget=0."
            )
        return budget
    if budget > 0 and n_pool == 0:
        warnings.warn(
            f"budget={budget} but the pool is empty, so that the teacher is not asked: "
            "no row of y equals the unlabeled_marker and X_unlabeled holds no row; "
            "mark unlabeled rows, pass X_unlabeled, or set budget=0. Meta-estimators "
            "that encode y, such as VotingClassifier, turn the marker into a class: "
            "pass the pool as X_unlabeled there.",
            BudgetWarning,
            stacklevel=2,
        )
    # 0.29 * 100 is 28.999...: round away the last bits before cutting.
    share = int(round(budget * n_pool, 9))
    return max(share, 1) if budget > 0 and n_pool > 0 else share


def round_size(query_size, n_labeled, n_classes=0):
    """Return how many rows each round asks for, whatever the budget."""
    # A size that grows with the labels keeps the number of rounds logarithmic in the
    # budget, so that training takes a few times as long as the last round alone.
    if query_size == "auto":
        return max(10, math.ceil(n_labeled / 2) if n_labeled else 2 * n_classes)
    return int(query_size)


def split_rounds(n_queries, query_size, n_labeled, n_classes=0):
    """Split rows into rounds; a larger number of rows continues a smaller one."""
    rounds: list[int] = []
    while (left := n_queries - sum(rounds)) > 0:
        size = round_size(query_size, n_labeled + sum(rounds), n_classes)
        rounds.append(min(size, left))
    return tuple(rounds)


def shares_of_fit(components, labels, check_plan, budget):
    """Share the budget of one fit, and refuse one that its objective cannot use."""
    objective, n_labeled = components.objective, labels.rows.size
    # One row does not tell what students make of rows they were not trained on.
    count = partial(check_plan.count, n_labeled if n_labeled > 1 else 0)
    shares = share_budget(budget, labels.pool.size, count)
    check_learnable(labels, components.teacher, objective, shares.n_queries)
    if (
        check_plan.is_paid
        and objective.needs_teacher_checks
        and shares.n_queries
        and not shares.n_checks
    ):
        n_checks = check_plan.policy.n_checks
        why = "a fifth" if n_checks == "auto" else f"teacher_checks={n_checks}"
        raise BudgetError(
            f"the objective {objective!r} learns from teacher checks, and {why} of "
            f"budget={budget} leaves none; pass more teacher_checks, a larger budget, "
            "or another objective."
        )
    return shares


def make_plan(
    components,
    labels,
    check_plan,
    *,
    budget,
    query_size,
    ledger,
    uses_known,
    cost_per_row=None,
    forecast=None,
):
    """Work out what a fit would ask and pay for at most."""
    teacher, objective = components.teacher, components.objective
    n_labeled, n_pool = labels.rows.size, labels.pool.size
    shares = shares_of_fit(components, labels, check_plan, budget)
    known = KnownAnswers(teacher, ledger, labels.classes)
    n_known = n_known_checks = 0
    if shares.n_queries:
        embeddings = objective.needs_embeddings
        pool = known.find(labels.table, labels.pool, with_embeddings=embeddings)
        checks = known.find(labels.table, labels.rows)
        n_known, n_known_checks = (sum(map(len, rows)) for rows in (pool, checks))
    stops = bool(shares.n_checks) and check_plan.in_steps
    n_queries = min(sum(shares), n_pool) if stops else shares.n_queries
    n_new = max(0, n_queries - n_known) if uses_known else n_queries
    n_new_rows, limit = _rows_to_pay(
        shares, labels, n_known, n_known_checks, uses_known=uses_known, stops=stops
    )
    return Plan(
        n_labeled,
        n_pool,
        split_rounds(
            n_new,
            query_size,
            n_labeled + n_known * uses_known,
            len(labels.classes),
        ),
        shares.n_checks,
        n_new_rows,
        limit,
        n_known=n_known,
        n_known_checks=n_known_checks if shares.n_checks else 0,
        uses_known=uses_known,
        cost_per_row=teacher.max_cost_per_row if cost_per_row is None else cost_per_row,
        seconds_per_row=known.seconds_per_row(),
        expected_costs=_expected_costs(teacher, labels, cost_per_row),
        stops_checking=stops,
        forecast=forecast,
        example=_example(teacher, labels),
    )


def _rows_to_pay(shares, labels, n_known, n_known_checks, *, uses_known, stops):
    """Return how many rows are paid for at most, and how many are expected."""
    n_checks, n_pool = shares.n_checks, labels.pool.size

    def new(n_queries):
        n_new = max(0, n_queries - n_known) if uses_known else n_queries
        return min(n_new, n_pool - n_known)

    most = min(n_checks, labels.rows.size - n_known_checks) + new(shares.n_queries)
    if stops:  # a check that is not needed becomes a row of the pool
        most = max(most, new(min(sum(shares), n_pool)))
    most = min(most, sum(shares))
    # Checks that are known were needed before.
    n_paid_before = n_known * uses_known + min(n_known_checks, n_checks)
    return most, min(most, max(0, sum(shares) - n_paid_before))


def _example(teacher, labels):
    """Return what the teacher would be asked about one row, if it can show that."""
    preview = getattr(teacher, "preview", None)
    if preview is None or not labels.pool.size:
        return None
    return preview(labels.table.take(labels.pool[:1]))


def _expected_costs(teacher, labels, cost_per_row):
    """Return what the teacher expects some rows of the pool to cost, one by one."""
    estimate = getattr(teacher, "estimate_cost", None)
    if estimate is None or cost_per_row is not None:
        return ()
    # Evenly spread, as pools are often sorted by something.
    step = max(1, labels.pool.size // EXAMPLE_ROWS)
    rows = labels.pool[::step][:EXAMPLE_ROWS]
    costs = [estimate(labels.table.take(row)) for row in rows[:, np.newaxis]]
    return () if None in costs else tuple(costs)
