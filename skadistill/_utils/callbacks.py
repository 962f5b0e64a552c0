"""What scikit-learn 1.9 calls callbacks, for the versions before it.

As much of :mod:`sklearn.callback` as one estimator with one level of tasks needs:
the same methods, called at the same moments, so that a callback written for either
runs with both.
"""

import copy
import functools
import inspect
import uuid
from contextlib import ExitStack

__all__ = ["CallbackSupportMixin", "with_callbacks"]


class CallbackContext:
    """One task of a fit."""

    def __init__(self, estimator, task_name, *, max_subtasks=0, parent=None):
        self.estimator_name = type(estimator).__name__
        self.task_name = task_name
        self.max_subtasks = max_subtasks
        self.parent = parent
        self.task_id = 0 if parent is None else parent.n_subtasks
        self.root_uuid = uuid.uuid4() if parent is None else parent.root_uuid
        self.n_subtasks = 0
        self._estimator = estimator

    def subcontext(self, task_name):
        """Return the context of the next task below this one."""
        context = CallbackContext(self._estimator, task_name, parent=self)
        self.n_subtasks += 1
        return context

    def call_on_fit_task_begin(self, *, estimator):
        """Tell every callback that the task begins."""
        for callback in callbacks_of(estimator):
            callback.on_fit_task_begin(estimator, self)

    def call_on_fit_task_end(self, *, estimator, reconstruction_attributes):
        """Tell every callback that the task ends; True when one asks to stop."""
        fitted = functools.cache(
            lambda: fitted_copy(estimator, reconstruction_attributes())
        )
        stop = False
        for callback in callbacks_of(estimator):
            hook = callback.on_fit_task_end
            wanted = "fitted_estimator" in inspect.signature(hook).parameters
            given = {"fitted_estimator": fitted()} if wanted else {}
            stop |= bool(hook(estimator, self, **given))
        return stop


class CallbackSupportMixin:
    """Take callbacks and tell them about the tasks of a fit."""

    _to_tear_down: ExitStack

    def set_callbacks(self, *callbacks):
        """Set the callbacks, none to remove them."""
        hooks = ("setup", "on_fit_task_begin", "on_fit_task_end", "teardown")
        for callback in callbacks:
            missing = [name for name in hooks if not hasattr(callback, name)]
            if missing or isinstance(callback, type):
                raise TypeError(
                    f"{callback!r} is not a callback: "
                    + (f"it lacks {missing}" if missing else "it is a class")
                    + "; pass instances with the methods that scikit-learn's "
                    "FitCallback has."
                )
        if callbacks:
            self._skl_callbacks = list(callbacks)
        else:
            vars(self).pop("_skl_callbacks", None)
        return self

    def _init_callback_context(self, *, max_subtasks):
        """Open the task of the whole fit and set the callbacks up."""
        context = CallbackContext(self, "fit", max_subtasks=max_subtasks)
        for callback in callbacks_of(self):
            self._to_tear_down.callback(callback.teardown, self, context)
            callback.setup(self, context)
        return context


def with_callbacks(method):
    """Tear callbacks down after a method, however it ends."""

    @functools.wraps(method)
    def managed(estimator, *args, **kwargs):
        with ExitStack() as estimator._to_tear_down:
            try:
                return method(estimator, *args, **kwargs)
            finally:
                del estimator._to_tear_down

    return managed


def callbacks_of(estimator):
    """Return the callbacks of an estimator."""
    return getattr(estimator, "_skl_callbacks", [])


def fitted_copy(estimator, attributes):
    """Return a copy that is fitted as far as it has come."""
    fitted = copy.copy(estimator)
    vars(fitted).update(attributes)
    vars(fitted).pop("_to_tear_down", None)  # the fit's own; cannot be pickled
    return fitted
