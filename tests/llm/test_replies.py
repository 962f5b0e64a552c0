"""Replies of language models become classes and distributions."""

import math

import numpy as np
import pytest

from skadistill.llm._replies import ClassReader, clean

SENTIMENT = ["negative", "positive"]


def tokens(*places):
    """Make the log-probabilities of a reply; the first token of a place was said."""
    return [
        {
            "token": place[0][0],
            "logprob": math.log(place[0][1]),
            "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in place],
        }
        for place in places
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("spam", "Spam", " SPAM\n", "**spam**", '"spam"', "spam.", "`spam`", "spam!"),
        *("«spam»".strip("«»"), "“spam”", "Spam\n\n", "Label: spam", "It is spam."),
        *('{"label": "spam"}', '```json\n{"label": "Spam"}\n```', "(spam)"),
        "Sure! I would say this message is spam, since it offers a prize.",
    ],
)
def test_a_class_is_found_in_what_models_write(text):
    """Blanks, case, quotes, markdown, JSON and sentences around the name."""
    assert ClassReader(["ham", "spam"]).position(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "I cannot tell.", "spam or ham", "This is not spam.", "spammer"),
        *('{"label": "eggs"}', '{"a": "spam", "b": "ham"}', "eggs"),
    ],
)
def test_no_class_is_guessed(text):
    """Nothing, two classes, a negated one, or a longer word: no label."""
    assert ClassReader(["ham", "spam"]).position(text) is None


def test_longer_names_win_over_the_names_inside_them():
    """A class whose name contains another's is not mistaken for it."""
    reader = ClassReader(["card", "lost card", "card not working"])
    assert reader.position("The class is lost card") == 1
    assert reader.position("Card not working") == 2
    assert reader.position("card") == 0


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("2", 1),
        ("2.", 1),
        ("2. spam", 1),
        ("2 - Spam", 1),
        ("spam", 1),
        ("2. ham", None),
    ],
)
def test_numbers_are_read_where_the_prompt_numbers_the_classes(text, position):
    """A number and a name that contradict each other are no label."""
    assert ClassReader(["ham", "spam"], numbered=True).position(text) == position
    if text == "2":
        assert ClassReader(["ham", "spam"]).position(text) is None


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("I would say this is **2**.", 1),
        ("The answer is 1", 0),
        ("Between 1 and 2", None),
        ("It is not 2.", None),
        ("It costs 2.50", None),
        ("7 of them", None),
    ],
)
def test_the_only_number_in_a_sentence_is_the_answer(text, position):
    """Unless it is negated, a part of another number, or no class."""
    assert ClassReader(["ham", "spam"], numbered=True).position(text) == position
    assert ClassReader(["ham", "spam"]).position(text) is None


def test_classes_that_are_numbers_are_read_by_value():
    """With classes 2 and 1, the answer 1 is the class 1, not the first class."""
    assert ClassReader([2, 1]).position("1") == 1


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ([("positive", 0.9), ("negative", 0.1)], [0.1, 0.9]),
        (
            [("positive", 0.90), ("negative", 0.07), ("neutral", 0.03)],
            [7 / 97, 90 / 97],
        ),
        ([("Positive", 0.6), ("positive", 0.3), ("negative", 0.1)], [0.1, 0.9]),
        ([(" positive", 0.9), (" negative", 0.1)], [0.1, 0.9]),
        ([("pos", 0.8), ("neg", 0.2)], [0.2, 0.8]),
        ([("positive", 0.98)], [0.02, 0.98]),
        ([("positive", 0.9), ("pos", 0.05)], [0.05, 0.95]),
        ([("**", 0.0001), ("positive", 0.7), ("negative", 0.3)], [0.3, 0.7]),
    ],
)
def test_tokens_that_begin_a_class_are_added_up(top, expected):
    """Case, blanks, prefixes, foreign tokens and classes that are not reported."""
    proba = ClassReader(SENTIMENT).distribution(top[0][0], tokens(top))
    # A first token that holds no letter is not where the answer begins.
    if top[0][0] == "**":
        assert proba is None
        return
    np.testing.assert_allclose(proba, expected, atol=1e-12)


def test_a_prefix_of_two_classes_is_split_by_what_follows():
    """The joint probability of the tokens said; the rest evenly."""
    reader = ClassReader(["card lost", "card stolen", "other"])
    said = tokens([("card", 0.8), ("other", 0.2)], [(" lost", 0.75), (" stolen", 0.25)])
    np.testing.assert_allclose(
        reader.distribution("card lost", said), [0.6, 0.2, 0.2], atol=1e-12
    )
    unsaid = tokens([("other", 0.6), ("card", 0.4)])
    np.testing.assert_allclose(
        reader.distribution("other", unsaid), [0.2, 0.2, 0.6], atol=1e-12
    )


def test_the_answer_inside_json_is_found():
    """Its tokens come after those of the braces and the key."""
    said = tokens(
        *([(t, 1.0)] for t in ('{"', "label", '":', ' "')),
        [("pos", 0.7), ("neg", 0.3)],
        [("itive", 1.0)],
        [('"}', 1.0)],
    )
    text = '{"label": "positive"}'
    np.testing.assert_allclose(
        ClassReader(SENTIMENT).distribution(text, said), [0.3, 0.7], atol=1e-12
    )


def test_a_reply_about_something_else_has_no_distribution():
    """Where the classes have less than half, the text is the better answer."""
    top = [("Sure", 0.9), ("positive", 0.1)]
    assert ClassReader(SENTIMENT).distribution("Sure, positive", tokens(top)) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"token": "positive"},
        {"token": "positive", "logprob": -0.1, "top_logprobs": None},
    ],
)
def test_missing_fields_do_not_raise(entry):
    """Endpoints leave out what they do not have."""
    proba = ClassReader(SENTIMENT).distribution("positive", [entry])
    assert proba is None or proba.argmax() == 1


def test_distributions_are_distributions(rng):
    """Whatever the tokens, a row is finite, non-negative and sums to 1."""
    words = ["positive", "neg", "Pos", " p", "x", "negatively", "n", "", "**"]
    reader = ClassReader(SENTIMENT)
    n_found = 0
    for _ in range(300):
        chosen = rng.permutation(words)[:5]
        p = rng.dirichlet(np.ones(6))[:5]
        said = tokens(list(zip(chosen.tolist(), p.tolist(), strict=True)))
        proba = reader.distribution(chosen[0], said)
        if proba is not None:
            n_found += 1
            assert np.isfinite(proba).all()
            assert (proba >= 0).all()
            assert proba.sum() == pytest.approx(1)
    assert n_found > 30


@pytest.mark.parametrize(
    ("text", "cleaned"), [("\t*A  b*.", "a b"), ("", ""), ("'x'", "x")]
)
def test_clean_strips_what_is_around_an_answer(text, cleaned):
    assert clean(text) == cleaned
