import copy
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.semi_supervised import SelfTrainingClassifier

from skadistill.datasets import hide_labels
from skadistill.exceptions import SkadistillError
from skadistill.model_selection import PartiallyLabeledSplit, ignore_unlabeled

SPLITTERS = [
    3,
    KFold(3),
    StratifiedKFold(3, shuffle=True, random_state=0),
    ShuffleSplit(4, test_size=0.3, random_state=0),
    GroupKFold(3),
    StratifiedGroupKFold(3),
    LeaveOneGroupOut(),
    LeaveOneOut(),
]


def partially_labeled_table(seed=0, n=90, share=0.4):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, 3))
    y = hide_labels(np.arange(n) % 3, share, random_state=seed)
    return X, y, rng.permutation(np.arange(n) % 5)


def groups_for(cv, groups):
    # Splitters that do not use groups warn when given some.
    return groups if "Group" in repr(cv) else None


def folds(splitter, *args, **kwargs):
    seen = [(a.tolist(), b.tolist()) for a, b in splitter.split(*args, **kwargs)]
    assert all(train == sorted(set(train)) for train, _ in seen)
    return [(set(train), test) for train, test in seen]


@pytest.mark.parametrize("cv", SPLITTERS, ids=repr)
def test_unlabeled_rows_always_train_and_never_test(cv):
    """Every unlabeled row is in every training side and in no test side."""
    X, y, groups = partially_labeled_table()
    unlabeled = set(np.flatnonzero(y == -1).tolist())
    seen = folds(PartiallyLabeledSplit(cv), X, y, groups_for(cv, groups))
    assert seen
    for train, test in seen:
        assert unlabeled <= train
        assert not unlabeled & set(test)
        assert not train & set(test)


@pytest.mark.parametrize("cv", SPLITTERS[1:], ids=repr)
def test_labeled_rows_are_split_as_the_wrapped_splitter_splits_them_alone(cv):
    """On the labeled rows the folds are the wrapped splitter's own."""
    X, y, groups = partially_labeled_table()
    labeled = np.flatnonzero(y != -1)
    got = folds(PartiallyLabeledSplit(cv), X, y, groups_for(cv, groups))
    alone = list(cv.split(X[labeled], y[labeled], groups_for(cv, groups[labeled])))
    assert len(got) == len(alone)
    for (train, test), (inner_train, inner_test) in zip(got, alone, strict=True):
        assert test == labeled[inner_test].tolist()
        assert train & set(labeled.tolist()) == set(labeled[inner_train].tolist())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_test_folds_partition_the_labeled_rows(data):
    """With a k-fold, every labeled row is tested exactly once."""
    n = data.draw(st.integers(8, 60))
    labeled = data.draw(st.sets(st.integers(0, n - 1), min_size=4))
    y = np.full(n, -1)
    y[sorted(labeled)] = data.draw(
        st.lists(st.integers(0, 3), min_size=len(labeled), max_size=len(labeled))
    )
    k = data.draw(st.integers(2, 4))
    seen = folds(PartiallyLabeledSplit(KFold(k)), np.zeros((n, 1)), y)
    assert sorted(row for _, test in seen for row in test) == sorted(labeled)
    assert all(len(train) + len(test) == n for train, test in seen)


def test_an_int_stratifies_the_labeled_rows():
    """Every fold of an int split holds every class in equal numbers."""
    X, y, _ = partially_labeled_table(n=300, share=0.3)
    y[y != -1] = np.sort(np.arange((y != -1).sum()) % 3)
    for _, test in PartiallyLabeledSplit(5).split(X, y):
        assert np.bincount(y[test]).tolist() == [6, 6, 6]


def test_an_int_with_continuous_labels_is_a_plain_k_fold():
    """Continuous labels are split by KFold, which needs no classes."""
    X = np.zeros((12, 1))
    y = np.linspace(0.25, 3.0, 12)
    y[::3] = -1
    tests = [test for _, test in PartiallyLabeledSplit(4).split(X, y)]
    assert [len(t) for t in tests] == [2, 2, 2, 2]


def test_shuffle_and_seed_reach_the_int_splitter():
    """An int split shuffles when told to, the same way for the same seed."""
    X, y, _ = partially_labeled_table()
    plain = folds(PartiallyLabeledSplit(3), X, y)
    one = folds(PartiallyLabeledSplit(3, shuffle=True, random_state=1), X, y)
    two = folds(PartiallyLabeledSplit(3, shuffle=True, random_state=2), X, y)
    again = folds(PartiallyLabeledSplit(3, shuffle=True, random_state=1), X, y)
    assert one == again
    assert one != two
    assert one != plain


