"""One question to a teacher that makes many calls, several of them at once."""

import asyncio
import logging
import queue
import random
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skadistill._rows._containers import count_rows, take_rows
from skadistill._utils.display import message_of
from skadistill._utils.interrupts import held_interrupts
from skadistill.exceptions import LedgerError, TeacherCallError, TeacherError
from skadistill.teachers._answers import Answer, LabeledBatch, Unanswered
from skadistill.teachers._retries import (
    is_retryable,
    may_be_billed,
    other_loop,
    retry_after,
    status_of,
)

__all__ = ["AsyncRequest", "Call", "Request"]

logger = logging.getLogger(__name__)

#: Share of the timeout after which an answer is reported as slow.
_SLOW = 0.5
#: Seconds that an event loop lags in all before it is reported as blocked, unless that
#: is less than half of the time; and seconds between two looks.
_BLOCKED, _LOOK = 2.0, 0.1
#: Refusals in a row, without an answer between them, that can be those of single rows.
_MOST_UNCLEAR = 10
#: The same at the end of a question of which no row was answered, if earlier ones were.
_FEW = 3
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
class Call:
    """One thing to send, and what it can cost at most."""

    content: Any
    most: float = 0.0


@dataclass(eq=False)
class _Bill:
    """What has been sent about some rows so far."""

    n_tries: int = 0
    sent_at: float = 0.0
    ended_at: float = 0.0
    cost: float | None = None  # of replies, as the server reports it
    failed: list = field(default_factory=list)

    def add(self, cost):
        """Add what a reply cost; None if that is not known."""
        if cost is not None:
            self.cost = cost + (self.cost or 0.0)

    @property
    def unanswered(self):
        """Calls that may be billed and brought no reply."""
        return Unanswered.total(self.failed)


