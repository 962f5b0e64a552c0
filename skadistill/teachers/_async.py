"""Teachers behind an API: many calls at once, limits, retries, partial answers."""

import asyncio
import concurrent.futures
import functools
import inspect
import logging
import os
import queue
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from skadistill._rows._containers import copy_rows, count_rows
from skadistill.exceptions import TeacherCallError, TeacherError
from skadistill.teachers._base import LabeledBatch
from skadistill.teachers._embeddings import raise_without_embeddings
from skadistill.teachers._function import CalledTeacher
from skadistill.teachers._identity import classes_suffix, function_identity
from skadistill.teachers._request import Request
from skadistill.teachers._retries import (
    is_retryable,
    may_be_billed,
    retry_after,
    status_of,
)

__all__ = ["Answer", "AsyncTeacher"]

logger = logging.getLogger(__name__)

#: Share of the timeout after which an answer is said to be slow.
_SLOW = 0.5


@dataclass(frozen=True, eq=False)
class Answer:
    """Return labels together with what the call cost.

    Parameters
    ----------
    labels : array-like of shape (n_samples, n_classes) or (n_samples,)
        Probabilities, or hard labels.
    cost : float or None, default=None
        What this call cost, in the user's money, for example from the ``usage`` that
        the server reports. None: the teacher's ``cost_per_row``.

    Examples
    --------
    >>> from skadistill.teachers import Answer
    >>> Answer(["spam"], cost=0.0003).cost
    0.0003
    """

    labels: Any
    cost: float | None = None


