"""The callback through which an objective changes weights during training."""

import numpy as np
import torch
from skorch.callbacks import Callback

from skadistill.exceptions import ObjectiveError

__all__ = ["Reweight", "check_new_weights"]


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


def check_new_weights(weights, n_samples):
    """Refuse weights that a student cannot be trained with."""
    fits = weights.shape == (n_samples,) and np.isfinite(weights).all()
    if fits and weights.min() >= 0 and weights.max() > 0:
        return weights
    got = f"shape {weights.shape}"
    if fits:
        got = f"values from {weights.min():g} to {weights.max():g}"
    raise ObjectiveError(
        f"reweight must return {n_samples} finite weights, none negative and some "
        f"positive, got {got}; fix the objective."
    )
