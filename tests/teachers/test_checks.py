"""Whatever a teacher answers is checked, mapped, or refused with a whole sentence."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skadistill.exceptions import (
    TeacherAnswerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.teachers import Answer, FunctionTeacher, NoLabel

X = np.zeros((3, 2))
GOOD = [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]


def saying(answer, **options):
    """Return a teacher who always answers the same."""

    def judge(X):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return FunctionTeacher(judge, **options)


def labels_of(answer, classes=("a", "b"), **options):
    """Return the labels that a teacher with this answer gives three rows."""
    return saying(answer, **options).ask(X, list(classes))


def with_entry(value, i=1, j=0):
    rows = [list(row) for row in GOOD]
    rows[i][j] = value
    return rows


FAULTS = {
    "raises": (
        RuntimeError("rate limit."),
        TeacherCallError,
        "the teacher 'judge' raised RuntimeError: rate limit, when asked about 3 rows; "
        "fix the teacher or its input and retry.",
    ),
    "none": (
        None,
        TeacherAnswerError,
        "the teacher 'judge' answered None; return probabilities of shape (n_samples, "
        "n_classes) or one label per row.",
    ),
    "empty": (
        [],
        TeacherAnswerError,
        "the teacher 'judge' answered 0 rows when asked about 3; return one row per "
        "row asked, in the same order.",
    ),
    "one row short": (
        GOOD[:2],
        TeacherAnswerError,
        "the teacher 'judge' answered 2 rows when asked about 3; return one row per "
        "row asked, in the same order.",
    ),
    "one row too many": (
        [*GOOD, [0.5, 0.5]],
        TeacherAnswerError,
        "the teacher 'judge' answered 4 rows when asked about 3; return one row per "
        "row asked, in the same order.",
    ),
    "one value": (
        0.5,
        TeacherAnswerError,
        "the teacher 'judge' answered a single value, 0.5, when asked "
        "about 3 rows; return one row of probabilities or one label per row.",
    ),
    "a text": (
        "b b a",
        TeacherAnswerError,
        "the teacher 'judge' answered 'b b a', of type str; return probabilities of "
        "shape (n_samples, n_classes) or one label per row.",
    ),
    "a dictionary": (
        {"a": 1},
        TeacherAnswerError,
        "the teacher 'judge' answered {'a': 1}, of type dict; return probabilities of "
        "shape (n_samples, n_classes) or one label per row.",
    ),
    "ragged": (
        [[0.5, 0.5], [1.0], [0.5, 0.5]],
        TeacherAnswerError,
        "the teacher 'judge' answered [1.0] for row 1, but probabilities of 2 classes "
        "were expected; return real numbers, or one label per row.",
    ),
    "one column too many": (
        np.full((3, 3), 1 / 3),
        TeacherAnswerError,
        "the teacher 'judge' answered 3 columns but has 2 classes ('a', 'b'); "
        "return one column per class, in that order, or, to learn a class that no "
        "labeled row has, pass classes=[...] to ActiveDistiller, with the name of "
        "every column in order.",
    ),
    "three dimensions": (
        np.full((3, 2, 1), 0.5),
        TeacherAnswerError,
        "the teacher 'judge' answered an array of shape (3, 2, 1); return one of "
        "shape (n_samples, n_classes).",
    ),
    "NaN": (
        with_entry(np.nan),
        TeacherAnswerError,
        "the teacher 'judge' answered nan for row 1 and class 'a'; return "
        "probabilities that are all a finite number.",
    ),
    "infinite": (
        with_entry(np.inf, 2, 1),
        TeacherAnswerError,
        "the teacher 'judge' answered inf for row 2 and class 'b'; return "
        "probabilities that are all a finite number.",
    ),
    "a hole": (
        with_entry(None),
        TeacherAnswerError,
        "the teacher 'judge' answered nan for row 1 and class 'a'; return "
        "probabilities that are all a finite number.",
    ),
    "negative": (
        [[0.5, 0.5], [1.25, -0.25], [0.5, 0.5]],
        TeacherAnswerError,
        "the teacher 'judge' answered -0.25 for row 1 and class 'b'; return "
        "probabilities that are all not negative (apply a softmax to scores).",
    ),
    "sum": (
        [[0.5, 0.5], [0.5, 0.5], [0.5, 0.502]],
        TeacherAnswerError,
        "the teacher 'judge' answered probabilities for row 2 that sum to 1.002; "
        "return rows that sum to 1 (apply a softmax to scores, or divide by the sum).",
    ),
    "texts for numbers": (
        [["0.5", "0.5"]] * 3,
        TeacherAnswerError,
        "the teacher 'judge' answered ['0.5', '0.5'] for row 0, but probabilities of 2 "
        "classes were expected; return real numbers, or one label per row.",
    ),
    "texts among numbers": (
        np.array(with_entry("0.5"), dtype=object),
        TeacherAnswerError,
        "the teacher 'judge' answered ['0.5', 0.0] for row 1, but probabilities of 2 "
        "classes were expected; return real numbers, or one label per row.",
    ),
    "complex": (
        np.array(GOOD) + 0j,
        TeacherAnswerError,
        "the teacher 'judge' answered [(0.25+0j), (0.75+0j)] for row 0, but "
        "probabilities of 2 classes were expected; return real numbers, or one label "
        "per row.",
    ),
    "unknown label": (
        ["a", "c", "b"],
        TeacherAnswerError,
        "the teacher 'judge' answered the unknown label 'c' for row 1, the classes "
        "being 'a', 'b'; return one of the classes; if it is a class to learn, pass "
        'classes=[...] with all names to ActiveDistiller, or pass on_invalid="skip" '
        "to leave such rows without a label.",
    ),
    "a refusal among numbers": (
        [0, "I cannot say", 1],
        TeacherAnswerError,
        "the teacher 'judge' answered the unknown label 0 for row 0, the classes "
        "being 'a', 'b'; return one of the classes; if it is a class to learn, pass "
        'classes=[...] with all names to ActiveDistiller, or pass on_invalid="skip" '
        "to leave such rows without a label.",
    ),
    "one probability per row": (
        [0.25, 1.0, 0.5],
        TeacherAnswerError,
        "the teacher 'judge' answered the unknown label 0.25 for row 0, the classes "
        "being 'a', 'b'; return one of the classes, or, if this is the probability "
        "of the second class, both columns.",
    ),
}


def without_advice(error):
    """Return a message without the sentences on what was recorded."""
    return str(error).partition(" Rows without a usable answer: 1.")[0]


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named(fault):
    """Each fault has its class and its whole sentence."""
    answer, error, message = FAULTS[fault]
    with pytest.raises(error) as caught:
        saying(answer).ask(X, ["a", "b"])
    assert type(caught.value) is error
    assert without_advice(caught.value) == message


def test_the_cause_of_a_fault_is_chained():
    """What the teacher raised can be read from the error."""
    cause = OSError("connection reset")
    with pytest.raises(TeacherCallError) as caught:
        saying(cause).ask(X, ["a", "b"])
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("answer", [pd.DataFrame(GOOD), pd.Series(list("aba"))])
def test_rows_in_another_order_are_noticed(answer):
    """Where an index shows it; a new index, or none, is taken at its word."""
    asked = pd.DataFrame(X, index=[2, 0, 1])
    answer.index = [2, 0, 1]
    good = saying(answer).ask(asked, ["a", "b"])
    assert (saying(answer.reset_index(drop=True)).ask(asked, ["a", "b"]) == good).all()
    assert (saying(answer).ask(X, ["a", "b"]) == good).all()
    with pytest.raises(TeacherAnswerError) as caught:
        saying(answer.sort_index()).ask(asked, ["a", "b"])
    assert str(caught.value) == (
        "the teacher 'judge' answered the rows in another order than asked, the index "
        "being 0, 1, 2 where 2, 0, 1 was asked; return them in the order asked, or "
        "without an index."
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through(stop):
    """An interrupt inside the teacher is an interrupt outside."""
    with pytest.raises(stop):
        saying(stop()).ask(X, ["a", "b"])


def test_row_numbers_are_the_callers():
    """A message names the row as the caller numbers it."""
    with pytest.raises(TeacherAnswerError, match="for row 42 and class 'a'"):
        saying(with_entry(np.nan)).ask(X, ["a", "b"], row_numbers=[7, 42, 9])


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        np.asarray,
        lambda a: np.asarray(a, dtype=object),
        np.float32,
        torch.tensor,
        lambda a: torch.tensor(a, requires_grad=True),
        lambda a: torch.tensor(a, dtype=torch.bfloat16),
        pd.DataFrame,
        lambda a: pl.DataFrame(np.array(a)),
        sparse.csr_array,
        lambda a: pd.DataFrame(a, columns=["a", "b"]),
        lambda a: pd.DataFrame(np.array(a)[:, ::-1], columns=["b", "a"]),
        lambda a: pl.DataFrame(np.array(a)[:, ::-1], schema=["b", "a"]),
    ],
)
def test_answers_in_any_container(wrap):
    """Lists, arrays, tensors, frames and sparse matrices say the same thing."""
    labels = saying(wrap(GOOD)).ask(X, np.array(["a", "b"]))
    assert labels.dtype == np.float64
    np.testing.assert_array_equal(labels, GOOD)


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        np.asarray,
        pd.Series,
        pl.Series,
        lambda a: np.array(a, dtype=object)[:, None],
    ],
)
def test_hard_answers_in_any_container(wrap):
    """A label per row is a one-hot row, (n,) or (n, 1)."""
    labels = saying(wrap(["b", "a", "b"])).ask(X, ["a", "b"])
    np.testing.assert_array_equal(labels, [[0, 1], [1, 0], [0, 1]])


def test_numeric_labels_are_compared_by_value():
    """Labels 0.0 and 1.0, as a tensor of integers or floats, are classes 0 and 1."""
    for dtype in (torch.int64, torch.float32):
        labels = saying(torch.tensor([1, 0, 1], dtype=dtype)).ask(X, [0, 1])
        np.testing.assert_array_equal(labels, [[0, 1], [1, 0], [0, 1]])


def test_frame_columns_named_by_number():
    """A polars frame can only name columns by text; "1" then means the class 1."""
    table = pl.DataFrame(np.array(GOOD)[:, ::-1], schema=["1", "0"])
    np.testing.assert_array_equal(saying(table).ask(X, [0, 1]), GOOD)
    unnamed = pl.DataFrame(np.array(GOOD))
    np.testing.assert_array_equal(saying(unnamed).ask(X, [0, 1]), GOOD)


def test_columns_that_nobody_named_go_by_position():
    """Pandas' own 0, 1 are not taken for the classes 1 and 2."""
    labels = saying(pd.DataFrame(GOOD)).ask(X, [1, 2])
    np.testing.assert_array_equal(labels, GOOD)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 6))
