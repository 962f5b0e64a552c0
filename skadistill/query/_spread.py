"""Rows far from each other, for a batch about which no student can say anything."""

import math
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import MaxAbsScaler

from skadistill._rows._containers import is_frame, is_records, is_texts
from skadistill._utils.validation import is_missing

__all__ = ["encode_rows", "kmeans_plusplus", "spread_rows"]

#: Rows among which the first batch is spread: so many per row of the batch, and at
#: least so many in all. More are not looked at, whatever the size of the pool.
CANDIDATES_PER_ROW, MIN_CANDIDATES = 20, 2000
#: Labeled rows from which the batch keeps away.
MAX_CENTERS = 1000
N_HASHED = 2**14
MAX_CATEGORIES = 100
# Standard deviations below this share of the largest value are rounding.
ROUNDING = 1e-12


def spread_rows(table, pool, labeled, n_rows, rng):
    """Choose rows far from each other, and from labeled ones: k-means++ seeding."""
    n_candidates = max(MIN_CANDIDATES, CANDIDATES_PER_ROW * n_rows)
    # Not a permutation of the whole pool, which may be huge. Ascending rows are read
    # faster.
    sample = np.sort(rng.choice(len(pool), min(n_candidates, len(pool)), replace=False))
    centers = rng.permutation(labeled)[:MAX_CENTERS]
    rows = np.concatenate([pool[sample], centers])
    points = encode_rows(table.take(rows))
    if points is None:
        return sample[rng.permutation(len(sample))[:n_rows]]
    n_sample = len(sample)
    chosen = kmeans_plusplus(points[:n_sample], points[n_sample:], n_rows, rng)
    return sample[chosen]


def kmeans_plusplus(points, centers, n_rows, rng):
    """Draw rows one after the other, each far from the ones before."""
    n_samples = points.shape[0]
    nearest = np.full(n_samples, np.inf)
    if centers.shape[0]:
        nearest = euclidean_distances(points, centers, squared=True).min(axis=1)
    free = np.ones(n_samples, dtype=bool)
    chosen = np.empty(n_rows, dtype=np.intp)
    n_trials = 2 + int(np.log(n_rows))
    for i in range(n_rows):
        weight = np.where(free, nearest, 0.0)
        if not np.isfinite(weight).all() or weight.sum() <= 0:
            # The first row, or only copies of chosen rows are left.
            weight = free.astype(float)
        trials = rng.choice(n_samples, n_trials, p=weight / weight.sum())
        distances = euclidean_distances(points[trials], points, squared=True)
        left = np.minimum(distances, nearest)
        best = left[:, free].sum(axis=1).argmin()
        chosen[i], nearest = trials[best], left[best]
        free[chosen[i]] = False
    return chosen


def encode_rows(X):
    """Turn rows into points whose distances mean something; None if they have none."""
    if is_texts(X):
        texts = [text if isinstance(text, str) else "" for text in X]
        hashed = HashingVectorizer(n_features=N_HASHED, alternate_sign=False)
        return hashed.transform(texts)
    if is_records(X):
        hasher = FeatureHasher(N_HASHED, alternate_sign=False)
        return MaxAbsScaler().fit_transform(hasher.transform(map(_record, X)))
    if is_frame(X):
        return _encode_frame(X)
    if sparse.issparse(X):
        # Not centered, so that zeros stay.
        return sparse.csr_matrix(MaxAbsScaler().fit_transform(X.astype(np.float64)))
    X = np.asarray(X)
    if X.dtype.kind not in "biuf":
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError):
            return None
    return _standardize(X.reshape(len(X), -1).astype(np.float64))


def _standardize(X):
    """Center and scale columns; what is missing or infinite becomes the mean."""
    known = np.isfinite(X)
    X = np.where(known, X, 0.0)
    # By the largest value first: squares of huge numbers are infinite.
    X /= np.maximum(np.abs(X).max(axis=0, initial=0.0), np.finfo(np.float64).tiny)
    n_known = np.maximum(known.sum(axis=0), 1)
    X = np.where(known, X - X.sum(axis=0) / n_known, 0.0)
    spread = np.sqrt((X**2).sum(axis=0) / n_known)
    return X / np.where(spread > ROUNDING, spread, 1.0)


def _record(row):
    """Return a dictionary of finite numbers and texts."""
    return {
        str(key): float(value)
        if isinstance(value, Real) and math.isfinite(value)
        else str(value)
        for key, value in row.items()
    }


def _encode_frame(frame):
    """Standardize numbers and one-hot encode the rest, column by column."""
    points = []
    for i in range(frame.shape[1]):
        column = frame.iloc[:, i] if hasattr(frame, "iloc") else frame[:, i]
        if _is_numeric(column.dtype):
            numbers = [math.nan if is_missing(v) else float(v) for v in column]
            points.append(_standardize(np.array(numbers, dtype=np.float64)[:, None]))
            continue
        texts = np.array([str(value) for value in column])
        _, codes, counts = np.unique(texts, return_inverse=True, return_counts=True)
        frequent = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
        points.append((codes[:, None] == frequent).astype(np.float64))
    return np.hstack(points)


def _is_numeric(dtype):
    if hasattr(dtype, "is_numeric"):  # polars
        return dtype.is_numeric()
    return getattr(dtype, "kind", "O") in "biuf"
