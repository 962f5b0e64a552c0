"""Which models answered, as their endpoints said, in a SQL ledger."""

__all__ = ["count_models", "note_model"]


def note_model(db, payment, model):
    """Keep which model answered in a call."""
    if model is not None:
        db.run(
            "INSERT INTO payment_models (payment, model) "
            f"VALUES ({db.mark}, {db.mark})",
            (payment, model),
        )


def count_models(db, teacher_id):
    """Count the rows that each model answered."""
    where = "" if teacher_id is None else f"WHERE identity = {db.mark} "
    found = db.rows(
        "SELECT model, sum(n_rows) FROM payment_models "
        "JOIN payments ON payments.id = payment "
        f"JOIN teachers ON teachers.id = teacher {where}"
        "GROUP BY model ORDER BY min(payments.id)",
        () if teacher_id is None else (teacher_id,),
    )
    return {model: int(n_rows) for model, n_rows in found}
