"""A pool that does not fit in memory: time, memory, growth, and a Dask cluster.

The pool is a memory-mapped table of n x 64 float32 rows, made by this script. The
fit scores it with a network of one hidden layer and asks for 1000 rows; held against
a bare loop that puts blocks of the same table through the same module.

    python benchmarks/scale.py                 # 1e5, 1e6 and 1e7 rows (2.6 GB on disk)
    python benchmarks/scale.py --huge          # and 1e8 gains through the sampler
    python benchmarks/scale.py --dask          # and a Dask cluster of 1 and 2 workers
    python benchmarks/scale.py --rows 1e5      # a smaller try, not saved
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import signal
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from _common import machine_lines, markdown_table, mean_interval, save_result

from skadistill import ActiveDistiller, StudentNet
from skadistill.checking import CheckPolicy
from skadistill.query._game.draw import fixed_size_sample
from skadistill.query.game import robust_distribution

N_FEATURES, N_CLASSES, N_LABELED, N_QUERIES = 64, 10, 2000, 1000
BAR_TIME, BAR_MEMORY = 1.2, 2**30
REPEATS = 3


def centers():
    """Return the middles of the ten clouds that all rows come from."""
    return np.random.default_rng(0).normal(scale=0.4, size=(N_CLASSES, N_FEATURES))


def draw(n_samples, seed):
    """Draw labeled rows."""
    rng = np.random.default_rng(seed)
    y = rng.integers(N_CLASSES, size=n_samples)
    noise = rng.standard_normal((n_samples, N_FEATURES), dtype=np.float32)
    return (centers()[y] + noise).astype(np.float32), y


def make_pool(folder, n_samples):
    """Write the pool block by block and open it without reading it."""
    path = folder / f"pool_{n_samples}.npy"
    pool = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=(n_samples, N_FEATURES)
    )
    for number, start in enumerate(range(0, n_samples, 500_000)):
        stop = min(start + 500_000, n_samples)
        pool[start:stop] = draw(stop - start, 1 + number)[0]
    pool.flush()
    return np.load(path, mmap_mode="r")


def teacher(X):
    """Answer by the distance to the centers: cheap, and right where it can be."""
    logits = X @ centers().T - 0.5 * (centers() ** 2).sum(axis=1)
    logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits / logits.sum(axis=1, keepdims=True)


class PeakMemory:
    """Sample the process's anonymous memory; pages of mapped files do not count."""

    def __enter__(self):
        self.start = self.peak = anonymous_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._done.wait(0.01):
            self.peak = max(self.peak, anonymous_bytes())

    def __exit__(self, *exc):
        self._done.set()
        self._thread.join()

    @property
    def extra(self):
        """Bytes above those at the start."""
        return self.peak - self.start


