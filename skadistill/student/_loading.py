"""The way of rows through a net: datasets, batches, outputs, probabilities."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array, column_or_1d
from skorch.dataset import Dataset
from skorch.utils import is_dataset, to_device
from torch.utils.data import Subset

from skadistill.student._assembly import AssembledNet
from skadistill.student._batches import Rows, TableDataset, as_is
from skadistill.student._checks import one_hot
from skadistill.student._outputs import class_probabilities, first_output, logits_of

__all__ = ["TableNet"]

# A block of prediction: large enough to hide Python, small enough for a cache.
PREDICT_BLOCK_BYTES = 2**20
# On an accelerator, where all of a module's layers must fit (not measured yet).
DEVICE_BLOCK_BYTES = 2**22
# A table below this size moves to the accelerator as a whole.
DEVICE_TABLE_BYTES = 2**31


class TableNet(AssembledNet):
    """Cut batches from tables and read what the module returns.

    skorch collects rows one by one; here a batch is a slice of a table.
    """

    # The state of the fit that is under way, None at other times.
    _run: Any = None

    # -- datasets and loaders ----------------------------------------------

    def get_dataset(self, X, y=None):
        """Wrap inputs for prediction; datasets pass through.

        Parameters
        ----------
        X : array-like, sparse matrix or dataset
            Validated inputs.
        y : None
            Ignored: `fit` builds its own dataset.

        Returns
        -------
        dataset : torch.utils.data.Dataset
            The rows, batch by batch.
        """
        if is_dataset(X):
            return X
        own = not self._is_default_module()
        return TableDataset(Rows(X, self._torch_input_dtype(), protect=own), X=X)

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split the training dataset as `train_split` says.

        Parameters
        ----------
        X : TableDataset
            All rows of the fit.
        y : array-like or None
            Labels, for stratification.
        **fit_params : dict
            Passed to `train_split`.

        Returns
        -------
        dataset_train, dataset_valid : datasets
            The second is None without a split.
        """
        train, valid = super().get_split_datasets(X, y, **fit_params)
        return train, self._as_table(valid)

    def _as_table(self, dataset):
        """Give a foreign skorch dataset of rows and labels our batches."""
        if not isinstance(dataset, Dataset) or isinstance(dataset, TableDataset):
            return dataset
        X = check_array(
            dataset.X, accept_sparse="csr", allow_nd=not self._is_default_module()
        )
        positions = np.searchsorted(self.classes_, column_or_1d(dataset.y))
        targets = one_hot(torch.from_numpy(positions), len(self.classes_))
        rows = Rows(X, self._torch_input_dtype())
        return self._dataset(X, rows, targets, None)

    def _dataset(self, X, rows, targets, weights):
        """Collect rows, targets and weights of mean 1 into one dataset."""
        if weights is not None:
            weights = torch.from_numpy(weights / weights.mean()).to(self._float_dtype())
        dataset = TableDataset(rows, targets, weights, X=X, classes=self.classes_)
        if rows.nbytes <= DEVICE_TABLE_BYTES:
            dataset.to(self._data_device())
        return dataset

    def _data_device(self):
        """Name the device of the batches."""
        if self.device is not None:
            return torch.device(self.device)
        parameter = next(self.module_.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def get_iterator(self, dataset, training=False):
        """Create the loader of a dataset.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            Rows, with or without targets.
        training : bool, default=False
            Shuffle, with the fit's own generator, in batches of the training
            size; otherwise walk in order through larger blocks.

        Returns
        -------
        iterator : iterable
            Batches ``(X, y)``.
        """
        prefix = "iterator_train" if training else "iterator_valid"
        kwargs = self.get_params_for(prefix)
        iterator = getattr(self, prefix)
        table: Any = dataset.dataset if isinstance(dataset, Subset) else dataset
        ours = isinstance(table, TableDataset)
        if "batch_size" not in kwargs and "batch_sampler" not in kwargs:
            if training:
                kwargs["batch_size"] = min(
                    getattr(self, "batch_size_", 128), max(1, len(dataset))
                )
            elif ours:
                kwargs["batch_size"] = self._rows_of_a_block(table.rows)
            else:
                kwargs["batch_size"] = 1024
        if kwargs.get("batch_size") == -1:
            kwargs["batch_size"] = len(dataset)
        if training and not {"sampler", "batch_sampler"} & set(kwargs):
            kwargs.setdefault("shuffle", True)
            if self._run is not None:
                kwargs.setdefault("generator", self._run.generator)
        if ours:
            kwargs.setdefault("collate_fn", as_is)
        return iterator(dataset, **kwargs)

    # -- outputs -------------------------------------------------------------

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the module's outputs, block by block.

        Parameters
        ----------
        X : array-like, sparse matrix or dataset
            Rows.
        training : bool, default=False
            Whether to run the module in training mode.
        device : str, default="cpu"
            Device of the outputs.

        Yields
        ------
        output : torch.Tensor or tuple
            Output for one block of rows.
        """
        batches = self.get_iterator(self.get_dataset(X), training=False)
        for batch in batches:
            yield to_device(self.evaluation_step(batch, training), device=device)

    def _rows_of_a_block(self, rows):
        """Count the rows that are predicted together."""
        if self._data_device().type == "cpu":
            return max(32, min(2**13, PREDICT_BLOCK_BYTES // rows.bytes_per_row))
        return max(32, min(2**16, DEVICE_BLOCK_BYTES // rows.bytes_per_row))

    def evaluation_step(self, batch, training=False):
        """Apply the module to one block, without gradients unless training.

        Parameters
        ----------
        batch : tuple
            Rows and a target that is ignored.
        training : bool, default=False
            Whether to run in training mode, with gradients.

        Returns
        -------
        output : torch.Tensor or tuple
            What the module returned.
        """
        Xi = batch[0]
        if training or getattr(self.module_, "training", True):
            self._set_training(training)
        mode = nullcontext() if training else torch.inference_mode()
        with mode, self._autocast():
            return self.infer(Xi)

    def infer(self, x, **fit_params):
        """Apply the module to one batch.

        Parameters
        ----------
        x : torch.Tensor
            Rows.
        **fit_params : dict
            Passed to the module's ``forward``.

        Returns
        -------
        output : torch.Tensor or tuple
            What the module returned; of an object with ``logits``, those.
        """
        if not isinstance(x, torch.Tensor):
            return logits_of(super().infer(x, **fit_params))
        device = self._data_device()
        if x.device.type != device.type:
            x = x.to(device)
        return logits_of(self.module_(x, **fit_params))

    def _autocast(self):
        """Return the context of a forward pass under `amp`."""
        if not self.amp:
            return nullcontext()
        dtype = torch.bfloat16 if self.amp == "bf16" else torch.float16
        return torch.autocast(self._data_device().type, dtype=dtype)

    def output_proba(self, output):
        """Turn outputs into probabilities of the classes.

        Parameters
        ----------
        output : torch.Tensor of shape (n_samples, n_classes * `n_subclasses_`)
            Output of the module; of a tuple the first entry, of an object its
            ``logits``.

        Returns
        -------
        proba : torch.Tensor of shape (n_samples, n_classes)
            Rows that sum to 1, float32 (float64 from a module that uses it).
        """
        output = first_output(logits_of(output))
        return class_probabilities(
            output, self.predict_nonlinearity, self.criterion, self.n_subclasses_
        )
