"""The file of a ledger: made whole, opened with care, closed behind us.

``docs/ledger_format.rst`` describes the tables and how to change them.
"""

import contextlib
import os
import sqlite3
import threading
import time
import uuid
import weakref
from pathlib import Path
from urllib.parse import quote

from skadistill.exceptions import LedgerError

__all__ = ["APPLICATION_ID", "FORMAT_VERSION", "LedgerFile"]

#: Says "a ledger of skadistill" in the header of the SQLite file: b"skdl".
APPLICATION_ID = 0x736B646C
#: What this release writes; see MIGRATIONS for what it reads.
FORMAT_VERSION = 1

SCHEMA = """
CREATE TABLE teachers (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,
    n_dims INTEGER,               -- width of the embeddings; NULL before the first
    n_paid INTEGER NOT NULL DEFAULT 0,
    n_calls INTEGER NOT NULL DEFAULT 0,
    n_failed INTEGER NOT NULL DEFAULT 0,
    n_lost INTEGER NOT NULL DEFAULT 0,
    cost REAL NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0
);
CREATE TABLE label_sets (         -- one teacher over one set of classes
    id INTEGER PRIMARY KEY,
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    classes TEXT NOT NULL,        -- JSON list, in the order of the columns
    class_set TEXT NOT NULL,      -- the same, sorted: equal for equal sets
    n_labels INTEGER NOT NULL DEFAULT 0,
    UNIQUE (teacher, class_set)
);
CREATE TABLE payments (           -- one a call: what it brought and what it took
    id INTEGER PRIMARY KEY,
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    at REAL NOT NULL,             -- seconds since 1970, UTC
    n_rows INTEGER NOT NULL,
    cost REAL NOT NULL,
    seconds REAL NOT NULL,
    outcome TEXT NOT NULL         -- 'paid', 'lost' or the name of an error
);
CREATE TABLE labels (
    id INTEGER PRIMARY KEY,
    label_set INTEGER NOT NULL REFERENCES label_sets (id),
    key BLOB NOT NULL,            -- 16 bytes of row_keys
    label BLOB NOT NULL,          -- little-endian float64, one a class
    payment INTEGER NOT NULL REFERENCES payments (id),
    UNIQUE (label_set, key)
);
CREATE TABLE embeddings (
    id INTEGER PRIMARY KEY,
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    key BLOB NOT NULL,
    embedding BLOB NOT NULL,      -- little-endian float32
    UNIQUE (teacher, key)
);
CREATE TABLE claims (             -- rows being paid for right now
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    teacher INTEGER NOT NULL REFERENCES teachers (id),
    owner TEXT NOT NULL,          -- process_name() of the buyer
    expires REAL NOT NULL,
    n_rows INTEGER NOT NULL,      -- not yet answered
    price REAL NOT NULL           -- of one row, at most
);
CREATE TABLE claimed_rows (
    label_set INTEGER NOT NULL REFERENCES label_sets (id),
    key BLOB NOT NULL,
    claim INTEGER NOT NULL REFERENCES claims (id),
    PRIMARY KEY (label_set, key)
) WITHOUT ROWID;
"""

#: MIGRATIONS[v] lists the SQL statements that make a version v + 1 of a version v.
#: They run in one transaction, at opening.
MIGRATIONS: dict[int, list[str]] = {}

_TIMEOUT = 120.0  # seconds
_CHECKPOINT_EVERY = 1.0  # seconds
_SMALLEST_PAGE = 512  # bytes
_LOOKS, _BETWEEN_LOOKS = 4, 0.005  # times, seconds
_LEFT_BEHIND: list = []


