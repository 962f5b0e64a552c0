"""Thousands of replies as servers send them: no label contradicts the text."""

import json
import math
import unicodedata

import numpy as np
import pytest

from skadistill.llm._replies import ClassReader, without_thoughts

#: Families of class names that are easily mistaken for one another.
FAMILIES = {
    "plain": ["spam", "ham", "eggs"],
    "one begins another": ["flight", "flight_time", "flight_no", "airfare"],
    "one ends another": ["card", "lost card", "lost or stolen card", "gift card"],
    "one denies another": ["relevant", "not relevant", "irrelevant"],
    "decomposed": [unicodedata.normalize("NFD", n) for n in ("éloge", "gêne", "été")],
    "chinese": ["垃圾邮件", "正常邮件", "广告"],
    "japanese": ["スパム", "通常", "広告メール"],
    "german": ["Beschwerde", "Lob", "Rückfrage", "Rückfrage zur Rechnung"],
    "signs": ["C", "C++", "C#", "Objective-C"],
    "numbers": [-1, 0, 1, 10],
    "topics": ["topic one", "topic two", "topic twenty", "topic twenty-one"],
    "many": [f"kind {chr(97 + i)}{chr(97 + j)}" for i in range(5) for j in range(4)],
}


def pieces_of(text, how, rng):
    """Split a text into tokens as a tokenizer would."""
    if how == "letters":
        return list(text)
    cuts, i = [], 0
    while i < len(text):
        k = i + 1
        if text[i].isdigit():
            # Llama 2, Mistral, Gemma and Qwen: one token for each digit; others three
            # (www.beren.io/2024-05-11-Integer-tokenization-is-now-much-less-insane).
            most = 1 if how == "digits apart" else 3
            while k < len(text) and text[k].isdigit() and k - i < most:
                k += 1
        elif text[i].isalpha() or text[i] == " ":
            most = {"words": 30, "digits apart": 30, "pieces": 4}[how]
            while k < len(text) and text[k].isalpha() and k - i < most:
                k += 1
        cuts.append(text[i:k])
        i = k
    return cuts


class Dialect:
    """Write a reply's tokens with their log-probabilities, as one server does."""

    def __init__(self, rng):
        self.rng = rng
        self.how = rng.choice(["words", "pieces", "digits apart", "letters"])
        self.blank = rng.choice([" ", "▁", "Ġ"], p=[0.8, 0.1, 0.1])
        # vLLM lists the end as an empty token, others by its name or not at all
        # (github.com/vllm-project/vllm/issues/9463).
        self.end = rng.choice(["", "<|im_end|>", "<end_of_turn>", None])
        self.lists_thoughts = rng.random() < 0.5
        self.n_listed = rng.choice([0, 1, 5, 20])

    def tokens(self, text, others):
        """Return the log-probabilities of a text; `others` begin the other tokens."""
        said = pieces_of(text, self.how, self.rng)
        if self.end is not None:
            said.append(str(self.end))
        firsts = {pieces_of(o, self.how, self.rng)[0] for o in others}
        return [self._entry(token, firsts - {token}) for token in said]

    def _entry(self, token, others):
        # At temperature 1 another token may be the likelier one.
        p = self.rng.uniform(0.2, 1.0)
        listed = [(token, p)]
        weights = self.rng.random(len(others) + 1)
        left = (1 - p) / weights.sum()
        for other, weight in zip(sorted(others), weights, strict=False):
            listed.append((other, max(left * weight, 1e-9)))
        listed.sort(key=lambda item: -item[1])
        entry = self._item(token, p)
        return entry | {
            "top_logprobs": [self._item(*item) for item in listed[: self.n_listed]]
        }

    def _item(self, token, p):
        token = token.replace(" ", str(self.blank))
        return {"token": token, "logprob": math.log(p), "bytes": None}


def written(name, rng):
    """Return a class name as models vary it."""
    style = rng.integers(6)
    if style == 0:
        return name.upper() if name.isascii() else name
    if style == 1:
        return name[:1].upper() + name[1:]
    if style == 2 and name.replace(" ", "").isalpha() and name.isascii():
        return "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in name)
    if style == 3:
        form = rng.choice(["NFC", "NFD"])
        return unicodedata.normalize(form, name)
    if style == 4:
        return name.replace("_", " ")
    return name


