"""Read the reply of a language model that lists the labels that apply."""

import json
import re

import numpy as np

from skadistill.llm._replies import clean

__all__ = ["LabelListReader", "label_list", "list_schema"]

#: What models write where no label applies.
_NONE = {
    *("none", "none apply", "none of them", "none of the above", "none of these"),
    *("no label", "no labels", "no label applies", "no labels apply", "nothing"),
    *("n/a", "keine", "aucun", "aucune", "ninguna", "ninguno", "nessuna"),
}
_FENCE = re.compile(r"```(?:\w+)?")
_LISTS = re.compile(r"\[[^\[\]]*\]", re.DOTALL)
#: What separates names that are not in a list: lines, commas, "and" between names.
_LINES = re.compile(r"[\n;,\u3001\uff0c]")
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s*")
#: What may stand before the names: "Labels: a, b".
_HEAD = re.compile(r"^[^\n:]{0,40}:\s*(?=\S)")


def label_list(labels):
    """Write the labels that apply as they are asked for."""
    return json.dumps([str(label) for label in labels], ensure_ascii=False)


def list_schema(labels):
    """Return the response format that admits lists of the labels only."""
    names = {"type": "string", "enum": [str(label) for label in labels]}
    schema = {
        "type": "object",
        "properties": {"labels": {"type": "array", "items": names}},
        "required": ["labels"],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


class LabelListReader:
    """Find the labels that a reply lists."""

    def __init__(self, labels):
        self._position = {clean(str(label)): i for i, label in enumerate(labels)}

    def read(self, text, tokens, *, cut=False):
        """Return 1 for each label listed and 0 for others; None if unreadable.

        A list that names something else, or has not ended, is unreadable: what it
        leaves out may apply. The last list counts, since models correct themselves.
        """
        if cut:
            return None
        text = _FENCE.sub("", text).strip()
        if text and not text.strip("[]\n\t "):
            return self._marked([])
        lists = _LISTS.findall(text)
        if lists:
            names = _items(lists[-1])
            return None if names is None else self._marked(names)
        if (whole := self._marked([text])) is not None:
            return whole
        for candidate in (text, _HEAD.sub("", text)):
            names = [_BULLET.sub("", part) for part in _LINES.split(candidate)]
            found = self._marked([name for name in names if name.strip()])
            if found is not None and candidate:
                return found
        return None

    def _marked(self, names):
        """Return which labels some names are, None if one is no label."""
        applies = np.zeros(len(self._position))
        plain = [clean(str(name)) for name in names]
        if len(plain) == 1 and plain[0] in _NONE - self._position.keys():
            return applies
        for name in plain:
            if name not in self._position:
                return None
            applies[self._position[name]] = 1.0
        return applies


def _items(text):
    """Return the entries of a list, as JSON or as people write it; None if neither."""
    try:
        items = json.loads(text)
    except ValueError:
        items = [part.strip(" \t\r\n'\"") for part in text[1:-1].split(",")]
        items = [item for item in items if item]
    if not all(isinstance(item, str | int | float) for item in items):
        return None
    return [str(item) for item in items]