def test_the_teachers_order_of_columns_does_not_show(seed, n_classes):
    """Permuting a teacher's classes and columns together changes no bit."""
    rng = np.random.default_rng(seed)
    classes = [f"class {i}" for i in range(n_classes)]
    proba = rng.dirichlet(np.full(n_classes, 0.3), size=3).astype(np.float32)
    order = rng.permutation(n_classes)
    plain = saying(proba, classes=classes).ask(X, classes)
    mixed = saying(proba[:, order], classes=[classes[i] for i in order]).ask(X, classes)
    np.testing.assert_array_equal(mixed, plain)
    np.testing.assert_allclose(plain.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(plain, proba, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_hard_labels_and_one_hot_rows_agree(seed):
    """A hard teacher is a one-hot teacher, missing classes and all."""
    rng = np.random.default_rng(seed)
    classes = ["x", "y", "z"]
    positions = rng.integers(0, 3, size=3)
    hard = saying([classes[i] for i in positions], classes=classes)
    soft = saying(np.eye(3)[positions], classes=classes)
    np.testing.assert_array_equal(hard.ask(X, classes), soft.ask(X, classes))


def test_missing_classes_are_named_before_the_call():
    """A teacher who lacks a class is refused without being asked."""
    teacher = saying(RuntimeError("was asked"), classes=["a", "b"])
    with pytest.raises(TeacherAnswerError) as caught:
        teacher.ask(X, ["a", "b", "c", "d"])
    assert str(caught.value) == (
        "the teacher 'judge' does not know the classes 'c', 'd' of the labeled rows, "
        "its own classes being 'a', 'b'; use a teacher that knows those classes, or "
        "wrap it in as_teacher(teacher, allow_missing_classes=True) to give them "
        "probability 0."
    )


@pytest.mark.parametrize(
    ("own", "asked", "found"),
    [
        (["Spam", "ham"], ["ham", "spam"], "'Spam' instead of 'spam'"),
        (["not spam", "spam"], ["notspam", "spam"], "'not spam' instead of 'notspam'"),
        (["0", "1"], [0, 1], "'0' instead of 0"),
    ],
)
def test_a_class_of_almost_the_same_name_is_suggested(own, asked, found):
    """Case, blanks and numbers written as strings are the usual mistakes."""
    with pytest.raises(TeacherAnswerError, match=re.escape(f"(did you mean {found}?)")):
        saying(RuntimeError("was asked"), classes=own).ask(X, asked)


def test_a_frame_is_read_by_its_column_names():
    """Also if the teacher's classes are declared in another order."""
    answer = pd.DataFrame(GOOD, columns=["a", "b"])
    np.testing.assert_allclose(
        saying(answer, classes=["b", "a"]).ask(X, ["a", "b"]), GOOD, rtol=1e-15
    )


def test_missing_classes_get_probability_zero_when_allowed():
    """The columns of the classes it lacks are 0, the others untouched."""
    teacher = saying(GOOD, classes=["c", "a"], allow_missing_classes=True)
    np.testing.assert_array_equal(
        teacher.ask(X, ["a", "b", "c"]),
        np.column_stack([np.array(GOOD)[:, 1], np.zeros(3), np.array(GOOD)[:, 0]]),
    )
    hard = saying(["c", "a", "c"], classes=["c", "a"], allow_missing_classes=True)
    np.testing.assert_array_equal(
        hard.ask(X, ["a", "b", "c"]), [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    )


def test_extra_classes_are_named():
    """A teacher who knows more classes than the labeled rows is refused."""
    teacher = saying(RuntimeError("was asked"), classes=["a", "b", "z"])
    with pytest.raises(TeacherAnswerError) as caught:
        teacher.ask(X, ["a", "b"])
    assert str(caught.value) == (
        "the teacher 'judge' knows the class 'z', which no labeled row has (the "
        "classes asked for are 'a', 'b'); to learn it, pass classes=[...] with all "
        "names to ActiveDistiller, or wrap the teacher in as_teacher(teacher, "
        "allow_extra_classes=True) to drop its share and renormalize."
    )


def test_extra_classes_are_dropped_when_allowed():
    """Their share goes, the rest is renormalized."""
    table = [[0.5, 0.25, 0.25], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]
    teacher = saying(table, classes=["a", "z", "b"], allow_extra_classes=True)
    np.testing.assert_allclose(
        teacher.ask(X, ["a", "b"]), [[2 / 3, 1 / 3], [0, 1], [1, 0]], rtol=1e-15
    )


@pytest.mark.parametrize("answer", [[[0.5, 0.5, 0], [0, 0, 1], [1, 0, 0]], list("azb")])
def test_a_row_wholly_in_an_extra_class_is_refused(answer):
    """A row of which nothing is left has no label to give."""
    teacher = saying(answer, classes=["a", "b", "z"], allow_extra_classes=True)
    with pytest.raises(TeacherAnswerError) as caught:
        teacher.ask(X, ["a", "b"])
    assert without_advice(caught.value) == (
        "the teacher 'judge' gave all of row 1 to the class 'z', which no labeled row "
        "has, so that nothing is left of it; label rows of this class or leave the "
        "row out of the pool."
    )


def test_a_class_named_twice_is_refused():
    """Two columns of one class are a mistake, not a sum."""
    with pytest.raises(TeacherAnswerError) as caught:
        saying(GOOD, classes=["a", "a"]).ask(X, ["a", "b"])
    assert str(caught.value) == (
        "the teacher 'judge' names a class twice, its classes being 'a', 'a'; give "
        "every column a different class."
    )


def test_frame_columns_are_classes_too():
    """A frame that names a class the labeled rows lack is refused."""
    with pytest.raises(TeacherAnswerError, match="knows the class 'z'"):
        saying(pd.DataFrame(GOOD, columns=["a", "z"]), allow_missing_classes=True).ask(
            X, ["a", "b"]
        )


def test_rows_within_tolerance_are_made_exact():
    """A row that sums to 0.9995 is accepted and sums to 1 afterward."""
    labels = saying([[0.4995, 0.5]] * 3).ask(X, ["a", "b"])
    np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=0, atol=3e-16)
    np.testing.assert_allclose(labels[0], [0.4995 / 0.9995, 0.5 / 0.9995], rtol=1e-15)


def test_nothing_to_ask_is_no_call():
    """Zero rows are answered without the teacher."""
    labels = saying(RuntimeError("was asked")).ask(X[:0], ["a", "b"])
    assert labels.shape == (0, 2)


def test_a_long_list_of_classes_is_cut():
    """A message about a hundred classes stays readable."""
    with pytest.raises(TeacherAnswerError) as caught:
        saying([500, 1, 2]).ask(X, list(range(100)))
    assert "9, 10, 11, ... (100 in all); return" in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        ["b", None, "a"],
        ["b", np.nan, "a"],
        ["b", NoLabel("refused"), "a"],
        ["b", pd.NA, "a"],
        np.array(["b", None, "a"], dtype=object),
        pd.Series(["b", None, "a"]),
        pl.Series(["b", None, "a"]),
        pd.Series(pd.array(["b", pd.NA, "a"], dtype="string")),
        [["b"], None, ["a"]],
        [[0.0, 1.0], None, [1.0, 0.0]],
        [[0.0, 1.0], NoLabel(), np.array([1.0, 0.0])],
        [[0.0, 1.0], [None, None], [1.0, 0.0]],
        np.array([[0.0, 1.0], [np.nan, np.nan], [1.0, 0.0]]),
        torch.tensor([[0.0, 1.0], [np.nan, np.nan], [1.0, 0.0]]),
        pd.DataFrame({"b": [1.0, None, 0.0], "a": [0.0, None, 1.0]}),
    ],
)
def test_an_answer_may_be_no_label(answer):
    """None, NaN or `NoLabel` in place of a label or of a row of probabilities."""
    np.testing.assert_array_equal(
        labels_of(answer), [[0.0, 1.0], [np.nan, np.nan], [1.0, 0.0]]
    )


