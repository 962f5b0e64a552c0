"""How torch is driven: batches, epochs, steps and mixed precision."""

import dis
import inspect
import math
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array, column_or_1d
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import Dataset
from skorch.utils import TeeGenerator, is_dataset, to_device
from torch.utils.data import Subset

from skadistill.student._assembly import AssembledNet
from skadistill.student._batches import Rows, TableDataset, as_is
from skadistill.student._checks import one_hot
from skadistill.student._device_blocks import memory_of, overlapped, rows_of_a_block
from skadistill.student._seeding import seeded

__all__ = ["TrainableNet"]

# A block of prediction: large enough to hide Python, small enough for a cache.
PREDICT_BLOCK_BYTES = 2**20
# A table below this size moves to the accelerator as a whole.
DEVICE_TABLE_BYTES = 2**31
_ROUTES = "_routing_method" in inspect.signature(NeuralNet.fit_loop).parameters


class _StopTraining(Exception):
    """A callback asks to end the training in good order."""


def _was_raised_by_code(error):
    """Tell a ``raise`` statement from an interrupt that came from outside."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    opcode = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return opcode == dis.opmap["RAISE_VARARGS"]


@dataclass
class _Run:
    """Hold what lives during one fit and no longer."""

    generator: torch.Generator  # of the order of the rows
    base_lrs: list  # pairs of an optimizer's group and its largest learning rate
    schedule: bool  # whether learning rates follow the cosine
    scaler: Any  # of gradients, under "fp16"
    on_grad: bool  # whether anybody listens to gradients
    general: bool  # whether steps go through skorch's closures
    step: int = 0
    n_steps: int = 0
    each_batch: bool = False  # whether hooks are called between the steps


class TrainableNet(AssembledNet):
    """Train the parts of a net about as fast as a loop written by hand.

    skorch's own path through an epoch collects rows one by one and calls every
    hook for every batch. This one cuts batches from tables, calls only the hooks
    somebody listens to, and falls back to skorch's where a callback, an optimizer
    or a loader needs it.
    """

    _run: _Run | None = None
    _lesson_loss: Any = None
    _transient = ("_run", "_lesson_loss")

    # -- a fit ---------------------------------------------------------------

    def _train(self, X, dataset, method, fit_params):
        """Run the epochs inside the fit's own random numbers."""
        n_before = len(self.history_)
        seeds = np.random.SeedSequence(self.seed_).generate_state(2)
        self._run = _Run(
            generator=torch.Generator().manual_seed(int(seeds[0])),
            base_lrs=[
                (group, group["lr"])
                for name in self._optimizers
                for group in getattr(self, name + "_").param_groups
            ],
            schedule=self._uses_schedule(),
            scaler=self._make_scaler(),
            on_grad=self._listens("on_grad_computed"),
            general=self._needs_general_step(),
        )
        labels = dataset.y
        if _ROUTES:
            fit_params = {**fit_params, "_routing_method": method}
        try:
            with seeded(int(seeds[1]), self._data_device()):
                self.notify("on_train_begin", X=X, y=labels)
                with suppress(_StopTraining):
                    self.fit_loop(
                        dataset,
                        labels if self.train_split else None,
                        epochs=self.max_epochs_,
                        **fit_params,
                    )
                self.notify("on_train_end", X=X, y=labels)
        finally:
            for group, lr in self._run.base_lrs if self._run.schedule else ():
                group["lr"] = lr
            del self._run
            self.n_iter_ = len(self.history_) - n_before
        return self

    def _uses_schedule(self):
        if self.lr_schedule == "auto":
            return not any(isinstance(cb, LRScheduler) for _, cb in self.callbacks_)
        return self.lr_schedule == "cosine"

    def _autocast(self):
        """Return the context of a forward pass under `amp`."""
        if not self.amp:
            return nullcontext()
        dtype = torch.bfloat16 if self.amp == "bf16" else torch.float16
        return torch.autocast(self._data_device().type, dtype=dtype)

    def _make_scaler(self):
        if self.amp != "fp16":
            return None
        device_type = self._data_device().type
        if hasattr(torch.amp, "GradScaler"):
            return torch.amp.GradScaler(device_type, enabled=device_type == "cuda")
        return torch.cuda.amp.GradScaler(enabled=device_type == "cuda")

    def notify(self, method_name, **cb_kwargs):
        """Call a hook of the net and of its callbacks.

        Parameters
        ----------
        method_name : str
            The hook, for example "on_epoch_end".
        **cb_kwargs : dict
            Passed to the hook.
        """
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as interrupt:
            # skorch's EarlyStopping, and callbacks after its model, end the
            # training with `raise KeyboardInterrupt`; the user's Ctrl-C may
            # arrive in the same lines and must get through.
            if self._run is not None and _was_raised_by_code(interrupt):
                raise _StopTraining from None
            raise

    def _listens(self, hook):
        """Tell whether the net or a callback does something at `hook`."""
        if getattr(type(self), hook) is not getattr(NeuralNet, hook):
            return True
        return any(
            hook in vars(callback)
            or getattr(type(callback), hook, None) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
        )

    def _needs_general_step(self):
        """Tell whether steps must go through skorch's closures."""
        if type(self)._step_optimizer is not NeuralNet._step_optimizer:
            return True
        # LBFGS evaluates the loss several times per step: its closure is required.
        closures = [
            inspect.signature(type(getattr(self, name + "_")).step).parameters.get(
                "closure"
            )
            for name in self._optimizers
        ]
        return any(c is not None and c.default is c.empty for c in closures)

    # -- the data path -----------------------------------------------------

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

    # -- epochs and steps --------------------------------------------------

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Walk through the batches once and record the mean loss.

        Parameters
        ----------
        iterator : iterable or None
            Batches ``(X, y)``.
        training : bool
            Whether steps are taken.
        prefix : str
            "train" or "valid".
        step_fn : callable
            What to do with a batch.
        **fit_params : dict
            Passed to `step_fn`.
        """
        if iterator is None:
            return
        run = self._run
        begins = self._listens("on_batch_begin") or run is None
        ends = self._listens("on_batch_end") or run is None
        if training and run is not None:
            run.each_batch = begins or ends
            run.n_steps = self.max_epochs_ * len(iterator)
        if begins or ends:
            self._run_epoch_with_hooks(iterator, training, prefix, step_fn, fit_params)
            return
        self._set_training(training)
        losses, sizes = [], []
        for batch in iterator:
            losses.append(step_fn(batch, **fit_params)["loss"].detach())
            sizes.append(len(batch[0]))
        # One synchronization with the device per epoch.
        loss = float(np.average(torch.stack(losses).tolist(), weights=sizes))
        self.history.new_batch()
        self.history.record_batch(prefix + "_loss", loss)
        self.history.record_batch(prefix + "_batch_size", sum(sizes))
        self.history.record(prefix + "_batch_count", len(sizes))

    def _run_epoch_with_hooks(self, iterator, training, prefix, step_fn, fit_params):
        """Walk through the batches as skorch does, for callbacks that listen."""
        count = 0
        for batch in iterator:
            shown = self._shown_batch(batch, iterator)
            self.notify("on_batch_begin", batch=shown, training=training)
            step = step_fn(batch, **fit_params)
            self.history.record_batch(prefix + "_loss", step["loss"].item())
            self.history.record_batch(prefix + "_batch_size", len(batch[0]))
            self.notify("on_batch_end", batch=shown, training=training, **step)
            count += 1
        self.history.record(prefix + "_batch_count", count)

    def _shown_batch(self, batch, iterator):
        """Replace targets by labels, which is what scorers compare with."""
        Xi, yi = batch
        table = getattr(iterator, "dataset", None)
        table = table.dataset if isinstance(table, Subset) else table
        if not isinstance(table, TableDataset):
            return batch
        return Xi, table.labels(yi[0] if isinstance(yi, tuple | list) else yi)

    def train_step(self, batch, **fit_params):
        """Take one step of the optimizer.

        Parameters
        ----------
        batch : tuple
            Rows and targets.
        **fit_params : dict
            Passed to the module's ``forward``.

        Returns
        -------
        step : dict
            "loss" and "y_pred".
        """
        run = self._run
        if run is None:
            return super().train_step(batch, **fit_params)
        if run.schedule:
            factor = _cosine_factor(run.step, run.n_steps)
            for group, lr in run.base_lrs:
                group["lr"] = lr * factor
        run.step += 1
        if run.general:
            return super().train_step(batch, **fit_params)
        optimizers = [getattr(self, name + "_") for name in self._optimizers]
        for optimizer in optimizers:
            optimizer.zero_grad()
        step = self.train_step_single(batch, **fit_params)
        scaler = run.scaler
        if run.on_grad:
            if scaler is not None:
                for optimizer in optimizers:
                    scaler.unscale_(optimizer)
            self.notify(
                "on_grad_computed",
                named_parameters=TeeGenerator(self.get_all_learnable_params()),
                batch=batch,
                training=True,
            )
        for optimizer in optimizers:
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
        if scaler is not None:
            scaler.update()
        return step

    def train_step_single(self, batch, **fit_params):
        """Compute loss and gradients of one batch.

        Parameters
        ----------
        batch : tuple
            Rows and targets.
        **fit_params : dict
            Passed to the module's ``forward``.

        Returns
        -------
        step : dict
            "loss" and "y_pred", without their graph.
        """
        run = self._run
        if run is None or run.each_batch:
            # A hook may have predicted in between.
            self._set_training(True)
        Xi, yi = batch
        if self.amp:
            with self._autocast():
                y_pred = self.infer(Xi, **fit_params)
                loss = self.get_loss(y_pred, yi, X=Xi, training=True)
        else:
            y_pred = self.infer(Xi, **fit_params)
            loss = self.get_loss(y_pred, yi, X=Xi, training=True)
        if run is not None and run.scaler is not None:
            run.scaler.scale(loss).backward()
        else:
            loss.backward()
        if not isinstance(y_pred, tuple):
            y_pred = y_pred.detach()
        return {"loss": loss.detach(), "y_pred": y_pred}

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
            What the module returned.
        """
        if not isinstance(x, torch.Tensor):
            return super().infer(x, **fit_params)
        device = self._data_device()
        if x.device.type != device.type:
            x = x.to(device)
        return self.module_(x, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Average the rows' losses by weight.

        Parameters
        ----------
        y_pred : torch.Tensor or tuple
            Output of the module.
        y_true : torch.Tensor or pair of tensors
            Targets (positions or probabilities), or targets and weights.
        X : torch.Tensor or None, default=None
            The batch.
        training : bool, default=False
            Whether this is a training step.

        Returns
        -------
        loss : torch.Tensor of shape ()
            The mean of weight times loss over the batch. Weights have mean 1
            over the training rows, so that the sum over batches is unbiased.
        """
        targets, weights = (
            y_true if isinstance(y_true, tuple | list) else (y_true, None)
        )
        output = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        if targets.ndim == 1:
            targets = one_hot(targets, len(self.classes_))
        if targets.device != output.device or targets.dtype != output.dtype:
            dtype = torch.float64 if output.dtype is torch.float64 else torch.float32
            targets = targets.to(output.device, dtype)
        losses = self.row_loss(y_pred, targets)
        if losses.ndim == 0:
            if weights is None:
                return losses
            raise ValueError(
                f"criterion {self.criterion!r} returned one number for a batch of "
                f"{len(targets)} rows, so that sample_weight cannot be applied; let it "
                "return one loss per row, or leave sample_weight out."
            )
        if losses.ndim > 1:
            losses = losses.flatten(1).mean(dim=1)
        if weights is not None:
            losses = losses * weights.to(losses.device)
        return losses.mean()

    def row_loss(self, y_pred, targets):
        """Compare outputs with targets, row by row.

        Parameters
        ----------
        y_pred : torch.Tensor of shape (n_samples, n_outputs) or tuple
            Output of the module; of a tuple the first entry is compared.
        targets : torch.Tensor of shape (n_samples, n_columns)
            Probabilities, and what else a lesson's loss reads.

        Returns
        -------
        losses : torch.Tensor of shape (n_samples,) or ()
            One loss per row, or one number where the criterion reduces.
        """
        output = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        n_outputs = len(self.classes_) * self.n_subclasses_
        if output.shape != (len(targets), n_outputs):
            raise ValueError(
                f"module returned an output of shape {tuple(output.shape)} for "
                f"targets of shape {(len(targets), n_outputs)}; return one logit per "
                "class (a signature that names n_classes is told how many)."
            )
        loss = self._lesson_loss or self.criterion_
        return loss(output, targets)

    # -- prediction --------------------------------------------------------

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the module's outputs, block by block.

        Parameters
        ----------
        X : array-like, sparse matrix or dataset
            Rows.
        training : bool, default=False
            Whether to run the module in training mode.
        device : str, default="cpu"
            Where the outputs go.

        Yields
        ------
        output : torch.Tensor or tuple
            Output for one block of rows.
        """
        batches = self.get_iterator(self.get_dataset(X), training=False)
        for batch in overlapped(batches, self._data_device()):
            yield to_device(self.evaluation_step(batch, training), device=device)

    def _rows_of_a_block(self, rows):
        """Count rows of a block: what suits a CPU's cache, or fits on a GPU."""
        memory = memory_of(self._data_device())
        if memory is None:
            return max(32, min(8192, PREDICT_BLOCK_BYTES // rows.bytes_per_row))
        return rows_of_a_block(
            lambda block: self.evaluation_step((block,)), rows, memory
        )

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


def _cosine_factor(step, n_steps):
    """Return the share of the largest learning rate that applies to a step."""
    warm = max(1, n_steps // 20)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))
