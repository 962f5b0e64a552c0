"""Draw the mistakes of a teacher: on which rows, which answer, which soft label.

Rows of equal content get one answer, so everything is decided per content and counted
per row.
"""

import numpy as np

__all__ = ["Contents", "draw_answers", "draw_probabilities", "draw_wrong"]

# Mean margins of right and wrong answers, the pseudo-observations of their Beta
# distributions, and the lowest rank that the truth has in a wrong answer.
RIGHT_MARGIN, WRONG_MARGIN, PSEUDO_OBSERVATIONS, LOWEST_RANK = 0.8, 0.4, 5.0, 3


class Contents:
    """The distinct rows of a table: what is true of each, and which may be wrong."""

    def __init__(self, keys, truth, strata, n_classes):
        row_of: dict[bytes, int] = {}
        group = np.array([row_of.setdefault(k, len(row_of)) for k in keys.tolist()])
        n = len(row_of)
        self.group, self.row_truth, self.row_strata = group, truth, strata
        self.sizes = np.bincount(group, minlength=n)
        self.first = np.unique(group, return_index=True)[1]
        counts = np.zeros((n, n_classes), dtype=np.int64)
        np.add.at(counts, (group, truth), 1)
        self.truth = counts.argmax(axis=1)
        self.strata = strata[self.first]
        # Only rows with one truth, all in one stratum, may be made wrong.
        self.free = counts.max(axis=1) == self.sizes
        self.free[group[strata != self.strata[group]]] = False
        self.row_wrong = self.truth[group] != truth


def draw_wrong(contents, rates, error_kind, proba, concentration, rng):
    """Mark contents to answer wrongly: as many rows as the rate of each cell asks.

    A cell is a part of the table with its own rate: a stratum, or a class
    within a stratum if there is one rate per class.
    """
    n_cells = rates.size
    by_class = rates.ndim
    row_cell = contents.row_strata * n_cells + contents.row_truth * by_class
    cell = contents.strata * n_cells + contents.truth * by_class
    # The Gumbel trick: sorting log weight + Gumbel noise draws rows one after the
    # other without replacement, with chances proportional to the weights.
    key = rng.gumbel(size=len(cell))
    margin = None
    if error_kind == "margin":
        truth = contents.truth
        margin = proba[np.arange(len(truth)), truth] - _others(proba, truth).max(axis=1)
    wrong = np.zeros(len(cell), dtype=bool)
    for value in np.unique(row_cell):
        in_cell = row_cell == value
        target = round(float(rates.flat[value % n_cells] * in_cell.sum()))
        missing = target - int(contents.row_wrong[in_cell].sum())
        if missing < 0:
            raise ValueError(
                f"{target - missing} of {in_cell.sum()} rows carry another label than "
                f"most rows equal to them, which is more than the {target} mistakes "
                "asked for; raise the error rate or drop the contradictions."
            )
        free = np.flatnonzero(contents.free & (cell == value))
        order = key[free]
        if margin is not None:
            rank = np.empty(len(free))
            rank[np.argsort(margin[free], kind="stable")] = np.arange(len(free)) + 0.5
            order = order - concentration * rank / max(1, len(free))
        for i in free[np.argsort(-order, kind="stable")]:
            # A content of several rows is skipped if it would exceed the target.
            if contents.sizes[i] <= missing:
                wrong[i] = True
                missing -= contents.sizes[i]
        if missing:
            raise ValueError(
                f"{target} wrong rows were asked for and {target - missing} of "
                f"{in_cell.sum()} are possible, because rows repeat; drop the repeats "
                "or change the error rate."
            )
    return wrong


def _others(proba, classes):
    """Return the probabilities with those of one class per row removed."""
    others = proba.copy()
    others[np.arange(len(others)), classes] = -np.inf
    return others


def draw_answers(truth, wrong, n_classes, rates, error_kind, proba, rng):
    """Return the position of the answered class for every content."""
    answer = truth.copy()
    rows = np.flatnonzero(wrong)
    if error_kind == "margin":
        answer[rows] = _others(proba[rows], truth[rows]).argmax(axis=1)
    elif rates.ndim == 0:
        step = rng.randint(1, n_classes, size=len(rows))
        answer[rows] = (truth[rows] + step) % n_classes
    else:
        for c in np.unique(truth[rows]):
            of_class = rows[truth[rows] == c]
            each, left = divmod(len(of_class), n_classes - 1)
            share = each + (np.arange(n_classes - 1) < left)
            labels = np.repeat(np.delete(np.arange(n_classes), c), share)
            answer[of_class] = rng.permutation(labels)
    return answer


def draw_probabilities(truth, answer, wrong, proba, n_classes, rng):
    """Draw the soft label of every content."""
    order = _rank_classes(truth, answer, wrong, proba, n_classes, rng)
    return _soft_labels(order, _draw_margins(wrong, rng))


def _rank_classes(truth, answer, wrong, proba, n_classes, rng):
    """Order the classes of every content from most to least likely."""
    n = len(truth)
    score = rng.random_sample((n, n_classes))
    if proba is not None:
        # Random numbers only break ties.
        position = np.lexsort((score, proba), axis=1)
        np.put_along_axis(score, position, np.arange(n_classes)[None, :], axis=1)
    score[np.arange(n), answer] = np.inf
    order = np.argsort(-score, axis=1, kind="stable")
    rank = rng.randint(1, min(LOWEST_RANK, n_classes), size=n)
    # On wrong rows the truth changes places with the class at its drawn rank.
    rows = np.flatnonzero(wrong)
    now = (order[rows] == truth[rows, None]).argmax(axis=1)
    order[rows, now] = order[rows, rank[rows]]
    order[rows, rank[rows]] = truth[rows]
    return order


def _draw_margins(wrong, rng):
    """Draw a margin for every content."""
    mean = np.where(wrong, WRONG_MARGIN, RIGHT_MARGIN)
    margins = rng.beta(PSEUDO_OBSERVATIONS * mean, PSEUDO_OBSERVATIONS * (1.0 - mean))
    # A margin of zero would be a tie, and the answer then not the one decided.
    return np.clip(margins, 1e-3, 1.0 - 1e-3)


def _soft_labels(order, margins):
    """Return probabilities of ranked classes: p1 - p2 = margin, halved from p2 on."""
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
