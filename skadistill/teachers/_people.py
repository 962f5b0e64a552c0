"""A teacher made of people, who write labels into a file."""

import logging
import uuid
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skadistill._rows._containers import count_rows
from skadistill._rows._keys import row_keys
from skadistill._utils.compat import HasMethods, Interval
from skadistill._utils.validation import as_cost, did_you_mean
from skadistill.exceptions import JobPendingError, TeacherAnswerError, TeacherError
from skadistill.teachers._answers import Answer, JobAnswers, NoLabel
from skadistill.teachers._base import TEACHER_CONSTRAINTS, BaseTeacher
from skadistill.teachers._identity import classes_suffix
from skadistill.teachers._sheets import (
    LABEL,
    SUGGESTION,
    Sheet,
    cells_of,
    key_of,
    label_columns,
    row_id,
    text_of_cell,
)

__all__ = ["FileTeacher", "PeopleAgreement", "read_labels_of_people"]

logger = logging.getLogger(__name__)


class PeopleAgreement(NamedTuple):
    """Count how often two people gave the same label, over rows and pairs of people.

    Parameters
    ----------
    n_samples : int
        Pairs of labels of the same row.
    n_agreed : int
        Those that are equal.

    Examples
    --------
    >>> from skadistill.teachers import PeopleAgreement
    >>> PeopleAgreement(n_samples=40, n_agreed=36).agreement
    0.9
    """

    n_samples: int
    n_agreed: int

    @property
    def agreement(self) -> Any:
        """Share of equal pairs; NaN without pairs."""
        return self.n_agreed / self.n_samples if self.n_samples else float("nan")


