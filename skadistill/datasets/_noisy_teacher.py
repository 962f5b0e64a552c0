"""A teacher that answers from a table and whose every mistake is known."""

import math
import threading
from hashlib import blake2b

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skadistill.exceptions import TeacherError

__all__ = ["NoisyTeacher"]

_KEY_BYTES = 16
_KINDS = ("uniform", "margin", "class")


class NoisyTeacher:
    """Answer for the rows of a table, wrong on exactly as many as asked.

    The teacher is a function ``teacher(X) -> probabilities``. It is made from a
    table whose truth is known, decides once which rows it gets wrong and with
    which soft label, and from then on gives every row the same answer however
    often and in whatever order it is asked. Real experiments cannot say where
    the teacher errs; with this one the share of wrong answers among the rows
    that a strategy bought can be counted.

    How a soft label is built. The margin m (largest minus second probability) is
    drawn from a Beta distribution of mean `confidence` for right answers and
    `wrong_confidence` for wrong ones, both with five pseudo-observations, so
    wrong rows tend to have smaller margins and the two overlap, as with trained
    networks. From the second class on, the probabilities halve from rank to
    rank. On a wrong row the truth sits at a rank drawn uniformly from 2 to
    `truth_within`: the noise model of SLaM [1]_. All other classes are ranked by
    `proba` where it is given and at random elsewhere.

    The teacher is shared, not copied: :func:`sklearn.base.clone` and
    :func:`copy.deepcopy` return the same object, so its counters go on counting
    through a grid search in one process. A pickle is a copy whose counters start
    at zero, so workers in other processes count for themselves.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        The rows that will be asked about: numbers, in any number of dimensions.
        Rows are recognized by their content rounded to float32, so float64 and
        float32 copies of a row are one row.
    y : array-like of shape (n_samples,)
        The true label of every row.
    error_rate : float, default=0.2
        Share of wrong rows, in [0, 1]; ``round(error_rate * n_samples)`` rows are
        wrong, no more and no fewer. Not used when `error_kind` is "class".
    error_kind : {"uniform", "margin", "class"}, default="uniform"
        Where the mistakes sit.

        - "uniform": anywhere, with any of the other classes as the answer.
        - "margin": mostly where the truth is hard to tell. With u the rank of a
          row's true margin (probability of the truth minus the largest other
          one) scaled to (0, 1), rows are taken one after the other with chances
          proportional to ``exp(-concentration * u)``; the answer is the most
          likely other class. Needs `proba`.
        - "class": as `class_error` says, anywhere within a class.
    class_error : array-like of shape (n_classes,) or (n_classes, n_classes)
        Needed when `error_kind` is "class". One error rate per class, the wrong
        answers spread evenly over the other classes; or the confusion matrix
        P(answer = column | truth = row). Each class gets ``round(rate *
        n_rows_of_class)`` wrong rows, split among the wrong answers by largest
        remainder.
    proba : array-like of shape (n_samples, n_classes), default=None
        Class probabilities that tell hard rows from easy ones: the true
        posterior, or out-of-fold predictions of any model.
    concentration : float, default=5.0
        How strongly "margin" prefers hard rows; 0 is "uniform" placement.
    truth_within : int, default=3
        Lowest rank at which a wrong answer still holds the truth, at least 2;
        more than n_classes means n_classes.
    soft : bool, default=True
        False: answers are one-hot rows.
    confidence : float, default=0.8
        Mean margin of right answers, in (0, 1).
    wrong_confidence : float, default=None
        Mean margin of wrong answers, in (0, 1); None is ``confidence / 2``.
    strata : array-like of shape (n_samples,), default=None
        Parts of the table, for example training and test rows: the rate is exact
        within each.
    classes : array-like of shape (n_classes,), default=None
        Order of the answer's columns; None: the sorted labels of `y`.
    random_state : int, RandomState instance or None, default=None
        Seed of every draw.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the answer's columns.
    wrong_ : ndarray of bool of shape (n_samples,)
        Which rows of the table are answered wrongly.
    answers_ : ndarray of shape (n_samples,)
        The label that the teacher holds most likely.
    error_rate_ : float
        Share of wrong rows in the table.
    n_calls, n_samples : int
        Calls and rows answered so far, repeats counted.
    n_distinct_rows : int
        Rows of different content answered so far.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the exact count cannot be had because
        equal rows carry different labels or rows repeat.
    TeacherError
        When asked about a row that is not in the table.

    Notes
    -----
    Equal rows get one answer. Where they carry different labels, the most
    frequent one counts as the truth of all and the others are wrong rows by
    necessity; equal rows in different strata are answered rightly.

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

    def __init__(
        self,
        X,
        y,
        *,
        error_rate=0.2,
        error_kind="uniform",
        class_error=None,
        proba=None,
        concentration=5.0,
        truth_within=3,
        soft=True,
        confidence=0.8,
        wrong_confidence=None,
        strata=None,
        classes=None,
        random_state=None,
    ):
        rng = check_random_state(random_state)
        if wrong_confidence is None:
            wrong_confidence = confidence / 2
        _check_share("error_rate", error_rate, closed=True)
        _check_share("confidence", confidence)
        _check_share("wrong_confidence", wrong_confidence)
        if error_kind not in _KINDS:
            raise ValueError(
                f"error_kind={error_kind!r} is not known; choose one of "
                f"{', '.join(map(repr, _KINDS))}."
            )
        if truth_within < 2:
            raise ValueError(
                f"truth_within={truth_within!r} would put the truth first on a wrong "
                "row; pass 2 or more."
            )
        keys = _row_keys(X)
        classes, truth = _encode(y, classes, len(keys))
        proba = _check_proba(proba, error_kind, (len(keys), len(classes)))
        confusion = _confusion(class_error, error_kind, len(classes))
        strata = _encode_strata(strata, len(keys))

        self.classes_ = classes
        self._row_of, group = _group(keys)
        contents = _Contents(group, truth, strata, len(classes))
        # Rows of one content share one answer, so everything is decided per
        # content and counted per row.
        if proba is not None:
            proba = proba[contents.first]
        if error_kind == "class":
            rates = 1.0 - np.diagonal(confusion)
        else:
            rates = np.full(len(classes), float(error_rate))
        wrong = _choose_wrong(
            contents, rates, error_kind, proba, concentration, rng, classes
        )
        answer = _choose_answers(
            contents, wrong, error_kind, proba, confusion, len(classes), rng
        )
        if soft:
            ranks = _rank_classes(
                contents.truth, answer, wrong, proba, len(classes), truth_within, rng
            )
            margins = _draw_margins(wrong, confidence, wrong_confidence, rng)
            self._proba = _soft_labels(ranks, margins)
        else:
            self._proba = np.eye(len(classes))[answer]
        self.answers_ = classes[answer[group]]
        self.wrong_ = answer[group] != truth
        self.error_rate_ = float(self.wrong_.mean())
        self._start_counting()

    def __call__(self, X):
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
        keys = _row_keys(X)
        rows = np.empty(len(keys), dtype=np.intp)
        for i, key in enumerate(keys):
            row = self._row_of.get(key)
            if row is None:
                raise TeacherError(
                    f"row {i} of X is not among the {len(self._row_of)} rows that "
                    "this NoisyTeacher knows; ask about rows of the table it was "
                    "made from, unscaled and unchanged."
                )
            rows[i] = row
        with self._lock:
            self.n_calls += 1
            self.n_samples += len(rows)
            np.add.at(self._times_asked, rows, 1)
        return self._proba[rows]

    @property
    def n_distinct_rows(self):
        """Count the rows of different content answered so far."""
        return int(np.count_nonzero(self._times_asked))

    def reset_counts(self):
        """Set `n_calls`, `n_samples` and `n_distinct_rows` back to zero."""
        with self._lock:
            self.n_calls = 0
            self.n_samples = 0
            self._times_asked[:] = 0

    def __sklearn_clone__(self):
        return self

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __getstate__(self):
        # Without the counters, equal teachers have equal pickles before and after
        # they were asked, which is how a ledger recognizes them.
        state = self.__dict__.copy()
        for name in ("_lock", "_times_asked", "n_calls", "n_samples"):
            del state[name]
        state["_row_of"] = b"".join(self._row_of)
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        joined = state["_row_of"]
        starts = range(0, len(joined), _KEY_BYTES)
        self._row_of = {
            joined[start : start + _KEY_BYTES]: i for i, start in enumerate(starts)
        }
        self._start_counting()

    def _start_counting(self):
        self._lock = threading.Lock()
        self._times_asked = np.zeros(len(self._proba), dtype=np.int64)
        self.n_calls = 0
        self.n_samples = 0

    def __repr__(self):
        return (
            f"NoisyTeacher({len(self.wrong_)} rows, {len(self.classes_)} classes, "
            f"{int(self.wrong_.sum())} wrong)"
        )


class _Contents:
    """The distinct row contents of a table and what is true of each."""

    def __init__(self, group, truth, strata, n_classes):
        n = group.max() + 1
        self.group = group
        self.sizes = np.bincount(group, minlength=n)
        self.first = np.empty(n, dtype=np.intp)
        self.first[group[::-1]] = np.arange(len(group))[::-1]
        counts = np.zeros((n, n_classes), dtype=np.int64)
        np.add.at(counts, (group, truth), 1)
        self.truth = counts.argmax(axis=1)
        self.strata = strata[self.first]
        elsewhere = np.zeros(n, dtype=bool)
        elsewhere[group[strata != self.strata[group]]] = True
        # May be made wrong: one truth, one stratum.
        self.free = (counts.max(axis=1) == self.sizes) & ~elsewhere
        self.row_truth = truth
        self.row_strata = strata
        self.row_wrong = self.truth[group] != truth


def _check_share(name, value, closed=False):
    inside = 0 <= value <= 1 if closed else 0 < value < 1
    if not inside:
        raise ValueError(
            f"{name}={value!r} is not a share; pass a number between 0 and 1"
            f"{'' if closed else ', both excluded'}."
        )


def _row_keys(X):
    """Give every row a key that only rows of equal content share."""
    if sparse.issparse(X):
        X = X.toarray()
    try:
        X = np.ascontiguousarray(X, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"X holds something that is not a number ({error}); pass a numeric table."
        ) from error
    if X.ndim < 2:
        raise ValueError(
            f"X has shape {X.shape}; pass one row per question, at least two "
            "dimensions."
        )
    # Adding 0.0 makes -0.0 and 0.0 one value, and copies, so NaNs may be unified.
    X = X.reshape(len(X), math.prod(X.shape[1:])) + np.float32(0)
    X[np.isnan(X)] = np.nan
    return [blake2b(row.tobytes(), digest_size=_KEY_BYTES).digest() for row in X]


def _encode(y, classes, n_samples):
    """Turn labels into positions in `classes`."""
    y = np.asarray(y)
    if y.shape != (n_samples,):
        raise ValueError(
            f"y has shape {y.shape} and X {n_samples} rows; pass one label per row."
        )
    if n_samples == 0:
        raise ValueError("X has 0 rows; pass at least one.")
    try:
        seen = np.unique(y)
    except TypeError as error:
        raise ValueError(
            "y mixes kinds of labels that cannot be sorted, such as strings and "
            "numbers; pass the truth of every row, all of one kind."
        ) from error
    if seen.dtype == object:
        seen = np.array(seen.tolist())
    classes = seen if classes is None else np.asarray(classes)
    position = {label: i for i, label in enumerate(classes.tolist())}
    foreign = [label for label in seen.tolist() if label not in position]
    if foreign:
        raise ValueError(
            f"y holds {foreign[0]!r}, which is not among classes={classes.tolist()}; "
            "name every class."
        )
    if len(position) < 2:
        raise ValueError(
            f"there is one class only, {classes.tolist()}, and no wrong answer to "
            "give; pass at least two."
        )
    return classes, np.array([position[label] for label in y.tolist()], dtype=np.intp)


def _encode_strata(strata, n_samples):
    if strata is None:
        return np.zeros(n_samples, dtype=np.intp)
    strata = np.asarray(strata)
    if strata.shape != (n_samples,):
        raise ValueError(
            f"strata has shape {strata.shape} and X {n_samples} rows; pass one entry "
            "per row."
        )
    return np.unique(strata, return_inverse=True)[1]


def _check_proba(proba, error_kind, shape):
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
            f"proba has shape {proba.shape} where {shape} was expected; pass one "
            "column per class."
        )
    return proba


def _confusion(class_error, error_kind, n_classes):
    """Return P(answer | truth), one row per true class."""
    if error_kind != "class":
        return None
    if class_error is None:
        raise ValueError(
            'error_kind="class" needs an error rate for every class and class_error '
            f"is None; pass {n_classes} rates or a confusion matrix."
        )
    rates = np.asarray(class_error, dtype=np.float64)
    if rates.shape == (n_classes,):
        matrix = np.repeat(rates[:, None] / (n_classes - 1), n_classes, axis=1)
        np.fill_diagonal(matrix, 1.0 - rates)
    else:
        matrix = rates
    if (
        matrix.shape != (n_classes, n_classes)
        or not np.all(matrix >= 0)
        or not np.allclose(matrix.sum(axis=1), 1.0)
    ):
        raise ValueError(
            f"class_error is {rates.tolist()}; pass {n_classes} rates between 0 and "
            f"1, or a {n_classes} x {n_classes} matrix whose rows sum to 1."
        )
    return matrix


def _group(keys):
    """Assign a number to each distinct content, in order of appearance."""
    row_of: dict[bytes, int] = {}
    group = np.array([row_of.setdefault(key, len(row_of)) for key in keys])
    return row_of, group


def _choose_wrong(contents, rates, error_kind, proba, concentration, rng, classes):
    """Choose the contents answered wrongly, exactly as many rows as each rate asks.

    A cell is a part of the table with a rate of its own: a stratum, or a class
    within a stratum when the rates differ between classes.
    """
    by_class = error_kind == "class"
    n_classes = len(rates)
    row_cell = contents.row_strata * n_classes + (contents.row_truth * by_class)
    cell = contents.strata * n_classes + (contents.truth * by_class)
    # The Gumbel trick: sorting log weight + Gumbel noise draws rows one after the
    # other without replacement, with chances proportional to the weights.
    key = rng.gumbel(size=len(cell))
    margin = None
    if error_kind == "margin":
        rows = np.arange(len(cell))
        others = proba.copy()
        others[rows, contents.truth] = -np.inf
        margin = proba[rows, contents.truth] - others.max(axis=1)
    wrong = np.zeros(len(cell), dtype=bool)
    for value in np.unique(row_cell):
        in_cell = row_cell == value
        rate = rates[value % n_classes]
        target = round(float(rate * in_cell.sum()))
        missing = target - int(contents.row_wrong[in_cell].sum())
        where = f" of class {classes[value % n_classes]!r}" if by_class else ""
        if missing < 0:
            raise ValueError(
                f"{target - missing} of {in_cell.sum()} rows{where} carry another "
                f"label than most rows equal to them, which is more than the {target} "
                "mistakes asked for; raise the error rate or drop the contradictions."
            )
        free = np.flatnonzero(contents.free & (cell == value))
        order = key[free]
        if margin is not None:
            rank = np.empty(len(free))
            rank[np.argsort(margin[free], kind="stable")] = np.arange(len(free)) + 0.5
            order = order - concentration * rank / max(1, len(free))
        for i in free[np.argsort(-order, kind="stable")]:
            if missing == 0:
                break
            if contents.sizes[i] <= missing:
                wrong[i] = True
                missing -= contents.sizes[i]
        if missing:
            raise ValueError(
                f"{target} wrong rows{where} were asked for and {target - missing} "
                f"could be had of {in_cell.sum()}, because rows repeat; drop the "
                "repeats or change the error rate."
            )
    return wrong


def _choose_answers(contents, wrong, error_kind, proba, confusion, n_classes, rng):
    """Return the position of the most likely class for every content."""
    answer = contents.truth.copy()
    rows = np.flatnonzero(wrong)
    if error_kind == "margin":
        others = proba[rows].copy()
        others[np.arange(len(rows)), contents.truth[rows]] = -np.inf
        answer[rows] = others.argmax(axis=1)
    elif error_kind == "uniform":
        step = rng.randint(1, n_classes, size=len(rows))
        answer[rows] = (contents.truth[rows] + step) % n_classes
    else:
        for c in np.unique(contents.truth[rows]):
            of_class = rows[contents.truth[rows] == c]
            weights = confusion[c].copy()
            weights[c] = 0.0
            share = _apportion(weights / weights.sum(), len(of_class))
            labels = np.repeat(np.arange(n_classes), share)
            answer[of_class] = rng.permutation(labels)
    return answer


def _apportion(shares, total):
    """Split a total into integers by largest remainder."""
    exact = shares * total
    parts = np.floor(exact).astype(np.intp)
    left = total - parts.sum()
    # Rounding the remainder keeps ties ties; zero shares come last.
    order = np.lexsort((-shares, -np.round(exact - parts, 9)))
    parts[order[:left]] += 1
    return parts


def _rank_classes(truth, answer, wrong, proba, n_classes, truth_within, rng):
    """Order the classes of every content from most to least likely."""
    n = len(truth)
    rows = np.arange(n)
    score = rng.random_sample((n, n_classes))
    if proba is not None:
        # Random numbers only break ties.
        position = np.lexsort((score, proba), axis=1)
        np.put_along_axis(score, position, np.arange(n_classes)[None, :], axis=1)
    score[rows, answer] = np.inf
    order = np.argsort(-score, axis=1, kind="stable")
    rank = rng.randint(1, min(truth_within, n_classes), size=n)
    rows = np.flatnonzero(wrong)
    now = (order[rows] == truth[rows, None]).argmax(axis=1)
    order[rows, now] = order[rows, rank[rows]]
    order[rows, rank[rows]] = truth[rows]
    return order


def _draw_margins(wrong, confidence, wrong_confidence, rng):
    """Draw Beta margins with five pseudo-observations each."""
    mean = np.where(wrong, wrong_confidence, confidence)
    # A margin of zero would be a tie, and the answer then not the one decided.
    return np.clip(rng.beta(5.0 * mean, 5.0 * (1.0 - mean)), 1e-3, 1.0 - 1e-3)


def _soft_labels(order, margins):
    """Lay margins out over ranked classes: p1 - p2 = m, then halving."""
    n, n_classes = order.shape
    tail = 0.5 ** np.arange(n_classes - 1)
    # x + m + x * sum(tail) = 1, with x the second probability.
    second = (1.0 - margins) / (1.0 + tail.sum())
    ranked = np.empty((n, n_classes))
    ranked[:, 0] = second + margins
    ranked[:, 1:] = second[:, None] * tail
    proba = np.empty_like(ranked)
    np.put_along_axis(proba, order, ranked, axis=1)
    return proba / proba.sum(axis=1, keepdims=True)
