"""The default student: its network, its loss, and what outputs mean."""

from typing import Any

import torch
from torch import nn

__all__ = [
    "SoftCrossEntropy",
    "Standardize",
    "StudentMLP",
    "auto_dropout",
    "class_probabilities",
    "first_output",
    "logits_of",
    "weighted_mean",
]

# Worth 0.9 points in the mean of 17 fits to 600 rows; 0.2 costs ten on some.
DROPOUT, MANY_ROWS = 0.1, 5000


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

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, output: Any, targets: Any) -> Any:
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


def auto_dropout(n_samples):
    """Choose the share of hidden units to leave out: some if rows are few."""
    return DROPOUT if n_samples < MANY_ROWS else 0.0


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
        self,
        n_features: int,
        n_classes: int,
        n_samples: int = 1000,
        hidden_sizes: Any = "auto",
        dropout: float = 0.0,
    ) -> None:
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


def logits_of(output):
    """Return the logits of an output object, and any other output as it is.

    Models of Hugging Face return an object with an attribute ``logits``, or a
    dictionary with such a key.
    """
    if isinstance(output, torch.Tensor | tuple):
        return output
    if isinstance(output, dict) and "logits" in output:
        return output["logits"]
    return getattr(output, "logits", output)


def first_output(output):
    """Return the part of an output that is compared with targets."""
    return output[0] if isinstance(output, tuple) else output


def weighted_mean(losses, weights, criterion):
    """Average the losses of a batch by the weights of its rows."""
    if losses.ndim == 0:
        if weights is None:
            return losses
        raise ValueError(
            f"criterion {criterion!r} returned one number for a batch of "
            f"{len(weights)} rows, so that sample_weight cannot be applied; let it "
            "return one loss per row, or leave sample_weight out."
        )
    if losses.ndim > 1:
        losses = losses.flatten(1).mean(dim=1)
    if weights is not None:
        losses = losses * weights.to(losses.device)
    return losses.mean()


def class_probabilities(output, nonlinearity, criterion, n_subclasses=1):
    """Turn outputs into probabilities of the classes."""
    if output.dtype is not torch.float64:
        output = output.float()
    if isinstance(nonlinearity, str):
        kind = criterion if isinstance(criterion, type) else type(criterion)
        if issubclass(kind, nn.BCEWithLogitsLoss):
            # Through the logarithm: sigmoids that all underflow still have a sum.
            return torch.softmax(nn.functional.logsigmoid(output), dim=1)
        proba = torch.softmax(output, dim=1)
        if n_subclasses == 1:
            return proba
        return proba.unflatten(1, (-1, n_subclasses)).sum(dim=2)
    proba = output if nonlinearity is None else nonlinearity(output)
    total = proba.sum(dim=1, keepdim=True)
    # A graph that is being written for export has no numbers to look at yet.
    if not torch.compiler.is_compiling() and not _are_probabilities(proba, total):
        raise ValueError(
            "predict_nonlinearity must lead to probabilities, got rows from "
            f"{float(proba.min()):.3g} with sums from {float(total.min()):.3g} to "
            f"{float(total.max()):.3g}; use 'auto' for logits."
        )
    return proba / total


def _are_probabilities(proba, total):
    """Tell whether no entry is negative and the sums of the rows are near 1."""
    return bool((proba >= 0).all()) and bool(((total - 1).abs() < 1e-2).all())
