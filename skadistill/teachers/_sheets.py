"""Files that people fill in: CSV, XLSX, JSON Lines, and tasks of Label Studio."""

import csv
import io
import json
import os
import re
import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np

from skadistill._utils.optional import require
from skadistill._utils.validation import is_missing
from skadistill.exceptions import TeacherAnswerError, TeacherError
from skadistill.teachers._answers import NoLabel

__all__ = ["Sheet", "cells_of", "key_of", "label_columns", "row_id", "text_of_cell"]

ID, LABEL, SUGGESTION = "id", "label", "suggestion"
#: The key of a record under which a task of Label Studio is kept as it was read.
_TASK = object()
#: No number and no date for a spreadsheet: the key of a row, and a mark of its texts.
_ID = re.compile(r"row_([0-9a-f]{32})_([0-9a-f]{8})")
#: What a spreadsheet takes for a formula, perhaps behind apostrophes.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
#: Characters that no spreadsheet keeps.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
#: Characters of a text by which a change is noticed; Excel cuts at 32,767.
_N_MARKED = 10_000
csv.field_size_limit(2**31 - 1)


class Sheet:
    """Read and write one file; a record maps the names of columns to values."""

    def __init__(self, path):
        self.path = Path(path)
        self.kind = self.path.suffix.casefold()
        if self.kind not in _READERS:
            raise TeacherError(
                f"{self.path.name} ends in {self.kind!r}; pass a path that ends in "
                f"{', '.join(_READERS)}."
            )

    def read(self):
        """Return the records; none without a file."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._closed(error) from error
        if not content.strip():
            return []
        try:
            return _READERS[self.kind](content)
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            raise TeacherAnswerError(
                f"{self.path.name} cannot be read as {self.kind} "
                f"({type(error).__name__}); save it again in this format."
            ) from error

    def change(self, edit):
        """Replace the records by ``edit(records)``, whole or not at all."""
        self._raise_if_open()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            stamp = self._stamp()
            records = self.read()
            before = [dict(record) for record in records]
            changed = edit(records)
            if changed == before and stamp is not None:
                return
            content = _WRITERS[self.kind](changed, self._delimiter())
            number, name = tempfile.mkstemp(dir=self.path.parent, suffix=".tmp")
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                if self._stamp() != stamp:  # saved by somebody in between
                    continue
                if stamp is not None:
                    os.chmod(name, self.path.stat().st_mode & 0o777)
                os.replace(name, self.path)
                return
            except OSError as error:
                raise self._closed(error) from error
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(name)

    def _stamp(self):
        """Return what changes when the file is saved; None without a file."""
        with suppress(FileNotFoundError):
            found = self.path.stat()
            return found.st_mtime_ns, found.st_size, found.st_ino
        return None

    def _delimiter(self):
        if self.kind == ".tsv":
            return "\t"
        if self.kind != ".csv" or not self.path.exists():
            return ","
        return _delimiter_of(_decoded(self.path.read_bytes()))

    def _raise_if_open(self):
        """Raise if a spreadsheet program has the file open: it would save over it."""
        name = self.path.name
        for lock in (f"~${name}", f"~${name[2:]}", f".~lock.{name}#"):
            if (self.path.parent / lock).exists():
                raise TeacherError(
                    f"{name} is open in a spreadsheet program, which has left the lock "
                    f"file {lock}; save and close it, and run the same again."
                )

    def _closed(self, error):
        """Return the error for a file that cannot be reached."""
        return TeacherError(
            f"{self.path.name} cannot be read or written ({type(error).__name__}); "
            "close it if it is open in a spreadsheet program, check its folder, and "
            "run the same again."
        )


def row_id(key, cells):
    """Return the id of a row in a file, and notice later if its texts were changed."""
    return f"row_{key}_{_mark(cells.values())}"


def key_of(record, where):
    """Return the key that a record was written with, None if it is not one of ours.

    `where` names the file for an error.
    """
    name = str(record.get(ID, "")).strip()
    match = _ID.fullmatch(name)
    if match is None:
        if any(text_of_cell(record[column]) for column in label_columns(record)):
            raise TeacherAnswerError(
                f"{where} has a label in a row with the id {name!r:.60}, which was not "
                "written there; restore the id, or empty the label."
            )
        return None
    skipped = {ID, SUGGESTION, *label_columns(record)}
    cells = {k: v for k, v in record.items() if isinstance(k, str) and k not in skipped}
    # People add a column of notes.
    tried = [cells, *({k: v for k, v in cells.items() if k != name} for name in cells)]
    if all(_mark(some.values()) != match[2] for some in tried):
        raise TeacherAnswerError(
            f"{where}: the texts of {name} were changed after they were written; "
            "restore them, or remove the row, which is then written again."
        )
    return match[1]


def label_columns(record):
    """Return the names of the columns in which people write labels."""
    return [
        name
        for name in record
        if isinstance(name, str)
        and re.fullmatch(rf"{LABEL}([ _:-].*)?", name.strip().casefold())
    ]


def cells_of(X):
    """Return the contents of rows as one dict of cells for each."""
    if hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        columns = [X[name].to_list() for name in X.columns]
        rows = [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]
    else:
        listed = X.to_list() if hasattr(X, "to_list") else X
        listed = listed.toarray() if hasattr(listed, "toarray") else listed
        listed = listed.tolist() if isinstance(listed, np.ndarray) else list(listed)
        rows = [_cells_of_row(row) for row in listed]
    taken = {ID, SUGGESTION, *label_columns({n: 0 for row in rows for n in row})}
    return [
        {f"row {k}" if k in taken else k: v for k, v in row.items()} for row in rows
    ]


def _cells_of_row(row):
    if isinstance(row, str):
        return {"text": row}
    if isinstance(row, dict):
        return {str(name): value for name, value in row.items()}
    if isinstance(row, int | float):
        return {"x0": row}
    if isinstance(row, list | tuple) and not any(
        isinstance(value, list | tuple | dict) for value in row
    ):
        return {f"x{i}": value for i, value in enumerate(row)}
    raise TeacherError(
        f"a row of type {type(row).__name__} cannot be written in a table; pass texts, "
        "a DataFrame, a 2D array, or a list of dicts."
    )


def _mark(values):
    """Return a short hash of the texts among some cells, as spreadsheets leave them."""
    texts = []
    for value in values:
        text = " ".join(_CONTROL.sub("", text_of_cell(value)).split()).casefold()
        if not text or not re.search(r"[^\W\d_]", text):
            continue  # numbers and dates are written in other forms
        with suppress(ValueError):
            float(text)
            continue
        texts.append(text[:_N_MARKED])
    joined = "\0".join(sorted(texts)).encode(errors="replace")
    return blake2b(joined, digest_size=4).hexdigest()


def text_of_cell(value):
    """Return a cell as a text; empty if it is missing."""
    if isinstance(value, str):
        return value
    return "" if is_missing(value) else str(value)


def _guarded(value):
    """Return a text that a spreadsheet shows, where it would compute a formula."""
    if not isinstance(value, str):
        return "" if is_missing(value) else value
    value = _CONTROL.sub("", value)
    return f"'{value}" if _FORMULA.match(value) else value


def _unguarded(value):
    if isinstance(value, str) and _GUARDED.match(value):
        return value[1:]
    return value


def _columns(records):
    """Return the columns of all records, those for labels at the end."""
    names = dict.fromkeys(n for record in records for n in record if n is not _TASK)
    last = {SUGGESTION, *label_columns(names)}
    return [n for n in names if n not in last] + [n for n in names if n in last]


def _decoded(content):
    """Decode a text file that a person's program has written."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimiter_of(text):
    """Return the delimiter by which the first line holds a column of ids."""
    first = text.lstrip().partition("\n")[0]
    for delimiter in ",;\t":
        names = next(csv.reader([first], delimiter=delimiter), [])
        if ID in [name.strip() for name in names]:
            return delimiter
    raise ValueError(first)


