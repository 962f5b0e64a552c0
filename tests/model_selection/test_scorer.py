import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    get_scorer,
    log_loss,
    make_scorer,
    roc_auc_score,
    zero_one_loss,
)
from sklearn.model_selection import GridSearchCV, KFold, cross_validate

from skadistill._utils.validation import warn_if_unlabeled
from skadistill.exceptions import SkadistillError, UnlabeledTestRowsWarning
from skadistill.model_selection import (
    ignore_unlabeled,
)


@pytest.fixture
def fitted():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((80, 2))
    truth = (X[:, 0] + 0.8 * rng.standard_normal(80) > 0).astype(int)
    y = np.where(np.arange(80) % 3 == 0, -1, truth)
    weight = rng.uniform(0.1, 5.0, size=80)
    return LogisticRegression().fit(X, truth), X, y, weight


@pytest.mark.parametrize(
    "scoring",
    [
        "accuracy",
        "roc_auc",
        "neg_log_loss",
        "f1_macro",
        make_scorer(f1_score, average="macro"),
        lambda estimator, X, y: estimator.score(X, y),
    ],
    ids=["accuracy", "roc_auc", "neg_log_loss", "f1_macro", "scorer", "function"],
)
def test_hiding_labels_equals_dropping_rows(fitted, scoring):
    """The score is the wrapped scorer's on the labeled rows, weights cut alike."""
    model, X, y, weight = fitted
    inner = get_scorer(scoring)
    labeled = y != -1
    score = ignore_unlabeled(scoring)
    assert score(model, X, y) == inner(model, X[labeled], y[labeled])
    if hasattr(inner, "_score_func"):
        weighted = score(model, X, y, sample_weight=weight)
        assert weighted == inner(
            model, X[labeled], y[labeled], sample_weight=weight[labeled]
        )
        assert weighted != score(model, X, y)


def test_nothing_hidden_is_the_wrapped_scorer(fitted):
    """Without unlabeled rows, or with marker None, nothing changes."""
    model, X, y, _ = fitted
    truth = model.predict(X)
    assert ignore_unlabeled()(model, X, truth) == 1.0
    plain = get_scorer("accuracy")(model, X, y)
    assert ignore_unlabeled(unlabeled_marker=None)(model, X, y) == plain
    assert ignore_unlabeled()(model, X, y) > plain


@pytest.mark.parametrize("kind", ["object", "list", "pandas", "polars"])
def test_string_labels_beside_a_numeric_marker_are_scored(fitted, kind):
    """Strings with -1 among them score like integers, macro F1 included."""
    model, X, y, _ = fitted
    expected = ignore_unlabeled("f1_macro")(model, X, y)
    named = LogisticRegression().fit(X, np.array(["no", "yes"])[model.predict(X)])
    named.coef_, named.intercept_ = model.coef_, model.intercept_
    names = [-1 if v == -1 else ["no", "yes"][v] for v in y]
    text = np.empty(len(y), dtype=object)
    text[:] = names
    given = {
        "object": text,
        "list": names,
        "pandas": pd.Series(names, index=range(len(y), 0, -1)),
        "polars": pl.Series(names, dtype=pl.Object),
    }[kind]
    assert ignore_unlabeled("f1_macro")(named, X, given) == expected


def test_an_object_array_of_integers_is_scored(fitted):
    """Integers that came in an object array score like integers."""
    model, X, y, _ = fitted
    score = ignore_unlabeled("f1_macro")
    assert score(model, X, y.astype(object)) == score(model, X, y)