class AsyncTeacher(CalledTeacher):
    """Ask a function that calls an API: many calls at once, within limits.

    The rows are put in calls of `batch_size`; up to `max_concurrency` of them run
    at a time. A call that fails in passing (too many requests, an overloaded server,
    a timeout, a dropped connection, unreadable JSON) is tried again after a wait that
    doubles; any other fault ends the asking. Calls in flight are then waited for, and
    every row answered is kept in the ledger.

    It can be used like any other teacher, also where an event loop is running, as in
    a notebook: it has a loop of its own in a thread.

    Parameters
    ----------
    function : callable
        ``async def`` or ``def``; the latter runs in threads. Takes rows in the
        container the caller has and returns probabilities of shape
        (n_samples, n_classes), hard labels of shape (n_samples,), or an `Answer` with
        either and the call's cost. Let it take its key from the environment: a
        parameter or a default value would become a part of what is stored.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns mean, or which hard labels may come. None: the classes
        asked for, in order.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: the function's
        module and name, its code, and the values, functions and classes that it uses.
        If these hold a client, a ledger in a file asks for both.
    batch_size : int, default=1
        Rows of one call. Unless the purchase says otherwise, rows are claimed from
        the ledger for ``10 * max_concurrency`` calls at a time: so many at most count
        as lost when the process is killed.
    max_concurrency : int, default=8
        Calls in flight.
    requests_per_minute : float or None, default=None
        Tries that may start in a minute, as a leaky bucket: after a rest so many may
        start at once. Counted in this process. None: no limit.
    tokens_per_minute : float or None, default=None
        Tokens that may be sent in a minute; needs `count_tokens`. None: no limit.
    count_tokens : callable or None, default=None
        Takes the rows of a call and returns (an estimate of) their tokens.
    timeout : float, default=60.0
        Seconds for one try. The thread of a function without ``async`` cannot be
        stopped: give its connection a timeout, too.
    max_tries : int, default=6
        Tries of one call, the first included.
    backoff : float, default=1.0
        Seconds: the k-th wait is random between 0 and ``backoff * 2 ** (k - 1)``,
        at most 60, and not less than the server's ``Retry-After``.
    retryable : callable or None, default=None
        Takes the error of a try and tells whether to try again. None: the faults
        above.
    cost_per_row : float or None, default=None
        What a row of one try costs, in the user's money; with an `Answer` that
        knows better, what it costs at most. None: not known.
    allow_missing_classes : bool, default=False
        Whether the function may lack classes; they get probability 0.
    allow_extra_classes : bool, default=False
        Whether the function may know more classes; their share is dropped and the
        row renormalized.

    Attributes
    ----------
    identity : str
        Under which a ledger files the answers.
    max_cost_per_row : float or None
        What one row can cost at most: ``cost_per_row * max_tries``. A ledger with
        ``max_cost`` reserves it.

    Notes
    -----
    Needs tenacity, which does the waiting, and aiolimiter, which keeps the limits:
    ``pip install skadistill[api]``.

    Every try is counted in the ledger's cost. One that the server refused with a
    status cost nothing; one that broke otherwise is counted in full, since it may be
    billed.

    Clones share the teacher (``clone`` returns it), and so its limits.

    Examples
    --------
    >>> import asyncio
    >>> import numpy as np
    >>> from skadistill.teachers import AsyncTeacher
    >>> async def ask(rows):
    ...     await asyncio.sleep(0.01)  # await client.post(...)
    ...     return ["up" if row[0] > 0 else "down" for row in rows]
    >>> teacher = AsyncTeacher(ask, name="model", version="2026-11")
    >>> teacher.ask(np.array([[2.0], [-1.0]]), ["down", "up"])
    array([[0., 1.],
           [1., 0.]])
    """

    def __init__(
        self,
        function,
        classes=None,
        name=None,
        version=None,
        *,
        batch_size=1,
        max_concurrency=8,
        requests_per_minute=None,
        tokens_per_minute=None,
        count_tokens=None,
        timeout=60.0,
        max_tries=6,
        backoff=1.0,
        retryable=None,
        cost_per_row=None,
        allow_missing_classes=False,
        allow_extra_classes=False,
    ):
        self.function = function
        self.classes = classes
        self.name = name
        self.version = version
        self.batch_size = batch_size
        self.max_concurrency = max_concurrency
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.count_tokens = count_tokens
        self.timeout = timeout
        self.max_tries = max_tries
        self.backoff = backoff
        self.retryable = retryable
        self.cost_per_row = cost_per_row
        self.allow_missing_classes = allow_missing_classes
        self.allow_extra_classes = allow_extra_classes

    @property
    def classes_(self):
        """What the columns of its answers mean; None where it has not said."""
        return self.classes

    @property
    def max_cost_per_row(self):
        """What one row can cost at most, tries that fail included."""
        return None if self.cost_per_row is None else self.cost_per_row * self.max_tries

    @property
    def claim_size(self):
        """How many rows are bought together: enough for ten rounds of calls."""
        return 10 * self.max_concurrency * self.batch_size

    def derived_identity(self):
        """Return the function's module, name and a hash of its code.

        Returns
        -------
        identity : str
            With the declared classes, since they say what the columns mean.
        """
        code = function_identity(self.function)
        return f"async:{code}{classes_suffix(self.classes)}"

    def answer(self, X):
        """Ask about all rows and return checked answers over its own classes.

        Parameters
        ----------
        X : container of n_samples rows
            The rows, as the caller has them.

        Returns
        -------
        answer : ndarray of float64 of shape (n_samples, n_classes)
            As from `ask`.
        """
        if self.classes is None:
            raise TeacherError(
                f"{self.display_name} has no classes of its own; pass `classes`, or "
                "call ask."
            )
        return self.ask(X, self.classes)

    def ask(self, X, classes, *, row_numbers=None):
        """Ask about the rows of `X` in as many calls as it takes.

        Parameters
        ----------
        X, classes, row_numbers : as in `BaseTeacher.ask`
            The question.

        Returns
        -------
        labels : ndarray of float64 of shape (n_samples, n_classes)
            Probabilities, columns in the order of `classes`; each row sums to 1.

        Raises
        ------
        TeacherError
            As `BaseTeacher.ask` does. What was answered before is lost here; it is
            kept by `buy_labels`.
        """
        labels = np.empty((count_rows(X), len(np.asarray(classes))))
        for part in self.ask_parts(X, classes, row_numbers=row_numbers):
            labels[part.rows] = part.labels
        return labels

    def ask_parts(self, X, classes, *, row_numbers=None, with_embeddings=False):
        """Ask about the rows of `X` and yield the answers as they come.

        Parameters
        ----------
        X, classes, row_numbers : as in `BaseTeacher.ask`
            The question.
        with_embeddings : bool, default=False
            Must be False: there are none.

        Yields
        ------
        part : LabeledBatch
            One or more calls that were answered meanwhile.

        Raises
        ------
        TeacherError
            After the first call that fails for good, once those in flight have come
            back and were yielded. Its ``cost`` is that of the calls that failed.
        """
        if with_embeddings:
            raise_without_embeddings(self.display_name)
        classes = np.asarray(classes).tolist()
        self._check_classes(classes)
        engine = _engine_of(self)
        errand = _AsyncRequest(self, X, classes, row_numbers, self.batch_size)
        yield from errand.run(engine)


