"""The default student: an MLP sized from the data, and the layer that scales."""

from typing import Any

import torch
from torch import nn

__all__ = ["SoftCrossEntropy", "Standardize", "StudentMLP", "auto_hidden_sizes"]


class SoftCrossEntropy(nn.Module):
    r"""Measure the cross-entropy of logits against rows of probabilities.

    For a row with target :math:`t` and logits :math:`z` the loss is
    :math:`-\sum_c t_c \log \mathrm{softmax}(z)_c`, the Kullback-Leibler
    divergence from student to target plus the target's entropy, which does not
    depend on the student.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of each target moved to the uniform distribution, in ``[0, 1)``.

    Examples
    --------
    >>> import torch
    >>> from skadistill.student import SoftCrossEntropy
    >>> SoftCrossEntropy()(torch.zeros(2, 4), torch.full((2, 4), 0.25))
    tensor([1.3863, 1.3863])
    """

    def __init__(self, label_smoothing=0.0):
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, output, targets):
        """Return one loss per row.

        Parameters
        ----------
        output : torch.Tensor of shape (n_samples, n_classes)
            Logits.
        targets : torch.Tensor of shape (n_samples, n_classes) or (n_samples,)
            Probabilities, or positions of classes.

        Returns
        -------
        loss : torch.Tensor of shape (n_samples,)
            Cross-entropies in nats.
        """
        return nn.functional.cross_entropy(
            output, targets, reduction="none", label_smoothing=self.label_smoothing
        )


class Standardize(nn.Module):
    """Shift and scale each column by numbers fixed at training time.

    The numbers are buffers: they are saved with the weights, and never trained.
    """

    def __init__(self, shift, scale, limit=8.0):
        super().__init__()
        self.limit = limit
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, X):
        """Return the standardized batch."""
        Z = (X - self.shift) / self.scale
        return Z.clamp_(-self.limit, self.limit)


def auto_hidden_sizes(n_samples):
    """Choose the widths of the hidden layers from the number of training rows."""
    width = 64
    while width < 256 and width < 5 * n_samples**0.5:
        width *= 2
    return (width, width)


class StudentMLP(nn.Sequential):
    """Stack linear layers with rectifiers between them.

    Parameters
    ----------
    n_features : int
        Number of columns.
    n_classes : int
        Number of outputs (logits).
    n_samples : int, default=1000
        Number of training rows, for ``hidden_sizes="auto"``.
    hidden_sizes : "auto" or sequence of int, default="auto"
        Widths of the hidden layers; an empty sequence is a linear student.
    dropout : float, default=0.0
        Share of hidden units left out at each training step.

    Examples
    --------
    >>> from skadistill.student import StudentMLP
    >>> StudentMLP(16, 3, hidden_sizes=(32,))
    StudentMLP(
      (0): Linear(in_features=16, out_features=32, bias=True)
      (1): ReLU()
      (2): Linear(in_features=32, out_features=3, bias=True)
    )
    """

    def __init__(
        self, n_features, n_classes, n_samples=1000, hidden_sizes="auto", dropout=0.0
    ):
        if isinstance(hidden_sizes, str):
            if hidden_sizes != "auto":
                raise ValueError(
                    "hidden_sizes must be 'auto' or a sequence of widths, got "
                    f"{hidden_sizes!r}; pass for example (128, 128)."
                )
            hidden_sizes = auto_hidden_sizes(n_samples)
        layers: list[Any] = []
        width_in = n_features
        for width in hidden_sizes:
            layers += [nn.Linear(width_in, width), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width_in = width
        layers.append(nn.Linear(width_in, n_classes))
        super().__init__(*layers)
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        # Start near the uniform distribution: the first steps then move toward
        # the targets instead of undoing confident noise.
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)
