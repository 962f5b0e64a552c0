"""Strategies at equal bills: one payment for all, and the numbers of papers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.model_selection import compare_strategies
from skadistill.model_selection._compare import StrategyComparison
from skadistill.teachers import as_teacher

PROBLEM = make_noisy_teacher_problem(
    n_labeled=60, n_pool=600, n_test=300, n_classes=2, n_features=8, random_state=0
)


def run(strategies, teacher=None, **params):
    options = {"budgets": [40, 80], "seeds": 2, "teacher_checks": 0} | params
    return compare_strategies(
        strategies,
        teacher or PROBLEM.teacher,
        LogisticRegression(),
        PROBLEM.X_labeled,
        PROBLEM.y_labeled,
        PROBLEM.X_test,
        PROBLEM.y_test,
        X_unlabeled=PROBLEM.X_pool,
        **options,
    )


def test_rows_are_paid_for_once_and_no_fit_profits_from_others():
    """Each score is that of a fit with a ledger of its own."""
    asked = []

    def ask(X):
        asked.extend(map(tuple, X))
        return PROBLEM.teacher(X)

    teacher = as_teacher(ask, classes=[0, 1], name="t")
    found = run(["robust", "random"], teacher, teacher_checks=20, budgets=[60, 100])
    assert len(asked) == len(set(asked))
    for record in found.records:
        if record["strategy"] == "student alone":
            continue
        alone = ActiveDistiller(
            PROBLEM.teacher,
            LogisticRegression(),
            query_strategy=record["strategy"],
            budget=record["budget"],
            teacher_checks=20,
            random_state=record["seed"],
        ).fit(PROBLEM.X_labeled, PROBLEM.y_labeled, X_unlabeled=PROBLEM.X_pool)
        assert record["score"] == alone.score(PROBLEM.X_test, PROBLEM.y_test)
        assert record["n_asked"] == alone.n_queries_
        assert record["n_asked"] + record["n_checks"] == record["budget"]


def test_the_frame_is_long():
    """One row per fit; strategies may be objects with names of their own."""
    found = run({"mine": lambda proba: -proba.max(axis=1), "random": "random"})
    frame = found.frame
    assert len(frame) == 2 + 2 * 2 * 2
    assert set(frame["strategy"]) == {"student alone", "mine", "random"}
    assert frame[["seed", "budget"]].drop_duplicates().shape == (6, 2)
    budgets, tables = found.curves()
    assert budgets.tolist() == [0, 40, 80]
    at = frame.query("strategy == 'mine' and seed == 1 and budget == 80")
    assert tables["mine"][1, 2] == at["score"].item()
    assert (tables["mine"][:, 0] == tables["random"][:, 0]).all()


def made(curves, budgets=(0, 10, 20)):
    """Make a comparison with given scores by strategy, seed and budget."""
    records = [
        {
            "strategy": name if budget else "student alone",
            "seed": seed,
            "budget": budget,
            "score": scores[seed][k],
        }
        for name, scores in curves.items()
        for seed in range(len(scores))
        for k, budget in enumerate(budgets)
    ]
    return StrategyComparison(tuple(records), tuple(curves))


def test_the_summary_by_hand():
    """Area, ranks, labels needed, and paired intervals over seeds."""
    found = made(
        {
            "good": [[0.5, 0.8, 0.9], [0.5, 0.7, 0.8]],
            "random": [[0.5, 0.6, 0.8], [0.5, 0.6, 0.9]],
        }
    )
    summary = found.summary()
    good, random = summary["good"], summary["random"]
    assert good["score"] == pytest.approx(0.85)
    assert good["area"] == pytest.approx((0.5 / 2 + 0.75 + 0.85 / 2) / 2)
    assert (good["rank"], random["rank"]) == (1.25, 1.75)
    # Seed 0 is as good at 10 labels; seed 1 never is, which counts as all.
    assert good["labels_needed"] == 15
    assert random["labels_needed"] == 20
    # t with one degree of freedom: 12.706 times the standard error.
    assert (good["difference"], good["low"]) == pytest.approx((0, -12.706 * 0.1), 1e-3)
    assert found.differences("good")["random"][0, 0] == pytest.approx(-0.15)
    assert "-0.0 (-127.1 to +127.1)" in repr(found) or "+0.0 (-127" in repr(found)


def test_labels_needed_lie_between_budgets():
    """The curve is a straight line there; a student that is as good alone needs 0."""
    needed = made({"a": [[0.5, 0.7, 0.9]], "random": [[0.5, 0.6, 0.8]]}).summary()
    assert needed["a"]["labels_needed"] == pytest.approx(15)
    assert np.isnan(needed["a"]["low"])
    none = made({"a": [[0.9, 0.7, 0.9]], "random": [[0.9, 0.6, 0.8]]}).summary()
    assert none["a"]["labels_needed"] == 0


def test_latex_has_a_row_per_strategy():
    """With names escaped."""
    text = made({"my_own": [[0, 0.5, 1]], "random": [[0, 0.5, 0.5]]}).to_latex()
    assert text.startswith("\\begin{tabular}{lrrrrr}")
    assert "\nmy\\_own & 100.0 & +50.0 & 50.0 & 1.25 & 10 \\\\\n" in text
    assert text.count("&") == 15


def test_curves_are_drawn_with_standard_errors():
    """One line per strategy."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = made({"a": [[0.5, 0.7, 0.9], [0.5, 0.9, 0.9]], "b": [[0.5, 0, 0]] * 2})
    ax = ax.plot()
    line = ax.containers[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [(0, 0.5), (10, 0.8), (20, 0.9)])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    pyplot.close("all")


@pytest.mark.parametrize("budgets", [[], [0, 10], [0.5], [True]])
def test_budgets_are_numbers_of_rows(budgets):
    """A share of the pool is another bill for other data."""
    with pytest.raises(ValueError, match="numbers of rows to pay for"):
        run(["random"], budgets=budgets)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="strategies is empty"):
        run({})
    with pytest.raises(ValueError, match="which was not compared"):
        made({"a": [[0, 0, 0]]}).summary("random")


def test_fitted_distillers_are_kept_if_wanted():
    """With the score of each round."""
    ledger = MemoryLedger()
    found = run(["margin"], seeds=[3], ledger=ledger, return_estimator=True)
    model = found.estimators["margin", 3, 80]
    assert model.ledger_ is ledger
    assert model.history_[-1]["student_score"] == found.records[-1]["score"]
    assert run(["margin"], seeds=[3]).estimators == {}
