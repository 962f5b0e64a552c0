"""Find the student inside distillers, searches and pipelines."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

__all__ = ["last_step", "served_model"]


def served_model(model):
    """Return the part of a fitted model that makes its predictions."""
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
