"""Contracts as checks: for what skadistill brings, and for what others write."""

from skadistill.testing._objective import check_objective

__all__ = ["check_objective"]