def test_metrics_of_labels_become_scorers_and_others_are_refused(fitted):
    """A metric of labels works as it is; probabilities and losses need make_scorer."""
    model, X, y, _ = fitted
    score = ignore_unlabeled(accuracy_score)
    assert score(model, X, y) == ignore_unlabeled("accuracy")(model, X, y)
    assert score._accept_sample_weight()
    for metric in (roc_auc_score, log_loss, brier_score_loss):
        sentence = (
            f"{metric.__name__} needs more than predicted labels; pass a scorer's "
            "name, or make_scorer(metric, response_method=...)."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            ignore_unlabeled(metric)
    sentence = (
        "zero_one_loss is by its name better when smaller; pass make_scorer(metric, "
        "greater_is_better=False)."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        ignore_unlabeled(zero_one_loss)
    with pytest.raises(ValueError, match=r"^scoring=3 is neither a name nor callable"):
        ignore_unlabeled(3)
    with pytest.raises(ValueError, match="holds something that is not a name"):
        ignore_unlabeled([accuracy_score])


def test_a_table_without_labels_cannot_be_scored(fitted):
    """No labeled row is an error with a sentence, not a score."""
    model, X, _, _ = fitted
    sentence = (
        "none of the 80 rows to score has a label, all are -1; score other rows, or "
        "split with PartiallyLabeledSplit."
    )
    with pytest.raises(SkadistillError, match=f"^{re.escape(sentence)}$"):
        ignore_unlabeled()(model, X, np.full(80, -1))


@pytest.mark.parametrize(
    "scoring", [["accuracy", "f1_macro"], {"accuracy": accuracy_score}]
)
def test_several_scorers_are_wrapped_at_once(fitted, scoring):
    """Lists and dicts give dicts that multi-metric cross-validation takes."""
    model, X, y, _ = fitted
    wrapped = ignore_unlabeled(scoring)
    assert set(wrapped) == set(scoring)
    result = cross_validate(model, X, y, cv=KFold(3), scoring=wrapped)
    assert {f"test_{name}" for name in scoring} <= set(result)


def test_pickles_and_prints():
    """A wrapped scorer survives pickling and prints what it wraps."""
    score = ignore_unlabeled("accuracy", unlabeled_marker=-7)
    twin = pickle.loads(pickle.dumps(score))
    assert twin.unlabeled_marker == -7
    assert repr(twin) == repr(score)
    assert repr(score).startswith("LabeledRowsScorer(make_scorer(accuracy_score")
    assert repr(score).endswith("unlabeled_marker=-7)")


def test_only_metadata_with_one_entry_per_row_is_cut():
    """Scalars, strings and shorter arrays pass untouched; None is dropped."""
    seen = {}

    def scorer(estimator, X, y, **params):
        seen.update(params)
        return 0.0

    ignore_unlabeled(scorer)(
        None,
        np.zeros((3, 1)),
        [0, -1, 1],
        weight=[1.0, 2.0, 3.0],
        prices=(5, 6),
        name="abc",
        missing=None,
    )
    assert seen == {"weight": [1.0, 3.0], "prices": (5, 6), "name": "abc"}


@pytest.mark.parametrize("multiple", [False, True])
def test_sample_weight_is_routed_to_the_wrapped_scorer(fitted, multiple):
    """With routing on, requested weights reach the scorer cut to labeled rows."""
    model, X, y, weight = fitted
    labeled = y != -1
    cv = [(np.arange(40), np.arange(40, 80))]
    with config_context(enable_metadata_routing=True):
        inner = get_scorer("accuracy").set_score_request(sample_weight="importance")
        score = ignore_unlabeled(inner)
        result = cross_validate(
            model,
            X,
            y,
            cv=cv,
            scoring={"one": score, "two": ignore_unlabeled()} if multiple else score,
            params={"importance": weight},
        )
    trained = LogisticRegression().fit(X[:40], y[:40])
    test = np.arange(40, 80)[labeled[40:]]
    expected = trained.score(X[test], y[test], weight[test])
    got = result["test_one" if multiple else "test_score"][0]
    assert got == pytest.approx(expected)
    assert got != pytest.approx(trained.score(X[test], y[test]))
    if multiple:
        assert result["test_two"][0] == trained.score(X[test], y[test])


def test_a_grid_search_accepts_one_scorer_and_several(fitted):
    """GridSearchCV takes the wrapped scorer alone, in two processes, and in a dict."""
    _, X, y, _ = fitted
    for scoring, refit in (
        (ignore_unlabeled("accuracy"), True),
        (ignore_unlabeled(["accuracy", "roc_auc_ovr"]), "accuracy"),
    ):
        search = GridSearchCV(
            FitOnLabelled(), {"C": [0.1, 1.0]}, scoring=scoring, refit=refit, n_jobs=2
        ).fit(X, y)
        assert search.best_score_ > 0.6


class FitOnLabelled(LogisticRegression):
    """Logistic regression that leaves unlabeled rows out of training."""

    def fit(self, X, y):
        return super().fit(X[y != -1], y[y != -1])


@pytest.mark.parametrize(
    ("y", "count", "words"),
    [
        (
            [0, -1, 1],
            1,
            "1 of 3 rows to score has no label (-1) and counts as a wrong answer",
        ),
        (
            pd.Series(["a", -1, -1, "b"]),
            2,
            "2 of 4 rows to score have no label (-1) and count as wrong answers",
        ),
    ],
)
def test_scoring_unlabeled_rows_warns_with_their_number(y, count, words):
    """The warning counts the rows, names the tools and points at the caller."""
    sentence = (
        f"{words}; leave them out, or split with PartiallyLabeledSplit and score with "
        "ignore_unlabeled from skadistill.model_selection."
    )

    def score():
        return warn_if_unlabeled(y)

    with pytest.warns(
        UnlabeledTestRowsWarning, match=f"^{re.escape(sentence)}$"
    ) as caught:
        n = score()
    assert n == count
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("y", "marker"), [([0, 1], -1), ([0, -1], None), (np.array(["a", "b"]), -1)]
)
def test_labeled_rows_do_not_warn(y, marker):
    """Fully labeled rows, and marker None, are scored in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_if_unlabeled(y, marker) == 0
