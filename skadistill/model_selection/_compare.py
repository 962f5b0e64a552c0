"""Compare query strategies for the same number of labels, over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from scipy.stats import rankdata, t
from sklearn.base import clone
from sklearn.metrics import get_scorer

from skadistill._distiller import ActiveDistiller
from skadistill._utils.optional import require
from skadistill.ledger._as_ledger import as_ledger

__all__ = ["StrategyComparison", "compare_strategies"]


#: The name of the fits without a budget.
ALONE = "student alone"


def compare_strategies(
    strategies: Any,
    teacher: Any,
    student: Any,
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    budgets: Sequence[int],
    seeds: int | Sequence[int] = 5,
    X_unlabeled: Any = None,
    scoring: Any = "accuracy",
    ledger: Any = None,
    return_estimator: bool = False,
    **params: Any,
) -> "StrategyComparison":
    """Compare query strategies by the students they lead to, label for label.

    For each seed, strategy and budget an :class:`~skadistill.ActiveDistiller` is
    fitted, and scored on the test rows. All fits share one ledger, so that each row is
    paid for once, whatever strategies and seeds ask for it; no fit profits from what
    others paid for.

    Parameters
    ----------
    strategies : dict or list of str
        Values of ``query_strategy`` by name; or names of strategies.
    teacher, student : object
        As in :class:`~skadistill.ActiveDistiller`. A strategy is compared through its
        student, so that the seeds should vary one that depends on chance.
    X, y, X_unlabeled : as in ``ActiveDistiller.fit``
        Rows, and labels of some of them.
    X_test, y_test : like `X` and `y`
        Labeled rows to score on, which are used for nothing else.
    budgets : sequence of int
        Numbers of rows to pay for, checks of the teacher included.
    seeds : int or sequence of int, default=5
        Values of ``random_state``; a number n stands for 0 to n - 1.
    scoring : str or callable, default="accuracy"
        As in scikit-learn; higher is better.
    ledger : object, str, path-like or None, default=None
        Where answers are recorded. None: a new one in memory.
    return_estimator : bool, default=False
        Whether the fitted distillers are kept; without a stopping criterion the test
        rows then score the student of each round in their ``history_``, too.
    **params : dict
        Other parameters of :class:`~skadistill.ActiveDistiller`.

    Returns
    -------
    comparison : StrategyComparison
        Prints as a summary. ``frame`` has a row per fit, ``summary()`` areas under the
        curve, ranks, labels needed and paired differences, ``to_latex()`` the same
        for a paper; ``plot()`` draws the curves.

    Raises
    ------
    ValueError
        If there is no strategy, or a budget is not a number of rows.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill.datasets import make_noisy_teacher_problem
    >>> from skadistill.model_selection import compare_strategies
    >>> problem = make_noisy_teacher_problem(n_labeled=50, n_pool=400, random_state=0)
    >>> found = compare_strategies(
    ...     ["margin", "random"], problem.teacher, LogisticRegression(),
    ...     problem.X_labeled, problem.y_labeled, problem.X_test, problem.y_test,
    ...     X_unlabeled=problem.X_pool, budgets=[40, 80], seeds=2, teacher_checks=0,
    ... )
    >>> found.frame.shape  # 2 students alone, and 2 strategies, seeds and budgets
    (10, 6)
    """
    if not isinstance(strategies, dict):
        strategies = {str(name): name for name in strategies}
    if not strategies:
        raise ValueError("strategies is empty; pass at least one.")
    wanted = sorted(set(budgets))
    wrong = [b for b in wanted if not isinstance(b, Integral) or isinstance(b, bool)]
    if wrong or not wanted or wanted[0] < 1:
        raise ValueError(
            f"budgets is {wanted!r:.80}; pass numbers of rows to pay for, of at least "
            "1, so that all strategies are compared at the same ones."
        )
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    score = get_scorer(scoring)
    params |= {"ledger": as_ledger(ledger), "use_known": False}
    records, kept, scored = [], {}, {}
    if return_estimator and params.get("stopping_criterion") is None:
        scored = {"X_val": X_test, "y_val": y_test}

    def fit(name, strategy, budget, seed):
        model = ActiveDistiller(
            teacher,
            None if student is None else clone(student),
            **params | {"query_strategy": strategy},
            budget=budget,
            random_state=seed,
        ).fit(X, y, X_unlabeled=X_unlabeled, **scored)
        checks = model.teacher_checks_
        records.append(
            {
                "strategy": name,
                "seed": seed,
                "budget": budget,
                "score": float(score(model, X_test, y_test)),
                "n_asked": model.n_queries_,
                "n_checks": 0 if not budget or checks is None else checks.n_samples,
            }
        )
        if return_estimator:
            kept[name, seed, budget] = model

    for seed in seeds:
        fit(ALONE, "random", 0, seed)
        for name, strategy in strategies.items():
            for budget in wanted:
                fit(name, strategy, budget, seed)
    return StrategyComparison(tuple(records), tuple(strategies), kept)


@dataclass(frozen=True, repr=False, eq=False)
class StrategyComparison:
    """Hold the scores of strategies; `compare_strategies` returns it.

    Parameters
    ----------
    records : tuple of dict
        One per fit: ``strategy`` ("student alone" with a budget of 0), ``seed``,
        ``budget``, ``score``, ``n_asked`` rows of the pool and ``n_checks`` of the
        teacher.
    strategies : tuple of str
        Their names.
    estimators : dict
        Fitted distillers by strategy, seed and budget, if they were to be kept.

    Examples
    --------
    >>> from skadistill.model_selection import StrategyComparison
    >>> scores = {("student alone", 0): 0.5, ("a", 10): 0.75, ("random", 10): 0.625}
    >>> comparison = StrategyComparison(
    ...     [{"strategy": name, "seed": 0, "budget": budget, "score": score}
    ...      for (name, budget), score in scores.items()],
    ...     ["a", "random"],
    ... )
    >>> comparison
    strategy  score  over random  area  rank  labels
    a          75.0        +12.5  62.5  1.00       5
    random     62.5               56.2  2.00      10
    """

    records: Sequence[dict[str, Any]]
    strategies: Sequence[str]
    estimators: dict[Any, Any] = field(default_factory=dict)

    @property
    def frame(self) -> Any:
        """The records as a pandas DataFrame, one row per fit."""
        return require("pandas", "pandas").DataFrame(list(self.records))

    def curves(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the scores at each budget, that of the student alone first.

        Returns
        -------
        budgets : ndarray of int of shape (n_budgets + 1,)
            0 and the budgets.
        scores : dict of str to ndarray of shape (n_seeds, n_budgets + 1)
            By strategy.
        """
        budgets = sorted({record["budget"] for record in self.records})
        seeds = list(dict.fromkeys(record["seed"] for record in self.records))
        tables = {
            name: np.empty((len(seeds), len(budgets))) for name in self.strategies
        }
        for record in self.records:
            at = seeds.index(record["seed"]), budgets.index(record["budget"])
            alone = record["budget"] == 0
            for name in self.strategies if alone else [record["strategy"]]:
                tables[name][at] = record["score"]
        return np.array(budgets), tables

    def differences(self, baseline: str | None = None) -> dict[str, np.ndarray]:
        """Return paired differences to a strategy at each budget, with 95 % intervals.

        Parameters
        ----------
        baseline : str or None, default=None
            Name of a strategy. None: "random" if it is there, else the last.

        Returns
        -------
        differences : dict of str to ndarray of shape (n_budgets, 3)
            By strategy, the mean over seeds and the ends of its t interval at each
            budget; the ends are NaN with one seed.
        """
        _, tables = self.curves()
        base = tables[self._baseline(baseline)]
        return {
            name: np.array([_mean_interval(gap) for gap in (table - base).T[1:]])
            for name, table in tables.items()
        }

    def summary(self, baseline: str | None = None) -> dict[str, dict[str, float]]:
        """Return what papers report, one row per strategy.

        Parameters
        ----------
        baseline : str or None, default=None
            As in `differences`.

        Returns
        -------
        summary : dict of str to dict
            By strategy: ``score`` at the largest budget; ``difference`` to the
            baseline there, with its paired 95 % interval ``low`` to ``high``;
            ``area`` under the curve from no label to the largest budget, as a mean
            score; mean ``rank`` over seeds and budgets, 1 being the best; and
            ``labels_needed`` to be as good as the baseline is at the largest budget:
            the mean over seeds, that budget itself where it is not reached.
        """
        budgets, tables = self.curves()
        baseline = self._baseline(baseline)
        differences = self.differences(baseline)
        ranks = np.mean(
            [
                rankdata([-tables[name][i, k] for name in self.strategies])
                for i in range(len(tables[baseline]))
                for k in range(1, len(budgets))
            ],
            axis=0,
        )
        found = {}
        for name, rank in zip(self.strategies, ranks.tolist(), strict=True):
            table = tables[name]
            mean, low, high = differences[name][-1].tolist()
            needed = [
                _labels_needed(budgets, curve, goal)
                for curve, goal in zip(table, tables[baseline][:, -1], strict=True)
            ]
            found[name] = {
                "score": float(table[:, -1].mean()),
                "difference": mean,
                "low": low,
                "high": high,
                "area": _area(budgets, table.mean(axis=0)),
                "rank": rank,
                "labels_needed": float(np.mean(needed)),
            }
        return found

    def to_latex(self, baseline: str | None = None) -> str:
        """Return the summary as a LaTeX table, for the package booktabs.

        Parameters
        ----------
        baseline : str or None, default=None
            As in `differences`.

        Returns
        -------
        text : str
            A ``tabular`` environment; scores are in percent.
        """
        head, *rows = self._cells(baseline)
        lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (head, *rows)]
        body = "\n".join(lines[1:])
        return (
            f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n\\toprule\n{lines[0]}\n"
            f"\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the mean score of each strategy at each budget, with standard errors.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None: those of a new figure.

        Returns
        -------
        ax : matplotlib Axes
            The axes.
        """
        pyplot = require("matplotlib.pyplot", "plotting")
        ax = pyplot.subplots()[1] if ax is None else ax
        budgets, tables = self.curves()
        for name, table in tables.items():
            error = np.zeros(len(budgets))
            if len(table) > 1:
                error = table.std(axis=0, ddof=1) / np.sqrt(len(table))
            ax.errorbar(budgets, table.mean(axis=0), error, capsize=3, label=name)
        ax.set(xlabel="labels paid", ylabel="score of the student")
        ax.legend()
        return ax

    def __repr__(self):
        rows = self._cells(None)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )

    def _baseline(self, name):
        if name is None:
            name = "random" if "random" in self.strategies else self.strategies[-1]
        if name not in self.strategies:
            raise ValueError(
                f"baseline is {name!r}, which was not compared; pass one of "
                f"{list(self.strategies)}."
            )
        return name

    def _cells(self, baseline):
        """Return the summary as texts, its head first."""
        baseline = self._baseline(baseline)
        head = ["strategy", "score", f"over {baseline}", "area", "rank", "labels"]
        rows = [head]
        for name, row in self.summary(baseline).items():
            gap = "" if name == baseline else f"{100 * row['difference']:+.1f}"
            if gap and np.isfinite(row["low"]):
                gap += f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
            rows.append(
                [
                    name,
                    f"{100 * row['score']:.1f}",
                    gap,
                    f"{100 * row['area']:.1f}",
                    f"{row['rank']:.2f}",
                    f"{row['labels_needed']:.0f}",
                ]
            )
        return rows


def _mean_interval(values):
    """Return a mean over seeds and the ends of its 95 % t interval."""
    mean, n = values.mean(), len(values)
    if n < 2:
        return mean, np.nan, np.nan
    half = t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def _area(budgets, curve):
    """Return the mean height of a curve, a straight line between budgets."""
    return float(np.diff(budgets) @ (curve[1:] + curve[:-1]) / 2 / budgets[-1])


def _labels_needed(budgets, curve, goal):
    """Return where a curve, a straight line between budgets, first reaches a score."""
    if curve[0] >= goal:
        return 0.0
    for k in np.flatnonzero(curve >= goal)[:1]:
        share = (goal - curve[k - 1]) / (curve[k] - curve[k - 1])
        return float(budgets[k - 1] + share * (budgets[k] - budgets[k - 1]))
    return float(budgets[-1])


def _escaped(text):
    """Write a text for LaTeX."""
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text
