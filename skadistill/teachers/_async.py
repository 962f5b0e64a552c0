"""Teachers behind an API: many calls at once, within limits."""

import asyncio
import collections
import contextlib
import functools
import inspect
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadistill._rows._containers import copy_rows, count_rows
from skadistill._utils.compat import Interval
from skadistill._utils.validation import as_cost
from skadistill.exceptions import TeacherError
from skadistill.teachers._base import TEACHER_CONSTRAINTS
from skadistill.teachers._embeddings import raise_without_embeddings
from skadistill.teachers._function import CalledTeacher
from skadistill.teachers._identity import classes_suffix, object_identity
from skadistill.teachers._limits import Limits
from skadistill.teachers._request import AsyncRequest, Call

__all__ = ["AsyncTeacher", "running_loop"]

#: Seconds of a limit's minute: a little more, as the way to the server varies.
_MINUTE = 61.0


class AsyncTeacher(CalledTeacher):
    """Label rows with a function that calls an API, in many calls at once.

    The rows are put in calls of `batch_size`; as many of them run at a time as
    `limits` allow. A call that fails for the moment (too many requests, an overloaded
    server, a timeout, a dropped connection, unreadable JSON) is tried again after a
    wait that doubles; any other fault ends the asking. Calls in flight are then waited
    for, and every row answered is kept in the ledger.

    It can be used like any other teacher, also while an event loop is running, as in
    a notebook: the calls are made in an event loop in a thread.

    Parameters
    ----------
    function : callable
        ``async def`` or ``def``; the latter runs in threads. Takes rows in the
        caller's container and returns probabilities of shape (n_samples, n_classes),
        hard labels of shape (n_samples,), or an `Answer` with either and the call's
        cost. Let it take its key from the environment: a parameter or a default value
        would become a part of what is stored.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns mean, or which hard labels may come. None: the classes
        asked for, in order.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: the function is
        known in this process only, and a ledger in a file asks for a name.
    batch_size : int, default=1
        Rows per call. By default, rows are claimed from the ledger for
        ``10 * limits.max_concurrency`` calls at a time.
    count_tokens : callable or None, default=None
        Takes the rows of a call and returns (an estimate of) their tokens. Needed if
        `limits` has ``tokens_per_minute``.
    retryable : callable or None, default=None
        Takes the error of a try and returns whether to try again. None: the faults
        above.
    limits : Limits or None, default=None
        Calls in flight, calls and tokens per minute, seconds and tries of a call.
        None: ``Limits()``.
    cost_per_row : float or None, default=None
        What one row of one try costs, in the user's money; if the function returns
        `Answer` objects with a cost, what it costs at most. None: not known.
    allow_missing_classes : bool, default=False
        Whether the function may lack classes; they get probability 0.
    allow_extra_classes : bool, default=False
        Whether the function may know more classes; their share is dropped and the
        row renormalized.
    multilabel : bool, default=False
        Whether a row may have several labels, as in `as_teacher`.
    on_invalid : {"raise", "skip"}, default="raise"
        What an unusable answer is, such as an unknown label or probabilities that do
        not sum to 1. "raise": an error, once all answers are recorded; the next run
        leaves the row out. "skip": no label; paid for, recorded, and left out.

    Attributes
    ----------
    identity : str
        The name under which a ledger files the answers.
    max_cost_per_row : float or None
        What one row can cost at most: ``cost_per_row * limits.max_tries``. A ledger
        with ``max_cost`` reserves it.

    Notes
    -----
    Tried again are the statuses 408, 409, 425, 429, 500, 502, 503, 504, 520 to 524
    and 529, unless the account is empty; and dropped connections, half answers and
    timeouts of httpx, openai, anthropic, aiohttp, botocore, requests and urllib. The
    headers ``Retry-After`` (seconds or a date), ``retry-after-ms`` and those of rate
    limits say how long to wait.

    Clients often try again by themselves, openai and anthropic twice: tries that are
    neither counted nor limited here. Switch that off, with ``max_retries=0``.

    While a call waits for its next try, another one takes its place, unless several
    fail in a row: then the server limits everyone, and the waits slow down all calls.

    A try that the server refused with a status cost nothing. One that broke otherwise
    may be billed: the ledger counts it in ``n_unanswered`` and ``lost_cost``, and
    against ``max_cost`` in full, see `BaseLedger.summary`.

    An asynchronous client belongs to the event loop in which it is first used. Create
    it inside the function, or do not use it elsewhere before, as with `asyncio.run`.

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

    identity: str

    _parameter_constraints: dict = TEACHER_CONSTRAINTS | {
        "function": [callable],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "count_tokens": [callable, None],
        "retryable": [callable, None],
        "limits": [Limits, None],
    }

    def __init__(
        self,
        function: Callable[..., Any],
        classes: Any = None,
        name: str | None = None,
        version: str | None = None,
        *,
        batch_size: int = 1,
        count_tokens: Any = None,
        retryable: Callable[..., Any] | None = None,
        limits: Limits | None = None,
        cost_per_row: float | None = None,
        allow_missing_classes: bool = False,
        allow_extra_classes: bool = False,
        multilabel: bool = False,
        on_invalid: str = "raise",
    ) -> None:
        self.function = function
        self.classes = classes
        self.name = name
        self.version = version
        self.batch_size = batch_size
        self.count_tokens = count_tokens
        self.retryable = retryable
        self.limits = limits
        self.cost_per_row = cost_per_row
        self.on_invalid = on_invalid
        self.allow_missing_classes = allow_missing_classes
        self.allow_extra_classes = allow_extra_classes
        self.multilabel = multilabel

    @property
    def _limits(self):
        """The limits given, or the default ones."""
        return Limits() if self.limits is None else self.limits

    @property
    def classes_(self) -> Any:
        """What the columns of its answers mean; None if it has not said."""
        return self.classes

    @property
    def max_cost_per_row(self) -> Any:
        """What one row can cost at most, failed tries included."""
        cost = as_cost(self.cost_per_row, "cost_per_row")
        return None if cost is None else cost * self._limits.max_tries

    def prices_of(self, X: Any) -> NDArray[Any] | None:
        """Return what one try about each of some rows costs at most.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        prices : ndarray of float64 of shape (n_samples,) or None
            Here `cost_per_row` for all; None: not known.
        """
        cost = as_cost(self.cost_per_row, "cost_per_row")
        return None if cost is None else np.full(count_rows(X), cost)

    @property
    def claim_size(self) -> Any:
        """How many rows are bought together: enough for ten rounds of calls."""
        return 10 * self._limits.max_concurrency * self.batch_size

    def derived_identity(self) -> str:
        """Return a name for the function that ends with this process.

        Returns
        -------
        identity : str
            With the declared classes, since they say what the columns mean.
        """
        return f"async:{object_identity(self.function)}{classes_suffix(self.classes)}"

    def answer(self, X: Any) -> NDArray[Any]:
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
                f"{self.display_name} has no classes; pass `classes`, or call ask."
            )
        return self.ask(X, self.classes)

    def ask_parts(
        self,
        X: Any,
        classes: Any,
        *,
        row_numbers: Any = None,
        with_embeddings: bool = False,
        before_call: Any = None,
    ) -> Iterator[Any]:
        """Ask about the rows of `X` and yield the answers as they arrive.

        Parameters
        ----------
        X, classes, row_numbers, before_call : as in `BaseTeacher.ask_parts`
            The question.
        with_embeddings : bool, default=False
            Must be False: this teacher has no embeddings.

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
        classes = self._check_question(X, classes)
        request = AsyncRequest(
            self, X, classes, row_numbers, self.batch_size, before_call
        )
        yield from request.run(running_loop(), _traffic_of(self))

    @property
    def calls_are_async(self) -> Any:
        """Whether calling `function` gives something to await."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        call = getattr(function, "__call__", None)  # noqa: B004 (an instance's method)
        return any(map(inspect.iscoroutinefunction, (function, call)))

    #: Whether this or an earlier question was answered, as far as the teacher knows.
    has_answered: bool = False

    def _conversation(self, rows):
        """Yield what to send about some rows, take replies and return the answer."""
        prices = self.prices_of(rows)
        return (yield Call(rows, 0.0 if prices is None else float(prices.sum())))

    def _function_of(self, call):
        """Return what makes a call, and its arguments."""
        rows = call.content
        return self.function, (copy_rows(rows, np.arange(count_rows(rows))),)

    def _reply_cost(self, call, reply):
        """Return what a reply cost; None if its answer says that, or nothing does."""
        return None

    def _may_concern_row(self, error):
        """Tell whether a refusal may be due to the row alone."""
        return False

    def _tokens_of(self, call):
        """Count what a call adds to the tokens of a minute."""
        return self.count_tokens(call.content)

    async def _call_once(self, call):
        """Make a call once, for as long as the limits allow."""
        timeout = self._limits.timeout
        function, args = self._function_of(call)
        call = function(*args) if self.calls_are_async else _in_thread(function, *args)
        try:
            async with asyncio.timeout(timeout) as limit:
                answer = await call
                return (await answer) if inspect.isawaitable(answer) else answer
        except TimeoutError:
            if limit.expired():
                raise TimeoutError(f"no answer within {timeout:g} s") from None
            raise

    def _check_parameters(self):
        super()._check_parameters()
        limit = self._limits.tokens_per_minute
        if limit is not None and self.count_tokens is None:
            raise TeacherError(
                f"tokens_per_minute is {limit:g} but count_tokens is None; pass a "
                "function that counts the tokens of some rows."
            )


def _in_thread(function, *args):
    """Call a function in a new thread; return a future of its result.

    A daemon: threads of a pool are waited for when Python ends, and one that hangs
    would hang the exit. A call that hangs takes no place of a pool from later calls.
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def deliver(method, value):
        if not future.done():
            method(value)

    def work():
        try:
            method, value = future.set_result, function(*args)
        except BaseException as error:
            # A future cannot hold a StopIteration.
            ours = (
                RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
            )
            method, value = future.set_exception, ours
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
            loop.call_soon_threadsafe(deliver, method, value)

    threading.Thread(target=work, name="skadistill-call", daemon=True).start()
    return future


