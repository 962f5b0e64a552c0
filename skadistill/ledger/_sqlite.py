"""The ledger in a file: labels that outlive the process that paid for them."""

import os
from typing import Any

from skadistill.ledger._budget import check_limits
from skadistill.ledger._file import LedgerFile, check_pages
from skadistill.ledger._sql import SqlLedger

__all__ = ["LabelLedger"]


class LabelLedger(SqlLedger):
    """Remember paid labels in a file, for good.

    A label is on the disk before anybody uses it. Threads, processes and clones
    share the file: what one paid is free for all, rows that one is paying for are
    not paid again by another, and a budget set here holds for all of them together.

    Parameters
    ----------
    path : str or Path
        The file, by custom ``.sqlite``; it is created if it does not exist. A leading
        ``~`` is the home directory.
    max_rows : int or None, default=None
        Rows that may be paid for in the ledger's whole life, all teachers together;
        a fit that reaches it ends normally. Rows in flight and rows lost count.
        None: no limit.
    max_cost : float or None, default=None
        Money that may be paid; needs teachers that name a price. None: no limit.
    lease : float, default=300.0
        Seconds after which claimed rows are free again unless the claim is renewed,
        as it is while a teacher is being called. Claims of a process or a thread
        that has exited end at once if that can be known: on this machine, outside
        other containers.

    Raises
    ------
    LedgerError
        If the file is not a ledger, or is from a newer release, cut, damaged or not
        writable.
    BudgetError
        If a limit is not an amount.

    See Also
    --------
    MemoryLedger : Lives as long as the process.
    PostgresLedger : Lives in a database.

    Notes
    -----
    A ledger is a resource, as an open file is: the constructor opens it and checks
    its arguments, so that a file that cannot be used is an error before a label is
    paid for.

    The file is SQLite with a write-ahead log; nothing in it is ever unpickled. Its
    format has a version; a file of a later version is an error. While the ledger is
    in use, ``-wal`` and ``-shm`` files lie beside it and belong to it. SQLite's locks
    do not work on network file systems: keep the file on a local disk.

    If a process is killed between paying and recording, the rows that were on the
    wire have no label. They are counted in ``n_lost`` and against the budget, since
    they may have been billed (`write_off` takes them off), and are paid for again
    when they are asked for again.

    Every label is kept with a checksum, which is compared when it is read; `check`
    compares all of them.

    Pickling a ledger writes its path and limits, not its labels.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skadistill.ledger import LabelLedger, row_keys
    >>> path = os.path.join(tempfile.mkdtemp(), "labels.sqlite")
    >>> X = np.array([[0.0], [1.0]])
    >>> ledger = LabelLedger(path)
    >>> ledger.record(row_keys(X[:1]), "me", ["a", "b"], [[0.25, 0.75]], cost=0.01)
    >>> ledger.close()
    >>> known, labels = LabelLedger(path).lookup(row_keys(X), "me", ["b", "a"])
    >>> known, labels[0]
    (array([ True, False]), array([0.75, 0.25]))
    """

    def __init__(
        self,
        path: Any,
        *,
        max_rows: int | None = None,
        max_cost: float | None = None,
        lease: float = 300.0,
    ) -> None:
        check_limits(max_rows, max_cost)
        self.path = os.fspath(path)
        self.max_rows = max_rows
        self.max_cost = max_cost
        self._set_up(lease)
        self._file = LedgerFile(path)
        len(self)  # opens it

    def __repr__(self) -> str:
        limits = [
            f", {name}={value!r}"
            for name, value in (
                ("max_rows", self.max_rows),
                ("max_cost", self.max_cost),
            )
            if value is not None
        ]
        return f"LabelLedger({self.path!r}{''.join(limits)})"

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        self._file.close()

    def _transaction(self, *, write):
        return self._file.transaction(write=write)

    def _check_storage(self, db):
        check_pages(db.connection, self.path, "integrity_check")
