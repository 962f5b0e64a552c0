"""What a ledger on disk costs: rows per second and bytes per row, beside plain SQLite.

A million rows with labels over 10 and over 150 classes, recorded in batches of
10,000, then all of them looked up in a random order, in a process that has the file
closed before. `LabelLedger` keeps a checksum with each label and compares it when the
label is read. Beside it:

* ``sqlite3 executemany``: one table with the key as its primary key and the label as
  a blob, the same journal (WAL) and the same safety (``synchronous=FULL``), one
  transaction per batch; looked up one key at a time. No checks, no classes, no claims.
* diskcache: one entry per row, one transaction per batch (with its default safety,
  ``synchronous=NORMAL``: a power cut may lose the last batches); looked up one by one.

A purchase also claims its rows before it pays; "claim + record" is that.

    python benchmarks/ledger.py            # a million rows
    python benchmarks/ledger.py --quick    # 20,000 rows
"""

import argparse
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import machine_lines, markdown_table, save_result

from skadistill.ledger import LabelLedger, MemoryLedger, row_keys

BATCH = 10_000
BAR = 10.0  # seconds to look up a million known rows


def make_rows(n_samples, n_classes):
    """Draw keys and labels; nothing about them matters to a store."""
    rng = np.random.default_rng(0)
    keys = row_keys(rng.normal(size=(n_samples, 2)))
    labels = rng.random((n_samples, n_classes))
    return keys, labels / labels.sum(axis=1, keepdims=True), rng.permutation(n_samples)


class Ours:
    """`LabelLedger`, with or without claims."""

    def __init__(self, folder, n_classes, *, claims=False):
        self.ledger = LabelLedger(folder / "labels.sqlite")
        self.classes = list(range(n_classes))
        self.claims = claims

    def write(self, keys, labels):
        claim = None
        if self.claims:
            claim = self.ledger.claim(keys, "teacher", self.classes)
        self.ledger.record(keys, "teacher", self.classes, labels, claim=claim)

    def read(self, keys):
        return self.ledger.lookup(keys, "teacher", self.classes)[1]

    def close(self):
        self.ledger.close()


class PlainSqlite:
    """One table, one statement."""

    def __init__(self, folder, n_classes):
        self.width = n_classes
        self.file = folder / "plain.sqlite"
        self.connect()
        self.db.execute("CREATE TABLE labels (key BLOB PRIMARY KEY, label BLOB)")

    def connect(self):
        self.db = sqlite3.connect(self.file, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")

    def write(self, keys, labels):
        rows = zip(keys.tolist(), (row.tobytes() for row in labels), strict=True)
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO labels VALUES (?, ?)", rows)
        self.db.execute("COMMIT")

    def read(self, keys):
        query = "SELECT label FROM labels WHERE key = ?"
        blobs = [self.db.execute(query, (key,)).fetchone()[0] for key in keys.tolist()]
        return np.frombuffer(b"".join(blobs)).reshape(len(keys), self.width)

    def close(self):
        self.db.close()
        self.db = None


class DiskCache:
    """One entry per row."""

    def __init__(self, folder, n_classes):
        import diskcache

        self.width = n_classes
        self.cache = diskcache.Cache(folder, eviction_policy="none", size_limit=2**40)

    def write(self, keys, labels):
        with self.cache.transact():
            for key, row in zip(keys.tolist(), labels, strict=True):
                self.cache[key] = row.tobytes()

    def read(self, keys):
        blobs = [self.cache[key] for key in keys.tolist()]
        return np.frombuffer(b"".join(blobs)).reshape(len(keys), self.width)

    def close(self):
        self.cache.close()


def measure(make, n_samples, n_classes, limit):
    """Write, close, open, read; return rows, bytes and seconds (by wall, of CPU)."""
    keys, labels, order = make_rows(n_samples, n_classes)
    folder = Path(tempfile.mkdtemp())
    try:
        store = make(folder, n_classes)
        n_written, start, cpu = 0, time.perf_counter(), time.process_time()
        while n_written < n_samples and time.perf_counter() - start < limit:
            rows = slice(n_written, n_written + BATCH)
            store.write(keys[rows], labels[rows])
            n_written = min(n_written + BATCH, n_samples)
        writing = time.perf_counter() - start
        writing_cpu = time.process_time() - cpu
        store.close()
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        if isinstance(store, PlainSqlite):
            store.connect()
        order = order[order < n_written]
        start, cpu = time.perf_counter(), time.process_time()
        found = store.read(keys[order])
        reading = time.perf_counter() - start
        reading_cpu = time.process_time() - cpu
        if not (found == labels[order]).all():
            raise RuntimeError("a label came back changed")
        store.close()
    finally:
        shutil.rmtree(folder)
    return {
        "rows": n_written,
        "bytes": size,
        "write": (writing, writing_cpu),
        "read": (reading, reading_cpu),
    }


def one_by_one(n_samples):
    """Record labels as a ChatTeacher's answers arrive; return the seconds of CPU."""
    keys, labels, _ = make_rows(n_samples, 2)
    ledger, start = MemoryLedger(), time.process_time()
    for i in range(n_samples):
        ledger.record(keys[i : i + 1], "t", ["a", "b"], labels[i : i + 1])
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    n_samples, limit = (20_000, 60) if quick else (1_000_000, 240)
    stores = {
        "LabelLedger": Ours,
        "LabelLedger, claim + record": lambda f, n: Ours(f, n, claims=True),
        "sqlite3 executemany": PlainSqlite,
        "diskcache": DiskCache,
    }
    rows, slowest = [], (0.0, 0.0)
    for n_classes in (10, 150):
        for name, make in stores.items():
            took = measure(make, n_samples, n_classes, limit)
            n = took["rows"]
            if make is Ours:
                slowest = max(slowest, took["read"])
            entry = [name, n_classes, f"{n:,}", f"{took['bytes'] / n:.0f}"]
            for what in ("write", "read"):
                wall, cpu = took[what]
                entry += [f"{n / wall:,.0f}", f"{wall:.1f}", f"{cpu:.1f}"]
            rows.append(entry)
            print(*entry, sep="  ", flush=True)
    alone = [
        [f"{n:,}", f"{one_by_one(n):.2f}"] for n in (1000, 2000, 4000, 8000, 16_000)
    ]
    header = ["store", "classes", "rows", "bytes per row"]
    for what in ("written", "read"):
        header += [f"{what} / s", "seconds", "of CPU"]
    table = markdown_table(header, rows)
    wall, cpu = slowest
    verdict = "kept" if wall <= BAR else "MISSED"
    text = "\n".join(
        [
            "# The ledger on disk",
            "",
            f"Rows in batches of {BATCH:,}; a store that had not written all after "
            f"{limit} s was stopped and read as far as it came. A label is 8 bytes "
            "per class. The machine was shared with other work: seconds of CPU, which "
            "do not count waiting for the disk, tell more about the code.",
            "",
            table,
            "",
            f"Bar: {n_samples:,} known rows looked up in at most {BAR:g} s: {verdict} "
            f"({wall:.1f} s by the clock, {cpu:.1f} s of CPU).",
            "",
            "MemoryLedger, the default, recording one label at a time:",
            "",
            markdown_table(["labels", "seconds of CPU"], alone),
            "",
            *(f"- {line}" for line in machine_lines()),
            f"- SQLite {sqlite3.sqlite_version}",
        ]
    )
    save_result("ledger_quick.md" if quick else "ledger.md", text)


if __name__ == "__main__":
    main()
