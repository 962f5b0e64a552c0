"""Buy labels from a teacher, through a ledger."""

from skadistill.labeling._buy import buy_labels

__all__ = ["buy_labels"]
