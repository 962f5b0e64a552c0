"""Deal rows into folds, those of every group evenly."""

import numpy as np

__all__ = ["deal_folds"]


def deal_folds(groups, n_folds, rng):
    """Deal rows into folds as a pack of cards sorted by group is dealt.

    ``StratifiedKFold`` warns about groups with fewer rows than folds and fails where
    all are such; dealing does neither.

    Parameters
    ----------
    groups : ndarray of shape (n_samples,)
        Rows of the same value are spread over the folds.
    n_folds : int
        Number of folds, at least 1.
    rng : numpy.random.Generator or RandomState
        Decides who is dealt first.

    Returns
    -------
    fold : ndarray of int of shape (n_samples,)
        Fold of each row. The folds, and each group in them, differ by one row at
        most.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill._rows._folds import deal_folds
    >>> groups = np.array(["a", "a", "a", "b", "b", "b"])
    >>> fold = deal_folds(groups, 3, np.random.default_rng(0))
    >>> sorted(fold[:3].tolist()), sorted(fold[3:].tolist())
    ([0, 1, 2], [0, 1, 2])
    """
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    fold = np.empty(len(groups), dtype=np.intp)
    fold[order] = np.arange(len(groups)) % n_folds
    return fold
