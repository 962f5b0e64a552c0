"""What checks say of a teacher that knows nothing, or no more than the student."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from skadistill._statistics.checks import TeacherChecks
from skadistill.checking._weak import compare_with_students, warn_if_useless
from skadistill.exceptions import TeacherError, TeacherWarning

NAMES = np.array(["neg", "neu", "pos"], dtype=object)


def doubts(truth, answers, names=NAMES):
    """Return the warnings about a teacher with these answers."""
    truth, answers = np.asarray(truth), np.asarray(answers)
    checks = TeacherChecks(np.arange(len(truth)), np.eye(len(names))[answers], truth)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_if_useless(SimpleNamespace(display_name="the teacher"), checks, names)
    assert {warning.category for warning in told} <= {TeacherWarning}
    return [str(warning.message) for warning in told]


TRUTH = np.tile([0, 1, 2], 20)


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0], [2, 0, 1]])
def test_columns_in_another_order(order):
    """The message names the order in which the answers are right."""
    # The answer's column j means class order[j].
    answers = np.argsort(order)[TRUTH]
    (message,) = doubts(TRUTH, answers)
    meant = NAMES[order].tolist()
    assert f"would be on 60 if its columns were {meant}" in message
    assert f"as_teacher(teacher, classes={meant})" in message


@pytest.mark.parametrize(
    "answers",
    [np.zeros(60, int), np.full(60, 1), np.random.default_rng(0).permutation(TRUTH)],
    ids=["always neg", "always neu", "random"],
)
def test_teachers_that_know_nothing(answers):
    """A teacher no better than one constant answer is named."""
    (message,) = doubts(TRUTH, answers)
    assert re.search("always answering the largest class would be on 20", message)


def test_good_teachers_are_not_doubted():
    """Right ones, ones with some mistakes, and ones that find a rare class."""
    mistaken = TRUTH.copy()
    mistaken[:25] = (mistaken[:25] + 1) % 3
    rare = np.r_[np.zeros(57, int), 1, 1, 2]
    found = np.r_[np.zeros(50, int), np.ones(7, int), 1, 1, 2]
    assert doubts(TRUTH, TRUTH) == []
    assert doubts(TRUTH, mistaken) == []
    assert doubts(rare, found) == []


def test_few_rows_show_nothing():
    """Below twenty rows, chance alone does as much."""
    assert doubts(TRUTH[:18], np.zeros(18, int)) == []


class Said:
    """A teacher's answers and students' opinions on labeled rows, one bit each."""

    display_name = "it"
    is_fitted = False

    def __init__(self, teacher_right, student_right):
        n = len(teacher_right)
        self.rows, self.truth = np.arange(n), np.zeros(n, int)
        sides = np.eye(2)
        self.answers = sides[1 - np.asarray(teacher_right)]
        self.opinions = sides[1 - np.asarray(student_right)]

    def hold(self, on_weak="warn"):
        checks = TeacherChecks(self.rows, self.answers, self.truth)
        return compare_with_students(self, checks, self.opinions, on_weak)


def said(both, teacher, student, none):
    """Count rows on which both are right, one of them, and none."""
    right = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    right = np.repeat(right, [both, teacher, student, none], axis=0)
    return Said(*right.T)


@pytest.mark.parametrize(
    ("counts", "weak"),
    [
        ((20, 40, 0, 0), False),  # better by more than chance
        ((50, 6, 4, 0), True),  # better, perhaps by chance
        ((50, 5, 5, 0), True),
        ((50, 4, 7, 1), True),  # worse, but by less than a standard error
        ((50, 0, 2, 0), True),  # two rows are not worth a sentence
        ((60, 0, 0, 0), True),
        ((20, 5, 2, 2), False),  # 29 rows
    ],
)
def test_a_teacher_may_be_no_better_without_a_word(counts, weak):
    """Both students are compared after the fit if it may be so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert said(*counts).hold() is weak


@pytest.mark.parametrize(
    ("counts", "weak"), [((50, 6, 4, 0), False), ((50, 5, 5, 0), True)]
)
def test_a_called_teacher_is_weak_if_it_is_right_on_no_more_rows(counts, weak):
    """It is checked on hard rows, where a good one may be better by little."""
    held = said(*counts)
    held.is_fitted = True
    assert held.hold() is weak


@pytest.mark.parametrize("n_samples", [40, 200])
def test_a_teacher_that_is_no_worse_is_refused_by_chance_only(n_samples):
    """In 5 % of 1,000 cases, and told to look worse in 16 %; with three errors."""
    rng = np.random.default_rng(0)
    refused = told = 0
    for _ in range(1000):
        sides = [rng.random(n_samples) < 0.8 for _ in range(2)]
        held = Said(*(side.astype(int) for side in sides))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                held.hold("raise")
            except TeacherError:
                refused += 1
        told += bool(caught)
    assert refused / 1000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
    assert (told + refused) / 1000 <= 0.16 + 3 * np.sqrt(0.16 * 0.84 / 1000)


def test_the_sentence_gives_the_difference_with_its_interval():
    """Worse by six rows of 60 that 14 differ in: not beyond chance, and told."""
    with pytest.warns(TeacherWarning, match="10.0 points worse") as caught:
        assert said(40, 4, 10, 6).hold()
    (low, high), gap = (
        map(float, re.findall(r"interval (\S+) to (\S+)\)", str(caught[0].message))[0]),
        10.0,
    )
    assert low < 0 < gap < high < 30
    with pytest.warns(TeacherWarning, match="points worse"):
        said(40, 4, 10, 6).hold("raise")
    with pytest.raises(TeacherError, match="points worse"):
        said(40, 2, 12, 6).hold("raise")
