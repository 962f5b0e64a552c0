"""The callback through which an objective changes weights during training."""

import numpy as np
import torch
from skorch.callbacks import Callback

from skadistill.student._checks import check_new_weights

__all__ = ["Reweight"]


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
