"""A net as plain values: what skops writes, which loads without running code."""

import json
from typing import Any

import numpy as np
import torch
from skorch.history import History
from torch import nn

__all__ = ["PickleState", "plain_state", "restore"]

# What `initialize` makes anew from the parameters and from what the data told.
REMADE = {
    *("callbacks_", "history_", "init_context_", "initialized_", "prefixes_"),
    *("virtual_params_", "cuda_dependent_attributes_"),
    *("_modules", "_criteria", "_optimizers"),
}


class PickleState(dict):
    """Mark the state of a net on its way through pickle.

    It holds a pickle inside, which only what came out of a pickle may open: plain
    values that skops has read are never taken for it.
    """


def plain_state(net):
    """Describe a net by values that need no pickle."""
    if getattr(net, "_trimmed_for_prediction", False):
        raise TypeError(
            "the net was trimmed for prediction, so that its parts cannot be created "
            "when it is loaded; save it before it is trimmed, or use pickle or joblib."
        )
    for name in ("module", "criterion"):
        part = getattr(net, name)
        if isinstance(part, nn.Module):
            raise TypeError(
                f"{name} is an instance of {type(part).__name__}, which cannot be "
                f"written without pickle; pass the class and {name}__* parameters, or "
                "use pickle or joblib."
            )
    parts = _parts(net) if net.initialized_ else []
    left_out = {*REMADE, *net._transient, *(f"{name}_" for name in parts)}
    state = {
        name: _without_tensors(value)
        for name, value in vars(net).items()
        if name not in left_out
    }
    if parts:
        state["weights"] = {
            name: _without_tensors(getattr(net, f"{name}_").state_dict())
            for name in parts
        }
        state["history"] = json.dumps(net.history.to_list(), default=_plain_number)
    return state


def restore(net, state):
    """Make a net again from what `plain_state` returned."""
    state = {name: _with_tensors(value) for name, value in state.items()}
    weights = state.pop("weights", None)
    history = state.pop("history", None)
    vars(net).update(state)
    if weights is None:
        return
    net.initialize()
    for name, part_state in weights.items():
        getattr(net, f"{name}_").load_state_dict(part_state)
    net.history_ = History(json.loads(history))


def _parts(net):
    """Name the parts that hold weights or state, without their underscore."""
    names = [*net._modules, *net._criteria, *net._optimizers]
    return [name for name in names if hasattr(getattr(net, f"{name}_"), "state_dict")]


def _without_tensors(value: Any):
    """Replace tensors, at any depth, by arrays that say they were tensors."""
    if isinstance(value, torch.Tensor):
        name = str(value.dtype).removeprefix("torch.")
        value = value.detach().cpu()
        # numpy knows no bfloat16; float32 holds each of its numbers.
        value = value.float() if value.dtype is torch.bfloat16 else value
        return {"tensor": value.numpy(), "dtype": name}
    if isinstance(value, dict):
        return {key: _without_tensors(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_without_tensors(item) for item in value)
    return value


def _with_tensors(value: Any):
    """Undo `_without_tensors`."""
    if isinstance(value, dict):
        if value.keys() == {"tensor", "dtype"}:
            dtype = getattr(torch, value["dtype"])
            return torch.from_numpy(np.array(value["tensor"])).to(dtype)
        return {key: _with_tensors(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_tensors(item) for item in value)
    return value


def _plain_number(value):
    """Return a number of numpy or torch as Python's."""
    return value.item()
