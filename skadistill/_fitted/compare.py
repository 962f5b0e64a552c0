"""Teacher, student and what needs no teacher, measured on the same test rows."""

import io
import pickle
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skadistill._fit.inputs import check_container
from skadistill._fitted.comparison import ALONE, Comparison, Measured, conclude
from skadistill._rows._containers import count_rows, take_rows
from skadistill._rows._keys import row_keys
from skadistill._utils.validation import read_labels
from skadistill.labeling._buy import buy_labels
from skadistill.soft_labels._as_student import as_student
from skadistill.soft_labels._choose import score_students
from skadistill.soft_labels._default import default_students
from skadistill.soft_labels._fit_student import fit_student
from skadistill.soft_labels._out_of_fold import give_every_class
from skadistill.student._checks import student_classes, student_proba
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._estimator import EstimatorTeacher

__all__ = ["GivenRows", "compare", "size_of", "teacher_prices"]

#: Labeled rows with which kinds of classifiers can be compared out of fold.
FEWEST_ROWS = 30
#: A prediction is repeated until it took so long, or so often.
_SECONDS, _REPEATS = 0.05, 5


@dataclass(frozen=True, eq=False)
class GivenRows:
    """Hold the rows whose label was given to a fit, and the student's metadata."""

    X: Any
    targets: np.ndarray
    metadata: dict

    @classmethod
    def of(cls, state):
        """Take them from a fit; None if no label was given."""
        labels, given = state.labels, state.labels.given
        rows = labels.rows[given]
        if not rows.size:
            return None
        X, cut = labels.table.take(rows), state.settings.cut_metadata
        return cls(X, labels.targets[given], cut(rows))


@dataclass(frozen=True, eq=False)
class TeacherAnswers:
    """Hold the classes that a teacher named for test rows; -1: no label."""

    codes: np.ndarray
    known: np.ndarray
    seconds_per_row: float | None = None

    def take(self, rows):
        """Keep some rows."""
        return replace(self, codes=self.codes[rows], known=self.known[rows])


def compare(distiller, X, y, ask_teacher, cascade):
    """Measure all models on those test rows that the student was not trained on."""
    check_is_fitted(distiller, "student_")
    if cascade is not None:
        check_is_fitted(cascade, "threshold_")
    X, truth, notes = _test_rows(distiller, X, y)
    # Before anything is paid: rows that the student cannot read must cost nothing.
    student_classes(distiller.student_, X, distiller.classes_)
    answers = _ask(distiller, X, ask_teacher, notes)
    if y is None:
        answered = np.flatnonzero(answers.codes >= 0)
        if not answered.size:
            raise ValueError(
                "y_test is None and no answer of the teacher about X_test is known, so "
                "that there is nothing to compare with; pass y_test, or "
                f"ask_teacher=True to pay for up to {count_rows(X)} answers."
            )
        X, answers = take_rows(X, answered), answers.take(answered)
        truth = distiller.classes_[answers.codes].astype(object)
    models = {"student": _student(distiller, X, truth)}
    alone = _without_teacher(distiller, X, truth)
    models |= alone
    price = teacher_prices(distiller)[0]
    if answers.known.any():
        models["teacher"] = _teacher(distiller, truth, answers, price)
    if cascade is not None:
        found = _cascade(cascade, X, truth, answers, price, models, notes)
        if found is not None:
            models["cascade"] = found
    if price is not None:
        # Without a teacher whose prices are known, nothing is known of money.
        models = {
            name: model if model.price is not None else replace(model, price=0.0)
            for name, model in models.items()
        }
    score_name = "agreement" if y is None else "accuracy"
    order = ["teacher", "student", *alone, "cascade"]
    return Comparison(
        tuple(models[k].record(truth, score_name) for k in order if k in models),
        conclude(
            models,
            list(alone),
            by_agreement=y is None,
            is_reverted=distiller.student_round_ < distiller.n_rounds_,
        ),
        tuple(notes),
        score_name,
        {models[k].name: models[k].recalls(truth) for k in order if k in models},
    )


def _test_rows(distiller, X, y):
    """Return the rows to measure on, their labels, and what was left out."""
    X, notes = check_container(distiller, X, reset=False), []
    keep = np.ones(count_rows(X), dtype=bool)
    if y is not None:
        y, unlabeled = read_labels(y, distiller.unlabeled_marker)
        check_consistent_length(X, y)
        keep &= ~unlabeled
        if unlabeled.any():
            notes.append(f"Left out: {unlabeled.sum():,} test rows without a label.")
    trained = set(getattr(distiller, "_trained_keys", np.empty(0, "V16")).tolist())
    seen = np.array([key in trained for key in row_keys(X).tolist()], dtype=bool)
    if (seen & keep).any():
        notes.append(
            f"Left out: {(seen & keep).sum():,} test rows that the student was "
            "trained on."
        )
    rows = np.flatnonzero(keep & ~seen)
    if not rows.size:
        raise ValueError(
            f"none of the {len(keep)} test rows can be used: they have no label, or "
            "the student was trained on them; pass rows that fit has not seen."
        )
    truth = None if y is None else np.array(y[rows].tolist(), dtype=object)
    return take_rows(X, rows), truth, notes