class FileTeacher(BaseTeacher):
    """Let people label rows in a spreadsheet or in Label Studio.

    A round of a fit writes the chosen rows into the file, each with an id and an empty
    column ``label``, and the fit ends with ``termination_condition_`` "waiting" and
    the student trained so far. Run the same fit again once people have written labels:
    it reads them, trains, and writes the rows of the next round. The ledger remembers
    which rows wait; no row is written twice, and every label read is recorded.

    Parameters
    ----------
    path : str or Path
        The file. ``.csv`` or ``.tsv``; ``.xlsx``, which needs openpyxl; ``.jsonl``, one
        object per line; ``.json``, tasks for the import of Label Studio.
    classes : array-like of shape (n_classes,) or None, default=None
        The labels that may come. None: the classes asked for.
    answers : str, Path or None, default=None
        Where labels are read, if not in the same file: for example what Label Studio
        exports as JSON. Rows are then written without those that are labeled there.
    people : list of str or None, default=None
        Names of people who each label every row, in a column ``label NAME``. Where they
        differ, the share of each class is its probability. None: one column ``label``;
        whoever adds a second, such as ``label Ann``, counts as well.
    cannot_tell : str, default="?"
        What people write if they cannot tell: the row gets no label and is not asked
        about again. An empty cell means "not yet". A task skipped in Label Studio
        counts as this.
    suggest : None, callable or estimator, default=None
        What else is shown beside each row, such as a language model's label: a
        function of rows that returns labels, or something with ``predict``. None:
        nothing, so that people are not influenced.
    name, version : str or None, default=None
        The identity under which a ledger files the labels. None: the name of the file
        and the classes.
    max_wait : float or None, default=0.0
        Seconds that a fit waits for labels before it ends. None: until they are there.
    cost_per_row : float or None, default=None
        What one row costs, in the user's money. None: not known.

    Attributes
    ----------
    identity : str
        The name under which a ledger files the answers.

    See Also
    --------
    skadistill.llm.BatchTeacher : Answers later as well.

    Notes
    -----
    The file is replaced as a whole, or not at all. Texts that a spreadsheet would take
    for a formula (those that begin with ``=``, ``+``, ``-`` or ``@``) are written
    behind an apostrophe, which is removed when they are read. Columns and rows of the
    user's own are kept.

    An unknown label, an id that occurs twice with different labels, a changed text or
    a file that a spreadsheet program has open is an error that says what to do;
    nothing of the file is lost by it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skadistill.labeling import buy_labels
    >>> from skadistill.ledger import MemoryLedger
    >>> from skadistill.teachers import FileTeacher
    >>> path = Path(tempfile.mkdtemp()) / "to_label.csv"
    >>> teacher = FileTeacher(path, classes=["ham", "spam"])
    >>> question = {"classes": ["ham", "spam"], "ledger": MemoryLedger()}
    >>> buy_labels(teacher, ["win money"], **question)
    Traceback (most recent call last):
    ...
    skadistill.exceptions.JobPendingError: ...
    >>> text = path.read_text(encoding="utf-8-sig")
    >>> _ = path.write_text(text.replace("win money,", "win money,spam"))
    >>> buy_labels(teacher, ["win money"], **question).labels
    array([[0., 1.]])
    """

    _parameter_constraints: dict = {
        "path": [str, Path],
        "classes": TEACHER_CONSTRAINTS["classes"],
        "answers": [str, Path, None],
        "people": [list, tuple, None],
        "cannot_tell": [str],
        "suggest": [callable, HasMethods(["predict"]), None],
        "name": TEACHER_CONSTRAINTS["name"],
        "version": TEACHER_CONSTRAINTS["version"],
        "max_wait": [Interval(Real, 0, None, closed="left"), None],
    }

    #: Seconds between looks at the file, if it is waited for.
    poll_every: float = 1.0
    #: A row may stay empty as often as people like.
    max_tries: int = 1

    def __init__(
        self,
        path: Any,
        classes: Any = None,
        *,
        answers: Any = None,
        people: list[str] | None = None,
        cannot_tell: str = "?",
        suggest: Any = None,
        name: str | None = None,
        version: str | None = None,
        max_wait: float | None = 0.0,
        cost_per_row: float | None = None,
    ) -> None:
        self.path = path
        self.classes = classes
        self.answers = answers
        self.people = people
        self.cannot_tell = cannot_tell
        self.suggest = suggest
        self.name = name
        self.version = version
        self.max_wait = max_wait
        self.cost_per_row = cost_per_row

    @property
    def classes_(self) -> Any:
        """What the columns of its answers mean; None if it has not said."""
        return self.classes

    @property
    def display_name(self) -> str:
        """The teacher's name in messages."""
        return f"the file {Path(self.path).name!r} for people"

    def derived_identity(self) -> str:
        """Return the identity of a teacher without a name.

        Returns
        -------
        identity : str
            The name of the file and the classes.
        """
        return f"people:{Path(self.path).name}{classes_suffix(self.classes)}"

    def answer(self, X: Any) -> Any:
        """Write the rows into the file, and return their labels if all are there.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        answer : Answer
            Unchecked.
        """
        classes = self._class_list()
        if classes is None:
            raise TeacherError(f"{self.display_name} has no classes; pass `classes`.")
        ids = [key.hex() for key in row_keys(X).tolist()]
        job = self.submit_rows(X, ids, classes)
        found = self.poll_job(job, ids, classes)
        if found is None or not found.answered.all():
            raise JobPendingError(
                f"{self.display_name} has no label yet for some of {len(ids)} rows; "
                "fill in the file and ask again."
            )
        return Answer(found.labels)

    def refused_rows(self, X: Any) -> NDArray[Any]:
        """Return which rows cannot be asked about: none.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        refused : ndarray of bool of shape (n_samples,)
            False.
        """
        return np.zeros(count_rows(X), dtype=bool)

    def submit_rows(self, X: Any, ids: list[str], classes: Any) -> str:
        """Write the rows into the file, except those that are in it.

        Parameters
        ----------
        X : container of n_rows rows
            The rows.
        ids : list of str
            Their keys.
        classes : array-like of shape (n_classes,)
            The columns wanted.

        Returns
        -------
        job : str
            A name for these rows.
        """
        self._check_question(X, classes)
        cells = cells_of(X)
        shown = self._suggestions(X)
        empty = {f"{LABEL} {person}": None for person in self.people or []}
        empty = empty or {LABEL: None}
        new = {
            key: {"id": row_id(key, row), **row, **more, **empty}
            for key, row, more in zip(ids, cells, shown, strict=True)
        }
        sheet, where = Sheet(self.path), Path(self.path).name
        labeled = set(self._read(classes)) if self.answers is not None else set()

        def edit(records):
            there = {key_of(record, where) for record in records}
            kept = [r for r in records if key_of(r, where) not in labeled]
            skip = there | labeled
            return kept + [record for key, record in new.items() if key not in skip]

        try:
            sheet.change(edit)
        except TeacherError as error:
            error.cost = 0.0  # nobody was asked
            raise
        logger.info("%s: %d rows are to be labeled", self.display_name, len(new))
        return f"{where} {uuid.uuid4().hex[:8]}"

    def poll_job(self, job: str, ids: list[str], classes: Any) -> Any:
        """Read the labels that people have written.

        Parameters
        ----------
        job : str
            Its name.
        ids : list of str of length n_rows
            The keys of its rows.
        classes : array-like of shape (n_classes,)
            The columns wanted.

        Returns
        -------
        answers : JobAnswers or None
            None while nothing new is there.
        """
        labels_of = self._read(classes)
        where = Path(self.path).name
        written = {key_of(record, where) for record in Sheet(self.path).read()}
        missing = [key for key in ids if key not in labels_of and key not in written]
        answered = np.array([key in labels_of for key in ids])
        if not answered.any() and not missing:
            return None
        nothing = np.full(len(classes), np.nan)
        labels = np.array([labels_of.get(key, nothing) for key in ids])
        price = as_cost(self.cost_per_row, "cost_per_row") or 0.0
        return JobAnswers(
            labels,
            answered,
            np.where(answered, price, 0.0),
            [None] * len(ids),
            # Rows that somebody has removed are written again.
            has_learned=bool(missing),
            is_over=bool(answered.all() or missing),
        )

    def agreement(self) -> Any:
        """Count how often people gave the same label, where two labeled a row.

        No student can agree with people more often than the square root of how often
        they agree with each other.

        Returns
        -------
        agreement : PeopleAgreement
            With ``n_samples``, ``n_agreed`` and ``agreement``.
        """
        records = self._sheet_of_answers().read()
        n_samples = n_agreed = 0
        for record in records:
            given = [text_of_cell(record[c]).strip() for c in label_columns(record)]
            given = [g.casefold() for g in given if g and g != self.cannot_tell]
            pairs = [(a, b) for i, a in enumerate(given) for b in given[:i]]
            n_samples += len(pairs)
            n_agreed += sum(a == b for a, b in pairs)
        return PeopleAgreement(n_samples, n_agreed)

    def _sheet_of_answers(self):
        return Sheet(self.path if self.answers is None else self.answers)

    def _read(self, classes):
        """Map the keys of labeled rows to probabilities."""
        return read_labels_of_people(
            self._sheet_of_answers(),
            classes,
            cannot_tell=self.cannot_tell,
            n_people=len(self.people or [LABEL]),
        )

    def _suggestions(self, X):
        """Return what is shown beside each row, as cells."""
        if self.suggest is None:
            return [{}] * count_rows(X)
        predict = getattr(self.suggest, "predict", self.suggest)
        labels = np.asarray(self._call(predict, X, count_rows(X)), dtype=object)
        if labels.shape != (count_rows(X),):
            raise TeacherError(
                f"suggest returned an array of shape {labels.shape}; return one label "
                f"per row, here {count_rows(X)}."
            )
        return [{SUGGESTION: label} for label in labels.tolist()]

    def _check_parameters(self):
        super()._check_parameters()
        Sheet(self.path)
        self._sheet_of_answers()


