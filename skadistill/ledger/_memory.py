"""A ledger that lives as long as the process."""

import itertools
import math
import multiprocessing
import os
import threading
import uuid
import warnings
import weakref
from datetime import UTC, datetime
from typing import Any

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill.exceptions import LedgerCopyWarning
from skadistill.ledger._base import BaseLedger
from skadistill.ledger._budget import Claim, Spending, check_limits, grant_rows
from skadistill.ledger._checks import check_width
from skadistill.ledger._counts import (
    NO_COUNTS,
    column_order,
    total_summary,
    with_losses,
)
from skadistill.ledger._jobs import OpenJob, job_owner
from skadistill.ledger._keyed_array import KeyedArray

__all__ = ["MemoryLedger"]

_PROCESS = uuid.uuid4().hex


class _OpenClaim:
    """Rows that one thread is paying for."""

    def __init__(self, claim, question, prices):
        self.claim = weakref.ref(claim)
        self.question = question
        self.prices = prices  # of each key that is not answered yet, at most
        self.sent: set[bytes] = set()
        self.thread = threading.current_thread()
        self.since = datetime.now(UTC)
        self.job = None

    @property
    def keys(self):
        """The rows that are not answered yet."""
        return self.prices.keys()

    @property
    def most(self):
        """What they can cost."""
        return math.fsum(self.prices.values())

    @property
    def owner(self):
        """Who holds the rows."""
        return self.thread.name if self.job is None else job_owner(self.job)