class _MinuteWindow:
    """Let so many start in any minute, the first one included."""

    def __init__(self, seconds=_MINUTE):
        self.seconds = seconds
        self.started: collections.deque = collections.deque()
        self.lock = asyncio.Lock()

    async def enter(self, amount, limit, going_on):
        """Wait until `amount` more may start; return False if told to give up."""
        if limit is None:
            return going_on()
        # Less than one a minute: one in more than a minute.
        seconds = self.seconds * max(1.0, amount / limit)
        async with self.lock:
            while going_on():
                now = time.monotonic()
                while self.started and self.started[0][0] <= now - seconds:
                    self.started.popleft()
                total = sum(started for _, started in self.started)
                if not self.started or total + amount <= limit:
                    self.started.append((now, amount))
                    return True
                wait = self.started[0][0] + seconds - now
                await asyncio.sleep(min(wait, 0.5))
            return False


class _Traffic:
    """What all questions to one teacher share; lives as long as the teacher."""

    def __init__(self):
        self.requests, self.tokens = _MinuteWindow(), _MinuteWindow()
        self.max_concurrency = 0
        self.said_blocked = False
        self.n_failed_in_a_row = 0

    def follow(self, limits):
        """Take over the present number of calls in flight."""
        if self.max_concurrency != limits.max_concurrency:
            self.max_concurrency = limits.max_concurrency
            self.places = asyncio.Semaphore(self.max_concurrency)

    async def wait_for_turn(self, teacher, call, going_on):
        """Wait until another try may start; return False if told to give up."""
        limits = teacher._limits
        if not await self.requests.enter(1, limits.requests_per_minute, going_on):
            return False
        if (limit := limits.tokens_per_minute) is None:
            return True
        n_tokens = teacher._tokens_of(call)
        if n_tokens > limit:
            raise TeacherError(
                f"a call has {n_tokens} tokens but tokens_per_minute is {limit:g}; "
                "use a smaller batch_size, or shorten the row."
            )
        return await self.tokens.enter(n_tokens, limit, going_on)


_LOCK = threading.Lock()
_TRAFFIC: "weakref.WeakKeyDictionary[AsyncTeacher, _Traffic]"
_TRAFFIC = weakref.WeakKeyDictionary()
_LOOP: asyncio.AbstractEventLoop | None = None


def running_loop():
    """Return the event loop in which all calls of this process are made.

    One for all: a client that belongs to it can be used by several teachers, and
    stays usable when a teacher's parameters change.
    """
    global _LOOP
    with _LOCK:
        if _LOOP is None:
            _LOOP = asyncio.new_event_loop()
            # A daemon, never joined: a call that blocks it must not hang the exit.
            threading.Thread(
                target=_LOOP.run_forever, name="skadistill-teacher", daemon=True
            ).start()
        return _LOOP


def _traffic_of(teacher):
    """Return what the questions to a teacher share."""
    with _LOCK:
        traffic = _TRAFFIC.setdefault(teacher, _Traffic())
        traffic.follow(teacher._limits)
        return traffic


def _forget():
    """Reset in a child process, which lacks the parent's threads."""
    global _LOCK, _LOOP
    _LOCK, _LOOP = threading.Lock(), None
    _TRAFFIC.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
