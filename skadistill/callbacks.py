"""Callbacks: a progress bar of the rounds of a fit."""

from typing import Any
from weakref import WeakKeyDictionary

from skadistill._utils.optional import require

__all__ = ["TqdmProgress"]

# A fit's own task -> its bar. Not on the callback, which is pickled and copied.
_BARS: WeakKeyDictionary = WeakKeyDictionary()


class TqdmProgress:
    """Show the rounds of :class:`~skadistill.ActiveDistiller` as a tqdm progress bar.

    This is a callback for ``set_callbacks``, with any version of scikit-learn. The bar
    also shows the labels paid so far, the teacher's error rate, and the student's score
    if `X_val` is given. scikit-learn 1.9 and newer has its own bar,
    ``sklearn.callback.ProgressBar``, which uses rich and also shows searches.

    Parameters
    ----------
    **options : dict
        Passed to ``tqdm.auto.tqdm``, for example ``file=``, ``leave=False`` or
        ``disable=None``, which draws only on terminals.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.callbacks import TqdmProgress
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> y = np.where(np.arange(60) % 6 == 0, X[:, 0] > 0, -1)
    >>> distiller = ActiveDistiller(
    ...     lambda X: X[:, 0] > 0, LogisticRegression(), budget=20, query_size=5
    ... )
    >>> distiller.set_callbacks(TqdmProgress(disable=None)).fit(X, y).n_rounds_
    4
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._tqdm = require("tqdm.auto", "progress").tqdm

    def setup(self, estimator: Any, context: Any) -> None:
        """Open the bar."""
        options = {"desc": context.estimator_name, "unit": "round"} | self.options
        _BARS[context] = self._tqdm(total=context.max_subtasks, **options)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> Any:
        """Do nothing: a round is counted at its end."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any
    ) -> None:
        """Count a round."""
        if context in _BARS:  # the fit itself, which may need fewer rounds than planned
            _BARS[context].total = _BARS[context].n
            _BARS[context].refresh()
            return
        bar = _BARS[context.parent]
        beside = {
            "paid": fitted_estimator.n_paid_,
            "teacher error": fitted_estimator.teacher_error_,
            "score": fitted_estimator.history_[-1]["student_score"],
        }
        known = {name: value for name, value in beside.items() if value is not None}
        bar.set_postfix(known, refresh=False)
        bar.update()

    def teardown(self, estimator: Any, context: Any) -> None:
        """Close the bar."""
        _BARS.pop(context).close()
