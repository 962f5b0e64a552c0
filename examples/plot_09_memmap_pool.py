"""
Use a pool that does not fit in memory
======================================

How much memory does it take to choose 500 of a million rows? The pool is a file of 122
MiB. The fit needs at most 50 MiB, and asks about the same rows as with the pool in
memory.

The weakness: these 50 MiB grow with the number of rows. Each round reads the whole file
once, which is two thirds of the time of the fit; a random choice reads only the rows it
asks about.

.. code-block:: python

    import numpy as np
    from skadistill import ActiveDistiller

    pool = np.load("pool.npy", mmap_mode="r")  # stays on disk
    distiller = ActiveDistiller(teacher, student, budget=500)
    distiller.fit(X, y, X_unlabeled=pool)
"""

# %%
# A million rows of 32 columns, written block by block like a stream of measurements.
# The true label depends on the first columns; the teacher is wrong on every tenth row.
import tempfile
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy

N_ROWS, N_COLUMNS, BLOCK = 1_000_000, 32, 50_000
MIB = 2**20


def truth(X):
    return (X[:, :3].sum(axis=1) > 0).astype(int) + (X[:, 3] > 0.5)


def ask(X):
    """Answer correctly, unless the last column is near zero."""
    wrong = np.abs(X[:, -1]) < 0.125
    answer = (truth(X) + wrong) % 3
    return 0.05 + 0.85 * np.eye(3)[answer]


rng = np.random.default_rng(0)
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "pool.npy"
pool = np.lib.format.open_memmap(path, "w+", np.float32, (N_ROWS, N_COLUMNS))
for start in range(0, N_ROWS, BLOCK):
    pool[start : start + BLOCK] = rng.standard_normal((BLOCK, N_COLUMNS), np.float32)
pool.flush()
pool = np.load(path, mmap_mode="r")
X = rng.standard_normal((200, N_COLUMNS), np.float32)
X_test = rng.standard_normal((5000, N_COLUMNS), np.float32)
print(f"the pool: {pool.nbytes / MIB:.0f} MiB, a {type(pool).__name__}")

# %%
# A memory-mapped array is passed like any other. It is scored in blocks that fit in
# scikit-learn's ``working_memory``, and only the rows asked about are copied.


def fit(pool, strategy="robust"):
    distiller = ActiveDistiller(
        ask,
        LogisticRegression(),
        query_strategy=strategy,
        budget=500,
        query_size=167,
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
    )
    tracemalloc.start()
    with sklearn.config_context(working_memory=16):
        distiller.fit(X, truth(X), X_unlabeled=pool)
    peak = tracemalloc.get_traced_memory()[1] / MIB
    tracemalloc.stop()
    return distiller, peak


peaks = {"the pool": pool.nbytes / MIB}
for strategy in ("robust", "random"):
    distiller, peak = fit(pool, strategy)
    peaks[f"a fit, {strategy}"] = peak
    reading = sum(record["seconds_predict"] for record in distiller.history_)
    total = sum(record["seconds_total"] for record in distiller.history_)
    print(
        f"{strategy}: {distiller.n_paid_} labels, peak {peak:.0f} MiB, "
        f"{total:.1f} s, of which {reading:.1f} s scoring the pool, "
        f"test accuracy {distiller.score(X_test, truth(X_test)):.3f}"
    )
    if strategy == "robust":
        chosen = np.flatnonzero(distiller.labeled_round_ > 0)

# %%
# The same rows as from memory.
in_memory, _ = fit(np.array(pool))
same = np.array_equal(chosen, np.flatnonzero(in_memory.labeled_round_ > 0))
print(f"the same rows as with the pool in memory: {same}")

figure, ax = plt.subplots(figsize=(6, 2), layout="constrained")
ax.barh(list(peaks), list(peaks.values()), color=["0.6", "C0", "C1"])
ax.set_xlabel("MiB of memory at most")
ax.invert_yaxis()
plt.show()

del pool
folder.cleanup()
