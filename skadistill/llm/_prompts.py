"""Turn a row into the messages of a chat."""

import re

import numpy as np

from skadistill._rows._containers import is_frame

__all__ = ["Prompt", "row_fields"]


class Prompt:
    """Write the messages that ask a model about one row."""

    def __init__(self, text, classes, descriptions, examples, numbered, as_json):
        self.text = text
        self.classes = [str(label) for label in classes]
        self.descriptions = {str(k): v for k, v in descriptions.items()}
        self.examples = examples
        self.numbered = numbered
        self.as_json = as_json

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

    def _rules(self):
        """Say what may be answered."""
        lines = []
        if self.numbered:
            lines.append("Answer with the number of one class and nothing else.")
        elif self.as_json:
            lines.append(
                'Answer with a JSON object {"label": "..."} whose label is one of '
                "the classes."
            )
        else:
            lines.append("Answer with the name of one class and nothing else.")
        lines.append("Classes:")
        for i, label in enumerate(self.classes):
            head = f"{i + 1}. {label}" if self.numbered else f"- {label}"
            about = self.descriptions.get(label)
            lines.append(f"{head}: {about}" if about else head)
        return "\n".join(lines)

    def _answer(self, label):
        """Write the answer to an example the way it is asked for."""
        if self.numbered:
            return str(self.classes.index(str(label)) + 1)
        return f'{{"label": "{label}"}}' if self.as_json else str(label)


def row_fields(rows):
    """Return the fields of the only row of a container."""
    if is_frame(rows):
        columns = list(rows.columns)
        if hasattr(rows, "iloc"):
            values = [rows[name].iloc[0] for name in columns]
        else:
            values = list(rows.row(0))
        return row_fields_of(dict(zip(map(str, columns), values, strict=True)))
    row = rows.iloc[0] if hasattr(rows, "iloc") else rows[0]
    return row_fields_of(row)


def row_fields_of(row):
    """Return the fields of one row: a text, a mapping or numbers."""
    if isinstance(row, str):
        return {"text": row}
    if isinstance(row, dict):
        named = {str(name): value for name, value in row.items()}
        whole = "\n".join(f"{name}: {value}" for name, value in named.items())
        return {"text": whole} | named
    if hasattr(row, "toarray"):
        row = row.toarray().ravel()
    values = np.asarray(row).ravel().tolist()
    return {"text": ", ".join(str(value) for value in values)}


def _fill(template, fields):
    """Replace the fields that occur in a template; None if none does.

    Not ``str.format``: braces in prompts are common, and a row's text that holds
    braces must not be read as a field.
    """
    marks = {f"{{{name}}}": str(value) for name, value in fields.items()}
    pattern = "|".join(map(re.escape, marks))
    filled, n_found = re.subn(pattern, lambda match: marks[match[0]], template)
    return filled if n_found else None
