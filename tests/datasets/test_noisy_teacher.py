import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
    seed=st.integers(0, 999),
)
def test_exactly_the_asked_number_of_rows_is_wrong(n, n_classes, rate, kind, seed):
    """round(rate * n) rows are answered wrongly, and wrong_ says which."""
    X, y, proba = table(n, n_classes, seed)
    teacher = NoisyTeacher(
        X,
        y,
        error_rate=rate,
        error_kind=kind,
        proba=proba,
        random_state=seed,
    )
    wrong = wrong_answers(teacher, X, y)
    assert wrong.sum() == round(rate * n)
    assert (wrong == teacher.wrong_).all()
    assert teacher.error_rate_ == wrong.mean()
    assert ((teacher.answers_ != y) == wrong).all()


def test_class_rates_spread_over_the_other_classes():
    """One rate per class gives that share of wrong rows, evenly over the others."""
    y = np.repeat([0, 1, 2], 40)
    X = np.arange(120.0)[:, None]
    teacher = NoisyTeacher(X, y, error_rate=[0.5, 0.0, 0.25], random_state=0)
    answer = teacher(X).argmax(axis=1)
    counts = [np.bincount(answer[y == c], minlength=3).tolist() for c in range(3)]
    assert counts == [[20, 10, 10], [0, 40, 0], [5, 5, 30]]


def test_wrong_answers_of_a_class_are_mixed_among_its_rows():
    """Which wrong answer a row gets does not follow the order of the table."""
    y = np.repeat([0, 1, 2], 40)
    teacher = NoisyTeacher(
        np.arange(120.0)[:, None],
        y,
        error_rate=[1.0, 0.0, 0.0],
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
    teacher = NoisyTeacher(X, y, error_rate=0.4, random_state=0)
    answer = teacher(X)
    assert answer.min() >= 0
    np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-12)
    ranked = np.sort(answer, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    wrong = teacher.wrong_
    # Standard error below 0.2 / sqrt(1200) = 0.006.
    assert margin[~wrong].mean() == pytest.approx(0.8, abs=0.03)
    assert margin[wrong].mean() == pytest.approx(0.4, abs=0.03)
    assert (margin[wrong].max() > margin[~wrong]).any()


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_on_wrong_rows_the_truth_has_rank_two_or_three(n_classes):
    """The truth of a wrong row has either rank with equal chances."""
    X, y, _ = table(3000, n_classes)
    teacher = NoisyTeacher(X, y, error_rate=0.5, random_state=0)
    answer = teacher(X)
    wrong = np.flatnonzero(teacher.wrong_)
    truth = answer[wrong, y[wrong]]
    rank = (answer[wrong] > truth[:, None]).sum(axis=1) + 1
    if n_classes == 2:
        assert (rank == 2).all()
    else:
        assert set(rank) == {2, 3}
        assert abs((rank == 2).sum() - 750) <= 5 * np.sqrt(375)


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


def test_a_row_is_known_in_every_container(as_table):
    """Equal rows get the same answer whatever holds them, in any order."""
    X, y, _ = table()
    X[3, 1] = 0.0
    teacher = NoisyTeacher(X, y, random_state=0)
    expected = teacher(X)
    order = np.random.RandomState(1).permutation(len(X))
    assert (teacher(as_table(X[order])) == expected[order]).all()
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


def test_string_labels_err_where_integers_do():
    """Names of classes change the labels and nothing else."""
    X, y, _ = table()
    names = np.array(["a", "b", "c", "d"])
    text = NoisyTeacher(X, names[y], random_state=0)
    assert text.classes_.tolist() == names.tolist()
    assert (text(X) == NoisyTeacher(X, y, random_state=0)(X)).all()
    assert NoisyTeacher(X, names[y].astype(object)).classes_.tolist() == list("abcd")


def test_margin_errors_keep_the_rate_of_every_class():
    """One rate per class goes with both kinds of errors."""
    X, y, proba = table()
    rates = np.array([0.0, 0.1, 0.3, 0.5])
    wrong = NoisyTeacher(
        X, y, error_rate=rates, error_kind="margin", proba=proba, random_state=0
    ).wrong_
    for c in range(4):
        assert wrong[y == c].sum() == round(rates[c] * (y == c).sum())


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
        "error_rate=1.5 is neither a share nor one share per class; pass a number "
        "between 0 and 1, or 2 of them.",
    ),
    (
        {"error_rate": [0.5, 0.1, 0.1]},
        "error_rate=[0.5, 0.1, 0.1] is neither a share nor one share per class; pass "
        "a number between 0 and 1, or 2 of them.",
    ),
    (
        {"error_kind": "sometimes"},
        "error_kind='sometimes' is not known; pass 'uniform' or 'margin'.",
    ),
    (
        {"error_kind": "margin"},
        'error_kind="margin" needs to know which rows are hard and proba is None; '
        "pass the true posterior, or out-of-fold probabilities from "
        'cross_val_predict(..., method="predict_proba").',
    ),
    (
        {"proba": P[:3]},
        "proba has shape (3, 2), expected (10, 2); pass one column per class.",
    ),
    (
        {"strata": [0, 1]},
        "Found input variables with inconsistent numbers of samples: [10, 10, 2]",
    ),
    (
        {"y": Y[:3]},
        "Found input variables with inconsistent numbers of samples: [10, 3]",
    ),
    (
        {"y": np.zeros(10)},
        "y holds the classes [0.0], so that no answer can be wrong; pass rows of at "
        "least two classes.",
    ),
    (
        {"X": np.zeros((0, 2)), "y": []},
        "y holds the classes [], so that no answer can be wrong; pass rows of at "
        "least two classes.",
    ),
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
        "2 wrong rows were asked for and 0 of 10 are possible, because rows repeat; "
        "drop the repeats or change the error rate.",
    ),
]


@pytest.mark.parametrize(("params", "sentence"), ERRORS)
def test_impossible_parameters_raise_a_sentence(params, sentence):
    """A parameter out of range names itself, its value and what to do."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        NoisyTeacher(**{"X": X, "y": Y, **params})


def test_rows_outside_the_table_raise():
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
