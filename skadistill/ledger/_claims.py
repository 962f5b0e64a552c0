"""The claims of a SQL ledger: who is paying for which rows, and until when."""

import logging
import math
import time

import numpy as np

from skadistill.exceptions import LedgerError
from skadistill.ledger._catalog import pay, recount, teacher_with_id
from skadistill.ledger._claim_token import ClaimToken
from skadistill.ledger._process import describe_process, has_exited, process_name
from skadistill.ledger._transaction import chunks, insert, marks

__all__ = [
    "JOB",
    "ExpiryWatch",
    "drop_claim",
    "end_claim",
    "end_claims_of_this_thread",
    "insert_claim",
    "mark_sent",
    "open_claims",
    "present_keys",
    "recover_lost",
    "renew_claim",
    "take_from_claim",
    "write_off_lost",
]

logger = logging.getLogger(__name__)

#: How the owner of a claim begins that a job holds; names of processes do not.
JOB = "job "


class ExpiryWatch:
    """Decide which claims have ended without a word of their owner."""

    def __init__(self, lease):
        self.lease = lease
        self._seen = {}  # claim: when its lease ends, when we saw that first

    def expire(self, db):
        """End the claims that have ended; count the rows sent under them as lost."""
        now = db.now()
        found = db.rows("SELECT id, owner, name, expires FROM claims")
        for claim, owner, name, expires in found:
            if owner.startswith(JOB):
                continue
            try:
                exited = has_exited(owner)
            except ValueError:
                raise LedgerError(
                    f"the ledger was edited: its claim {claim} is owned by {owner!r}, "
                    "which is not the name of a process; end it with free_claims()."
                ) from None
            if owner == process_name():
                exited = ClaimToken.is_abandoned(name)
            over = expires < now and (
                exited is not None or db.one_clock or self._unchanged(claim, expires)
            )
            if exited:
                end_claim(
                    db,
                    claim,
                    why="the claiming process or thread has exited, or dropped it",
                )
            elif over:
                end_claim(db, claim, why="its lease is over")

    def _unchanged(self, claim, expires):
        """Tell whether a claim has not been renewed for half a lease."""
        clock = time.monotonic()
        seen, since = self._seen.get(claim, (None, clock))
        if seen != expires:
            since = clock
        self._seen[claim] = expires, since
        return clock - since >= self.lease / 2


def insert_claim(db, token, label_set, keys, lease, prices):
    """Reserve rows for this thread, each at its price."""
    now = db.now()
    token.number = insert(
        db,
        "claims",
        teacher=label_set["teacher"],
        owner=process_name(),
        name=token.name,
        since=now,
        expires=now + lease,
        n_rows=len(keys),
    )
    db.run_many(
        "INSERT INTO claimed_rows (label_set, key, claim, price) "
        f"VALUES ({label_set['id']}, {db.mark}, {token.number}, {db.mark})",
        sorted(zip(keys.tolist(), prices.tolist(), strict=True)),
    )


def end_claims_of_this_thread(db, label_set, keys):
    """End claims that this thread holds on rows that it claims again.

    It would wait for itself: an interrupt has kept it from releasing them.
    """
    own = [
        claim
        for claim, name in db.rows(
            f"SELECT id, name FROM claims WHERE owner = {db.mark}", (process_name(),)
        )
        if ClaimToken.is_of_this_thread(name)
    ]
    if not own:
        return
    wanted = set(keys.tolist())
    for claim in own:
        held = db.rows(
            f"SELECT key FROM claimed_rows WHERE claim = {db.mark} "
            f"AND label_set = {db.mark}",
            (claim, label_set["id"]),
        )
        if not wanted.isdisjoint(key for (key,) in held):
            end_claim(db, claim, why="the thread that held it claims its rows again")


def take_from_claim(db, claim, label_set, keys):
    """Remove answered rows from their claim; end it with the last one."""
    row = db.row(f"SELECT n_rows FROM claims WHERE id = {db.mark}", (claim,))
    if row is None:
        return False
    n_answered = db.run_many(
        f"DELETE FROM claimed_rows WHERE label_set = {db.mark} AND key = {db.mark} "
        f"AND claim = {db.mark}",
        [(label_set["id"], key, claim) for key in keys.tolist()],
    )
    if row[0] > n_answered:
        db.run(
            f"UPDATE claims SET n_rows = n_rows - {db.mark} WHERE id = {db.mark}",
            (n_answered, claim),
        )
    else:
        db.run(f"DELETE FROM claims WHERE id = {db.mark}", (claim,))
    return True


def mark_sent(db, claim, label_set, keys):
    """Mark rows of a claim as sent to the teacher."""
    rows = [(label_set, key, claim) for key in keys.tolist()]
    condition = f"label_set = {db.mark} AND key = {db.mark} AND claim = {db.mark}"
    n_held = db.run_many(f"UPDATE claimed_rows SET sent = 1 WHERE {condition}", rows)
    if n_held == len(rows):
        return np.ones(len(rows), dtype=bool)
    return np.array(
        [
            db.row(f"SELECT 1 FROM claimed_rows WHERE {condition}", row) is not None
            for row in rows
        ]
    )


