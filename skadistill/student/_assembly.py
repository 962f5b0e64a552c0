"""A skorch net put together by scikit-learn's rules, from parameters and data."""

import copy
import copyreg
import inspect
from contextlib import nullcontext
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, PassthroughScoring, PrintLog
from torch import nn

from skadistill.student._batches import column_moments
from skadistill.student._module import Standardize, StudentMLP, auto_dropout
from skadistill.student._run import seeded
from skadistill.student._state import PickleState, plain_state, restore

__all__ = ["AssembledNet", "parameter_names"]

# How far, as a power of e, AdamW shrinks a weight that no gradient holds up: over
# the whole fit, so that it does not change with lr and the number of steps.
IDLE_DECAY = 1.5


@cache
def _auto_device():
    return "cuda" if torch.cuda.is_available() else "cpu"


class _QuietPrintLog(PrintLog):
    """Print the table of epochs, but do not even format it when verbose is 0."""

    def on_epoch_end(self, net, **kwargs):
        if net.verbose:
            super().on_epoch_end(net, **kwargs)


class AssembledNet(NeuralNet):
    """Hold parameters as scikit-learn does, and make the net's parts from them."""

    # skorch sets these in its constructor, where scikit-learn allows parameters
    # only; defaults on the class mean the same to skorch's own code.
    history_: Any = None
    classes_: Any
    initialized_: bool = False
    virtual_params_: dict[str, Any] = {}
    # skorch finds a net's parts by watching assignments, and takes a module passed
    # as a parameter for a misplaced part. Parts that are declared need no watching.
    prefixes_: Any = [*NeuralNet.prefixes_, "module", "criterion", "optimizer"]
    cuda_dependent_attributes_: Any = ["module_", "criterion_", "optimizer_"]
    _modules = ["module"]
    _criteria = ["criterion"]
    _optimizers = ["optimizer"]
    n_subclasses_: int = 1
    # What lives during a fit only; a callback may save the net from within one.
    _transient: tuple = ()

    # -- parameters --------------------------------------------------------

    @property
    def device(self) -> Any:
        """Device in use. `get_params` and `clone` keep the word "auto"."""
        # skorch reads `self.device` in a dozen places, each of which needs a
        # real device; only the constructor's word must stay as it was given.
        requested = vars(self)["device"]
        if isinstance(requested, str) and requested == "auto":
            return _auto_device()
        return requested

    @device.setter
    def device(self, value: Any) -> None:
        self.__dict__["device"] = value

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters, including those of callbacks.

        Parameters
        ----------
        deep : bool, default=True
            Include ``callbacks__*`` and the parameters of nested estimators.

        Returns
        -------
        params : dict
            Names and values.
        """
        # Past skorch, which reports the callbacks of the last fit; from its list of
        # names only those without underscore are parameters.
        params = self._callback_params() if deep else {}
        found = BaseEstimator.get_params(self, deep=deep)
        params.update((k, v) for k, v in found.items() if not k.startswith("_"))
        params["device"] = vars(self)["device"]
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including those of callbacks, optimizer and module.

        Parameters
        ----------
        **params : dict
            Names as in `get_params`, and any ``module__*``, ``optimizer__*``, ...
            On a fitted net a new ``module__*`` starts a new module, and
            ``optimizer__*`` acts on the optimizer at once.

        Returns
        -------
        self : StudentNet
            The net.
        """
        if "callbacks" in params:
            # skorch would create them at once; here all parameters wait for `fit`.
            self.callbacks = params.pop("callbacks")
        return super().set_params(**params)

    def _callback_params(self):
        """List parameters of the callbacks as they would be created for a fit."""
        params: dict = {}
        if not (self.callbacks is None or isinstance(self.callbacks, list)):
            return params
        # skorch's own naming, which has no public way in.
        for name, callback in self._uniquely_named_callbacks():
            params[f"callbacks__{name}"] = callback
            if isinstance(callback, type) or not hasattr(callback, "get_params"):
                continue
            for key, value in callback.get_params().items():
                params[f"callbacks__{name}__{key}"] = value
        return params

    def get_default_callbacks(self) -> Any:
        """Return skorch's callbacks; the table of epochs can be silent."""
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("print_log", _QuietPrintLog()),
        ]

    # Parameters, as of any estimator; skorch's shows the module's layers.
    __repr__ = BaseEstimator.__repr__

    # -- copies ------------------------------------------------------------

    def __getstate__(self) -> Any:
        # Asked by skops, which writes plain values; skorch's holds a pickle.
        return plain_state(self)

    def __reduce_ex__(self, protocol):
        # Asked by pickle and copy, which carry modules of any kind.
        state = super().__getstate__()
        for name in self._transient:
            state.pop(name, None)
        make = copyreg.__newobj__  # type: ignore[attr-defined]
        return make, (type(self),), PickleState(state)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, PickleState):
            restore(self, state)
            return
        state = dict(state)
        # skorch needs the name of a device to map tensors to; "auto" is put back.
        requested = state["device"]
        if isinstance(requested, str) and requested == "auto":
            state["device"] = _auto_device()
        super().__setstate__(state)
        if isinstance(requested, str) and requested == "auto":
            self.device = requested

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load weights, optimizer state or history, as skorch does."""
        # skorch writes the device that it loaded to; "auto" is put back.
        requested = vars(self)["device"]
        super().load_params(*args, **kwargs)
        if isinstance(requested, str) and requested == "auto":
            self.device = requested

    # -- components, called by skorch's initialize --------------------------

    def _seeded_weights(self, which):
        """Return a context in which a part draws its weights from the fit's seed."""
        if not hasattr(self, "seed_"):
            return nullcontext()
        seed = np.random.SeedSequence([self.seed_, which]).generate_state(1)[0]
        device = torch.device("cpu" if self.device is None else self.device)
        return seeded(int(seed), device, exclusive=True)

    def torch_compile(self, module: Any, name: Any) -> Any:
        """Compile modules if `compile` is set; a loss is one kernel already."""
        return super().torch_compile(module, name) if name in self._modules else module

    def initialize_module(self) -> Self:
        """Create the module, behind the standardizing layer if there is one."""
        with self._seeded_weights(0):
            module = self._make_module()
        moments = getattr(self, "_moments", None)
        if moments is not None:
            shift, scale = (moment.to(self._float_dtype()) for moment in moments)
            module = nn.Sequential(Standardize(shift, scale), module)
        self.module_ = module
        return self

    def _make_module(self):
        """Create the module from the parameters and from what the data told."""
        make = StudentMLP if self._is_default_module() else self.module
        kwargs = self.get_params_for("module")
        if isinstance(make, nn.Module):
            if not kwargs:
                return copy.deepcopy(make)
            make = type(make)
        if not callable(make):
            raise TypeError(
                "module must be 'auto', a class, a function that returns a torch "
                f"module, or a module, got {self.module!r}; pass one of these."
            )
        named = parameter_names(make)
        known = {k: v for k, v in self._data_sizes().items() if k in named}
        if self._is_default_module():
            known["dropout"] = auto_dropout(self._n_samples)
        module = make(**{**known, **kwargs})
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"module {self.module!r} must return a torch.nn.Module, got "
                f"{type(module).__name__}; return the network itself."
            )
        return module.to(self._float_dtype()) if self._is_default_module() else module

    def _standardizes(self):
        if isinstance(self.standardize, str):
            return self._is_default_module()
        return bool(self.standardize)

    def _measure(self, rows, weights):
        """Compute what the standardizing layer subtracts and divides by."""
        self._moments = None
        if self._standardizes():
            self._moments = column_moments(rows, weights, channels=True)

    def _data_sizes(self):
        """List what a module's signature may ask for."""
        sizes: dict = {}
        if hasattr(self, "_input_shape"):
            sizes["input_shape"] = self._input_shape
            sizes["n_features"] = self._input_shape[0]
            sizes["n_samples"] = self._n_samples
        if hasattr(self, "classes_"):
            sizes["n_classes"] = len(self.classes_) * self.n_subclasses_
        return sizes

    def initialize_criterion(self) -> Self:
        """Create the criterion, without reduction if it has that parameter."""
        with self._seeded_weights(1):
            self.criterion_ = self._make_criterion()
        return self

    def _make_criterion(self):
        """Create the criterion from the parameters."""
        kwargs = self.get_params_for("criterion")
        criterion = self.criterion
        if isinstance(criterion, nn.Module):
            if not kwargs:
                return copy.deepcopy(criterion)
            criterion = type(criterion)
        if "reduction" in parameter_names(criterion):
            kwargs.setdefault("reduction", "none")
        return criterion(**kwargs)

    def initialize_optimizer(self, triggered_directly: Any = None) -> Self:
        """Create the optimizer, with fused kernels if it has them."""
        args, kwargs = self.get_params_for_optimizer(
            "optimizer", self.get_all_learnable_params()
        )
        if (
            self.optimizer is torch.optim.AdamW
            and "weight_decay" not in kwargs
            and hasattr(self, "_n_samples")
        ):
            # The learning rates of a cosine sum to about half of lr times steps.
            steps = max(1, self.max_epochs_) * -(-self._n_samples // self.batch_size_)
            kwargs["weight_decay"] = min(1.0, 2 * IDLE_DECAY / (kwargs["lr"] * steps))
        implementations = {"fused", "foreach", "capturable", "differentiable"}
        if "fused" in parameter_names(self.optimizer) and not (
            implementations & set(kwargs)
        ):
            try:
                self.optimizer_ = self.optimizer(*args, **kwargs, fused=True)
                return self
            except RuntimeError:
                # No fused kernel for this device or this torch. The attempt has
                # left its defaults in the groups: collect them anew.
                args, _ = self.get_params_for_optimizer(
                    "optimizer", self.get_all_learnable_params()
                )
        self.optimizer_ = self.optimizer(*args, **kwargs)
        return self

    def _is_default_module(self):
        return isinstance(self.module, str) and self.module == "auto"

    def _torch_input_dtype(self):
        if self.input_dtype is None:
            return None
        dtype = getattr(torch, str(self.input_dtype).removeprefix("torch."), None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(
                "input_dtype must be the name of a torch type or None, got "
                f"{self.input_dtype!r}; use for example 'float32' or 'int64'."
            )
        return dtype

    def _float_dtype(self):
        """Name the precision of weights and moments."""
        return torch.float64 if self.input_dtype == "float64" else torch.float32


def parameter_names(function):
    """Return the names of the parameters of a class or function, if known."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()
