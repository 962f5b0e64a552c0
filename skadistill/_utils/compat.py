"""Every name borrowed from a private or young corner of scikit-learn and joblib.

One place to look when scikit-learn moves something; each entry names the
version in which it appeared or left.
"""

from contextlib import contextmanager

from sklearn.base import _fit_context
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    validate_data,
)

try:  # scikit-learn >= 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:
    from skadistill._utils.callbacks import CallbackSupportMixin, with_callbacks

try:  # joblib >= 1.6
    from cloudpickle import Pickler as CloudPickler
except ImportError:
    from joblib.externals.cloudpickle import Pickler as CloudPickler

__all__ = [
    "BaseSearchCV",
    "CallbackSupportMixin",
    "CloudPickler",
    "HasMethods",
    "Interval",
    "Options",
    "RealNotInt",
    "RoundTasks",
    "StrOptions",
    "check_sample_weight",
    "fit_context",
    "num_samples",
    "safe_indexing",
    "validate_arguments",
    "validate_data",
    "validate_parameters",
    "with_callbacks",
]

fit_context = _fit_context  # since scikit-learn 1.3
check_sample_weight = _check_sample_weight
num_samples = _num_samples
safe_indexing = _safe_indexing


def validate_parameters(estimator):
    """Check an object's parameters against its constraint table."""
    validate_parameter_constraints(
        estimator._parameter_constraints,
        estimator.get_params(deep=False),
        caller_name=type(estimator).__name__,
    )


def validate_arguments(constraints, arguments, caller):
    """Check a function's arguments against a constraint table."""
    validate_parameter_constraints(constraints, arguments, caller_name=caller)


class RoundTasks:
    """Report each round as one task of scikit-learn's callbacks."""

    def __init__(self, estimator, n_tasks, fitted_attributes, progress):
        self.estimator = estimator
        self.fitted_attributes = fitted_attributes
        self.progress = progress
        self.context = estimator._init_callback_context(max_subtasks=n_tasks)
        self.context.call_on_fit_task_begin(estimator=estimator)

    @contextmanager
    def round(self, number):
        """Report the start of a round, and its end unless it fails."""
        task = self.context.subcontext(task_name=f"round {number}")
        task.call_on_fit_task_begin(estimator=self.estimator)
        yield
        self.progress.callback |= self._end(task)

    def close(self):
        """End the fit's own task."""
        self._end(self.context)

    def _end(self, task):
        return bool(
            task.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=self.fitted_attributes,
            )
        )
