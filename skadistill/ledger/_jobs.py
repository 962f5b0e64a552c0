"""Asynchronous jobs that hold rows of a ledger until their answers are recorded."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from skadistill._rows._keys import KEY_DTYPE
from skadistill.ledger._budget import Claim
from skadistill.ledger._claim_token import ClaimToken
from skadistill.ledger._claims import JOB, mark_sent

__all__ = [
    "OpenJob",
    "hand_claim_to_job",
    "job_name",
    "job_owner",
    "open_jobs",
    "rows_held",
]

#: Seconds since 1970 in the far future: a job has no lease.
_NEVER = 1e11


@dataclass(frozen=True, eq=False)
class OpenJob:
    """Hold a job whose answers are not recorded yet."""

    job: str
    claim: Claim
    keys: np.ndarray
    since: datetime

    @classmethod
    def holding(cls, job, prices, token, since):
        """Make one for a dict of keys, in any order, and what each costs at most."""
        keys = np.array(sorted(prices), KEY_DTYPE)
        granted = np.ones(len(keys), dtype=bool)
        each = np.array([prices[key] for key in keys.tolist()])
        claim = Claim(granted, ~granted, ~granted, each, token, job)
        return cls(job, claim, keys, since)


def job_owner(job):
    """Write the owner of a claim that a job holds."""
    return JOB + job


def job_name(owner):
    """Return the job that holds a claim; None if a process does."""
    return owner.removeprefix(JOB) if owner.startswith(JOB) else None


def hand_claim_to_job(db, claim, job):
    """Let a job hold a claim; return whether the claim was open."""
    n_changed = db.run(
        f"UPDATE claims SET owner = {db.mark}, name = '', expires = {db.mark} "
        f"WHERE id = {db.mark}",
        (job_owner(job), _NEVER, claim),
    )
    return n_changed > 0


def open_jobs(db, label_set):
    """List the jobs that hold rows of a label set."""
    rows = db.rows(
        f"SELECT id, owner, since FROM claims WHERE teacher = {db.mark} ORDER BY id",
        (label_set["teacher"],),
    )
    jobs = []
    for number, owner, since in rows:
        job = job_name(owner)
        if job is None:
            continue
        keys = db.rows(
            f"SELECT key, price FROM claimed_rows WHERE claim = {db.mark} "
            f"AND label_set = {db.mark}",
            (number, label_set["id"]),
        )
        if keys:
            token = ClaimToken(label_set["id"], number)
            when = datetime.fromtimestamp(since, UTC)
            jobs.append(OpenJob.holding(job, dict(keys), token, when))
    return jobs


def rows_held(db, claim, keys):
    """Tell which rows a job still holds; others were recorded by another process."""
    return mark_sent(db, claim.token.number, claim.token.label_set, keys)
