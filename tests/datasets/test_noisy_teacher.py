import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from skadistill.datasets import NoisyTeacher
from skadistill.exceptions import TeacherError


def table(n=200, n_classes=4, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, 3)).astype(np.float32)
    y = rng.randint(n_classes, size=n)
    y[:n_classes] = np.arange(n_classes)
    proba = rng.dirichlet(np.ones(n_classes), size=n)
    return X, y, proba


def wrong_answers(teacher, X, y):
    return teacher.classes_[teacher(X).argmax(axis=1)] != y


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(6, 80),
    n_classes=st.integers(2, 5),
    rate=st.floats(0, 1),
    kind=st.sampled_from(["uniform", "margin"]),
    soft=st.booleans(),
    seed=st.integers(0, 999),
)
def test_exactly_the_asked_number_of_rows_is_wrong(
    n, n_classes, rate, kind, soft, seed
):
    """round(rate * n) rows are answered wrongly, and wrong_ says which."""
    X, y, proba = table(n, n_classes, seed)
    teacher = NoisyTeacher(
        X,
        y,
        error_rate=rate,
        error_kind=kind,
        proba=proba,
        soft=soft,
        random_state=seed,
    )
    wrong = wrong_answers(teacher, X, y)
    assert wrong.sum() == round(rate * n)
    assert (wrong == teacher.wrong_).all()
    assert teacher.error_rate_ == wrong.mean()
    assert ((teacher.answers_ != y) == wrong).all()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    data=st.data(),
    seed=st.integers(0, 999),
)
def test_the_confusion_matrix_is_met_to_the_row(sizes, data, seed):
    """By class, counts of wrong answers differ from the matrix by less than one row."""
    n_classes = len(sizes)
    y = np.repeat(np.arange(n_classes), sizes)
    X = np.arange(len(y), dtype=float)[:, None]
    draw = st.lists(st.integers(0, 9), min_size=n_classes, max_size=n_classes)
    rows = np.array([data.draw(draw.filter(any)) for _ in sizes], dtype=float)
    matrix = rows / rows.sum(axis=1, keepdims=True)
    teacher = NoisyTeacher(
        X, y, error_kind="class", class_error=matrix, random_state=seed
    )
    got = np.zeros((n_classes, n_classes))
    np.add.at(got, (y, teacher(X).argmax(axis=1)), 1)
    for c, size in enumerate(sizes):
        assert got[c].sum() - got[c, c] == round((1 - matrix[c, c]) * size)
        others = np.arange(n_classes) != c
        assert np.abs(got[c] - matrix[c] * size)[others].max() < 1.5
        assert not got[c][others & (matrix[c] == 0)].any()


def test_class_rates_spread_over_the_other_classes():
    """One rate per class gives that share of wrong rows, evenly over the others."""
    y = np.repeat([0, 1, 2], 40)
    X = np.arange(120.0)[:, None]
    teacher = NoisyTeacher(
        X, y, error_kind="class", class_error=[0.5, 0.0, 0.25], random_state=0
    )
    answer = teacher(X).argmax(axis=1)
    counts = [np.bincount(answer[y == c], minlength=3).tolist() for c in range(3)]
    assert counts == [[20, 10, 10], [0, 40, 0], [5, 5, 30]]


def test_wrong_answers_of_a_class_are_mixed_among_its_rows():
    """Which wrong answer a row gets does not follow the order of the table."""
    y = np.repeat([0, 1, 2], 40)
    teacher = NoisyTeacher(
        np.arange(120.0)[:, None],
        y,
        error_kind="class",
        class_error=[1.0, 0.0, 0.0],
        random_state=0,
    )
    # Sorted answers would put all 20 of one class in front.
    assert 4 < (teacher.answers_[:20] == 1).sum() < 16


def test_margin_errors_sit_on_hard_rows_and_name_the_runner_up():
    """Rows of small true margin are wrong more often, with the likeliest other class.

    The hardest half holds a share 1 / (1 + exp(-2.5)) = 0.924 of the first draws.
    """
    X, y, proba = table(2000)
    teacher = NoisyTeacher(
        X, y, error_rate=0.1, error_kind="margin", proba=proba, random_state=0
    )
    rows = np.arange(len(y))
    others = proba.copy()
    others[rows, y] = -1
    margin = proba[rows, y] - others.max(axis=1)
    hard = margin < np.median(margin)
    wrong = teacher.wrong_
    assert 0.85 < hard[wrong].mean() < 0.97
    assert (teacher.answers_[wrong] == others[wrong].argmax(axis=1)).all()
    # Without concentration the halves are wrong alike.
    even = NoisyTeacher(
        X,
        y,
        error_rate=0.1,
        error_kind="margin",
        proba=proba,
        concentration=0.0,
        random_state=0,
    ).wrong_
    assert binomtest(int(hard[even].sum()), int(even.sum())).pvalue > 0.001