def test_nan_is_no_label_among_numbers():
    """A float array of labels says so with NaN; columns it lacks stay NaN, too."""
    labels = labels_of(np.array([1.0, np.nan, 0.0]), classes=[0, 1])
    np.testing.assert_array_equal(labels, [[0, 1], [np.nan] * 2, [1, 0]])
    answer = [[1.0, 0.0], None, [0.0, 1.0]]
    teacher = saying(answer, classes=["a", "c"], allow_missing_classes=True)
    labels = teacher.ask(X, ["a", "b", "c"])
    np.testing.assert_array_equal(labels, [[1, 0, 0], [np.nan] * 3, [0, 0, 1]])


@pytest.mark.parametrize(
    "answer",
    [
        ["a", "no idea", "b"],
        [[1.0, 0.0], [0.7, 0.7], [0.0, 1.0]],
        [[1.0, 0.0], [0.2, 0.3, 0.5], [0.0, 1.0]],
        [[1.0, 0.0], "b", [0.0, 1.0]],
        np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 1.0]]),
        [[1.0, 0.0], ["0.5", "0.5"], [0.0, 1.0]],
    ],
)
def test_unusable_answers_can_be_skipped(answer):
    """With `on_invalid="skip"` they are no label; otherwise they raise."""
    skipped = labels_of(answer, on_invalid="skip")
    np.testing.assert_array_equal(skipped, [[1.0, 0.0], [np.nan, np.nan], [0.0, 1.0]])
    with pytest.raises(TeacherError, match="for row 1"):
        labels_of(answer)


