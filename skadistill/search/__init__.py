"""LayerNAS: the best student under a cost limit, searched layer by layer."""

from skadistill.search._cost import count_macs, count_params, measure_latency
from skadistill.search._layernas import LayerNASResult, estimate_evaluations, layernas
from skadistill.search._search_cv import LayerNASSearchCV
from skadistill.search._spaces import LayeredCNN, LayeredMLP, cnn_space, mlp_space

__all__ = [
    "LayerNASResult",
    "LayerNASSearchCV",
    "LayeredCNN",
    "LayeredMLP",
    "cnn_space",
    "count_macs",
    "count_params",
    "estimate_evaluations",
    "layernas",
    "measure_latency",
    "mlp_space",
]