def renew_claim(db, claim, lease):
    """Let the lease of a claim begin again; return whether it is still open."""
    return (
        db.run(
            f"UPDATE claims SET expires = {db.mark} WHERE id = {db.mark}",
            (db.now() + lease, claim),
        )
        > 0
    )


def end_claim(db, claim, *, why):
    """End a claim that its owner did not end; count the rows it had sent as lost."""
    number, owner, n_rows = db.row(
        f"SELECT teacher, owner, n_rows FROM claims WHERE id = {db.mark}", (claim,)
    )
    sent = db.rows(
        f"SELECT key, price FROM claimed_rows WHERE claim = {db.mark} AND sent = 1",
        (claim,),
    )
    if sent:
        teacher = teacher_with_id(db, number)
        cost = math.fsum(price for _, price in sent)
        payment = pay(db, teacher, "lost", n_lost=len(sent), cost=cost)
        db.run_many(
            "INSERT INTO lost_rows (claim, key, payment, price) "
            f"VALUES ({claim}, {db.mark}, {payment}, {db.mark})",
            sent,
        )
        logger.warning(
            "a claim of %s on rows of %s ended without a label for %d rows that had "
            "been sent (%s): they may be billed, %g at most, and can be asked again",
            describe_process(owner),
            teacher["identity"],
            len(sent),
            why,
            cost,
        )
    drop_claim(db, claim)
    return n_rows


def drop_claim(db, claim):
    """Delete a claim and its remaining rows."""
    db.run(f"DELETE FROM claimed_rows WHERE claim = {db.mark}", (claim,))
    db.run(f"DELETE FROM claims WHERE id = {db.mark}", (claim,))


def recover_lost(db, teacher, claim, keys=None):
    """Take back what was counted as lost for rows whose owner comes back after all."""
    lost = db.rows(
        f"SELECT key, payment, price FROM lost_rows WHERE claim = {db.mark}", (claim,)
    )
    wanted = None if keys is None else set(keys.tolist())
    back = [row for row in lost if wanted is None or row[0] in wanted]
    if not back:
        return 0
    db.run_many(
        f"DELETE FROM lost_rows WHERE claim = {db.mark} AND key = {db.mark}",
        [(claim, key) for key, _, _ in back],
    )
    # All of one claim were lost in one payment.
    payment, gone = back[0][1], {row[0] for row in back}
    left = [price for key, _, price in lost if key not in gone]
    db.run(
        f"UPDATE payments SET n_rows = {db.mark}, cost = {db.mark} "
        f"WHERE id = {db.mark}",
        (len(left), math.fsum(left), payment),
    )
    recount(db, teacher, n_lost=-len(back))
    return len(back)


def write_off_lost(db, teacher):
    """Set the cost of a teacher's answers that did not arrive to nothing."""
    lost = f"teacher = {db.mark} AND outcome IN ('lost', 'unanswered')"
    n_rows, n_unanswered, cost = db.row(
        "SELECT coalesce(sum(CASE WHEN outcome = 'lost' THEN n_rows ELSE 0 END), 0), "
        "coalesce(sum(CASE WHEN outcome = 'lost' THEN 0 ELSE n_rows END), 0), "
        f"coalesce(sum(cost), 0) FROM payments WHERE {lost}",
        (teacher["id"],),
    )
    db.run(
        "DELETE FROM lost_rows WHERE payment IN "
        f"(SELECT id FROM payments WHERE {lost})",
        (teacher["id"],),
    )
    db.run(
        f"UPDATE payments SET cost = 0, outcome = 'written off' WHERE {lost}",
        (teacher["id"],),
    )
    recount(db, teacher, n_lost=-int(n_rows))
    return int(n_rows), int(n_unanswered), float(cost)


def open_claims(db):
    """List the open claims."""
    found = db.rows(
        "SELECT claims.id, owner, identity, n_rows, "
        "(SELECT coalesce(sum(sent), 0) FROM claimed_rows WHERE claim = claims.id), "
        "(SELECT coalesce(sum(price), 0) FROM claimed_rows WHERE claim = claims.id), "
        "since, expires FROM claims JOIN teachers ON teachers.id = teacher "
        "ORDER BY claims.id"
    )
    names = ("id", "owner", "teacher", "n_rows", "n_sent", "most", "since", "until")
    return [
        dict(zip(names, row, strict=True)) | {"n_sent": int(row[4])} for row in found
    ]


def present_keys(db, label_set, keys, table):
    """Return the keys that a table has in one label set."""
    present: set[bytes] = set()
    for chunk in chunks(np.unique(keys)):
        rows = db.rows(
            f"SELECT key FROM {table} WHERE label_set = {db.mark} AND key IN "
            + marks(db, chunk),
            (label_set["id"], *chunk),
        )
        present.update(key for (key,) in rows)
    return present
