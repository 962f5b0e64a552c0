"""Share what every benchmark needs: data, intervals, tables, the machine's lines.

Run a benchmark as ``python benchmarks/NAME.py``; its folder is then on the path
and ``from _common import load, markdown_table`` works.
"""

import io
import json
import os
import platform
import sys
from functools import cache
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import stats

LEVEL = 0.95


def machine_lines():
    """Describe processor, memory, system and versions; one string per line.

    Nothing here names a host, a user or a folder, so the lines may be published.
    """
    lines = [
        f"CPU: {_cpu_model()}, {os.cpu_count()} cores",
        f"RAM: {_memory_gib()}",
        f"OS: {_system()} ({platform.machine()})",
    ]
    versions = [f"python {platform.python_version()}"]
    for package in ("numpy", "scipy", "scikit-learn", "torch", "skorch"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} missing")
    lines.append("Versions: " + ", ".join(versions))
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        lines.append(f"GPU: {torch.cuda.get_device_name()}")
    return lines


def _cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _system():
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (AttributeError, KeyError, OSError):
        return platform.system()


def _memory_gib():
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{pages * size / 2**30:.1f} GiB"


def markdown_table(header, rows):
    """Lay out a table in Markdown, padded so that it also reads as plain text.

    Parameters
    ----------
    header : sequence of n_columns str
    rows : iterable of sequences of n_columns entries
        Entries are printed with ``str``; format numbers before.

    Returns
    -------
    table : str
        Without a newline at its end.
    """
    cells = [[str(entry) for entry in row] for row in rows]
    header = [str(entry) for entry in header]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(
                f"a row has {len(row)} entries and the header {len(header)}: {row!r}; "
                "give every row one entry per column."
            )
    columns = zip(header, *cells, strict=True)
    widths = [max(3, *map(len, column)) for column in columns]
    ruled = [header, ["-" * width for width in widths], *cells]
    return "\n".join(
        "| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in ruled
    )


def mean_interval(values, level=LEVEL):
    """Return the mean of independent runs and its two-sided t interval.

    Parameters
    ----------
    values : array-like of shape (n_runs,)
    level : float, default=0.95
        Coverage of the interval when the runs are normal.

    Returns
    -------
    mean, low, high : float
        ``low`` and ``high`` are NaN for a single run.
    """
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * stats.sem(values)
    return mean, float(mean - half), float(mean + half)


