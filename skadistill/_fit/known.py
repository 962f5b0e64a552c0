"""The ledger of a fit, and what it holds before the fit pays for anything."""

import os

import numpy as np

from skadistill._rows._keys import KEY_DTYPE, row_keys
from skadistill.labeling._job_buyer import (
    answers_later,
    check_remembers_jobs,
    collect_others,
)
from skadistill.ledger._as_ledger import as_ledger
from skadistill.teachers._estimator import EstimatorTeacher

__all__ = ["KnownAnswers", "open_ledger"]


def open_ledger(ledger, shared, teacher):
    """Return the ledger of a fit."""
    check_remembers_jobs(teacher, ledger is not None)
    if ledger is not None or shared is None:
        return as_ledger(ledger)
    if shared.process != os.getpid() and isinstance(teacher, EstimatorTeacher):
        return as_ledger()  # a model of one's own is no bill worth a warning
    # In another process this one is a copy, and warns that it is.
    return shared.ledger


class KnownAnswers:
    """Look for answers of a teacher in a ledger, before anything is paid."""

    def __init__(self, teacher, ledger, classes, identity=None):
        self.teacher, self.ledger, self.classes = teacher, ledger, classes
        self.identity, self.counts = None, None
        self._hashed: dict[int, bytes] = {}  # row: key, for teachers with jobs
        if ledger is not None and teacher.is_fitted:
            self.identity = teacher.identity if identity is None else identity
            self.counts = ledger.summary()["teachers"].get(self.identity)

    @property
    def is_new(self):
        """Whether the ledger never heard of this teacher."""
        return self.counts is None

    def find(self, table, rows, *, with_embeddings=False):
        """Find the rows of a table whose answers are known."""
        found = [np.zeros((0, 2), dtype=bool)]
        if self.is_new:
            return rows[:0], rows[:0]
        start = 0
        for block in table.blocks(rows, len(self.classes)):
            keys = row_keys(block)
            if answers_later(self.teacher):
                own = rows[start : start + len(keys)].tolist()
                self._hashed |= zip(own, keys.tolist(), strict=True)
                start += len(keys)
            known, labels = self.ledger.lookup(keys, self.identity, self.classes)
            refused = known & np.isnan(labels).any(axis=1)
            labeled = known & ~refused
            if with_embeddings:
                labeled &= self.ledger.lookup_embeddings(keys, self.identity)[0]
            found.append(np.column_stack([labeled, refused]))
        labeled, refused = np.concatenate(found).T
        return rows[labeled], rows[refused]

    def tried(self, keys):
        """Find the given rows that were answered before any other row was.

        Later ones may have been chosen as mistakes, and corrected by a person.
        """
        if self.is_new:
            return np.empty(0, dtype=np.intp)
        classes = np.asarray(self.classes).tolist()
        paid = self.ledger._keys_in_order(self.identity, classes, len(keys))
        others = np.flatnonzero(~np.isin(paid, keys))
        paid = paid[: others[0]] if others.size else paid
        return np.flatnonzero(np.isin(keys, paid))

    def in_flight(self, table, rows):
        """Find the rows of a table that jobs of the teacher hold."""
        if not answers_later(self.teacher):
            return rows[:0]
        jobs = self.ledger.jobs(self.identity, self.classes)
        if not jobs or not rows.size:
            return rows[:0]
        new = np.array([i for i in rows.tolist() if i not in self._hashed], rows.dtype)
        hashed = [row_keys(block) for block in table.blocks(new, len(self.classes))]
        if hashed:
            keys = np.concatenate(hashed).tolist()
            self._hashed |= zip(new.tolist(), keys, strict=True)
        keys = np.array([self._hashed[i] for i in rows.tolist()], KEY_DTYPE)
        # Jobs on other rows, such as other teacher checks, are collected as well.
        collect_others(
            self.teacher, jobs, keys, self.ledger, self.classes, self.identity
        )
        return rows[np.isin(keys, np.concatenate([job.keys for job in jobs]))]

    def seconds_per_row(self):
        """Return how long the teacher took for a row so far, None if unknown."""
        if not self.counts or not self.counts["n_paid"]:
            return None
        return self.counts["seconds"] / self.counts["n_paid"]