@pytest.mark.parametrize("answer", [GOOD[:2], np.full((3, 3), 1 / 3), "a b b"])
def test_answers_of_another_shape_are_never_skipped(answer):
    """Which rows they are about cannot be known."""
    with pytest.raises(TeacherAnswerError):
        labels_of(answer, on_invalid="skip")


@pytest.mark.parametrize(
    "text",
    [
        " Spam\n",
        "**spam**",
        "`SPAM`",
        '"spam".',
        "spam.",
        "\u201cspam\u201d",
        "*Spam.*",
    ],
)
def test_label_texts_are_matched_without_decoration(text):
    """Blanks, case, quotes, markdown and a final period do not matter."""
    labels = labels_of([text, "ham", "ham"], classes=["ham", "spam"])
    np.testing.assert_array_equal(labels, [[0, 1], [1, 0], [1, 0]])


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("SPAM", ["Spam", "spam"]),  # two classes could be meant
        ("spam!", ["ham", "spam"]),
        ("it is spam", ["ham", "spam"]),
        ("1", [0, 1]),  # the classes are numbers
        ("**", ["*", "spam"]),
    ],
)
def test_ambiguous_label_texts_are_refused(text, classes):
    """A text that could mean two classes, or none, is unknown."""
    with pytest.raises(TeacherAnswerError, match="unknown label"):
        labels_of([classes[0], text, classes[1]], classes=classes)
    exact = labels_of([classes[1]] * 3, classes=classes)
    np.testing.assert_array_equal(exact, [[0, 1]] * 3)