class LedgerFile:
    """Open a ledger's file, one connection a process, and run transactions on it.

    Parameters
    ----------
    path : str or Path
        Where it is; a new one is made where there is none.

    Raises
    ------
    LedgerError
        If the file is none of ours, from a newer release, damaged or not writable.
    """

    def __init__(self, path):
        self.path = os.path.abspath(os.fspath(path))
        self._sessions: dict[int, _Session] = {}
        weakref.finalize(self, _close_own, self._sessions)

    def __reduce__(self):
        return LedgerFile, (self.path,)

    @contextlib.contextmanager
    def transaction(self, *, write):
        """Run one transaction: committed and on the disk at the end, or not at all.

        Parameters
        ----------
        write : bool
            Whether anything will be written. Writers wait for each other.

        Yields
        ------
        connection : sqlite3.Connection
            Inside the transaction. Threads of this process take turns.
        """
        session = self._session()
        with session.lock, self._errors():
            connection = session.connect(self.path)
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if write:
                session.checkpoint()

    def check(self):
        """Read every page and count every label.

        Raises
        ------
        LedgerError
            If anything is damaged or missing.
        """
        with self.transaction(write=False) as connection:
            _check_pages(connection, self.path)
            missing = connection.execute(
                "SELECT sum(n_labels) - (SELECT count(*) FROM labels) FROM label_sets"
            ).fetchone()[0]
        if missing:
            raise LedgerError(
                f"The ledger {self.path} lacks {missing} of its labels; restore it "
                "from a copy."
            )

    def close(self):
        """Close this process's connection; the next transaction opens another."""
        session = self._sessions.get(os.getpid())
        if session is not None:
            with session.lock:
                session.close()

    def _session(self):
        # By process: neither a connection nor a held lock may cross a fork.
        return self._sessions.setdefault(os.getpid(), _Session())

    @contextlib.contextmanager
    def _errors(self):
        """Turn SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(_sentence(self.path, error)) from error


class _Session:
    """The connection of one process, and the lock its threads take turns with."""

    def __init__(self):
        self.lock = threading.RLock()
        self.connection: sqlite3.Connection | None = None
        self.checkpointed = 0.0

    def connect(self, path):
        if self.connection is None:
            if not os.path.exists(path):
                _create(path)
            self.connection = _open(path)
        return self.connection

    def checkpoint(self):
        """Move what was committed into the main file, at most once in a while.

        A commit is safe without. But a copy of the main file alone, without the log
        beside it, should be no old copy; and each time would cost ten commits.
        """
        if self.connection and time.monotonic() > self.checkpointed + _CHECKPOINT_EVERY:
            # A full disk will be told of by a commit.
            with contextlib.suppress(sqlite3.OperationalError):
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self.checkpointed = time.monotonic()

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _close_own(sessions):
    """Close the connection of this process; those of a parent are not ours."""
    own = sessions.pop(os.getpid(), None)
    if own is not None:
        own.close()
    _LEFT_BEHIND.extend(sessions.values())


def _create(path):
    """Make an empty ledger appear whole or not at all; never replace a file."""
    draft = f"{path}.{uuid.uuid4().hex}.new"
    try:
        connection = _connect(draft, "rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        finally:
            connection.close()
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # a file system without links
            with contextlib.suppress(FileExistsError), open(path, "xb") as stream:
                stream.write(Path(draft).read_bytes())
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _open(path):
    """Connect to an existing file after making sure it is a whole ledger of ours."""
    unsure = _looks_cut(path)
    connection = _connect(path, "rw")
    try:
        if unsure:
            _check_pages(connection, path)
        _check_version(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")  # KiB
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path, mode):
    """Connect without Python's own transactions."""
    return sqlite3.connect(
        f"file:{quote(path)}?mode={mode}",
        uri=True,
        timeout=_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def _looks_cut(path):
    """Compare the size in the header with the file's; True if only a log can tell."""
    if not os.path.isfile(path):
        raise LedgerError(f"{path} is no file; pass the path of a ledger, or of none.")
    size = os.stat(path).st_size
    if size < _SMALLEST_PAGE:  # which SQLite takes for a new database
        raise LedgerError(
            f"The ledger {path} has {size} bytes: it was cut, or is no ledger; restore "
            "it from a copy, or remove it to start a new one."
        )
    for _ in range(_LOOKS):
        # The header first: the file only grows.
        promised = _size_in_header(path)
        if promised is not None and os.stat(path).st_size >= promised:
            return False
        # After a crash, or while another process writes, the rest is in the log.
        try:
            if os.stat(f"{path}-wal").st_size > 0:
                return True
        except FileNotFoundError:
            pass
        # Another process may have moved its log into the file between the two looks.
        time.sleep(_BETWEEN_LOOKS)
    raise LedgerError(_damaged(path))


def _size_in_header(path):
    """Return how many bytes the file should have; None where it cannot be told.

    Through SQLite and not by reading the file: closing a file drops the locks that
    the same process has on it.
    """
    connection = _connect(path, "ro&immutable=1")
    try:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        return pages * connection.execute("PRAGMA page_size").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CORRUPT:
            raise
        return None
    finally:
        connection.close()


def _check_pages(connection, path):
    """Let SQLite read every page."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise LedgerError(_damaged(path))


def _check_version(connection, path):
    """Refuse files of others and of the future; bring old ones up to date."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise LedgerError(
            f"{path} is a SQLite file but no ledger (application id {application}); "
            "pass the path of a ledger, or of no file to start one."
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT_VERSION:
        raise LedgerError(
            f"The ledger {path} has format version {version} and this release reads "
            f"versions up to {FORMAT_VERSION}; install a newer skadistill."
        )
    if version < FORMAT_VERSION:
        _migrate(connection)


def _migrate(connection):
    """Apply every missing migration, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have been faster.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for old in range(version, FORMAT_VERSION):
            for statement in MIGRATIONS[old]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _damaged(path):
    return (
        f"The ledger {path} is damaged: a part of it is missing or unreadable; restore "
        "it from a copy, or save what is left with the sqlite3 program's .recover."
    )


def _sentence(path, error):
    """Say what an error of SQLite's means for a ledger."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return (
            f"{path} is not a SQLite file, so it is no ledger; pass the path of a "
            "ledger, or of no file to start one."
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return _damaged(path)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return (
            f"The ledger {path} could not be written or read ({error}); what was "
            "recorded before is safe; make room on the disk and go on."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return (
            f"The ledger {path} cannot be opened for writing ({error}); check that its "
            "folder exists and that you may write to both."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"The ledger {path} stayed locked by another process for {_TIMEOUT:g} s "
            f"({error}); end that process and go on."
        )
    return f"The ledger {path} failed ({error}); report this as a bug."
