"""The SQLite file of a ledger: create it whole, check it when it is opened."""

import contextlib
import os
import re
import sqlite3
import threading
import time
import uuid
import weakref
import zlib
from pathlib import Path
from urllib.parse import quote

from skadistill._utils.interrupts import held_interrupts
from skadistill.exceptions import LedgerError
from skadistill.ledger._catalog import check_catalog, damaged
from skadistill.ledger._stamp import (
    check_log,
    new_stamp,
    next_stamp,
    read_stamp,
)
from skadistill.ledger._tables import FORMAT_VERSION, SQLITE, create_tables
from skadistill.ledger._transaction import Transaction

__all__ = ["APPLICATION_ID", "LedgerFile"]

#: Says "a ledger of skadistill" in the header of the SQLite file: b"skdl".
APPLICATION_ID = 0x736B646C

_TIMEOUT = 120.0  # seconds
_CHECKPOINT_EVERY = 1.0  # seconds
_SMALLEST_PAGE = 512  # bytes
_LOOKS, _BETWEEN_LOOKS = 4, 0.005  # times, seconds
_DRAFTS_LAST = 60.0  # seconds
_LEFT_BEHIND: list = []


class LedgerFile:
    """Open a ledger's file, one connection per process, and run transactions on it."""

    def __init__(self, path):
        self.path = _checked_path(path)
        self._sessions: dict[int, _Session] = {}
        weakref.finalize(self, _close_own, self._sessions)

    def __reduce__(self):
        return LedgerFile, (self.path,)

    @contextlib.contextmanager
    def transaction(self, *, write):
        """Run one transaction: committed and on the disk at the end, or not at all."""
        session = self._session()
        # Ctrl-C between two lines would leave a transaction open, and its lock held.
        with held_interrupts(), session.lock, _errors(self.path):
            connection = session.connect(self.path)
            if connection.in_transaction:  # a second Ctrl-C was not held back
                connection.execute("ROLLBACK")
            with _all_or_nothing(connection, write=write):
                yield _FileTransaction(connection)
                if write:
                    _write_stamp(connection)
            if write:
                session.checkpoint()

    def close(self):
        """Close this process's connection; the next transaction opens another."""
        session = self._sessions.get(os.getpid())
        if session is not None:
            with session.lock:
                session.close()

    def _session(self):
        # By process: neither a connection nor a held lock may cross a fork.
        return self._sessions.setdefault(os.getpid(), _Session())


