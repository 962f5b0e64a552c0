"""What lives during one fit: its sizes, its schedule, its order to stop."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Run", "StopTraining", "planned_sizes"]


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
