"""How torch is driven: epochs, steps, losses and mixed precision."""

import inspect
from contextlib import suppress

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.utils import TeeGenerator
from torch.utils.data import Subset

from skadistill._utils.interrupts import noted_interrupts
from skadistill.objectives._loss import LessonLoss
from skadistill.student._batches import Rows, TableDataset
from skadistill.student._checks import (
    check_same_classes,
    check_same_subclasses,
    check_weights,
    label_positions,
    one_hot,
)
from skadistill.student._loading import TableNet
from skadistill.student._outputs import first_output, weighted_mean
from skadistill.student._reweight import Reweight
from skadistill.student._run import Run, StopTraining, planned_sizes
from skadistill.student._seeding import draw_seed, seeded

__all__ = ["TrainableNet"]

# One-hot rows are kept for the whole fit below this size, made per batch above.
ONE_HOT_BYTES = 2**28
_ROUTES = "_routing_method" in inspect.signature(NeuralNet.fit_loop).parameters


class TrainableNet(TableNet):
    """Train the parts of a net about as fast as a plain torch loop."""

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
        """Replace targets by labels, which scorers compare with."""
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
        output = first_output(y_pred)
        if targets.ndim == 1:
            targets = one_hot(targets, len(self.classes_))
        if targets.device != output.device or targets.dtype != output.dtype:
            dtype = torch.float64 if output.dtype is torch.float64 else torch.float32
            targets = targets.to(output.device, dtype)
        return weighted_mean(self.row_loss(y_pred, targets), weights, self.criterion)

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
