"""The loss of a lesson, for students that are networks."""

from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["LessonLoss"]


class LessonLoss(nn.Module):
    """Compute the loss of a lesson in a numerically safe form.

    The parts of a row are packed into one row of numbers next to its targets, so that
    batching, moving to devices and shuffling do not depend on objectives.

    A mixture :math:`\\alpha f + s (1 - f)` with :math:`s > 0` lies between
    :math:`s` and :math:`\\alpha`, so its logarithm and gradient are finite for any
    logits. With :math:`s = 0` it is :math:`\\alpha f`, whose logarithm is taken
    through the log-softmax.
    """

    def __init__(self, lesson):
        super().__init__()
        self.n_classes = lesson.targets.shape[1]
        self.n_subclasses = lesson.n_subclasses
        self.parts = [name for name, part in _columns(lesson) if part is not None]

    @staticmethod
    def pack(lesson):
        """Pack the parts of each row into one row of numbers."""
        parts = [part for _, part in _columns(lesson) if part is not None]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def unpack(self, packed):
        """Split packed columns into the parts of a lesson."""
        n_sub = self.n_classes * self.n_subclasses
        sizes = {"temperature": 1, "alpha": 1, "subclasses": n_sub}
        widths = [sizes.get(name, self.n_classes) for name in self.parts]
        return dict(zip(self.parts, packed.split(widths, dim=1), strict=True))

    def forward(self, output, packed):
        """Return one loss per row."""
        parts: dict[str, Any] = self.unpack(packed)
        targets, temperature = parts["targets"], parts.get("temperature")
        if temperature is not None:
            output = output / temperature
        log_sub = torch.log_softmax(output, dim=1)
        log_sub = log_sub.unflatten(1, (self.n_classes, self.n_subclasses))
        log_f = log_sub.squeeze(2) if self.n_subclasses == 1 else log_sub.logsumexp(2)
        loss = -(targets * self._log_mixture(log_f, parts)).sum(dim=1)
        if "subclasses" in parts:
            loss = loss + self._within(log_sub - log_f.unsqueeze(2), parts)
        if temperature is not None:
            loss = loss * temperature.squeeze(1) ** 2
        return loss

    def _log_mixture(self, log_f, parts):
        """Return the logarithm of the mixture, or of the student alone."""
        alpha, spread = parts.get("alpha"), parts.get("spread")
        own = log_f if alpha is None else log_f + alpha.log()
        if spread is None:
            return own
        f = log_f.exp()
        mixture = (1.0 if alpha is None else alpha) * f + spread * (1 - f)
        mixes = spread > 0
        # The branch that is not taken must not produce 0 / 0 in the gradient.
        return torch.where(mixes, torch.where(mixes, mixture, 1.0).log(), own)

    def _within(self, log_given_class, parts):
        """Return the cross-entropy within the classes, 0 if it is unknown."""
        within = parts["subclasses"].unflatten(1, (self.n_classes, -1))
        # 0 * NaN is NaN: unknown rows become zeros before they are multiplied.
        within = torch.nan_to_num(within, nan=0.0)
        mass = parts["targets"].unsqueeze(2) * within
        return -(mass * log_given_class).sum(dim=(1, 2))


def _columns(lesson):
    """List the fields of a lesson that the loss reads, each as columns."""
    subclasses = lesson.subclasses
    return [
        ("targets", lesson.targets),
        ("temperature", _as_column(lesson.temperature)),
        ("alpha", _as_column(lesson.alpha)),
        ("spread", lesson.spread),
        ("subclasses", None if subclasses is None else _flat(subclasses)),
    ]


def _as_column(values):
    return None if values is None else values[:, None]


def _flat(subclasses):
    return subclasses.reshape(len(subclasses), -1)
