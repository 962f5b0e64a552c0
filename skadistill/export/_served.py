"""Find the student inside distillers, searches and pipelines."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

__all__ = ["last_step", "served_model"]


def served_model(model):
    """Return the part of a fitted model that makes its predictions.

    Parameters
    ----------
    model : estimator
        A classifier, distiller or search, or a pipeline that ends in one.

    Returns
    -------
    served : estimator
        The student of a distiller, or the best estimator of a search; in a pipeline
        the last step is replaced by it. Only pipelines are copied.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.export._served import served_model
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    >>> student = LogisticRegression(random_state=0)
    >>> model = ActiveDistiller(lambda X: X, student).fit(X, y)
    >>> served_model(model)
    LogisticRegression(random_state=0)
    """
    check_is_fitted(model)
    for inside in ("student_", "best_estimator_"):
        if hasattr(model, inside):
            return served_model(getattr(model, inside))
    if isinstance(model, Pipeline):
        *steps, (name, last) = model.steps
        return Pipeline([*steps, (name, served_model(last))])
    return model


def last_step(model):
    """Return the classifier at the end of a pipeline; any other model itself."""
    return last_step(model[-1]) if isinstance(model, Pipeline) else model
