"""What was bought: labels, and their price."""

from dataclasses import dataclass

import numpy as np

__all__ = ["LabelPurchase"]


@dataclass(frozen=True, eq=False)
class LabelPurchase:
    """Hold the labels that `buy_labels` bought or found, and what they cost."""

    keys: np.ndarray
    labels: np.ndarray
    paid: np.ndarray
    labeled: np.ndarray
    n_paid: int
    n_free: int
    seconds: float
    n_calls: int
    cost: float = 0.0
    n_refused: int = 0
    embeddings: np.ndarray | None = None
    n_embedded: int = 0
    no_label: np.ndarray | None = None
    n_no_label: int = 0
