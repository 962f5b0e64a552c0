"""A teacher that answers within a day, at half the price."""

import json
import logging
import random
import time
import uuid
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadistill._rows._containers import count_rows, take_rows
from skadistill._utils.compat import Interval
from skadistill._utils.display import message_of
from skadistill._utils.validation import as_cost
from skadistill.exceptions import TeacherCallError, TeacherError
from skadistill.llm._batch_answers import is_late, read_batch
from skadistill.llm._batch_client import open_batches
from skadistill.llm._chat import ChatTeacher
from skadistill.llm._prompts import row_fields
from skadistill.teachers._answers import Answer, JobAnswers
from skadistill.teachers._base import TEACHER_CONSTRAINTS, BaseTeacher
from skadistill.teachers._identity import classes_suffix, object_identity
from skadistill.teachers._limits import Limits
from skadistill.teachers._retries import (
    is_retryable,
    may_be_billed,
    retry_after,
    status_of,
)

__all__ = ["BatchTeacher"]

logger = logging.getLogger(__name__)

#: Requests of one batch at most.
_LARGEST_BATCH = 50_000
#: Between a job's name and which fields its endpoint does not take.
_LEARNED = " without "
#: What a batch is called when it has ended; under any other name it still runs.
_ENDED = {"completed", "failed", "expired", "cancelled", "canceled"}


