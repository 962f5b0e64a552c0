"""The games behind the robust sampler: gains, their solutions and the draw.

For readers of the paper, and for custom strategies. All functions take arrays
and return arrays; none of them knows of pools, students or teachers.
"""

from skadistill.query._game.draw import fixed_size_sample
from skadistill.query._game.level import water_level
from skadistill.query._game.regret import regret_inclusion
from skadistill.query._game.robust import robust_distribution, worst_case_value
from skadistill.query._measures import margin_gain

__all__ = [
    "fixed_size_sample",
    "margin_gain",
    "regret_inclusion",
    "robust_distribution",
    "water_level",
    "worst_case_value",
]
