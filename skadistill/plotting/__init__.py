"""Displays: what a fitted object knows, as numbers and as a drawing."""

from skadistill.plotting._cost_frontier import CostFrontierDisplay

__all__ = ["CostFrontierDisplay"]
