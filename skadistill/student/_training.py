"""How a net is fed and driven: tables, batches, epochs, steps, losses, outputs."""

import inspect
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import Dataset
from skorch.utils import TeeGenerator, is_dataset, to_device
from torch.utils.data import Subset

from skadistill._utils.interrupts import noted_interrupts
from skadistill.objectives._loss import LessonLoss
from skadistill.student._assembly import AssembledNet
from skadistill.student._batches import Rows, TableDataset, as_is
from skadistill.student._checks import (
    check_same_classes,
    check_same_subclasses,
    check_weights,
    label_positions,
    one_hot,
)
from skadistill.student._module import (
    class_probabilities,
    first_output,
    logits_of,
    weighted_mean,
)
from skadistill.student._run import (
    Reweight,
    Run,
    StopTraining,
    draw_seed,
    planned_sizes,
    seeded,
)

__all__ = ["TrainableNet"]

# One-hot rows are kept for the whole fit below this size, made per batch above.
ONE_HOT_BYTES = 2**28
# A block of prediction: large enough to hide Python, small enough for a cache.
PREDICT_BLOCK_BYTES = 2**20
# On an accelerator, where all of a module's layers must fit (not measured yet).
DEVICE_BLOCK_BYTES = 2**22
# A table below this size moves to the accelerator as a whole.
DEVICE_TABLE_BYTES = 2**31
_ROUTES = "_routing_method" in inspect.signature(NeuralNet.fit_loop).parameters


