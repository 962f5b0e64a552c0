"""What a module returns, and what it means: logits, losses, probabilities."""

import torch
from torch import nn

__all__ = ["class_probabilities", "first_output", "logits_of", "weighted_mean"]


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
