"""Errors and warnings of this package, with a common base class.

Every message is a sentence with three parts: what was wrong, the value
received, and what to do. All errors are subclasses of `ValueError`, as scikit-learn's
own checks expect.
"""

from typing import Any

__all__ = [
    "BudgetError",
    "BudgetWarning",
    "CascadeError",
    "ExportError",
    "JobPendingError",
    "LedgerCopyWarning",
    "LedgerError",
    "ObjectiveError",
    "QueryStrategyError",
    "SkadistillError",
    "StudentError",
    "TeacherAnswerError",
    "TeacherCallError",
    "TeacherError",
    "TeacherWarning",
    "UnlabeledTestRowsWarning",
]


class SkadistillError(ValueError):
    """Base class of all errors here; raised itself if the labels train no student."""


class BudgetError(SkadistillError):
    """Raised if the budget cannot be spent: the pool is empty, or smaller than it."""


class QueryStrategyError(SkadistillError):
    """Raised if a strategy is unknown or returns repeated, foreign or too few rows."""


class ObjectiveError(SkadistillError):
    """Raised if an objective is unknown, or lacks evidence that it needs."""


class StudentError(SkadistillError, TypeError):
    """Raised if a student is unknown or cannot learn from soft labels."""


class CascadeError(SkadistillError):
    """Raised if no threshold of a cascade can keep its promise."""


class ExportError(SkadistillError):
    """Raised if a model, or a part of it, cannot be exported."""


class LedgerError(SkadistillError):
    """Raised if a ledger cannot be read, written or interpreted."""


class LedgerCopyWarning(RuntimeWarning):
    """Labels are paid for in a worker process's copy of a `MemoryLedger`.

    They are lost when the worker ends, and its parent may pay for them again.
    """


class TeacherError(SkadistillError):
    """Base class of errors of a teacher; labels paid before the error are kept."""

    #: Cost of the failed call; None if unknown, since it may be billed.
    cost: float | None = None
    #: Rows of calls that may be billed and brought no answer; their cost at most.
    unanswered: tuple[int, float] | None = None


class TeacherCallError(TeacherError):
    """Raised if asking the teacher failed, or a worker that asked it was lost.

    What the teacher raised is chained. A call that a lost worker sent may be billed.
    """


class JobPendingError(TeacherError):
    """Raised if a job that was submitted to the teacher has not ended yet.

    Its rows are not lost: the ledger knows the job, and asking again collects the
    answers.
    """

    #: Names of the jobs, and how many rows they hold.
    jobs: tuple[str, ...] = ()
    n_rows: int = 0
    #: What was bought before, as a LabelPurchase; None if nothing was tried.
    purchase: Any = None


class TeacherAnswerError(TeacherError):
    """Raised if an answer has a wrong shape, no probabilities or unknown classes."""


class BudgetWarning(UserWarning):
    """Warns of a budget that buys nothing or random rows, or is spent or unused."""


class TeacherWarning(UserWarning):
    """Warns that a teacher looks useless, misordered, another one, or unchecked."""


class UnlabeledTestRowsWarning(UserWarning):
    """Warns that rows without a label were scored as if the marker were a class."""
