"""What the ledgers in SQLite and in PostgreSQL share.

Statements keep to the SQL that both databases know; `Dialect` holds the few words
that differ.
"""

import math
from abc import abstractmethod
from datetime import UTC, datetime
from typing import Any

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill._utils.optional import require
from skadistill.exceptions import LedgerError
from skadistill.ledger._base import BaseLedger
from skadistill.ledger._budget import Claim, Spending, check_amount, grant_rows
from skadistill.ledger._catalog import (
    COUNTED,
    all_rows,
    find_label_set,
    find_teacher,
    losses,
    made_label_set,
    made_teacher,
    pay,
    pay_unanswered,
    stored_classes,
    stored_order,
    teacher_with_id,
)
from skadistill.ledger._claim_token import ClaimToken
from skadistill.ledger._claims import (
    ExpiryWatch,
    drop_claim,
    end_claim,
    end_claims_of_this_thread,
    insert_claim,
    mark_sent,
    open_claims,
    present_keys,
    recover_lost,
    renew_claim,
    take_from_claim,
    write_off_lost,
)
from skadistill.ledger._contents import (
    EMBEDDING,
    LABEL,
    KeyedReader,
    check_contents,
    check_keys_of,
    drop_damaged_rows,
    forget_without_label,
    insert_embeddings,
    insert_labels,
)
from skadistill.ledger._counts import NO_COUNTS, total_summary, with_losses
from skadistill.ledger._frames import calls_in, table_of
from skadistill.ledger._jobs import (
    hand_claim_to_job,
    job_name,
    open_jobs,
    rows_held,
)
from skadistill.ledger._lease import LeaseKeeper
from skadistill.ledger._models import count_models, note_model
from skadistill.ledger._process import describe_process
from skadistill.ledger._transaction import chunks, marks

__all__ = ["SqlLedger"]


