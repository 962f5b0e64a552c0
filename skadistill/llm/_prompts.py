"""Turn a row into the messages of a chat."""

import json
import re

import numpy as np

from skadistill._rows._containers import is_frame
from skadistill._utils.validation import is_missing
from skadistill.llm._label_lists import label_list

__all__ = ["Prompt", "example_of", "row_fields", "without_system"]


class Prompt:
    """Write the messages that ask a model about one row."""

    def __init__(
        self, text, classes, descriptions, examples, numbered, as_json, several=False
    ):
        self.text = _written(text)
        self.classes = [str(label) for label in classes]
        self.descriptions = {str(k): v for k, v in descriptions.items()}
        self.examples = examples
        self.numbered = numbered
        self.as_json = as_json
        self.several = several

    def messages(self, fields):
        """Write the messages."""
        filled = _fill(self.text, fields)
        inside = filled is not None
        system = self._rules() if inside else f"{self.text}\n\n{self._rules()}"
        turns = [{"role": "system", "content": system}]
        for row, label in self.examples:
            shown = _fill(self.text, row_fields_of(row)) if inside else None
            content = shown or row_fields_of(row)["text"]
            turns += [
                {"role": "user", "content": content},
                {"role": "assistant", "content": self._answer(label)},
            ]
        content = filled if inside else fields["text"]
        return [*turns, {"role": "user", "content": content}]

    def is_empty(self, fields):
        """Tell whether a row has nothing to ask about."""
        used = [name for name in fields if f"{{{name}}}" in self.text] or ["text"]
        return not any(fields[name].strip() for name in used)

    def _rules(self):
        """Say what may be answered."""
        lines = []
        if self.several and self.as_json:
            lines.append(
                'Answer with a JSON object {"labels": [...]} that lists all labels '
                "that apply, none if none does."
            )
        elif self.several:
            lines.append(
                "Answer with a JSON list of all labels that apply and nothing else; "
                "[] if none does."
            )
        elif self.numbered:
            lines.append("Answer with the number of one class and nothing else.")
        elif self.as_json:
            lines.append(
                'Answer with a JSON object {"label": "..."} whose label is one of '
                "the classes."
            )
        else:
            lines.append("Answer with the name of one class and nothing else.")
        lines.append("Labels:" if self.several else "Classes:")
        for i, label in enumerate(self.classes):
            head = f"{i + 1}. {label}" if self.numbered else f"- {label}"
            about = self.descriptions.get(label)
            lines.append(f"{head}: {about}" if about else head)
        return "\n".join(lines)

    def _answer(self, label):
        """Write the answer to an example the way it is asked for."""
        if self.several:
            names = label_list(label)
            return f'{{"labels": {names}}}' if self.as_json else names
        if self.numbered:
            return str(self.classes.index(str(label)) + 1)
        if self.as_json:
            return json.dumps({"label": str(label)}, ensure_ascii=False)
        return str(label)


def without_system(messages):
    """Write the rules before the first question, for models without a system role."""
    rules, first, *others = messages
    content = f"{rules['content']}\n\n{first['content']}"
    return [{"role": "user", "content": content}, *others]


def row_fields(rows):
    """Return the fields of the only row of a container."""
    return row_fields_of(_row_of(rows))


def example_of(rows):
    """Return the only row of a container as texts: that of a frame by its columns."""
    row = _row_of(rows)
    if isinstance(row, dict):
        return {str(name): _written(value) for name, value in row.items()}
    return row_fields_of(row)["text"]


def _row_of(rows):
    """Return the only row of a container; that of a frame as a dict."""
    if is_frame(rows):
        columns = list(rows.columns)
        if hasattr(rows, "iloc"):
            values = [rows[name].iloc[0] for name in columns]
        else:
            values = list(rows.row(0))
        return dict(zip(map(str, columns), values, strict=True))
    return rows.iloc[0] if hasattr(rows, "iloc") else rows[0]


def row_fields_of(row):
    """Return the fields of one row: a text, a mapping or numbers."""
    if isinstance(row, str):
        return {"text": _written(row)}
    if hasattr(row, "to_dict"):
        row = row.to_dict()
    if isinstance(row, dict):
        named = {str(name): _written(value) for name, value in row.items()}
        filled = {name: value for name, value in named.items() if value.strip()}
        whole = "\n".join(f"{name}: {value}" for name, value in filled.items())
        return {"text": whole} | named
    if hasattr(row, "toarray"):
        row = row.toarray().ravel()
    values = np.asarray(row).ravel().tolist()
    if all(map(is_missing, values)):
        return {"text": ""}
    return {"text": ", ".join(str(value) for value in values)}


def _written(value):
    """Write a value as a text that can be sent; nothing for a missing one."""
    text = "" if is_missing(value) else str(value)
    # Half an emoji, as a cut text has, cannot be encoded.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _fill(template, fields):
    """Replace the fields that occur in a template; None if none does.

    Not ``str.format``: braces in prompts are common, and a row's text that holds
    braces must not be read as a field.
    """
    marks = {f"{{{name}}}": value for name, value in fields.items()}
    pattern = "|".join(map(re.escape, marks))
    filled, n_found = re.subn(pattern, lambda match: marks[match[0]], template)
    return filled if n_found else None
