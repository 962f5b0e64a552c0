"""Read the reply of a language model as a probability for every class."""

import json
import math
import re
import unicodedata
from functools import cached_property
from typing import NamedTuple

import numpy as np

__all__ = ["PARSER_VERSION", "ClassReader", "clean", "row_answers", "without_thoughts"]

#: Part of a teacher's identity: another way of reading gives other labels.
PARSER_VERSION = 1

#: Below this share of the tokens at a place the classes were not what the model was
#: about to say, and its distribution over them means little.
_LEAST_MASS = 0.5
#: Letters by which the tokens after an answer may differ from its text: those of
#: special tokens such as <end_of_turn>, which some servers list.
_SLACK = 16

_WRAPPING = (
    " \t\r\n*_`'\"()[]{}<>.:,;!=|\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e"
    "\u3001\u3002\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011"
)
#: What models write for "-": "flight\u2011time".
_HYPHENS = {0x2010: "-", 0x2212: "-"}
_SEPARATORS = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
_SENTENCE_END = re.compile(r"[!?;\n\u3002]|\.(?=\s|$)")
#: Before a name, in the same sentence. "No, it is spam" denies something else.
_NEGATION = re.compile(
    r"\b(?:not|no(?![,:;.!]| doubt)|never|neither|nor|non|cannot|without|hardly"
    r"|unlike(?:ly)?|rather than|instead of|whether|anything but|rules? out|sorry"
    r"|nicht|kein\w*|weder|pas|aucun\w*|nunca|n\u00e3o|nem|niet|geen|ikke|inte|nie|\u043d\u0435\w?)\b"
    r"|n['\u2019]t\b|!=|\u2260|\u00ac|\u975e(?!\u5e38)|[\u4e0d\u6c92\u6ca1\u7121\u65e0"
    r"\u672a]|\u0e44\u0e21\u0e48"
)
#: After a name: "spam: no", "spam is not"; in Japanese and Korean later.
_DENIAL = re.compile(
    r"[^\w\s]*\s*(?:(?:no|false)\b(?! doubt)|(?:(?:is|was|does|do|did|has|can|could|"
    r"would|should|seems?|looks?|be|been|very|quite|clearly)\s?)+(?:n['\u2019]t|not|"
    r"unlikely|wrong|incorrect|excluded|ruled out)\b)"
    r"|[^\n.\u3002]*(?:\u306a\u3044|\u307e\u305b\u3093|\uc544\ub2c8|\uc544\ub2d9|\uc54a)"
)
#: After a first line that is a class: what takes it back.
_HEDGE = re.compile(
    r"\b(?:or|actually|wait|correction|sorry|instead|perhaps|maybe|but|however|could|"
    r"final|change)\b"
)
#: How sentences begin, which is not how a class name was going to.
_OPENINGS = {
    *("based", "from", "given", "here", "its", "let", "looking", "okay", "our", "sure"),
    *("that", "the", "then", "there", "these", "this", "well", "what", "yes", "you"),
}
#: What models that think aloud write before their answer. Some chat templates open
#: the thought themselves, so that the reply has the end alone
#: (github.com/deepseek-ai/DeepSeek-R1/issues/506).
_NAMES = r"(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|reflection|analysis)"
_THOUGHT = re.compile(
    rf".*(?:</{_NAMES}>|\[/THINK\]|\u25c1/think\u25b7|<\|end_of_thought\|>|"
    r"<\|END_THINKING\|>|<\|channel\|>final<\|message\|>)",
    re.DOTALL | re.IGNORECASE,
)
_OPEN_THOUGHT = re.compile(
    rf"\s*(?:<{_NAMES}>|\[THINK\]|\u25c1think\u25b7|<\|begin_of_thought\|>|"
    r"<\|START_THINKING\|>|<\|channel\|>analysis<\|message\|>).*",
    re.DOTALL | re.IGNORECASE,
)
_FENCE = re.compile(r"```(?:\w+)?")
#: "3: spam", "[row 3] spam", "**3** - spam", "| 3 | spam |"
_ROW = re.compile(
    r"^\W*(?:row\s*)?(\d+)\W*?[:.)\]=>|-]\s*(.+?)\s*$", re.M | re.IGNORECASE
)
#: Where another row begins in the same line: "1) spam 2) ham".
_NEXT_ROW = re.compile(r"\s[\[(]?\d+\s*[:)\]]\s")
_SPECIAL = re.compile(r"\s*(?:<[^<>\s]+>|\[[^\[\]\s]+\])?\s*")
_ANSWER_KEYS = ("label", "class", "category", "answer", "classification", "prediction")


