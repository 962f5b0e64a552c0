"""What a teacher returns: an answer with its cost, no label, a checked batch."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Answer", "LabeledBatch", "NoLabel", "OtherAnswer", "Unanswered"]


class Unanswered(NamedTuple):
    """Count rows of calls that may be billed and brought no answer.

    Parameters
    ----------
    n_rows : int
        Number of rows; one that was sent twice is counted twice.
    cost : float
        What they cost at most.

    Examples
    --------
    >>> from skadistill.teachers._answers import Unanswered
    >>> Unanswered.total([Unanswered(1, 0.5), Unanswered(0, 0.0), Unanswered(2, 1.0)])
    Unanswered(n_rows=3, cost=1.5)
    >>> Unanswered.total([Unanswered(0, 0.0)]) is None
    True
    """

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
    """Hold what a call said about another question than the one asked.

    Parameters
    ----------
    identity : str
        Of the teacher that asks that question.
    classes : sequence of n_classes labels
        Its classes.
    labels : ndarray of shape (n_samples, n_classes)
        Probabilities; NaN in rows without a label.
    rows : ndarray of int of shape (n_samples,) or None, default=None
        Positions among the rows asked. None: the rows of the call.
    """

    identity: str
    classes: Any
    labels: Any
    rows: Any = None


@dataclass(frozen=True, eq=False)
class LabeledBatch:
    """Hold checked labels of some of the rows asked.

    Parameters
    ----------
    rows : ndarray of int of shape (n_answered,)
        Positions among the rows asked.
    labels : ndarray of float64 of shape (n_answered, n_classes)
        Their labels.
    cost : float or None, default=None
        What they cost together; None: not known.
    seconds : float, default=0.0
        How long they took.
    embeddings : ndarray of float32 of shape (n_answered, n_dims) or None, default=None
        Their embeddings, if they were asked for.
    also : sequence of OtherAnswer, default=()
        Answers to other questions about them, which a ledger keeps as well.
    model : str or None, default=None
        Which model answered, as its endpoint says.
    unanswered : Unanswered or None, default=None
        Earlier calls about them that may be billed and brought no answer.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.teachers._answers import LabeledBatch
    >>> LabeledBatch(np.array([0, 2]), np.eye(2), cost=0.02).cost
    0.02
    """

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
    >>> def judge(texts):
    ...     return [NoLabel("too short") if len(t) < 3 else "spam" for t in texts]
    >>> as_teacher(judge).ask(["win money", "?"], ["ham", "spam"])
    array([[ 0.,  1.],
           [nan, nan]])
    """

    reason: str = ""
