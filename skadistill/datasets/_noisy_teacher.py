"""A teacher that answers from a table and whose mistakes are known."""

import threading
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d

from skadistill._rows._keys import row_keys
from skadistill.datasets._mistakes import (
    Contents,
    draw_answers,
    draw_probabilities,
    draw_wrong,
)
from skadistill.exceptions import TeacherError

__all__ = ["NoisyTeacher"]


class NoisyTeacher:
    """Answer for the rows of a table, wrong on an exact share of them.

    The teacher is a function ``teacher(X) -> probabilities``. It is made from a table
    with known truth and decides once which rows it gets wrong, and the soft label of
    each. From then on every row gets the same answer. Unlike in a real experiment, the
    wrong answers among the rows that a strategy bought can be counted.

    Soft labels are built from a margin (largest minus second largest probability).
    It is drawn from a Beta distribution with five pseudo-observations and mean 0.8 for
    right answers, 0.4 for wrong ones, so that wrong rows tend to have smaller margins
    and the two overlap, as with trained networks. From the second class on, the
    probabilities halve from rank to rank. On a wrong row the truth has rank 2 or 3 with
    equal chances: the noise model of SLaM [1]_. All other classes are ranked by `proba`
    if given, else at random.

    The teacher is shared, not copied: :func:`sklearn.base.clone` and
    :func:`copy.deepcopy` return the same object, so that its counters keep counting in
    a grid search within one process. A pickled copy starts counting at zero.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        The rows of the table: numbers, in any number of dimensions. Rows are
        compared as float32, so that float64 and float32 copies of a row are the same.
    y : array-like of shape (n_samples,)
        The true label of every row.
    error_rate : float or array-like of shape (n_classes,), default=0.2
        Share of wrong rows, in [0, 1]: exactly ``round(error_rate * n_samples)`` rows
        are wrong. An array holds one rate per class, each as exact, and spreads the
        wrong answers evenly over the other classes.
    error_kind : {"uniform", "margin"}, default="uniform"
        Which rows are wrong.

        - "uniform": any rows, with any of the other classes as the answer.
        - "margin": mostly rows whose truth is hard to tell. With u the rank of a
          row's true margin (probability of the truth minus the largest other one)
          scaled to (0, 1), rows are drawn one after the other with chances
          proportional to ``exp(-concentration * u)``; the answer is the most
          likely other class. Needs `proba`.
    proba : array-like of shape (n_samples, n_classes), default=None
        Class probabilities that tell hard rows from easy ones: the true
        posterior, or out-of-fold predictions of any model.
    concentration : float, default=5.0
        How strongly "margin" prefers hard rows; 0 draws rows uniformly.
    soft : bool, default=True
        False: answers are one-hot rows.
    strata : array-like of shape (n_samples,), default=None
        Parts of the table, for example training and test rows: the rate is exact
        within each.
    random_state : int, RandomState instance or None, default=None
        Seed of every draw.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the answer's columns: the sorted labels of `y`.
    wrong_ : ndarray of bool of shape (n_samples,)
        True for the rows of the table that are answered wrongly.
    answers_ : ndarray of shape (n_samples,)
        The teacher's most likely label of every row.
    error_rate_ : float
        Share of wrong rows in the table.
    n_calls, n_samples : int
        Calls and rows answered so far, including repeats.
    n_distinct_rows : int
        Rows of different content answered so far.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the exact count is impossible because rows
        repeat or equal rows carry different labels.
    TeacherError
        When it is asked about a row that is not in the table.

    Notes
    -----
    Equal rows get one answer. If they carry different labels, the most frequent one
    counts as the truth, and the rows with another label are wrong by necessity. Equal
    rows in different strata are answered correctly.

    References
    ----------
    .. [1] V. Kontonis, F. Iliopoulos, K. Trinh, C. Baykal, G. Menghani, E. Vee,
       "SLaM: Student-Label Mixing for Distillation with Unlabeled Examples",
       NeurIPS 2023, arXiv:2302.03806.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skadistill.datasets import NoisyTeacher
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y = X[:100], y[:100]
    >>> teacher = NoisyTeacher(X, y, error_rate=0.1, random_state=0)
    >>> answer = teacher(X)
    >>> answer.shape, int((answer.argmax(axis=1) != y).sum())
    ((100, 2), 10)
    >>> teacher.n_calls, teacher.n_samples
    (1, 100)
    """

    classes_: NDArray[Any]
    wrong_: NDArray[Any]
    answers_: NDArray[Any]
    error_rate_: float
    n_calls: int
    n_samples: int

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        error_rate: float | ArrayLike = 0.2,
        error_kind: str = "uniform",
        proba: Any = None,
        concentration: float = 5.0,
        soft: bool = True,
        strata: Any = None,
        random_state: Any = None,
    ) -> None:
        rng = check_random_state(random_state)
        keys = _table_keys(X)
        classes, truth, strata = _encode(y, strata, keys)
        rates = _check_rates(error_rate, len(classes))
        proba = _check_proba(proba, error_kind, (len(keys), len(classes)))
        contents = Contents(keys, truth, strata, len(classes))
        if proba is not None:
            proba = proba[contents.first]
        wrong = draw_wrong(contents, rates, error_kind, proba, concentration, rng)
        answer = draw_answers(
            contents.truth, wrong, len(classes), rates, error_kind, proba, rng
        )
        self._keys = keys[contents.first]
        if soft:
            self._proba = draw_probabilities(
                contents.truth, answer, wrong, proba, len(classes), rng
            )
        else:
            self._proba = np.eye(len(classes))[answer]
        self.classes_ = classes
        self.answers_ = classes[answer[contents.group]]
        self.wrong_ = answer[contents.group] != truth
        self.error_rate_ = float(self.wrong_.mean())
        self._start_counting()

    def __call__(self, X: Any) -> NDArray[Any]:
        """Return the probabilities for rows of the table.

        Parameters
        ----------
        X : array-like of shape (n_asked, ...)
            Rows of the table, in any order, repeats allowed.

        Returns
        -------
        proba : ndarray of shape (n_asked, n_classes)
            Columns in the order of `classes_`; rows sum to 1.

        Raises
        ------
        TeacherError
            If a row is not in the table; nothing is counted then.
        """
        rows = [self._row_of.get(key, -1) for key in _table_keys(X).tolist()]
        if -1 in rows:
            raise TeacherError(
                f"row {rows.index(-1)} of X is not among the {len(self._keys)} rows "
                "that this NoisyTeacher knows; ask about rows of the table it was "
                "made from, unscaled and unchanged."
            )
        with self._lock:
            self.n_calls += 1
            self.n_samples += len(rows)
            self._asked[rows] = True
        return self._proba[rows]

    @property
    def n_distinct_rows(self) -> Any:
        """Number of rows of different content answered so far."""
        return int(self._asked.sum())

    def reset_counts(self) -> None:
        """Set `n_calls`, `n_samples` and `n_distinct_rows` back to zero."""
        with self._lock:
            self.n_calls = self.n_samples = 0
            self._asked[:] = False

    def __sklearn_clone__(self) -> Self:
        return self

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __getstate__(self) -> Any:
        # Without the counters, equal teachers have equal pickles before and after
        # they were asked, which is how a ledger recognizes them.
        counting = ("_lock", "_asked", "_row_of", "n_calls", "n_samples")
        return {k: v for k, v in self.__dict__.items() if k not in counting}

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        self._start_counting()

    def _start_counting(self):
        self._lock = threading.Lock()
        self._row_of = {key: row for row, key in enumerate(self._keys.tolist())}
        self._asked = np.zeros(len(self._keys), dtype=bool)
        self.n_calls = self.n_samples = 0

    def __repr__(self) -> str:
        return (
            f"NoisyTeacher({len(self.wrong_)} rows, {len(self.classes_)} classes, "
            f"{int(self.wrong_.sum())} wrong)"
        )


