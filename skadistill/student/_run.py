"""What belongs to one fit: its sizes, seeds, schedule, new weights, and its end."""

import math
import secrets
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch.callbacks import Callback

from skadistill.student._checks import check_new_weights

__all__ = ["Reweight", "Run", "StopTraining", "draw_seed", "planned_sizes", "seeded"]


class StopTraining(Exception):
    """A callback asks to end the training in good order."""


@dataclass
class Run:
    """Hold what lives during one fit and no longer."""

    generator: torch.Generator  # of the order of the rows
    base_lrs: list  # pairs of an optimizer's group and its largest learning rate
    schedule: bool  # whether learning rates follow the cosine
    scaler: Any  # of gradients, under "fp16"
    on_grad: bool  # whether anybody listens to gradients
    general: bool  # whether steps go through skorch's closures
    loss: Any  # of a lesson that brings one, in place of the criterion
    ctrl_c_came: Callable[[], bool]
    step: int = 0
    n_steps: int = 0
    each_batch: bool = False  # whether hooks are called between the steps

    def begin_step(self):
        """Set the learning rates of the next step."""
        if self.schedule:
            factor = cosine_factor(self.step, self.n_steps)
            for group, lr in self.base_lrs:
                group["lr"] = lr * factor
        self.step += 1

    def restore_learning_rates(self):
        """Put back the learning rates from before the schedule."""
        for group, lr in self.base_lrs if self.schedule else ():
            group["lr"] = lr


def cosine_factor(step, n_steps):
    """Return the share of the largest learning rate that applies to a step."""
    warm = max(1, n_steps // 20)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))


def planned_sizes(n_samples, batch_size, max_epochs):
    """Return what the parameters `batch_size` and `max_epochs` come to."""
    if isinstance(batch_size, str):
        batch_size = min(256, max(32, 2 ** round(math.log2(max(n_samples, 1) / 16))))
    elif batch_size == -1:
        batch_size = n_samples
    batch_size = max(1, min(int(batch_size), n_samples))
    if isinstance(max_epochs, str):
        steps = -(-n_samples // batch_size)
        budget = 1000 * max(0.8, (n_samples / 1000) ** 0.4)
        max_epochs = max(5, math.ceil(budget / steps))
    return batch_size, int(max_epochs)


# Held while torch's shared generators are swapped, so that two threads that
# initialize students at the same time do not draw from each other's seed.
_LOCK = threading.RLock()


def draw_seed(random_state):
    """Turn a `random_state` into one integer seed."""
    if random_state is None:
        return secrets.randbits(32)
    # Through RandomState for ints as well: it refuses what scikit-learn refuses.
    return int(check_random_state(random_state).randint(2**32, dtype="uint32"))


@contextmanager
def seeded(seed, device, *, exclusive=False):
    """Seed torch's shared generators inside a block and restore them after it."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    _LOCK.acquire()
    held = True
    try:
        states = [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(seed)
        if not exclusive:
            _LOCK.release()
            held = False
        yield
    finally:
        if not held:
            _LOCK.acquire()
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        _LOCK.release()


class Reweight(Callback):
    """Ask an objective for new row weights before each epoch but the first."""

    def __init__(self, table, reweight):
        self.table = table
        self.reweight = reweight
        self.base_weights = table.weights

    def on_epoch_begin(self, net, **kwargs):
        """Replace the weights, unless the net has not been trained yet."""
        if len(net.history) < 2:
            return
        new = np.asarray(self.reweight(self._proba(net)), dtype=np.float64)
        new = check_new_weights(new, len(self.table))
        weights = torch.from_numpy(new).to(self.table.targets)
        if self.base_weights is not None:
            weights = weights * self.base_weights
        self.table.weights = weights / weights.mean()

    def _proba(self, net):
        """Return the net's probabilities of the training rows, in their order."""
        blocks = []
        for batch in net.get_iterator(self.table, training=False):
            output = net.evaluation_step(batch)
            with torch.inference_mode():
                blocks.append(net.output_proba(output).cpu())
        return torch.cat(blocks).numpy()
