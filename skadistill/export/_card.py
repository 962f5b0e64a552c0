"""Model cards: how a student was made, on one page."""

from typing import Any

from sklearn.pipeline import Pipeline

from skadistill._fitted import facts
from skadistill._utils.optional import require
from skadistill.export._onnx import served_model

__all__ = ["model_card"]


def model_card(model: Any, *, comparison: Any = None) -> Any:
    """Return a model card that states how a student was made.

    The card states the student and its size, the numbers of rows that were labeled,
    asked about and paid for, the teacher's error rate and on how many rows it was
    measured, objective, strategy, rounds and versions. Unless a comparison is given it
    contains no dates or durations, so that equal fits give equal cards.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~skadistill.ActiveDistiller`, a search over one, or a
        pipeline that ends in one. The card of a fitted student without its distiller
        contains only the student and the versions.
    comparison : Comparison or None, default=None
        What :meth:`~skadistill.ActiveDistiller.compare` returned: accuracy, time, size
        and price of the student beside its teacher.

    Returns
    -------
    card : skops.card.Card
        ``render()`` returns the text in Markdown, ``save(path)`` writes it, ``add``
        adds sections, such as the intended use, ``add_table`` and ``add_plot`` add
        measurements.

    Raises
    ------
    ImportError
        If skops is not installed.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    to_onnx : Export the student.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.export import model_card
    >>> X, y = load_iris(return_X_y=True)
    >>> y[40:50], y[80:100], y[110:] = -1, -1, -1
    >>> distiller = ActiveDistiller(
    ...     LogisticRegression(max_iter=1000), LogisticRegression(max_iter=1000),
    ...     budget=10, query_size=10, random_state=0,
    ... ).fit(X, y)
    >>> card = model_card(distiller)
    >>> for line in card.select("Rounds").format().splitlines():
    ...     print(line[:42])
    | Round | Rows trained on | Asked | Paid |
    | :---: | :-------------: | :---: | :--: |
    |   0   |        80       |   0   |  0   |
    |   1   |        90       |   10  |  10  |
    """
    cards = require("skops.card", "export")
    served = served_model(model)
    distiller = _find_distiller(model)
    card = cards.Card(model, template=None, model_diagram=False)
    card.add_table(Student=_table(facts.about_student(served)))
    if distiller is not None:
        card.add_table(Labels=_table(facts.about_labels(distiller)))
        card.add_table(Teacher=_table(facts.about_teacher(distiller)))
        card.add_table(Rounds=facts.rounds(distiller.history_))
    if comparison is not None:
        head, *rows = comparison.cells()
        columns = dict(zip(["Model", *head[1:]], zip(*rows, strict=True), strict=True))
        card.add_table(
            Comparison={title: list(column) for title, column in columns.items()}
        )
        card.add(**{"Comparison/Conclusion": comparison.conclusion})
    card.add_table(Versions=_table(facts.versions()))
    return card


def _find_distiller(model):
    """Return the distiller in a pipeline or a search, or None."""
    if hasattr(model, "best_estimator_"):
        return _find_distiller(model.best_estimator_)
    if isinstance(model, Pipeline):
        return _find_distiller(model[-1])
    return model if hasattr(model, "student_") else None


def _table(facts):
    """Return facts as the columns of a table."""
    return {"Fact": list(facts), "Value": list(facts.values())}
