"""What a teacher returns: an answer with its cost, no label, a checked batch."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skadistill.exceptions import TeacherError

__all__ = [
    "Answer",
    "JobAnswers",
    "LabeledBatch",
    "NoLabel",
    "OtherAnswer",
    "Unanswered",
]


class Unanswered(NamedTuple):
    """Count rows of calls that may be billed and brought no answer."""

    n_rows: int
    cost: float

    @classmethod
    def total(cls, calls):
        """Add up calls; None if none of them may be billed."""
        some = [call for call in calls if call is not None and call.n_rows]
        if not some:
            return None
        return cls(sum(c.n_rows for c in some), sum(c.cost for c in some))


@dataclass(frozen=True, eq=False)
class Answer:
    """Return labels together with the cost of the call, or with embeddings.

    Parameters
    ----------
    labels : array-like of shape (n_samples, n_classes) or (n_samples,)
        Probabilities, or hard labels.
    cost : float or None, default=None
        What this call cost, in the user's money, for example from the ``usage`` that
        the server reports. None: the teacher's ``cost_per_row``.
    embeddings : array-like of shape (n_samples, n_dims) or None, default=None
        Embeddings of the rows, when the same call brings them.
    also : sequence of OtherAnswer, default=()
        Answers to further questions that the same call brought.
    model : str or None, default=None
        Which model answered, as its endpoint says; kept beside the labels. If it is
        another one than before, a `TeacherWarning` tells.

    Examples
    --------
    >>> from skadistill.teachers import Answer
    >>> Answer(["spam"], cost=0.0003).cost
    0.0003
    """

    labels: Any
    cost: float | None = None
    embeddings: Any = None
    also: Any = ()
    model: str | None = None


@dataclass(frozen=True, eq=False)
class OtherAnswer:
    """Hold what a call said about another question than the one asked."""

    identity: str
    classes: Any
    labels: Any
    rows: Any = None


@dataclass(frozen=True, eq=False)
class LabeledBatch:
    """Hold checked labels of some of the rows asked."""

    rows: np.ndarray
    labels: np.ndarray
    cost: float | None = None
    seconds: float = 0.0
    embeddings: np.ndarray | None = None
    also: Any = ()
    model: str | None = None
    unanswered: Unanswered | None = None


@dataclass(frozen=True)
class NoLabel:
    """The answer for a row without a label: paid for, and not asked about again.

    A teacher may return it in place of a label, as it may return None or NaN, for
    example when a language model refuses.

    Parameters
    ----------
    reason : str, default=""
        Why, for the user's own records; the ledger does not keep it.

    Examples
    --------
    >>> from skadistill.teachers import NoLabel, as_teacher
    >>> def decide(texts):
    ...     return [NoLabel("too short") if len(t) < 3 else "spam" for t in texts]
    >>> as_teacher(decide).ask(["win money", "?"], ["ham", "spam"])
    array([[ 0.,  1.],
           [nan, nan]])
    """

    reason: str = ""


@dataclass(frozen=True, eq=False)
class JobAnswers:
    """Hold what a job has answered; a cost that is not known is NaN."""

    labels: np.ndarray
    answered: np.ndarray
    costs: np.ndarray
    models: list
    reason: str = "no reason given"
    has_learned: bool = False  # the next job is sent in another form
    fault: TeacherError | None = None
    is_over: bool = True  # False: the job goes on to hold what is not answered
    empty: np.ndarray | None = None  # rows unanswered by a reply without a text
