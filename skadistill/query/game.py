"""The game behind the robust sampler: gains, and the distribution that solves it.

For readers of the paper, and for custom strategies. Both functions take
arrays and return arrays; neither knows of pools, students or teachers.
"""

from skadistill.query._game.robust import robust_distribution
from skadistill.query._measures import margin_gain

__all__ = [
    "margin_gain",
    "robust_distribution",
]
