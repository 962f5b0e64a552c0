"""What may still be spent, and who has reserved it."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from skadistill.exceptions import BudgetError

__all__ = ["Claim", "affordable_rows", "check_limits"]


@dataclass(frozen=True, eq=False)
class Claim:
    """Hold rows that one buyer may pay for, and nobody else meanwhile.

    Parameters
    ----------
    granted : ndarray of bool of shape (n_samples,)
        Rows to pay for now.
    refused : ndarray of bool of shape (n_samples,)
        Rows for which the ledger's budget does not suffice. Rows neither granted
        nor refused got a label meanwhile or are being paid for by somebody else.
    max_cost_per_row : float or None, default=None
        What one row can cost at most.
    token : object, default=None
        What the ledger knows the claim by.
    """

    granted: np.ndarray
    refused: np.ndarray
    max_cost_per_row: float | None = None
    token: Any = None


def affordable_rows(max_rows, max_cost, *, n_spent, spent, price):
    """Count the rows that a budget still pays for.

    Parameters
    ----------
    max_rows : int or None
        Limit in rows.
    max_cost : float or None
        Limit in money.
    n_spent : int
        Rows paid for or reserved.
    spent : float
        Money paid or reserved.
    price : float or None
        What one row can cost at most.

    Returns
    -------
    n_samples : int or float
        Whole rows; infinity without a limit.

    Raises
    ------
    BudgetError
        If there is a limit in money and no price.

    Examples
    --------
    >>> from skadistill.ledger._budget import affordable_rows
    >>> affordable_rows(100, 1.0, n_spent=30, spent=0.7, price=0.1)
    3
    """
    n_samples = math.inf if max_rows is None else max(0, max_rows - n_spent)
    if max_cost is None:
        return n_samples
    if price is None:
        raise BudgetError(
            f"the ledger has max_cost={max_cost:g} but the teacher names no price; set "
            "its cost_per_row, or limit the ledger by max_rows."
        )
    if price == 0:
        return n_samples
    # 0.3 / 0.1 is 2.999...: round away the last bits before cutting.
    return min(n_samples, max(0, math.floor(round((max_cost - spent) / price, 9))))


def check_limits(max_rows, max_cost):
    """Refuse limits that are no amounts.

    Parameters
    ----------
    max_rows : int or None
        Limit in rows.
    max_cost : float or None
        Limit in money.

    Raises
    ------
    BudgetError
        If one is negative, not a number, or rows are not whole.
    """
    for name, value, kind, noun in (
        ("max_rows", max_rows, Integral, "a whole number of rows"),
        ("max_cost", max_cost, Real, "an amount of money"),
    ):
        if value is None:
            continue
        number = isinstance(value, kind) and not isinstance(value, bool)
        if not number or not float(value) >= 0:
            raise BudgetError(
                f"{name} is {value!r}; pass {noun}, at least 0, or None for no limit."
            )
