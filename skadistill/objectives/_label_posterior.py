"""Correct a teacher's labels where rows have several, by what checks say of it."""

import numpy as np

from skadistill.objectives._base import Objective

__all__ = ["LabelPosterior"]

# Rows by which all labels together count in the rates of each one: a rare label has a
# positive row or none among the checks.
PRIOR_CHECKS, PRIOR_ROWS = 10.0, 5.0
N_FOLDS = 3
# Opinions of students are kept from certainty, which no answer could move.
LEAST_OPINION = 1e-3


class LabelPosterior(Objective):
    r"""Match the probability that each label applies, given the teacher's answer.

    What ``objective="auto"`` does where rows have several labels and the teacher was
    checked. With :math:`\alpha` and :math:`\beta` the rates at which the teacher
    names a label that does not apply and one that does, and :math:`s` an opinion,
    :math:`q = s \beta / (s \beta + (1 - s) \alpha)` where it names the label, and with
    :math:`1 - \alpha`, :math:`1 - \beta` where not. The opinion is the mean of two
    students': of one that learned the given rows alone, and of ones that learned other
    rows with the :math:`q` of the label's frequency in place of theirs.
    """

    uses_teacher_checks = True
    uses_out_of_fold = True
    uses_fit_and_predict = True
    only_at_end = True

    def transform(self, lesson, evidence):
        """Return the lesson with corrected targets of the rows that are not given."""
        half = evidence.n_classes // 2
        given, checks = evidence.given, evidence.teacher_checks
        if given.all():
            return lesson
        applies = lesson.targets[:, :half] * half
        false, true = _rates_named(
            checks.proba[:, :half] * half, applies[checks.rows], PRIOR_CHECKS
        )
        known = applies[given]
        frequency = known.sum(axis=0) + PRIOR_ROWS * known.mean()
        frequency /= len(known) + PRIOR_ROWS
        rows = np.flatnonzero(given), np.flatnonzero(~given)
        alone = evidence.fit_and_predict(rows[0], lesson.targets[given], rows[1])
        alone = alone[:, :half] * half

        def targets_by(opinion):
            opinion = np.clip((opinion + alone) / 2, LEAST_OPINION, 1 - LEAST_OPINION)
            posterior = _posterior(applies[~given], opinion, false, true)
            return _as_table(given, applies, posterior)

        first = targets_by(frequency)
        both = evidence.out_of_fold(first, N_FOLDS, evidence.random_state)
        targets = targets_by(both[~given, :half] * half)
        return lesson.replace(targets=targets)


def _rates_named(answers, truth, n_prior):
    """Return how often a label is named that does not apply, and one that does."""
    rates = []
    for counts in (1 - truth, truth):
        hits, total = (answers * counts).sum(axis=0), counts.sum(axis=0)
        pooled = (hits.sum() + 1) / (total.sum() + 2)
        rates.append((hits + n_prior * pooled) / (total + n_prior))
    return rates


def _posterior(answers, opinion, false, true):
    """Return the probability of each label given soft answers about it."""
    named = opinion * true / (opinion * true + (1 - opinion) * false)
    not_named = opinion * (1 - true)
    not_named = not_named / (not_named + (1 - opinion) * (1 - false))
    return answers * named + (1 - answers) * not_named


def _as_table(given, applies, posterior):
    """Return targets with the given labels, and the posterior of other rows."""
    table = applies.copy()
    table[~given] = posterior
    return np.hstack([table, 1 - table]) / table.shape[1]
