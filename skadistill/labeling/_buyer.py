"""One purchase of labels: claim rows, ask about them, record, wait for others."""

import contextlib
import inspect
import logging
import time
import warnings
import weakref

import numpy as np

from skadistill._rows._containers import copy_rows
from skadistill._rows._keys import row_keys
from skadistill._utils.interrupts import held_interrupts
from skadistill._utils.progress import count_paid
from skadistill._utils.validation import as_cost
from skadistill.exceptions import (
    LedgerError,
    TeacherAnswerError,
    TeacherError,
    TeacherWarning,
)
from skadistill.labeling._purchase import LabelPurchase

__all__ = ["Buyer"]

logger = logging.getLogger(__name__)

#: Seconds between looks at a row that somebody else is paying for: first, longest.
_PAUSES = (0.01, 1.0)
#: Seconds of waiting for others after which it is reported: first, then again.
_REPORTS = (5.0, 300.0)


class _Dearer(LedgerError):
    """Answers cost more than the ledger has reserved for them."""


class Buyer:
    """One purchase: the answers so far, and their cost."""

    def __init__(self, teacher, X, classes, ledger, identity):
        self.teacher = teacher
        self.X = X
        self.classes = classes
        self.ledger = ledger
        self.identity = identity
        self.keys = row_keys(X)
        n_samples = len(self.keys)
        self.row_numbers = np.arange(n_samples)
        _release_left(ledger)
        # Known to the ledger: with a label, or as a row without one, which is NaN.
        self.known, self.labels = ledger.lookup(self.keys, identity, classes)
        self.paid, self.refused, self.sent = np.zeros((3, n_samples), dtype=bool)
        self.n_paid, self.n_calls, self.cost, self.seconds = 0, 0, 0.0, 0.0
        self.n_embedded, self.was_dearer = 0, False
        self.most = np.zeros(n_samples)  # what each row can cost
        self.with_embeddings = False
        self.models_before = None
        self.pause, self.waiting_since, self.next_report = _PAUSES[0], None, 0.0

    def unknown_rows(self):
        """Return the first row of each distinct content that the ledger lacks."""
        self.unknown = np.flatnonzero(~self.known)
        self.first_seen = _first_of_each(self.keys, self.unknown)
        return np.array(list(self.first_seen.values()), dtype=np.intp)

    def pay(self, rows):
        """Claim rows, ask about those granted and record them; return their number."""
        claim, granted = None, rows[:0]
        clock, self.was_dearer = time.perf_counter(), False
        prices = self._prices_of(rows)
        try:
            # A claim that Ctrl-C leaves in a living process would block its rows.
            with held_interrupts():
                claim = self.ledger.claim(
                    self.keys[rows],
                    self.identity,
                    self.classes,
                    max_cost_per_row=prices,
                )
                granted = rows[claim.granted]
            self.refused[rows] = claim.refused
            if len(granted):
                self._ask(granted, claim)
                self.n_calls += 1
        except _Dearer:
            self.ledger.release(claim)  # and claim the rest at what it costs
        except BaseException as error:
            if claim is not None:
                self._give_up(claim, granted, error, time.perf_counter() - clock)
            raise
        return len(granted)

    def _prices_of(self, rows):
        """Return what each of some rows costs at most; None if it is not known."""
        if hasattr(self.teacher, "max_costs"):  # by the rows themselves
            prices = self.teacher.max_costs(copy_rows(self.X, rows))
        else:
            prices = as_cost(self.teacher.max_cost_per_row, "max_cost_per_row")
        self.most[rows] = 0.0 if prices is None else prices
        return prices

    def _ask(self, rows, claim):
        """Ask about claimed rows and record the answers as they arrive."""

        def before_call(positions):
            sending = rows[positions]
            if self.was_dearer and getattr(self.ledger, "max_cost", None) is not None:
                raise _Dearer
            with held_interrupts():
                held = self.ledger.sending(claim, self.keys[sending])
            if not np.all(held):
                raise LedgerError(
                    f"the claim on row {self.row_numbers[sending[0]]} and others was "
                    "ended by free_claims() before they were sent; buy the rest again."
                )
            self.sent[sending] = True

        options: dict = {"before_call": before_call}
        if self.with_embeddings:
            options["with_embeddings"] = True
        # A teacher of the user's own may do without these.
        if "before_call" not in _parameters(self.teacher.ask_parts):
            del options["before_call"]
            before_call(np.arange(len(rows)))
        parts = self.teacher.ask_parts(
            copy_rows(self.X, rows),
            self.classes,
            row_numbers=self.row_numbers[rows],
            **options,
        )
        # Closed at once if recording fails: calls in flight end with it.
        with contextlib.closing(_closable(parts)) as parts:
            for part in parts:
                try:
                    with held_interrupts():
                        self._keep(rows, part, claim)
                except LedgerError as error:
                    self._hand_over(error, rows, parts)
                    raise
        left_out = rows[~self.known[rows]]
        if len(left_out):
            numbers = self.row_numbers[left_out].tolist()
            raise TeacherAnswerError(
                f"{self.teacher.display_name} left out {len(left_out)} of {len(rows)} "
                f"rows, {_listed(numbers)}; yield every row once, with a row of NaN "
                "if it has no label."
            )

    def _keep(self, rows, part, claim):
        """Record one part, then use it."""
        who = self.teacher.display_name
        positions, labels = _checked_part(part, len(rows), len(self.classes), who)
        all_rows, rows = rows, rows[positions]
        if self.known[rows].any():
            raise TeacherAnswerError(
                f"{who} answered row {self.row_numbers[rows[self.known[rows]][0]]} "
                "twice; yield every row once."
            )
        cost, fault = None, None
        try:
            cost = as_cost(part.cost, f"the cost of a LabeledBatch of {who}")
        except TeacherError as error:
            fault = error
        try:
            self.ledger.record(
                self.keys[rows],
                self.identity,
                self.classes,
                labels,
                cost=cost,
                seconds=part.seconds,
                embeddings=part.embeddings,
                claim=claim,
                **self._of_model(part),
                **_unanswered_of(part),
            )
        except LedgerError as error:
            _add_labels(error, rows, labels)
            raise
        for other in part.also:
            self.ledger.record(
                self.keys[all_rows[other.rows]],
                other.identity,
                other.classes,
                other.labels,
                paid=False,
                **self._of_model(part),
            )
        self.labels[rows] = labels
        self.paid[rows] = self.known[rows] = True
        self.n_paid += len(rows)
        self.cost += cost or 0.0
        reserved = float(self.most[rows].sum())
        self.was_dearer |= 0.0 < reserved * (1 + 1e-9) < (cost or 0.0)
        self.seconds += part.seconds
        count_paid(len(rows), cost)
        if fault is not None:
            raise fault

    def _hand_over(self, error, rows, parts):
        """Add the answers to calls in flight to a fault of the ledger."""
        who = self.teacher.display_name
        with contextlib.suppress(StopIteration, LedgerError, TeacherError):
            part = parts.throw(error)  # the teacher sends no more
            while True:
                where, labels = _checked_part(part, len(rows), len(self.classes), who)
                _add_labels(error, rows[where], labels)
                part = next(parts)
        if (unrecorded := getattr(error, "unrecorded", None)) is not None:
            error.args = (
                f"{str(error).removesuffix('.')}; labels of {len(unrecorded[0])} rows "
                "just paid for are in this error's attribute `unrecorded`.",
            )

    def _of_model(self, part):
        """Return which model answered, for the ledger, if the teacher says so."""
        model = getattr(part, "model", None)
        if model is None:
            return {}  # a ledger of the user's own may do without
        if self.models_before is None:
            self.models_before = self.ledger.models(self.identity)
        return {"model": model}

    def warn_of_models(self):
        """Warn if another model than before has answered."""
        if self.models_before is None:
            return
        counts = self.ledger.models(self.identity)
        if len(counts) > max(1, len(self.models_before)):
            listed = ", ".join(f"{model}: {n}" for model, n in counts.items())
            warnings.warn(
                f"{self.teacher.display_name} is answered by another model than "
                f"before; rows of each, as the endpoint says: {listed}. The labels "
                "may differ: compare them with teacher_repeatability, and ask for a "
                "model of a fixed version.",
                TeacherWarning,
                stacklevel=3,
            )

    def _give_up(self, claim, rows, error, seconds):
        """Release a claim after a fault, which must not be hidden by another."""
        sent = rows[~self.known[rows] & self.sent[rows]]
        most = float(self.most[sent].sum())
        bill = _fault_bill(error, self.teacher.display_name, len(sent), most)
        fault = {"fault": type(error).__name__, "seconds": seconds, **bill}
        with held_interrupts():
            _release(self.ledger, claim, fault)

    def embed_the_rest(self, batch_size):
        """Ask for the embeddings of rows whose label came without one."""
        known, _ = self.ledger.lookup_embeddings(self.keys, self.identity)
        first = _first_of_each(self.keys, np.flatnonzero(self._labeled() & ~known))
        todo = np.array(list(first.values()), dtype=np.intp)
        step = batch_size or self.teacher.claim_size or max(1, len(todo))
        for start in range(0, len(todo), step):
            rows = todo[start : start + step]
            clock = time.perf_counter()
            embeddings = self.teacher.embed(
                copy_rows(self.X, rows), row_numbers=self.row_numbers[rows]
            )
            seconds = time.perf_counter() - clock
            with held_interrupts():
                self.ledger.record_embeddings(
                    self.keys[rows], self.identity, embeddings, seconds=seconds
                )
            self.n_embedded += len(rows)
            self.n_calls += 1
            self.seconds += seconds

    def open_rows(self, rows, *, progress):
        """Return the rows still to be bought, after a wait if only others can go on.

        After progress all are tried again at once: what was reserved for the worst
        case came back when the real cost was recorded.
        """
        rows = rows[~self.known[rows]]
        if progress:
            return rows
        rows = rows[~self.refused[rows]]
        if not len(rows):
            return rows
        known, labels = self.ledger.lookup(self.keys[rows], self.identity, self.classes)
        self.labels[rows[known]] = labels[known]
        self.known[rows[known]] = True
        if not known.any():
            self._raise_if_in_jobs(rows)
            self._wait(len(rows))
        else:
            self.pause, self.waiting_since = _PAUSES[0], None
        return rows[~known]

    def _raise_if_in_jobs(self, rows):
        """Raise if rows are in jobs, which would never be collected here."""
        try:
            jobs = self.ledger.jobs(self.identity, self.classes)
        except AttributeError:  # a ledger of the user's own
            return
        names = [j.job for j in jobs if np.isin(self.keys[rows], j.keys).any()]
        if names:
            raise TeacherError(
                f"rows of {self.teacher.display_name} are in jobs whose answers are "
                f"not recorded yet: {', '.join(names):.200}; buy them with the "
                f"BatchTeacher that submitted them, or give one up with "
                f"ledger.free_claims(owner='job {names[0]}')."
            )

    def _wait(self, n_samples):
        """Wait for others that pay for rows; say so if it takes long."""
        now = time.monotonic()
        if self.waiting_since is None:
            self.waiting_since, self.next_report = now, now + _REPORTS[0]
        if now >= self.next_report:
            self.next_report = now + _REPORTS[1]
            logger.warning(
                "waiting for %.0f s for %d rows of %s that other purchases from %r "
                "have claimed%s; their labels are used once they are recorded, and the "
                "rows are bought here once their claims end",
                now - self.waiting_since,
                n_samples,
                self.teacher.display_name,
                self.ledger,
                _claims_shown(self.ledger),
            )
        _release_left(self.ledger)
        time.sleep(self.pause)
        self.pause = min(2 * self.pause, _PAUSES[1])

    def _labeled(self):
        """Return which rows have a label; a row known without one is NaN."""
        return self.known & ~np.isnan(self.labels).any(axis=1)

    def purchase(self):
        """Give rows of equal content the same label and sum up."""
        keys = self.keys[self.unknown].tolist()
        source = np.array([self.first_seen[key] for key in keys], dtype=np.intp)
        self.labels[self.unknown] = self.labels[source]
        self.known[self.unknown] = self.known[source]
        labeled = self._labeled()
        no_label = self.known & ~labeled
        embeddings = None
        if self.with_embeddings:
            _, embeddings = self.ledger.lookup_embeddings(self.keys, self.identity)
        return LabelPurchase(
            keys=self.keys,
            labels=self.labels,
            paid=self.paid,
            labeled=labeled,
            n_paid=self.n_paid,
            n_free=int((labeled & ~self.paid).sum()),
            seconds=self.seconds,
            n_calls=self.n_calls,
            cost=self.cost,
            n_refused=int((self.refused & ~self.known).sum()),
            embeddings=embeddings,
            n_embedded=self.n_embedded,
            no_label=no_label,
            n_no_label=len(set(self.keys[no_label].tolist())),
        )