class _AsyncRequest(Request):
    """One question to an AsyncTeacher: its calls, and the answers so far."""

    def __init__(self, *question):
        super().__init__(*question)
        self.answers: queue.SimpleQueue = queue.SimpleQueue()
        self.said_slow = False
        self.wasted: list[float] = []

    def run(self, engine):
        """Yield parts, here, while the calls are made in the engine's thread."""
        return self.bring_home(self._parts(engine))

    def _parts(self, engine):
        """Yield answers as they come."""
        work = asyncio.run_coroutine_threadsafe(self._work(engine), engine.loop)
        clock = time.perf_counter()
        try:
            while (parts := self._ready()) is not None:
                now = time.perf_counter()
                yield _joined(parts, seconds=now - clock)
                clock = now
            work.result()
        finally:
            self.stopped = True
            work.cancel()
            self._warn_of_waste()

    def _ready(self):
        """Wait for an answer; return all there are, None at the end."""
        parts = [self.answers.get()]
        while parts[-1] is not None:
            try:
                parts.append(self.answers.get_nowait())
            except queue.Empty:
                return parts
        self.answers.put(None)
        return parts[:-1] or None

    async def _work(self, engine):
        """Make the calls, as many at a time as allowed."""
        try:
            n_workers = self.teacher.max_concurrency
            await asyncio.gather(*(self._worker(engine) for _ in range(n_workers)))
        finally:
            self.answers.put(None)

    async def _worker(self, engine):
        """Make one call after the other."""
        for rows in self.calls:
            async with engine.places:
                if self.stopped:
                    return
                await self._call(engine, rows)

    async def _call(self, engine, rows):
        """Make one call, with its tries, and check the answer."""
        spent: list[float] = []
        try:
            labels = await self._tries(engine, rows, spent)
            labels = self.teacher._check_answer(
                labels, len(rows), self.classes, self.numbers[rows]
            )
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # an interrupt must not kill the loop
            fault = self._named(error, rows, n_tries=len(spent))
            self.fail(fault, cost=sum(spent))
        else:
            known = self.teacher.cost_per_row is not None or any(spent)
            self.answers.put(LabeledBatch(rows, labels, sum(spent) if known else None))

    async def _tries(self, engine, rows, spent):
        """Try until there is an answer; append to `spent` what each try cost."""
        price = len(rows) * (self.teacher.cost_per_row or 0.0)
        log_retry = functools.partial(self._log_retry, rows)
        async for attempt in engine.tries(lambda: not self.stopped, log_retry):
            with attempt:
                # A copy for each try: the one before may have emptied its rows.
                question = copy_rows(self.X, rows)
                await engine.wait_for_turn(question)
                clock = time.perf_counter()
                try:
                    answer = await engine.call(question)
                except BaseException as error:
                    billed = may_be_billed(error)
                    spent.append(price if billed else 0.0)
                    if billed:
                        self.wasted.append(price)
                    raise
                self._warn_if_slow(rows, time.perf_counter() - clock)
        if not isinstance(answer, Answer):
            answer = Answer(answer)
        spent.append(price if answer.cost is None else answer.cost)
        return answer.labels

    def _named(self, error, rows, n_tries):
        """Make a fault of the teacher of whatever was raised."""
        if isinstance(error, TeacherError) or not isinstance(error, Exception):
            return error
        fault = TeacherCallError(
            f"{self.teacher.display_name} raised {type(error).__name__}: "
            f"{str(error).rstrip('.')}, when asked about {self._numbered(rows)} "
            f"(try {n_tries} of at most {self.teacher.max_tries}); fix the teacher or "
            "its input and ask again."
        )
        fault.__cause__ = error
        return fault

    def _numbered(self, rows):
        """Name the rows of a call by their numbers."""
        numbers = self.numbers[rows].tolist()
        return f"row {numbers[0]}" if len(rows) == 1 else f"rows {numbers!r:.60}"

    def _log_retry(self, rows, state):
        """Say that a call is tried again, and why."""
        error = state.outcome.exception()
        status = status_of(error)
        # The error's own text may quote the row, or the address with its key.
        logger.info(
            "%s: try %d of at most %d about %s ended in %s%s; next try in %.1f s",
            self.teacher.display_name,
            state.attempt_number,
            self.teacher.max_tries,
            self._numbered(rows),
            type(error).__name__,
            "" if status is None else f" ({status})",
            state.next_action.sleep,
        )

    def _warn_of_waste(self):
        """Say how many tries may be on the bill and brought nothing."""
        if self.wasted:
            logger.warning(
                "%s: tries that may be billed and brought no answer: %d; they count "
                "as %g",
                self.teacher.display_name,
                len(self.wasted),
                sum(self.wasted),
            )

    def _warn_if_slow(self, rows, seconds):
        """Say once that answers come close to the timeout, which costs them."""
        if self.said_slow or seconds < _SLOW * self.teacher.timeout:
            return
        self.said_slow = True
        logger.warning(
            "%s took %.1f s about %s and is cut off after %g s; such calls may be "
            "billed and are tried again, so rather raise timeout",
            self.teacher.display_name,
            seconds,
            self._numbered(rows),
            self.teacher.timeout,
        )


