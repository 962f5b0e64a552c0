"""Cascade: the student answers what it is sure of, the teacher the rest."""

import contextlib
import copy
import multiprocessing
import warnings
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skadistill._rows._containers import (
    count_rows,
    stack_rows,
    take_metadata,
    take_rows,
)
from skadistill._rows._keys import row_keys
from skadistill._statistics.intervals import exact_lower, exact_upper
from skadistill._utils.compat import (
    HasMethods,
    Interval,
    fit_context,
    validate_parameters,
)
from skadistill._utils.validation import read_labels
from skadistill.deploy._audit import (
    audit,
    check_audit_size,
    deferral_threshold,
    promised_threshold,
    teacher_of,
)
from skadistill.exceptions import (
    BudgetError,
    BudgetWarning,
    CascadeError,
    TeacherError,
)
from skadistill.labeling._buy import buy_labels
from skadistill.teachers._as_teacher import as_teacher

__all__ = ["Cascade"]


class Cascade(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Let the student answer if it is sure, and ask the teacher otherwise.

    A row is deferred to the teacher if the student's largest probability does not
    exceed a threshold. The threshold is set on audit rows that the student was not
    trained on, so that the cascade agrees with the teacher on a share `target` of all
    rows, with a confidence that is exact. Deferred rows are paid for through the
    distiller's ledger, and cost nothing when they come again.

    Parameters
    ----------
    distiller : ActiveDistiller
        `fit` fits a clone of it; `calibrate` uses it as it is, fitted.
    target : float, default=0.98
        Share of all rows, in (0, 1), whose answer by the cascade must be the
        teacher's.
    max_deferred : float or None, default=None
        Instead of `target`: share of rows, in [0, 1), that may be deferred; see
        ``report_`` for the agreement this gives. 0: the student alone.
    confidence : float, default=0.95
        In (0, 1). The promise is broken in at most 1 minus so many audits.
    n_audit : int, default=300
        Audit rows to draw.
    budget : int or None, default=None
        Rows that predictions may newly pay for in all, those of other threads and of
        processes forked from this one included. None: as many as the ledger allows. A
        limit for processes started otherwise belongs to the ledger.
    random_state : int, RandomState or None, default=None
        Draws the audit rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    distiller_ : ActiveDistiller
        The fitted distiller, whose ``student_`` answers.
    teacher_ : object or None
        The teacher that is asked. It is not pickled: assign it after loading.
    threshold_ : float
        Rows whose largest probability is above it are answered by the student.
    report_ : dict
        What the audit rows show: ``n_audit``; ``deferred``, the share of rows
        deferred, and ``deferred_high``, its upper bound; ``agreement`` with the
        teacher and ``agreement_low``, its lower bound; ``n_paid`` and ``cost`` of the
        audit; ``cost_per_1000`` predictions, None without a price; ``break_even``,
        the number of predictions after which all that was paid, by fits and audits too,
        is less than the teacher alone would have cost; ``curve``, the ``agreement``
        seen for each share ``deferred``, which promises nothing.
    usage_ : dict
        What predictions did so far: ``n_predictions``, ``n_deferred``, ``n_paid``,
        ``n_fallback`` (deferred rows that the teacher could not be asked about, or
        answered without a label) and ``cost``.

    See Also
    --------
    certify_agreement : Whether the student alone is good enough.

    Notes
    -----
    The cascade can differ from the teacher only on rows that the student answers. With
    n audit rows and k of them answered differently by student and teacher and above a
    threshold, the threshold keeps the promise if the exact upper bound of Clopper and
    Pearson for k of n is at most 1 - target. Thresholds are tested one after another
    from the highest down and the first that fails ends the search, so that no
    correction for their number is needed (fixed-sequence testing [1]_). Choosing the
    threshold by the share seen on the audit rows breaks the promise in half of the
    audits.

    The promise is about rows like the audit rows, and about agreement with the
    teacher, not about truth. If nothing can be promised, `fit` raises an error with
    the number of audit rows that would be needed at least.

    References
    ----------
    .. [1] Angelopoulos, Bates, Candes, Jordan, Lei. "Learn then Test: Calibrating
       Predictive Algorithms to Achieve Risk Control." arXiv:2110.01052 (2021).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.datasets import make_noisy_teacher_problem
    >>> from skadistill.deploy import Cascade
    >>> problem = make_noisy_teacher_problem(
    ...     n_labeled=100, n_pool=1500, teacher_error=0.02, random_state=0
    ... )
    >>> distiller = ActiveDistiller(
    ...     problem.teacher, LogisticRegression(), budget=300, random_state=0
    ... )
    >>> cascade = Cascade(distiller, target=0.9, random_state=0).fit(
    ...     problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool
    ... )
    >>> cascade.report_["agreement_low"] >= 0.9
    True
    >>> y, source = cascade.predict(problem.X_pool[:5], return_source=True)
    >>> sorted(set(source) - {"student", "teacher"})
    []
    """

    distiller_: Any
    teacher_: Any
    threshold_: float
    report_: dict[str, Any]

    _parameter_constraints: dict = {
        "distiller": [HasMethods(["fit", "predict"])],
        "target": [Interval(Real, 0, 1, closed="neither")],
        "max_deferred": [Interval(Real, 0, 1, closed="left"), None],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "n_audit": [Interval(Integral, 1, None, closed="left")],
        "budget": [Interval(Integral, 0, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    usage_: dict[str, Any]
    _X_audit: Any
    _deferred: list
    _n_invested: int
    _paid: Any

    def __init__(
        self,
        distiller: Any,
        *,
        target: float = 0.98,
        max_deferred: float | None = None,
        confidence: float = 0.95,
        n_audit: int = 300,
        budget: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.distiller = distiller
        self.target = target
        self.max_deferred = max_deferred
        self.confidence = confidence
        self.n_audit = n_audit
        self.budget = budget
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_unlabeled: Any = None,
        X_audit: Any = None,
        **params: Any,
    ) -> Self:
        """Fit a clone of the distiller and set the threshold.

        Parameters
        ----------
        X, y, X_unlabeled : as in `ActiveDistiller.fit`
            The rows, in memory.
        X_audit : container of rows or None, default=None
            Rows for the audit, drawn like those to be predicted. Rows of `X` without a
            label and of `X_unlabeled` that are among them are left out of the pool.
            None: A uniform sample of `n_audit` rows of the pool is kept for this.
        **params : dict
            Passed to the distiller's ``fit``.

        Returns
        -------
        self : Cascade
            Fitted.

        Raises
        ------
        BudgetError
            If there are too few rows for the audit.
        CascadeError
            If no threshold keeps the promise.
        """
        return self._fit(clone(self.distiller), X, y, X_unlabeled, X_audit, params)

    def calibrate(self, X_audit: Any) -> Self:
        """Set the threshold for a distiller that is already fitted.

        Parameters
        ----------
        X_audit : container of rows
            Rows for the audit, as in `fit`; those that the student was trained on are
            left out.

        Returns
        -------
        self : Cascade
            Fitted.
        """
        validate_parameters(self)
        check_is_fitted(self.distiller)
        return self._set_threshold(self.distiller, X_audit)

    def refit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_unlabeled: Any = None,
        X_audit: Any = None,
        **params: Any,
    ) -> Self:
        """Fit again with the deferred rows in the pool, whose labels are paid for.

        All labels in the ledger train the new student from its first round and fill
        its budget; more is paid only if that is larger.

        Parameters
        ----------
        X, y, X_unlabeled : as in `fit`
            The same rows as before, or more.
        X_audit : container of rows or None, default=None
            None: the audit rows used before, whose answers cost nothing again. They
            decided which rows were deferred, so that the promise strictly needs fresh
            ones.
        **params : dict
            Passed to the distiller's ``fit``.

        Returns
        -------
        self : Cascade
            Fitted again; ``usage_`` goes on.
        """
        check_is_fitted(self, "threshold_")
        if X_audit is None:
            X_audit = self._X_audit
        if X_audit is None:
            raise ValueError(
                "this cascade was loaded from a pickle, which holds no rows; pass "
                "X_audit."
            )
        if self._deferred:
            pieces = list(self._deferred)
            if X_unlabeled is not None:
                pieces.insert(0, X_unlabeled)
            X_unlabeled = stack_rows(pieces)
        distiller = clone(self.distiller).set_params(use_known=True)
        kept = self.usage_, self._deferred, self._paid
        n_invested = self._n_invested
        self._fit(distiller, X, y, X_unlabeled, X_audit, params, n_invested)
        self.usage_, self._deferred, self._paid = kept
        return self

    @overload
    def predict(
        self, X: Any, *, return_source: Literal[False] = False
    ) -> NDArray[Any]: ...

    @overload
    def predict(
        self, X: Any, *, return_source: Literal[True]
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

    def predict(self, X: Any, *, return_source: bool = False) -> Any:
        """Predict classes: the student's if it is sure, else the teacher's.

        Parameters
        ----------
        X : container of n_samples rows
            As in `fit`.
        return_source : bool, default=False
            Whether to tell who answered.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Classes.
        source : ndarray of str of shape (n_samples,)
            "student", "teacher", or "fallback": the student, for a row that the
            teacher should have answered. Only if `return_source` is True.

        Raises
        ------
        TeacherError
            If the teacher fails. What was paid for until then is in the ledger, so that
            the same rows cost nothing again.

        Warns
        -----
        BudgetWarning
            If rows were not deferred because the budget is spent, or because there is
            no teacher.
        """
        proba, source = self._answer(X)
        y = self.classes_[proba.argmax(axis=1)]
        return (y, source) if return_source else y

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict probabilities: the student's if it is sure, else the teacher's.

        Parameters
        ----------
        X : container of n_samples rows
            As in `fit`.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._answer(X)[0]

    @property
    def classes_(self) -> Any:
        """The classes of the distiller."""
        return self.distiller_.classes_

    @property
    def n_features_in_(self) -> Any:
        """Features seen in `fit`."""
        return self.distiller_.n_features_in_

    def _fit(self, distiller, X, y, X_unlabeled, X_audit, params, n_invested=0):
        if y is None:
            is_pool = np.ones(count_rows(X), dtype=bool)
        else:
            y, is_pool = read_labels(y, distiller.unlabeled_marker)
        if as_teacher(distiller.teacher).multilabel or np.ndim(y) == 2:
            raise CascadeError(
                "a Cascade defers rows of one class each, and these have several "
                "labels; deploy the distiller itself, or one label at a time."
            )
        rng = check_random_state(self.random_state)
        source = X if X_unlabeled is None else X_unlabeled
        rows = np.flatnonzero(is_pool) if X_unlabeled is None else None
        if X_audit is None:
            chosen = self._choose_audit_rows(source, rows, rng)
            X_audit = take_rows(source, chosen)
        n_audit = min(self.n_audit, count_rows(X_audit))
        check_audit_size(n_audit, self.target, self.max_deferred, self.confidence)
        keys = set(row_keys(X_audit).tolist())
        if X_unlabeled is not None:
            X_unlabeled = take_rows(X_unlabeled, _others(X_unlabeled, keys))
        if is_pool.any():
            pool = np.flatnonzero(is_pool)
            left = pool[_others(take_rows(X, pool), keys)]
            kept = np.sort(np.concatenate([np.flatnonzero(~is_pool), left]))
            params = take_metadata(params, kept, len(is_pool))
            X, y = take_rows(X, kept), None if y is None else y[kept]
        distiller._X_audit = X_audit
        distiller.fit(X, y, X_unlabeled=X_unlabeled, **params)
        del distiller._X_audit
        return self._set_threshold(distiller, X_audit, n_invested)

    def _choose_audit_rows(self, source, rows, rng):
        """Choose rows of the pool that are not used for training."""
        rows = np.arange(count_rows(source)) if rows is None else rows
        if len(rows) < 2 * self.n_audit:
            raise BudgetError(
                f"n_audit={self.n_audit} rows are to be kept of a pool of {len(rows)} "
                "unlabeled rows; pass fewer, at most half of the pool, or X_audit."
            )
        return np.sort(rows[rng.permutation(len(rows))[: self.n_audit]])

    def _set_threshold(self, distiller, X_audit, n_invested=0):
        """Audit the distiller and find out what it can be left to answer."""
        found = audit(
            distiller,
            X_audit,
            self.n_audit,
            random_state=self.random_state,
        )
        sure = found.proba.max(axis=1)
        if self.max_deferred is None:
            threshold = promised_threshold(
                sure, found.agreed, self.target, self.confidence
            )
        else:
            threshold = deferral_threshold(sure, self.max_deferred, self.confidence)
        self.distiller_, self.threshold_ = distiller, threshold
        self.teacher_ = teacher_of(distiller)
        self._n_invested = n_invested + distiller.n_paid_ + found.n_paid
        self.report_ = self._report(found, sure > threshold)
        self.usage_ = dict.fromkeys(
            ("n_predictions", "n_deferred", "n_paid", "n_fallback"), 0
        ) | {"cost": 0.0}
        self._X_audit, self._deferred = X_audit, []
        self._paid = multiprocessing.Value("q", 0)
        return self

    def _report(self, found, answered):
        """Say what the audit rows show, in shares and in money."""
        n_audit, n_deferred = len(answered), int((~answered).sum())
        n_wrong = int((answered & ~found.agreed).sum())
        price = self.teacher_.max_cost_per_row
        if found.n_paid and found.cost:
            price = found.cost / found.n_paid
        share = n_deferred / n_audit
        return {
            "n_audit": n_audit,
            "deferred": share,
            "deferred_high": exact_upper(n_deferred, n_audit, self.confidence),
            "agreement": 1 - n_wrong / n_audit,
            "agreement_low": exact_lower(n_audit - n_wrong, n_audit, self.confidence),
            "n_paid": found.n_paid,
            "cost": found.cost,
            "cost_per_1000": None if price is None else 1000 * share * price,
            "break_even": self._n_invested / (1 - share) if share < 1 else np.inf,
            "curve": _trade_off(found),
        }

    def _answer(self, X):
        """Return probabilities and who they are from."""
        check_is_fitted(self, "threshold_")
        proba = np.array(self.distiller_.predict_proba(X), dtype=np.float64)
        source = np.full(len(proba), "student", dtype="<U8")
        deferred = np.flatnonzero(proba.max(axis=1, initial=0.0) <= self.threshold_)
        if len(deferred):
            source[deferred] = "fallback"
            labels = self._ask(take_rows(X, deferred), deferred)
            got = ~np.isnan(labels).any(axis=1)
            proba[deferred[got]], source[deferred[got]] = labels[got], "teacher"
            self.usage_["n_fallback"] += int((~got).sum())
        # Only now: a teacher that fails ends the prediction, which is made again.
        self.usage_["n_predictions"] += len(proba)
        self.usage_["n_deferred"] += len(deferred)
        return proba, source

    def _ask(self, X, rows):
        """Buy the teacher's answers, as far as there is money; NaN otherwise."""
        if self.teacher_ is None:
            warnings.warn(
                f"{len(rows)} rows should be answered by the teacher, and this cascade "
                "has none: the student answers; assign the teacher to teacher_.",
                BudgetWarning,
                stacklevel=4,
            )
            return np.full((len(rows), len(self.classes_)), np.nan)
        left = self._reserve(len(rows))
        n_paid = left or 0  # unless it is known to be less
        try:
            purchase = buy_labels(
                self.teacher_,
                X,
                classes=self.classes_,
                ledger=self.distiller_.ledger_,
                max_rows=left,
                row_numbers=rows,
            )
        except TeacherError as error:
            # Batches before the fault are paid for, and count towards the budget.
            n_paid = getattr(error, "n_paid", 0)
            self.usage_["n_paid"] += n_paid
            raise
        else:
            n_paid = purchase.n_paid
        finally:
            self._return(left, n_paid)
        self.usage_["n_paid"] += purchase.n_paid
        self.usage_["cost"] += purchase.cost
        self._deferred.append(take_rows(X, np.flatnonzero(purchase.paid)))
        no_answer = ~purchase.labeled
        if purchase.no_label is not None:
            no_answer &= ~purchase.no_label
        if no_answer.any():
            warnings.warn(
                f"the budget is spent: the student answers {int(no_answer.sum())} rows "
                "that the teacher should answer, and the promise does not hold for "
                "them; raise budget, or the ledger's max_rows or max_cost.",
                BudgetWarning,
                stacklevel=4,
            )
        return purchase.labels

    def _reserve(self, n_rows):
        """Take rows from the budget, which threads and forked processes share."""
        if self.budget is None:
            return None
        with self._shared_paid() as paid:
            left = max(0, min(n_rows, self.budget - paid.value))
            paid.value += left
        return left

    def _return(self, reserved, n_paid):
        """Give back what was reserved and not paid."""
        if reserved is not None:
            with self._shared_paid() as paid:
                paid.value -= reserved - n_paid

    @contextlib.contextmanager
    def _shared_paid(self):
        """Hold the number of rows paid for or reserved."""
        with self._paid.get_lock():
            yield self._paid

    def __getstate__(self) -> Any:
        """Leave out the teacher, which holds keys, and the rows kept for a refit."""
        state = super().__getstate__().copy()
        for name in ("distiller", "distiller_"):
            if name in state:
                state[name] = _without_teacher(state[name])
        if "teacher_" in state:
            state |= {"teacher_": None, "_X_audit": None, "_deferred": []}
        state.pop("_paid", None)
        return state

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if "usage_" in state:
            self._paid = multiprocessing.Value("q", self.usage_["n_paid"])

    def __sklearn_is_fitted__(self):
        return hasattr(self, "threshold_")


def _trade_off(found):
    """Return the agreement on the audit rows for every share that could be deferred."""
    order = np.argsort(found.proba.max(axis=1), kind="stable")
    wrong = (~found.agreed[order])[::-1].cumsum()[::-1]
    n_audit = len(order)
    return {
        "deferred": np.arange(n_audit + 1) / n_audit,
        "agreement": 1 - np.append(wrong, 0) / n_audit,
    }


def _others(X, keys):
    """Return the positions of rows whose key is not among some."""
    return np.flatnonzero([key not in keys for key in row_keys(X).tolist()])


def _without_teacher(distiller):
    """Copy a distiller without its teacher."""
    distiller = copy.copy(distiller)
    distiller.teacher = None
    if hasattr(distiller, "teacher_"):
        distiller.teacher_ = None
    return distiller
