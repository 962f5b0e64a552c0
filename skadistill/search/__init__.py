"""LayerNAS: the best student under a size limit, searched layer by layer."""

from skadistill.search._layernas import layernas
from skadistill.search._search_cv import LayerNASSearchCV
from skadistill.search._size import count_macs, count_params, measure_latency
from skadistill.search._spaces import LayeredCNN, LayeredMLP, cnn_space, mlp_space

__all__ = [
    "LayerNASSearchCV",
    "LayeredCNN",
    "LayeredMLP",
    "cnn_space",
    "count_macs",
    "count_params",
    "layernas",
    "measure_latency",
    "mlp_space",
]
