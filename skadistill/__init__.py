"""Distil an expensive, sometimes wrong teacher into a small student."""

__version__ = "0.1.0.dev0"
