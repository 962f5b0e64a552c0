"""Replies of language models become classes and distributions."""

import math

import numpy as np
import pytest

from skadistill.llm._replies import ClassReader, clean, without_thoughts

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
        ("2 is wrong", None),
        ("2 or 1", None),
        ("2, not 1", 1),
        ("2. ham, I think", None),
        ("2) spam: it offers a prize", 1),
        ("2\n\nIt mentions 1 prize.", 1),
    ],
)
def test_the_only_number_in_a_sentence_is_the_answer(text, position):
    """Unless it is negated, a part of another number, or no class."""
    assert ClassReader(["ham", "spam"], numbered=True).position(text) == position
    if "am" not in text:
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
    proba = ClassReader(SENTIMENT).read(top[0][0], tokens(top))
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
        reader.read("card lost", said), [0.6, 0.2, 0.2], atol=1e-12
    )
    unsaid = tokens([("other", 0.6), ("card", 0.4)])
    np.testing.assert_allclose(
        reader.read("other", unsaid), [0.2, 0.2, 0.6], atol=1e-12
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
        ClassReader(SENTIMENT).read(text, said), [0.3, 0.7], atol=1e-12
    )


def test_a_place_that_is_about_something_else_has_no_distribution():
    """Where the classes have less than half, the text alone is the label."""
    top = [("Sure", 0.9), ("positive", 0.1)]
    proba = ClassReader(SENTIMENT).read("Sure, positive", tokens(top))
    assert proba.tolist() == [0, 1]
    said = [
        [("Sure", 1.0)],
        [(",", 1.0)],
        [(" p", 0.6), ("n", 0.3)],
        [("ositive", 1.0)],
    ]
    proba = ClassReader(SENTIMENT).read("Sure, positive", tokens(*said))
    np.testing.assert_allclose(proba, [1 / 3, 2 / 3])


FLIGHTS = ["flight", "flight_time", "flight_no", "airfare"]


@pytest.mark.parametrize(
    ("text", "places", "expected"),
    [
        (
            "flight_time",
            [
                [("flight", 0.9), ("air", 0.1)],
                [("_time", 0.8), ("_no", 0.1), ("", 0.1)],
            ],
            [0.09, 0.72, 0.09, 0.1],
        ),
        (  # the end of the reply may be listed as an empty token, by a name, or not
            "flight",
            [[("flight", 0.9), ("air", 0.1)], [("", 0.8), ("_no", 0.2)]],
            [0.72, 0.0, 0.18, 0.1],
        ),
        (
            "flight",
            [[("flight", 0.9), ("air", 0.1)], [("<eos>", 0.5), ("_no", 0.5)]],
            [0.45, 0.0, 0.45, 0.1],
        ),
        ("flight", [[("flight", 0.9), ("air", 0.1)]], [0.9, 0.0, 0.0, 0.1]),
        (
            "Flight Time.",
            [[("Flight", 1.0)], [(" Time", 0.7), (" No", 0.3)], [(".", 1.0)]],
            [0.0, 0.7, 0.3, 0.0],
        ),
    ],
)
def test_a_name_that_begins_others_does_not_end_the_search(text, places, expected):
    """The tokens that follow decide; without any, the text does."""
    proba = ClassReader(FLIGHTS).read(text, tokens(*places))
    np.testing.assert_allclose(proba, expected, atol=1e-12)


@pytest.mark.parametrize("k", range(20))
def test_numbers_whose_digits_are_tokens_of_their_own(k):
    """Qwen, Gemma, Mistral and Llama 2: each of 20 numbers is its class."""
    reader, number = (
        ClassReader([f"kind {chr(97 + i)}" for i in range(20)], True),
        k + 1,
    )
    digits = [[(digit, 0.9), (str(9 - int(digit)), 0.1)] for digit in str(number)]
    proba = reader.read(str(number), tokens(*digits, [("", 0.7), ("0", 0.3)]))
    assert proba.argmax() == k
    expected = {0: 0.63, 4: 0.9, 9: 0.81, 11: 0.81, 19: 0.9}
    if k in expected:
        assert proba[k] == pytest.approx(expected[k])
    # A tokenizer with numbers of two digits means 1 when it says 1.
    proba = reader.read("2", tokens([("2", 0.6), ("1", 0.3), ("12", 0.1)]))
    assert proba[[0, 1, 11]] == pytest.approx([0.3, 0.6, 0.1])