def read_labels_of_people(sheet, classes, *, cannot_tell="?", n_people=1):
    """Map the keys of rows to the shares of their labels, NaN if nobody can tell.

    Rows that fewer people have labeled are left out.
    """
    where = sheet.path.name
    found: dict[str, tuple] = {}
    for record in sheet.read():
        key = key_of(record, where)
        given = [record[column] for column in label_columns(record)]
        given = [g for g in given if isinstance(g, NoLabel) or text_of_cell(g).strip()]
        if key is None or len(given) < n_people:
            continue
        votes = [_position(g, classes, cannot_tell, record["id"], where) for g in given]
        known = sorted(v for v in votes if v is not None)
        if found.setdefault(key, tuple(known)) != tuple(known):
            raise TeacherAnswerError(
                f"{where} has the id {record['id']} twice, with different labels; "
                "remove one of the two rows, or give each person a column 'label NAME'."
            )
    eye = np.eye(len(classes))
    nothing = np.full(len(classes), np.nan)
    return {
        key: eye[list(votes)].mean(axis=0) if votes else nothing
        for key, votes in found.items()
    }


def _position(value, classes, cannot_tell, name, where):
    """Return the position of the class that a cell names; None for "cannot tell"."""
    if isinstance(value, NoLabel):
        return None
    text = text_of_cell(value).strip()
    classes = np.asarray(classes).tolist()
    exact = [i for i, c in enumerate(classes) if str(c) == text]
    plain = [i for i, c in enumerate(classes) if _plain(c) == _plain(text)]
    for found in (exact, plain):
        if len(found) == 1:
            return found[0]
    if text.casefold() == cannot_tell.strip().casefold():
        return None
    raise TeacherAnswerError(
        f"{where} has the unknown label {text!r:.60} in the row {name}; write one of "
        f"{', '.join(map(str, classes)):.300}, {cannot_tell!r} if you cannot tell, or "
        f"nothing{did_you_mean([text], [str(c) for c in classes])}."
    )


def _plain(label):
    """Return a label without case and blanks, and a whole number without decimals."""
    text = " ".join(str(label).split()).casefold()
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text
