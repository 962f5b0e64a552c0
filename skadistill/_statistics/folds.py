"""Deal rows into folds, those of every group evenly."""

import numpy as np

__all__ = ["deal_folds", "each_fold"]


def deal_folds(groups, n_folds, rng):
    """Deal rows into folds as a pack of cards sorted by group is dealt.

    ``StratifiedKFold`` warns about groups with fewer rows than folds and fails where
    all are such; dealing does neither.
    """
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    fold = np.empty(len(groups), dtype=np.intp)
    fold[order] = np.arange(len(groups)) % n_folds
    return fold


def each_fold(fold):
    """Yield the rows to train on and the rows to judge, for each fold that has rows."""
    for k in np.unique(fold):
        yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)
