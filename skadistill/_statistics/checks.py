"""Answers of a teacher on labeled rows, and how often they are wrong."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skadistill._statistics.intervals import posterior_interval
from skadistill._utils.label_space import differs

__all__ = ["TeacherChecks", "is_wrong"]


def is_wrong(proba, truth):
    """Tell, row by row, whether the most probable class is another than the true one.

    The true classes are given by their positions among the columns; of several labels
    per row, by a table, and any of them counts.
    """
    if truth.ndim == 2:
        return differs(proba, truth)
    return proba.argmax(axis=1) != truth


@dataclass(frozen=True, eq=False)
class TeacherChecks:
    """A teacher's answers on labeled rows, and how often they are wrong.

    Parameters
    ----------
    rows : ndarray of int of shape (n_checks,)
        Positions of the checked rows among the labeled rows.
    proba : ndarray of shape (n_checks, n_classes) or None
        The teacher's answers. None: they were not kept.
    truth : ndarray of int of shape (n_checks,) or None, default=None
        Positions of the true classes; of several labels per row, a table like `proba`.
        None: not known here; an
        :class:`~skadistill.objectives.Evidence` knows them.
    method : {"asked", "aimed", "cross-fitted"}, default="asked"
        "asked": the teacher itself was asked about rows drawn at random. "aimed": the
        same, mostly about rows that are hard for the student. "cross-fitted": for
        each row a teacher answered that was fitted on other rows.
    n_paid : int, default=0
        Rows paid for to find out; 0 if cross-fitted.
    cost : float, default=0.0
        What these rows cost, as far as the teacher names prices.
    n_no_label : int, default=0
        Rows asked about to which the teacher gave no label.
    wrong : ndarray of bool of shape (n_checks,) or None, default=None
        Whether the most probable class is another than the true one. None: computed
        from `proba` and `truth`.

    Attributes
    ----------
    n_samples : int
        Rows checked.
    n_wrong : int
        Rows that the teacher gets wrong.
    rate : float
        Error rate: the mean of the Beta posterior with a uniform prior,
        ``(n_wrong + 1) / (n_samples + 2)``, which is never 0 and never 1.
    independent : bool
        Whether the teacher was not fitted on these rows. False if cross-fitted: the
        final teacher is fitted on all of them, so that its answers on other rows carry
        their truth to any student.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.checking import TeacherChecks
    >>> proba = np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    >>> checks = TeacherChecks(np.array([0, 3, 5]), proba, truth=np.array([0, 1, 0]))
    >>> checks.wrong, checks.rate
    (array([False, False,  True]), 0.4)
    """

    rows: np.ndarray
    proba: np.ndarray | None
    truth: np.ndarray | None = None
    method: str = "asked"
    n_paid: int = 0
    cost: float = 0.0
    n_no_label: int = 0
    wrong: np.ndarray | None = None

    def __post_init__(self):
        if self.wrong is None and self.truth is not None and self.proba is not None:
            object.__setattr__(self, "wrong", is_wrong(self.proba, self.truth))

    @classmethod
    def none(cls, n_classes: Any, method: Any = "asked") -> Any:
        """Return checks of no row, to which others can be added."""
        nothing = np.empty(0, dtype=np.intp)
        return cls(nothing, np.empty((0, n_classes)), nothing, method)

    @property
    def n_samples(self) -> Any:
        """Rows checked."""
        return len(self.rows)

    @property
    def n_wrong(self) -> Any:
        """Rows that the teacher gets wrong."""
        if self.wrong is None:
            raise ValueError("truth is None, so nobody knows which answers are wrong.")
        return int(np.count_nonzero(self.wrong))

    @property
    def rate(self) -> Any:
        """Error rate, the mean of its posterior."""
        return (self.n_wrong + 1) / (self.n_samples + 2)

    @property
    def independent(self) -> Any:
        """Whether the teacher was not fitted on these rows."""
        return self.method != "cross-fitted"

    def interval(self, level: float = 0.95) -> tuple[Any, ...]:
        """Return the bounds between which the error rate lies.

        Parameters
        ----------
        level : float, default=0.95
            Posterior probability of the interval, in (0, 1).

        Returns
        -------
        low, high : float
            Quantiles of the Beta posterior that leave the same probability outside
            on either side.

        Examples
        --------
        >>> import numpy as np
        >>> from skadistill.checking import TeacherChecks
        >>> rows = np.arange(100)
        >>> low, high = TeacherChecks(rows, None, wrong=rows < 10).interval()
        >>> print(f"{low:.3f} to {high:.3f}")
        0.056 to 0.175
        """
        return posterior_interval(self.n_wrong, self.n_samples, level)

    def add(
        self,
        rows: Any,
        proba: Any,
        truth: Any,
        *,
        n_paid: Any = 0,
        cost: Any = 0.0,
        n_no_label: Any = 0,
    ) -> Any:
        """Return these checks and those of more rows, in the order of asking."""
        return replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            proba=np.concatenate([self.proba, proba]),
            truth=np.concatenate([self.truth, truth]),
            n_paid=self.n_paid + n_paid,
            cost=self.cost + cost,
            n_no_label=self.n_no_label + n_no_label,
            wrong=None,
        )

    def in_order(self) -> Any:
        """Return the same checks with ascending rows."""
        order = np.argsort(self.rows)
        parts = {
            name: getattr(self, name)[order] for name in ("rows", "proba", "truth")
        }
        return replace(self, wrong=None, **parts)

    def without_answers(self) -> Any:
        """Return what a fitted model keeps: a table of answers can be large."""
        return replace(self, proba=None, truth=None)
