"""Rows as whole batches: tensors, files, sparse tables, one interface."""

from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from skorch.dataset import Dataset
from torch.utils.data import DataLoader, Subset

__all__ = ["Rows", "TableDataset", "TableLoader", "column_moments"]

# A table below this size is shuffled as a whole once per epoch, which is one
# gather instead of one per batch; above it a second copy would be felt.
SHUFFLE_WHOLE_BYTES = 2**28
MOMENTS_BLOCK_BYTES = 2**24


class Rows:
    """Hold the inputs of a student and hand out any of its rows as a tensor."""

    def __init__(self, X, dtype=torch.float32, protect=True):
        self.dtype = dtype
        self.source: Any = None
        self.tensor: torch.Tensor | None = None
        self.shared = False
        self.shape = X.shape
        if sp.issparse(X) or _is_mapped(X) or not X.flags.writeable:
            self.source = X
            return
        numpy_dtype = None if dtype is None else _numpy_dtype(dtype)
        # Columns of a frame arrive in Fortran order: rows must lie together.
        array = np.ascontiguousarray(X, dtype=numpy_dtype)
        self.shared = protect and np.shares_memory(array, X)
        self.tensor = torch.from_numpy(array)

    def __len__(self):
        return self.shape[0]

    @property
    def nbytes(self):
        """Size of the stored rows in bytes."""
        if self.tensor is not None:
            return self.tensor.numel() * self.tensor.element_size()
        if sp.issparse(self.source):
            return self.source.data.nbytes + self.source.indices.nbytes
        return self.source.nbytes

    @property
    def bytes_per_row(self):
        """Size of one dense row in bytes, as the module gets it."""
        itemsize = 4 if self.dtype is None else self.dtype.itemsize
        return max(1, int(np.prod(self.shape[1:]))) * itemsize

    def to(self, device):
        """Move a table that is a tensor to `device`; leave others unchanged."""
        if self.tensor is not None and self.tensor.device != device:
            self.tensor = self.tensor.to(device)
            self.shared = False
        return self

    def take(self, index):
        """Return the rows at the positions `index` (a tensor) as a new `Rows`."""
        other = object.__new__(Rows)
        other.dtype, other.shared = self.dtype, False
        other.shape = (len(index), *self.shape[1:])
        other.tensor = other.source = None
        if self.tensor is not None:
            other.tensor = _select(self.tensor, index)
        else:
            other.source = self.source[index.numpy()]
        return other

    def block(self, start, stop):
        """Return rows `start` to `stop` as a tensor."""
        if self.tensor is not None:
            block = self.tensor[start:stop]
            return block.clone() if self.shared else block
        return self._dense(self.source[start:stop])

    def gather(self, index):
        """Return the rows at the positions `index` (a tensor) as a tensor."""
        if self.tensor is not None:
            return _select(self.tensor, index)
        return self._dense(self.source[index.numpy()])

    def _dense(self, rows):
        """Copy rows of a file or a sparse table into a tensor."""
        if sp.issparse(rows):
            rows = rows.toarray()
        dtype = None if self.dtype is None else _numpy_dtype(self.dtype)
        return torch.from_numpy(np.array(rows, dtype=dtype, order="C"))


