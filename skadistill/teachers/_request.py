"""One question to a teacher that makes many calls, several of them at once."""

import asyncio
import logging
import queue
import random
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skadistill._rows._containers import copy_rows, count_rows, take_rows
from skadistill._utils.display import message_of
from skadistill._utils.interrupts import held_interrupts
from skadistill.exceptions import TeacherCallError, TeacherError
from skadistill.teachers._answers import Answer, LabeledBatch, Unanswered
from skadistill.teachers._retries import (
    is_retryable,
    may_be_billed,
    other_loop,
    retry_after,
    status_of,
)

__all__ = ["AsyncRequest", "Request"]

logger = logging.getLogger(__name__)

#: Share of the timeout after which an answer is reported as slow.
_SLOW = 0.5
#: Seconds without a sign of life after which an event loop is reported as blocked.
_BLOCKED = 2.0
#: The first wait, as a share of the usual one, if other calls were answered meanwhile.
_AT_ONCE = 0.1
#: The longest wait between two tries unless the server asks for more, in seconds.
_LONGEST_BACKOFF = 60.0


class Request:
    """Split a question into calls, and end it without losing those in flight.

    A subclass makes the calls of `calls` while it is not `stopped`, reports those
    that failed with `fail`, and yields the answers through `finish`.
    """

    def __init__(self, teacher, X, classes, row_numbers, batch_size, before_call):
        n_samples = count_rows(X)
        if row_numbers is None:
            row_numbers = np.arange(n_samples)
        self.teacher = teacher
        self.X = X
        self.classes = classes
        self.numbers = np.asarray(row_numbers)
        self.before_call = before_call
        self.calls = (
            np.arange(start, min(start + batch_size, n_samples))
            for start in range(0, n_samples, batch_size)
        )
        self.stopped = self.interrupted = False
        self.fault: Any = None
        self.has_answered = False
        self.fault_cost = 0.0
        self.fault_unanswered: Unanswered | None = None

    def finish(self, parts):
        """Yield the parts, also those in flight at a Ctrl-C, then raise the fault."""
        try:
            # Calls in flight are paid for: wait for their answers before leaving.
            with held_interrupts(self._interrupt):
                yield from parts
                if self.fault is not None and not self.interrupted:
                    # Rows that were never sent cost nothing.
                    self._add_bill(self.fault)
                    raise self.fault
        except KeyboardInterrupt as error:
            self._add_bill(error)
            raise

    def _add_bill(self, error):
        """Let an error say what the calls that failed cost; read by buy_labels."""
        error.cost = self.fault_cost
        error.unanswered = self.fault_unanswered

    def fail(self, fault, cost, unanswered=None):
        """Record a failed call, and make no new ones; the first fault is raised."""
        self.stopped = True
        self.fault_cost += cost
        self.fault_unanswered = Unanswered.total([self.fault_unanswered, unanswered])
        if self.fault is None:
            self.fault = fault

    def _interrupt(self):
        self.stopped = self.interrupted = True


class _Place:
    """Hold one of the places of the calls in flight, except while it is given away."""

    def __init__(self, places):
        self.places = places
        self.is_held = self.was_given_away = False

    async def take(self):
        """Wait for a place."""
        await self.places.acquire()
        self.is_held = True

    def give_away(self):
        """Let another call have the place."""
        self.is_held, self.was_given_away = False, True
        self.places.release()

    async def __aenter__(self):
        await self.take()
        return self

    async def __aexit__(self, *error):
        if self.is_held:
            self.places.release()


@dataclass(frozen=True, eq=False)
class _AboutToCall:
    """Rows that a worker wants to send; it waits for the future."""

    rows: np.ndarray
    allowed: asyncio.Future