#: Claims whose release failed with their ledger, to be released once it is well.
_LEFT: "weakref.WeakKeyDictionary" = weakref.WeakKeyDictionary()


def _release(ledger, claim, fault):
    """Release a claim; if the ledger fails, later."""
    try:
        ledger.release(claim, **fault)
    except LedgerError:
        _LEFT.setdefault(ledger, []).append((claim, fault))


def _release_left(ledger):
    """Release what could not be released when the ledger failed."""
    for claim, fault in _LEFT.pop(ledger, []):
        _release(ledger, claim, fault)


def _parameters(function):
    """Return the names of a function's parameters."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _checked_part(part, n_samples, n_classes, who):
    """Return positions and labels of a part, which a user's own class may have made."""
    positions = np.asarray(part.rows)
    labels = np.asarray(part.labels, dtype=np.float64)
    if (
        positions.ndim != 1
        or (positions.size and positions.dtype.kind not in "iu")
        or len(set(positions.tolist())) != len(positions)
        or (positions.size and not 0 <= positions.min() <= positions.max() < n_samples)
    ):
        raise TeacherAnswerError(
            f"{who} yielded a LabeledBatch whose rows are {_listed(positions)}; pass "
            f"distinct positions from 0 to {n_samples - 1}."
        )
    if labels.shape != (len(positions), n_classes):
        raise TeacherAnswerError(
            f"{who} yielded a LabeledBatch whose labels have shape {labels.shape}; "
            f"pass one row per position and one column per class, here "
            f"{(len(positions), n_classes)}."
        )
    missing = np.isnan(labels).all(axis=1)
    if not np.isfinite(labels[~missing]).all():
        raise TeacherAnswerError(
            f"{who} yielded a LabeledBatch whose labels are not all finite; pass "
            "probabilities, or a row of NaN if a row has no label."
        )
    return positions.astype(np.intp), labels