class TrainableNet(AssembledNet):
    """Train and predict about as fast as a plain torch loop.

    skorch collects rows one by one; here a batch is a slice of a table. Methods that
    are skorch's take what its methods of the same name take.
    """

    # The fit that is under way, None at other times.
    _run: Run | None = None
    _transient = ("_run",)

    # -- a fit ---------------------------------------------------------------

    def _fit_labels(self, X, y, classes, sample_weight, method, fit_params):
        """Turn labels into targets and train."""
        check_classification_targets(y)
        known = None if classes is None else np.unique(classes)
        if self._continues() or (
            method == "partial_fit" and self.__sklearn_is_fitted__()
        ):
            if known is not None:
                remedy = "leave classes out after the first call"
                check_same_classes(known, self.classes_, remedy)
            known = self.classes_
        if known is None:
            self.classes_, positions = np.unique(y, return_inverse=True)
        else:
            positions = label_positions(y, known)
            self.classes_ = known
        targets = torch.from_numpy(positions.astype(np.int64))
        if len(y) * len(self.classes_) * 4 <= ONE_HOT_BYTES:
            targets = one_hot(targets, len(self.classes_))
        return self._fit_targets(X, targets, sample_weight, method, fit_params)

    def _fit_targets(self, X, targets, sample_weight, method, fit_params, lesson=None):
        """Train on validated rows; the story of a fit."""
        weights = check_weights(sample_weight, X)
        reweight = None if lesson is None else lesson.reweight
        # Whoever reweights speaks of all rows.
        if weights is not None and not weights.all() and reweight is None:
            kept = np.flatnonzero(weights)
            X, targets, weights = X[kept], targets[kept], weights[kept]
        if weights is not None and np.ptp(weights) == 0:
            weights = None
        self.batch_size_, self.max_epochs_ = planned_sizes(
            X.shape[0], self.batch_size, self.max_epochs
        )
        fresh = not self.initialized_ or not (
            method == "partial_fit" or self.warm_start
        )
        if fresh:
            self._input_shape = tuple(X.shape[1:])
            self._n_samples = X.shape[0]
            self.n_subclasses_ = 1 if lesson is None else lesson.n_subclasses
        else:
            check_same_subclasses(lesson, self.n_subclasses_)
        self.seed_ = draw_seed(self.random_state)
        rows = Rows(X, self._torch_input_dtype(), protect=not self._is_default_module())
        if fresh:
            self._measure(rows, weights)
            self.initialize()
        dataset = self._dataset(X, rows, targets, weights)
        own_loss = lesson is not None and lesson.has_own_loss
        loss = LessonLoss(lesson) if own_loss else None
        if reweight is None:
            return self._train(X, dataset, method, fit_params, loss)
        self.callbacks_.append(("reweight", Reweight(dataset, reweight)))
        try:
            return self._train(X, dataset, method, fit_params, loss)
        finally:
            self.callbacks_.pop()

    def _train(self, X, dataset, method, fit_params, loss):
        """Run the epochs inside the fit's own random numbers."""
        n_before = len(self.history_)
        seeds = np.random.SeedSequence(self.seed_).generate_state(2)
        self._run = Run(
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
            loss=loss,
            ctrl_c_came=lambda: False,
        )
        labels = dataset.y
        if _ROUTES:
            fit_params = {**fit_params, "_routing_method": method}
        try:
            with (
                seeded(int(seeds[1]), self._data_device()),
                noted_interrupts() as self._run.ctrl_c_came,
            ):
                self.notify("on_train_begin", X=X, y=labels)
                with suppress(StopTraining):
                    self.fit_loop(
                        dataset,
                        labels if self.train_split else None,
                        epochs=self.max_epochs_,
                        **fit_params,
                    )
                self.notify("on_train_end", X=X, y=labels)
        finally:
            self._run.restore_learning_rates()
            del self.__dict__["_run"]
            self.n_iter_ = len(self.history_) - n_before
        return self

    def _uses_schedule(self):
        if self.lr_schedule == "auto":
            return not any(isinstance(cb, LRScheduler) for _, cb in self.callbacks_)
        return self.lr_schedule == "cosine"

    def _make_scaler(self):
        if self.amp != "fp16":
            return None
        device_type = self._data_device().type
        if hasattr(torch.amp, "GradScaler"):
            return torch.amp.GradScaler(device_type, enabled=device_type == "cuda")
        return torch.cuda.amp.GradScaler(enabled=device_type == "cuda")

    def notify(self, method_name: Any, **cb_kwargs: Any) -> None:
        """Call a hook of the net and of its callbacks."""
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt:
            # skorch's EarlyStopping, and callbacks after its model, end the
            # training with `raise KeyboardInterrupt`; the user's Ctrl-C may
            # arrive in the same lines and must get through.
            if self._run is None or self._run.ctrl_c_came():
                raise
            raise StopTraining from None

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

    # -- epochs and steps --------------------------------------------------

    def run_single_epoch(
        self, iterator: Any, training: Any, prefix: Any, step_fn: Any, **fit_params: Any
    ) -> None:
        """Walk through the batches once and record the mean loss."""
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
        """Replace targets by labels, which scorers compare with."""
        Xi, yi = batch
        table = getattr(iterator, "dataset", None)
        table = table.dataset if isinstance(table, Subset) else table
        if not isinstance(table, TableDataset):
            return batch
        return Xi, table.labels(yi[0] if isinstance(yi, tuple | list) else yi)

    def train_step(self, batch: Any, **fit_params: Any) -> Any:
        """Take one step of the optimizer."""
        run = self._run
        if run is None:
            return super().train_step(batch, **fit_params)
        run.begin_step()
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

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        """Compute loss and gradients of one batch."""
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

    def get_loss(
        self, y_pred: Any, y_true: Any, X: Any = None, training: Any = False
    ) -> Any:
        """Return the mean of weight times loss over a batch.

        `y_true` are targets (positions or probabilities), or targets and weights,
        whose mean is 1 over the training rows: the sum over batches is unbiased.
        """
        targets, weights = (
            y_true if isinstance(y_true, tuple | list) else (y_true, None)
        )
        output = first_output(y_pred)
        if targets.ndim == 1:
            targets = one_hot(targets, len(self.classes_))
        if targets.device != output.device or targets.dtype != output.dtype:
            dtype = torch.float64 if output.dtype is torch.float64 else torch.float32
            targets = targets.to(output.device, dtype)
        return weighted_mean(self.row_loss(y_pred, targets), weights, self.criterion)

    def row_loss(self, y_pred: Any, targets: Any) -> Any:
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
            One loss per row, or one number if the criterion reduces.
        """
        output = first_output(y_pred)
        n_outputs = len(self.classes_) * self.n_subclasses_
        if output.shape != (len(targets), n_outputs):
            raise ValueError(
                f"module returned an output of shape {tuple(output.shape)} for "
                f"targets of shape {(len(targets), n_outputs)}; return one logit per "
                "class (a signature that names n_classes is told how many)."
            )
        run = self._run
        loss = self.criterion_ if run is None or run.loss is None else run.loss
        return loss(output, targets)

    # -- datasets and loaders ----------------------------------------------

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Wrap inputs for prediction; datasets pass through."""
        if is_dataset(X):
            return X
        own = not self._is_default_module()
        return TableDataset(Rows(X, self._torch_input_dtype(), protect=own), X=X)

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Split the training dataset as `train_split` says."""
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

    def get_iterator(self, dataset: Any, training: Any = False) -> Any:
        """Create the loader of a dataset.

        For training it shuffles with the fit's own generator; otherwise it walks in
        order through larger blocks.
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

    def forward_iter(
        self, X: Any, training: Any = False, device: Any = "cpu"
    ) -> Iterator[Any]:
        """Yield the module's outputs, block by block."""
        batches = self.get_iterator(self.get_dataset(X), training=False)
        for batch in batches:
            yield to_device(self.evaluation_step(batch, training), device=device)

    def _rows_of_a_block(self, rows):
        """Count the rows that are predicted together."""
        if self._data_device().type == "cpu":
            return max(32, min(2**13, PREDICT_BLOCK_BYTES // rows.bytes_per_row))
        return max(32, min(2**16, DEVICE_BLOCK_BYTES // rows.bytes_per_row))

    def evaluation_step(self, batch: Any, training: Any = False) -> Any:
        """Apply the module to one block, without gradients unless training."""
        Xi = batch[0]
        if training or getattr(self.module_, "training", True):
            self._set_training(training)
        mode = nullcontext() if training else torch.inference_mode()
        with mode, self._autocast():
            return self.infer(Xi)

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Apply the module to one batch; of an object with ``logits``, return those."""
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

    def output_proba(self, output: Any) -> Any:
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
