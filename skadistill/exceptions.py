"""Errors and warnings: one root, one class per reason.

Every message is a sentence with three parts: what was wrong, the value
received, and what to do. Classes that scikit-learn's own checks expect to be a
`ValueError` are one.
"""

__all__ = [
    "BudgetError",
    "EmptyPoolError",
    "EmptyPoolWarning",
    "ExportError",
    "LedgerError",
    "NoLabeledRowsError",
    "ObjectiveError",
    "QueryStrategyError",
    "SingleClassError",
    "SkadistillError",
    "StudentError",
    "TeacherCallError",
    "TeacherClassesError",
    "TeacherError",
    "TeacherProbabilityError",
    "TeacherShapeError",
    "TeacherWarning",
    "TeacherWorkerError",
    "UnlabeledTestRowsWarning",
    "UnsharedLedgerWarning",
]


class SkadistillError(Exception):
    """Root of every error that skadistill raises on purpose."""


class BudgetError(SkadistillError, ValueError):
    """The budget cannot be spent as asked, for example more rows than the pool."""


class EmptyPoolError(BudgetError):
    """There is a budget but no unlabeled row to spend it on."""


class NoLabeledRowsError(SkadistillError, ValueError):
    """No row carries a label, so there is nothing to train the first student on."""


class SingleClassError(SkadistillError, ValueError):
    """The labeled rows hold one class only."""


class QueryStrategyError(SkadistillError, ValueError):
    """A query strategy broke its contract: repeated, foreign or too few rows."""


class ObjectiveError(SkadistillError, ValueError):
    """An objective is unknown, or lacks the evidence that it learns from."""


class StudentError(SkadistillError, ValueError, TypeError):
    """A student is unknown, or lacks what learning from soft labels takes."""


class ExportError(SkadistillError, ValueError):
    """A model, or a part of it, cannot be written in the form asked for."""


class LedgerError(SkadistillError, ValueError):
    """A ledger cannot be read, written or understood."""


class TeacherError(SkadistillError, ValueError):
    """Root of the teacher's faults; labels paid before the fault are kept."""

    #: What the fault cost; None where nobody knows and the bill may come.
    cost: float | None = None


class TeacherCallError(TeacherError):
    """The teacher raised while it was asked; the cause is chained."""


class TeacherWorkerError(TeacherError):
    """A worker was lost while it asked the teacher; the answer may be on the bill."""


class TeacherShapeError(TeacherError):
    """The teacher's answer has the wrong number of rows or columns."""


class TeacherProbabilityError(TeacherError):
    """The teacher's answer holds NaN, negative entries or rows not summing to 1."""


class TeacherClassesError(TeacherError):
    """The teacher's classes and the labeled rows' classes disagree."""


class EmptyPoolWarning(UserWarning):
    """There is a budget but no unlabeled row to spend it on."""


class TeacherWarning(UserWarning):
    """The teacher's answers on labeled rows look useless or misordered."""


class UnsharedLedgerWarning(UserWarning):
    """Labels paid in another process will be paid again."""


class UnlabeledTestRowsWarning(UserWarning):
    """Rows without a label were scored as if the marker were a class."""
