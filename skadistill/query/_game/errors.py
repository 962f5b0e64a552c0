"""Estimate from labeled rows how the teacher's errors depend on the margin.

Against a distrusted teacher the regret game (see `regret_inclusion`) is played, which
leaves no row behind whose worth is above a level. The worth of a row is

    w_i = g_i (1 - c e_i)_+,    c = 1 - r - 3 min(r, 0)

g_i is the gain of a correct answer, e_i the learned probability that the teacher is
wrong on row i, and r the worth of a wrong answer in units of a correct one. With
c = 1 - r this is the expected worth of an answer to first order. What wrong answers
do harm counts more than once: labels that agree with what the student already
mistakes cost more than a first step shows. It counts twice where the teacher is
judged, which a few mistakes should not decide, and four times where rows are chosen.

How hard a row is for one student is partly chance. So before a teacher is distrusted
e_i is learned from the mean margin of several students, and looked up at such a mean.

An honest teacher too is wrong more often on rows that are hard for the student, and
those are still worth most. So the discount is only played against a teacher that
fails three tests: see `is_trusted`, `depend_on_gain` and `is_asked_elsewhere`.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skadistill._statistics.checks import is_wrong

__all__ = [
    "check_order",
    "check_probability",
    "depend_on_gain",
    "discount",
    "is_asked_elsewhere",
    "is_trusted",
    "learn_errors",
    "overall_error_rate",
    "wrong_answer_cost",
    "wrong_answer_ratio",
]


#: How often the harm of wrong answers counts: where the teacher is judged, and where
#: rows are chosen. Chosen on training rows.
JUDGED_HARM, AVOIDED_HARM = 2, 4
#: Other rows are asked about if they are worth so many times as much. Chosen likewise.
MUCH_MORE = 1.5
# Standard errors of a slope that is there (5 %).
BEYOND_CHANCE = 1.64
# Mean waiting times of the likeliest row after which all are drawn.
HOURS = 1e6


def wrong_answer_ratio(proba, answers, truth):
    """Compute what a wrong answer is worth in units of a correct one.

    A step on the cross-entropy against an answer t moves the logits of a row by
    t - f, and lowers the loss on the truth y by <e_y - f, t - f>; the correct hard
    answer lowers it by |e_y - f|^2. Both are summed over the rows answered wrongly.
    """
    rows = np.arange(len(truth))
    if not rows.size:
        return 0.0
    wrong = is_wrong(answers, truth)
    toward = -proba.astype(np.float64)
    toward[rows, truth] += 1.0
    worth = (toward * (answers - proba)).sum(axis=1)
    correct = (toward**2).sum(axis=1)
    scale = correct[wrong].sum() + correct.mean()
    return float(np.clip(worth[wrong].sum() / scale, -1.0, 1.0)) if scale else 0.0


def wrong_answer_cost(ratio, harm=JUDGED_HARM):
    """Compute what a wrong answer takes from the worth of a row."""
    return 1.0 - ratio - (harm - 1) * min(ratio, 0.0)


def learn_errors(gains, wrong):
    """Learn the teacher's error rate as a function of the gain."""
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
    """Tell whether answers on rows the game asks about are worth half a correct one."""
    n_samples = len(wrong)
    mean = (np.count_nonzero(wrong) + 1) / (n_samples + 2)
    spread = np.sqrt(mean * (1 - mean) / (n_samples + 3))
    return bool(wrong_answer_cost(ratio) * (mean + spread) < 0.5)


def is_asked_elsewhere(gains, errors, ratio, n_queries):
    """Tell whether other rows than those of largest gain are worth much more."""
    worth = gains * (1.0 - wrong_answer_cost(ratio) * errors)
    of_gains = worth[np.argsort(-gains, kind="stable")[:n_queries]].sum()
    largest = np.sort(np.maximum(worth, 0.0))[::-1][:n_queries].sum()
    return bool(MUCH_MORE * of_gains < largest)


def depend_on_gain(gains, wrong):
    """Tell whether errors are more frequent where gains are large, beyond chance."""
    rate, away = np.mean(wrong), gains - np.mean(gains)
    spread = np.sqrt(rate * (1 - rate) * np.sum(away**2))
    return bool(away @ (wrong - rate) > BEYOND_CHANCE * spread)


def discount(errors, ratio):
    """Compute which share of its gain a row keeps, from the teacher's error on it."""
    cost = wrong_answer_cost(ratio, AVOIDED_HARM)
    return np.maximum(1.0 - cost * np.asarray(errors), 0.0)


def check_order(inclusion, rng):
    """Order labeled rows for checks: such as the game asks about, and any, in turn."""
    n_samples = len(inclusion)
    # Successive sampling by exponential clocks; rows without a chance come last.
    clocks = rng.exponential(size=n_samples)
    with np.errstate(divide="ignore"):
        aimed = np.lexsort([clocks, clocks / inclusion])
    both = np.stack([aimed, rng.permutation(n_samples)], axis=1).ravel()
    _, first = np.unique(both, return_index=True)
    return both[np.sort(first)]


def check_probability(inclusion, n_checks):
    """Return how likely each row is among the first ones of `check_order`."""
    n_samples, n_game = len(inclusion), np.count_nonzero(inclusion)

    def among(time):
        # So many rows are drawn in either way by the time that clocks show.
        missed = np.exp(-time * inclusion)
        return 1 - missed * missed.mean()

    longest = HOURS / inclusion.max()
    most = among(longest)
    if most.sum() <= n_checks:
        other = (n_checks - n_game) / max(n_samples - n_game, 1)
        return np.where(inclusion > 0, 1.0, np.clip(other, 1 / n_samples, 1.0))
    return among(brentq(lambda time: among(time).sum() - n_checks, 0, longest))


def overall_error_rate(gains, wrong, errors, inclusion, rows):
    r"""Estimate how often the teacher is wrong on all labeled rows, checked or not.

    Rows that are hard for students are checked more often, so that the errors learned
    from them, :math:`e(g)`, are corrected by what they miss on the checked rows, each
    weighted by the inverse of its probability to be checked. The estimate is nearly
    unbiased whatever the errors depend on.
    """
    weight = 1 / check_probability(inclusion, len(rows))[rows]
    missed = np.average(wrong - errors(gains[rows]), weights=weight)
    return float(np.clip(errors(gains).mean() + missed, 0, 1))
