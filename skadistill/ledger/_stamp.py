"""Tell whether a write-ahead log belongs to the ledger file that it lies beside.

SQLite replays whatever log lies beside a file, also that of a file which was deleted
or replaced by a copy. Every transaction of a ledger therefore writes a stamp: who the
ledger is, and the number of the transaction.
"""

import contextlib
import os
import struct
import time
import uuid
import zlib

from skadistill.exceptions import LedgerError

__all__ = ["check_log", "new_stamp", "next_stamp", "read_stamp"]

_MAGIC = b"skadistill-stamp"
#: Magic, identity of the ledger, transactions so far, checksum of its schema.
_CONTENT = struct.Struct("<16s16sQI")
_CHECKSUM = struct.Struct("<I")
_SIZE = _CONTENT.size + _CHECKSUM.size

_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes
_LOOKS, _LOOKS_ALIKE, _BETWEEN_LOOKS = 20, 3, 0.03  # times, times, seconds


def new_stamp(schema):
    """Write the stamp of a new ledger."""
    return _written(uuid.uuid4().bytes, 0, schema)


def next_stamp(stamp):
    """Write the stamp of the next transaction."""
    ledger, number, schema = read_stamp(stamp)
    return _written(ledger, number + 1, schema)


def read_stamp(stamp):
    """Read a stamp."""
    if not isinstance(stamp, bytes) or len(stamp) != _SIZE:
        raise ValueError("not a stamp")
    content = stamp[: _CONTENT.size]
    magic, ledger, number, schema = _CONTENT.unpack(content)
    if magic != _MAGIC or stamp[_CONTENT.size :] != _CHECKSUM.pack(zlib.crc32(content)):
        raise ValueError("a damaged stamp")
    return ledger, number, schema


def check_log(path, stamp_in_file):
    """Raise an error if the write-ahead log beside a file is not its own."""
    seen, n_alike = None, 0
    for _ in range(_LOOKS):
        before = _state_of_log(path)
        if before is None:
            return
        in_log = _stamps_in_log(path)
        in_file = stamp_in_file()
        if _fits(in_log, in_file):
            return
        # While others write, the log and the file change between two looks.
        looked = _state_of_log(path), in_file
        n_alike = n_alike + 1 if looked == seen else 0
        seen = looked
        if n_alike == _LOOKS_ALIKE:
            break
        time.sleep(_BETWEEN_LOOKS)
    else:
        return  # somebody writes all the time, who has checked the log
    if _fits(_stamps_in_log(path, checked=True), in_file):
        return  # the rest of it was lost in a power cut
    raise LedgerError(
        f"{path}-wal is a write-ahead log that does not belong to {path} as it is now: "
        "the file was replaced or restored without it; move the log away, or put the "
        "file back that it belongs to."
    )


def _fits(in_log, in_file):
    """Tell whether replaying a log brings a file to the state of the log's end.

    It does if the log begins at or before the state of the file and does not end
    before it.
    """
    if in_file is False:
        return True
    if not in_log:  # None: a log that commits nothing
        return in_log is None
    if len({ledger for ledger, _ in in_log}) > 1:
        return False
    (ledger, first), (_, last) = in_log[0], in_log[-1]
    return ledger == in_file[0] and first <= in_file[1] + 1 and last >= in_file[1]


def _state_of_log(path):
    """Return what changes when a log is written; None without a log."""
    try:
        with open(f"{path}-wal", "rb") as stream:
            header = stream.read(_LOG_HEADER)
            status = os.fstat(stream.fileno())
    except FileNotFoundError:
        return None
    if len(header) < _LOG_HEADER:
        return None
    return header, status.st_size, status.st_mtime_ns


def _stamps_in_log(path, *, checked=False):
    """List the stamps that a log commits, in order; None if it commits nothing.

    SQLite ignores frames behind the last commit, and those from the first one on whose
    checksum is wrong, which is tested only if `checked`: it takes long.
    """
    stamps: list = []
    written: list = []
    committed = False
    with contextlib.suppress(FileNotFoundError), open(f"{path}-wal", "rb") as stream:
        header = stream.read(_LOG_HEADER)
        if len(header) < _LOG_HEADER:
            return None
        size = int.from_bytes(header[8:12], "big")
        size = 65536 if size == 1 else size
        salts = header[16:24]
        # The format of a log: https://www.sqlite.org/fileformat2.html#walformat
        words = ">" if header[3] & 1 else "<"
        sums = _sums(header[:24], (0, 0), words)
        while True:
            frame = stream.read(_FRAME_HEADER)
            page = stream.read(size)
            # Frames of an earlier use of the log follow those of this one.
            if len(page) < size or frame[8:16] != salts:
                break
            if checked:
                sums = _sums(frame[:8] + page, sums, words)
                if struct.pack(">2I", *sums) != frame[16:24]:
                    break
            found = _stamps_in_page(page)
            if found:
                # A page keeps old versions in its unused part.
                written.append(max(found, key=lambda stamp: stamp[1]))
            if any(frame[4:8]):  # pages of the file after a commit; 0: none here
                stamps, written, committed = stamps + written, [], True
    return stamps if committed else None


def _sums(content, sums, words):
    """Continue the two running sums of a log over a multiple of 8 bytes."""
    first, second = sums
    numbers = struct.unpack(f"{words}{len(content) // 4}I", content)
    for even, odd in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _stamps_in_page(page):
    """List the intact stamps in the bytes of a page."""
    found, start = [], page.find(_MAGIC)
    while start >= 0:
        with contextlib.suppress(ValueError):
            ledger, number, _ = read_stamp(page[start : start + _SIZE])
            found.append((ledger, number))
        start = page.find(_MAGIC, start + 1)
    return found


def _written(ledger, number, schema):
    content = _CONTENT.pack(_MAGIC, ledger, number, schema)
    return content + _CHECKSUM.pack(zlib.crc32(content))