def test_usable_answers_of_a_call_are_yielded_before_the_fault():
    """An unusable answer among usable ones is kept as no label; the call is paid."""
    teacher = saying(["a", "?", "b"], cost_per_row=0.5)
    parts = teacher.ask_parts(X, ["a", "b"], row_numbers=[7, 8, 9])
    part = next(parts)
    np.testing.assert_array_equal(part.labels, [[1, 0], [np.nan, np.nan], [0, 1]])
    assert part.cost == 1.5
    with pytest.raises(TeacherAnswerError, match="row 8") as caught:
        next(parts)
    assert caught.value.cost == 0.0


@pytest.mark.parametrize("cost", ["0.1", np.nan, -0.1, True, [0.1]])
def test_a_cost_that_is_no_amount_keeps_the_labels(cost):
    """It raises once the labels, at the price per row, are out."""
    parts = saying(Answer(GOOD, cost=cost), cost_per_row=0.5).ask_parts(X, ["a", "b"])
    assert next(parts).cost == 1.5
    with pytest.raises(TeacherError, match=r"Answer.cost of the teacher 'judge' is"):
        next(parts)


@pytest.mark.parametrize("cost", [np.float32(0.5), np.int64(2), Decimal("0.25"), 3])
def test_a_cost_is_a_float(cost):
    """NumPy scalars, decimals and integers become floats at one place."""
    [part] = saying(Answer(GOOD, cost=cost)).ask_parts(X, ["a", "b"])
    assert type(part.cost) is float
    assert part.cost == float(cost)