def test_uniform_errors_prefer_no_class_and_no_row():
    """Over seeds, every row and every wrong class comes up equally often."""
    X, y, _ = table(40, 3)
    seen = np.zeros((40, 3))
    for seed in range(400):
        teacher = NoisyTeacher(X, y, error_rate=0.25, random_state=seed)
        answer = teacher(X).argmax(axis=1)
        np.add.at(seen, (np.arange(40), answer), teacher.wrong_)
    # Each cell is binomial(400, 0.125): mean 50, deviation 6.6; five of them.
    assert np.abs(seen[seen > 0] - 50).max() < 33
    assert (seen > 0).sum() == 80


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_answers_are_distributions_whose_margin_is_smaller_when_wrong(n_classes):
    """Rows sum to 1; margins have the stated means; right and wrong overlap."""
    X, y, _ = table(3000, n_classes)
    teacher = NoisyTeacher(
        X, y, error_rate=0.4, confidence=0.7, wrong_confidence=0.3, random_state=0
    )
    answer = teacher(X)
    assert answer.min() >= 0
    np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-12)
    ranked = np.sort(answer, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    wrong = teacher.wrong_
    # Standard error below 0.2 / sqrt(1200) = 0.006.
    assert margin[~wrong].mean() == pytest.approx(0.7, abs=0.03)
    assert margin[wrong].mean() == pytest.approx(0.3, abs=0.03)
    assert (margin[wrong].max() > margin[~wrong]).any()


def test_half_the_confidence_is_the_default_of_wrong_rows():
    """Without wrong_confidence, wrong margins average half the right ones."""
    X, y, _ = table(3000)
    teacher = NoisyTeacher(X, y, error_rate=0.5, confidence=0.8, random_state=0)
    ranked = np.sort(teacher(X), axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    assert margin[teacher.wrong_].mean() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("truth_within", [2, 3, 99])
def test_on_wrong_rows_the_truth_has_a_uniform_rank(truth_within):
    """The truth of a wrong row is uniform over ranks 2 to truth_within."""
    X, y, _ = table(3000, 5)
    teacher = NoisyTeacher(
        X, y, error_rate=0.5, truth_within=truth_within, random_state=0
    )
    answer = teacher(X)
    wrong = np.flatnonzero(teacher.wrong_)
    truth = answer[wrong, y[wrong]]
    rank = (answer[wrong] > truth[:, None]).sum(axis=1) + 1
    top = min(truth_within, 5)
    counts = np.bincount(rank, minlength=6)[1:]
    expected = np.where(np.isin([1, 2, 3, 4, 5], range(2, top + 1)), 1.0, 0.0)
    expected *= 1500 / (top - 1)
    assert np.abs(counts - expected).max() <= 5 * np.sqrt(expected.max())
    assert counts[expected == 0].sum() == 0


def test_other_classes_follow_the_given_probabilities():
    """With proba, a right answer ranks all classes but the first as proba does."""
    X, y, proba = table()
    teacher = NoisyTeacher(X, y, error_rate=0.0, proba=proba, random_state=0)
    answer = teacher(X)
    for i in range(len(y)):
        others = [c for c in range(4) if c != y[i]]
        assert np.argsort(answer[i, others]).tolist() == (
            np.argsort(proba[i, others]).tolist()
        )


def test_hard_answers_are_one_hot():
    """soft=False gives ones and zeros."""
    X, y, _ = table()
    answer = NoisyTeacher(X, y, soft=False, random_state=0)(X)
    assert set(np.unique(answer)) == {0.0, 1.0}
    assert (answer.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X.astype(np.float64),
        lambda X: np.asfortranarray(X),
        lambda X: X.tolist(),
        lambda X: sparse.csr_array(X),
        lambda X: pd.DataFrame(X),
        lambda X: pl.DataFrame({f"f{j}": X[:, j] for j in range(X.shape[1])}),
    ],
    ids=["float64", "fortran", "list", "sparse", "pandas", "polars"],
)
def test_a_row_is_known_in_every_container(change):
    """Equal rows get the same answer whatever holds them, in any order."""
    X, y, _ = table()
    X[3, 1] = 0.0
    teacher = NoisyTeacher(X, y, random_state=0)
    expected = teacher(X)
    order = np.random.RandomState(1).permutation(len(X))
    assert (teacher(change(X[order])) == expected[order]).all()
    negative = X[3:4].copy()
    negative[0, 1] = -0.0
    assert (teacher(negative) == expected[3]).all()


def test_images_are_rows_too():
    """Rows may have any number of dimensions."""
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8).astype(np.uint8)
    teacher = NoisyTeacher(X, y, error_rate=0.1, random_state=0)
    assert wrong_answers(teacher, X, y).sum() == round(0.1 * len(y))


