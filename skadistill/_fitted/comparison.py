"""The table of `compare`, in text, in HTML and as a DataFrame, with its conclusion."""

import html
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skadistill._statistics.intervals import paired_interval, posterior_interval
from skadistill._utils.optional import require

__all__ = ["ALONE", "Comparison", "Measured", "bytes_text", "conclude"]

#: How the names of models end that have learned nothing from a teacher.
ALONE = ", labeled rows only"
#: A gain that is at most this large is not worth a teacher.
SMALLEST_GAIN = 0.01


@dataclass(frozen=True, eq=False)
class Measured:
    """Hold what was measured of one model; `scored` are the rows that count."""

    name: str
    hits: np.ndarray
    scored: np.ndarray
    seconds_per_row: float | None = None
    size: int | None = None
    price: float | None = None
    n_labels: int | None = None

    def recalls(self, truth):
        """Return the share of right rows of each class."""
        hits, truth = self.hits[self.scored], truth[self.scored]
        return {c: float(hits[truth == c].mean()) for c in dict.fromkeys(truth)}

    def record(self, truth, score_name):
        """Return the row of the table."""
        hits = self.hits[self.scored]
        low, high = posterior_interval(hits.sum(), len(hits))
        recalls = self.recalls(truth)
        worst = min(recalls, key=lambda c: recalls[c])
        return {
            "model": self.name,
            "n_rows": len(hits),
            score_name: float(hits.mean()),
            "low": low,
            "high": high,
            "balanced": float(np.mean(list(recalls.values()))),
            "worst_class": worst,
            "worst_recall": recalls[worst],
            "ms_per_row": _scaled(self.seconds_per_row, 1e3),
            "size_bytes": self.size,
            "cost_per_million": _scaled(self.price, 1e6),
            "teacher_labels": self.n_labels,
        }


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Hold what `compare` measured; it prints as a table with a conclusion.

    Attributes
    ----------
    records : tuple of dict
        One per model, with the same keys: ``model``; ``n_rows``, the test rows that
        count; ``accuracy``, or ``agreement`` with the teacher, and its 95 % interval
        from ``low`` to ``high``; ``balanced``, the mean of the shares of the classes;
        ``worst_class`` and ``worst_recall``, its share; ``ms_per_row``, milliseconds
        per prediction; ``size_bytes`` of the pickled model; ``cost_per_million``
        predictions, in the unit of the teacher's prices; ``teacher_labels`` that the
        model has learned from or was checked by, those of earlier fits included.
        What is not known is None.
    conclusion : str
        What the table shows beyond chance, in words.
    notes : tuple of str
        What was left out, and why.
    score_name : {"accuracy", "agreement"}
        What was measured.
    per_class : dict of str to dict
        For each model, the share of right rows of each class.
    """

    records: tuple[Any, ...]
    conclusion: str
    notes: tuple[Any, ...] = ()
    score_name: str = "accuracy"
    per_class: dict[str, Any] = field(default_factory=dict)

    def to_frame(self) -> Any:
        """Return the table as a pandas DataFrame, one row per model."""
        return require("pandas", "pandas").DataFrame(list(self.records))

    def __repr__(self) -> str:
        rows = self.cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, *self.notes, self.conclusion])

    def _repr_html_(self):
        head, *rows = self.cells()
        text = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        for row in rows:
            name, *cells = map(html.escape, row)
            body = "".join(f"<td>{cell}</td>" for cell in cells)
            text += f"</tr><tr><th style='text-align:left'>{name}</th>{body}"
        words = "".join(
            f"<p>{html.escape(line)}</p>" for line in (*self.notes, self.conclusion)
        )
        return f"<div><table><tr>{text}</tr></table>{words}</div>"

    def cells(self) -> Any:
        """Return the table as texts, its head first, without empty columns."""
        columns = {"": [record["model"] for record in self.records]}
        columns[f"{self.score_name} (95 %)"] = [
            f"{r[self.score_name]:.3f} ({r['low']:.3f} to {r['high']:.3f})"
            for r in self.records
        ]
        columns["balanced"] = [f"{r['balanced']:.3f}" for r in self.records]
        columns["worst class"] = [
            f"{r['worst_class']!s:.20} {r['worst_recall']:.3f}" for r in self.records
        ]
        if len({r["n_rows"] for r in self.records}) > 1:
            columns["rows"] = [f"{r['n_rows']:,}" for r in self.records]
        written = {
            "ms_per_row": ("ms/row", "{:.3g}".format),
            "size_bytes": ("size", bytes_text),
            "cost_per_million": ("cost/million", lambda v: f"{v:,.4g}"),
            "teacher_labels": ("teacher labels", "{:,}".format),
        }
        for key, (title, write) in written.items():
            values = [record[key] for record in self.records]
            if any(value is not None for value in values):
                columns[title] = ["" if v is None else write(v) for v in values]
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def conclude(models, alone, *, by_agreement, is_reverted):
    """Say what the student is worth beside the teacher, and beside doing without."""
    student, teacher = models["student"], models.get("teacher")
    said = []
    if by_agreement:
        said.append(
            f"The student agrees with the teacher on {_percent(student)} of the rows."
        )
    elif teacher is not None:
        said.append(_beside_teacher(student, teacher))
    if is_reverted:
        said.append(
            "You do not need a teacher: the student kept is that of the labeled rows "
            "alone, since the teacher's labels made it worse."
        )
    elif not student.n_labels:
        said.append("The student has learned from no label of the teacher.")
    elif alone:
        best = max(alone, key=lambda name: models[name].hits.mean())
        said.append(_beside_alone(student, models[best], by_agreement))
    return " ".join(said)


def _beside_teacher(student, teacher):
    """Compare accuracy, speed, size and money of student and teacher."""
    gap, low, high = _gap(student, teacher)
    if low > 0 or high < 0:
        more = "more" if gap > 0 else "less"
        low, high = sorted((abs(low), abs(high)))
        said = (
            f"The student is {more} accurate than the teacher by "
            f"{_points(abs(gap))} points ({_points(low)} to {_points(high)})"
        )
    else:
        within = _points(max(-low, high))
        said = f"The student is as accurate as the teacher within {within} points"
    beside = [
        _ratio(teacher.seconds_per_row, student.seconds_per_row, "faster", "slower"),
        _ratio(teacher.size, student.size, "smaller", "larger"),
    ]
    if any(beside):
        said += " and " + ", ".join(filter(None, beside))
    if teacher.price and student.n_labels:
        said += f"; its labels are repaid after {student.n_labels:,} predictions"
    return said + "."


def _beside_alone(student, other, by_agreement):
    """Say what the teacher's labels brought, as far as it is beyond chance."""
    gap, low, high = _gap(student, other)
    name = other.name.removesuffix(ALONE)
    name = name if name == "student" else f"classifier {name!r}"
    name += " trained on the labeled rows alone"
    between = f"{_points(low)} to {_points(high)}"
    if low > 0:
        return (
            f"The teacher's labels brought {_points(gap)} points ({between}) over the "
            f"{name}."
        )
    if high > SMALLEST_GAIN:
        return (
            f"These {int(student.scored.sum()):,} rows do not show whether the "
            f"teacher's labels help: the gain over the {name} is {between} points."
        )
    if by_agreement:
        return (
            f"The teacher's labels do not bring the student closer to it than the "
            f"{name} is (gain {between} points)."
        )
    return (
        f"You do not need a teacher: the {name} is right on {_percent(other)} of the "
        f"rows, the student on {_percent(student)} (gain {between} points)."
    )


def _gap(one, other):
    """Return how much more rows one model gets right, with the 95 % interval."""
    both = one.scored & other.scored
    a, b = one.hits[both].astype(int), other.hits[both].astype(int)
    gap = int((a - b).sum())
    return gap / len(a), *paired_interval(gap, int((a != b).sum()), len(a))


def _ratio(theirs, ours, better, worse):
    """Write how many times better one number is; empty if about the same."""
    if not (theirs and ours):
        return ""
    ratio, word = max((theirs / ours, better), (ours / theirs, worse))
    if ratio < 1.5:
        return ""
    return f"{ratio:,.0f} times {word}" if ratio >= 10 else f"{ratio:.2g} times {word}"


def _points(share):
    return f"{100 * share:.1f}"


def _percent(model):
    return f"{100 * model.hits[model.scored].mean():.1f} %"


def _scaled(value, factor):
    return None if value is None else value * factor


def bytes_text(size):
    """Write a number of bytes with the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