class MemoryLedger(BaseLedger):
    """Remember paid labels for as long as the process lives.

    Safe to share between threads, between clones, and between fits: a search with
    several candidates pays each distinct row once.

    Parameters
    ----------
    max_rows : int or None, default=None
        Rows that may be paid for in the ledger's whole life, all teachers together;
        a fit that reaches it ends normally. None: no limit.
    max_cost : float or None, default=None
        Money that may be paid; needs teachers that name a price. None: no limit.

    Notes
    -----
    A ledger in memory cannot be seen from another process. Pickling makes a copy;
    so do joblib's worker processes (``n_jobs=2``) and a fork. Such a copy answers
    from the labels it had when it was made, but new ones are lost with its
    process, and rows can be paid for again elsewhere: the first payment in a worker
    process raises a `~skadistill.exceptions.LedgerCopyWarning`. A ledger that another
    program saved is as good as the original. To share labels between jobs, use
    threads (``joblib.parallel_config(backend="threading")``) or a ledger on disk.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.ledger import MemoryLedger, row_keys
    >>> ledger = MemoryLedger()
    >>> X = np.array([[0.0], [1.0]])
    >>> ledger.record(row_keys(X[:1]), "me", ["a", "b"], [[0.25, 0.75]])
    >>> known, labels = ledger.lookup(row_keys(X), "me", ["b", "a"])
    >>> known, labels[0], len(ledger)
    (array([ True, False]), array([0.75, 0.25]), 1)
    """

    def __init__(
        self, *, max_rows: int | None = None, max_cost: float | None = None
    ) -> None:
        check_limits(max_rows, max_cost)
        self.max_rows = max_rows
        self.max_cost = max_cost
        # (teacher_id, set of classes): (order of classes, labels and cost per row)
        self._labels: dict[Any, Any] = {}
        self._embeddings: dict[Any, Any] = {}  # teacher_id: table
        self._counts: dict[Any, Any] = {}
        self._answered_by: dict[str, dict[str, int]] = {}  # teacher_id: {model: rows}
        self._claims: dict[int, _OpenClaim] = {}
        self._lost: dict[Any, Any] = {}  # claim: (teacher_id, {key: price})
        self._tokens = itertools.count()
        self._process = _this_process()
        self._warned = False
        self._lock = threading.RLock()

    def __getstate__(self) -> Any:
        with self._lock:
            # Copies: another thread may record while the state is being written.
            # Claims stay here with their buyers.
            return {
                "max_rows": self.max_rows,
                "max_cost": self.max_cost,
                "labels": [
                    (teacher_id, classes, *table.contents())
                    for (teacher_id, _), (classes, table) in self._labels.items()
                ],
                "embeddings": [
                    (teacher_id, *table.contents())
                    for teacher_id, table in self._embeddings.items()
                ],
                "counts": {k: dict(v) for k, v in self._counts.items()},
                "models": {k: dict(v) for k, v in self._answered_by.items()},
                "process": self._process,
                "warned": self._warned,
            }

    def __setstate__(self, state: Any) -> None:
        MemoryLedger.__init__(
            self, max_rows=state["max_rows"], max_cost=state["max_cost"]
        )
        for teacher_id, classes, keys, rows in state["labels"]:
            question = (teacher_id, frozenset(classes))
            self._labels[question] = (tuple(classes), KeyedArray.holding(keys, rows))
        for teacher_id, keys, rows in state["embeddings"]:
            self._embeddings[teacher_id] = KeyedArray.holding(keys, rows)
        self._counts = {k: dict(v) for k, v in state["counts"].items()}
        self._answered_by = {k: dict(v) for k, v in state.get("models", {}).items()}
        self._process, self._warned = tuple(state["process"]), state["warned"]

    def __repr__(self) -> str:
        summary = self.summary()
        return (
            f"MemoryLedger(<{summary['n_labels']} labels of "
            f"{len(summary['teachers'])} teachers>)"
        )

    def _warn_if_copied(self):
        """Warn once, before anything is paid, if the original is still in use."""
        if not self._warned and _original_lives(self._process):
            self._warned = True
            warnings.warn(
                "this MemoryLedger is a copy, in a worker process, of "
                f"{len(self)} labels: labels paid for here are missing in the "
                "original, so rows can be paid for again; share a ledger on disk "
                "between processes, or use joblib's threading backend.",
                LedgerCopyWarning,
                stacklevel=4,
            )

    def _find(self, keys, teacher_id, classes):
        labels = np.empty((len(keys), len(classes)))
        with self._lock:
            found = self._labels.get((teacher_id, frozenset(classes)))
            if found is None:
                return np.zeros(len(keys), dtype=bool), labels
            stored, table = found
            positions = table.positions(keys)
            known = positions >= 0
            labels[known] = table.rows[positions[known]][
                :, column_order(stored, classes)
            ]
        return known, labels

    def _find_embeddings(self, keys, teacher_id):
        with self._lock:
            table = self._embeddings.get(teacher_id, KeyedArray(0, np.float32))
            where = table.positions(keys)
            known = where >= 0
            embeddings = np.empty((len(keys), table.n_columns), np.float32)
            embeddings[known] = table.rows[where[known]]
        return known, embeddings

    def _store(
        self,
        keys,
        teacher_id,
        classes,
        labels,
        embeddings,
        cost,
        seconds,
        claim,
        n_paid,
        model=None,
        unanswered=None,
    ):
        self._warn_if_copied()
        with self._lock:
            if claim is not None and claim.job is not None:
                here = self._held_by(claim, keys)
                if not here.any():  # another thread has recorded them
                    return
                cost, seconds = cost * here.mean(), seconds * here.mean()
                keys, labels, n_paid = keys[here], labels[here], int(here.sum())
                embeddings = None if embeddings is None else embeddings[here]
            if embeddings is not None:
                self._add_embeddings(keys, teacher_id, embeddings)
            stored, table = self._labels.setdefault(
                (teacher_id, frozenset(classes)),
                (classes, KeyedArray(len(classes) + 1)),
            )
            answered = ~np.isnan(labels).all(axis=1)
            # A label replaces an answer without one.
            positions = table.positions(keys)
            there = np.flatnonzero((positions >= 0) & answered)
            without = np.isnan(table.rows[positions[there], 0])
            table.drop(keys[there[without]].tolist())
            costs = np.full((len(keys), 1), cost / max(1, len(keys)))
            table.add(
                keys, np.hstack([labels[:, column_order(classes, stored)], costs])
            )
            if claim is not None:
                self._take_from_claim(claim.token, keys.tolist())
            self._count(
                teacher_id,
                n_paid=n_paid,
                n_calls=1,
                cost=cost,
                seconds=seconds,
            )
            self._count_unanswered(teacher_id, unanswered)
            if model is not None:
                counts = self._answered_by.setdefault(teacher_id, {})
                counts[model] = counts.get(model, 0) + n_paid

    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        self._warn_if_copied()
        with self._lock:
            self._add_embeddings(keys, teacher_id, embeddings)
            self._count(teacher_id, n_calls=1, cost=cost, seconds=seconds)

    def _add_embeddings(self, keys, teacher_id, embeddings):
        """Keep the embeddings of new keys."""
        table = self._embeddings.setdefault(
            teacher_id, KeyedArray(embeddings.shape[1], np.float32)
        )
        check_width(embeddings, table.n_columns, teacher_id)
        table.add(keys, embeddings)

    def _count(self, teacher_id, **amounts):
        """Add amounts to what is counted for a teacher."""
        counts = self._counts.setdefault(teacher_id, dict(NO_COUNTS))
        for name, amount in amounts.items():
            counts[name] += amount

    def _count_unanswered(self, teacher_id, unanswered):
        """Count rows of calls that may be billed and brought no answer."""
        if unanswered is not None:
            n_rows, most = unanswered
            self._count(teacher_id, n_unanswered=n_rows, max_lost_cost=most)

    def _reserve(self, keys, teacher_id, classes, prices):
        question = (teacher_id, frozenset(classes))
        with self._lock:
            self._end_abandoned(question, set(keys.tolist()))
            known, _ = self._find(keys, teacher_id, classes)
            claimed = {
                key
                for open_claim in self._claims.values()
                if open_claim.question == question
                for key in open_claim.keys
            }
            free = ~known & [key not in claimed for key in keys.tolist()]
            granted, refused, waiting = grant_rows(
                free,
                prices,
                max_rows=self.max_rows,
                max_cost=self.max_cost,
                spending=self._spending(),
            )
            token = next(self._tokens)
            claim = Claim(granted, refused, waiting, prices, token)
            if granted.any():
                self._warn_if_copied()
                most = np.zeros(len(keys)) if prices is None else prices
                held = zip(keys[granted].tolist(), most[granted].tolist(), strict=True)
                self._claims[token] = _OpenClaim(claim, question, dict(held))
        return claim

    def _end_abandoned(self, question, keys):
        """End claims that are no longer in use.

        Those that nothing refers to, those of threads that have ended, and those of
        this thread on rows that it claims again, which an interrupt has kept it from
        releasing.
        """
        here = threading.current_thread()
        for token, held in list(self._claims.items()):
            again = held.thread is here and held.question == question
            if held.job is None and (
                held.claim() is None
                or not held.thread.is_alive()
                or (again and not keys.isdisjoint(held.keys))
            ):
                self._lose(token)

    def _lose(self, token):
        """End a claim; count the rows that it had sent as lost."""
        held = self._claims.pop(token)
        sent = {key: held.prices[key] for key in held.sent & held.keys}
        if sent:
            teacher_id = held.question[0]
            self._lost[token] = teacher_id, sent
            most = math.fsum(sent.values())
            self._count(teacher_id, n_lost=len(sent), max_lost_cost=most)
        return len(held.keys)

    def _recover(self, token, keys=None):
        """Take back what was counted as lost; return the number of rows."""
        if token not in self._lost:
            return 0
        teacher_id, lost = self._lost[token]
        back = set(lost) if keys is None else lost.keys() & set(keys)
        most = math.fsum([lost.pop(key) for key in back])
        self._count(teacher_id, n_lost=-len(back), max_lost_cost=-most)
        return len(back)

    def _spending(self):
        summary = self.summary()
        return Spending(
            n_rows=summary["n_paid"] + summary["n_lost"],
            n_reserved=sum(len(claim.prices) for claim in self._claims.values()),
            cost=summary["cost"] + summary["max_lost_cost"],
            reserved=math.fsum(claim.most for claim in self._claims.values()),
        )

    def _take_from_claim(self, token, keys):
        """Remove answered rows from their claim."""
        if token not in self._claims:
            self._recover(token, keys)
            return
        held = self._claims[token].prices
        for key in keys:
            held.pop(key, None)
        if not held:
            del self._claims[token]

    def _send(self, claim, keys):
        keys = keys.tolist()
        with self._lock:
            held = self._claims.get(claim.token)
            if held is None:
                return np.zeros(len(keys), dtype=bool)
            held.sent.update(held.keys & set(keys))
            return np.array([key in held.keys for key in keys], dtype=bool)

    def _held_by(self, claim, keys):
        """Tell which rows a claim still holds."""
        held = self._claims.get(claim.token)
        own = {} if held is None else held.prices
        return np.array([key in own for key in keys.tolist()], dtype=bool)

    def _hand_to_job(self, claim, job):
        with self._lock:
            held = self._claims.get(claim.token)
            if held is not None:
                held.job = job
            return held is not None

    def _jobs(self, teacher_id, classes):
        question = (teacher_id, frozenset(classes))
        with self._lock:
            return [
                OpenJob.holding(held.job, held.prices, token, held.since)
                for token, held in self._claims.items()
                if held.job is not None and held.question == question
            ]

    def _renew(self, claim):
        with self._lock:
            return claim.token in self._claims

    def _end(self, claim, fault, cost, seconds, unanswered=None):
        with self._lock:
            if claim.token in self._claims:
                ended = self._claims.pop(claim.token)
                teacher_id, n_rows = ended.question[0], len(ended.keys)
            elif claim.token in self._lost:
                teacher_id = self._lost[claim.token][0]
                n_rows = self._recover(claim.token)
            else:
                return
            if fault is not None and n_rows:
                self._count(teacher_id, n_failed=n_rows, cost=cost, seconds=seconds)
                self._count_unanswered(teacher_id, unanswered)

    def _open_claims(self):
        with self._lock:
            return [
                {
                    "owner": held.owner,
                    "teacher": held.question[0],
                    "n_rows": len(held.keys),
                    "n_sent": len(held.sent & held.keys),
                    "max_cost": held.most,
                    "since": held.since,
                    "until": None,
                }
                for held in self._claims.values()
            ]

    def _free(self, owner):
        with self._lock:
            return sum(
                self._lose(token)
                for token, held in list(self._claims.items())
                if owner in (None, held.owner)
            )

    def _write_off(self, teacher_id):
        n_rows, n_unanswered, cost = 0, 0, 0.0
        with self._lock:
            for owner, counts in self._counts.items():
                if teacher_id in (None, owner):
                    n_rows += counts["n_lost"]
                    n_unanswered += counts["n_unanswered"]
                    cost += counts["max_lost_cost"]
                    counts.update(n_lost=0, n_unanswered=0, max_lost_cost=0.0)
            for token, (owner, _) in list(self._lost.items()):
                if teacher_id in (None, owner):
                    del self._lost[token]
        return n_rows, n_unanswered, cost

    def _forget(self, teacher_id):
        with self._lock:
            return sum(
                table.drop(_keys_without_label(table))
                for (owner, _), (_, table) in self._labels.items()
                if teacher_id in (None, owner)
            )

    def _questions(self):
        with self._lock:
            return [
                (teacher_id, classes)
                for (teacher_id, _), (classes, _) in self._labels.items()
            ]

    def _models(self, teacher_id):
        found: dict[str, int] = {}
        with self._lock:
            for owner, counts in self._answered_by.items():
                if teacher_id in (None, owner):
                    for model, n_rows in counts.items():
                        found[model] = found.get(model, 0) + n_rows
        return found

    def _keys_in_order(self, teacher_id, classes, n_keys=None):
        with self._lock:
            found = self._labels.get((teacher_id, frozenset(classes)))
            keys = [] if found is None else list(found[1].position)[:n_keys]
        return np.array(keys, KEY_DTYPE)

    def _costs(self, keys, teacher_id, classes):
        with self._lock:
            _, table = self._labels[teacher_id, frozenset(classes)]
            return table.rows[table.positions(keys), -1]

    def __len__(self) -> int:
        """Return the number of labels, one per teacher, set of classes and row."""
        return self.summary()["n_labels"]

    def summary(self) -> dict[str, Any]:
        """Return totals of rows, calls, money and time.

        Returns
        -------
        summary : dict
            As `BaseLedger.summary` says.
        """
        with self._lock:
            teachers = {
                teacher_id: {**NO_COUNTS, **counts}
                for teacher_id, counts in self._counts.items()
            }
            for (teacher_id, _), (_, table) in self._labels.items():
                n_without = len(_keys_without_label(table))
                teachers[teacher_id]["n_no_label"] += n_without
                teachers[teacher_id]["n_labels"] += len(table.position) - n_without
        return total_summary({t: with_losses(c) for t, c in teachers.items()})


def _keys_without_label(table):
    """List the keys that were answered without a label."""
    without = np.isnan(table.rows[: len(table.position), 0])
    if not without.any():
        return []
    keys = list(table.position)
    return [keys[i] for i in np.flatnonzero(without)]


def _this_process():
    """Name this process; the process id alone is used again, and survives a fork."""
    return (_PROCESS, os.getpid())


def _original_lives(process):
    """Tell whether a ledger came here from the process that started this one."""
    token, pid = process
    if pid == os.getpid() and token == _PROCESS:
        return False
    return (
        token == _PROCESS  # a fork
        or pid == os.getppid()
        or multiprocessing.parent_process() is not None
    )