def _ask(distiller, X, ask_teacher, notes):
    """Return what the teacher says of rows; pay only if that was asked for."""
    n_samples = count_rows(X)
    codes, known = np.full(n_samples, -1), np.zeros(n_samples, dtype=bool)
    if distiller.teacher_ is None:
        notes.append("The teacher is not measured: the fit did not need it.")
        return TeacherAnswers(codes, known)
    teacher, classes = as_teacher(distiller.teacher_), distiller.classes_
    is_own = not as_teacher(distiller.teacher).is_fitted
    seconds = teacher_prices(distiller)[1]
    if is_own:
        # Fitted here: its answers cost nothing, and their pace is that of today.
        start = perf_counter()
        labels = teacher.ask(X, classes)
        seconds = (perf_counter() - start) / n_samples
        known[:] = True
    elif ask_teacher:
        bought = buy_labels(teacher, X, classes=classes, ledger=distiller.ledger_)
        labels = bought.labels
        known = bought.labeled | (bought.no_label if bought.n_no_label else False)
        seconds = teacher_prices(distiller)[1]
    else:
        known, labels = distiller.ledger_.lookup(row_keys(X), teacher.identity, classes)
    labeled = known & ~np.isnan(labels).any(axis=1)
    codes[labeled] = labels[labeled].argmax(axis=1)
    if not known.all():
        what = "its other answers are beyond the ledger's limit"
        if not ask_teacher:
            what = "ask_teacher=True pays for the others"
        notes.append(
            f"The teacher is measured on {known.sum():,} of {n_samples:,} rows whose "
            f"answers the ledger holds; {what}."
        )
    return TeacherAnswers(codes, known, seconds)


def _student(distiller, X, truth):
    """Measure the student."""
    n_labels = distiller.n_paid_ + distiller.n_free_
    model, classes = distiller.student_, distiller.classes_
    return _measured("student", model, X, truth, classes, n_labels)


def _without_teacher(distiller, X, truth):
    """Measure the student, and the best of the default ones, on the given labels."""
    given = getattr(distiller, "_given", None)
    if given is None:
        return {}
    classes = distiller.classes_
    students = {"student": clone(distiller.student_)}
    kinds = {
        name: as_student(each, 0)
        for name, each in default_students((given.X,), len(classes)).items()
    }
    kind = next(iter(kinds))
    if len(given.targets) >= FEWEST_ROWS:
        is_given = np.ones(len(given.targets), dtype=bool)
        options = {"classes": classes, "given": is_given}
        kind = next(iter(score_students(kinds, given.X, given.targets, **options)))
    if distiller.student is not None or kind != next(
        iter(distiller.student_scores_), 0
    ):
        students[kind] = kinds[kind]
    models = {}
    for name, student in students.items():
        metadata = given.metadata if name == "student" else {}
        targets = give_every_class(given.targets)
        fit_student(student, given.X, targets, classes=classes, **metadata)
        title = name + ALONE
        models[title] = _measured(title, student, X, truth, classes, 0)
    return models


def _measured(name, model, X, truth, classes, n_labels):
    """Let a model predict, and take the time."""
    times: list[float] = []
    while not times or (len(times) < _REPEATS and sum(times) < _SECONDS):
        start = perf_counter()
        predicted = student_classes(model, X, classes)
        times.append(perf_counter() - start)
    return Measured(
        name,
        np.array(predicted.tolist(), dtype=object) == truth,
        np.ones(len(truth), dtype=bool),
        seconds_per_row=min(times) / len(truth),
        size=size_of(model),
        n_labels=n_labels,
    )


def _teacher(distiller, truth, answers, price):
    """Measure the teacher; a row that it gave no label is not right."""
    hits = (answers.codes >= 0) & (distiller.classes_[answers.codes] == truth)
    teacher = as_teacher(distiller.teacher_)
    size = size_of(teacher._asked) if isinstance(teacher, EstimatorTeacher) else None
    seconds = answers.seconds_per_row
    return Measured("teacher", hits, answers.known, seconds, size, price)


def _cascade(cascade, X, truth, answers, price, models, notes):
    """Measure a cascade by the answers at hand; None if some are missing."""
    classes = cascade.classes_
    proba = student_proba(cascade.distiller_.student_, X, len(classes))
    deferred = proba.max(axis=1) <= cascade.threshold_
    if (deferred & ~answers.known).any():
        notes.append(
            f"The cascade is not measured: it defers {deferred.sum():,} rows to the "
            "teacher, whose answers are not all known; pass ask_teacher=True."
        )
        return None
    codes = np.where(
        deferred & (answers.codes >= 0), answers.codes, proba.argmax(axis=1)
    )
    share, student = float(deferred.mean()), models["student"]
    seconds = student.seconds_per_row
    if answers.seconds_per_row is not None:
        seconds += share * answers.seconds_per_row
    return Measured(
        f"cascade ({100 * share:.0f} % to the teacher)",
        classes[codes] == truth,
        np.ones(len(truth), dtype=bool),
        seconds,
        student.size,
        None if price is None else share * price,
        student.n_labels,
    )


def teacher_prices(distiller):
    """Return what an answer of the teacher cost so far, and its seconds, or None."""
    if distiller.teacher_ is None:
        return None, None
    teacher = as_teacher(distiller.teacher_)
    counts = distiller.ledger_.summary()["teachers"].get(teacher.identity)
    if not counts or not counts["n_paid"]:
        return teacher.cost_per_row, None
    price = counts["cost"] / counts["n_paid"]
    return price or teacher.cost_per_row, counts["seconds"] / counts["n_paid"]


class _Counter(io.RawIOBase):
    """Count the bytes that are written."""

    n_bytes = 0

    def writable(self):
        """Tell that bytes can be written."""
        return True

    def write(self, data):
        """Count the bytes; large arrays come as buffers without a length."""
        size = memoryview(data).nbytes
        self.n_bytes += size
        return size


def size_of(model):
    """Return the bytes of a pickled model; None if it cannot be pickled."""
    counter = _Counter()
    try:
        pickle.Pickler(counter).dump(model)
    except Exception:
        return None
    return counter.n_bytes