def test_counters_count_calls_rows_and_distinct_rows():
    """Calls and rows are counted with repeats, distinct rows without."""
    X, y, _ = table()
    teacher = NoisyTeacher(X, y, random_state=0)
    teacher(X[:10])
    teacher(X[[0, 0, 11]])
    assert (teacher.n_calls, teacher.n_samples, teacher.n_distinct_rows) == (2, 13, 11)
    with pytest.raises(TeacherError):
        teacher(X[:5] + 1)
    assert (teacher.n_calls, teacher.n_samples, teacher.n_distinct_rows) == (2, 13, 11)
    teacher.reset_counts()
    assert (teacher.n_calls, teacher.n_samples, teacher.n_distinct_rows) == (0, 0, 0)


def test_counting_survives_threads():
    """Calls from several threads are all counted."""
    X, y, _ = table()
    teacher = NoisyTeacher(X, y, random_state=0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: teacher(X[i : i + 1]), list(range(200)) * 5))
    assert (teacher.n_calls, teacher.n_samples, teacher.n_distinct_rows) == (
        1000,
        1000,
        200,
    )


def test_clones_and_copies_are_the_teacher_itself():
    """clone, copy and deepcopy share; counters go on counting."""
    X, y, _ = table()
    teacher = NoisyTeacher(X, y, random_state=0)
    assert clone(teacher) is teacher
    assert copy.copy(teacher) is teacher
    assert copy.deepcopy({"a": [teacher]})["a"][0] is teacher


def test_a_pickle_answers_alike_and_counts_from_zero():
    """A pickle gives the same answers, and has one content before and after asking."""
    X, y, _ = table()
    teacher = NoisyTeacher(X, y, random_state=0)
    before = joblib.hash(teacher)
    expected = teacher(X)
    twin = pickle.loads(pickle.dumps(teacher))
    assert twin.n_calls == twin.n_distinct_rows == 0
    assert (twin(X) == expected).all()
    assert twin.n_distinct_rows == len(X)
    assert joblib.hash(teacher) == joblib.hash(twin) == before
    assert joblib.hash(NoisyTeacher(X, y, random_state=1)) != before


def test_the_same_seed_is_the_same_teacher_and_others_are_not():
    """Everything comes from random_state."""
    X, y, _ = table()
    one, two, three = (
        NoisyTeacher(X, y, random_state=seed)(X)
        for seed in (5, 5, np.random.RandomState(5))
    )
    assert (one == two).all()
    assert (one == three).all()
    assert (one != NoisyTeacher(X, y, random_state=6)(X)).any()


def test_string_labels_and_a_chosen_order_of_columns():
    """Columns follow `classes`; strings err where integers do."""
    X, y, _ = table()
    names = np.array(["b", "d", "a", "c"])
    text = NoisyTeacher(X, names[y], classes=names, random_state=0)
    assert text.classes_.tolist() == names.tolist()
    assert (text(X) == NoisyTeacher(X, y, random_state=0)(X)).all()
    assert NoisyTeacher(X, names[y].astype(object)).classes_.tolist() == list("abcd")
    wide = NoisyTeacher(X, y, classes=[0, 1, 2, 3, 9], random_state=0)
    assert wide(X).shape == (200, 5)


def test_the_rate_is_exact_in_every_stratum():
    """With strata, each part has its own exact number of mistakes."""
    X, y, proba = table()
    strata = np.repeat(["test", "train"], [50, 150])
    for kind in ("uniform", "margin"):
        wrong = NoisyTeacher(
            X,
            y,
            error_rate=0.3,
            error_kind=kind,
            proba=proba,
            strata=strata,
            random_state=0,
        ).wrong_
        assert (wrong[:50].sum(), wrong[50:].sum()) == (15, 45)


def test_repeated_rows_get_one_answer_and_keep_the_count_exact():
    """Repeats answer alike, contradictions are mistakes by necessity, counts hold."""
    X, y, _ = table(100, 3)
    X = np.concatenate([X, X[:30], X[:30]])
    y = np.concatenate([y, y[:30], y[:30]])
    y[130:135] = (y[130:135] + 1) % 3
    teacher = NoisyTeacher(X, y, error_rate=0.25, random_state=0)
    assert wrong_answers(teacher, X, y).sum() == teacher.wrong_.sum() == 40
    assert teacher.wrong_[130:135].all()
    assert not teacher.wrong_[:5].any()
    # Rows that two strata share are answered rightly.
    strata = np.repeat([0, 1, 0], [10, 90, 60])
    shared = NoisyTeacher(X, y, error_rate=0.2, strata=strata, random_state=0)
    assert (shared.wrong_[10:100].sum(), shared.wrong_.sum()) == (18, 32)
    assert not shared.wrong_[10:30].any()


