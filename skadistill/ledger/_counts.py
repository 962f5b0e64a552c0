"""What a ledger counts."""

__all__ = ["NO_COUNTS", "bill_text", "column_order", "total_summary", "with_losses"]

#: What a ledger counts for each teacher.
NO_COUNTS = {
    "n_labels": 0,
    "n_no_label": 0,
    "n_paid": 0,
    "n_calls": 0,
    "n_failed": 0,
    "n_lost": 0,
    "n_unanswered": 0,
    "cost": 0.0,
    "lost_cost": 0.0,
    "max_lost_cost": 0.0,
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


def with_losses(counts):
    """Estimate what the answers cost that a teacher may bill and that were lost.

    Parameters
    ----------
    counts : dict
        Of the teacher, without ``lost_cost``.

    Returns
    -------
    counts : dict
        With it: each lost answer at the mean price of those that arrived, or all at
        their most if none did.

    Examples
    --------
    >>> from skadistill.ledger._counts import NO_COUNTS, with_losses
    >>> counts = NO_COUNTS | {"n_paid": 4, "cost": 2.0, "max_lost_cost": 30.0}
    >>> with_losses(counts | {"n_lost": 2, "n_unanswered": 1})["lost_cost"]
    1.5
    """
    cost = counts["max_lost_cost"]
    if counts["n_paid"]:
        n_lost = counts["n_lost"] + counts["n_unanswered"]
        cost = min(cost, counts["cost"] / counts["n_paid"] * n_lost)
    return counts | {"lost_cost": cost}


def bill_text(counts):
    """Write the money of a ledger, with what is only estimated of it.

    Parameters
    ----------
    counts : dict
        A summary, or the counts of one teacher.

    Returns
    -------
    text : str
        Empty if no money is known.

    Examples
    --------
    >>> from skadistill.ledger._counts import NO_COUNTS, bill_text
    >>> counts = NO_COUNTS | {"cost": 0.0251, "n_lost": 328}
    >>> bill_text(counts | {"lost_cost": 0.004, "max_lost_cost": 0.225})
    '0.0251, plus about 0.004 (at most 0.225) for 328 rows whose answers were lost'
    """
    n_lost = counts["n_lost"] + counts.get("n_unanswered", 0)
    most = counts.get("max_lost_cost", 0.0)
    if not (n_lost and most):
        return f"{counts['cost']:g}" if counts["cost"] else ""
    about = f"{counts['lost_cost']:.3g} (at most {most:.3g})"
    return (
        f"{counts['cost']:g}, plus about {about} for {n_lost} rows whose answers were "
        "lost"
    )


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
