"""Estimate from labeled rows how the teacher's errors depend on the margin.

Against a doubted teacher the regret game (see `regret_inclusion`) is played, which
leaves no row behind whose worth is above a level. The worth of a row is

    w_i = g_i (1 - c e_i)_+,    c = 1 - r - 3 min(r, 0)

g_i is the gain of a correct answer, e_i the learned probability that the teacher is
wrong on row i, and r the worth of a wrong answer in units of a correct one. With
c = 1 - r this is the expected worth of an answer to first order. What wrong answers
do harm counts more than once: labels that agree with what the student already
mistakes cost more than a first step shows. It counts twice where the teacher is
judged, which a few mistakes should not decide, and four times where rows are chosen.

How hard a row is for one student is partly chance. So before a teacher is doubted e_i
is learned from the mean margin of several students, and looked up at such a mean.

An honest teacher too is wrong more often on rows that are hard for the student, and
those are still worth most. So the discount is only played against a teacher that
fails two tests: see `is_trusted` and `is_asked_elsewhere`.
"""

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

__all__ = [
    "check_order",
    "discount",
    "is_asked_elsewhere",
    "is_trusted",
    "learn_errors",
    "wrong_answer_cost",
    "wrong_answer_ratio",
]


#: How often the harm of wrong answers counts: where the teacher is judged, and where
#: rows are chosen. Chosen on training rows.
JUDGED_HARM, AVOIDED_HARM = 2, 4
#: Other rows are asked about if they are worth so many times as much. Chosen likewise.
MUCH_MORE = 1.5


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


def wrong_answer_cost(ratio, harm=JUDGED_HARM):
    """Compute what a wrong answer takes from the worth of a row.

    Parameters
    ----------
    ratio : float
        Worth of a wrong answer in units of a correct one, see `wrong_answer_ratio`.
    harm : float, default=2
        How often a negative worth counts.

    Returns
    -------
    cost : float
        In units of a correct answer: 1 if a wrong answer is worth nothing, 0 if it is
        worth as much as a correct one.

    Examples
    --------
    >>> from skadistill.query._game.evidence import wrong_answer_cost
    >>> [wrong_answer_cost(ratio) for ratio in (1.0, 0.0, -0.5)]
    [0.0, 1.0, 2.0]
    """
    return 1.0 - ratio - (harm - 1) * min(ratio, 0.0)


def learn_errors(gains, wrong):
    """Learn the teacher's error rate as a function of the gain.

    Parameters
    ----------
    gains : ndarray of shape (n_checks,)
        The students' gains on the checked rows.
    wrong : ndarray of bool of shape (n_checks,)
        Whether the teacher was wrong on each.

    Returns
    -------
    predict : callable
        Takes gains and returns one error rate per row.

    Notes
    -----
    A logistic regression, with half a right row and half a wrong one of mean gain more.
    If no row or every row is answered wrongly, the rate is constant:
    (wrong + 1/2) / (n_checks + 1).

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import learn_errors
    >>> gains = np.linspace(0, 1, 40)
    >>> predict = learn_errors(gains, gains > 0.5)
    >>> predict(np.array([0.1, 0.9])).round(1)
    array([0., 1.])
    """
    wrong = np.asarray(wrong, dtype=bool)
    if wrong.all() or not wrong.any():
        rate = (wrong.sum() + 0.5) / (len(wrong) + 1)
        return lambda gains: np.full(len(gains), rate)
    # The slope is hardly held back: 10 is a prior deviation of 3 over all gains.
    model = LogisticRegression(C=10.0).fit(
        np.append(gains, [np.mean(gains)] * 2)[:, None],
        np.append(wrong, [False, True]),
        sample_weight=np.append(np.ones(len(gains)), [0.5, 0.5]),
    )
    slope, intercept = model.coef_[0, 0], model.intercept_[0]
    return lambda gains: expit(intercept + slope * gains)


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
        Whether c (e + s) < 1/2, with c the `wrong_answer_cost`, and e and s the mean
        and the standard deviation of the posterior of the error rate (Beta, uniform
        prior).

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import is_trusted
    >>> is_trusted(np.arange(20) < 2, -0.5), is_trusted(np.arange(20) < 10, -0.5)
    (True, False)
    """
    n_samples = len(wrong)
    mean = (np.count_nonzero(wrong) + 1) / (n_samples + 2)
    spread = np.sqrt(mean * (1 - mean) / (n_samples + 3))
    return bool(wrong_answer_cost(ratio) * (mean + spread) < 0.5)


def is_asked_elsewhere(gains, errors, ratio, n_queries):
    """Tell whether other rows than those of largest gain are worth much more.

    Parameters
    ----------
    gains : ndarray of shape (n_samples,)
        Gains of a correct answer.
    errors : ndarray of shape (n_samples,)
        Probability that the teacher is wrong on each row.
    ratio : float
        Worth of a wrong answer in units of a correct one.
    n_queries : int
        Rows to ask about.

    Returns
    -------
    elsewhere : bool
        Whether the rows of largest worth are worth half as much again as the rows of
        largest gain, or more. If the teacher is wrong equally often everywhere, nothing
        is gained by asking about other rows, which are less informative.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import is_asked_elsewhere
    >>> gains = np.linspace(0, 1, 100)
    >>> is_asked_elsewhere(gains, np.where(gains > 0.5, 0.6, 0.0), -0.5, 20)
    True
    >>> is_asked_elsewhere(gains, np.full(100, 0.3), -0.5, 20)
    False
    """
    worth = gains * (1.0 - wrong_answer_cost(ratio) * errors)
    of_gains = worth[np.argsort(-gains, kind="stable")[:n_queries]].sum()
    largest = np.sort(np.maximum(worth, 0.0))[::-1][:n_queries].sum()
    return bool(MUCH_MORE * of_gains < largest)


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
        1 - c error with c the `wrong_answer_cost` in which harm counts four times, at
        least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query._game.evidence import discount
    >>> discount(np.array([0.0, 0.1, 0.25, 1.0]), -0.25)
    array([1. , 0.8, 0.5, 0. ])
    """
    cost = wrong_answer_cost(ratio, AVOIDED_HARM)
    return np.maximum(1.0 - cost * np.asarray(errors), 0.0)


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
