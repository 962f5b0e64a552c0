"""What may still be spent, and who has reserved it."""

import math
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

from skadistill.exceptions import BudgetError, LedgerError

__all__ = ["Claim", "Spending", "check_amount", "check_limits", "grant_rows"]


@dataclass(frozen=True, eq=False)
class Claim:
    """Hold rows that only one buyer may pay for at this time.

    Rows in none of the three masks got a label meanwhile, or another buyer is
    paying for them.

    Parameters
    ----------
    granted : ndarray of bool of shape (n_samples,)
        Rows to pay for now.
    refused : ndarray of bool of shape (n_samples,)
        Rows that the ledger's budget will never pay for: it is spent.
    waiting : ndarray of bool of shape (n_samples,)
        Rows that the budget may still pay for: open claims, this one included, have
        reserved the rest of it and may return some. Claim them again later.
    max_cost_per_row : ndarray of float64 of shape (n_samples,) or None, default=None
        What each row can cost at most.
    token : object, default=None
        How the ledger identifies the claim.
    job : str or None, default=None
        The asynchronous job that holds the rows, see `BaseLedger.jobs`.

    Examples
    --------
    >>> from skadistill.ledger import MemoryLedger, row_keys
    >>> ledger = MemoryLedger(max_rows=1)
    >>> ledger.claim(row_keys([[0.0], [1.0]]), "teacher", (0, 1)).granted
    array([ True, False])
    """

    granted: np.ndarray
    refused: np.ndarray
    waiting: np.ndarray
    max_cost_per_row: np.ndarray | None = None
    token: Any = None
    job: str | None = None


@dataclass(frozen=True)
class Spending:
    """Count what a ledger has spent, and what open claims reserve beyond that."""

    n_rows: int
    n_reserved: int
    cost: float
    reserved: float


def grant_rows(free, prices, *, max_rows, max_cost, spending):
    """Divide the rows that a buyer wants by what the budget says about them."""
    check_limits(max_rows, max_cost)
    now = ever = math.inf
    granted = free.copy()
    beyond = np.zeros(len(free), dtype=bool)
    if max_rows is not None:
        # Even if every claim is released, no more rows than these are left.
        ever = max(0, max_rows - spending.n_rows)
        now = max(0, ever - spending.n_reserved)
    if max_cost is not None:
        if prices is None:
            raise BudgetError(
                f"the ledger has max_cost={max_cost:g} but the teacher names no price; "
                "set its cost_per_row, or limit the ledger by max_rows."
            )
        left = float(max_cost) - spending.cost
        # Rows cost their price at most: one that could be paid for alone may turn out
        # to be affordable.
        beyond = ~_is_affordable(prices, left)
        granted = _affordable_rows(free & ~beyond, prices, left - spending.reserved)
    granted &= np.cumsum(granted) <= now
    refused = free & ~granted & (beyond | (np.cumsum(free) > ever))
    return granted, refused, free & ~granted & ~refused


def check_amount(value, name, error=LedgerError):
    """Return an amount of money or of seconds as a float.

    Every amount that enters a ledger passes here: databases store what they do not
    know, such as numpy's numbers, as bytes, which count as nothing in a sum.
    """
    number = isinstance(value, Real | Decimal) and not isinstance(value, bool)
    try:
        amount = float(value) if number else math.nan
    except (ArithmeticError, ValueError):  # a signaling NaN; too large for a float
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise error(f"{name} is {value!r}; pass a finite number, at least 0.")
    return amount


def check_limits(max_rows, max_cost):
    """Raise an error if limits are not amounts."""
    if max_rows is not None:
        whole = isinstance(max_rows, Integral) and not isinstance(max_rows, bool)
        if not whole or max_rows < 0:
            raise BudgetError(
                f"max_rows is {max_rows!r}; pass a whole number of rows, at least 0, "
                "or None for no limit."
            )
    if max_cost is not None:
        check_amount(max_cost, "max_cost", BudgetError)


def _is_affordable(price, money):
    """Return whether money pays for a price, but for the last bits of both."""
    # 0.3 - 0.1 - 0.1 is 0.0999...
    return price <= money + 1e-9 * price


def _affordable_rows(wanted, prices, money):
    """Return which rows money pays for, in their order; dear ones are passed over."""
    granted = np.zeros(len(wanted), dtype=bool)
    for i in np.flatnonzero(wanted).tolist():
        if _is_affordable(prices[i], money):
            granted[i] = True
            money -= prices[i]
    return granted
