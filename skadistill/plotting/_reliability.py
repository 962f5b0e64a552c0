"""TeacherReliabilityDisplay: how often a teacher is right, by its margin."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skadistill.labeling import buy_labels
from skadistill.objectives import teacher_reliability
from skadistill.plotting._drawing import Display, make_frame

__all__ = ["TeacherReliabilityDisplay"]


class TeacherReliabilityDisplay(Display):
    """Plot how often a teacher is right against its margin.

    Use :meth:`from_predictions` to create a display, or :meth:`from_estimator`, which
    asks the teacher. :meth:`plot` draws it, and :attr:`frame` holds the same numbers
    as a table. If accuracy rises with the margin, objectives that doubt unsure answers
    can help; if confidence is above accuracy, soft labels are overconfident.

    Parameters
    ----------
    reliability : TeacherReliability
        The numbers, from :func:`skadistill.objectives.teacher_reliability`.
    name : str, default="teacher"
        Name of the teacher in the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure that contains the axes.
    accuracy_ : matplotlib ErrorbarContainer
        Share of right answers in each bin with its 95 % interval, drawn at the middle
        of the bin.
    confidence_ : matplotlib Line2D
        Mean probability of the teacher's most likely class.
    curve_ : matplotlib Line2D
        The isotonic regression that objectives use.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.plotting import TeacherReliabilityDisplay
    >>> proba = np.array([[0.6, 0.4], [0.44, 0.56], [0.9, 0.1], [0.1, 0.9]])
    >>> display = TeacherReliabilityDisplay.from_predictions(
    ...     proba, [1, 1, 0, 1], n_bins=2
    ... )
    >>> display.reliability.accuracy
    array([0.5, 1. ])
    """

    ax_: Any
    figure_: Any
    accuracy_: Any
    confidence_: Any
    curve_: Any

    def __init__(self, reliability: Any, *, name: str = "teacher") -> None:
        self.reliability = reliability
        self.name = name

    @classmethod
    def from_predictions(
        cls,
        proba: Any,
        y: Any,
        *,
        classes: Any = None,
        n_bins: str | int = "auto",
        name: str = "teacher",
        ax: Any = None,
    ) -> Any:
        """Draw a teacher's answers about rows with known labels.

        Parameters
        ----------
        proba : array-like of shape (n_samples, n_classes)
            Its answers about rows that it was not fitted on.
        y : array-like of shape (n_samples,)
            Their true labels.
        classes : array-like of shape (n_classes,) or None, default=None
            Labels of the columns. None: the sorted labels found in `y`.
        n_bins : {"auto"} or int, default="auto"
            As in :func:`~skadistill.objectives.teacher_reliability`.
        name : str, default="teacher"
            As in the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : TeacherReliabilityDisplay
            Drawn.

        Raises
        ------
        ObjectiveError
            If answers and labels do not belong to the same rows and classes.
        """
        found = teacher_reliability(proba, y, classes=classes, n_bins=n_bins)
        return cls(found, name=name).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        teacher: Any,
        X: Any = None,
        y: Any = None,
        *,
        classes: Any = None,
        ledger: Any = None,
        n_bins: str | int = "auto",
        name: str = "teacher",
        ax: Any = None,
    ) -> Any:
        """Draw the answers of a teacher about rows with known labels.

        Without rows, those of a fitted distiller that have a given label and whose
        answers its ledger holds. Else rows that the ledger lacks are paid for.

        Parameters
        ----------
        teacher : ActiveDistiller, estimator, callable or BaseTeacher
            A fitted distiller; or, with `X` and `y`, a teacher that was fitted on
            other rows than these.
        X : container of n_samples rows or None, default=None
            The rows, in a container that the teacher accepts.
        y : array-like of shape (n_samples,) or None, default=None
            Their true labels.
        classes : array-like of shape (n_classes,) or None, default=None
            The teacher's classes. None: the sorted labels found in `y`.
        ledger : object or None, default=None
            Provides known answers, and records paid ones.
        n_bins : {"auto"} or int, default="auto"
            As in :func:`~skadistill.objectives.teacher_reliability`.
        name : str, default="teacher"
            As in the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : TeacherReliabilityDisplay
            Drawn.

        Raises
        ------
        TeacherError
            If the teacher fails or its answers are invalid.
        ValueError
            If no answer about a given row is known.
        """
        if X is None:
            proba, y, classes = _checked_rows(teacher)
            return cls.from_predictions(
                proba, y, classes=classes, n_bins=n_bins, name=name, ax=ax
            )
        classes = np.unique(y) if classes is None else classes
        bought = buy_labels(teacher, X, classes=classes, ledger=ledger)
        return cls.from_predictions(
            bought.labels, y, classes=classes, n_bins=n_bins, name=name, ax=ax
        )

    @property
    def margins(self) -> Any:
        """Return the middle margin of each bin, of shape (n_bins,)."""
        return (self.reliability.margin_low + self.reliability.margin_high) / 2

    @property
    def frame(self) -> Any:
        """Return the bins as a pandas DataFrame, one row per bin.

        The columns are the ``margin`` in the middle of the bin and the values per bin
        of :func:`~skadistill.objectives.teacher_reliability`.
        """
        return make_frame({"margin": self.margins}).join(self.reliability.to_frame())

    def _draw(self, ax):
        """Draw accuracy with its intervals, confidence, and the fitted curve."""
        found, margins = self.reliability, self.margins
        self.accuracy_ = ax.errorbar(
            margins,
            found.accuracy,
            # Rounding must not make an arm negative.
            yerr=np.maximum(
                [
                    found.accuracy - found.accuracy_low,
                    found.accuracy_high - found.accuracy,
                ],
                0,
            ),
            fmt="o",
            capsize=3,
            label="accuracy",
        )
        (self.confidence_,) = ax.plot(
            margins, found.confidence, ls="--", label="confidence"
        )
        grid = np.linspace(found.margin_low[0], found.margin_high[-1], 200)
        (self.curve_,) = ax.plot(
            grid, found.curve(grid), color="0.5", label="isotonic regression"
        )
        ax.set(
            xlabel="the teacher's margin",
            ylabel="share of rows",
            title=f"{self.name}: right on {found.overall_accuracy:.1%}",
        )
        ax.legend()


def _checked_rows(distiller):
    """Return what a ledger holds of the rows that were given to a fit with a label."""
    check_is_fitted(distiller, "student_")
    proba, codes = distiller._checked_answers()
    if not len(codes):
        raise ValueError(
            f"no answer of the teacher about rows with a given label is known to this "
            f"{type(distiller).__name__}; fit it with teacher_checks, in this process, "
            "or pass a teacher, X and y."
        )
    return proba, distiller.classes_[codes], distiller.classes_