class BatchTeacher(BaseTeacher):
    """Send requests as batch jobs, at half the price and within a day.

    Each round of a fit is one job. The ledger remembers the rows that a job holds, so
    that a fit may end while one runs (``termination_condition_`` is "waiting", and the
    student is the one trained so far) and go on when it is run again, also in another
    process: it collects the answers, and nothing is paid twice.

    Parameters
    ----------
    jobs : ChatTeacher, or pair of functions
        A `ChatTeacher` whose client is one of the openai or the anthropic package, or
        a base URL; an address that names Anthropic speaks its protocol. Its requests
        are answered by the endpoint's batches. Its labels and those of its batches
        are the same to a ledger. Or ``(submit, poll)``: ``submit(rows)`` starts a job
        and returns its name, a string; ``poll(name)`` returns None while it runs, and
        then the answers, in the order of the rows: probabilities, hard labels, or an
        `Answer` with their cost.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns of `poll` mean, or which labels may come. None: the classes
        asked for, in order; a `ChatTeacher` has its own.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: that of the
        `ChatTeacher`; functions are known in this process only, and a ledger in a file
        asks for a name.
    try_first : bool, default=True
        Whether the first row is asked about at once, at the full price, unless the
        endpoint has answered before: what its model does not take, such as
        ``max_tokens``, is then known before a job has taken a day to say so. Jobs in
        the ledger remember it for other processes.
    discount : float, default=0.5
        What a batch costs, as a share of the prices of the `ChatTeacher`.
    completion_window : str, default="24h"
        Within which time the endpoint is to answer.
    max_wait : float or None, default=600.0
        Seconds that one purchase waits for its jobs. None: until they end.
    poll_every : float, default=30.0
        Seconds between looks at a job.
    limits : Limits or None, default=None
        Of its fields count ``timeout``; ``max_tries``, the tries of a call and the
        jobs in which a row may stay unanswered, because they expired or its request
        failed, which costs nothing; and ``backoff``. None: those of the
        `ChatTeacher`, or ``Limits()``.
    cost_per_row : float or None, default=None
        What one row costs at most, in the user's money, with functions. None: not
        known.

    Attributes
    ----------
    identity : str
        The name under which a ledger files the answers.
    max_cost_per_row : float or None
        What one row can cost at most.

    See Also
    --------
    ChatTeacher : Answers at once, at the full price.

    Notes
    -----
    An answer that cannot be used counts as no label; it is paid for and not asked for
    again.

    If the process is killed after the endpoint has started a job and before the
    ledger knows its name, which takes milliseconds, the rows count as lost, at their
    price.

    Examples
    --------
    >>> from skadistill.labeling import buy_labels
    >>> from skadistill.ledger import MemoryLedger
    >>> from skadistill.llm import BatchTeacher
    >>> jobs = {}
    >>> def submit(texts):
    ...     jobs["job 1"] = ["spam" if "win" in t else "ham" for t in texts]
    ...     return "job 1"
    >>> teacher = BatchTeacher((submit, jobs.get), name="me", version="1")
    >>> purchase = buy_labels(
    ...     teacher, ["win!", "hi"], classes=["ham", "spam"], ledger=MemoryLedger()
    ... )
    >>> purchase.labels
    array([[0., 1.],
           [1., 0.]])
    """

    _parameter_constraints: dict = {
        "jobs": [ChatTeacher, list, tuple],
        "classes": TEACHER_CONSTRAINTS["classes"],
        "name": TEACHER_CONSTRAINTS["name"],
        "version": TEACHER_CONSTRAINTS["version"],
        "try_first": ["boolean"],
        "discount": [Interval(Real, 0, None, closed="left")],
        "completion_window": [str],
        "max_wait": [Interval(Real, 0, None, closed="left"), None],
        "poll_every": [Interval(Real, 0, None, closed="neither")],
        "limits": [Limits, None],
    }

    on_invalid: str = "skip"

    def __init__(
        self,
        jobs: Any,
        classes: Any = None,
        name: str | None = None,
        version: str | None = None,
        *,
        try_first: bool = True,
        discount: float = 0.5,
        completion_window: str = "24h",
        max_wait: float | None = 600.0,
        poll_every: float = 30.0,
        limits: Limits | None = None,
        cost_per_row: float | None = None,
    ) -> None:
        self.jobs = jobs
        self.classes = classes
        self.name = name
        self.version = version
        self.try_first = try_first
        self.discount = discount
        self.completion_window = completion_window
        self.max_wait = max_wait
        self.poll_every = poll_every
        self.limits = limits
        self.cost_per_row = cost_per_row

    @property
    def _chat(self):
        return self.jobs if isinstance(self.jobs, ChatTeacher) else None

    @property
    def max_tries(self) -> Any:
        """Jobs in which a row may stay unanswered; then it is an error."""
        return self._limits.max_tries

    @property
    def _limits(self):
        """The limits given, those of the ChatTeacher, or the default ones."""
        if self.limits is not None:
            return self.limits
        return Limits() if self._chat is None else self._chat._limits

    @property
    def display_name(self) -> Any:
        """The teacher's name in messages."""
        if self.name is None and self._chat is not None:
            return self._chat.display_name
        return super().display_name

    @property
    def classes_(self) -> Any:
        """What the columns of its answers mean; None if it has not said."""
        return self.classes if self._chat is None else self._chat.classes_

    @property
    def max_cost_per_row(self) -> Any:
        """What one row can cost at most."""
        if self._chat is None:
            return self.cost_per_row
        price = self._chat.cost_per_row
        return None if price is None else price * self.discount

    @property
    def claim_size(self) -> Any:
        """How many rows are bought together by default: those of one batch."""
        return _LARGEST_BATCH

    @property
    def identity(self) -> Any:
        """The name under which a ledger files the answers."""
        if self._chat is not None and self.name is None and self.version is None:
            return self._chat.identity
        return super().identity

    def derived_identity(self) -> str:
        """Return the identity of the ChatTeacher, or of the function `submit`.

        Returns
        -------
        identity : str
            The same whatever the discount and the waiting times.
        """
        if self._chat is not None:
            return self._chat.derived_identity()
        return f"batch:{object_identity(self.jobs[0])}{classes_suffix(self.classes)}"

    def max_costs(self, X: Any) -> NDArray[Any] | None:
        """Return what each of some rows costs at most.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        prices : ndarray of float64 of shape (n_samples,) or None
            None: not known.
        """
        if self._chat is None:
            price = as_cost(self.cost_per_row, "cost_per_row")
            return None if price is None else np.full(count_rows(X), price)
        prices = self._chat.prices_of(X)
        return None if prices is None else prices * self.discount

    def estimate_cost(self, X: Any) -> float | None:
        """Estimate what the labels of some rows cost, without a call.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        cost : float or None
            None without prices.
        """
        if self._chat is None:
            costs = self.max_costs(X)
            return None if costs is None else float(costs.sum())
        cost = self._chat.estimate_cost(X)
        return None if cost is None else cost * self.discount

    def answer(self, X: Any) -> Answer:
        """Submit the rows as one job and wait for it, however long it takes.

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
        ids = [str(i) for i in range(count_rows(X))]
        answered = self.refused_rows(X)
        labels = np.full((len(ids), len(classes)), np.nan)
        cost = 0.0
        n_tries = 0
        chat, first = self.asked_first(), np.flatnonzero(~answered)[:1]
        if chat is not None and len(first):
            (part,) = chat.ask_parts(take_rows(X, first), classes)
            labels[first], cost = part.labels, part.cost or 0.0
            answered[first] = True
        while n_tries < self.max_tries:
            rows = np.flatnonzero(~answered)
            if not len(rows):
                break
            names = [ids[i] for i in rows]
            job = self.submit_rows(take_rows(X, rows), names, classes)
            while (found := self.poll_job(job, names, classes)) is None:
                time.sleep(self.poll_every)
            if found.fault is not None:
                raise found.fault
            labels[rows] = found.labels
            answered[rows] = found.answered
            n_tries += not found.has_learned
            most = self.max_costs(take_rows(X, rows))
            cost += float(np.sum(np.where(np.isnan(found.costs), most, found.costs)))
        if not answered.all():
            raise TeacherCallError(
                f"{self.display_name} left {int((~answered).sum())} rows unanswered in "
                f"{self.max_tries} jobs ({found.reason}); fix the endpoint or its "
                "input and ask again."
            )
        return Answer(labels, cost=cost)

    def refused_rows(self, X: Any) -> NDArray[Any]:
        """Return which rows are empty or too long to be sent, and so have no label.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        refused : ndarray of bool of shape (n_samples,)
            Always False with functions.
        """
        n_rows = count_rows(X)
        if self._chat is None:
            return np.zeros(n_rows, dtype=bool)
        requests = self._chat._requests
        unsent = (requests.unsent(row_fields(take_rows(X, [i]))) for i in range(n_rows))
        return np.array([reason is not None for reason in unsent], bool)

    def submit_rows(self, X: Any, ids: list[str], classes: Any) -> str:
        """Start a job.

        Parameters
        ----------
        X : container of n_rows rows
            The rows.
        ids : list of str
            A name for each.
        classes : array-like of shape (n_classes,)
            The columns wanted.

        Returns
        -------
        job : str
            Its name.

        Raises
        ------
        TeacherCallError
            If it cannot be started. Its ``cost`` is 0 unless it may be billed.
        """
        self._check_question(X, classes)
        if self._chat is None:
            return self._started(lambda: self.jobs[0](X), "submit")
        requests = self._chat._requests
        lines = [
            {
                "custom_id": name,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": requests.line(take_rows(X, [i])),
            }
            for i, name in enumerate(ids)
        ]
        batches = self._batches()
        file = self._patiently(lambda: batches.upload(lines), lambda error: True)
        mark = uuid.uuid4().hex
        metadata = {"skadistill": self.identity[:500], "submission": mark}
        # A second batch beside one that is lost would be paid twice: only what the
        # server has refused is tried again.
        learned = requests.learned()
        learned = _LEARNED + json.dumps(learned) if learned else ""
        try:
            started = self._patiently(
                lambda: batches.create(file, self.completion_window, metadata),
                lambda error: not may_be_billed(error),
            )
            return started + learned
        except TeacherCallError as error:
            if error.cost == 0.0:
                raise
            # The connection broke after it was sent: it may have started.
            for batch in self._patiently(batches.latest, lambda error: True):
                if (batch.get("metadata") or {}).get("submission") == mark:
                    return batch["id"] + learned
            raise

    def recall(self, job: str) -> None:
        """Send requests as those of a job were sent: its name holds what was learned.

        Parameters
        ----------
        job : str
            Its name, as `submit_rows` returned it.
        """
        _, mark, learned = job.partition(_LEARNED)
        if self._chat is not None:
            self._chat._requests.recall(json.loads(learned) if mark else {})

    def asked_first(self) -> Any:
        """Return the teacher to ask about one row before the first job.

        Returns
        -------
        teacher : ChatTeacher or None
            None if what the endpoint takes is known.
        """
        if self._chat is None or not self.try_first:
            return None
        requests = self._chat._requests
        return None if requests.accepted or requests.has_recalled else self._chat

    def poll_job(self, job: str, ids: list[str], classes: Any) -> Any:
        """Look at a job once.

        Parameters
        ----------
        job : str
            Its name.
        ids : list of str of length n_rows
            The rows, as they were submitted.
        classes : array-like of shape (n_classes,)
            The columns wanted.

        Returns
        -------
        answers : JobAnswers or None
            None while it runs, and while the endpoint cannot be reached.
        """
        classes = np.asarray(classes).tolist()
        if self._chat is None:
            return self._polled(job, len(ids), classes)
        batches, status = self._batches(), None
        self.recall(job)
        try:
            batch = batches.retrieve(job.partition(_LEARNED)[0])
            status = str(batch["status"]).casefold()
            if status not in _ENDED:
                logger.info("%s: job %s is %s", self.display_name, job, status)
                return None
            names = [batch.get("output_file_id"), batch.get("error_file_id")]
            lines = [line for name in names if name for line in batches.read(name)]
        except Exception as error:
            # A file that is listed and not found yet comes later.
            if is_retryable(error) or (
                status == "completed" and status_of(error) == 404
            ):
                logger.warning(
                    "%s: job %s could not be looked at (%s); it is tried again",
                    self.display_name,
                    job,
                    type(error).__name__,
                )
                return None
            raise self._fault(error, f"job {job!r}") from error
        if status == "completed" and is_late(batch, lines):
            logger.warning(
                "%s: job %s has ended, and its file is not complete; it is looked at "
                "again",
                self.display_name,
                job,
            )
            return None
        found = read_batch(batch, lines, ids, self._chat._requests, self._price)
        if status == "failed":
            found = replace(found, fault=self._refused(job, batch))
        own = np.asarray(self._class_list(), dtype=object).tolist()
        return replace(found, labels=found.labels[:, [own.index(c) for c in classes]])

    def _price(self, cost):
        """Return the price of a reply; NaN without its usage."""
        if cost is None:
            return 0.0 if self._chat.prices is None else np.nan
        return cost * self.discount

    def _refused(self, job, batch):
        """Return the error for a batch that was not even begun."""
        listed = (batch.get("errors") or {}).get("data") or [{}]
        code, said = listed[0].get("code") or "no code", listed[0].get("message")
        shown = f"{code!s:.60}: {message_of(said):.200}" if said else f"{code!s:.60}"
        return TeacherCallError(
            f"{self.display_name}: the endpoint has refused the job {job!r} ({shown}); "
            "what it has not answered costs nothing; check its model and its limits, "
            "and ask again."
        )

    def _polled(self, job, n_rows, classes):
        """Look at a job of the user's functions."""
        try:
            answer = self.jobs[1](job)
        except TeacherError:
            raise
        except Exception as error:
            if is_retryable(error):
                return None
            raise self._fault(error, f"poll({job!r})") from error
        if answer is None:
            return None
        if not isinstance(answer, Answer):
            answer = Answer(answer)
        part, _ = self._check_answer(answer, np.empty((n_rows, 0)), classes, None)
        costs = np.full(n_rows, (part.cost or 0.0) / n_rows)
        models = [part.model] * n_rows
        return JobAnswers(part.labels, np.ones(n_rows, dtype=bool), costs, models)

    def _batches(self):
        """Return the batches of the client; new ones if it changes."""
        chat = self._chat
        settings = chat.client, chat.api_key_env, self._limits.timeout
        made = vars(self).get("_made")
        if made is None or made[0] != settings:
            made = self._made = (settings, open_batches(*settings))
        return made[1]

    def _patiently(self, call, is_safe):
        """Call, and call again after faults that pass."""
        for n_tries in range(1, self.max_tries + 1):
            try:
                return call()
            except Exception as error:
                last = n_tries == self.max_tries
                if last or not is_retryable(error) or not is_safe(error):
                    raise self._fault(error, "a batch") from error
                longest = min(self._limits.backoff * 2**n_tries, self.poll_every)
                time.sleep(max(random.uniform(0.0, longest), retry_after(error)))
        raise AssertionError

    def _started(self, start, what):
        """Start a job; return its name as a text."""
        try:
            job = start()
        except TeacherError:
            raise
        except Exception as error:
            raise self._fault(error, what) from error
        if not isinstance(job, str) or not job:
            raise TeacherError(
                f"{self.display_name}: submit returned {job!r:.60} instead of the name "
                "of the job; return a string that poll finds it by."
            )
        return job

    def _fault(self, error, what):
        """Return a TeacherCallError for whatever was raised."""
        if isinstance(error, TeacherError):
            return error
        status = status_of(error)
        said = f": {message_of(error)}" if status is not None else ""
        fault = TeacherCallError(
            f"{self.display_name} raised {type(error).__name__}"
            f"{'' if status is None else f' ({status})'} for {what}{said}; fix the "
            "teacher or its input and ask again."
        )
        if not may_be_billed(error):
            fault.cost = 0.0
        return fault

    def _check_parameters(self):
        super()._check_parameters()
        if self._chat is not None:
            self._chat._check_parameters()
            if self._chat.multilabel:
                raise TeacherError(
                    "a batch reads one class per row, and the ChatTeacher has "
                    "multilabel=True; ask the ChatTeacher itself."
                )
            if self._chat.rows_per_call > 1 or self._chat.n_candidates:
                raise TeacherError(
                    f"rows_per_call is {self._chat.rows_per_call} and n_candidates is "
                    f"{self._chat.n_candidates}, but each line of a batch asks about "
                    "one row, with all classes; pass a ChatTeacher with 1 and None."
                )
            most = self._batches().most_samples
            if most is not None and self._chat.n_samples > most:
                raise TeacherError(
                    f"n_samples is {self._chat.n_samples}, and these batches give one "
                    "reply to a request; pass n_samples=1, or ask the ChatTeacher "
                    "itself."
                )
        elif len(self.jobs) != 2 or not all(map(callable, self.jobs)):
            raise TeacherError(
                f"jobs is {self.jobs!r:.100}; pass a ChatTeacher or a pair of "
                "functions (submit, poll)."
            )

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_made"}