class _EventLoopThread:
    """A loop in a thread, and the limits that all questions to a teacher share."""

    def __init__(self, teacher, settings):
        tenacity, aiolimiter = _libraries()
        self.process = os.getpid()
        self.settings = settings
        self.tenacity = tenacity
        self.function = teacher.function
        self.is_async = _is_async(teacher.function)
        self.retryable = teacher.retryable or is_retryable
        self.max_tries = teacher.max_tries
        self.backoff = tenacity.wait_random_exponential(teacher.backoff, max=60)
        self.count_tokens = teacher.count_tokens
        self.timeout = teacher.timeout
        self.places = asyncio.Semaphore(teacher.max_concurrency)
        self.requests, self.tokens = (
            None if rate is None else aiolimiter.AsyncLimiter(rate, 60)
            for rate in (teacher.requests_per_minute, teacher.tokens_per_minute)
        )
        self.threads = concurrent.futures.ThreadPoolExecutor(
            teacher.max_concurrency, thread_name_prefix="skadistill-teacher"
        )
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=_run, args=(self.loop,), name="skadistill-teacher", daemon=True
        )
        thread.start()
        self.thread = thread

    def tries(self, going_on, before_sleep=None):
        """Iterate over the tries of one call, waiting in between."""
        return self.tenacity.AsyncRetrying(
            stop=self.tenacity.stop_after_attempt(self.max_tries),
            wait=lambda state: max(
                self.backoff(state), retry_after(state.outcome.exception())
            ),
            retry=self.tenacity.retry_if_exception(
                lambda error: going_on() and self.retryable(error)
            ),
            before_sleep=before_sleep,
            reraise=True,
        )

    async def wait_for_turn(self, question):
        """Wait until the limits let another try start."""
        if self.requests is not None:
            await self.requests.acquire()
        if self.tokens is not None:
            n_tokens = self.count_tokens(question)
            if n_tokens > self.tokens.max_rate:
                raise TeacherError(
                    f"a call has {n_tokens} tokens where tokens_per_minute is "
                    f"{self.tokens.max_rate:g}; use fewer batch_size, or shorten "
                    "the row."
                )
            await self.tokens.acquire(n_tokens)

    async def call(self, question):
        """Call the function once, for as long as it may take."""
        if self.is_async:
            call = self.function(question)
        else:
            call = self.loop.run_in_executor(self.threads, self.function, question)
        try:
            async with asyncio.timeout(self.timeout) as limit:
                return await call
        except TimeoutError:
            if limit.expired():
                raise TimeoutError(f"no answer within {self.timeout:g} s") from None
            raise

    def close(self):
        """Stop the loop; it closes itself."""
        if self.process == os.getpid():
            self.loop.call_soon_threadsafe(self.loop.stop)
            if threading.current_thread() is not self.thread:
                self.thread.join()
            self.threads.shutdown(wait=False)


