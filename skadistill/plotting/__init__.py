"""Displays of fitted objects: their numbers, as tables and plots."""

from skadistill.plotting._cascade import CascadeDisplay
from skadistill.plotting._learning_curve import LearningCurveDisplay
from skadistill.plotting._pareto_front import ParetoFrontDisplay
from skadistill.plotting._query_rounds import QueryRoundsDisplay
from skadistill.plotting._reliability import TeacherReliabilityDisplay
from skadistill.plotting._suspects import SuspectsDisplay

__all__ = [
    "CascadeDisplay",
    "LearningCurveDisplay",
    "ParetoFrontDisplay",
    "QueryRoundsDisplay",
    "SuspectsDisplay",
    "TeacherReliabilityDisplay",
]
