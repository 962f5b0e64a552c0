"""The base class of teachers: how a teacher is called and its answers checked."""

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from skadistill._rows._containers import count_rows
from skadistill._utils.compat import Interval, StrOptions, validate_parameters
from skadistill._utils.display import HidesContents, message_of
from skadistill._utils.label_space import label_columns
from skadistill._utils.validation import as_cost
from skadistill.exceptions import TeacherCallError, TeacherError
from skadistill.teachers._answers import Answer, LabeledBatch
from skadistill.teachers._checks import check_classes, check_order, soft_labels
from skadistill.teachers._embeddings import check_embeddings, raise_without_embeddings
from skadistill.teachers._identity import given_identity
from skadistill.teachers._multilabel import indicator_labels

__all__ = ["TEACHER_CONSTRAINTS", "BaseTeacher"]

logger = logging.getLogger(__name__)

#: Parameters that the teachers of this package share; `as_cost` checks the cost.
TEACHER_CONSTRAINTS = {
    "classes": ["array-like", None],
    "name": [str, None],
    "version": [str, None],
    "allow_missing_classes": ["boolean"],
    "allow_extra_classes": ["boolean"],
    "on_invalid": [StrOptions({"raise", "skip"})],
    "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    "multilabel": ["boolean"],
}


class BaseTeacher(HidesContents, BaseEstimator, ABC):
    """Label rows with checked soft labels; the base class of every teacher.

    A subclass writes two methods: `answer`, which calls the teacher, and
    `derived_identity`, which tells teachers apart. All checking is done here, so that
    no teacher can pass a broken label to a student. A teacher only answers: it keeps
    no count, no budget and no record of earlier answers.

    Attributes
    ----------
    identity : str
        The name under which a ledger files the answers: ``name`` or ``name/version``
        if given, else what `derived_identity` returns.
    display_name : str
        The teacher's name in messages.
    classes_ : list or None
        What the columns of its answers mean; None if it has not said.
    is_fitted : bool
        Whether it can answer without a call of `fit`.
    on_invalid : {"raise", "skip"}
        What an unusable answer is: an error, once all usable answers are recorded,
        though the next run leaves the row out if the teacher has answered others;
        or no label at once, asked and paid for and left out.
    has_embeddings : bool
        Whether it can return embeddings, such as its last hidden layer.
    can_embed_only : bool
        Whether it can return embeddings without labels.
    output_weights : ndarray of shape (n_outputs, n_dims) or None
        Weights that turn embeddings into logits; None if they are not known.
    cost_per_row : float or None
        What one answer costs, in the user's money; None: not known.
    multilabel : bool
        Whether an answer holds several labels per row: probabilities of shape
        (n_samples, n_labels) that each applies, or collections of names.
    max_cost_per_row : float or None
        What one row can cost at most, failed tries included.
    claim_size : int or None
        How many rows are bought together by default: its `batch_size`; None: all.

    See Also
    --------
    as_teacher : Make a teacher from an estimator or a function.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.teachers import BaseTeacher
    >>> class Oracle(BaseTeacher):
    ...     def answer(self, X):
    ...         return (np.asarray(X)[:, 0] > 0).astype(int)
    ...
    ...     def derived_identity(self):
    ...         return "oracle"
    >>> Oracle().ask(np.array([[1.0], [-1.0]]), classes=[0, 1])
    array([[0., 1.],
           [1., 0.]])
    """

    _parameter_constraints: dict = {}

    name: str | None = None
    version: str | None = None
    allow_missing_classes: bool = False
    allow_extra_classes: bool = False
    on_invalid: str = "raise"
    batch_size: int | None = None
    cost_per_row: float | None = None
    multilabel: bool = False

    #: What `answer` returns: "proba", or "auto" to tell by the shape.
    _answer_kind = "auto"

    @abstractmethod
    def answer(self, X: Any) -> Any:
        """Call the teacher once and return its answer, unchecked.

        Parameters
        ----------
        X : container of n_samples rows
            The rows, in the caller's container.

        Returns
        -------
        answer : array-like of shape (n_samples, n_classes) or (n_samples,), or Answer
            Probabilities or hard labels; an `Answer` if the call's cost is known, or
            if it brings embeddings as well.
        """

    @abstractmethod
    def derived_identity(self) -> str:
        """Return the identity of a teacher without a name.

        Returns
        -------
        identity : str
            Equal for two teachers only if they give the same answers.
        """

    def answer_embeddings(self, X: Any) -> ArrayLike:
        """Return the embeddings of rows, unchecked.

        A teacher with embeddings overrides this and sets `has_embeddings`.

        Parameters
        ----------
        X : container of n_samples rows
            The rows, in the caller's container.

        Returns
        -------
        embeddings : array-like of shape (n_samples, n_dims)
            Finite numbers, always of the same dimensions.
        """
        return raise_without_embeddings(self.display_name)

    @property
    def identity(self) -> Any:
        """The name under which a ledger files the answers."""
        _check_name(self.name, self.version)
        kind = ":multilabel" if self.multilabel else ""
        if self.name is not None:
            return given_identity(self.name, self.version) + kind
        return given_identity(self.derived_identity(), self.version) + kind

    @property
    def display_name(self) -> str:
        """The teacher's name in messages."""
        return f"the teacher {self.name or type(self).__name__!r}"

    @property
    def classes_(self) -> Any:
        """What the columns of its answers mean; None if it has not said."""
        return None

    @property
    def is_fitted(self) -> bool:
        """Whether it can answer without a call of `fit`."""
        return True

    @property
    def has_embeddings(self) -> bool:
        """Whether it can return embeddings."""
        return False

    @property
    def can_embed_only(self) -> Any:
        """Whether it can return embeddings without labels."""
        return self.has_embeddings

    @property
    def output_weights(self) -> Any:
        """Weights that turn embeddings into logits; None if they are not known."""
        return None

    @property
    def max_cost_per_row(self) -> Any:
        """What one row can cost at most, failed tries included."""
        return self.cost_per_row

    @property
    def claim_size(self) -> Any:
        """How many rows are bought together by default; None: all."""
        return self.batch_size

    def fit(self, X: Any, y: ArrayLike, **fit_params: Any) -> Self:
        """Fit the teacher if it needs it; one that can answer is left as it is.

        Parameters
        ----------
        X : container of n_samples rows
            Labeled rows.
        y : array-like of shape (n_samples,)
            Their labels.
        **fit_params : dict
            Passed to the ``fit`` of the wrapped estimator, if there is one.

        Returns
        -------
        self : BaseTeacher
            Ready to be asked.
        """
        return self

    def __sklearn_is_fitted__(self):
        return self.is_fitted

    def __dir__(self) -> Any:
        names = object.__dir__(self)
        if sys._getframe(1).f_globals.get("__name__") != "inspect":
            return names
        # scikit-learn reads all that is listed when it draws an object in a notebook:
        # an identity may read a whole model, and a client may not be there yet.
        return [n for n in names if not isinstance(getattr(type(self), n, 0), property)]

    def ask(
        self, X: Any, classes: ArrayLike, *, row_numbers: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Return checked soft labels of the rows of `X`.

        Parameters
        ----------
        X : container of n_samples rows
            Passed to the teacher as it is.
        classes : array-like of shape (n_classes,)
            The columns wanted.
        row_numbers : array-like of int of shape (n_samples,) or None, default=None
            The numbers of the rows in messages. None: their positions in `X`.

        Returns
        -------
        labels : ndarray of float64 of shape (n_samples, n_classes)
            Probabilities, columns in the order of `classes`; each row sums to 1, or
            is NaN if the teacher gave the row no label: None, NaN or a `NoLabel`.
            Without rows, nothing is called.

        Raises
        ------
        TeacherCallError
            If the teacher raises, or still has to be fitted. KeyboardInterrupt and
            SystemExit pass through.
        TeacherAnswerError
            If the teacher lacks classes or has more, unless allowed (a missing
            class gets probability 0; the share of an extra one is dropped and the
            row renormalized), or if a label is not one of the classes.
        TeacherAnswerError
            If the answer has the wrong number of rows, columns or dimensions.
        TeacherAnswerError
            If the answer is not numeric, not finite or negative somewhere, or if the
            sum of a row differs from 1 by more than 1e-3.

        Notes
        -----
        A label that is a string is compared with the classes without blanks, quotes,
        markdown, a final period and case, if only one class is meant.
        """
        labels = np.full((count_rows(X), len(np.asarray(classes))), np.nan)
        for part in self.ask_parts(X, classes, row_numbers=row_numbers):
            labels[part.rows] = part.labels
        return labels

    def ask_parts(
        self,
        X: Any,
        classes: Any,
        *,
        row_numbers: Any = None,
        with_embeddings: bool = False,
        before_call: Callable[..., Any] | None = None,
    ) -> Iterator[Any]:
        """Yield checked labels of the rows of `X` as they arrive.

        Here, all at once. A teacher that makes several calls overrides this, so that
        what was answered before a fault can be kept.

        Parameters
        ----------
        X, classes, row_numbers : as in `ask`
            The question.
        with_embeddings : bool, default=False
            Whether embeddings are wanted too.
        before_call : callable or None, default=None
            Called with the positions of rows just before they are sent, so that a
            ledger knows what may be billed. A teacher may do without this parameter;
            all rows then count as sent.

        Yields
        ------
        part : LabeledBatch
            Labels of some rows. Each row is in one part; a row of NaN says that the
            row has no label.

        Raises
        ------
        TeacherError
            As `ask` does, after all usable answers were yielded. A teacher that
            knows what a fault cost puts it into the error's attribute ``cost``; else
            every unanswered row is counted at `max_cost_per_row`, since it may be
            billed.
        """
        classes = self._check_question(X, classes)
        n_samples = count_rows(X)
        if n_samples == 0:
            return
        if before_call is not None:
            before_call(np.arange(n_samples))
        batch, fault = self._ask_once(X, classes, row_numbers, with_embeddings)
        if len(batch.rows):
            yield batch
        if fault is not None:
            raise fault

    def try_on(
        self,
        X: Any,
        y: Any,
        *,
        ledger: Any = None,
        n_rows: int | None = 50,
        random_state: Any = None,
    ) -> Any:
        """Ask about some labeled rows, to test a prompt or a model before the budget.

        The answers are paid for and recorded. A fit with the same ledger and teacher
        checks the teacher on these rows first, and pays for none of them again.

        Parameters
        ----------
        X : container of n_samples rows
            Labeled rows.
        y : array-like of shape (n_samples,)
            Their labels.
        ledger : object, str, path-like or None, default=None
            Looked up and added to, as in :class:`~skadistill.ActiveDistiller`. None: a
            new one in memory, which the result holds.
        n_rows : int or None, default=50
            Rows to ask about at most, drawn at random. None: all.
        random_state : int, RandomState or None, default=None
            Draws the rows. With an int several teachers are tried on the same rows.

        Returns
        -------
        trial : Trial
            Prints how often the teacher is right, what it confuses, what the rows
            cost and how long they took. The same as attributes: ``n_right``,
            ``n_no_label``, ``confusions``, ``n_paid``, ``cost``, ``seconds``,
            ``ledger``, and per row ``rows``, ``y``, ``answers`` and ``to_frame()``.

        Raises
        ------
        TeacherError
            If a label is not one of the teacher's classes, before anything is paid;
            or if the teacher fails.
        """
        # Buying builds on teachers.
        module = import_module("skadistill.checking._trial")
        options = {"ledger": ledger, "n_rows": n_rows, "random_state": random_state}
        return module.try_teacher(self, X, y, **options)

    def embed(self, X: Any, *, row_numbers: ArrayLike | None = None) -> NDArray[Any]:
        """Return checked embeddings of the rows of `X`.

        Parameters
        ----------
        X : container of n_samples rows
            Passed to the teacher as it is.
        row_numbers : array-like of int of shape (n_samples,) or None, default=None
            The numbers of the rows in messages. None: their positions in `X`.

        Returns
        -------
        embeddings : ndarray of float32 of shape (n_samples, n_dims)
            Finite. Without rows, nothing is called, and ``n_dims`` is 0.

        Raises
        ------
        TeacherCallError
            If the teacher raises, or still has to be fitted.
        TeacherAnswerError
            If there is not one row of numbers for each row of `X`.
        TeacherError
            If it has no embeddings, or one is not finite.
        """
        self._check_parameters()
        n_samples = count_rows(X)
        self._check_is_fitted(n_samples)
        if n_samples == 0:
            return np.empty((0, 0), dtype=np.float32)
        embeddings = self._call(self.answer_embeddings, X, n_samples)
        return check_embeddings(
            embeddings, n_samples, who=self.display_name, row_numbers=row_numbers
        )

    def _check_parameters(self):
        """Check the parameters; a subclass without a constraint table has none."""
        if self._parameter_constraints:
            validate_parameters(self)
        as_cost(self.cost_per_row, "cost_per_row")

    def _check_question(self, X, classes):
        """Check all that can be known before a call; return the classes as a list."""
        classes = np.asarray(classes).tolist()
        try:
            self._check_parameters()
            self._check_is_fitted(count_rows(X))
            self._check_classes(classes)
        except TeacherError as error:
            error.cost = 0.0  # nothing was sent
            raise
        return classes

    def _check_classes(self, classes):
        """Raise if the teacher's classes are known not to fit those asked for."""
        own = self._class_list()
        if self.multilabel and own is not None:
            own = label_columns(own)
        check_classes(own, classes, who=self.display_name, **self._allowed())

    def _check_is_fitted(self, n_samples):
        """Raise if the teacher has to be fitted first."""
        if not self.is_fitted:
            raise TeacherCallError(
                f"{self.display_name} was asked about {n_samples} rows before it was "
                "fitted; call fit(X, y) first."
            )

    def _ask_once(self, X, classes, row_numbers, with_embeddings):
        """Make one call; return the usable answers and the first fault, if any."""
        n_samples = count_rows(X)
        start = time.perf_counter()
        answer = self._call(self.answer, X, n_samples)
        batch, fault = self._check_answer(answer, X, classes, row_numbers)
        if with_embeddings:
            embeddings = answer.embeddings if isinstance(answer, Answer) else None
            try:
                if embeddings is None:
                    embeddings = self._call(self.answer_embeddings, X, n_samples)
                embeddings = check_embeddings(
                    embeddings,
                    n_samples,
                    who=self.display_name,
                    row_numbers=row_numbers,
                )
                batch = replace(batch, embeddings=embeddings[batch.rows])
            except TeacherError as error:
                error.cost = 0.0  # the labels, which carry the cost, are kept
                fault = fault or error
        return replace(batch, seconds=time.perf_counter() - start), fault

    def _check_answer(self, answer, X, classes, row_numbers, *, has_answered=False):
        """Return the labels of a call, with their cost, and the first fault.

        A row with an unusable answer is kept without a label if others, of this call
        or earlier ones (`has_answered`), are usable; else it is asked about again.
        """
        if not isinstance(answer, Answer):
            answer = Answer(answer)
        n_samples, who = count_rows(X), self.display_name
        cost, fault_of_cost = self._cost_of(answer, n_samples)
        try:
            check_order(answer.labels, X, who=who)
            labels, invalid, fault = self._read_labels(
                answer.labels,
                n_samples,
                classes,
                own=self._class_list(),
                kind=self._answer_kind,
                who=who,
                row_numbers=None if row_numbers is None else np.asarray(row_numbers),
                **self._allowed(),
            )
        except TeacherError as error:
            error.cost = cost
            raise
        if fault is not None and self.on_invalid == "skip":
            logger.info("%s Left without a label: %d rows.", fault, invalid.sum())
            invalid[:], fault = False, None
        elif fault is not None and (has_answered or not invalid.all()):
            fault = type(fault)(f"{fault} {_KEPT.format(invalid.sum())}")
            invalid[:] = False
        rows = np.flatnonzero(~invalid)
        if fault is not None and cost is not None:
            fault.cost = cost * float(invalid.mean())
            cost -= fault.cost
        also = [replace(other, rows=np.arange(n_samples)) for other in answer.also]
        model = None if answer.model is None else str(answer.model)
        batch = LabeledBatch(rows, labels[rows], cost, also=also, model=model)
        return batch, fault or fault_of_cost

    def _cost_of(self, answer, n_samples):
        """Return the cost of a call or None, and a fault if it is not an amount."""
        per_row = as_cost(self.cost_per_row, "cost_per_row")
        cost = None if per_row is None else per_row * n_samples
        try:
            given = as_cost(answer.cost, f"the Answer.cost of {self.display_name}")
        except TeacherError as error:
            error.cost = 0.0  # counted with the labels, which are kept
            return cost, error
        return (cost if given is None else given), None

    def _call(self, method, X, n_samples):
        """Call the teacher; whatever it raises becomes a TeacherError."""
        try:
            return method(X)
        except TeacherError:
            raise
        except Exception as error:
            raise TeacherCallError(
                f"{self.display_name} raised {type(error).__name__}: "
                f"{message_of(error)}, when asked about {n_samples} rows; fix "
                "the teacher or its input and retry."
            ) from error

    @property
    def _read_labels(self):
        """The function that checks an answer and turns it into a table."""
        return indicator_labels if self.multilabel else soft_labels

    def _class_list(self):
        own = self.classes_
        return None if own is None else np.asarray(own).tolist()

    def _allowed(self):
        return {
            "allow_missing": self.allow_missing_classes,
            "allow_extra": self.allow_extra_classes,
        }


#: Ends the message about answers that were recorded although they are unusable.
_KEPT = (
    "Rows without a usable answer: {}. They are recorded as having no label, and the "
    "next run leaves them out; ledger.forget_no_label() has them asked again."
)


def _check_name(name, version):
    """Raise if a name or version is not a text, or is empty."""
    for what, value in (("name", name), ("version", version)):
        if value is not None and (not isinstance(value, str) or not value):
            raise TeacherError(
                f"The teacher's {what} is {value!r}, which is not a string; "
                "pass a non-empty one, or None to derive the identity."
            )
        if value is not None and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise TeacherError(
                    f"The teacher's {what} is {value!r}, which is not valid Unicode; "
                    "pass a string without lone surrogates."
                ) from error
