"""The ledger in a PostgreSQL database: one for a team."""

import contextlib
import os
import re
import weakref
from typing import Any

from skadistill._utils.interrupts import held_interrupts
from skadistill._utils.optional import require
from skadistill.exceptions import LedgerError
from skadistill.ledger._budget import check_limits
from skadistill.ledger._catalog import check_catalog
from skadistill.ledger._sql import SqlLedger
from skadistill.ledger._tables import FORMAT_VERSION, POSTGRESQL, create_tables
from skadistill.ledger._transaction import Transaction

__all__ = ["PostgresLedger"]

_TIMEOUT = 120.0  # seconds


class PostgresLedger(SqlLedger):
    """Remember paid labels in a PostgreSQL database, for a team.

    The same as `LabelLedger`, for processes on many machines: what one paid is free
    for all, rows that one is paying for are not paid again by another, and a budget
    set here holds for all of them together.

    Parameters
    ----------
    url : str
        ``postgresql://user@host/database``, or with a driver as SQLAlchemy writes it.
        Leave the password to ``PGPASSWORD`` or a password file: a pickle holds the
        URL.
    schema : str, default="skadistill"
        The schema of the database that holds the tables; created if missing.
        Each schema is a separate ledger.
    max_rows : int or None, default=None
        Rows that may be paid for in the ledger's whole life, all teachers together.
        None: no limit.
    max_cost : float or None, default=None
        Money that may be paid; needs teachers that name a price. None: no limit.
    lease : float, default=300.0
        Seconds, by the database's clock, after which claimed rows are free again
        unless the claim is renewed, as it is while a teacher is being called. Claims
        of a process or a thread of this machine that has exited end at once.

    Raises
    ------
    ImportError
        If SQLAlchemy or the driver is not installed.
    LedgerError
        If the database cannot be used, or the schema is from another release.
    BudgetError
        If a limit is not an amount.

    See Also
    --------
    LabelLedger : Lives in a file.

    Notes
    -----
    Needs ``pip install "skadistill[postgres]"``. Writers of one ledger take turns, as
    with a file; readers do not wait.

    Examples
    --------
    >>> from skadistill.ledger import PostgresLedger
    >>> url = "postgresql://labels@db.example.org/labels"
    >>> ledger = PostgresLedger(url, max_cost=500.0)  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        schema: str = "skadistill",
        *,
        max_rows: int | None = None,
        max_cost: float | None = None,
        lease: float = 300.0,
    ) -> None:
        check_limits(max_rows, max_cost)
        self.url = url
        self.schema = schema
        self.max_rows = max_rows
        self.max_cost = max_cost
        self._set_up(lease)
        self._database = _Database(url, schema)
        self._database.set_up()

    def __repr__(self) -> str:
        shown = (
            require("sqlalchemy", "postgres")
            .make_url(self.url)
            .render_as_string(hide_password=True)
        )
        return f"PostgresLedger({shown!r}, {self.schema!r})"

    def close(self) -> None:
        """Close this process's connections; they are opened again when needed."""
        self._database.close()

    def _transaction(self, *, write):
        return self._database.transaction(write=write)

    def _check_storage(self, db):
        """PostgreSQL has its own checks (``amcheck``), for administrators."""


class _Database:
    """Run transactions on one schema, with one pool of connections per process."""

    def __init__(self, url, schema):
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", schema):
            raise LedgerError(
                f"schema is {schema!r}; use small letters, digits and underscores."
            )
        self.url = url
        self.schema = schema
        self._engines: dict[int, Any] = {}
        weakref.finalize(self, _dispose_own, self._engines)

    def __reduce__(self):
        return _Database, (self.url, self.schema)

    def set_up(self):
        """Create the tables if they are missing."""
        with self.transaction(write=True) as db:
            db.run(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
            db.run("CREATE TABLE IF NOT EXISTS format (version INTEGER)")
            row = db.row("SELECT version FROM format")
            if row is None:
                for statement in create_tables(POSTGRESQL):
                    db.run(statement)
                db.run(f"INSERT INTO format VALUES ({FORMAT_VERSION})")
            elif row[0] != FORMAT_VERSION:
                raise LedgerError(
                    f"the ledger {self.schema} of the database has format version "
                    f"{row[0]} and this release reads version {FORMAT_VERSION}; use "
                    "the release that wrote it, or another schema."
                )
            check_catalog(db)

    @contextlib.contextmanager
    def transaction(self, *, write):
        """Run one transaction: committed at the end, or not at all."""
        sa = require("sqlalchemy", "postgres")
        try:
            # Ctrl-C in a driver's conversation with the server would break it.
            with held_interrupts(), self._engine().begin() as connection:
                db = _DatabaseTransaction(connection)
                if not write:  # all of its statements see one state
                    db.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                db.run(f"SET LOCAL search_path TO {self.schema}")
                if write:
                    # A client that hangs must not make all others wait forever.
                    db.run(f"SET LOCAL lock_timeout = '{_TIMEOUT:g}s'")
                    db.rows(
                        "SELECT pg_advisory_xact_lock(hashtext('skadistill'), "
                        f"hashtext('{self.schema}'))"
                    )
                yield db
        except sa.exc.SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
            raise LedgerError(
                f"the ledger {self.schema} of the database failed ({said}); what was "
                "recorded before is safe; see to the database and go on."
            ) from error

    def close(self):
        """Close this process's connections."""
        _dispose_own(self._engines)

    def _engine(self):
        # By process: a connection must not cross a fork.
        engine = self._engines.get(os.getpid())
        if engine is None:
            # A wait of another process for the ledger must not end ours: no timeout.
            sa, url = require("sqlalchemy", "postgres"), self.url
            for scheme in ("postgresql://", "postgres://"):
                # which SQLAlchemy takes for another driver
                if url.startswith(scheme):
                    url = f"postgresql+psycopg://{url.removeprefix(scheme)}"
            engine = sa.create_engine(url, pool_pre_ping=True)
            engine = self._engines.setdefault(os.getpid(), engine)
        return engine


class _DatabaseTransaction(Transaction):
    """Run statements on SQLAlchemy's connection."""

    mark = POSTGRESQL.mark
    one_clock = True

    def __init__(self, connection):
        self._connection = connection

    def rows(self, statement, values=()):
        result = self._connection.exec_driver_sql(statement, tuple(values))
        return [tuple(row) for row in result]

    def stream(self, statement, values=()):
        return iter(self._connection.exec_driver_sql(statement, tuple(values)))

    def run(self, statement, values=()):
        return self._connection.exec_driver_sql(statement, tuple(values)).rowcount

    def run_many(self, statement, many_values):
        rows = list(many_values)  # of none SQLAlchemy would make one without values
        if not rows:
            return 0
        return self._connection.exec_driver_sql(statement, rows).rowcount

    def now(self):
        return float(self.row("SELECT extract(epoch FROM clock_timestamp())")[0])


def _dispose_own(engines):
    """Close the connections of this process; those of a parent are not ours."""
    engine = engines.pop(os.getpid(), None)
    if engine is not None:
        engine.dispose()