def test_moving_unlabeled_rows_leaves_the_folds_alone():
    """Interleaving the pool differently does not change who is tested with whom."""
    X, y, _ = partially_labeled_table()
    labeled, pool = np.flatnonzero(y != -1), np.flatnonzero(y == -1)
    front = np.concatenate([labeled, pool])
    splitter = PartiallyLabeledSplit(StratifiedKFold(3))
    before = [test for _, test in folds(splitter, X, y)]
    after = [front[test].tolist() for _, test in folds(splitter, X[front], y[front])]
    assert before == after


@pytest.mark.parametrize("kind", ["object", "list", "pandas", "categorical", "polars"])
def test_string_labels_beside_a_numeric_marker_split_like_numbers(kind):
    """Strings with -1 among them, in any container, give the folds of integers."""
    X, y, _ = partially_labeled_table()
    names = [-1 if v == -1 else "abc"[v] for v in y]
    text = np.empty(len(y), dtype=object)
    text[:] = names
    given = {
        "object": text,
        "list": names,
        "pandas": pd.Series(names, index=range(1000, 1000 + len(y))),
        "categorical": pd.Series(names, dtype="category"),
        "polars": pl.Series(names, dtype=pl.Object),
    }[kind]
    assert folds(PartiallyLabeledSplit(3), X, given) == folds(
        PartiallyLabeledSplit(3), X, y
    )


def test_an_object_array_of_integers_is_stratified():
    """Integers that came in an object array are classes like any others."""
    X, y, _ = partially_labeled_table()
    splitter = PartiallyLabeledSplit(3)
    assert folds(splitter, X, y.astype(object)) == folds(splitter, X, y)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_tables_with_names_are_split_too(frame):
    """Pandas and polars tables and integer Series split like arrays."""
    X, y, _ = partially_labeled_table()
    series = pd.Series if frame is pd.DataFrame else pl.Series
    named = frame({f"f{j}": X[:, j] for j in range(3)})
    assert folds(PartiallyLabeledSplit(3), named, series(y)) == folds(
        PartiallyLabeledSplit(3), X, y
    )