def _read_csv(content):
    text = _decoded(content)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter_of(text))
    return _records(lines)


def _records(lines):
    """Make records of lines, the first of which has the names."""
    lines = iter(lines)
    names = [str(name or "").strip() for name in next(lines, [])]
    if ID not in names:
        raise ValueError(names)
    return [
        {
            name: _unguarded(value)
            for name, value in zip(names, line, strict=False)
            if name
        }
        for line in lines
        if any(map(text_of_cell, line))
    ]


def _write_csv(records, delimiter):
    file = io.StringIO(newline="")
    names = _columns(records)
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(names)
    for record in records:
        writer.writerow([_guarded(record.get(name)) for name in names])
    return file.getvalue().encode("utf-8-sig", errors="replace")  # Excel needs the BOM


def _read_xlsx(content):
    openpyxl = require("openpyxl", "pandas")
    book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    return _records(book.active.iter_rows(values_only=True))


def _write_xlsx(records, _):
    openpyxl = require("openpyxl", "pandas")
    book = openpyxl.Workbook()
    names = _columns(records)
    book.active.append(names)
    for record in records:
        book.active.append([_plain(_guarded(record.get(name))) for name in names])
    book.active.freeze_panes = "B2"
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _plain(value):
    """Return a value that JSON and openpyxl can write."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, str | int | float):
        return value
    return text_of_cell(value)


def _read_lines(content):
    return [json.loads(line) for line in _decoded(content).split("\n") if line.strip()]


def _write_lines(records, _):
    lines = (json.dumps({k: _plain(v) for k, v in r.items()}) for r in records)
    return "".join(f"{line}\n" for line in lines).encode()


def _read_tasks(content):
    """Read tasks of Label Studio, as they are imported, and as JSON exports them."""
    records = []
    for task in json.loads(_decoded(content)):
        record = dict(task["data"])
        for i, annotation in enumerate(task.get("annotations") or []):
            person = annotation.get("completed_by", i)
            person = person.get("email", i) if isinstance(person, dict) else person
            if annotation.get("was_cancelled"):
                record[f"{LABEL} {person}"] = NoLabel("skipped")
                continue
            chosen = [
                choice
                for result in annotation.get("result") or []
                for choice in (result.get("value") or {}).get("choices", [])
            ]
            if len(chosen) == 1:
                record[f"{LABEL} {person}"] = chosen[0]
        records.append(record | {_TASK: task})
    return records


def _write_tasks(records, _):
    tasks = []
    for record in records:
        skipped = {_TASK, SUGGESTION, *label_columns(record)}
        data = {k: _plain(v) for k, v in record.items() if k not in skipped}
        task: dict = {"data": data}
        if record.get(SUGGESTION) is not None:
            choice = {"choices": [text_of_cell(record[SUGGESTION])]}
            result = {"from_name": LABEL, "to_name": "text", "type": "choices"}
            task["predictions"] = [{"result": [result | {"value": choice}]}]
        tasks.append(record.get(_TASK, task))
    return json.dumps(tasks, indent=1).encode()


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".xlsx": _read_xlsx,
    ".jsonl": _read_lines,
    ".json": _read_tasks,
}
_WRITERS = {
    ".csv": _write_csv,
    ".tsv": _write_csv,
    ".xlsx": _write_xlsx,
    ".jsonl": _write_lines,
    ".json": _write_tasks,
}
