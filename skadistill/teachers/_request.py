"""One question to a teacher that makes many calls, several of them at once."""

from typing import Any

import numpy as np

from skadistill._interrupts import held_interrupts
from skadistill._rows._containers import count_rows

__all__ = ["Request"]


class Request:
    """Split a question into calls, and end it without losing those in flight.

    A subclass makes the calls of `calls` while it is not `stopped`, reports those
    that failed with `fail`, and yields the answers through `finish`.

    Parameters
    ----------
    teacher : BaseTeacher
        The teacher asked.
    X : container of n_samples rows
        The rows.
    classes : sequence of n_classes labels
        The columns wanted.
    row_numbers : array-like of int of shape (n_samples,) or None
        The numbers of the rows in messages; None: their positions.
    batch_size : int
        Rows per call.
    """

    def __init__(self, teacher, X, classes, row_numbers, batch_size):
        n_samples = count_rows(X)
        if row_numbers is None:
            row_numbers = np.arange(n_samples)
        self.teacher = teacher
        self.X = X
        self.classes = classes
        self.numbers = np.asarray(row_numbers)
        self.calls = (
            np.arange(start, min(start + batch_size, n_samples))
            for start in range(0, n_samples, batch_size)
        )
        self.stopped = self.interrupted = False
        self.fault: Any = None
        self.fault_cost = 0.0

    def finish(self, parts):
        """Yield the parts, also those in flight at a Ctrl-C, then raise the fault.

        Parameters
        ----------
        parts : iterator of LabeledBatch
            Ends once nothing is in flight any more.

        Yields
        ------
        part : LabeledBatch
            The same.
        """
        try:
            # Calls in flight are paid for: wait for their answers before leaving.
            with held_interrupts(self._interrupt):
                yield from parts
                if self.fault is not None and not self.interrupted:
                    # Rows that were never sent cost nothing.
                    self.fault.cost = self.fault_cost
                    raise self.fault
        except KeyboardInterrupt as error:
            error.cost = self.fault_cost  # type: ignore[attr-defined] # read by buy_labels
            raise

    def fail(self, fault, cost):
        """Record a call that failed, and make no new ones; the first fault is raised.

        Parameters
        ----------
        fault : BaseException
            What to raise.
        cost : float
            What the call cost.
        """
        self.stopped = True
        self.fault_cost += cost
        if self.fault is None:
            self.fault = fault

    def _interrupt(self):
        self.stopped = self.interrupted = True
