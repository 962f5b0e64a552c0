"""Read the reply of a language model as a probability for every class."""

import json
import math
import re
from functools import cached_property

import numpy as np

__all__ = ["PARSER_VERSION", "ClassReader", "clean"]

#: Part of a teacher's identity: another way of reading gives other labels.
PARSER_VERSION = 1

#: Below this share of the answer's first token the classes were not what the model
#: was about to say, and its distribution over them means little.
_LEAST_MASS = 0.5

# The last three are how some tokenizers write a blank and a line break.
_WRAPPING = " \t\r\n*_`'\"\u2018\u2019\u201c\u201d()[]{}<>#.:,;!\u2581\u0120\u010a"
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|cannot|isn|wasn|rather than)\b")


def clean(text):
    """Strip blanks, case, quotes, markdown and punctuation around an answer."""
    return " ".join(text.strip(_WRAPPING).casefold().split())


class ClassReader:
    """Find the class that a reply names, or the distribution behind it."""

    def __init__(self, classes, numbered=False):
        self.names = [clean(str(label)) for label in classes]
        self.numbered = numbered
        self._position = {name: i for i, name in enumerate(self.names)}
        if numbered:
            self._position |= {str(i + 1): i for i in range(len(self.names))}

    @cached_property
    def _mention(self):
        """Match any class name as whole words; longer names first."""
        names = sorted(self.names, key=len, reverse=True)
        return re.compile(
            r"(?<!\w)(?:" + "|".join(map(re.escape, names)) + r")(?!\w)", re.IGNORECASE
        )

    def position(self, text):
        """Return the position of the class that a text names."""
        found = self._position.get(clean(text))
        if found is not None:
            return found
        value = _json_value(text)
        if value is not None:
            return self._position.get(clean(value))
        if self.numbered:
            # "2. spam" or "2 - spam": the number and the name must agree.
            match = re.fullmatch(r"\(?(\d+)\)?[.):\s-]+(.*)", text.strip(), re.DOTALL)
            if match and self._position.get(match[1]) is not None:
                named = self._position.get(clean(match[2]))
                if named in (None, self._position[match[1]]):
                    return self._position[match[1]]
                return None
        return self._mentioned(text)

    def _mentioned(self, text):
        """Return the only class that a sentence mentions and does not negate."""
        text = " ".join(text.split())
        found = {
            self._position[clean(match[0])]: match.start()
            for match in self._mention.finditer(text)
            if clean(match[0]) in self._position
        }
        if not found and self.numbered:
            numbers = re.finditer(r"(?<![\w.,])\d+(?!\w|[.,]\d)", text)
            found = {
                self._position[match[0]]: match.start()
                for match in numbers
                if match[0] in self._position
            }
        if len(found) != 1:
            return None
        ((position, start),) = found.items()
        before = text[max(0, start - 30) : start].casefold()
        return None if _NEGATION.search(before) else position

    def distribution(self, text, tokens):
        """Return the probabilities of the classes from the log-probabilities."""
        first = self._first_token(text, tokens)
        if first is None:
            return None
        proba, seen = np.zeros(len(self.names)), 0.0
        for token, p in _alternatives(tokens[first]).items():
            seen += p
            start = clean(token)
            heads = self._beginning_with(start)
            if len(heads) == 1:
                proba[heads[0]] += p
            elif heads and token == tokens[first]["token"]:
                proba += p * self._continued(start, heads, tokens, first + 1)
            elif heads:
                proba[heads] += p / len(heads)
        if proba.sum() < _LEAST_MASS:
            return None
        absent = proba == 0
        if absent.any():
            proba[absent] = max(0.0, 1.0 - seen) / absent.sum()
        return proba / proba.sum()

    def _first_token(self, text, tokens):
        """Return the index of the token with which the class name begins."""
        begin = 0
        value = _json_value(text)
        if value is not None:
            begin = text.rfind(value)
        offset = 0
        for i, entry in enumerate(tokens):
            offset += len(entry["token"])
            if offset > begin and clean(entry["token"]):
                return i if _alternatives(entry) else None
        return None

    def _beginning_with(self, start):
        """Return the positions of the classes whose answer begins with a text."""
        if not start:
            return []
        if start in self._position and self.numbered and start.isdigit():
            # "1" is also how "10" begins, but a number is one token in practice.
            return [self._position[start]]
        exact = [i for i, name in enumerate(self.names) if name == start]
        return exact or [
            i
            for i, name in enumerate(self.names)
            if name.startswith(start) or start.startswith(name + " ")
        ]

    def _continued(self, start, heads, tokens, i):
        """Split a token that begins several names by the tokens that follow."""
        share = np.zeros(len(self.names))
        if i >= len(tokens) or not _alternatives(tokens[i]):
            share[heads] = 1 / len(heads)
            return share
        for token, p in _alternatives(tokens[i]).items():
            text = clean(start + token.casefold())
            own = [k for k in self._beginning_with(text) if k in heads]
            if len(own) == 1:
                share[own[0]] += p
            elif own and token == tokens[i]["token"]:
                share += p * self._continued(text, own, tokens, i + 1)
            elif own:
                share[own] += p / len(own)
        total = share.sum()
        if total == 0:
            share[heads] = 1 / len(heads)
            return share
        return share / total


def _alternatives(entry):
    """Return the probabilities of the tokens reported at one place."""
    listed = entry.get("top_logprobs") or []
    found: dict[str, float] = {}
    for item in [*listed, entry]:
        logprob = item.get("logprob")
        if logprob is not None and math.isfinite(logprob):
            found.setdefault(item["token"], math.exp(min(0.0, logprob)))
    return found


def _json_value(text):
    """Return the text of the only text value of a JSON object, or None."""
    text = text.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    text = fenced[1] if fenced else text
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    values = [str(v) for v in found.values() if isinstance(v, str | int)]
    return values[0] if len(values) == 1 else None
