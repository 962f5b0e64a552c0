"""LearningCurveDisplay: the student's score against the labels paid for."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skadistill.plotting._drawing import Display, make_frame

__all__ = ["LearningCurveDisplay"]

_SCORES = {
    "student_score": "student's accuracy",
    "pool_agreement": "agreement with the teacher",
}
_COUNTS = {"paid": "labels paid", "asked": "rows asked"}


class LearningCurveDisplay(Display):
    """Plot the student's score against the number of labels, round by round.

    Use :meth:`from_estimator` to draw one; :attr:`frame` holds the same numbers as a
    table, and :meth:`plot` draws it again. Nothing is fitted.

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
    intervals : dict of str to list of array-like, or None, default=None
        For each run, the ends of the interval of each score, of shape
        (n_rounds + 1, 2); drawn for curves of a single run.
    forecasts : dict of str to array-like of shape (n_points, 4) or None, default=None
        For each curve, labels and the median and ends of the band of the score by the
        fitted curve; dashed beyond the last round with a score. The rounds are then
        points, without a line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the plot.
    figure_ : matplotlib Figure
        The figure that contains the axes.
    lines_, bands_, reference_lines_ : dict of str to matplotlib artists
        The mean of each curve, a band of one standard error on both sides (only for
        several runs; of one run, its intervals), and the references.
    forecast_lines_, forecast_bands_ : dict of str to matplotlib artists
        The fitted curves beyond the last score, and their whole bands.
    fit_lines_ : dict of str to matplotlib Line2D
        The fitted curves up to the last score.

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

    ax_: Any
    figure_: Any
    lines_: dict[str, Any]
    bands_: dict[str, Any]
    reference_lines_: dict[str, Any]
    forecast_lines_: dict[str, Any]
    forecast_bands_: dict[str, Any]
    fit_lines_: dict[str, Any]

    def __init__(
        self,
        n_labels: dict[Any, Any],
        scores: dict[Any, Any],
        *,
        references: dict[Any, Any] | None = None,
        count_name: str = "labels paid",
        score_name: str = "student's accuracy",
        intervals: dict[Any, Any] | None = None,
        forecasts: dict[Any, Any] | None = None,
    ) -> None:
        self.n_labels = {name: _runs(runs) for name, runs in n_labels.items()}
        self.scores = {name: _runs(runs) for name, runs in scores.items()}
        self.references = references
        self.count_name = count_name
        self.score_name = score_name
        self.intervals = intervals
        self.forecasts = forecasts

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        count: str | None = None,
        score: str | None = None,
        forecast: int | None = None,
        references: dict[Any, Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the history of fitted distillers.

        Of a single fit, the curve fitted to its rounds is drawn with its 80 % band,
        and the rounds, each of which is uncertain, as points.

        Parameters
        ----------
        estimator : ActiveDistiller or dict
            Fitted. A dict has one entry per curve: its name, and one distiller or a
            list of them, fitted with different seeds.
        count : {"paid", "asked"} or None, default=None
            "paid": rows of the pool paid for, and the labeled rows paid for to
            estimate the teacher's error, which are there from round 1 on. "asked":
            rows of the pool asked for, also those that an earlier fit has paid for.
            None: "paid", or "asked" if a ledger held answers.
        score : {"student_score", "pool_agreement"} or None, default=None
            Accuracy on the validation rows, or agreement with the teacher on the pool,
            with its 95 % interval; rounds without one are left out. None: accuracy if
            all fits have validation rows, else agreement.
        forecast : int or None, default=None
            More labels up to which the fitted curve goes on, for curves of one
            distiller whose forecast is of this score. None: half as many as there are.
        references : dict of str to float or None, default=None
            As in the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        display : LearningCurveDisplay
            Drawn.

        Raises
        ------
        ValueError
            If a history has no scores, or `count` or `score` is unknown.
        """
        if score is not None and score not in _SCORES:
            raise ValueError(
                f"score must be one of {sorted(_SCORES)}, got {score!r}; pass one of "
                "these."
            )
        if count is not None and count not in _COUNTS:
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
        fits = [one for group in groups.values() for one in group]
        for one in fits:
            check_is_fitted(one, "history_")
        score = score or _best_score(fits)
        count = count or ("asked" if any(one.n_free_ for one in fits) else "paid")
        kept = {
            name: [_scored(one, score) for one in group]
            for name, group in groups.items()
        }
        counts = {
            name: [
                _count_labels(one, count)[at]
                for one, at in zip(group, kept[name], strict=True)
            ]
            for name, group in groups.items()
        }
        return cls(
            counts,
            {
                name: [
                    _values(one, score, at)
                    for one, at in zip(group, kept[name], strict=True)
                ]
                for name, group in groups.items()
            },
            references=references,
            count_name=_COUNTS[count],
            score_name=_SCORES[score],
            intervals=None
            if score == "student_score"
            else {
                name: [
                    np.column_stack(
                        [_values(one, f"{score}_{end}", at) for end in ("low", "high")]
                    )
                    for one, at in zip(group, kept[name], strict=True)
                ]
                for name, group in groups.items()
            },
            forecasts={
                name: _fitted_curve(group[0], forecast, counts[name][0], count)
                for name, group in groups.items()
                if len(group) == 1
                and getattr(group[0].forecast_, "score_name", None) == score
            },
        ).plot(ax)

    def mean(self, name: str) -> tuple[Any, ...]:
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
    def frame(self) -> Any:
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
        """Draw rounds with what is known of them, fitted curves, and references."""
        self.lines_, self.bands_, self.reference_lines_ = {}, {}, {}
        self.fit_lines_, self.forecast_lines_, self.forecast_bands_ = {}, {}, {}
        forecasts = self.forecasts or {}
        for name, runs in self.scores.items():
            n_labels, score, error = self.mean(name)
            style = "" if name in forecasts else "-"
            (line,) = ax.plot(
                n_labels, score, marker="o", markersize=4, ls=style, label=name
            )
            color = line.get_color()
            self.lines_[name] = line
            low, high = score - error, score + error
            if self.intervals and len(runs) == 1:
                low, high = np.transpose(self.intervals[name][0])
            if style == "" and self.intervals:
                self.bands_[name] = ax.vlines(
                    n_labels, low, high, color=color, alpha=0.5, linewidth=1
                )
            elif self.intervals or len(runs) > 1:
                self.bands_[name] = ax.fill_between(
                    n_labels, low, high, color=color, alpha=0.2, linewidth=0
                )
            if name in forecasts:
                self._draw_fit(ax, name, np.asarray(forecasts[name]), n_labels, color)
        for name, score in (self.references or {}).items():
            self.reference_lines_[name] = ax.axhline(
                score, ls=":", color="0.4", label=name
            )
        ax.set(xlabel=self.count_name, ylabel=self.score_name)
        ax.legend()

    def _draw_fit(self, ax, name, points, n_labels, color):
        """Draw the fitted curve of one fit, dashed beyond its last round."""
        last = n_labels[-1] if len(n_labels) else 0
        fitted, ahead = points[points[:, 0] <= last], points[points[:, 0] >= last]
        (self.fit_lines_[name],) = ax.plot(*fitted[:, :2].T, color=color)
        (self.forecast_lines_[name],) = ax.plot(*ahead[:, :2].T, ls="--", color=color)
        self.forecast_bands_[name] = ax.fill_between(
            *points[:, [0, 2, 3]].T, color=color, alpha=0.1, linewidth=0
        )


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


def _scored(distiller, score):
    """Return the rounds that have a score."""
    check_is_fitted(distiller, "history_")
    scores = [record[score] for record in distiller.history_]
    found = np.flatnonzero([value is not None for value in scores])
    if score == "student_score" and len(found) < len(scores):
        raise ValueError(
            f"the history of this {type(distiller).__name__} has no student_score; "
            "fit it with X_val and y_val, rows that are used for nothing else."
        )
    if not found.size:
        raise ValueError(
            f"the history of this {type(distiller).__name__} has no {score}; fit it "
            "with uniform_share above 0 and at least one round."
        )
    return found


def _values(distiller, name, rounds):
    return [distiller.history_[k][name] for k in rounds]


def _best_score(distillers):
    """Return the score that all histories have: accuracy, else agreement."""
    for one in distillers:
        records = [r for r in one.history_ if r["n_labeled"]]
        if any(record["student_score"] is None for record in records):
            return "pool_agreement"
    return "student_score"


def _fitted_curve(distiller, n_more, scored_at, count):
    """Return labels, median and band of a learning curve, from the first round on."""
    at, forecast = _count_labels(distiller, count), distiller.forecast_
    n_labeled = np.array([record["n_labeled"] for record in distiller.history_])
    n_more = forecast.n_now // 2 if n_more is None else n_more
    fitted = np.linspace(scored_at[0], at[-1], 40)
    ahead = at[-1] + np.linspace(0, n_more, 25)
    points = [(x, *forecast.at(np.interp(x, at, n_labeled))) for x in fitted]
    points += [(x, *forecast.after(x - at[-1])) for x in ahead[1:]]
    return points
