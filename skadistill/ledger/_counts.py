"""What a ledger counts."""

__all__ = ["NO_COUNTS", "column_order", "total_summary"]

#: What a ledger counts for each teacher.
NO_COUNTS = {
    "n_labels": 0,
    "n_no_label": 0,
    "n_paid": 0,
    "n_calls": 0,
    "n_failed": 0,
    "n_lost": 0,
    "cost": 0.0,
    "seconds": 0.0,
}


def total_summary(teachers):
    """Add up what each teacher was paid.

    Parameters
    ----------
    teachers : dict of dict
        Counts for each identity.

    Returns
    -------
    summary : dict
        Totals, and ``teachers``.

    Examples
    --------
    >>> from skadistill.ledger._counts import NO_COUNTS, total_summary
    >>> total_summary({"a": NO_COUNTS | {"n_paid": 2}, "b": NO_COUNTS})["n_paid"]
    2
    """
    total = {
        name: sum((counts[name] for counts in teachers.values()), start=zero)
        for name, zero in NO_COUNTS.items()
    }
    return {**total, "teachers": teachers}


def column_order(stored, wanted):
    """Return where among the stored classes each wanted one is.

    Parameters
    ----------
    stored, wanted : sequence of n_classes labels
        The same classes in two orders.

    Returns
    -------
    order : list of int
        ``table[:, order]`` has the wanted columns.

    Examples
    --------
    >>> from skadistill.ledger._counts import column_order
    >>> column_order(["a", "b", "c"], ["c", "a", "b"])
    [2, 0, 1]
    """
    position = {c: i for i, c in enumerate(stored)}
    return [position[c] for c in wanted]
