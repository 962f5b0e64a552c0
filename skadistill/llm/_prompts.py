"""Turn a row into the messages of a chat."""

import json
import re

import numpy as np

from skadistill._rows._containers import is_frame
from skadistill._utils.validation import is_missing
from skadistill.llm._label_lists import label_list

__all__ = ["OTHER", "Prompt", "example_of", "row_fields", "without_system"]


#: What is offered beside a part of the classes.
OTHER = "none of these"


class Prompt:
    """Write the messages that ask a model about one row, or about several."""

    def __init__(
        self, text, classes, descriptions, examples, answer_with, multilabel=False
    ):
        self.text = _written(text)
        self.classes = [str(label) for label in classes]
        self.descriptions = {str(k): v for k, v in descriptions.items()}
        self.examples = [
            (row_fields_of(row), label if multilabel else str(label))
            for row, label in examples
        ]
        self.numbered = answer_with == "number"
        self.candidates = answer_with == "candidates"
        self.as_json = answer_with == "json"
        self.multilabel = multilabel

    def messages(self, rows, only=None):
        """Write the messages about the fields of some rows.

        `only` are the positions of the classes to offer, beside "none of these".
        """
        names = self.classes if only is None else [self.classes[k] for k in only]
        shown = self.examples
        if only is not None:
            shown = [(row, label) for row, label in shown if label in names]
        several = len(rows) > 1
        inside = not several and _fill(self.text, rows[0]) is not None
        turns: list = [([row], [label]) for row, label in shown]
        if several and shown:
            turns = [tuple(zip(*shown, strict=True))]
        rules = self._rules(names, only is not None, several)
        system = rules if inside else f"{self.text}\n\n{rules}"
        messages = [{"role": "system", "content": system}]
        for some, labels in turns:
            answer = self._answer(labels, names, several)
            messages += [
                {"role": "user", "content": self._listed(some, inside, several)},
                {"role": "assistant", "content": answer},
            ]
        content = self._listed(rows, inside, several)
        return [*messages, {"role": "user", "content": content}]

    def is_empty(self, fields):
        """Tell whether a row has nothing to ask about."""
        return not any(fields[name].strip() for name in self._used(fields))

    def _used(self, fields):
        """Return the fields that the prompt names; the whole text if none."""
        return [name for name in fields if f"{{{name}}}" in self.text] or ["text"]

    def _listed(self, rows, inside, several):
        """Write rows, each under its number if there may be several."""
        if not several:
            (row,) = rows
            return (inside and _fill(self.text, row)) or row["text"]
        return "\n".join(
            f"[row {i}]\n{self._block(row)}" for i, row in enumerate(rows, 1)
        )

    def _block(self, fields):
        """Write what the prompt names of one row of several."""
        used = self._used(fields)
        if len(used) == 1:
            return fields[used[0]]
        return "\n".join(f"{name}: {fields[name]}" for name in used)

    def _rules(self, names, has_other, several):
        """Say what may be answered."""
        what = "the number of one class" if self.numbered else "the name of one class"
        if self.candidates:
            what = "the names of all classes that may be right, the likeliest first"
        if self.multilabel and self.as_json:
            lines = [
                'Answer with a JSON object {"labels": [...]} that lists all labels '
                "that apply, none if none does."
            ]
        elif self.multilabel:
            lines = [
                "Answer with a JSON list of all labels that apply and nothing else; "
                "[] if none does."
            ]
        elif several and self.as_json:
            lines = [
                f"Answer with a JSON object that maps the number of each row to {what}."
            ]
        elif several:
            lines = [
                "Answer for each row in a line of its own: its number, a colon, "
                f"{what}, and nothing else."
            ]
        elif self.as_json:
            lines = [
                'Answer with a JSON object {"label": "..."} whose label is one of '
                "the classes."
            ]
        else:
            comma = "," if self.candidates else ""
            lines = [f"Answer with {what}{comma} and nothing else."]
        lines.append("Labels:" if self.multilabel else "Classes:")
        for i, label in enumerate([*names, OTHER] if has_other else names):
            head = f"{i + 1}. {label}" if self.numbered else f"- {label}"
            about = self.descriptions.get(label)
            lines.append(f"{head}: {about}" if about else head)
        return "\n".join(lines)

    def _answer(self, labels, names, several):
        """Write the answer to examples the way it is asked for."""
        if self.multilabel:
            listed = label_list(labels[0])
            return f'{{"labels": {listed}}}' if self.as_json else listed
        if self.numbered:
            labels = [str(names.index(label) + 1) for label in labels]
        if self.as_json:
            answers = {str(i): label for i, label in enumerate(labels, 1)}
            answer = answers if several else {"label": labels[0]}
            return json.dumps(answer, ensure_ascii=False)
        if not several:
            return labels[0]
        return "\n".join(f"{i}: {label}" for i, label in enumerate(labels, 1))


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