_ENGINES: "weakref.WeakKeyDictionary[AsyncTeacher, _EventLoopThread]"
_ENGINES = weakref.WeakKeyDictionary()
_ENGINES_LOCK = threading.Lock()


def _engine_of(teacher):
    """Return the engine of a teacher, a new one after a fork or new settings."""
    settings = _checked_settings(teacher)
    with _ENGINES_LOCK:
        engine = _ENGINES.get(teacher)
        if engine is None or (engine.process, engine.settings) != (
            os.getpid(),
            settings,
        ):
            engine = _EventLoopThread(teacher, settings)
            _ENGINES[teacher] = engine
            weakref.finalize(teacher, engine.close)
        return engine


def _checked_settings(teacher):
    """Refuse limits that are none; return all that an engine is built from."""
    smallest = {"batch_size": 1, "max_concurrency": 1, "max_tries": 1}
    for name, least in smallest.items():
        value = getattr(teacher, name)
        if not isinstance(value, int | np.integer) or value < least:
            raise TeacherError(
                f"{name} is {value!r}; pass an integer of at least {least}."
            )
    for name in ("requests_per_minute", "tokens_per_minute", "timeout", "backoff"):
        value = getattr(teacher, name)
        optional = value is None and name.endswith("minute")
        if not optional and not (isinstance(value, int | float) and value > 0):
            raise TeacherError(f"{name} is {value!r}; pass a positive number.")
    if teacher.tokens_per_minute is not None and teacher.count_tokens is None:
        raise TeacherError(
            f"tokens_per_minute is {teacher.tokens_per_minute:g} but count_tokens is "
            "None; pass a function that counts the tokens of some rows."
        )
    names = (
        *("function", "max_concurrency", "requests_per_minute", "tokens_per_minute"),
        *("count_tokens", "max_tries", "backoff", "retryable", "timeout"),
    )
    return tuple(getattr(teacher, name) for name in names)


def _libraries():
    """Import what waits for us, or say what needs it."""
    try:
        import aiolimiter
        import tenacity
    except ImportError as error:
        raise ImportError(
            f"AsyncTeacher needs {error.name}, which is not installed; run `pip "
            "install skadistill[api]`."
        ) from None
    return tenacity, aiolimiter


def _is_async(function):
    """Tell whether calling a function gives something to await."""
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004 (an instance's method)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _run(loop):
    """Run a loop until it is stopped, then close it."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _joined(parts, seconds):
    """Make one part of several."""
    costs = [part.cost for part in parts if part.cost is not None]
    return LabeledBatch(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.labels for part in parts]),
        sum(costs) if costs else None,
        seconds,
    )