def without_thoughts(text):
    """Return what follows a thought; nothing if the thought does not end."""
    return _OPEN_THOUGHT.sub("", _THOUGHT.sub("", text, count=1))


def row_answers(text, n_rows):
    """Return the answer to each of several rows and the letters after it, by row."""
    found = [(int(m[1]), m[2], m.end(2)) for m in _ROW.finditer(text)]
    if (answers := _json_object(text)) is not None:
        found, end = [], 0
        for key, value in answers.items():
            values = value if isinstance(value, list) else [value]
            end = text.find(json.dumps(key, ensure_ascii=False), end) + len(key) + 2
            for part in map(str, values):
                end = max(end, text.find(part, end) + len(part))
            if number := re.search(r"\d+", key):
                found.append((int(number[0]), "; ".join(map(str, values)), end))
    if any(row == 0 for row, _, _ in found):
        return {}  # counted from 0: each answer is that of another row
    by_row: dict[int, tuple] = {}
    twice = set()
    for row, answer, end in found:
        if row in by_row and clean(by_row[row][0]) != clean(answer):
            twice.add(row)
        if row <= n_rows and not _NEXT_ROW.search(answer):
            by_row.setdefault(row, (answer, _n_letters(_plain(text[end:]))))
    return {row: answer for row, answer in by_row.items() if row not in twice}


def clean(text):
    """Return an answer as it is compared: its words without what is around them."""
    text = _plain(text).lstrip(_WRAPPING + "#").rstrip(_WRAPPING)
    return " ".join(_SEPARATORS.sub(" ", text).split())