@pytest.mark.parametrize(
    ("text", "places", "expected"),
    [
        # Another token may be the likelier one where the name stands (a temperature).
        ("ham", [[("ham", 0.3), ("spam", 0.7)]], [0.65, 0.35]),
        # vLLM and SGLang list the tokens of hidden thoughts, too.
        (
            "spam",
            [
                *([("ham", 1.0)], [("?", 1.0)], [("</think>", 1.0)]),
                *([("spam", 0.8), ("ham", 0.2)], [("<|im_end|>", 1.0)]),
            ],
            [0.2, 0.8],
        ),
        ("spam", [[("ham", 0.9)], [("?", 1.0)], [("</think>", 1.0)]], [0, 1]),
        # A sentence begins like a class; its tokens are not those of the class.
        ("Had I to say: spam", [[("Had", 0.9)], [(" I", 1.0)]], [0, 1]),
        (
            "I say spam",
            [[("I", 1)], [(" say", 1)], [(" spam", 0.6), (" ham", 0.4)]],
            [0.4, 0.6],
        ),
        # Probabilities instead of their logarithms say nothing.
        ("spam", [[("spam", math.exp(0.2)), ("ham", math.exp(0.8))]], [0, 1]),
        ("spam", [[("ham", 0.9), ("spam", 0.1)]], [0, 1]),
    ],
)
def test_the_text_wins_over_the_tokens(text, places, expected):
    """By the tokens at which the name stands; halfway if these prefer another."""
    proba = ClassReader(["ham", "spam"]).read(text, tokens(*places))
    np.testing.assert_allclose(proba, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("classes", "text", "position"),
    [
        (["gêne", "été"], "e\u0301te\u0301", 1),
        (["e\u0301te\u0301", "gêne"], "C'est l'été.", 0),
        (["spam", "ham"], "\uff53\uff50\uff41\uff4d", 0),
        (["\uff53\uff50\uff41\uff4d", "ham"], "It is spam", 0),
        (["垃圾邮件", "正常"], "这是垃圾邮件。", 0),
        (["垃圾邮件", "正常"], "这不是垃圾邮件。", None),
        (["相关", "不相关"], "这条消息不相关", 1),
        (["スパム", "通常"], "これはスパムです", 0),
        (["スパム", "通常"], "これはスパムではありません", None),
        (["スパム", "通常"], "スパムメール", None),
        (["스팸", "정상"], "이것은 스팸입니다", 0),
        (["스팸", "정상"], "스팸이 아닙니다", None),
        (["สแปม", "ปกติ"], "นี่คือสแปม", 0),
        (["C", "Java"], "C++", None),
        (["C", "C++", "C#"], "It is written in C++.", 1),
        (["C", "C++", "C#"], "c#", 2),
        (["A", "B"], "A+", None),
        (["A", "B"], "A-", None),
        (["spam", "ham"], "non-spam", None),
        (["spam", "ham"], "spam-free", None),
        (["spam", "ham"], "2-spam", 0),
        (["flight", "flight_no"], "flight no", 1),
        (["flight", "flight_no"], "Flight-No", 1),
        ([0, 1], "-1", None),
        ([-1, 1], "-1", 0),
        ([-1, 1], "The label is -1.", 0),
        ([5, 1], "0.5", None),
        ([1, 2, 3, 4, 5], "4/5", None),
        (["yes", "no"], "No, it does not.", 1),
        (["yes", "no"], "Yes.", 0),
        (["👍", "👎"], "👍\ufe0f", 0),
    ],
)
def test_names_are_words_in_any_script(classes, text, position):
    """Composed or not, of any width, with or without blanks; no part of others."""
    assert ClassReader(classes).position(text) == position


