"""What labeled rows say about the teacher, for the robust sampler."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from skadistill.query._game.evidence import (
    check_order,
    discount,
    is_asked_elsewhere,
    is_trusted,
    learn_errors,
    wrong_answer_ratio,
)
from skadistill.query._game.regret import regret_inclusion
from skadistill.query._measures import margin_gain

__all__ = ["TeacherEvidence"]

#: Rows of the first check of a teacher, of every one after it, and of all checks.
FEWEST_CHECKS, MORE_CHECKS, MOST_CHECKS = 20, 10, 40
#: The first checks are all on rows that the game would ask about; after these, every
#: second one is on a row drawn evenly.
N_AIMED = 10
#: How often students judge the labeled rows before a teacher is doubted: gains of one
#: student are partly chance, and the curve of errors over them too flat.
N_JUDGMENTS = 3

# The discount is tabulated at so many gains: a pool of 1e7 rows is looked up,
# not searched.
_STEPS = 1 << 12


@dataclass(frozen=True, eq=False)
class TeacherEvidence:
    """Hold the labeled rows against which the teacher was checked so far."""

    proba: np.ndarray
    truth: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    answers: np.ndarray | None = None
    doubted: bool = False
    judge_again: Callable | None = None
    train_committee: Callable | None = None

    @cached_property
    def gains(self):
        """The student's gain on every labeled row."""
        return np.maximum(margin_gain(self.proba), 0.0)

    @cached_property
    def wrong(self):
        """Whether the teacher's first choice is wrong on each row checked."""
        if self.answers is None:
            return np.empty(0, dtype=bool)
        return self.answers.argmax(axis=1) != self.truth[self.rows]

    @property
    def n_student_right(self):
        """Number of checked rows on which the students' first choice is right."""
        predicted = self.proba[self.rows].argmax(axis=1)
        return int(np.count_nonzero(predicted == self.truth[self.rows]))

    @cached_property
    def ratio(self):
        """Worth of a wrong answer in units of a correct one."""
        if self.answers is None:
            return 0.0
        return wrong_answer_ratio(
            self.proba[self.rows], self.answers, self.truth[self.rows]
        )

    def order(self, share, rng):
        """Order the labeled rows for checks."""
        return check_order(self._play(share), rng, N_AIMED)

    def add(self, rows, answers):
        """Return this evidence with more rows checked."""
        if self.answers is not None:
            rows = np.concatenate([self.rows, rows])
            answers = np.concatenate([self.answers, answers])
        return replace(self, rows=rows, answers=answers)

    def first(self, n_checks):
        """Return the evidence as it was after the first checks."""
        answers = None if self.answers is None else self.answers[:n_checks]
        return replace(self, rows=self.rows[:n_checks], answers=answers)

    def is_trusted(self, share):
        """Tell whether the teacher is good enough on rows the game asks about."""
        asked = self._play(share)[self.rows] > 0
        return is_trusted(self.wrong[asked], self.ratio)

    def n_more_checks(self, share):
        """Count the labeled rows on which the teacher is to be checked next."""
        n_checks = len(self.rows)
        if n_checks < FEWEST_CHECKS:
            return FEWEST_CHECKS - n_checks
        if n_checks >= MOST_CHECKS or self.is_trusted(share):
            return 0
        return min(MORE_CHECKS, MOST_CHECKS - n_checks)

    def settle(self, share):
        """Decide, once for all rounds, whether the teacher is doubted."""
        if not len(self.rows) or self.is_trusted(share):
            return replace(self, doubted=False)
        surer = self._judged_again()
        if surer.is_trusted(share):
            return replace(surer, doubted=False)
        n_queries = max(self._n(share), min(FEWEST_CHECKS, len(self.truth)))
        errors = surer.errors(surer.gains)
        doubted = is_asked_elsewhere(surer.gains, errors, surer.ratio, n_queries)
        return replace(surer, doubted=doubted)

    def _judged_again(self):
        """Return this evidence with the labeled rows judged by more students."""
        if self.judge_again is None:
            return self
        others = [self.judge_again(number) for number in range(1, N_JUDGMENTS)]
        return replace(self, proba=(self.proba + sum(others)) / N_JUDGMENTS)

    @cached_property
    def errors(self):
        """Function from gains to the probability that the teacher is wrong.

        The gains are those of students that were trained on the labeled rows alone.
        """
        return learn_errors(self.gains[self.rows], self.wrong)

    @cached_property
    def error_rate(self):
        """Probability that the teacher is wrong on a labeled row, checked or not.

        Most of the checked rows are hard for students; how the errors depend on that
        tells how often the teacher is wrong on all.
        """
        return float(self.errors(self.gains).mean())

    def discount(self, gains):
        """Compute which share of its gain each row keeps."""
        centers = (np.arange(_STEPS) + 0.5) / _STEPS
        table = discount(self.errors(centers), self.ratio).astype(np.float32)
        table = np.clip(table, np.finfo(np.float32).eps, 1)
        # Rounding may lift a gain to 1 and above.
        steps = np.minimum(gains * np.float32(_STEPS), _STEPS - 1).astype(np.int16)
        return table[steps]

    def _play(self, share):
        """Return the probabilities with which the regret game asks labeled rows."""
        return regret_inclusion(self.gains, self._n(share))

    def _n(self, share):
        n_labeled = len(self.truth)
        return min(max(round(share * n_labeled), 1), n_labeled)
