"""Estimate from labeled rows how the teacher's errors depend on the margin.

Against a doubted teacher the regret game (see `regret_inclusion`) is played, which
leaves no row behind whose worth is above a level. The worth of a row is

    w_i = g_i (1 - 3/2 (1 - r) e_i)_+

g_i is the gain of a correct answer, e_i the learned probability that the teacher is
wrong on row i, and r the worth of a wrong answer in units of a correct one. With 1 in
place of 3/2 this would be the expected worth of an answer to first order; wrong labels
that agree with what the student already mistakes were measured to cost more.

An honest teacher too is wrong more often on rows that are hard for the student, and
those are still worth most. So the discount is only played against a teacher that
fails a test on exactly the rows the game asks about: see `is_trusted`.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

__all__ = [
    "check_order",
    "discount",
    "is_trusted",
    "neighbor_error",
    "stack_errors",
    "wrong_answer_ratio",
]

# Log-odds are cut here, so that a single row cannot decide a logistic regression.
_LEAST = 0.005
# A wrong answer at least this much worth does no harm to speak of.
HARMLESS = -0.1
# Chosen on training rows among 1, 1.5, 2 and 3.
HARM = 1.5


def wrong_answer_ratio(proba, answers, truth):
    """Compute what a wrong answer is worth in units of a correct one.

    A step on the cross-entropy against an answer t moves the logits of a row by
    t - f, and lowers the loss on the truth y by <e_y - f, t - f>; the correct hard
    answer lowers it by |e_y - f|^2. Both are summed over the rows answered wrongly.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        f, probabilities of students that were not trained on these rows.
    answers : ndarray of shape (n_samples, n_classes)
        t, the teacher's probabilities.
    truth : ndarray of int of shape (n_samples,)
        y, positions of the true classes.

    Returns
    -------
    ratio : float
        In [-1, 1]. 0: a wrong answer is worth nothing. Negative: it does harm, as
        wrong hard labels do. One mean row of worth 0 is added, so that the ratio is 0
        if no answer is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import wrong_answer_ratio
    >>> proba, truth = np.full((4, 2), 0.5), np.array([0, 1, 0, 1])
    >>> wrong_answer_ratio(proba, np.eye(2)[truth], truth)
    0.0
    >>> round(wrong_answer_ratio(proba, np.eye(2)[[0, 1, 1, 0]], truth), 3)
    -0.667
    """
    rows = np.arange(len(truth))
    if not rows.size:
        return 0.0
    wrong = answers.argmax(axis=1) != truth
    toward = -proba.astype(np.float64)
    toward[rows, truth] += 1.0
    worth = (toward * (answers - proba)).sum(axis=1)
    correct = (toward**2).sum(axis=1)
    scale = correct[wrong].sum() + correct.mean()
    return float(np.clip(worth[wrong].sum() / scale, -1.0, 1.0)) if scale else 0.0


def neighbor_error(reference, wrong, values=None):
    """Estimate the error rate at some values from the nearest checked rows.

    Parameters
    ----------
    reference : ndarray of shape (n_checks,)
        One value per checked row, for example the student's gain.
    wrong : ndarray of bool of shape (n_checks,)
        Whether the teacher was wrong on it.
    values : ndarray of shape (n_samples,) or None, default=None
        Where to estimate. None: at the checked rows, each judged by the others.

    Returns
    -------
    error : ndarray of shape (n_samples,)
        (wrong + 1) / (k + 2) among the k nearest in value: k = 2 sqrt(n_checks), at
        least 10.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import neighbor_error
    >>> gains = np.linspace(0, 1, 40)
    >>> neighbor_error(gains, gains > 0.5, np.array([0.1, 0.9])).round(2)
    array([0.07, 0.93])
    """
    n_checks = len(reference)
    k = min(n_checks, max(int(2 * np.sqrt(n_checks)), 10))
    order = np.argsort(reference, kind="stable")
    sums = np.concatenate([[0], np.cumsum(wrong[order])])
    at = reference if values is None else values
    first = np.searchsorted(reference[order], at) - k // 2
    first = np.clip(first, 0, n_checks - k)
    count = sums[first + k] - sums[first]
    if values is not None:
        return (count + 1) / (k + 2)
    # Without the row itself, which is among its own neighbors unless values tie.
    return (np.maximum(count - wrong, 0) + 1) / (k + 1)


def log_odds(p):
    """Return the log-odds of probabilities, cut at both ends."""
    p = np.clip(p, _LEAST, 1 - _LEAST)
    return np.log(p / (1 - p))


def stack_errors(columns, wrong):
    """Calibrate estimates of the error rate by one logistic regression.

    Parameters
    ----------
    columns : sequence of ndarrays of shape (n_checks,)
        Estimates for the checked rows that did not see the row they judge.
    wrong : ndarray of bool of shape (n_checks,)
        Whether the teacher was wrong.

    Returns
    -------
    predict : callable
        Takes columns of estimates for other rows and returns one error rate per row.

    Notes
    -----
    Two pseudo-rows, one right and one wrong, are added, as in the rule
    (wrong + 1) / (rows + 2). If no row or every row is answered wrongly, the
    rate is constant: nothing shows on which rows the teacher errs.
    """
    wrong = np.asarray(wrong, dtype=bool)
    if wrong.all() or not wrong.any():
        rate = (wrong.sum() + 1) / (len(wrong) + 2)
        return lambda columns: np.full(len(columns[0]), rate)
    Z = np.stack([log_odds(column) for column in columns], axis=1)
    model = LogisticRegression().fit(
        np.concatenate([Z, Z[[0, 0]]]), np.concatenate([wrong, [False, True]])
    )
    coefficients, intercept = model.coef_[0], model.intercept_[0]

    def predict(columns):
        odds = intercept
        for weight, column in zip(coefficients, columns, strict=True):
            odds = odds + weight * log_odds(column)
        return 1.0 / (1.0 + np.exp(-odds))

    return predict


def is_trusted(wrong, ratio):
    """Tell whether answers on rows the game asks about are worth half a correct one.

    Parameters
    ----------
    wrong : ndarray of bool of shape (n_samples,)
        Whether the teacher was wrong on each of some rows the game may ask about.
    ratio : float
        Worth of a wrong answer in units of a correct one.

    Returns
    -------
    trusted : bool
        Whether (1 - r) (e + s) < 1/2, with e and s the mean and the standard
        deviation of the posterior of the error rate (Beta, uniform prior); or a wrong
        answer costs less than a tenth of what a correct one gains, and at least
        30 rows show it.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import is_trusted
    >>> is_trusted(np.arange(20) < 3, -0.5), is_trusted(np.arange(20) < 10, -0.5)
    (True, False)
    """
    n_samples = len(wrong)
    if n_samples >= 30 and ratio >= HARMLESS:
        return True
    mean = (np.count_nonzero(wrong) + 1) / (n_samples + 2)
    spread = np.sqrt(mean * (1 - mean) / (n_samples + 3))
    return bool((1 - ratio) * (mean + spread) < 0.5)


def discount(errors, ratio):
    """Compute which share of its gain a row keeps, from the teacher's error on it.

    Parameters
    ----------
    errors : ndarray of shape (n_samples,)
        Probability that the teacher is wrong on each row.
    ratio : float
        Worth of a wrong answer in units of a correct one, at most 1.

    Returns
    -------
    factor : ndarray of shape (n_samples,)
        1 - 3/2 (1 - ratio) error, at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import discount
    >>> discount(np.array([0.0, 0.25, 0.5, 1.0]), -1.0)
    array([1.  , 0.25, 0.  , 0.  ])
    """
    return np.maximum(1.0 - HARM * (1.0 - ratio) * np.asarray(errors), 0.0)


def check_order(inclusion, rng, n_aimed):
    """Order labeled rows for checks.

    Parameters
    ----------
    inclusion : ndarray of shape (n_samples,)
        Probabilities with which the game would ask about these rows.
    rng : numpy.random.Generator
        Source of randomness.
    n_aimed : int
        That many rows are drawn with the probabilities of the game; after these,
        every second one is drawn evenly.

    Returns
    -------
    order : ndarray of int of shape (n_samples,)
        A permutation.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import check_order
    >>> order = check_order(np.eye(6)[2], np.random.default_rng(0), 1)
    >>> int(order[0]), sorted(order.tolist())
    (2, [0, 1, 2, 3, 4, 5])
    """
    n_samples = len(inclusion)
    # Successive sampling by exponential clocks; rows without a chance come last.
    clocks = rng.exponential(size=n_samples)
    with np.errstate(divide="ignore"):
        aimed = np.argsort(clocks / inclusion, kind="stable")
    rest = np.stack([rng.permutation(n_samples), np.roll(aimed, -n_aimed)], axis=1)
    both = np.concatenate([aimed[:n_aimed], rest.ravel()])
    _, first = np.unique(both, return_index=True)
    return both[np.sort(first)]