class SqlLedger(BaseLedger):
    """Remember paid labels in a SQL database.

    A subclass brings the database: `_transaction`, `close` and `_check_storage`. It
    calls `_set_up` in its constructor.
    """

    outlives_process: bool = True
    lease: float

    def _set_up(self, lease):
        """Check the lease and prepare what a process keeps about its claims."""
        self.lease = check_amount(lease, "lease")
        if self.lease == 0:
            raise LedgerError("lease is 0; pass a number of seconds above 0.")
        self._expiry = ExpiryWatch(self.lease)
        self._keeper = LeaseKeeper(self.lease)
        self._compared = set()  # numbers of label sets

    def __getstate__(self) -> Any:
        state = self.__dict__.copy()
        for name in ("_expiry", "_keeper", "_compared"):
            del state[name]
        return state

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        self._set_up(self.lease)

    @abstractmethod
    def _transaction(self, *, write):
        """Return a context manager that gives a `Transaction`.

        It is committed and on the disk at the end, or undone after an error.
        Writers wait for each other, before they read.
        """

    @abstractmethod
    def _check_storage(self, db):
        """Let the database check itself, as far as it can."""

    @abstractmethod
    def close(self) -> Any:
        """Close this process's connections; they are opened again when needed."""

    def check(self) -> None:
        """Read everything, and compare it with its checksums and sums.

        Raises
        ------
        LedgerError
            If anything is damaged or missing.
        """
        with self._transaction(write=False) as db:
            self._check_storage(db)
            check_contents(db)

    def drop_damaged(self) -> int:
        """Delete labels and embeddings that differ from their checksum.

        They are not known any more, and can be asked for again. For a ledger of
        which no copy exists.

        Returns
        -------
        n_dropped : int
            Number of labels deleted.
        """
        with self._transaction(write=True) as db:
            return drop_damaged_rows(db)

    def __len__(self) -> int:
        """Return the number of labels, one per teacher, set of classes and row."""
        with self._transaction(write=False) as db:
            return sum(
                s["n_labels"] - s["n_no_label"] for s in all_rows(db, "label_sets")
            )

    def summary(self) -> dict[str, Any]:
        """Return totals of rows, calls, money and time.

        Returns
        -------
        summary : dict
            As `BaseLedger.summary` says.
        """
        with self._transaction(write=False) as db:
            teachers, label_sets = all_rows(db, "teachers"), all_rows(db, "label_sets")
            lost = losses(db)
        counts = {}
        for teacher in teachers:
            own = [s for s in label_sets if s["teacher"] == teacher["id"]]
            n_no_label = sum(s["n_no_label"] for s in own)
            own_counts = {
                **NO_COUNTS,
                "n_labels": sum(s["n_labels"] for s in own) - n_no_label,
                "n_no_label": n_no_label,
                **{name: teacher[name] for name in COUNTED},
            }
            own_counts |= lost.get(teacher["id"], {})
            counts[teacher["identity"]] = with_losses(own_counts)
        return total_summary(counts)

    def to_frame(self) -> Any:
        """Return everything as a pandas frame with one row per label.

        Returns
        -------
        frame : DataFrame of n_labels rows
            In the order in which they were paid for: ``key`` (of `row_keys`, in
            hexadecimal), ``teacher``, ``classes`` (a JSON list), ``label`` (an
            array of float64, one per class; NaN: answered without a label),
            ``embedding`` (an array of float32 or None), ``call`` (a number for each
            call to the teacher), ``paid_at``, and the row's share of the call's
            ``cost`` and ``seconds``; ``model`` that answered, as its endpoint says.

        Raises
        ------
        ImportError
            If pandas is not installed.
        LedgerError
            If a label is damaged.
        """
        with self._transaction(write=False) as db:
            return table_of(db)

    def to_parquet(self, path: Any) -> None:
        """Write everything to a Parquet file, with the columns of `to_frame`.

        Parameters
        ----------
        path : str or Path
            The file.
        """
        self.to_frame().to_parquet(path, index=False)

    def add_frame(self, frame: Any) -> int:
        """Add the labels of a frame, all of them or, after an error, none.

        A label that is here already stays as it is, and costs nothing again.

        Parameters
        ----------
        frame : DataFrame
            With the columns of `to_frame`.

        Returns
        -------
        n_added : int
            Number of labels that were new.

        Raises
        ------
        LedgerError
            If a column is missing or a row cannot be read; the message names it.
        """
        calls = list(calls_in(frame))
        with self._transaction(write=True) as db:
            return sum(_add_call(db, **call) for call in calls)

    def add_parquet(self, path: Any) -> int:
        """Add the labels of a Parquet file that `to_parquet` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        n_added : int
            Number of labels that were new.

        Raises
        ------
        LedgerError
            If the file cannot be read, or as for `add_frame`.
        """
        pandas = require("pandas", "pandas")
        require("pyarrow", "pandas")
        try:
            frame = pandas.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's errors are among them
            raise LedgerError(
                f"{path} cannot be read as a Parquet file ({error}); pass one that "
                "LabelLedger.to_parquet wrote."
            ) from error
        return self.add_frame(frame)

    def _find(self, keys, teacher_id, classes):
        reader = KeyedReader(keys, len(classes), LABEL)
        with self._transaction(write=False) as db:
            label_set = find_label_set(db, teacher_id, classes)
            if label_set is not None:
                reader.read(db, "labels", label_set["id"])
        known, labels = reader.all()
        order = None if label_set is None else stored_order(label_set, classes)
        return known, labels if order is None else labels[:, order]

    def _find_embeddings(self, keys, teacher_id):
        with self._transaction(write=False) as db:
            teacher = find_teacher(db, teacher_id) or {"n_dims": None}
            reader = KeyedReader(keys, teacher["n_dims"] or 0, EMBEDDING)
            if teacher["n_dims"]:
                reader.read(db, "embeddings", teacher["id"])
        return reader.all()

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
        with self._transaction(write=True) as db:
            if claim is not None and claim.job is not None:
                here = rows_held(db, claim, keys)
                if not here.any():  # another process has recorded them
                    return
                cost, seconds = cost * here.mean(), seconds * here.mean()
                keys, labels, n_paid = keys[here], labels[here], int(here.sum())
                embeddings = None if embeddings is None else embeddings[here]
            label_set = made_label_set(db, teacher_id, classes)
            teacher = teacher_with_id(db, label_set["teacher"])
            if embeddings is not None:
                insert_embeddings(db, teacher, keys, embeddings)
            counts = {"n_paid": n_paid, "cost": cost, "seconds": seconds}
            payment = pay(db, teacher, "paid", n_calls=1, **counts)
            pay_unanswered(db, teacher, unanswered)
            note_model(db, payment, model)
            order = stored_order(label_set, classes)
            if order is not None:
                labels = labels[:, np.argsort(order)]
            insert_labels(db, label_set, keys, labels, payment)
            if claim is not None and claim.token is not None:
                number = claim.token.number
                if not take_from_claim(db, number, label_set, keys):
                    recover_lost(db, teacher, number, keys)
                elif claim.job is None:
                    renew_claim(db, number, self.lease)

    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        with self._transaction(write=True) as db:
            teacher = made_teacher(db, teacher_id)
            insert_embeddings(db, teacher, keys, embeddings)
            pay(db, teacher, "paid", n_calls=1, cost=cost, seconds=seconds)

    def _reserve(self, keys, teacher_id, classes, prices):
        with self._transaction(write=True) as db:
            self._expiry.expire(db)
            label_set = made_label_set(db, teacher_id, classes)
            if label_set["id"] not in self._compared:
                # Once per process, before its first payment: a key that damage hides
                # would be paid for again.
                check_keys_of(db, label_set)
                self._compared.add(label_set["id"])
            end_claims_of_this_thread(db, label_set, keys)
            taken = present_keys(db, label_set, keys, "labels")
            taken |= present_keys(db, label_set, keys, "claimed_rows")
            free = np.array([key not in taken for key in keys.tolist()], dtype=bool)
            granted, refused, waiting = grant_rows(
                free,
                prices,
                max_rows=self.max_rows,
                max_cost=self.max_cost,
                spending=_spending(db),
            )
            token = None
            if granted.any():
                token = ClaimToken(label_set["id"])
                most = np.zeros(len(keys)) if prices is None else prices
                insert_claim(
                    db, token, label_set, keys[granted], self.lease, most[granted]
                )
        return Claim(granted, refused, waiting, prices, token)

    def _send(self, claim, keys):
        if claim.token is None:
            return np.zeros(len(keys), dtype=bool)
        number, label_set = claim.token.number, claim.token.label_set
        with self._transaction(write=True) as db:
            held = mark_sent(db, number, label_set, keys)
            renew_claim(db, number, self.lease)
        self._keeper.keep(self, claim)
        return held

    def _renew(self, claim):
        if claim.token is None:
            return False
        with self._transaction(write=True) as db:
            return renew_claim(db, claim.token.number, self.lease)

    def _hand_to_job(self, claim, job):
        if claim.token is None:
            return False
        self._keeper.drop(claim)
        with self._transaction(write=True) as db:
            return hand_claim_to_job(db, claim.token.number, job)

    def _jobs(self, teacher_id, classes):
        with self._transaction(write=False) as db:
            label_set = find_label_set(db, teacher_id, classes)
            return [] if label_set is None else open_jobs(db, label_set)

    def _end(self, claim, fault, cost, seconds, unanswered=None):
        if claim.token is None:
            return
        number, label_set = claim.token.number, claim.token.label_set
        self._keeper.drop(claim)
        with self._transaction(write=True) as db:
            row = db.row(
                f"SELECT teacher, n_rows FROM claims WHERE id = {db.mark}", (number,)
            )
            if row is not None:
                n_rows, teacher = row[1], teacher_with_id(db, row[0])
                drop_claim(db, number)
            else:
                # Its owner knows better than whoever counted the rows as lost.
                owner = db.row(
                    f"SELECT teacher FROM label_sets WHERE id = {db.mark}", (label_set,)
                )
                teacher = teacher_with_id(db, owner[0])
                n_rows = recover_lost(db, teacher, number)
            if fault is not None and n_rows:
                pay(db, teacher, fault, n_failed=n_rows, cost=cost, seconds=seconds)
                pay_unanswered(db, teacher, unanswered)

    def _open_claims(self):
        with self._transaction(write=False) as db:
            return [
                {
                    "owner": describe_process(claim["owner"]),
                    "teacher": claim["teacher"],
                    "n_rows": claim["n_rows"],
                    "n_sent": claim["n_sent"],
                    "max_cost": claim["most"],
                    "since": datetime.fromtimestamp(claim["since"], UTC),
                    "until": None
                    if job_name(claim["owner"])
                    else datetime.fromtimestamp(claim["until"], UTC),
                }
                for claim in open_claims(db)
            ]

    def _free(self, owner):
        with self._transaction(write=True) as db:
            return sum(
                end_claim(db, claim["id"], why="it was freed by free_claims()")
                for claim in open_claims(db)
                if owner in (None, describe_process(claim["owner"]))
            )

    def _write_off(self, teacher_id):
        with self._transaction(write=True) as db:
            done = [
                write_off_lost(db, teacher)
                for teacher in all_rows(db, "teachers")
                if teacher_id in (None, teacher["identity"])
            ]
        n_rows, n_unanswered, costs = zip(*done, strict=True) if done else ((), (), ())
        return sum(n_rows), sum(n_unanswered), math.fsum(costs)

    def _forget(self, teacher_id):
        with self._transaction(write=True) as db:
            return sum(
                forget_without_label(db, label_set)
                for label_set in all_rows(db, "label_sets")
                if label_set["n_no_label"]
                and teacher_id
                in (None, teacher_with_id(db, label_set["teacher"])["identity"])
            )

    def _questions(self):
        with self._transaction(write=False) as db:
            teachers = {t["id"]: t["identity"] for t in all_rows(db, "teachers")}
            return [
                (teachers[s["teacher"]], stored_classes(s))
                for s in all_rows(db, "label_sets")
            ]

    def _models(self, teacher_id):
        with self._transaction(write=False) as db:
            return count_models(db, teacher_id)

    def _keys_in_order(self, teacher_id, classes, n_keys=None):
        with self._transaction(write=False) as db:
            label_set = find_label_set(db, teacher_id, classes)
            if label_set is None:
                return np.empty(0, KEY_DTYPE)
            n_keys = label_set["n_labels"] if n_keys is None else n_keys
            rows = db.rows(
                f"SELECT key FROM labels WHERE label_set = {db.mark} ORDER BY id "
                f"LIMIT {db.mark}",
                (label_set["id"], int(n_keys)),
            )
        return np.array([key for (key,) in rows], KEY_DTYPE)

    def _costs(self, keys, teacher_id, classes):
        costs: dict[bytes, float] = {}
        with self._transaction(write=False) as db:
            label_set = find_label_set(db, teacher_id, classes)
            for chunk in chunks(np.unique(keys)):
                rows = db.rows(
                    "SELECT key, cost / n_rows FROM labels "
                    "JOIN payments ON payments.id = payment "
                    f"WHERE label_set = {db.mark} AND key IN {marks(db, chunk)}",
                    (label_set["id"], *chunk),
                )
                costs.update(rows)
        return np.array([costs[key] for key in keys.tolist()])