def _is_mapped(X):
    """Tell whether an array is, or looks into, a file mapped into memory."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return False


def _numpy_dtype(dtype):
    return torch.empty((), dtype=dtype).numpy().dtype


def column_moments(rows, weights=None, channels=False):
    """Compute weighted means and standard deviations, block by block."""
    shape = rows.shape[1:]
    mean = torch.zeros(shape, dtype=torch.float64)
    square = torch.zeros(shape, dtype=torch.float64)
    total = 0.0
    step = max(1, MOMENTS_BLOCK_BYTES // (2 * rows.bytes_per_row))
    for start in range(0, len(rows), step):
        stop = min(len(rows), start + step)
        block = rows.block(start, stop).to(device="cpu", dtype=torch.float64)
        if weights is None:
            w = torch.ones(stop - start, dtype=torch.float64)
        else:
            w = torch.from_numpy(np.array(weights[start:stop], dtype=np.float64))
        mass = float(w.sum())
        # Chan, Golub, LeVeque: merge the moments of two sets of rows.
        block_mean = torch.tensordot(w, block, dims=1) / mass
        block_square = torch.tensordot(w, (block - block_mean) ** 2, dims=1)
        delta = block_mean - mean
        both = total + mass
        mean += delta * (mass / both)
        square += block_square + delta**2 * (total * mass / both)
        total = both
    variance = square / total
    if channels and len(shape) > 1:
        axes = tuple(range(1, len(shape)))
        center = mean.mean(dim=axes, keepdim=True)
        variance = (variance + (mean - center) ** 2).mean(dim=axes, keepdim=True)
        mean = center
    scale = variance.sqrt()
    # A column that float32 cannot tell from a constant counts as one.
    constant = scale <= 1e-7 * mean.abs()
    scale = torch.where(constant | (scale == 0), torch.ones_like(scale), scale)
    return mean, scale


class TableDataset(Dataset):
    """Pair rows with targets and weights for skorch, batch by batch."""

    def __init__(self, rows, targets=None, weights=None, X=None, classes=None):
        self.rows = rows
        self.targets = targets
        self.weights = weights
        self.X = X
        self.classes = classes
        self._len = len(rows)

    def __len__(self):
        return self._len

    @property
    def y(self):
        """Labels of the rows: as given, or the likeliest under soft targets."""
        return None if self.targets is None else self.labels(self.targets)

    def labels(self, targets):
        """Return the labels that a batch of targets stands for."""
        targets = targets.detach().cpu()
        if targets.ndim > 1:
            targets = targets[:, : len(self.classes)].argmax(dim=1)
        return self.classes[targets.numpy()]

    def to(self, device):
        """Move what is stored as tensors to `device`."""
        self.rows.to(device)
        if self.targets is not None:
            self.targets = self.targets.to(device)
        if self.weights is not None:
            self.weights = self.weights.to(device)
        return self

    def take(self, index):
        """Return the rows at the positions `index` (a tensor) as a new dataset."""
        targets, weights = self._each(lambda part: _select(part, index))
        return TableDataset(
            self.rows.take(index), targets, weights, classes=self.classes
        )

    def _each(self, function):
        """Apply a function to targets and weights, if there are any."""
        return (
            None if part is None else function(part)
            for part in (self.targets, self.weights)
        )

    def block(self, start, stop):
        """Return rows `start` to `stop` as a batch ``(X, y)``."""
        parts = self._each(lambda part: part[start:stop])
        return self.rows.block(start, stop), _pair(*parts)

    def __getitems__(self, index):
        index = torch.as_tensor(index)
        parts = self._each(lambda part: _select(part, index))
        return self.rows.gather(index), _pair(*parts)

    def __getitem__(self, i):
        return self.__getitems__([i])


def _select(tensor, index):
    """Gather rows of a tensor wherever it lives."""
    return tensor.index_select(0, index.to(tensor.device))


def _pair(targets, weights):
    """Join targets and weights the way `StudentNet.get_loss` takes them apart."""
    if targets is None:
        # skorch's own stand-in for "no target": collate knows no None.
        return torch.zeros(())
    return targets if weights is None else (targets, weights)


def as_is(batch):
    """Return a batch that is one already."""
    return batch


class TableLoader(DataLoader):
    """Walk through a table in batches of nearly equal size."""

    def __init__(self, dataset, batch_size=1, shuffle=False, **kwargs):
        kwargs.setdefault("collate_fn", as_is)
        self._plain = not any(
            kwargs.get(key)
            for key in ("sampler", "batch_sampler", "num_workers", "pin_memory")
        )
        super().__init__(dataset, batch_size=batch_size, shuffle=shuffle, **kwargs)
        self._shuffle = shuffle

    def _bounds(self, n_samples):
        size = self.batch_size or 1
        if self.drop_last:
            return [i * size for i in range(n_samples // size + 1)]
        n_batches = -(-n_samples // size)
        return [i * n_samples // n_batches for i in range(n_batches + 1)]

    def __iter__(self):
        table, index = self.dataset, None
        if isinstance(table, Subset):
            index = torch.as_tensor(table.indices)
            table = table.dataset
        if not (self._plain and isinstance(table, TableDataset)):
            return super().__iter__()
        return self._batches(table, index)

    def _batches(self, table, index):
        n_samples = len(table) if index is None else len(index)
        bounds = self._bounds(n_samples)
        if self._shuffle:
            order = torch.randperm(n_samples, generator=self.generator)
            index = order if index is None else index[order]
        if index is not None and table.rows.nbytes <= SHUFFLE_WHOLE_BYTES:
            table, index = table.take(index), None
        for start, stop in pairwise(bounds):
            if index is None:
                yield table.block(start, stop)
            else:
                yield table.__getitems__(index[start:stop])