class AsyncRequest(Request):
    """One question to an AsyncTeacher: calls in an event loop of another thread.

    Labels and ledger are the business of the thread that asks: workers send it
    answers, and the rows they are about to send, through `inbox`.
    """

    def __init__(self, *question):
        super().__init__(*question)
        self.limits = self.teacher._limits
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.said_slow = self.said_blocked = False
        self.wasted: list[Unanswered] = []
        self.n_waiting = 0

    def run(self, loop, traffic):
        """Yield parts, in this thread, while the calls are made in the loop's."""
        return self.finish(self._parts(loop, traffic))

    def _parts(self, loop, traffic):
        """Yield answers as they arrive."""
        work = asyncio.run_coroutine_threadsafe(self._work(traffic), loop)
        clock = self.heard = time.perf_counter()
        self.pulse_sent = False
        try:
            while (items := self._received(loop)) is not None:
                sending = [i for i in items if isinstance(i, _AboutToCall)]
                if sending:
                    self.before_call(np.concatenate([i.rows for i in sending]))
                    loop.call_soon_threadsafe(_allow, sending)
                parts = [i for i in items if isinstance(i, LabeledBatch)]
                if parts:
                    yield from _joined(parts, seconds=time.perf_counter() - clock)
                    clock = time.perf_counter()
            work.result()
        finally:
            self.stopped = True
            work.cancel()
            self._warn_of_waste()

    def _received(self, loop):
        """Wait for items from the workers; return all there are, None at the end."""
        while True:
            self._check_pulse(loop)
            try:
                items = [self.inbox.get(timeout=_BLOCKED / 2)]
                break
            except queue.Empty:
                continue
        while items[-1] is not None:
            try:
                items.append(self.inbox.get_nowait())
            except queue.Empty:
                return items
        self.inbox.put(None)
        return items[:-1] or None

    def _check_pulse(self, loop):
        """Warn once if the event loop is blocked by a call that does not await."""
        now = time.perf_counter()
        if now - self.heard < _BLOCKED or self.said_blocked:
            return
        if not self.pulse_sent:
            self.pulse_sent, self.heard = True, now
            loop.call_soon_threadsafe(self._beat)
        elif self.teacher.calls_are_async:
            self.said_blocked = True
            logger.warning(
                "%s is an async function that blocks its event loop: for %.0f s no "
                "other call could start or end, and timeout cannot stop it; await an "
                "asynchronous client in it, or pass a function without `async`, which "
                "runs in threads",
                self.teacher.display_name,
                now - self.heard,
            )

    def _beat(self):
        self.pulse_sent, self.heard = False, time.perf_counter()

    async def _work(self, traffic):
        """Make the calls, as many at a time as allowed."""
        try:
            async with asyncio.TaskGroup() as self.workers:
                for _ in range(self.limits.max_concurrency):
                    self.workers.create_task(self._worker(traffic))
        finally:
            self.inbox.put(None)

    async def _worker(self, traffic):
        """Make one call after the other."""
        for rows in self.calls:
            async with _Place(traffic.places) as place:
                if self.stopped:
                    return
                await self._call(traffic, rows, place)
            if place.was_given_away:  # to another worker, which makes the next calls
                return

    async def _call(self, traffic, rows, place):
        """Make one call, with its tries, and check the answer."""
        failed: list[Unanswered] = []
        question = take_rows(self.X, rows)
        try:
            answer = await self._tries(traffic, rows, question, failed, place)
            if answer is None:
                return
            part, fault = self.teacher._check_answer(
                answer,
                question,
                self.classes,
                self.numbers[rows],
                has_answered=self.has_answered,
            )
        except BaseException as error:  # an interrupt must not end the loop
            if _is_cancelled(error):
                raise
            fault, cost = self._named(error, rows, n_tries=len(failed)), 0.0
            if fault is error and isinstance(error, TeacherError):
                cost = error.cost or 0.0  # of an answer that could not be used
            self.fail(fault, cost, Unanswered.total(failed))
            return
        unanswered = Unanswered.total(failed)
        if len(part.rows):
            self.has_answered |= fault is None
            also = [replace(other, rows=rows[other.rows]) for other in part.also]
            part = replace(part, rows=rows[part.rows], also=also, unanswered=unanswered)
            self.inbox.put(part)
            unanswered = None
        if fault is not None:
            self.fail(fault, fault.cost or 0.0, unanswered)

    async def _tries(self, traffic, rows, question, failed, place):
        """Try until there is an answer; append to `failed` what may be billed.

        Returns None if the request was stopped before anything was sent.
        """
        teacher = self.teacher
        prices = teacher.prices_of(question)
        price = 0.0 if prices is None else float(prices.sum())
        retryable = teacher.retryable or is_retryable
        failure = None
        for n_tries in range(1, self.limits.max_tries + 1):
            if not await traffic.wait_for_turn(teacher, question, self._is_going_on):
                break
            if n_tries == 1 and self.before_call is not None:
                await self._announce(rows)
            clock = time.perf_counter()
            try:
                answer = await teacher._call_once(copy_rows(self.X, rows))
            except BaseException as error:
                if _is_cancelled(error):
                    raise
                traffic.n_failed_in_a_row += 1
                billed = may_be_billed(error)
                lost = Unanswered(len(rows), price) if billed else Unanswered(0, 0.0)
                failed.append(lost)
                self.wasted.append(lost)
                last = n_tries == self.limits.max_tries or self.stopped
                if last or not isinstance(error, Exception) or not retryable(error):
                    raise
                # Others were answered meanwhile: the fault is that of this call alone.
                is_alone = traffic.n_failed_in_a_row == 1
                wait = self._wait(error, n_tries, is_alone)
                self._log_retry(rows, error, n_tries, wait)
                failure = error
            else:
                traffic.n_failed_in_a_row = 0
                self._warn_if_slow(rows, time.perf_counter() - clock)
                return Answer(None) if answer is None else answer
            if is_alone and self.n_waiting < self.limits.max_concurrency:
                await self._pause_elsewhere(wait, traffic, place)
            else:  # the server limits everyone: so do we, by the places held
                await self._pause(wait)
        if failure is not None:
            raise failure
        return None

    def _is_going_on(self):
        return not self.stopped

    async def _announce(self, rows):
        """Let the asking thread know that rows are about to be sent, and wait for it.

        The ledger is on the disk before the call is on the wire, so that a kill
        charges what may be billed and nothing else.
        """
        allowed = asyncio.get_running_loop().create_future()
        self.inbox.put(_AboutToCall(rows, allowed))
        await allowed

    def _wait(self, error, n_tries, is_alone):
        """Return the seconds until the next try."""
        longest = min(self.limits.backoff * 2 ** (n_tries - 1), _LONGEST_BACKOFF)
        if is_alone and n_tries == 1:
            longest *= _AT_ONCE
        return max(random.uniform(0.0, longest), retry_after(error))

    async def _pause_elsewhere(self, seconds, traffic, place):
        """Wait while another call takes this one's place among those in flight."""
        self.n_waiting += 1
        place.give_away()
        self.workers.create_task(self._worker(traffic))
        await self._pause(seconds)
        await place.take()
        self.n_waiting -= 1

    async def _pause(self, seconds):
        """Wait, but not beyond the end of the request."""
        end = time.perf_counter() + seconds
        while not self.stopped and (left := end - time.perf_counter()) > 0:
            await asyncio.sleep(min(left, 0.5))

    def _named(self, error, rows, n_tries):
        """Return a TeacherError for whatever was raised."""
        ours = isinstance(error, TeacherError)
        if ours or not isinstance(error, Exception | asyncio.CancelledError):
            return error
        advice = "fix the teacher or its input and ask again"
        if other_loop(error):
            advice = (
                "its client was used in another event loop before, for example by "
                "asyncio.run; create the client inside the function, or use it here "
                "only"
            )
        fault = TeacherCallError(
            f"{self.teacher.display_name} raised {type(error).__name__}: "
            f"{message_of(error)}, when asked about {self._numbered(rows)} "
            f"(try {n_tries} of at most {self.limits.max_tries}); {advice}."
        )
        fault.__cause__ = error
        return fault

    def _numbered(self, rows):
        """Write the numbers of the rows of a call."""
        numbers = self.numbers[rows].tolist()
        return f"row {numbers[0]}" if len(rows) == 1 else f"rows {numbers!r:.60}"

    def _log_retry(self, rows, error, n_tries, wait):
        """Log that a call is tried again, and why; long waits are warnings."""
        status = status_of(error)
        # The error's own text may quote the row, or the address with its key.
        logger.log(
            logging.INFO if wait < _LONGEST_BACKOFF else logging.WARNING,
            "%s: try %d of at most %d about %s ended in %s%s; next try in %.1f s",
            self.teacher.display_name,
            n_tries,
            self.limits.max_tries,
            self._numbered(rows),
            type(error).__name__,
            "" if status is None else f" ({status})",
            wait,
        )

    def _warn_of_waste(self):
        """Report the tries that may be billed and brought no answer."""
        wasted = Unanswered.total(self.wasted)
        if wasted is not None:
            logger.warning(
                "%s: tries that may be billed and brought no answer: %d rows, %g at "
                "most; the summary of the ledger counts them apart",
                self.teacher.display_name,
                *wasted,
            )

    def _warn_if_slow(self, rows, seconds):
        """Warn once if answers come close to the timeout, which costs them."""
        if self.said_slow or seconds < _SLOW * self.limits.timeout:
            return
        self.said_slow = True
        logger.warning(
            "%s took %.1f s about %s and is stopped after %g s; such calls may be "
            "billed and are tried again, so raise timeout",
            self.teacher.display_name,
            seconds,
            self._numbered(rows),
            self.limits.timeout,
        )


def _is_cancelled(error):
    """Return whether this task is cancelled, rather than something it awaited."""
    task = asyncio.current_task()
    return (
        isinstance(error, asyncio.CancelledError | GeneratorExit)
        and task is not None
        and (isinstance(error, GeneratorExit) or task.cancelling() > 0)
    )


def _allow(sending):
    """Let workers send their rows; runs in the event loop."""
    for item in sending:
        if not item.allowed.done():
            item.allowed.set_result(None)


def _joined(parts, seconds):
    """Join parts to one for each model that answered."""
    by_model: dict[str | None, list] = {}
    for part in parts:
        by_model.setdefault(part.model, []).append(part)
    for model, some in by_model.items():
        costs = [part.cost for part in some if part.cost is not None]
        yield LabeledBatch(
            np.concatenate([part.rows for part in some]),
            np.concatenate([part.labels for part in some]),
            sum(costs) if costs else None,
            seconds * len(some) / len(parts),
            also=[other for part in some for other in part.also],
            model=model,
            unanswered=Unanswered.total(part.unanswered for part in some),
        )
