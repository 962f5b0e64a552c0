"""The part of a ledger's contract that is about paying: claims and what they cost."""

import inspect
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadistill._utils.interrupts import held_interrupts
from skadistill.exceptions import BudgetError, LedgerError
from skadistill.ledger._budget import check_amount
from skadistill.ledger._checks import check_classes, check_keys

__all__ = ["Claiming", "amount_or_zero", "with_unanswered"]


class Claiming(ABC):
    """Reserve rows before they are paid for; a part of `BaseLedger`."""

    def claim(
        self,
        keys: NDArray[Any],
        teacher_id: str,
        classes: ArrayLike,
        *,
        max_cost_per_row: Any = None,
    ) -> Any:
        """Reserve rows before paying for them, as far as the budget goes.

        No other claim gets the same rows until they are recorded or the claim
        ends, and what is reserved counts as spent. Recording rows returns what was
        reserved for them beyond their cost. Release a claim if some of its rows will
        not be recorded. A claim also ends when nothing refers to the `Claim` any
        more, with its thread or process, and when its thread claims a row of it
        again.

        Parameters
        ----------
        keys : ndarray of dtype V16 and shape (n_samples,)
            Keys made by `row_keys`, all different.
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            The columns that will be asked for.
        max_cost_per_row : float, Decimal, ndarray of shape (n_samples,) or None
            What one row, or each of them, can cost at most. None: not known, which a
            ledger with `max_cost` refuses.

        Returns
        -------
        claim : Claim
            ``granted``, ``refused`` and ``waiting``; rows in none of them got a label
            meanwhile, or another buyer is paying for them: look them up again.

        Raises
        ------
        BudgetError
            If the ledger has a `max_cost` and the price is missing or not an amount.
        """
        keys, classes = check_keys(keys), check_classes(classes)
        if max_cost_per_row is not None:
            max_cost_per_row = _prices(max_cost_per_row, len(keys))
        claim = None
        try:
            # Ctrl-C after the reservation would leave a claim that nobody knows.
            with held_interrupts():
                claim = self._reserve(keys, teacher_id, classes, max_cost_per_row)
        except BaseException:
            if claim is not None:
                self.release(claim)
            raise
        return claim

    def sending(self, claim: Any, keys: NDArray[Any]) -> NDArray[Any]:
        """Mark rows of a claim as sent, just before a teacher is called about them.

        If the process is killed, or its lease ends, rows that are marked and were
        not recorded count as lost, with their cost; the others are free again and
        cost nothing. Until they are recorded or the claim is released, the ledger
        keeps the claim's lease from ending.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it.
        keys : ndarray of dtype V16 and shape (n_rows,)
            Rows granted by it that are about to be sent.

        Returns
        -------
        held : ndarray of bool of shape (n_rows,)
            Which of them the claim still holds. The others were freed meanwhile,
            and another buyer may be paying for them: do not send them.
        """
        keys = check_keys(keys)
        with held_interrupts():
            return self._send(claim, keys)

    def renew(self, claim: Any) -> bool:
        """Let the lease of a claim begin again.

        Recording rows of it and `sending` do so, too.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it.

        Returns
        -------
        open : bool
            Whether the claim is still open.
        """
        return self._renew(claim)

    def release(
        self,
        claim: Any,
        *,
        fault: str | None = None,
        cost: Any = None,
        seconds: float | None = None,
        unanswered: tuple[Any, ...] | None = None,
    ) -> None:
        """End a claim; rows of it that were not recorded are free again.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it. Ending one twice changes nothing.
        fault : str or None, default=None
            The name of the error that kept the rows from being answered; they are
            then counted in ``n_failed``.
        cost : float, Decimal or None, default=None
            What the fault cost, in the user's money.
        seconds : float or None, default=None
            How long it took.
        unanswered : tuple of (int, float) or None, default=None
            Rows of calls that may be billed and brought no answer, and what they
            cost at most, as in `BaseLedger.record`.
        """
        cost, seconds = amount_or_zero(cost, "cost"), amount_or_zero(seconds, "seconds")
        cost, extra = with_unanswered(self._end, cost, unanswered)
        with held_interrupts():
            self._end(claim, fault, cost, seconds, **extra)

    def hand_to_job(self, claim: Any, job: str) -> None:
        """Let an asynchronous job hold the rows of a claim from now on.

        The claim then ends neither with its thread nor with its process: any process
        can find the job with `jobs` and record its answers.

        Parameters
        ----------
        claim : Claim
            As `claim` returned it, its rows marked by `sending`.
        job : str
            How the teacher names the job.

        Raises
        ------
        LedgerError
            If the claim has ended meanwhile.
        """
        if not isinstance(job, str) or not job:
            raise LedgerError(f"job is {job!r}; pass the name of the job as a string.")
        with held_interrupts():
            if not self._hand_to_job(claim, job):
                raise LedgerError(
                    f"the claim on the rows of the job {job!r} has ended; the job may "
                    "be billed, and its rows can be asked about again."
                )

    def jobs(self, teacher_id: str, classes: ArrayLike) -> list[Any]:
        """List the jobs whose answers are not recorded yet.

        Parameters
        ----------
        teacher_id : str
            The teacher's identity.
        classes : array-like of shape (n_classes,)
            The columns that were asked for.

        Returns
        -------
        jobs : list of OpenJob
            ``job``, ``claim``, ``keys`` (the rows it holds, in ascending order) and
            ``since`` (datetime in UTC). Record answers with this claim: rows that
            another process has recorded meanwhile are left as they are, and not
            counted again. Release it if no more answers will come.
        """
        return self._jobs(teacher_id, check_classes(classes))

    def claims(self) -> list[dict[str, Any]]:
        """List the open claims: who is paying for rows, since when and until when.

        Returns
        -------
        claims : list of dict
            For each ``owner`` (a string), ``teacher`` (its identity), ``n_rows`` (not
            answered yet), ``n_sent`` (of these, sent to the teacher), ``max_cost``
            (what they can cost, which is reserved), ``since`` and ``until`` (datetime
            in UTC; None: as long as the owner runs).
        """
        return self._open_claims()

    def free_claims(self, owner: str | None = None) -> int:
        """End open claims, including those of other processes.

        For claims whose owner will not come back. Rows that were sent count as lost,
        since they may be billed. The labels of an owner that does come back are
        still recorded.

        Parameters
        ----------
        owner : str or None, default=None
            Only claims of this owner, as `claims` names it. None: all claims.

        Returns
        -------
        n_rows : int
            Number of rows that are free again.
        """
        with held_interrupts():
            return self._free(owner)

    def write_off(self, teacher_id: str | None = None) -> dict[str, Any]:
        """Set the cost of lost answers to zero, if your invoice shows none for them.

        Parameters
        ----------
        teacher_id : str or None, default=None
            Only what this teacher's claims lost. None: of all teachers.

        Returns
        -------
        written_off : dict
            ``n_rows`` that no longer count as lost, ``n_unanswered`` rows of other
            calls without an answer, and the ``cost`` that both counted as against
            `max_cost`.
        """
        with held_interrupts():
            n_rows, n_unanswered, cost = self._write_off(teacher_id)
        return {"n_rows": n_rows, "n_unanswered": n_unanswered, "cost": cost}

    def _send(self, claim, keys):
        """Mark rows as sent; return which ones the claim holds."""
        return np.ones(len(keys), dtype=bool)

    def _renew(self, claim):
        """Let a lease begin again; return whether the claim is open."""
        return True

    def _hand_to_job(self, claim, job):
        """Let a job hold a claim; return whether the claim is open."""
        raise LedgerError(
            f"{type(self).__name__} cannot keep jobs; use a LabelLedger, a "
            "PostgresLedger or a MemoryLedger."
        )

    def _jobs(self, teacher_id, classes):
        """Return what `jobs` returns."""
        return []

    def _open_claims(self):
        """Return what `claims` returns."""
        return []

    def _free(self, owner):
        """End claims; return the number of rows."""
        return 0

    def _write_off(self, teacher_id):
        """Return how many lost and unanswered rows were written off; their cost."""
        return 0, 0, 0.0

    @abstractmethod
    def _reserve(self, keys, teacher_id, classes, prices):
        """Return a Claim; arguments are checked."""

    @abstractmethod
    def _end(self, claim, fault, cost, seconds):
        """Drop a claim and count its fault, if any."""


def _prices(max_cost_per_row, n_rows):
    """Return a checked amount for each row."""
    if not isinstance(max_cost_per_row, np.ndarray):
        most = check_amount(max_cost_per_row, "max_cost_per_row", BudgetError)
        return np.full(n_rows, most)
    if max_cost_per_row.shape != (n_rows,):
        raise BudgetError(
            f"max_cost_per_row has the shape {max_cost_per_row.shape}; pass an amount, "
            f"or one for each of the {n_rows} rows."
        )
    amounts = max_cost_per_row.tolist()
    return np.array([check_amount(a, "max_cost_per_row", BudgetError) for a in amounts])


def with_unanswered(method, cost, unanswered):
    """Return how a ledger counts calls that may be billed and brought no answer."""
    if unanswered is None:
        return cost, {}
    n_rows, most = unanswered
    most = check_amount(most, "unanswered")
    if "unanswered" not in inspect.signature(method).parameters:
        return cost + most, {}
    return cost, {"unanswered": (int(n_rows), most)}


def amount_or_zero(value, name):
    """Return a checked amount."""
    return 0.0 if value is None else check_amount(value, name)