@pytest.mark.parametrize(
    "text",
    [
        "The message does not, as far as I can tell, look anything like spam",
        *("It isn't spam", "It isn\u2019t spam", "It cannot be spam.", "Spam? No."),
        *(
            "Unlikely to be spam",
            "spam is unlikely",
            "spam can be ruled out",
            "spam: no",
        ),
        *(
            "anything but spam",
            "Das ist kein Spam",
            "Ce n'est pas du spam",
            "ham or spam",
        ),
        *("Is it spam?", '{"spam": false}', "neither ham nor spam", "I'm sorry, spam"),
        *("spam\n\nWait, it is ham.", "spam\nham", "Whether this is spam is unclear"),
    ],
)
def test_a_denied_class_is_not_the_label(text):
    """Wherever the negation stands in the sentence; nor a question or a retraction."""
    assert ClassReader(["ham", "spam"]).position(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "No, it is spam.",
            "Not ham. Spam.",
            "spam, not ham",
            "I have no doubt: spam",
        ),
        *("spam\n\nIt has nothing of ham.", "Spam. It looks less like ham.", "- spam"),
        *(
            '{"label": "spam", "why": "not ham"}',
            '{"label": ["spam"]}',
            "\\boxed{spam}",
        ),
        *('Sure:\n```json\n{"label": "spam", "confidence": 90}\n```', '{"x": "spam"}'),
        *(
            "<answer>spam</answer>",
            "【spam】",
            "「spam」。",
            '{"spam": true, "ham": false}',
        ),
    ],
)
def test_what_else_is_said_does_not_hide_the_class(text):
    """Another sentence, another class that is denied, an explanation, JSON, tags."""
    assert ClassReader(["ham", "spam"]).position(text) == 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>ham?</think>spam", "spam"),
        ("It may be ham.\n</think>\n\nspam", "spam"),
        ("<think>a</think><think>b</think>spam", "spam"),
        ("[THINK]ham[/THINK]spam", "spam"),
        ("\u25c1think\u25b7ham\u25c1/think\u25b7spam", "spam"),
        ("<|channel|>analysis<|message|>ham<|channel|>final<|message|>spam", "spam"),
        ("<think>It is clearly ham", ""),
        ("spam", "spam"),
    ],
)
def test_thoughts_are_not_the_answer(text, answer):
    """Also without their beginning; one that was cut holds no answer."""
    assert without_thoughts(text).strip() == answer


@pytest.mark.parametrize(
    ("text", "position"),
    [("flight", None), ("flight_no", 2), ('{"label": "flight', None), ("airfare", 3)],
)
def test_a_cut_reply_may_have_meant_a_longer_name(text, position):
    """The class is read only if no other one begins like it."""
    assert ClassReader(FLIGHTS).position(text, cut=True) == position


def test_the_first_letters_of_a_class_need_their_tokens():
    """A reply cut after one token; not one that begins a sentence."""
    cut = tokens([("flight", 0.9), ("air", 0.1)])
    proba = ClassReader(FLIGHTS).read("flight", cut, cut=True)
    np.testing.assert_allclose(proba, [0.3, 0.3, 0.3, 0.1])
    assert ClassReader(FLIGHTS).read("air", cut=True) is None
    reader = ClassReader(["theft", "insurance"])
    for word in ("The", "In", "I"):
        assert reader.read(word, tokens([(word, 0.9)]), cut=True) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"token": "positive"},
        {"token": "positive", "logprob": -0.1, "top_logprobs": None},
    ],
)
def test_missing_fields_do_not_raise(entry):
    """Endpoints leave out what they do not have."""
    proba = ClassReader(SENTIMENT).read("positive", [entry])
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
        proba = reader.read(chosen[0], said)
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


@pytest.mark.parametrize("hyphen", ["\u2010", "\u2011", "\u2212", "\ufe63", "\uff0d"])
def test_hyphens_are_read_as_one(hyphen):
    """Models write other hyphens than the classes have."""
    reader = ClassReader(["flight-time", "flight"])
    assert reader.read(f"flight{hyphen}time").argmax() == 0


@pytest.mark.parametrize(
    "text",
    ["spam. Wait, no: ham", "spam\nNo; ham", "spam - no! ham", "spam. No. It is ham"],
)
def test_a_correction_is_not_read_as_what_it_corrects(text):
    """Rather no label than one that the reply takes back."""
    proba = ClassReader(["spam", "ham"]).read(text)
    assert proba is None or proba.argmax() == 1