def test_a_real_table_with_out_of_fold_probabilities():
    """On iris, errors at small out-of-fold margins sit where models err."""
    X, y = load_iris(return_X_y=True)
    X, keep = np.unique(X, axis=0, return_index=True)
    y = y[keep]
    proba = cross_val_predict(
        LogisticRegression(max_iter=1000), X, y, method="predict_proba"
    )
    teacher = NoisyTeacher(
        X, y, error_rate=0.2, error_kind="margin", proba=proba, random_state=0
    )
    # Class 0 is far from the others.
    assert teacher.wrong_[y == 0].mean() < teacher.wrong_[y != 0].mean() / 2


X, Y, P = table(10, 2)
ERRORS = [
    (
        {"error_rate": 1.5},
        "error_rate=1.5 is not a share; pass a number between 0 and 1.",
    ),
    (
        {"confidence": 1.0},
        "confidence=1.0 is not a share; pass a number between 0 and 1, both excluded.",
    ),
    (
        {"wrong_confidence": 0.0},
        "wrong_confidence=0.0 is not a share; pass a number between 0 and 1, both "
        "excluded.",
    ),
    (
        {"error_kind": "sometimes"},
        "error_kind='sometimes' is not known; choose one of 'uniform', 'margin', "
        "'class'.",
    ),
    (
        {"truth_within": 1},
        "truth_within=1 would put the truth first on a wrong row; pass 2 or more.",
    ),
    (
        {"error_kind": "margin"},
        'error_kind="margin" needs to know which rows are hard and proba is None; '
        "pass the true posterior, or out-of-fold probabilities from "
        'cross_val_predict(..., method="predict_proba").',
    ),
    (
        {"proba": P[:3]},
        "proba has shape (3, 2) where (10, 2) was expected; pass one column per class.",
    ),
    (
        {"error_kind": "class"},
        'error_kind="class" needs an error rate for every class and class_error is '
        "None; pass 2 rates or a confusion matrix.",
    ),
    (
        {"error_kind": "class", "class_error": [0.5, 1.5]},
        "class_error is [0.5, 1.5]; pass 2 rates between 0 and 1, or a 2 x 2 matrix "
        "whose rows sum to 1.",
    ),
    (
        {"strata": [0, 1]},
        "strata has shape (2,) and X 10 rows; pass one entry per row.",
    ),
    (
        {"classes": [1, 2]},
        "y holds 0, which is not among classes=[1, 2]; name every class.",
    ),
    ({"y": Y[:3]}, "y has shape (3,) and X 10 rows; pass one label per row."),
    (
        {"y": np.zeros(10)},
        "there is one class only, [0.0], and no wrong answer to give; pass at least "
        "two.",
    ),
    (
        {"y": np.array(["a", 1] * 5, dtype=object)},
        "y mixes kinds of labels that cannot be sorted, such as strings and numbers; "
        "pass the truth of every row, all of one kind.",
    ),
    ({"X": np.zeros((0, 2)), "y": []}, "X has 0 rows; pass at least one."),
    (
        {"X": np.zeros(10)},
        "X has shape (10,); pass one row per question, at least two dimensions.",
    ),
    (
        {"X": np.zeros((10, 1)), "y": [0] * 7 + [1] * 3, "error_rate": 0.1},
        "3 of 10 rows carry another label than most rows equal to them, which is more "
        "than the 1 mistakes asked for; raise the error rate or drop the "
        "contradictions.",
    ),
    (
        {"X": np.repeat([[0.0], [1.0]], 5, axis=0), "y": [0] * 5 + [1] * 5},
        "2 wrong rows were asked for and 0 could be had of 10, because rows repeat; "
        "drop the repeats or change the error rate.",
    ),
]


@pytest.mark.parametrize(("params", "sentence"), ERRORS)
def test_impossible_teachers_are_refused_with_a_sentence(params, sentence):
    """A parameter out of range names itself, its value and what to do."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        NoisyTeacher(**{"X": X, "y": Y, **params})


def test_foreign_rows_are_refused():
    """A row that is not in the table is an error that says which."""
    teacher = NoisyTeacher(X, Y)
    sentence = (
        "row 2 of X is not among the 10 rows that this NoisyTeacher knows; ask about "
        "rows of the table it was made from, unscaled and unchanged."
    )
    with pytest.raises(TeacherError, match=f"^{re.escape(sentence)}$"):
        teacher(np.concatenate([X[:2], X[:1] * 2]))
    with pytest.raises(ValueError, match="X holds something that is not a number"):
        teacher([["a", "b", "c"]])


def test_prints_what_it_is():
    """The representation is one line without arrays."""
    assert repr(NoisyTeacher(X, Y)) == "NoisyTeacher(10 rows, 2 classes, 2 wrong)"