def paired_difference(a, b, level=LEVEL):
    """Compare two methods run on the same seeds: mean of ``a - b``, interval, p.

    Parameters
    ----------
    a, b : array-like of shape (n_runs,)
        Scores of the two methods, run i of both with the same seed.
    level : float, default=0.95

    Returns
    -------
    mean, low, high, p_value : float
        Mean difference, its t interval, and the p-value of the two-sided paired
        t test. Runs that all differ by the same amount have no spread to test
        against: p is 1 for a difference of zero and 0 otherwise.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"a and b have shapes {a.shape} and {b.shape}; give one score per seed, "
            "the same seeds for both."
        )
    difference = a - b
    mean, low, high = mean_interval(difference, level)
    if len(difference) < 2:
        return mean, low, high, float("nan")
    if np.ptp(difference) == 0:
        return mean, low, high, float(mean == 0)
    return mean, low, high, float(stats.ttest_1samp(difference, 0.0).pvalue)


def data_folder():
    """Return the folder that SKADISTILL_DATA names, or leave with a sentence."""
    folder = os.environ.get("SKADISTILL_DATA")
    if not folder:
        raise SystemExit(
            "This benchmark needs real data and the environment variable "
            "SKADISTILL_DATA is not set; set it to the folder that holds letter.npz "
            "and the other tables."
        )
    path = Path(folder)
    if not path.is_dir():
        raise SystemExit(
            f"SKADISTILL_DATA is {folder!r}, which is not a folder; set it to the "
            "folder that holds letter.npz and the other tables."
        )
    return path


def load(name):
    """Read one data set.

    Tables come as float32 with raw values; categorical columns of more than two
    values (they are codes, not quantities) are one-hot encoded, with the values
    seen in training. Images stay uint8, of shape (n, height, width[, 3]); "cifar10"
    and "cifar10_jpeg" are the same and need Pillow. Embeddings become float32.

    Parameters
    ----------
    name : str
        File name without its ending.

    Returns
    -------
    X_train, y_train, X_test, y_test : ndarray
        Labels are int64.
    """
    file = data_folder() / f"{'cifar10_jpeg' if name == 'cifar10' else name}.npz"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in file.parent.glob("*.npz")))
        raise SystemExit(
            f"There is no {file.name} in the folder that SKADISTILL_DATA names; "
            f"it holds {known}."
        )
    with np.load(file, allow_pickle=False) as stored:
        data = {key: stored[key] for key in stored.files}
    y_train, y_test = data["y_train"].astype(np.int64), data["y_test"].astype(np.int64)
    if "jpeg_train" in data:
        return (
            _decode(data["jpeg_train"], data["offset_train"]),
            y_train,
            _decode(data["jpeg_test"], data["offset_test"]),
            y_test,
        )
    X_train, X_test = data["x_train"], data["x_test"]
    if X_train.dtype == np.uint8:
        return X_train, y_train, X_test, y_test
    X_train, X_test = X_train.astype(np.float32), X_test.astype(np.float32)
    if "categorical" in data:
        X_train, X_test = _one_hot(X_train, X_test, data["categorical"])
    return X_train, y_train, X_test, y_test


def _decode(stream, offset):
    try:
        from PIL import Image
    except ImportError:
        raise SystemExit(
            "This data set holds JPEG images and Pillow is missing; "
            "run `pip install pillow`."
        ) from None
    stream = stream.tobytes()
    return np.stack(
        [
            np.asarray(Image.open(io.BytesIO(stream[a:b])).convert("RGB"))
            for a, b in pairwise(offset)
        ]
    )


def _one_hot(X_train, X_test, categorical):
    train, test = [], []
    for j, is_code in enumerate(categorical):
        values = np.unique(X_train[:, j]) if is_code else []
        if len(values) > 2:
            train.append(X_train[:, [j]] == values)
            test.append(X_test[:, [j]] == values)
        else:
            train.append(X_train[:, [j]])
            test.append(X_test[:, [j]])
    return tuple(np.hstack(part).astype(np.float32) for part in (train, test))


def standardize(X_train, X_test):
    """Scale as every benchmark does: images to [0, 1], columns by training rows.

    A column that does not vary among the training rows is only centred.
    """
    if X_train.dtype == np.uint8:
        return tuple(X.astype(np.float32) / np.float32(255) for X in (X_train, X_test))
    center = X_train.mean(axis=0, dtype=np.float64)
    spread = X_train.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1.0
    return tuple(((X - center) / spread).astype(np.float32) for X in (X_train, X_test))


def is_remembered(path, key):
    """Tell whether a run was made before.

    Parameters
    ----------
    path, key : as in `remembered`
        The file, and the name of the run.

    Returns
    -------
    known : bool
        Whether it is there.
    """
    return str(key) in _kept_runs(path)


def remembered(path, key, compute):
    """Return what a run gave when it was made, or make it and keep it.

    Parameters
    ----------
    path : pathlib.Path
        File of kept runs, one JSON line each; remove it to make all afresh.
    key : list
        Names the run.
    compute : callable
        Makes it; returns what JSON can hold.

    Returns
    -------
    result : object
        As JSON gives it back.
    """
    known = _kept_runs(path)
    if str(key) not in known:
        known[str(key)] = result = compute()
        with path.open("a", encoding="utf8") as stream:
            stream.write(json.dumps({"run": key, "result": result}) + "\n")
    return known[str(key)]


@cache
def _kept_runs(path):
    if not path.exists():
        return {}
    records = map(json.loads, path.read_text(encoding="utf8").splitlines())
    return {str(record["run"]): record["result"] for record in records}


def save_result(path, text):
    """Write a result beside the benchmarks and print it.

    Parameters
    ----------
    path : str or Path
        Relative paths are taken from ``benchmarks/results``; missing folders are
        made.
    text : str

    Returns
    -------
    path : Path
        Where the text lies.
    """
    path = Path(__file__).resolve().parent / "results" / path
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text.rstrip("\n") + "\n"
    path.write_text(text, encoding="utf8")
    sys.stdout.write(text)
    return path
