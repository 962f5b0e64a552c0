"""What a teacher is: somebody who answers, and whose answers are checked."""

import time
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator

from skadistill._display import HidesContents
from skadistill._rows._containers import count_rows
from skadistill.exceptions import TeacherCallError, TeacherError
from skadistill.teachers._checks import check_classes, check_order, soft_labels
from skadistill.teachers._embeddings import check_embeddings, raise_without_embeddings
from skadistill.teachers._identity import given_identity

__all__ = ["BaseTeacher", "LabeledBatch"]


@dataclass(frozen=True, eq=False)
class LabeledBatch:
    """Hold checked answers about some of the rows asked.

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
        Their embeddings, where they were asked for.
    """

    rows: np.ndarray
    labels: np.ndarray
    cost: float | None = None
    seconds: float = 0.0
    embeddings: np.ndarray | None = None


class BaseTeacher(HidesContents, BaseEstimator):
    """Answer questions about rows with checked soft labels.

    A subclass says how to call its teacher (`answer`) and who it is
    (`derived_identity`); `ask` does the checking, so that no teacher can hand a
    broken label to a student. A teacher only answers: it keeps no count, no budget
    and no memory of what it was asked.

    Attributes
    ----------
    identity : str
        Under which a ledger files the answers: ``name`` or ``name/version`` where
        given, else derived from the teacher's content.
    display_name : str
        What messages call the teacher.
    classes_ : list or None
        What the columns of its answers mean; None where it has not said.
    needs_fit : bool
        Whether it must be fitted with `fitted_on` before it can answer.
    has_embeddings : bool
        Whether it can say where rows lie in its last layer, beside their labels.
    can_embed_only : bool
        Whether it can do so without being asked for labels.
    output_weights : ndarray of shape (n_outputs, n_dims) or None
        Weights that turn embeddings into logits; None where they are not known.
    cost_per_row : float or None
        What one answer costs, in the user's money; None: not known.
    max_cost_per_row : float or None
        What one row can cost at most, tries that fail included.
    claim_size : int or None
        How many rows are bought together where nobody says; None: all.

    See Also
    --------
    as_teacher : Make a teacher of an estimator or a function.

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

    name: str | None = None
    version: str | None = None
    allow_missing_classes: bool = False
    allow_extra_classes: bool = False
    cost_per_row: float | None = None

    @abstractmethod
    def answer(self, X):
        """Call the teacher once and return what it says, unchecked.

        Parameters
        ----------
        X : container of n_samples rows
            The rows, in the container the caller has.

        Returns
        -------
        answer : array-like of shape (n_samples, n_classes) or (n_samples,)
            Probabilities, or hard labels.
        """
        raise NotImplementedError

    def answer_embeddings(self, X):
        """Return the embeddings of rows, unchecked.

        A teacher with embeddings overrides this and sets `has_embeddings`.

        Parameters
        ----------
        X : container of n_samples rows
            The rows, in the container the caller has.

        Returns
        -------
        embeddings : array-like of shape (n_samples, n_dims)
            Finite numbers, always of the same dimensions.
        """
        return raise_without_embeddings(self.display_name)

    def answer_both(self, X):
        """Return answer and embeddings, unchecked, in one call where that is possible.

        Parameters
        ----------
        X : container of n_samples rows
            The rows, in the container the caller has.

        Returns
        -------
        answer : array-like
            As from `answer`.
        embeddings : array-like of shape (n_samples, n_dims)
            As from `answer_embeddings`.
        """
        return self.answer(X), self.answer_embeddings(X)

    @abstractmethod
    def derived_identity(self):
        """Return an identity made from the teacher's content.

        Returns
        -------
        identity : str
            Equal for two teachers only if they give the same answers.
        """
        raise NotImplementedError

    @property
    def identity(self):
        """Under which a ledger files the answers."""
        _check_name(self.name, self.version)
        if self.name is not None:
            return given_identity(self.name, self.version)
        return given_identity(self.derived_identity(), self.version)

    @property
    def display_name(self):
        """What messages call the teacher."""
        return f"the teacher {self.name or type(self).__name__!r}"

    @property
    def classes_(self):
        """What the columns of its answers mean; None where it has not said."""
        return None

    @property
    def answer_kind(self):
        """What `answer` returns: "proba", "hard", or "auto" to read the shape."""
        return "auto"

    @property
    def needs_fit(self):
        """Whether it must be fitted with `fitted_on` before it can answer."""
        return False

    @property
    def has_embeddings(self):
        """Whether it can say where rows lie in its last layer, beside their labels."""
        return False

    @property
    def can_embed_only(self):
        """Whether it gives embeddings without being asked for labels."""
        return self.has_embeddings

    @property
    def output_weights(self):
        """Weights that turn embeddings into logits; None where they are not known."""
        return None

    @property
    def max_cost_per_row(self):
        """What one row can cost at most, tries that fail included."""
        return self.cost_per_row

    @property
    def claim_size(self):
        """How many rows are bought together where nobody says; None: all."""
        return None

    def ask_parts(self, X, classes, *, row_numbers=None, with_embeddings=False):
        """Ask about the rows of `X` and yield the answers as they come.

        Here all at once. A teacher that makes several calls overrides this, so that
        what was answered before a fault can be kept.

        Parameters
        ----------
        X, classes, row_numbers : as in `ask`
            The question.
        with_embeddings : bool, default=False
            Whether embeddings are wanted too.

        Yields
        ------
        part : LabeledBatch
            Every row is in one part.

        Raises
        ------
        TeacherError
            As `ask` does. A teacher that knows what a fault cost puts it into the
            error's attribute ``cost``; else every row not answered is counted at
            `max_cost_per_row`, since the bill may come anyway.
        """
        start = time.perf_counter()
        labels, embeddings = self._ask(X, classes, row_numbers, with_embeddings)
        cost = None if self.cost_per_row is None else self.cost_per_row * len(labels)
        seconds = time.perf_counter() - start
        yield LabeledBatch(np.arange(len(labels)), labels, cost, seconds, embeddings)

    def fitted_on(self, X, y, **fit_params):
        """Return a teacher that can answer; one that can already is returned as is.

        Parameters
        ----------
        X : container of n_samples rows
            Labeled rows.
        y : array-like of shape (n_samples,)
            Their labels.
        **fit_params : dict
            Passed to the ``fit`` of a teacher that needs one.

        Returns
        -------
        teacher : BaseTeacher
            Ready to be asked.
        """
        return self

    def ask(self, X, classes, *, row_numbers=None):
        """Ask about the rows of `X` in one call and check the answer.

        Parameters
        ----------
        X : container of n_samples rows
            Handed to the teacher as it is.
        classes : array-like of shape (n_classes,)
            The columns wanted.
        row_numbers : array-like of int of shape (n_samples,) or None, default=None
            What messages call the rows. None: their position in `X`.

        Returns
        -------
        labels : ndarray of float64 of shape (n_samples, n_classes)
            Probabilities, columns in the order of `classes`; each row sums to 1.
            No row, no call.

        Raises
        ------
        TeacherCallError
            If the teacher raises, or still has to be fitted. KeyboardInterrupt and
            SystemExit pass through.
        TeacherClassesError
            If the teacher lacks classes or has more, unless allowed (a missing
            class gets probability 0; the share of an extra one is dropped and the
            row renormalized), or if it answers a label that is no class.
        TeacherShapeError
            If the answer has the wrong number of rows, columns or dimensions.
        TeacherProbabilityError
            If the answer is not numeric, not finite or negative somewhere, or if a
            row misses the sum 1 by more than 1e-3 or has nothing left.
        """
        return self._ask(X, classes, row_numbers, with_embeddings=False)[0]

    def ask_both(self, X, classes, *, row_numbers=None):
        """Ask for labels and embeddings and check both.

        Parameters
        ----------
        X, classes, row_numbers : as in `ask`
            The question.

        Returns
        -------
        labels : ndarray of float64 of shape (n_samples, n_classes)
            As from `ask`.
        embeddings : ndarray of float32 of shape (n_samples, n_dims)
            As from `embed`.

        Raises
        ------
        TeacherError
            As `ask` and `embed` do.
        """
        return self._ask(X, classes, row_numbers, with_embeddings=True)

    def embed(self, X, *, row_numbers=None):
        """Ask for embeddings alone and check them.

        Parameters
        ----------
        X : container of n_samples rows
            Handed to the teacher as it is.
        row_numbers : array-like of int of shape (n_samples,) or None, default=None
            What messages call the rows. None: their position in `X`.

        Returns
        -------
        embeddings : ndarray of float32 of shape (n_samples, n_dims)
            Finite. No row, no call, and no dimensions.

        Raises
        ------
        TeacherCallError
            If the teacher raises, or still has to be fitted.
        TeacherShapeError
            If there is not one row of numbers for each asked about.
        TeacherError
            If it gives no embeddings, or one that is not finite.
        """
        n_samples = count_rows(X)
        self._refuse_unfitted(n_samples)
        if n_samples == 0:
            return np.empty((0, 0), dtype=np.float32)
        embeddings = self._call(self.answer_embeddings, X, n_samples)
        return check_embeddings(
            embeddings, n_samples, who=self.display_name, row_numbers=row_numbers
        )

    def _ask(self, X, classes, row_numbers, with_embeddings):
        """Check what can be known before the call, call, check the answer."""
        classes = np.asarray(classes).tolist()
        n_samples = count_rows(X)
        self._refuse_unfitted(n_samples)
        self._check_classes(classes)
        if n_samples == 0:
            return np.zeros((0, len(classes))), np.empty((0, 0), dtype=np.float32)
        embeddings = None
        if with_embeddings:
            answer, embeddings = self._call(self.answer_both, X, n_samples)
            embeddings = check_embeddings(
                embeddings, n_samples, who=self.display_name, row_numbers=row_numbers
            )
        else:
            answer = self._call(self.answer, X, n_samples)
        check_order(answer, X, who=self.display_name)
        return self._check_answer(answer, n_samples, classes, row_numbers), embeddings

    def _check_classes(self, classes):
        """Refuse a mismatch that can be known: it is not worth paying for."""
        try:
            check_classes(
                self._own_list(), classes, who=self.display_name, **self._allowed()
            )
        except TeacherError as error:
            error.cost = 0.0
            raise

    def _check_answer(self, answer, n_samples, classes, row_numbers):
        """Make checked soft labels of an answer."""
        return soft_labels(
            answer,
            n_samples,
            classes,
            own=self._own_list(),
            kind=self.answer_kind,
            who=self.display_name,
            row_numbers=None if row_numbers is None else np.asarray(row_numbers),
            **self._allowed(),
        )

    def _own_list(self):
        own = self.classes_
        return None if own is None else np.asarray(own).tolist()

    def _allowed(self):
        return {
            "allow_missing": self.allow_missing_classes,
            "allow_extra": self.allow_extra_classes,
        }

    def _call(self, method, X, n_samples):
        """Call the teacher; whatever it raises becomes a fault of the teacher."""
        try:
            return method(X)
        except TeacherError:
            raise
        except Exception as error:
            raise TeacherCallError(
                f"{self.display_name} raised {type(error).__name__}: "
                f"{str(error).rstrip('.')}, when asked about {n_samples} rows; fix "
                "the teacher or its input and retry."
            ) from error

    def _refuse_unfitted(self, n_samples):
        """Say that the teacher has to be fitted first."""
        if self.needs_fit:
            raise TeacherCallError(
                f"{self.display_name} was asked about {n_samples} rows before it was "
                "fitted; "
                "call fitted_on(X, y) and ask the teacher it returns."
            )


def _check_name(name, version):
    """Refuse a name or version that is no text, or that is empty."""
    for what, value in (("name", name), ("version", version)):
        if value is not None and (not isinstance(value, str) or not value):
            raise TeacherError(
                f"The teacher's {what} is {value!r}, which is not a text; pass a "
                "non-empty string, or None to derive the identity."
            )
