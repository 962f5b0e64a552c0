"""Buy labels from a teacher that answers later: submit a job, poll it, record."""

import logging
import time
from collections import Counter
from datetime import UTC, datetime

import numpy as np

from skadistill._rows._containers import copy_rows
from skadistill._utils.interrupts import held_interrupts
from skadistill.exceptions import (
    JobPendingError,
    LedgerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.labeling._buyer import Buyer

__all__ = ["JobBuyer", "answers_later", "check_remembers_jobs", "collect_others"]

logger = logging.getLogger(__name__)


def answers_later(teacher):
    """Tell whether a teacher answers by jobs, which may outlive the process."""
    return hasattr(teacher, "submit_rows") and hasattr(teacher, "poll_job")


def check_remembers_jobs(teacher, remembers):
    """Raise if jobs that are not waited for would be forgotten, and paid again."""
    if answers_later(teacher) and not remembers and teacher.max_wait is not None:
        raise TeacherError(
            f"{teacher.display_name} answers later and is waited for at most "
            f"{teacher.max_wait:g} s, but without a ledger its jobs are forgotten; "
            "pass ledger='labels.sqlite', or set max_wait=None to wait until they end."
        )


class JobBuyer(Buyer):
    """One purchase by jobs: those of this purchase, and those found in the ledger.

    The rows of a job are in the order of their keys, so that a process that knows
    nothing but the ledger can say which answer belongs to which row.
    """

    def __init__(self, *question):
        super().__init__(*question)
        wait = self.teacher.max_wait
        self.deadline = np.inf if wait is None else time.monotonic() + wait
        self.n_unanswered: Counter = Counter()
        self.first_seen = {}

    def pay(self, rows):
        """Submit rows as one job; the first one is asked about before, if need be."""
        n_paid, first = 0, self._asked_first()
        if first is not None and len(rows):
            n_paid = self._try(first, rows[:1])
            rows = rows[~self.known[rows]]
        return n_paid + (super().pay(rows) if len(rows) else 0)

    def _asked_first(self):
        """Return the teacher to ask about one row first, unless a job knows more."""
        if getattr(self.teacher, "asked_first", lambda: None)() is None:
            return None
        for job in self.ledger.jobs(self.identity, self.classes):
            self.teacher.recall(job.job)
        return self.teacher.asked_first()

    def _try(self, teacher, row):
        """Buy a row from another teacher; return how many rows that were."""
        buyer = Buyer(
            teacher, copy_rows(self.X, row), self.classes, self.ledger, self.identity
        )
        buyer.row_numbers = self.row_numbers[row]
        try:
            n_granted = buyer.pay(buyer.unknown_rows())
        except TeacherCallError as error:
            # Perhaps only its batches can be reached; if not, the job will say so.
            logger.warning(
                "%s: the row to ask about before the first job was not answered (%s); "
                "the job is submitted all the same",
                self.teacher.display_name,
                type(error.__cause__ or error).__name__,
            )
            self.teacher.recall("")
            return 0
        self.labels[row], self.paid[row] = buyer.labels, buyer.paid
        self.known[row] = buyer.known
        self.n_paid, self.cost = self.n_paid + buyer.n_paid, self.cost + buyer.cost
        self.seconds += buyer.seconds
        self.n_calls += buyer.n_calls
        return n_granted

    def _ask(self, rows, claim):
        """Submit claimed rows as one job, which holds them from then on."""
        rows = rows[np.argsort(self.keys[rows])]
        refused = self.teacher.refused_rows(copy_rows(self.X, rows))
        if refused.any():
            self._record(self.keys[rows[refused]], None, 0.0, None, claim)
        rows = rows[~refused]
        if not len(rows):
            return
        keys = self.keys[rows]
        # Ctrl-C between the two would leave a job that nobody knows.
        with held_interrupts():
            if not np.all(self.ledger.sending(claim, keys)):
                raise LedgerError(
                    "the claim on the rows was ended by free_claims() before they were "
                    "sent; buy the rest again."
                )
            self.sent[rows] = True
            job = self.teacher.submit_rows(
                copy_rows(self.X, rows), _names(keys), self.classes
            )
            self.ledger.hand_to_job(claim, job)
        logger.info("%s: job %s of %d rows", self.teacher.display_name, job, len(rows))

    def open_rows(self, rows, *, progress):
        """Return the rows still to be bought, once a job with some of them is over."""
        rows = rows[~self.known[rows]]
        wanted = set(self.keys[rows].tolist())
        while jobs := self._jobs_with(wanted):
            if any([self._collect(job) for job in jobs]):
                rows = rows[~self.known[rows]]
                wanted = set(self.keys[rows].tolist())
                progress = True
            else:
                self._pause(jobs)
        return super().open_rows(rows, progress=progress)

    def _jobs_with(self, wanted):
        """Return the open jobs that hold some of these keys."""
        return [
            job
            for job in self.ledger.jobs(self.identity, self.classes)
            if not wanted.isdisjoint(job.keys.tolist())
        ]

    def _pause(self, jobs):
        """Wait before the next look, up to the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            names = tuple(job.job for job in jobs)
            n_rows = sum(len(job.keys) for job in jobs)
            error = JobPendingError(
                f"{self.teacher.display_name} has not finished its jobs on {n_rows} "
                f"rows: {', '.join(names):.200}; run the same again later, which "
                "collects their answers."
            )
            error.jobs, error.n_rows, error.cost = names, n_rows, 0.0
            raise error
        time.sleep(min(left, self.teacher.poll_every))

    def _collect(self, job):
        """Record what a job has answered, if anything; return whether it has."""
        answers = self.teacher.poll_job(job.job, _names(job.keys), self.classes)
        if answers is None:
            return False
        costs = answers.costs
        if np.isnan(costs).any():  # without usage: the most that they may be
            costs = np.where(np.isnan(costs), job.claim.max_cost_per_row, costs)
        answered = answers.answered | self._given_up(job, answers)
        seconds = (datetime.now(UTC) - job.since).total_seconds()
        models = np.array([m or "" for m in answers.models], dtype=object)
        for model in dict.fromkeys(models[answered]):
            some = answered & (models == model)
            labels, cost = answers.labels[some], float(costs[some].sum())
            self._record(
                job.keys[some], labels, cost, model or None, job.claim, seconds
            )
            seconds = 0.0
        if not answers.is_over:
            return True
        if not answered.all():
            # Free again; replies that broke off may be billed.
            broken = float(costs[~answered].sum())
            fault = {"fault": "ReplyError", "cost": broken} if broken else {}
            with held_interrupts():
                self.ledger.release(job.claim, **fault)
            self.cost += broken
        if answers.fault is not None:
            answers.fault.cost = 0.0
            raise answers.fault
        if not getattr(answers, "has_learned", False):
            self._count_unanswered(job, answers, job.keys[~answered].tolist())
        return True

    def _given_up(self, job, answers):
        """Return the rows whose reply was empty in all jobs that they may have."""
        if getattr(answers, "empty", None) is None:
            return np.zeros(len(job.keys), dtype=bool)
        n_left = [self.n_unanswered[key] + 1 for key in job.keys.tolist()]
        return answers.empty & (np.array(n_left) >= self.teacher.max_tries)

    def _count_unanswered(self, job, answers, left):
        """Raise if rows stay without an answer, job after job."""
        self.n_unanswered.update(left)
        if any(self.n_unanswered[key] >= self.teacher.max_tries for key in left):
            error = TeacherCallError(
                f"{self.teacher.display_name} left {len(left)} rows unanswered in "
                f"{self.teacher.max_tries} jobs, the last being {job.job!r} "
                f"({answers.reason}); they cost nothing; fix the endpoint or its "
                "input and ask again."
            )
            error.cost = 0.0
            raise error

    def _record(self, keys, labels, cost, model, claim, seconds=0.0):
        """Record labels of a job, None for rows without one, then use them."""
        if labels is None:
            labels = np.full((len(keys), len(self.classes)), np.nan)
        extra = {} if model is None else {"model": model}
        if model is not None and self.models_before is None:
            self.models_before = self.ledger.models(self.identity)
        with held_interrupts():
            self.ledger.record(
                keys,
                self.identity,
                self.classes,
                labels,
                cost=cost,
                seconds=seconds,
                claim=claim,
                **extra,
            )
            self.seconds += seconds
            for key, label in zip(keys.tolist(), labels, strict=True):
                row = self.first_seen.get(key)
                if row is not None:  # others are of an earlier purchase
                    self.labels[row] = label
                    self.paid[row] = self.known[row] = True
                    self.n_paid += 1
                    self.cost += cost / len(keys)


def collect_others(teacher, jobs, keys, ledger, classes, identity):
    """Record the answers of jobs that have ended and hold none of some rows."""
    others = [job for job in jobs if not np.isin(job.keys, keys).any()]
    buyer = JobBuyer(teacher, np.empty((0, 1)), classes, ledger, identity)
    for job in others:
        buyer._collect(job)


def _names(keys):
    """Name rows by their keys."""
    return [key.hex() for key in keys.tolist()]
