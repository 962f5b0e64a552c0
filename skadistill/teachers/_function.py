"""Functions as teachers."""

from skadistill.teachers._base import BaseTeacher
from skadistill.teachers._identity import classes_suffix, function_identity

__all__ = ["FunctionTeacher"]


class FunctionTeacher(BaseTeacher):
    """Ask a function ``X -> answers``: a model server, a rule, a person.

    Parameters
    ----------
    function : callable
        Takes rows in the container the caller has and returns probabilities of
        shape (n_rows, n_classes), or hard labels of shape (n_rows,) or
        (n_rows, 1); as an array, a list, a tensor or a frame.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns mean, or which hard labels may come. None: a frame's
        column names where they are classes, else the classes asked for, in order
        (which is sorted order in `ActiveDistiller`).
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: the function's
        module, name and code; change the version when something the code does not
        show has changed.
    allow_missing_classes : bool, default=False
        Whether the function may lack classes; they get probability 0.
    allow_extra_classes : bool, default=False
        Whether the function may know more classes; their share is dropped and the
        row renormalised.

    Attributes
    ----------
    identity : str
        Under which a ledger files the answers.

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

    def __init__(
        self,
        function,
        classes=None,
        name=None,
        version=None,
        *,
        allow_missing_classes=False,
        allow_extra_classes=False,
    ):
        self.function = function
        self.classes = classes
        self.name = name
        self.version = version
        self.allow_missing_classes = allow_missing_classes
        self.allow_extra_classes = allow_extra_classes

    def __sklearn_clone__(self):
        return self

    @property
    def label(self):
        """What messages call the teacher."""
        function = getattr(self.function, "__name__", type(self.function).__name__)
        return f"the teacher {self.name or function!r}"

    @property
    def own_classes(self):
        """What the columns of its answers mean; None where it has not said."""
        if self.classes is not None:
            return self.classes
        return getattr(self.function, "classes_", None)

    def answer(self, X):
        """Call the function once.

        Parameters
        ----------
        X : container of n_rows rows
            The rows, as the caller has them.

        Returns
        -------
        answer : object
            What the function returns, unchecked.
        """
        return self.function(X)

    def derived_identity(self):
        """Return the function's module, name and a hash of its code.

        Returns
        -------
        identity : str
            With the declared classes, since they say what the columns mean.
        """
        code = function_identity(self.function)
        return f"function:{code}{classes_suffix(self.classes)}"