class _FileTransaction(Transaction):
    """Run statements on SQLite's connection."""

    mark = SQLITE.mark
    one_clock = False

    def __init__(self, connection):
        self.connection = connection

    def rows(self, statement, values=()):
        return self.connection.execute(statement, values).fetchall()

    def stream(self, statement, values=()):
        return self.connection.execute(statement, values)

    def run(self, statement, values=()):
        return self.connection.execute(statement, values).rowcount

    def run_many(self, statement, many_values):
        # -1 if there is nothing to run
        return max(0, self.connection.executemany(statement, many_values).rowcount)

    def now(self):
        return time.time()


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
        beside it, should not be an old copy; and each time would cost ten commits.
        """
        if self.connection and time.monotonic() > self.checkpointed + _CHECKPOINT_EVERY:
            # A commit will report a full disk.
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


def _checked_path(path):
    """Return an absolute path, or raise if no file can have this name."""
    path = os.fspath(path)
    if isinstance(path, str):
        path = os.path.expanduser(path)
    if isinstance(path, str) and path and "\0" not in path:
        with contextlib.suppress(UnicodeEncodeError):
            os.fsencode(path)
            return os.path.abspath(path)
    raise LedgerError(
        f"the path of the ledger is {path!r:.200}, which no file can have; pass a "
        "non-empty text of valid characters."
    )


def _create(path):
    """Create an empty ledger, whole or not at all; never replace a file."""
    _delete_old_drafts(path)
    with contextlib.suppress(FileNotFoundError):
        left = os.stat(f"{path}-wal").st_size > 0
        # Others may have created the file, and written to it, since we looked.
        if left and not os.path.exists(path):
            raise LedgerError(
                f"{path}-wal is the write-ahead log of a ledger that is gone, and may "
                "hold labels that were paid for; put the ledger back, or remove the "
                "log to start a new one."
            )
    draft = f"{path}.{uuid.uuid4().hex}.new"
    try:
        connection = _connect(draft, "rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            connection.execute("BEGIN")
            for statement in create_tables(SQLITE):
                connection.execute(statement)
            _create_stamp(connection)
            connection.execute("COMMIT")
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


def _delete_old_drafts(path):
    """Delete what processes left that were killed while they created the file."""
    name = re.escape(os.path.basename(path))
    draft = re.compile(name + r"\.[0-9a-f]{32}\.new(-wal|-shm|-journal)?")
    # A folder that cannot be listed, or a draft deleted by another process.
    with contextlib.suppress(OSError):
        for entry in os.scandir(os.path.dirname(path)):
            old = time.time() - _DRAFTS_LAST
            if draft.fullmatch(entry.name) and entry.stat().st_mtime < old:
                os.unlink(entry.path)


def _open(path):
    """Connect to an existing file after making sure that it is a whole ledger."""
    _delete_old_drafts(path)
    unsure = _looks_cut(path)
    check_log(path, lambda: _stamp_in_file(path))
    connection = _connect(path, "rw")
    try:
        if unsure:
            check_pages(connection, path, "quick_check")
        _check_version(connection, path)
        with _all_or_nothing(connection, write=False):
            _check_schema(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")  # KiB
        connection.execute("PRAGMA temp_store = MEMORY")
        with _all_or_nothing(connection, write=False):
            check_catalog(_FileTransaction(connection))
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _all_or_nothing(connection, *, write):
    """Commit at the end, or undo after an error.

    All statements see one state, whatever other processes write meanwhile.
    """
    try:
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(path, mode):
    """Connect without Python's own transactions."""
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def _looks_cut(path):
    """Compare the size in the header with the file's; True if only a log can tell."""
    if not os.path.isfile(path):
        raise LedgerError(
            f"{path} is not a file; pass the path of an existing or a new ledger."
        )
    size = os.stat(path).st_size
    if size < _SMALLEST_PAGE:  # which SQLite takes for a new database
        raise LedgerError(
            f"the ledger {path} has {size} bytes: it was cut, or is not a ledger; "
            "restore it from a copy, or remove it to start a new one."
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
    """Return how many bytes the file should have; None if it cannot be told.

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


def _stamp_in_file(path):
    """Read the stamp of the file alone, without its log, as `check_log` needs it."""
    connection = _connect(path, "ro&immutable=1")
    try:
        return read_stamp(connection.execute("SELECT stamp FROM state").fetchone()[0])
    except (sqlite3.DatabaseError, ValueError, TypeError):
        return False
    finally:
        connection.close()


def _create_stamp(connection):
    """Create the table of the stamp, after all others."""
    connection.execute("CREATE TABLE state (stamp BLOB NOT NULL)")
    stamp = new_stamp(_schema_checksum(connection))
    connection.execute("INSERT INTO state VALUES (?)", (stamp,))


def _write_stamp(connection):
    """Count a transaction in the stamp."""
    row = connection.execute("SELECT stamp FROM state").fetchone()
    try:
        stamp = next_stamp(row and row[0])
    except ValueError:
        raise damaged("its stamp cannot be read") from None
    connection.execute("UPDATE state SET stamp = ?", (stamp,))


def _check_schema(connection):
    """Compare the tables with those that were created."""
    row = connection.execute("SELECT stamp FROM state").fetchone()
    try:
        _, _, schema = read_stamp(row and row[0])
    except ValueError:
        raise damaged("its stamp cannot be read") from None
    if schema != _schema_checksum(connection):
        raise damaged("its tables are not those that were created")


def _schema_checksum(connection):
    """Sum up how the tables were created; what others added does not count."""
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    ).fetchall()
    own = [table.split("(")[0].split()[-1] for table in create_tables(SQLITE)]
    own = [
        row
        for row in rows
        if row[1] in (*own, "state") or row[1].startswith("sqlite_autoindex")
    ]
    return zlib.crc32(repr(own).encode())


def check_pages(db, path, how):
    """Let SQLite read every page."""
    found = db.execute(f"PRAGMA {how}(1)").fetchone()[0]
    if found != "ok":
        raise LedgerError(_damaged(path))


def _check_version(connection, path):
    """Raise an error for files of others, and of other versions."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise LedgerError(
            f"{path} is a SQLite file but not a ledger (application id {application}); "
            "pass the path of an existing or a new ledger."
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT_VERSION:
        raise LedgerError(
            f"the ledger {path} has format version {version} and this release reads "
            f"versions up to {FORMAT_VERSION}; install a newer skadistill."
        )
    if version < FORMAT_VERSION:
        raise LedgerError(
            f"the ledger {path} has format version {version}, which no release wrote: "
            "it is of a development version, was edited or is damaged; restore it from "
            "a copy, or pass another path."
        )


@contextlib.contextmanager
def _errors(path):
    """Raise SQLite's errors as `LedgerError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(_sentence(path, error)) from error
    except UnicodeDecodeError as error:  # in what SQLite says of damaged tables
        raise LedgerError(_damaged(path)) from error
    except OSError as error:  # a name too long, a folder that may not be read
        reason = error.strerror or type(error).__name__
        raise LedgerError(
            f"the ledger {path!r:.200} cannot be opened ({reason}); pass a path that "
            "can be written to."
        ) from error


def _damaged(path):
    return (
        f"the ledger {path} is damaged: a part of it is missing or unreadable; restore "
        "it from a copy, or save the readable part with the sqlite3 program's .recover."
    )


def _sentence(path, error):
    """Say what an error of SQLite's means for a ledger."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return (
            f"{path} is not a SQLite file, so it is not a ledger; pass the path of an "
            "existing or a new ledger."
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return _damaged(path)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return (
            f"the ledger {path} could not be written or read ({error}); what was "
            "recorded before is safe; free space on the disk and go on."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return (
            f"the ledger {path} cannot be opened for writing ({error}); check that its "
            "folder exists and that you may write to both."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"the ledger {path} stayed locked by another process for {_TIMEOUT:g} s "
            f"({error}); end that process and go on."
        )
    return (
        f"the ledger {path} failed ({error}): it is damaged or was edited; restore it "
        "from a copy, or report this as a bug."
    )
