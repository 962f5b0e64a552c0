"""How many buckets a search has, and which bucket a size belongs to."""

import math
from bisect import bisect_right

import numpy as np

__all__ = ["bucket_numbers", "layer_bound", "resolve_buckets"]

DEFAULT_BUCKETS = 8
# With fewer buckets, half of the evaluations are not enough for the layers.
FEWEST_BUCKETS = 3


def layer_bound(n_options, n_buckets, n_replicas):
    """Bound the candidates that the layers score, without refinement."""
    kept = math.inf if n_buckets is None else n_buckets * n_replicas
    total, prefixes = 0, 1
    for n in n_options:
        total += n * min(kept, prefixes)
        prefixes *= n
    return min(total, prefixes)


def resolve_buckets(n_options, n_buckets, n_replicas, max_evaluations):
    """Replace "auto" by a number of buckets, and check it against the evaluations."""
    automatic = n_buckets == "auto"
    if max_evaluations is None:
        return DEFAULT_BUCKETS if automatic else n_buckets
    largest = _most_buckets(n_options, n_replicas, max_evaluations)
    if largest < 1:
        raise ValueError(
            f"max_evaluations={max_evaluations} is too few: with one bucket and "
            f"n_replicas={n_replicas} the layers may need "
            f"{layer_bound(n_options, 1, n_replicas)} evaluations; allow as many, or "
            "give fewer options."
        )
    if automatic:
        half = _most_buckets(n_options, n_replicas, max_evaluations // 2)
        return max(half, min(FEWEST_BUCKETS, largest))
    needed = layer_bound(n_options, n_buckets, n_replicas)
    if needed > max_evaluations:
        raise ValueError(
            f"max_evaluations={max_evaluations} is too few for n_buckets={n_buckets}, "
            f"which may need {needed}; pass n_buckets={largest} or n_buckets='auto'."
        )
    return n_buckets


def _most_buckets(n_options, n_replicas, max_evaluations):
    """Return the largest number of buckets that the evaluations allow, or 0."""
    # More buckets than prefixes before the last layer change nothing.
    useful = max(1, math.prod(n_options[:-1]))
    counts = range(1, min(useful, max_evaluations) + 1)
    # The bound grows with the number of buckets, so that it can be bisected.
    return bisect_right(
        counts, max_evaluations, key=lambda n: layer_bound(n_options, n, n_replicas)
    )


def bucket_numbers(sizes, n_buckets):
    """Sort sizes into buckets of equal width between the smallest and the largest."""
    sizes = np.asarray(sizes, dtype=np.float64)
    if n_buckets is None:
        return np.unique(sizes, return_inverse=True)[1].tolist()
    low, width = sizes.min(), np.ptp(sizes) / n_buckets
    if width == 0:
        return [0] * len(sizes)
    # The largest size would be the first of a bucket too many.
    return np.minimum((sizes - low) / width, n_buckets - 1).astype(int).tolist()
