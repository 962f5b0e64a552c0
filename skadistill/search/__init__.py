"""LayerNAS: the best student under a size limit, searched layer by layer."""

from skadistill.search._layernas import layernas
from skadistill.search._search_cv import LayerNASSearchCV
from skadistill.search._spaces import LayeredCNN, LayeredMLP, cnn_space, mlp_space

__all__ = [
    "LayerNASSearchCV",
    "LayeredCNN",
    "LayeredMLP",
    "cnn_space",
    "layernas",
    "mlp_space",
]
