"""Time the robust sampler against sorting the gains and against scikit-activeml.

Run ``python benchmarks/sampler.py [--save] [--huge] [--repeats N]``. Three tables:

- `robust_distribution`, and the draw of 1000 rows from it, against ``np.sort`` of the
  same float32 gains, in turns within each repeat; medians of the ratio within a
  repeat, with their range;
- extra memory, as the peak that numpy allocates beyond the gains, in a pass of its own
  (tracing slows the code down);
- our sampler against scikit-activeml's margin sampling on the same probabilities of
  1e6 rows, batch 1000, each in a process of its own.

``--huge`` adds 1e8 rows, ``--skip-skactiveml`` leaves out the third table, which needs
9 GB and half a minute.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import tracemalloc

import numpy as np
from _common import machine_lines, markdown_table, save_result

from skadistill.query import QueryPool, RADSampler
from skadistill.query._game.draw import fixed_size_sample
from skadistill.query.game import robust_distribution

N_DRAWN = 1000


def make_gains(shape, n, seed=0):
    """Make float32 gains: even, at both ends, or those of a confident student."""
    rng = np.random.default_rng(seed)
    if shape == "uniform":
        return rng.random(n, dtype=np.float32)
    if shape == "beta(1/2, 1/2)":
        return rng.beta(0.5, 0.5, n).astype(np.float32)
    # Two classes, logits with a deviation of 6: most gains are tiny.
    logits = 6.0 * rng.standard_normal(n, dtype=np.float32)
    return 1.0 - np.abs(np.tanh(logits / 2))


def draw(p):
    """Draw 1000 rows as the sampler does, in place where it does."""
    return fixed_size_sample(np.multiply(p, p.dtype.type(N_DRAWN), out=p), 0)


def clock(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def time_table(sizes, repeats):
    rows, worst = [], 0.0
    for n in sizes:
        for shape in ("uniform", "beta(1/2, 1/2)", "confident"):
            gains = make_gains(shape, n)
            for label, m in (("1 %", 0.01 * n), ("20 %", 0.2 * n), ("1000", 1000)):
                sorts, solves, draws = [], [], []
                for _ in range(repeats + 1):
                    sorts.append(clock(np.sort, gains)[0])
                    seconds, game = clock(robust_distribution, gains, m)
                    solves.append(seconds)
                    if game.p.max() * N_DRAWN > 1:
                        game = robust_distribution(gains, m, N_DRAWN)
                    draws.append(clock(draw, game.p)[0])
                ratio = np.divide(solves, sorts)[1:]  # the first repeat warms up
                worst = max(worst, float(np.median(ratio)))
                rows.append(
                    [
                        f"{n:.0e}",
                        shape,
                        label,
                        f"{1e3 * np.median(sorts[1:]):.1f}",
                        f"{1e3 * np.median(solves[1:]):.1f}",
                        f"{np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f})",
                        f"{1e3 * np.median(draws[1:]):.1f}",
                    ]
                )
    header = [
        "rows",
        "gains",
        "m",
        "np.sort, ms",
        "distribution, ms",
        "ratio: median (range)",
        "draw of 1000, ms",
    ]
    return markdown_table(header, rows), worst


def memory_table(sizes):
    rows, worst = [], 0.0
    for n in sizes:
        gains = make_gains("uniform", n)
        for label, m in (("1 %", 0.01 * n), ("20 %", 0.2 * n)):
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            draw(robust_distribution(gains, m).p)
            peak = tracemalloc.get_traced_memory()[1] - before
            tracemalloc.stop()
            worst = max(worst, peak / gains.nbytes)
            rows.append(
                [
                    f"{n:.0e}",
                    label,
                    f"{gains.nbytes / 2**20:.0f}",
                    f"{peak / 2**20:.1f}",
                    f"{peak / gains.nbytes:.2f}",
                    f"{peak / gains.nbytes - 1:.2f}",
                ]
            )
    header = [
        "rows",
        "m",
        "gains, MiB",
        "extra at peak, MiB",
        "share of the gains",
        "less the result",
    ]
    return markdown_table(header, rows), worst


def one_query(who, n=1_000_000, n_classes=3):
    """Choose 1000 of a million rows; printed as JSON for the parent process."""
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(n_classes), n).astype(np.float32)
    X = rng.random((n, 2), dtype=np.float32)
    if who == "skactiveml":
        from skactiveml.base import SkactivemlClassifier
        from skactiveml.pool import UncertaintySampling

        class Table(SkactivemlClassifier):
            """Answer with the table, whatever is asked."""

            def fit(self, X, y, sample_weight=None):
                self.classes_ = np.arange(n_classes)
                return self

            def predict_proba(self, X):
                return proba[: len(X)]

        y = np.full(n, np.nan)
        table = Table(classes=list(range(n_classes))).fit(X, y)
        strategy = UncertaintySampling(method="margin_sampling", random_state=0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, _ = clock(
            lambda: strategy.query(X, y, clf=table, fit_clf=False, batch_size=N_DRAWN)
        )
    else:
        pool = QueryPool.from_proba(proba, teacher_error=0.2)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, _ = clock(RADSampler().query, pool, N_DRAWN, np.random.default_rng(0))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "mib": (after - before) / 1024}))


def skactiveml_table(repeats=3):
    results = {"skadistill": [], "skactiveml": []}
    for _ in range(repeats):
        for who, found in results.items():
            out = subprocess.run(
                [sys.executable, __file__, "--one", who],
                capture_output=True,
                text=True,
                check=True,
            )
            found.append(json.loads(out.stdout.splitlines()[-1]))
    ours, theirs = (
        np.array([r["seconds"] for r in results[who]])
        for who in ("skadistill", "skactiveml")
    )
    rows = [
        [
            name,
            f"{np.median([r['seconds'] for r in results[who]]):.3f}",
            f"{np.median([r['mib'] for r in results[who]]):.0f}",
        ]
        for name, who in (
            ("RADSampler", "skadistill"),
            ("scikit-activeml UncertaintySampling, margin", "skactiveml"),
        )
    ]
    ratio = theirs / ours
    header = ["1e6 rows, 3 classes, batch 1000", "seconds", "extra peak RSS, MiB"]
    return markdown_table(header, rows), ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true", help="write results/sampler.md")
    parser.add_argument("--huge", action="store_true", help="also 1e8 rows")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--skip-skactiveml", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_query(options.one)
        return
    sizes = [10**6, 10**7] + ([10**8] if options.huge else [])
    table, worst = time_table(sizes, options.repeats)
    memory, share = memory_table(sizes)
    lines = ["# The robust sampler", "", table, ""]
    lines += [
        f"Bar: the distribution takes at most 2 times np.sort. Worst median ratio: "
        f"{worst:.2f}.",
        "",
        memory,
        "",
        "Bar: extra memory at most the size of the gains. The distribution returned is "
        f"itself an array as large as the gains; with it the worst share is "
        f"{share:.2f}, without it {share - 1:.2f}.",
        "",
    ]
    if not options.skip_skactiveml:
        table, ratio = skactiveml_table()
        lines += [
            table,
            "",
            "Bar: at least 100 times faster than scikit-activeml. Ratios of "
            f"{len(ratio)} pairs of runs: {', '.join(f'{r:.0f}' for r in ratio)}.",
            "",
        ]
    text = "\n".join(lines + machine_lines())
    print(text)
    if options.save:
        save_result("sampler.md", text)


if __name__ == "__main__":
    main()
