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
    """Add up what each teacher was paid."""
    total = {
        name: sum((counts[name] for counts in teachers.values()), start=zero)
        for name, zero in NO_COUNTS.items()
    }
    return {**total, "teachers": teachers}


def with_losses(counts):
    """Estimate what the answers cost that a teacher may bill and that were lost."""
    cost = counts["max_lost_cost"]
    if counts["n_paid"]:
        n_lost = counts["n_lost"] + counts["n_unanswered"]
        cost = min(cost, counts["cost"] / counts["n_paid"] * n_lost)
    return counts | {"lost_cost": cost}


def bill_text(counts):
    """Write the money of a ledger, with what is only estimated of it."""
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
    """Return where among the stored classes each wanted one is."""
    position = {c: i for i, c in enumerate(stored)}
    return [position[c] for c in wanted]
