"""The ledger in a PostgreSQL database: one for a team.

The statements are those of `LabelLedger`; this file makes the tables, runs
transactions and speaks SQLite's few dialect words to PostgreSQL.
"""

import contextlib
import os
import re
import weakref
from typing import Any

from skadistill.exceptions import LedgerError
from skadistill.ledger._budget import check_limits
from skadistill.ledger._sql import LabelLedger
from skadistill.ledger._sqlite import FORMAT_VERSION, SCHEMA

__all__ = ["PostgresLedger"]

_DIALECT = {
    r"\s*--.*": "",
    r"INTEGER PRIMARY KEY( AUTOINCREMENT)?": "INTEGER GENERATED ALWAYS AS IDENTITY "
    "PRIMARY KEY",
    r"\bREAL\b": "DOUBLE PRECISION",
    r"\bBLOB\b": "BYTEA",
    r" WITHOUT ROWID": "",
}


class PostgresLedger(LabelLedger):
    """Remember paid labels in a PostgreSQL database, for a team.

    The same as `LabelLedger`, for processes on many machines: what one paid is free
    for all, rows that one is paying for are not paid again by another, and a budget
    set here holds for all of them together.

    Parameters
    ----------
    url : str
        As SQLAlchemy writes it: ``postgresql+psycopg://user@host/database``. Leave
        the password to ``PGPASSWORD`` or a password file: a pickle holds the URL.
    schema : str, default="skadistill"
        The schema of the database that holds the tables; made where it is missing.
        Each schema is a ledger of its own.
    max_rows : int or None, default=None
        Rows that may be paid for in the ledger's whole life, all teachers together.
        None: no limit.
    max_cost : float or None, default=None
        Money that may be paid; needs teachers that name a price. None: no limit.
    lease : float, default=3600.0
        Seconds after which rows claimed by a process on another machine are taken
        for lost. Those of a dead process on this machine are so at once.

    Raises
    ------
    ImportError
        If SQLAlchemy or the driver is not installed.
    LedgerError
        If the database cannot be used, or the schema is from another release.
    BudgetError
        If a limit is no amount.

    See Also
    --------
    LabelLedger : Lives in a file.

    Notes
    -----
    Needs ``pip install skadistill[postgres]``. Writers of one ledger take turns, as
    with a file; readers do not wait.

    Examples
    --------
    >>> from skadistill.ledger import PostgresLedger
    >>> url = "postgresql+psycopg://labels@db.example.org/labels"
    >>> ledger = PostgresLedger(url, max_cost=500.0)  # doctest: +SKIP
    """

    def __init__(
        self, url, schema="skadistill", *, max_rows=None, max_cost=None, lease=3600.0
    ):
        check_limits(max_rows, max_cost)
        self.url = url
        self.schema = schema
        self.max_rows = max_rows
        self.max_cost = max_cost
        self.lease = lease
        self._file = _Database(url, schema)
        self._file.set_up()

    def __repr__(self):
        shown = _sqlalchemy().make_url(self.url).render_as_string(hide_password=True)
        return f"PostgresLedger({shown!r}, {self.schema!r})"

    def check(self):
        """Count the labels.

        Raises
        ------
        LedgerError
            If one is missing.
        """
        super().check()


class _Database:
    """Run transactions on one schema, with one pool of connections a process."""

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
        """Make the tables where they are missing; refuse those of other releases."""
        with self.transaction(write=True) as db:
            db.execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
            db.execute("CREATE TABLE IF NOT EXISTS format (version INTEGER)")
            row = db.execute("SELECT version FROM format").fetchone()
            if row is None:
                for statement in _schema():
                    db.execute(statement)
                db.execute(f"INSERT INTO format VALUES ({FORMAT_VERSION})")
            elif row[0] != FORMAT_VERSION:
                raise LedgerError(
                    f"The ledger {self.schema} of the database has format version "
                    f"{row[0]} and this release reads version {FORMAT_VERSION}; use "
                    "the release that wrote it, or another schema."
                )

    @contextlib.contextmanager
    def transaction(self, *, write):
        """Run one transaction: committed at the end, or not at all.

        Parameters
        ----------
        write : bool
            Whether anything will be written. Writers wait for each other.

        Yields
        ------
        connection : _Connection
            Inside the transaction.
        """
        sa = _sqlalchemy()
        try:
            with self._engine().begin() as connection:
                db = _Connection(connection)
                db.execute(f"SET LOCAL search_path TO {self.schema}")
                if write:
                    db.execute(
                        "SELECT pg_advisory_xact_lock(hashtext('skadistill'), "
                        f"hashtext('{self.schema}'))"
                    )
                yield db
        except sa.exc.SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
            raise LedgerError(
                f"The ledger {self.schema} of the database failed ({said}); what was "
                "recorded before is safe; see to the database and go on."
            ) from error

    def check(self):
        """Count every label."""
        with self.transaction(write=False) as db:
            missing = db.execute(
                "SELECT coalesce(sum(n_labels), 0) - (SELECT count(*) FROM labels) "
                "FROM label_sets"
            ).fetchone()[0]
        if missing:
            raise LedgerError(
                f"The ledger {self.schema} of the database lacks {missing} of its "
                "labels; restore it from a copy."
            )

    def close(self):
        """Close this process's connections."""
        _dispose_own(self._engines)

    def _engine(self):
        # By process: a connection must not cross a fork.
        engine = self._engines.get(os.getpid())
        if engine is None:
            # A wait of another process for the ledger must not end ours: no timeout.
            engine = _sqlalchemy().create_engine(self.url, pool_pre_ping=True)
            engine = self._engines.setdefault(os.getpid(), engine)
        return engine


class _Connection:
    """Look like a connection to SQLite, as far as `LabelLedger` looks."""

    def __init__(self, connection):
        self._connection = connection

    def execute(self, sql, values=()):
        returns = sql.startswith("INSERT") and bool(values)
        sql = sql.replace("?", "%s") + (" RETURNING id" if returns else "")
        return _Result(self._connection.exec_driver_sql(sql, tuple(values)), returns)

    def executemany(self, sql, rows):
        rows = list(rows)
        if not rows:
            return _Result(None, False)
        return _Result(
            self._connection.exec_driver_sql(sql.replace("?", "%s"), rows), False
        )


class _Result:
    """Look like a cursor of SQLite, as far as `LabelLedger` looks."""

    def __init__(self, result, returns):
        self._result = result
        self.rowcount = 0 if result is None else result.rowcount
        row = result.fetchone() if returns else None
        self.lastrowid = None if row is None else row[0]

    def __iter__(self):
        return iter(self._result)

    def fetchone(self):
        return self._result.fetchone()

    def fetchall(self):
        return self._result.fetchall()


def _dispose_own(engines):
    """Close the connections of this process; those of a parent are not ours."""
    engine = engines.pop(os.getpid(), None)
    if engine is not None:
        engine.dispose()


def _schema():
    """Write the tables of a ledger file in PostgreSQL's words."""
    schema = SCHEMA
    for word, other in _DIALECT.items():
        schema = re.sub(word, other, schema)
    return [statement for statement in schema.split(";") if statement.strip()]


def _sqlalchemy():
    """Import SQLAlchemy, or say what needs it."""
    try:
        import sqlalchemy
    except ImportError:
        raise ImportError(
            "PostgresLedger needs SQLAlchemy, which is not installed; run `pip install "
            "skadistill[postgres]`."
        ) from None
    return sqlalchemy
