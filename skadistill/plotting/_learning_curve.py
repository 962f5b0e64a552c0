"""LearningCurveDisplay: the student's score against the labels paid for."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skadistill.plotting._drawing import Display, make_frame

__all__ = ["LearningCurveDisplay"]

_COUNTS = {"paid": "labels paid", "asked": "rows asked"}


class LearningCurveDisplay(Display):
    """Plot the student's score against the number of labels, round by round.

    Use :meth:`from_estimator` to create a display; :meth:`plot` draws it, and
    :attr:`frame` holds the same numbers as a table. Nothing is fitted.

    Parameters
    ----------
    n_labels : dict of str to list of array-like of shape (n_rounds + 1,)
        For each curve, the number of labels after each round of each of its runs.
    scores : dict of str to list of array-like of shape (n_rounds + 1,)
        The scores after the same rounds.
    references : dict of str to float or None, default=None
        Scores to draw as horizontal lines, for example the teacher's.
    count_name : str, default="labels paid"
        Name of the number of labels on its axis.
    score_name : str, default="student's accuracy"
        Name of the score on its axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure that contains the axes.
    lines_, bands_, reference_lines_ : dict of str to matplotlib artists
        The mean of each curve, a band of one standard error on both sides (only for
        several runs), and the references.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores against the number of
        labeled training rows, from repeated fits.

    Examples
    --------
    >>> from skadistill.plotting import LearningCurveDisplay
    >>> display = LearningCurveDisplay(
    ...     {"robust": [[0, 50], [0, 48]]}, {"robust": [[0.6, 0.8], [0.7, 0.8]]}
    ... )
    >>> display.mean("robust")[1]
    array([0.65, 0.8 ])
    """

    def __init__(
        self,
        n_labels,
        scores,
        *,
        references=None,
        count_name="labels paid",
        score_name="student's accuracy",
    ):
        self.n_labels = {name: _runs(runs) for name, runs in n_labels.items()}
        self.scores = {name: _runs(runs) for name, runs in scores.items()}
        self.references = references
        self.count_name = count_name
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator, *, count="paid", references=None):
        """Create a display from the history of fitted distillers.

        Parameters
        ----------
        estimator : ActiveDistiller or dict
            Fitted with ``X_val`` and ``y_val``. A dict has one entry per curve: its
            name, and one distiller or a list of them, fitted with different seeds.
        count : {"paid", "asked"}, default="paid"
            "paid": rows of the pool paid for, and the labeled rows paid for to
            estimate the teacher's error, which are there from round 1 on. "asked":
            rows of the pool asked for, also those that other fits paid for.
        references : dict of str to float or None, default=None
            As in the class.

        Returns
        -------
        display : LearningCurveDisplay
            Not drawn yet.

        Raises
        ------
        ValueError
            If a history has no scores, or `count` is unknown.
        """
        if count not in _COUNTS:
            raise ValueError(
                f"count must be one of {sorted(_COUNTS)}, got {count!r}; pass one of "
                "these."
            )
        if not isinstance(estimator, dict):
            estimator = {"student": estimator}
        groups = {
            name: group if isinstance(group, list | tuple) else [group]
            for name, group in estimator.items()
        }
        return cls(
            {
                name: [_count_labels(one, count) for one in group]
                for name, group in groups.items()
            },
            {name: [_scores(one) for one in group] for name, group in groups.items()},
            references=references,
            count_name=_COUNTS[count],
        )

    def mean(self, name):
        """Return the mean of one curve over the rounds that all of its runs reached.

        Parameters
        ----------
        name : str
            Name of the curve.

        Returns
        -------
        n_labels : ndarray of shape (n_points,)
            Mean labels after each round.
        score : ndarray of shape (n_points,)
            Mean scores.
        error : ndarray of shape (n_points,)
            Standard errors of the mean scores; 0 for a single run.
        """
        n_points = min(len(run) for run in self.scores[name])
        labels = np.array([run[:n_points] for run in self.n_labels[name]])
        scores = np.array([run[:n_points] for run in self.scores[name]])
        error = np.zeros(n_points)
        if len(scores) > 1:
            error = scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
        return labels.mean(axis=0), scores.mean(axis=0), error

    @property
    def frame(self):
        """Return all points as a pandas DataFrame, one row per point.

        The columns are the ``curve``, the ``run`` and the ``round``, the labels
        (``n_labels``) and the ``score``.
        """
        rows = [
            (name, i, round_, n, score)
            for name, runs in self.scores.items()
            for i, run in enumerate(runs)
            for round_, (n, score) in enumerate(
                zip(self.n_labels[name][i], run, strict=True)
            )
        ]
        names = ("curve", "run", "round", "n_labels", "score")
        return make_frame(
            {name: [row[k] for row in rows] for k, name in enumerate(names)}
        )

    def _draw(self, ax):
        """Draw the mean of each curve, its standard error, and the references."""
        self.lines_, self.bands_, self.reference_lines_ = {}, {}, {}
        for name, runs in self.scores.items():
            n_labels, score, error = self.mean(name)
            (line,) = ax.plot(n_labels, score, marker="o", markersize=4, label=name)
            self.lines_[name] = line
            if len(runs) > 1:
                self.bands_[name] = ax.fill_between(
                    n_labels,
                    score - error,
                    score + error,
                    color=line.get_color(),
                    alpha=0.2,
                    linewidth=0,
                )
        for name, score in (self.references or {}).items():
            self.reference_lines_[name] = ax.axhline(
                score, ls=":", color="0.4", label=name
            )
        ax.set(xlabel=self.count_name, ylabel=self.score_name)
        ax.legend()


def _runs(runs):
    return [np.asarray(run, dtype=float) for run in runs]


def _count_labels(distiller, count):
    """Return the number of labels after each round."""
    check_is_fitted(distiller, "history_")
    column = "n_asked" if count == "asked" else "n_paid"
    labels = np.cumsum([record[column] for record in distiller.history_])
    if count == "paid":
        labels[1:] += distiller.n_teacher_checks_
    return labels


def _scores(distiller):
    """Return the student's score after each round."""
    scores = [record["student_score"] for record in distiller.history_]
    if None in scores:
        raise ValueError(
            f"the history of this {type(distiller).__name__} has no student_score; "
            "fit it with X_val and y_val, rows that are used for nothing else."
        )
    return scores