def anonymous_bytes():
    """Read how much memory of its own the process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This system does not tell RssAnon; run the benchmark on Linux.")


def fit(pool, n_jobs=None):
    """Distill with one round; return the fitted distiller and seconds in all."""
    X, y = draw(N_LABELED, 0)
    student = StudentNet(
        module__hidden_sizes=(128,), max_epochs=2, device="cpu", random_state=0
    )
    distiller = ActiveDistiller(
        teacher,
        student,
        budget=N_QUERIES,
        query_size=N_QUERIES,
        teacher_checks=CheckPolicy(error_rate=0.2),
        n_jobs=n_jobs,
        random_state=0,
    )
    start = time.perf_counter()
    distiller.fit(X, y, X_unlabeled=pool)
    return distiller, time.perf_counter() - start


def bare_loop(pool, net, block=8_192):
    """Put the pool through the module in blocks, as a careful user would."""
    module = net.module_.eval()
    gains = np.empty(len(pool), dtype=np.float32)
    start = time.perf_counter()
    with torch.inference_mode():
        for a in range(0, len(pool), block):
            rows = torch.from_numpy(np.array(pool[a : a + block]))
            top = torch.softmax(module(rows), dim=1).topk(2, dim=1).values
            gains[a : a + block] = 1 - (top[:, 0] - top[:, 1]).numpy()
    return time.perf_counter() - start


def measure(pool):
    """Return one row of the table and the ratio to the bare loop."""
    ratios, scoring, bare, totals, extra = [], [], [], [], []
    fit(pool[:10_000])  # imports and first calls
    for _ in range(REPEATS):
        with PeakMemory() as memory:
            distiller, total = fit(pool)
        record = distiller.history_[1]
        scoring.append(record["seconds_predict"] + record["seconds_query"])
        bare.append(bare_loop(pool, distiller.student_))
        ratios.append(scoring[-1] / bare[-1])
        totals.append(total)
        extra.append(memory.extra)
    return {
        "n": len(pool),
        "total": np.mean(totals),
        "scoring": np.mean(scoring),
        "bare": np.mean(bare),
        "ratio": mean_interval(ratios),
        "extra": max(extra),
    }


def growth(measured):
    """Return the exponent with which the time of scoring grows."""
    n = np.log([m["n"] for m in measured])
    return float(np.polyfit(n, np.log([m["scoring"] for m in measured]), 1)[0])


def huge():
    """Time the sampler alone on 1e8 gains."""
    gains = np.random.default_rng(0).random(10**8, dtype=np.float32)
    start = time.perf_counter()
    game = robust_distribution(gains, 2e7)
    middle = time.perf_counter()
    fixed_size_sample(N_QUERIES * game.p, np.random.default_rng(0))
    return middle - start, time.perf_counter() - middle


def as_dask(pool, n_chunks=32):
    """Describe the pool to Dask by its file, which each worker reads for itself."""
    import dask
    import dask.array as da

    bounds = np.linspace(0, len(pool), n_chunks + 1).astype(int)
    read = dask.delayed(read_rows)
    return da.concatenate(
        [
            da.from_delayed(
                read(pool.filename, a, b), shape=(b - a, N_FEATURES), dtype=pool.dtype
            )
            for a, b in pairwise(bounds)
        ]
    )


def read_rows(path, start, stop):
    """Read a stretch of rows; runs on a worker."""
    return np.load(path, mmap_mode="r")[start:stop]


def cluster(pool, kill=False):
    """Score the pool on Dask workers; return seconds for 1 and 2 of them."""
    from distributed import Client, LocalCluster

    seconds, asked = {}, {}
    rows = as_dask(pool)
    for n_workers in (1, 2):
        with (
            LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=":0"
            ) as workers,
            Client(workers) as client,
        ):
            client.run(_import)
            if kill and n_workers == 2:
                # A worker dies while it scores; the nanny starts another.
                victim = next(iter(workers.workers.values()))
                pid = victim.process.pid
                threading.Timer(2.0, os.kill, (pid, signal.SIGKILL)).start()
            distiller, _ = fit(rows)
            seconds[n_workers] = distiller.history_[1]["seconds_predict"]
            asked[n_workers] = np.flatnonzero(distiller.labeled_round_ == 1)
    return seconds, np.array_equal(asked[1], asked[2])


def _import():
    import skadistill  # noqa: F401 (workers load it before the clock starts)

    torch.set_num_threads(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, nargs="*", default=None)
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--dask", action="store_true")
    parser.add_argument("--folder", default=None, help="for the pool; default: /tmp")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sizes = [int(n) for n in options.rows or (1e5, 1e6, 1e7)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        pools = [make_pool(Path(folder), n) for n in sizes]
        text = report([measure(pool) for pool in pools], pools[-1], options)
    if options.rows:
        print(text)
    else:
        save_result("scale.md", text)


def report(measured, pool, options):
    """Write the tables in Markdown."""
    rows = [
        [
            f"{m['n']:,}",
            f"{m['total']:.2f}",
            f"{m['scoring']:.2f}",
            f"{m['bare']:.2f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*m["ratio"]),
            f"{m['extra'] / 2**20:.0f}",
        ]
        for m in measured
    ]
    header = ["pool rows", "fit s", "scoring s", "bare loop s", "ratio", "memory MiB"]
    last = measured[-1]
    held = {True: "held", False: "missed"}
    out = [
        "# Pools outside memory",
        "",
        f"A pool of n x {N_FEATURES} float32 rows in a file mapped into memory, "
        f"{N_LABELED:,} labeled rows, {N_QUERIES:,} asked in one round, a network "
        f"with one hidden layer of 128, one thread, means of {REPEATS} repeats. "
        "`scoring` is prediction and the choice of the rows; `bare loop` puts blocks "
        "of the same file through the same module and keeps the margins. `memory` is "
        "the largest anonymous memory of the fit over that before it.",
        "",
        markdown_table(header, rows),
        "",
        f"Bar: at most {BAR_TIME} times the bare loop: "
        f"{held[last['ratio'][0] <= BAR_TIME]}. At most 1 GiB over the baseline: "
        f"{held[last['extra'] <= BAR_MEMORY]}.",
        "",
    ]
    if len(measured) > 1:
        out += [f"Scoring grows with the power {growth(measured):.3f} of n.", ""]
    if options.huge:
        level, sample = huge()
        out += [
            f"1e8 gains through the sampler alone: distribution {level:.2f} s, draw of "
            f"{N_QUERIES:,} {sample:.2f} s.",
            "",
        ]
    if options.dask:
        out += dask_lines(pool)
    return "\n".join(out + machine_lines())


def dask_lines(pool):
    """Say what one and two workers took, and what a killed one changed."""
    runs = [cluster(pool)[0] for _ in range(REPEATS)]
    mean, low, high = mean_interval([run[1] / run[2] for run in runs])
    one, two = (np.mean([run[n] for run in runs]) for n in (1, 2))
    _, same = cluster(pool, kill=True)
    return [
        f"Dask LocalCluster, {len(pool):,} rows in 32 chunks, single-threaded workers, "
        f"means of {REPEATS} repeats: {one:.2f} s with one, {two:.2f} s with two, a "
        f"speed-up of {mean:.2f} [{low:.2f}, {high:.2f}] (bar: 1.7, "
        f"{'held' if mean >= 1.7 else 'missed'}). With one of two workers killed "
        f"during scoring the rows asked are {'the same' if same else 'NOT the same'}.",
        "",
    ]


if __name__ == "__main__":
    main()