def _listed(numbers):
    """Write row numbers for a message; a long list is cut."""
    numbers = list(numbers)
    shown = ", ".join(map(str, numbers[:10]))
    return shown + (f", ... ({len(numbers)} in all)" if len(numbers) > 10 else "")


def _claims_shown(ledger):
    """Write who holds a ledger's claims, and how to free them, if it can tell."""
    try:
        held = ledger.claims()
    except (AttributeError, LedgerError):
        return ""
    shown = [
        f"{claim['owner']} holds {claim['n_rows']} since {claim['since']:%F %T} until "
        + ("its process ends" if claim["until"] is None else f"{claim['until']:%F %T}")
        for claim in held[:5]
    ]
    if not shown:
        return ""
    return f" ({'; '.join(shown)}, in UTC); ledger.free_claims() ends claims"


def _unanswered_of(part):
    """Return the calls without an answer before a part, for the ledger, if any."""
    unanswered = getattr(part, "unanswered", None)
    return {} if unanswered is None else {"unanswered": unanswered}


def _fault_bill(error, who, n_sent, most):
    """Return what rows sent without an answer cost; report it unless the error has."""
    cost = getattr(error, "cost", None)
    # A teacher that knows has said it; other errors may have such an attribute.
    if isinstance(error, TeacherError | KeyboardInterrupt) and cost is not None:
        return {"cost": cost} | _unanswered_of(error)
    if not n_sent:
        return {}
    logger.warning(
        "%s: %d rows were sent and their answers not recorded, because of %s; they may "
        "be billed, %g at most, and the summary of the ledger counts them apart",
        who,
        n_sent,
        type(error).__name__,
        most,
    )
    return {"unanswered": (n_sent, most)}


def _closable(parts):
    """Return an iterator with a method `close`, which a list, for example, lacks."""
    return parts if hasattr(parts, "close") else (part for part in parts)


def _first_of_each(keys, rows):
    """Map each distinct key among `rows` to the first row that has it."""
    first: dict[bytes, int] = {}
    for i, key in zip(rows.tolist(), keys[rows].tolist(), strict=True):
        first.setdefault(key, i)
    return first


def _add_labels(error, rows, labels):
    """Add to a fault of the ledger the labels that it could not take."""
    if (before := getattr(error, "unrecorded", None)) is not None:
        rows = np.concatenate([before[0], rows])
        labels = np.concatenate([before[1], labels])
    error.unrecorded = rows, labels