SURE = [
    *(
        "{}",
        " {}\n",
        "**{}**",
        '"{}"',
        "`{}`.",
        "{}.",
        "({})",
        "「{}」",
        "{}。",
        "# {}",
    ),
    *('{{"label": "{}"}}', '```json\n{{"label": "{}"}}\n```', "<answer>{}</answer>"),
    *('{{"label": "{}", "confidence": 0.9}}', '{{"reason": "no {o}", "label": "{}"}}'),
    *("Label: {}", "I think it is {}.", "The class is **{}**", "It is {}, I am sure."),
    *("{}\n\nIt was hard to tell.", "{}\n\nIt has little of {o}.", "→ {}"),
    *("{} - that is clear", "I have no doubt that this is {}.", "\\boxed{{{}}}"),
    *("这是 {}。", "これは「{}」です。", "C'est {} !", "Answer:\n{}", "{}, not {o}."),
]
#: Nothing may be read here as the class: they deny it, or name two.
UNSURE = [
    *("This is not {}.", "It does not in any way look like something of {}", "{}?"),
    *("It isn't {}", "This isn\u2019t really {}", "I cannot call this {}.", "non-{}"),
    *("{} or {o}", "Either {o} or {}", "{} is not what this is.", "Not {}, nor {o}"),
    *("{}? No.", "{} can be ruled out", "Das ist nicht {}", "Ce n'est pas {}"),
    *("Is it {} or {o}?", "{}\n\nWait, I was wrong: it is {o}.", "x{}ish", "x{}x"),
    *("不是 {}", "これは {} ではありません", '{{"label": "not {}"}}', ""),
    *(
        "It is hardly {}",
        "anything but {}",
        '{{"{}": false}}',
        "I'm sorry, {} is rude.",
    ),
]


def replies(rng, n):
    """Yield a reader, a choice as a server sends it, and the class that it names."""
    for _ in range(n):
        family = FAMILIES[rng.choice(list(FAMILIES))]
        numbered = rng.random() < 0.4 and family is not FAMILIES["numbers"]
        reader = ClassReader(family, numbered)
        names = [str(i + 1) if numbered else str(c) for i, c in enumerate(family)]
        k, o = rng.choice(len(family), 2, replace=False)
        sure = rng.random() < 0.7
        template = str(rng.choice(SURE if sure else UNSURE))
        if "x{}" in template and not names[k].isascii():
            continue  # two words where scripts meet
        if "ot {}" in template and "not relevant" in family:
            continue  # another class
        name, other = written(names[k], rng), names[o]
        text = template.format(name, o=other)
        dialect = Dialect(rng)
        yield reader, text, k if sure else None, dialect, names


def as_choice(text, dialect, names, rng):
    """Return content and tokens; perhaps with a thought before."""
    shape = rng.choice(["bare", "thought", "end of thought", "hidden thought"])
    other = str(rng.choice(names))
    thought = f"Perhaps {other}?\n"
    before = {
        "bare": "",
        "thought": f"<think>\n{thought}</think>\n\n",
        "end of thought": f"{thought}</think>\n\n",
        "hidden thought": "",
    }[shape]
    content = before + text
    all_text = content
    if shape == "hidden thought" and dialect.lists_thoughts:
        all_text = f"{thought}</think>\n{text}"
    return content, dialect.tokens(all_text, names)


@pytest.mark.parametrize("seed", range(5))
def test_no_label_contradicts_the_text(seed):
    """2,000 replies: a class, none, or a denied one, whatever the tokens say."""
    rng = np.random.default_rng(seed)
    n_named = n_found = n_soft = 0
    wrong = []
    for reader, text, named, dialect, names in replies(rng, 2000):
        content, tokens = as_choice(text, dialect, names, rng)
        proba = reader.read(without_thoughts(content), tokens)
        n_named += named is not None
        if proba is None:
            continue
        assert proba.sum() == pytest.approx(1)
        assert (proba >= 0).all()
        if proba.argmax() != named:
            wrong.append((content, reader.names, int(proba.argmax()), named))
        else:
            n_found += 1
            n_soft += 0 < proba.max() < 1
    assert not wrong, json.dumps(wrong[:20], ensure_ascii=False)
    assert n_found > 0.9 * n_named
    assert n_soft > 0.3 * n_found