def test_other_markers_are_understood():
    """A marker other than -1 marks; None makes every row labeled."""
    X = np.zeros((8, 1))
    y = np.array(["", "a", "", "b", "a", "", "b", ""])
    tests = [
        t.tolist() for _, t in PartiallyLabeledSplit(2, unlabeled_marker="").split(X, y)
    ]
    assert tests == [[1, 3], [4, 6]]
    every = PartiallyLabeledSplit(KFold(2), unlabeled_marker=None)
    assert [t.tolist() for _, t in every.split(X, y)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_groups_of_labeled_rows_stay_together():
    """No group has labeled rows on both sides; groups are cut to labeled rows."""
    X, y, groups = partially_labeled_table()
    splitter = PartiallyLabeledSplit(GroupKFold(3))
    for train, test in splitter.split(X, y, groups=groups):
        labeled_train = train[y[train] != -1]
        assert not set(groups[labeled_train]) & set(groups[test])
    # Only two groups have labels: LeaveOneGroupOut must not count the others.
    y[np.isin(groups, [2, 3, 4])] = -1
    loo = PartiallyLabeledSplit(LeaveOneGroupOut())
    assert loo.get_n_splits(X, y, groups) == 2 == len(folds(loo, X, y, groups))


@pytest.mark.parametrize("cv", SPLITTERS, ids=repr)
def test_the_announced_number_of_folds_is_the_number_of_folds(cv):
    """get_n_splits agrees with split."""
    X, y, groups = partially_labeled_table()
    splitter = PartiallyLabeledSplit(cv)
    groups = groups_for(cv, groups)
    assert splitter.get_n_splits(X, y, groups) == len(folds(splitter, X, y, groups))


def test_iterables_name_rows_of_the_whole_table_and_may_be_generators():
    """Folds given by row number are cleaned of unlabeled rows, again and again."""
    X = np.zeros((6, 1))
    y = np.array([0, -1, 1, 0, -1, 1])
    given = [([0, 2], [3, 4, 5]), (np.array([-1, 3, 4]), np.array([0, 1, 2]))]
    splitter = PartiallyLabeledSplit(fold for fold in given)
    expected = [({0, 1, 2, 4}, [3, 5]), ({1, 3, 4, 5}, [0, 2])]
    assert splitter.get_n_splits() == 2
    assert folds(splitter, X, y) == expected
    assert folds(splitter, X, y) == expected
    masks = [(np.isin(range(6), [0, 2]), np.isin(range(6), [3, 4, 5]))]
    assert folds(PartiallyLabeledSplit(masks), X, y) == expected[:1]


def test_a_predefined_split_counts_all_rows():
    """PredefinedSplit's folds keep their rows, less the unlabeled ones."""
    X = np.zeros((6, 1))
    y = np.array([0, -1, 1, 0, -1, 1])
    splitter = PartiallyLabeledSplit(PredefinedSplit([0, 0, 0, 1, 1, -1]))
    assert splitter.get_n_splits(X, y) == 2
    assert folds(splitter, X, y) == [({1, 3, 4, 5}, [0, 2]), ({0, 1, 2, 4, 5}, [3])]


def test_a_splitter_with_its_own_metadata_gets_the_labeled_part():
    """Row-aligned extras are cut to labeled rows, other extras pass untouched."""

    class ByTime:
        def split(self, X, y, time, window):
            assert len(X) == len(y) == len(time) == 3
            yield np.flatnonzero(time < window), np.flatnonzero(time >= window)

        def get_n_splits(self, X=None, y=None, groups=None):
            return 1

    y = np.array([0, -1, 1, 0])
    split = PartiallyLabeledSplit(ByTime()).split(
        np.zeros((4, 1)), y, time=np.array([5, 0, 7, 9]), window=6
    )
    assert [(a.tolist(), b.tolist()) for a, b in split] == [([0, 1], [2, 3])]


def test_copies_pickles_and_prints():
    """The splitter survives deepcopy and pickle, and prints what it wraps."""
    splitter = PartiallyLabeledSplit(KFold(3), unlabeled_marker=-2)
    X, y, _ = partially_labeled_table()
    y = np.where(y == -1, -2, y)
    for twin in (copy.deepcopy(splitter), pickle.loads(pickle.dumps(splitter))):
        assert folds(twin, X, y) == folds(splitter, X, y)
    assert "KFold(n_splits=3" in repr(splitter)
    assert "unlabeled_marker=-2" in repr(splitter)


def test_errors_of_the_caller_are_not_retold_as_the_splitter_s():
    """A ValueError thrown in by the consuming code comes out as it went in."""
    X, y, _ = partially_labeled_table()
    running = PartiallyLabeledSplit(3).split(X, y)
    next(running)
    with pytest.raises(ValueError, match=r"^mine$"):
        running.throw(ValueError("mine"))


ERRORS = [
    (
        3,
        [0, 1, 0, -1],
        ValueError,
        "StratifiedKFold cannot split the 3 labeled rows of 4 (2 distinct labels): "
        "n_splits=3 cannot be greater than the number of members in each class; "
        "label more rows or ask for fewer folds.",
    ),
    (
        2,
        [-1, -1, -1],
        SkadistillError,
        "none of the 3 rows has a label, all are -1; label some rows, or pass the "
        "right unlabeled_marker.",
    ),
    (
        2,
        None,
        ValueError,
        "y is None, so labeled and unlabeled rows cannot be distinguished; pass y "
        "with the marker -1 for rows without a label.",
    ),
    (
        [([0], [1, 2])],
        [0, -1, -1],
        SkadistillError,
        "none of the 2 test rows of fold 0 has a label; leave that fold out or put "
        "labeled rows into it.",
    ),
    (
        [([0], [3])],
        [0, 1, -1],
        ValueError,
        "a fold names row 3 and there are 3; give folds as numbers of rows of the "
        "whole table, unlabeled ones counted.",
    ),
]


@pytest.mark.parametrize(("cv", "y", "kind", "sentence"), ERRORS)
def test_refusals_are_whole_sentences(cv, y, kind, sentence):
    """What cannot be split is told with numbers and a way out."""
    X = np.zeros((3 if y is None else len(y), 1))
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        list(PartiallyLabeledSplit(cv).split(X, y))


@pytest.mark.parametrize("cv", ["kfold", None, 2.5])
def test_what_is_no_splitter_is_refused_at_once(cv):
    """The constructor refuses what can never split."""
    sentence = (
        f"cv={cv!r} is not a splitter; pass a number of folds, a splitter with "
        "split and get_n_splits, or an iterable of (train, test) row numbers."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        PartiallyLabeledSplit(cv)


def digits_with_few_labels(kind):
    X, truth = load_digits(return_X_y=True)
    X = X / 16.0
    held_out = np.arange(len(X)) % 3 == 0
    y = hide_labels(truth[~held_out], 0.1, random_state=0)
    if kind == "str":
        names = np.array([f"digit {v}" for v in range(10)], dtype=object)
        truth = names[truth]
        hidden, y = y == -1, names[y]
        y[hidden] = -1
    return X[~held_out], y, X[held_out], truth[held_out]


@pytest.mark.parametrize("kind", ["int", "str"])
def test_cross_validation_of_self_training_comes_close_to_the_truth(kind):
    """With 90 % unlabeled, naive folds report nonsense and these folds the truth."""
    X, y, X_new, y_new = digits_with_few_labels(kind)
    model = SelfTrainingClassifier(LogisticRegression(max_iter=200), max_iter=2)
    truth = np.mean(model.fit(X, y).predict(X_new) == y_new)
    right = cross_validate(
        model, X, y, cv=PartiallyLabeledSplit(5), scoring="accuracy"
    )["test_score"].mean()
    naive = cross_val_score(
        model, X, y, cv=KFold(5), scoring=lambda m, A, b: np.mean(m.predict(A) == b)
    ).mean()
    assert truth > 0.8
    assert abs(right - truth) < 0.08
    assert naive < 0.15
    # Naive folds are repaired by the scorer alone, too.
    scored = cross_val_score(model, X, y, cv=KFold(5), scoring=ignore_unlabeled())
    assert abs(scored.mean() - truth) < 0.08


@pytest.mark.parametrize("kind", ["int", "str"])
def test_a_grid_search_in_two_processes_ranks_by_labeled_rows(kind):
    """GridSearchCV(n_jobs=2) scores labeled rows and picks the better model."""
    X, y, X_new, y_new = digits_with_few_labels(kind)
    search = GridSearchCV(
        SelfTrainingClassifier(LogisticRegression(max_iter=200), max_iter=2),
        {"estimator__C": [1e-4, 1.0]},
        cv=PartiallyLabeledSplit(3),
        scoring=ignore_unlabeled("accuracy"),
        n_jobs=2,
    ).fit(X, y)
    assert search.best_params_ == {"estimator__C": 1.0}
    truth = np.mean(search.predict(X_new) == y_new)
    assert abs(search.best_score_ - truth) < 0.1
    assert search.n_splits_ == 3


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_the_wrapped_splitter_through_cross_validate(routing):
    """cross_validate hands groups on, by argument or by metadata routing."""
    X, y, groups = partially_labeled_table()
    with config_context(enable_metadata_routing=routing):
        given = {"params": {"groups": groups}} if routing else {"groups": groups}
        result = cross_validate(
            DummyClassifier(),
            X,
            y,
            cv=PartiallyLabeledSplit(GroupKFold(3)),
            return_indices=True,
            **given,
        )
    for test in result["indices"]["test"]:
        assert (y[test] != -1).all()
    tested = [set(groups[test].tolist()) for test in result["indices"]["test"]]
    assert sum(map(len, tested)) == len(set(groups[y != -1].tolist()))


def test_renamed_metadata_is_routed_under_the_splitter_s_own_name():
    """A request such as groups="site" is honored through the wrapper."""
    X, y, groups = partially_labeled_table()
    with config_context(enable_metadata_routing=True):
        inner = GroupKFold(3).set_split_request(groups="site")
        result = cross_validate(
            DummyClassifier(),
            X,
            y,
            cv=PartiallyLabeledSplit(inner),
            params={"site": groups},
            return_indices=True,
        )
    got = [test.tolist() for test in result["indices"]["test"]]
    alone = PartiallyLabeledSplit(GroupKFold(3)).split(X, y, groups)
    assert got == [test.tolist() for _, test in alone]


def test_unwanted_groups_are_refused_under_routing():
    """Around a splitter without groups, routing refuses groups as scikit-learn does."""
    X, y, groups = partially_labeled_table()
    with (
        config_context(enable_metadata_routing=True),
        pytest.raises(TypeError, match="groups"),
    ):
        cross_validate(
            DummyClassifier(),
            X,
            y,
            cv=PartiallyLabeledSplit(KFold(3)),
            params={"groups": groups},
        )