def _plain(text):
    """Return a text without case, width and ways of composing its letters."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("\ufe0f", "")
    return unicodedata.normalize("NFKC", text).translate(_HYPHENS)


class _Named(NamedTuple):
    """Say which answer stands in a text, and how many letters from there to its end."""

    answer: str
    n_left: int


class ClassReader:
    """Find the class that a reply names, and the distribution behind it."""

    def __init__(self, classes, numbered=False):
        self.names = [clean(str(label)) for label in classes]
        self.numbered = numbered
        self._position = {name: i for i, name in enumerate(self.names)}
        if numbered:
            self._position |= {str(i + 1): i for i in range(len(self.names))}

    @cached_property
    def _mention(self):
        """Match any answer; longer ones first."""
        answers = sorted(self._position, key=len, reverse=True)
        written = (r"[\s_-]+".join(map(re.escape, a.split(" "))) for a in answers)
        return re.compile("|".join(written))

    def read(self, text, tokens=(), cut=False, n_after=None):
        """Return the probabilities of the classes; None if the text names none.

        The class that the text names has the most, whatever the tokens say. A text
        that is a part of a reply has `n_after` letters after it.
        """
        named = self._named(text, cut)
        if named is None:
            return self._begun(text, tokens) if n_after is None else None
        position = self._position[named.answer]
        hard = np.eye(len(self.names))[position]
        if n_after is None:
            place = _place(tokens, named, _SLACK)
        else:
            place = _place(tokens, named._replace(n_left=named.n_left + n_after), 0)
        proba = None if place is None else self._proba(tokens, place, named.answer)
        if proba is None:
            return hard
        return proba if proba.argmax() == position else (hard + proba) / 2

    def position(self, text, cut=False):
        """Return the position of the class that a text names, or None."""
        named = self._named(text, cut)
        return None if named is None else self._position[named.answer]

    def positions(self, text):
        """Return the positions of all classes that a text names, in its order."""
        text = _plain(text)
        found = _asserted(text, self._mentions(text))
        return list(dict.fromkeys(self._position[clean(m[0])] for m in found))

    def _named(self, text, cut=False):
        """Return the only answer that a text gives."""
        value, text = _json_value(text), _plain(text)
        if value is not None:
            named = self._named(value)
            n_after = _n_letters(text[text.rfind(_plain(value)) + len(_plain(value)) :])
            return named and named._replace(n_left=named.n_left + n_after)
        found = self._mentions(text)
        if (answer := clean(text)) in self._position:
            named, end = _Named(answer, _n_letters(text)), len(text.rstrip())
        else:
            named, end = self._one_of(text, found)
        if named and cut and end == len(text.rstrip()):  # a longer name may go on
            begun = [a for a in self._position if a.startswith(named.answer)]
            return named if len(begun) == 1 else None
        return named

    def _mentions(self, text):
        """Find the answers that stand in a plain text as words of their own."""
        return [
            match
            for match in self._mention.finditer(text)
            if clean(match[0]) in self._position and _stands_alone(text, *match.span())
        ]

    def _one_of(self, text, mentions):
        """Return the only answer that is not denied, and where it ends."""
        found = _asserted(text, mentions)
        positions = {self._position[clean(match[0])] for match in found}
        if len(positions) > 1 and (head := self._head(text, mentions)):
            found, positions = [head], positions & {self._position[clean(head[0])]}
        if len(positions) != 1:
            return None, 0
        return _Named(clean(found[0][0]), _n_letters(text[found[0].start() :])), (
            found[0].end()
        )

    def _head(self, text, mentions):
        """Return the answer that is the first line or sentence, if nothing retracts it.

        Models add an explanation, which may mention other classes.
        """
        head = re.match(r"\s*([^\n]+?)(?:\n|(?<=\D)\.\s)(.*)", text, re.DOTALL)
        if not head or clean(head[1]) not in self._position or _HEDGE.search(head[2]):
            return None
        own = self._position[clean(head[1])]
        lines = (self._position.get(clean(line), own) for line in head[2].split("\n"))
        first = mentions[0] if clean(mentions[0][0]) == clean(head[1]) else None
        return first if all(line == own for line in lines) else None

    def _begun(self, text, tokens):
        """Return the distribution behind the first letters of a class name."""
        begun = clean(text)
        if begun in _OPENINGS or not (begun.isdigit() or len(begun) > 2):
            return None
        if not any(answer.startswith(begun) for answer in self._position):
            return None
        place = _place(tokens, _Named(begun, _n_letters(_plain(text))), _SLACK)
        return None if place is None else self._proba(tokens, place, said=None)

    def _proba(self, tokens, place, said):
        """Return the probabilities of the classes at the token where one begins."""
        proba, seen = self._spread("", list(self._position), tokens, place, said)
        if proba.sum() < _LEAST_MASS:
            return None
        absent = proba == 0
        if absent.any():
            proba[absent] = max(0.0, 1.0 - seen) / absent.sum()
        return proba / proba.sum()

    def _spread(self, spelled, answers, tokens, i, said):
        """Add up the tokens at a place for the classes whose answers they continue."""
        proba, seen = np.zeros(len(self.names)), 0.0
        listed = _alternatives(tokens[i])
        # Whether a number is one token, or each digit is, shows in what is listed.
        whole = any(len(clean(t)) > 1 and clean(t).isdigit() for t in listed)
        for token, p in listed.items():
            seen += p
            written = spelled + token
            # The end of a reply is an empty token for some servers
            # (github.com/vllm-project/vllm/issues/9463).
            own = _continued(written if token else spelled + "\n", answers)
            if whole and clean(written).isdigit() and clean(written) in own:
                own = [clean(written)]
            positions = list({self._position[answer]: None for answer in own})
            if len(positions) == 1:
                proba[positions[0]] += p
            elif positions and token == _text(tokens[i]):
                proba += p * self._after(written, own, tokens, i + 1, said)
            elif positions:
                proba[positions] += p / len(positions)
        return proba, seen

    def _after(self, written, answers, tokens, i, said):
        """Split a token that begins several answers by the tokens that follow."""
        if i < len(tokens):
            share, _ = self._spread(written, answers, tokens, i, said)
            if share.sum() > 0:
                return share / share.sum()
        share = np.zeros(len(self.names))
        if said in answers:  # and nothing follows
            share[self._position[said]] = 1.0
        else:
            own = list({self._position[answer] for answer in answers})
            share[own] = 1 / len(own)
        return share


def _continued(written, answers):
    """Return the answers that a text begins, or the one that it completes."""
    text = _SEPARATORS.sub(" ", _plain(written).lstrip(_WRAPPING + "#"))
    if "\n" not in text:
        text = re.sub(r"[\s_-]+$", " ", text)
        begun = [a for a in answers if a.startswith(text) or a == text.rstrip()]
        if begun or not text.strip():
            return begun if text.strip() else []
    ended = [
        a for a in answers if text.startswith(a) and _stands_alone(text, 0, len(a))
    ]
    return [max(ended, key=len)] if ended else []


def _place(tokens, named, slack):
    """Return the index of the token where an answer stands, counted from the end.

    Servers list the tokens of hidden thoughts, too (github.com/sgl-project/sglang/
    issues/25055), and tokens of several bytes are not their text.
    """
    best, least, left, tail, n_tokens = None, slack + 1, 0, "", len(tokens)
    while n_tokens and _SPECIAL.fullmatch(_text(tokens[n_tokens - 1])):
        n_tokens -= 1
    for i in reversed(range(n_tokens)):
        text = _text(tokens[i])
        left += _n_letters(_plain(text))
        if left > named.n_left + slack:
            break
        tail = (text + tail)[: 2 * len(named.answer) + 20]
        off = abs(left - named.n_left)
        if off < least and clean(text) and clean(tail).startswith(named.answer):
            best, least = i, off
    return best if best is not None and _alternatives(tokens[best]) else None


def _text(entry):
    """Return the text of a token; some tokenizers write blanks as letters."""
    token = entry.get("token") if isinstance(entry, dict) else None
    token = token if isinstance(token, str) else ""
    return token.replace("\u2581", " ").replace("\u0120", " ").replace("\u010a", "\n")


def _alternatives(entry):
    """Return the probabilities of the tokens reported at one place."""
    found: dict[str, float] = {}
    if not isinstance(entry, dict):
        return found
    for item in [*(entry.get("top_logprobs") or []), entry]:
        logprob = item.get("logprob")
        if not isinstance(logprob, int | float) or not math.isfinite(logprob):
            continue
        if logprob > 1e-3:  # a probability: github.com/ggml-org/llama.cpp/pull/10783
            return {}
        found.setdefault(_text(item), math.exp(min(0.0, logprob)))
    return found


def _n_letters(text):
    """Count letters and digits, which tokens and texts have in common."""
    return sum(map(str.isalnum, text))


def _stands_alone(text, start, end):
    """Tell whether a part of a text is not a part of a longer word or number."""
    if end - start == 1 and _script(text[start]) == "unspaced":
        return False  # a letter of many words
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    first, last = text[start], text[end - 1]
    if before and (_is_joined(before[-1], first) or _goes_on(before[::-1], first)):
        return False
    if not after:
        return True
    if after[0] in "+#" or unicodedata.category(after[0])[0] == "M":
        return False
    if _script(last) == "hangul":  # has its particles attached
        return True
    return not _is_joined(last, after[0]) and not _goes_on(after, last, right=True)


def _is_joined(a, b):
    """Tell whether two neighbors belong to one word."""
    if not (a.isalnum() or a == "_") or not (b.isalnum() or b == "_"):
        return False
    scripts = {_script(a), _script(b)}
    return "unspaced" not in scripts and ("katakana" not in scripts or len(scripts) < 2)


def _goes_on(beside, edge, right=False):
    """Tell whether a sign beside a name makes it a part: non-spam, A-, 2.5, 50 %."""
    sign, beyond = beside[0], beside[1:]
    if not edge.isdigit():
        return sign in "-\u2010\u2011" and (right or beyond.isalpha())
    if sign in "%$\u20ac" or (not right and sign in ".-\u2010\u2011\u2212"):
        return True
    return sign in "-.,:/" and beyond.isdigit()


def _script(letter):
    """Name the scripts whose words have no blanks around them."""
    if "\u30a0" <= letter <= "\u30ff":
        return "katakana"
    if "\uac00" <= letter <= "\ud7a3":
        return "hangul"
    unspaced = "\u0e00" <= letter <= "\u0eff" or "\u1000" <= letter <= "\u109f"
    unspaced |= "\u1780" <= letter <= "\u17ff" or "\u3005" <= letter <= "\u309f"
    unspaced |= "\u3400" <= letter <= "\u9fff" or "\U00020000" <= letter <= "\U0003ffff"
    return "unspaced" if unspaced else "other"


def _asserted(text, mentions):
    """Return the mentions that do not say that it is not this class."""
    masked = text  # names may hold a "not" of their own
    for match in mentions:
        blank = "x" * len(match[0])
        masked = masked[: match.start()] + blank + masked[match.end() :]
    return [m for m in mentions if not _is_denied(masked, *m.span())]


def _is_denied(text, start, end):
    """Tell whether the sentence around a name denies it, or asks."""
    before = _SENTENCE_END.split(text[:start])[-1]
    sign = _SENTENCE_END.search(text, end)
    if sign and sign[0] == "?":
        return True
    return bool(_NEGATION.search(before) or _DENIAL.match(text, end))


def _json_value(text):
    """Return the answer in a JSON object, as a text; None without one."""
    found = _json_object(text)
    if found is None:
        return None
    keys = [key for key in _ANSWER_KEYS if key in found]
    around = text[: text.find("{")] + text[text.rfind("}") + 1 :]
    if not keys and not _FENCE.sub("", around).strip():
        keys = list(found)
    values = [found[key] for key in keys]
    values = [v[0] if isinstance(v, list) and len(v) == 1 else v for v in values]
    values = [str(v) for v in values if isinstance(v, str | int)]
    return values[0] if len(set(values)) == 1 else None


def _json_object(text):
    """Return the JSON object in a text, or None."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[begin : end + 1]) if 0 <= begin < end else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
