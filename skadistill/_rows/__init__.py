"""Rows in any container: count, take, stack, key, and read from outside memory."""