def _table_keys(X):
    """Return one key per row, equal for rows that are equal as float32."""
    try:
        X = np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X holds something that is not a number ({error}); pass a numeric table."
        ) from error
    if X.ndim < 2:
        raise ValueError(
            f"X has shape {X.shape}; pass one row per question, at least two "
            "dimensions."
        )
    return row_keys(X)


def _encode(y, strata, keys):
    """Return classes, labels as positions among them, and parts as numbers."""
    check_consistent_length(keys, y, strata)
    classes, truth = np.unique(column_or_1d(y), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y holds the classes {classes.tolist()}, so that no answer can be wrong; "
            "pass rows of at least two classes."
        )
    if strata is None:
        return classes, truth, np.zeros(len(keys), dtype=np.intp)
    return classes, truth, np.unique(strata, return_inverse=True)[1]


def _check_rates(error_rate, n_classes):
    """Return one rate, or one rate per class, as an array."""
    rates = np.asarray(error_rate, dtype=np.float64)
    if rates.shape not in ((), (n_classes,)) or not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError(
            f"error_rate={error_rate!r} is neither a share nor one share per class; "
            f"pass a number between 0 and 1, or {n_classes} of them."
        )
    return rates


def _check_proba(proba, error_kind, shape):
    """Return the probabilities as an array; "margin" must have them."""
    if error_kind not in ("uniform", "margin"):
        raise ValueError(
            f"error_kind={error_kind!r} is not known; pass 'uniform' or 'margin'."
        )
    if proba is None:
        if error_kind == "margin":
            raise ValueError(
                'error_kind="margin" needs to know which rows are hard and proba is '
                "None; pass the true posterior, or out-of-fold probabilities from "
                'cross_val_predict(..., method="predict_proba").'
            )
        return None
    proba = np.asarray(proba, dtype=np.float64)
    if proba.shape != shape:
        raise ValueError(
            f"proba has shape {proba.shape}, expected {shape}; pass one column per "
            "class."
        )
    return proba
