"""Shares and their intervals, forecasts, and folds."""
