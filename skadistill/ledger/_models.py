"""Which models answered, as their endpoints said, in a SQL ledger."""

__all__ = ["count_models", "note_model"]


def note_model(db, payment, model):
    """Keep which model answered in a call.

    Parameters
    ----------
    db : Transaction
        Open for writing.
    payment : int
        Number of the payment.
    model : str or None
        What the endpoint reported; None: nothing.
    """
    if model is not None:
        db.run(
            "INSERT INTO payment_models (payment, model) "
            f"VALUES ({db.mark}, {db.mark})",
            (payment, model),
        )


def count_models(db, teacher_id):
    """Count the rows that each model answered.

    Parameters
    ----------
    db : Transaction
        On the ledger.
    teacher_id : str or None
        The teacher's identity; None: all teachers.

    Returns
    -------
    counts : dict
        Rows of each model, in the order in which they were first heard of.
    """
    where = "" if teacher_id is None else f"WHERE identity = {db.mark} "
    found = db.rows(
        "SELECT model, sum(n_rows) FROM payment_models "
        "JOIN payments ON payments.id = payment "
        f"JOIN teachers ON teachers.id = teacher {where}"
        "GROUP BY model ORDER BY min(payments.id)",
        () if teacher_id is None else (teacher_id,),
    )
    return {model: int(n_rows) for model, n_rows in found}