class _Stopped(Exception):
    """The request was stopped before a call was made."""


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
        self.said_slow = False
        self.wasted: list[Unanswered] = []
        self.unclear: list = []  # rows refused for reasons that are not known
        self.n_waiting = self.n_answered = 0
        self.broken: Exception | None = None  # what the ledger has raised

    def run(self, loop, traffic):
        """Yield parts, in this thread, while the calls are made in the loop's."""
        return self.finish(self._parts(loop, traffic))

    def _parts(self, loop, traffic):
        """Yield answers as they arrive; all of them, also if the ledger fails."""
        work = asyncio.run_coroutine_threadsafe(self._work(traffic), loop)
        clock = self.began = self.beaten = time.perf_counter()
        self.lag = 0.0
        self.beat_sent: float | None = None
        try:
            while (items := self._received(loop, traffic)) is not None:
                sending = [i for i in items if isinstance(i, _AboutToCall)]
                if sending:
                    self._mark_as_sent(loop, sending)
                parts = [i for i in items if isinstance(i, LabeledBatch)]
                for part in _joined(parts, seconds=time.perf_counter() - clock):
                    try:
                        yield part
                    except LedgerError as error:  # thrown in by the buyer
                        self._break_off(error)
                clock = time.perf_counter() if parts else clock
            work.result()
            if self.broken is not None and self.fault is None:
                raise self.broken
        finally:
            self.stopped = True
            work.cancel()
            self._warn_of_waste()

    def _mark_as_sent(self, loop, sending):
        """Tell the ledger what is about to be sent; if it fails, nothing is."""
        try:
            if self.broken is None:
                self.before_call(np.concatenate([i.rows for i in sending]))
        except LedgerError as error:
            self._break_off(error)
        loop.call_soon_threadsafe(_allow, sending, self.broken is None)

    def _break_off(self, error):
        """Make no new calls; those in flight are paid for and still wanted."""
        self.stopped = True
        self.broken = self.broken or error

    def _received(self, loop, traffic):
        """Wait for items from the workers; return all there are, None at the end."""
        while True:
            self._feel_pulse(loop, traffic)
            try:
                items = [self.inbox.get(timeout=_LOOK)]
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

    def _feel_pulse(self, loop, traffic):
        """Measure how long the event loop keeps its tasks waiting; warn once."""
        now, sent = time.perf_counter(), self.beat_sent
        if sent is None and now - self.beaten >= _LOOK:
            self.beat_sent = now
            loop.call_soon_threadsafe(self._beat)
        lag = self.lag + (0.0 if sent is None else now - sent)
        if lag < max(_BLOCKED, (now - self.began) / 2) or traffic.said_blocked:
            return
        if self.teacher.calls_are_async:
            traffic.said_blocked = True
            logger.warning(
                "%s is an async function that blocks its event loop: in %.0f of %.0f s "
                "no other call could start or end, whatever max_concurrency says, and "
                "timeout cannot stop it; await an asynchronous client in it, or pass a "
                "function without `async`, which runs in threads",
                self.teacher.display_name,
                lag,
                now - self.began,
            )

    def _beat(self):
        """Answer a look, once the event loop comes to it."""
        self.beaten = time.perf_counter()
        self.lag += self.beaten - (self.beat_sent or self.beaten)
        self.beat_sent = None

    async def _work(self, traffic):
        """Make the calls, as many at a time as allowed."""
        try:
            async with asyncio.TaskGroup() as self.workers:
                for _ in range(self.limits.max_concurrency):
                    self.workers.create_task(self._worker(traffic))
            self._settle_unclear()
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
        """Ask about some rows, and check the answer."""
        bill, question = _Bill(), take_rows(self.X, rows)
        try:
            answer = await self._answer(traffic, rows, question, bill, place)
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
            self._fail_call(error, rows, bill)
            return
        unanswered = bill.unanswered
        if len(part.rows):
            self.has_answered |= fault is None
            also = [replace(other, rows=rows[other.rows]) for other in part.also]
            part = replace(part, rows=rows[part.rows], also=also, unanswered=unanswered)
            self.inbox.put(part)
            self.n_answered += 1
            self._leave_unclear(bill.sent_at)
            unanswered = None
        if fault is not None:
            self.fail(fault, fault.cost or 0.0, unanswered)

    def _fail_call(self, error, rows, bill):
        """Record that some rows have no answer, and what that cost."""
        if isinstance(error, _Stopped):
            self.fault_cost += bill.cost or 0.0
            self.fault_unanswered = Unanswered.total(
                [self.fault_unanswered, bill.unanswered]
            )
            return
        fault = self._named(error, rows, bill.n_tries)
        if fault is error and isinstance(error, TeacherError):
            bill.add(error.cost)  # of an answer that could not be used
        if not self.teacher._may_concern_row(error):
            self.fail(fault, bill.cost or 0.0, bill.unanswered)
            return
        bill.ended_at = time.perf_counter()
        self.unclear.append((fault, rows, bill))
        if len(self.unclear) == _MOST_UNCLEAR:
            self._fail_unclear()

    def _fail_unclear(self):
        """Take refusals of rows for those of the account, the model or the request."""
        for fault, _, bill in self.unclear:
            self.fail(fault, bill.cost or 0.0, bill.unanswered)
        self.unclear.clear()

    def _settle_unclear(self):
        """Decide about the refusals after which there was no answer."""
        n_others = max(self.n_answered, _FEW if self.teacher.has_answered else 0)
        if self.fault is None and len(self.unclear) <= n_others:
            self._leave_unclear(np.inf)
        else:
            self._fail_unclear()

    def _leave_unclear(self, until):
        """Give no label to rows refused before another was sent that was answered."""
        left = [entry for entry in self.unclear if entry[2].ended_at >= until]
        for fault, rows, bill in self.unclear:
            if bill.ended_at >= until:
                continue
            labels = np.full((len(rows), len(self.classes)), np.nan)
            cost = bill.cost or 0.0
            self.inbox.put(LabeledBatch(rows, labels, cost, unanswered=bill.unanswered))
            logger.warning(
                "%s: %s got no label: the server refuses what it accepts for others "
                "(%s)",
                self.teacher.display_name,
                self._numbered(rows),
                status_of(fault.__cause__),
            )
        self.unclear = left

    async def _answer(self, traffic, rows, question, bill, place):
        """Make the calls that an answer takes; each has its own tries."""
        steps = self.teacher._conversation(question)
        try:
            call = next(steps)
            while True:
                try:
                    reply = await self._tries(traffic, rows, call, bill, place)
                except _Stopped:
                    raise
                except Exception as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(reply)
        except StopIteration as end:
            answer = end.value if isinstance(end.value, Answer) else Answer(end.value)
        if bill.cost is not None:
            answer = replace(answer, cost=bill.cost + (answer.cost or 0.0))
            bill.cost = None
        return answer

    async def _tries(self, traffic, rows, call, bill, place):
        """Try until there is a reply; the bill gets what else may have to be paid."""
        teacher = self.teacher
        retryable = teacher.retryable or is_retryable
        failure = None
        for n_tries in range(1, self.limits.max_tries + 1):
            if not await traffic.wait_for_turn(teacher, call, self._is_going_on):
                break
            if bill.n_tries == 0 and self.before_call is not None:
                await self._announce(rows)
            bill.n_tries = n_tries
            clock = bill.sent_at = time.perf_counter()
            try:
                reply = await teacher._call_once(call)
            except BaseException as error:
                if _is_cancelled(error):
                    raise
                traffic.n_failed_in_a_row += 1
                self._add_failure(error, rows, call, bill)
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
                bill.add(teacher._reply_cost(call, reply))
                self._warn_if_slow(rows, time.perf_counter() - clock)
                return reply
            if is_alone and self.n_waiting < self.limits.max_concurrency:
                await self._pause_elsewhere(wait, traffic, place)
            else:  # the server limits everyone: so do we, by the places held
                await self._pause(wait)
        raise failure or _Stopped

    def _add_failure(self, error, rows, call, bill):
        """Add to a bill what a call that failed costs, or may cost."""
        lost = Unanswered(0, 0.0)
        if (reply := getattr(error, "reply", None)) is not None:
            bill.add(self.teacher._reply_cost(call, reply))
        elif may_be_billed(error):
            lost = Unanswered(len(rows), call.most)
        bill.failed.append(lost)
        self.wasted.append(lost)

    def _is_going_on(self):
        return not self.stopped

    async def _announce(self, rows):
        """Let the asking thread know that rows are about to be sent, and wait for it.

        The ledger is on the disk before the call is on the wire, so that a kill
        charges what may be billed and nothing else.
        """
        allowed = asyncio.get_running_loop().create_future()
        self.inbox.put(_AboutToCall(rows, allowed))
        if not await allowed:
            raise _Stopped

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
        """Report failed calls that may still be billed."""
        wasted = Unanswered.total(self.wasted)
        if wasted is not None:
            logger.warning(
                "%s: failed calls that may still be billed: %d rows, %g at "
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


def _allow(sending, is_marked):
    """Let workers send their rows, or not; runs in the event loop."""
    for item in sending:
        if not item.allowed.done():
            item.allowed.set_result(is_marked)


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
