"""Contracts as checks: for what skadistill brings, and for what others write."""

from skadistill.testing._ledger import check_ledger
from skadistill.testing._objective import check_objective
from skadistill.testing._strategy import check_strategy
from skadistill.testing._teacher import check_teacher

__all__ = ["check_ledger", "check_objective", "check_strategy", "check_teacher"]
