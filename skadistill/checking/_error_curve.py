"""Where the teacher is wrong: its errors as a function of the student's gain."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skadistill._statistics.checks import TeacherChecks, is_wrong
from skadistill.query._game.errors import (
    check_order,
    depend_on_gain,
    discount,
    is_asked_elsewhere,
    is_trusted,
    learn_errors,
    overall_error_rate,
    wrong_answer_ratio,
)
from skadistill.query._game.regret import regret_inclusion
from skadistill.query._measures import margin_gain

__all__ = ["FEWEST_CHECKS", "MOST_CHECKS", "ErrorCurve"]

#: Rows of the first check of a teacher, of every one after it, and of all checks.
FEWEST_CHECKS, MORE_CHECKS, MOST_CHECKS = 20, 10, 40
#: How often students judge the labeled rows before a teacher is distrusted: gains of
#: one student are partly chance, and the curve of errors over them too flat.
N_JUDGMENTS = 3

# The discount is tabulated at so many gains: a pool of 1e7 rows is looked up,
# not searched.
_STEPS = 1 << 12


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """Learn from checked rows how the teacher's errors depend on the student's gain.

    `proba` are predictions for all labeled rows by students not trained on them, and
    `truth` the positions of their classes; `checks` are in the order of asking.
    """

    proba: np.ndarray
    truth: np.ndarray
    checks: TeacherChecks
    distrusted: bool = False
    judge_again: Callable | None = None
    train_committee: Callable | None = None

    @cached_property
    def gains(self):
        """The student's gain on every labeled row."""
        return np.maximum(margin_gain(self.proba), 0.0)

    @property
    def n_student_right(self):
        """Number of checked rows on which the students' first choice is right."""
        rows = self.checks.rows
        return int(np.count_nonzero(~is_wrong(self.proba[rows], self.truth[rows])))

    @cached_property
    def ratio(self):
        """Worth of a wrong answer in units of a correct one."""
        checks = self.checks
        return wrong_answer_ratio(self.proba[checks.rows], checks.proba, checks.truth)

    def order(self, share, rng):
        """Order the labeled rows for checks."""
        return check_order(self._inclusion(share), rng)

    def of(self, checks):
        """Return the curve that other checks show."""
        return replace(self, checks=checks)

    def is_trusted(self, share):
        """Tell whether the teacher is good enough on rows the game asks about."""
        asked = self._inclusion(share)[self.checks.rows] > 0
        return is_trusted(np.asarray(self.checks.wrong)[asked], self.ratio)

    def n_more_checks(self, share):
        """Count the labeled rows on which the teacher is to be checked next.

        Enough is known when a share of the pool, that of one round, can be chosen.
        """
        n_checks = self.checks.n_samples
        if n_checks < FEWEST_CHECKS:
            return FEWEST_CHECKS - n_checks
        if n_checks >= MOST_CHECKS or self.is_trusted(share):
            return 0
        return min(MORE_CHECKS, MOST_CHECKS - n_checks)

    def settle(self, share):
        """Decide, once for all rounds, whether the teacher is distrusted."""
        if not self.checks.n_samples or self.is_trusted(share):
            return replace(self, distrusted=False)
        surer = self._judged_again()
        wrong, gains = np.asarray(self.checks.wrong), surer.gains[self.checks.rows]
        if surer.is_trusted(share) or not depend_on_gain(gains, wrong):
            return replace(surer, distrusted=False)
        n_queries = max(self._n(share), min(FEWEST_CHECKS, len(self.truth)))
        errors = surer.errors(surer.gains)
        distrusted = is_asked_elsewhere(surer.gains, errors, surer.ratio, n_queries)
        return replace(surer, distrusted=distrusted)

    def _judged_again(self):
        """Return this curve with the labeled rows judged by more students."""
        if self.judge_again is None:
            return self
        others = [self.judge_again(number) for number in range(1, N_JUDGMENTS)]
        return replace(self, proba=(self.proba + sum(others)) / N_JUDGMENTS)

    @cached_property
    def errors(self):
        """Function from gains to the probability that the teacher is wrong.

        The gains are those of students that were trained on the labeled rows alone.
        """
        return learn_errors(self.gains[self.checks.rows], self.checks.wrong)

    def error_rate(self, share):
        """Estimate how often the teacher is wrong on labeled rows, checked or not."""
        checks = self.checks
        return overall_error_rate(
            self.gains, checks.wrong, self.errors, self._inclusion(share), checks.rows
        )

    def discount(self, gains):
        """Compute which share of its gain each row keeps."""
        centers = (np.arange(_STEPS) + 0.5) / _STEPS
        table = discount(self.errors(centers), self.ratio).astype(np.float32)
        table = np.clip(table, np.finfo(np.float32).eps, 1)
        # Rounding may lift a gain to 1 and above.
        steps = np.minimum(gains * np.float32(_STEPS), _STEPS - 1).astype(np.int16)
        return table[steps]

    def _inclusion(self, share):
        """Return the probabilities with which the regret game asks labeled rows."""
        return regret_inclusion(self.gains, self._n(share))

    def _n(self, share):
        n_labeled = len(self.truth)
        return min(max(round(share * n_labeled), 1), n_labeled)
