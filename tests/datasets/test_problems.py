import re

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from skadistill.datasets import make_noisy_teacher_problem


@pytest.mark.parametrize(
    ("kind", "error"),
    [("uniform", 0.23), ("margin", 0.23), ("uniform", [0.1, 0.2, 0.3, 0.4])],
)
def test_the_teacher_is_wrong_on_the_pool_as_often_as_asked(kind, error):
    """The mask holds exactly the pool rows whose answer is not the truth."""
    problem = make_noisy_teacher_problem(
        60,
        301,
        77,
        teacher_error=error,
        error_kind=kind,
        random_state=3,
    )
    for X, y in (
        (problem.X_labeled, problem.y_labeled),
        (problem.X_pool, problem.y_pool),
        (problem.X_test, problem.y_test),
    ):
        wrong = problem.teacher(X).argmax(axis=1) != y
        if isinstance(error, float):
            assert wrong.sum() == round(error * len(y))
        else:
            assert [wrong[y == c].sum() for c in range(4)] == [
                round(error[c] * (y == c).sum()) for c in range(4)
            ]
        if X is problem.X_pool:
            assert (wrong == problem.teacher_wrong).all()


def test_shapes_types_and_classes():
    """Parts have the asked sizes; rows are float32 of about unit variance."""
    problem = make_noisy_teacher_problem(
        30, 400, 50, n_features=6, n_classes=3, random_state=0
    )
    assert problem.X_labeled.shape == (30, 6)
    assert problem.X_pool.shape == (400, 6)
    assert problem.X_test.shape == (50, 6)
    assert problem.X_pool.dtype == np.float32
    assert 0.7 < problem.X_pool.std() < 1.4
    assert problem.classes.tolist() == [0, 1, 2] == np.unique(problem.y_pool).tolist()
    assert problem.teacher(problem.X_test).shape == (50, 3)


def test_every_class_has_a_labeled_row_even_with_one_row_each():
    """n_labeled == n_classes gives one labeled row per class, for any seed."""
    for seed in range(20):
        problem = make_noisy_teacher_problem(7, 60, 5, n_classes=7, random_state=seed)
        assert sorted(problem.y_labeled.tolist()) == list(range(7))


def test_rows_depend_on_the_seed_and_not_on_the_teacher():
    """One seed gives one table, whatever teacher is put on top of it."""
    one = make_noisy_teacher_problem(random_state=4)
    other = make_noisy_teacher_problem(
        random_state=4, teacher_error=0.4, error_kind="margin"
    )
    assert (one.X_pool == other.X_pool).all()
    assert (one.y_test == other.y_test).all()
    again = make_noisy_teacher_problem(random_state=4)
    assert (one.teacher(one.X_pool) == again.teacher(one.X_pool)).all()
    assert (one.X_pool != make_noisy_teacher_problem(random_state=5).X_pool).any()


def test_margin_errors_sit_at_small_margins_of_the_true_posterior():
    """The wrong rows' mean true margin is well below the right rows'."""
    problem = make_noisy_teacher_problem(
        n_pool=2000, error_kind="margin", class_sep=0.8, random_state=0
    )
    margin, wrong = problem.margin_pool, problem.teacher_wrong
    assert margin.min() >= 0
    assert margin.max() <= 1
    assert margin[wrong].mean() < 0.6 * margin[~wrong].mean()


@pytest.mark.parametrize("marker", [-1, -99, "none"])
def test_stacking_puts_the_marker_on_pool_rows(marker):
    """Labeled rows come first, pool rows carry the marker."""
    problem = make_noisy_teacher_problem(20, 30, 10, random_state=0)
    X, y = problem.partially_labeled(marker)
    stacked = np.concatenate([problem.X_labeled, problem.X_pool])
    assert (stacked == X).all()
    assert y[:20].tolist() == problem.y_labeled.tolist()
    assert y[20:].tolist() == [marker] * 30


def test_more_right_labels_make_a_better_student():
    """The pool's truth lifts an MLP far above the labeled rows alone."""
    few, many = [], []
    for seed in range(3):
        problem = make_noisy_teacher_problem(random_state=seed)
        X, _ = problem.partially_labeled()
        y = np.concatenate([problem.y_labeled, problem.y_pool])
        for rows, scores in ((100, few), (1100, many)):
            student = MLPClassifier(
                (64,), max_iter=1000, learning_rate_init=0.01, tol=1e-3, random_state=0
            ).fit(X[:rows], y[:rows])
            scores.append(student.score(problem.X_test, problem.y_test))
    # Seen: 0.82 and 0.94.
    assert np.mean(many) > 0.88
    assert np.mean(many) > np.mean(few) + 0.08


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"n_labeled": 3},
            "n_labeled=3 and n_classes=4 cannot be combined; pass at least two "
            "classes and one labeled row for each.",
        ),
        (
            {"n_pool": 0},
            "n_pool=0 and n_test=500 must both be at least 1; pass more.",
        ),
        (
            {"n_classes": 60, "n_labeled": 60, "n_pool": 1, "n_test": 1},
            "62 rows with class_sep=1.0 did not hold all 60 classes in 20 tries; "
            "raise class_sep or ask for more rows.",
        ),
    ],
)
def test_impossible_problems_are_refused_with_a_sentence(params, sentence):
    """Counts that cannot be had name themselves and what to do."""
    if "n_classes" in params:
        params = {**params, "n_features": 2}
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make_noisy_teacher_problem(**params, random_state=0)