def _spending(db):
    """Sum up what is spent, with lost answers at their most, and what is reserved."""
    teachers = all_rows(db, "teachers")
    n_reserved, reserved = db.row(
        "SELECT count(*), coalesce(sum(price), 0) FROM claimed_rows"
    )
    return Spending(
        n_rows=sum(t["n_paid"] + t["n_lost"] for t in teachers),
        n_reserved=int(n_reserved),
        cost=sum(t["cost"] for t in teachers),
        reserved=float(reserved),
    )


def _add_call(db, teacher, classes, keys, labels, embeddings, at, cost, seconds, model):
    """Take over what another ledger paid in one call; return how much was new."""
    label_set = made_label_set(db, teacher, classes)
    teacher = teacher_with_id(db, label_set["teacher"])
    given = np.array([e is not None for e in embeddings], dtype=bool)
    if given.any():
        table = np.array([e for e in embeddings if e is not None], dtype=np.float32)
        insert_embeddings(db, teacher, keys[given], table)
    here = present_keys(db, label_set, keys, "labels")
    new = np.array([key not in here for key in keys.tolist()], dtype=bool)
    # A key that the frame has twice is one label.
    first = np.zeros(len(keys), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    new &= first
    n_new = int(new.sum())
    if n_new:
        amounts = {"n_paid": n_new, "cost": n_new * cost, "seconds": n_new * seconds}
        payment = pay(db, teacher, "paid", at=at, n_calls=1, **amounts)
        note_model(db, payment, model)
        order = stored_order(label_set, classes)
        if order is not None:
            labels = labels[:, np.argsort(order)]
        insert_labels(db, label_set, keys[new], labels[new], payment)
    return n_new
