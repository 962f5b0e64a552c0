"""A splitter that knows that some rows have no label."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.model_selection import (
    BaseCrossValidator,
    KFold,
    PredefinedSplit,
    StratifiedKFold,
)
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.multiclass import type_of_target

from skadistill._rows._containers import take_metadata, take_rows
from skadistill._utils.validation import labeled_values, read_labels
from skadistill.exceptions import SkadistillError

__all__ = ["PartiallyLabeledSplit"]


class PartiallyLabeledSplit(BaseCrossValidator):
    """Split labeled rows with any splitter; train on every unlabeled one.

    A row without a label cannot be scored: in a test fold its marker counts as a
    class that no good model predicts, and stratification spends effort on
    spreading it. Here the wrapped splitter sees the labeled rows alone (their
    ``X``, ``y``, groups and other row-aligned metadata), and all unlabeled rows
    join the training side of every fold.

    Parameters
    ----------
    cv : int, splitter or iterable, default=5
        How labeled rows are split.

        - int: that many folds; :class:`~sklearn.model_selection.StratifiedKFold`
          when the labels are classes,
          :class:`~sklearn.model_selection.KFold` when they are continuous.
        - splitter: an object with ``split`` and ``get_n_splits``. It is handed
          the labeled rows and nothing else.
        - iterable of (train, test) row numbers, or a
          :class:`~sklearn.model_selection.PredefinedSplit`: these count all rows,
          because their author had all rows. Unlabeled rows are
          taken out of the test sides and added to the training sides.
    unlabeled_marker : object, default=-1
        The value that stands for "no label". None: every row is labeled.
    shuffle : bool, default=False
        Whether to shuffle before splitting; for int `cv` only.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffle; for int `cv` only.

    See Also
    --------
    ignore_unlabeled : The same caution for scorers.

    Notes
    -----
    Training rows come sorted; test rows in the order of the wrapped splitter.

    With scikit-learn's metadata routing the wrapped splitter's requests count:
    around ``GroupKFold`` this object asks for ``groups``, around ``KFold`` it
    does not.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.model_selection import PartiallyLabeledSplit
    >>> X = np.arange(8.0)[:, None]
    >>> y = np.array([0, -1, 1, -1, 0, -1, 1, -1])
    >>> for train, test in PartiallyLabeledSplit(2).split(X, y):
    ...     print(train, test)
    [1 3 4 5 6 7] [0 2]
    [0 1 2 3 5 7] [4 6]
    """

    def __init__(
        self,
        cv: Any = 5,
        *,
        unlabeled_marker: Any = -1,
        shuffle: bool = False,
        random_state: Any = None,
    ) -> None:
        if not _is_splitter(cv) and not isinstance(cv, Integral):
            if isinstance(cv, str) or not hasattr(cv, "__iter__"):
                raise ValueError(
                    f"cv={cv!r} is not a splitter; pass a number of folds, a "
                    "splitter with split and get_n_splits, or an iterable of "
                    "(train, test) row numbers."
                )
            # A generator would be empty the second time it is asked.
            cv = list(cv)
        self.cv = cv
        self.unlabeled_marker = unlabeled_marker
        self.shuffle = shuffle
        self.random_state = random_state

    def split(
        self,
        X: Any,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        **params: Any,
    ) -> Iterator[Any]:
        """Yield the row numbers of both sides of every fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; handed to the wrapped splitter, which mostly counts them.
        y : array-like of shape (n_samples,)
            Labels, the marker for rows without label: a list, an array, a pandas or
            a polars Series.
        groups : array-like of shape (n_samples,), default=None
            Group of every row, for splitters that keep groups together. An
            unlabeled row trains even where its group is tested: without a label
            it cannot leak one, though its features may be close.
        **params : dict
            Other metadata for the wrapped splitter; what has one entry per row
            is cut to the labeled rows.

        Yields
        ------
        train : ndarray of int
            Labeled training rows and every unlabeled row, sorted.
        test : ndarray of int
            Labeled rows only.

        Raises
        ------
        SkadistillError
            If no row has a label, or none of a test side.
        ValueError
            If `y` is missing or the wrapped splitter refuses the labeled rows.
        """
        labels, unlabeled = self._read(y)
        labeled = np.flatnonzero(~unlabeled)
        extra = np.flatnonzero(unlabeled)
        if self._names_rows():
            yield from self._filter_named(unlabeled, extra)
            return
        inner = self._splitter(labels[labeled])
        given = take_metadata(self._route(groups, params), labeled, len(labels))

        def ask():
            yield from inner.split(
                take_rows(X, labeled), labeled_values(labels[labeled]), **given
            )

        folds = ask()
        while True:
            # Only the splitter's own errors are retold, not those of the caller,
            # which would surface at the yield.
            try:
                train, test = next(folds)
            except StopIteration:
                return
            except ValueError as error:
                refusal = self._refusal(inner, labels, labeled, error)
                raise ValueError(refusal) from error
            yield np.sort(np.concatenate([labeled[train], extra])), labeled[test]

    def get_n_splits(
        self,
        X: Any = None,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        **params: Any,
    ) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Needed by some splitters, such as ``LeavePOut``.
        y : array-like of shape (n_samples,), default=None
            Labels; needed if the answer depends on the labeled rows.
        groups : array-like of shape (n_samples,), default=None
            Needed by some splitters, such as ``LeaveOneGroupOut``.
        **params : dict
            Other metadata, as for :meth:`split`.

        Returns
        -------
        n_splits : int
            Folds that :meth:`split` yields.
        """
        if isinstance(self.cv, Integral):
            return int(self.cv)
        if isinstance(self.cv, list):
            return len(self.cv)
        if y is None or self._names_rows():
            return self.cv.get_n_splits(X, y, groups)
        labels, unlabeled = self._read(y)
        labeled = np.flatnonzero(~unlabeled)
        given = {"X": X, "groups": self._route(groups, params).get("groups")}
        given = take_metadata(given, labeled, len(labels))
        return self.cv.get_n_splits(y=labeled_values(labels[labeled]), **given)

    def get_metadata_routing(self) -> MetadataRouter:
        """Pass the wrapped splitter's metadata requests on.

        Returns
        -------
        routing : MetadataRouter
            Routes what :meth:`split` receives to the wrapped splitter.
        """
        router = MetadataRouter(owner=self)
        if _is_splitter(self.cv):
            router.add(
                cv=self.cv,
                method_mapping=MethodMapping().add(caller="split", callee="split"),
            )
        return router

    def _read(self, y):
        """Return labels and mask, or raise if they are missing."""
        if y is None:
            raise ValueError(
                "y is None, so labeled and unlabeled rows cannot be distinguished; "
                "pass y with the marker "
                f"{self.unlabeled_marker!r} for rows without a label."
            )
        labels, unlabeled = read_labels(y, self.unlabeled_marker)
        if unlabeled.all():
            raise SkadistillError(
                f"none of the {len(labels)} rows has a label, all are "
                f"{self.unlabeled_marker!r}; label some rows, or pass the right "
                "unlabeled_marker."
            )
        return labels, unlabeled

    def _names_rows(self):
        """Tell whether folds are given as numbers of rows of the whole table."""
        return isinstance(self.cv, list | PredefinedSplit)

    def _splitter(self, labels):
        """Return the splitter for labeled rows."""
        if not isinstance(self.cv, Integral):
            return self.cv
        classes = type_of_target(labeled_values(labels)) in ("binary", "multiclass")
        return (StratifiedKFold if classes else KFold)(
            int(self.cv), shuffle=self.shuffle, random_state=self.random_state
        )

    def _route(self, groups, params):
        """Return what the wrapped splitter is to be given, under its names."""
        given = {"groups": groups, **params}
        given = {name: value for name, value in given.items() if value is not None}
        if get_config().get("enable_metadata_routing") and _is_splitter(self.cv):
            return dict(process_routing(self, "split", **given).cv.split)
        return given

    def _filter_named(self, unlabeled, extra):
        """Clean folds that count all rows."""
        folds = self.cv if isinstance(self.cv, list) else self.cv.split()
        for number, (train, test) in enumerate(folds):
            train, test = (_as_rows(side, len(unlabeled)) for side in (train, test))
            kept = test[~unlabeled[test]]
            if len(kept) == 0:
                raise SkadistillError(
                    f"none of the {len(test)} test rows of fold {number} has a label; "
                    "leave that fold out or put labeled rows into it."
                )
            yield np.sort(np.concatenate([train[~unlabeled[train]], extra])), kept

    def _refusal(self, inner, labels, labeled, error):
        """Retell a splitter's refusal with the number of rows it was given."""
        n_classes = len(set(labels[labeled].tolist()))
        reason = str(error).rstrip(".")
        return (
            f"{type(inner).__name__} cannot split the {len(labeled)} labeled rows "
            f"of {len(labels)} ({n_classes} distinct labels): {reason}; label more "
            "rows or ask for fewer folds."
        )


def _is_splitter(cv):
    return hasattr(cv, "split") and not isinstance(cv, str)


def _as_rows(side, n_samples):
    """Return one side of a fold as row numbers; masks are accepted too."""
    side = np.asarray(side)
    if side.dtype == bool:
        side = np.flatnonzero(side)
    side = side.astype(np.intp)
    if side.size and (side.max() >= n_samples or side.min() < -n_samples):
        worst = side[np.argmax(np.abs(side))]
        raise ValueError(
            f"a fold names row {worst} and there are {n_samples}; give folds as "
            "numbers of rows of the whole table, unlabeled ones counted."
        )
    return side % n_samples
