"""Functions as teachers."""

from collections.abc import Callable
from typing import Any, Self

from skadistill._utils.display import qualified_name
from skadistill.exceptions import TeacherAnswerError
from skadistill.teachers._answers import Answer
from skadistill.teachers._base import TEACHER_CONSTRAINTS, BaseTeacher
from skadistill.teachers._embeddings import embedding_suffix, named_method
from skadistill.teachers._identity import classes_suffix, object_identity

__all__ = ["CalledTeacher", "FunctionTeacher"]


class CalledTeacher(BaseTeacher):
    """Call what is stored as `function`; clones share it, and the teacher itself."""

    function: Any

    def __sklearn_clone__(self) -> Self:
        return self

    @property
    def display_name(self) -> str:
        """The teacher's name in messages."""
        function = qualified_name(self.function).rpartition(".")[2]
        return f"the teacher {self.name or function!r}"


class FunctionTeacher(CalledTeacher):
    """Label rows with a function ``X -> answers``: a model server, a rule, a person.

    Parameters
    ----------
    function : callable
        Takes rows in the container the caller has and returns probabilities of
        shape (n_samples, n_classes), or hard labels of shape (n_samples,) or
        (n_samples, 1); as an array, a list, a tensor or a frame. Or an `Answer` with
        these and the call's cost.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns mean, or which hard labels may come. None: a frame's
        column names if they are classes, else the classes asked for, in order
        (which is sorted order in `ActiveDistiller`).
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: the function is
        known in this process only, and a ledger in a file asks for a name. Change the
        version when the answers change.
    allow_missing_classes : bool, default=False
        Whether the function may lack classes; they get probability 0.
    allow_extra_classes : bool, default=False
        Whether the function may know more classes; their share is dropped and the
        row renormalized.
    embedding : None, "pair", str or callable, default=None
        Where embeddings come from: "pair" says that `function` returns answers and
        embeddings at once; any other text names a method of the object that is
        `function`; a callable takes rows and returns an array of shape
        (n_samples, n_dims); None without any.
    batch_size : int or None, default=None
        Rows that a fit or a purchase asks about at a time. They are in the ledger
        before the next are asked, so that a fault costs at most those in flight.
        None: all rows of a round at once.
    cost_per_row : float or None, default=None
        What one answer costs, in the user's money, for ledgers with ``max_cost`` and
        for :meth:`~skadistill.ActiveDistiller.plan`. None: not known.
    on_invalid : {"raise", "skip"}, default="raise"
        What an unusable answer is, such as an unknown label or probabilities that do
        not sum to 1. "raise": an error, once all answers are recorded; the next run
        leaves the row out. "skip": no label; paid for, recorded, and left out.
    multilabel : bool, default=False
        Whether a row may have several labels: an answer is then the probability that
        each applies, of shape (n_samples, n_labels), or a list of names per row, empty
        where none applies. A fit sets it where `y` is an indicator matrix.

    Attributes
    ----------
    identity : str
        The name under which a ledger files the answers.
    has_embeddings : bool
        Whether `embedding` is given.
    can_embed_only : bool
        Whether it can return embeddings without labels: not with "pair".

    Notes
    -----
    Clones share the function and the teacher itself (``clone`` returns it), so a
    search asks one and the same teacher.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.teachers import FunctionTeacher
    >>> def sign(X):
    ...     return np.where(X[:, 0] > 0, "up", "down")
    >>> FunctionTeacher(sign, name="sign").ask(np.array([[2.0]]), ["down", "up"])
    array([[0., 1.]])
    """

    identity: str

    _parameter_constraints: dict = TEACHER_CONSTRAINTS | {
        "function": [callable],
        "embedding": [None, str, callable],
    }

    def __init__(
        self,
        function: Callable[..., Any],
        classes: Any = None,
        name: str | None = None,
        version: str | None = None,
        *,
        allow_missing_classes: bool = False,
        allow_extra_classes: bool = False,
        embedding: str | Callable[..., Any] | None = None,
        batch_size: int | None = None,
        cost_per_row: float | None = None,
        on_invalid: str = "raise",
        multilabel: bool = False,
    ) -> None:
        self.function = function
        self.classes = classes
        self.name = name
        self.version = version
        self.allow_missing_classes = allow_missing_classes
        self.allow_extra_classes = allow_extra_classes
        self.embedding = embedding
        self.batch_size = batch_size
        self.cost_per_row = cost_per_row
        self.on_invalid = on_invalid
        self.multilabel = multilabel

    @property
    def classes_(self) -> Any:
        """What the columns of its answers mean; None if it has not said."""
        if self.classes is not None:
            return self.classes
        return getattr(self.function, "classes_", None)

    @property
    def has_embeddings(self) -> bool:
        """Whether `embedding` is given."""
        return self.embedding is not None

    @property
    def can_embed_only(self) -> Any:
        """Whether it can return embeddings without labels: not with "pair"."""
        return self.has_embeddings and not self._gives_pairs

    @property
    def _gives_pairs(self):
        return isinstance(self.embedding, str) and self.embedding == "pair"

    def answer(self, X: Any) -> Any:
        """Call the function once.

        A pair becomes an `Answer` with embeddings.
        See :meth:`skadistill.teachers.BaseTeacher.answer`.
        """
        answer = self.function(X)
        if not self._gives_pairs:
            return answer
        if isinstance(answer, tuple) and len(answer) == 2:
            return Answer(answer[0], embeddings=answer[1])
        raise TeacherAnswerError(
            f"{self.display_name} answered {type(answer).__name__} although "
            "embedding='pair' promises answers and embeddings; return a tuple of the "
            "two."
        )

    def answer_embeddings(self, X: Any) -> Any:
        """Call the source of the embeddings.

        See :meth:`skadistill.teachers.BaseTeacher.answer_embeddings`.
        """
        if self.embedding is None:
            return super().answer_embeddings(X)
        if self._gives_pairs:
            return self.answer(X).embeddings
        if callable(self.embedding):
            return self.embedding(X)
        return named_method(self.function, self.embedding, self.display_name)(X)

    def derived_identity(self) -> str:
        """Return a name for the function that ends with this process.

        Returns
        -------
        identity : str
            With the declared classes, since they say what the columns mean, and
            the declared embedding.
        """
        suffix = classes_suffix(self.classes) + embedding_suffix(self.embedding)
        return f"function:{object_identity(self.function)}{suffix}"
