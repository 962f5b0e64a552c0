"""Networks with one parameter per layer, and search spaces over them."""

from itertools import product
from typing import Any

import torch
from torch import nn

from skadistill.student import StudentMLP

__all__ = ["LayeredCNN", "LayeredMLP", "cnn_space", "mlp_space"]

MLP_WIDTHS = (16, 32, 64, 128, 256)
CNN_WIDTHS = (8, 16, 32, 64)


class LayeredMLP(StudentMLP):
    """Stack linear layers with one width parameter per layer.

    This is a :class:`~skadistill.student.StudentMLP` for searches: it has one
    parameter per layer instead of one tuple for all.

    Parameters
    ----------
    n_features : int
        Number of columns.
    n_classes : int
        Number of outputs (logits).
    dropout : float, default=0.0
        Share of hidden units left out at each training step.
    **widths : int
        ``width_1``, ``width_2``, ...: units of each hidden layer. 0 skips the layer.

    Examples
    --------
    >>> from skadistill.search import LayeredMLP
    >>> LayeredMLP(16, 3, width_1=32, width_2=0)
    LayeredMLP(
      (0): Linear(in_features=16, out_features=32, bias=True)
      (1): ReLU()
      (2): Linear(in_features=32, out_features=3, bias=True)
    )
    """

    def __init__(
        self, n_features: int, n_classes: int, dropout: float = 0.0, **widths: Any
    ) -> None:
        hidden_sizes = [width for width in _numbered(widths, "width") if width]
        super().__init__(
            n_features, n_classes, hidden_sizes=hidden_sizes, dropout=dropout
        )


class LayeredCNN(nn.Sequential):
    """Stack convolutional blocks with width and kernel parameters per block.

    A block is a convolution, batch normalization, a ReLU and, while there is more
    than one pixel, max pooling by two. The mean over pixels goes into a linear layer.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width of an image.
    n_classes : int
        Number of outputs (logits).
    **settings : int
        ``width_1``, ``width_2``, ...: channels of each block, 0 skips it.
        ``kernel_1``, ``kernel_2``, ...: odd kernel sizes, 3 if not given.

    Examples
    --------
    >>> from skadistill.search import LayeredCNN
    >>> net = LayeredCNN((3, 32, 32), 10, width_1=16, kernel_1=5, width_2=32)
    >>> sum(p.numel() for p in net.parameters())
    6234
    """

    def __init__(
        self, input_shape: tuple[Any, ...], n_classes: int, **settings: Any
    ) -> None:
        channels, *size = input_shape
        kernels = {k: v for k, v in settings.items() if k.startswith("kernel_")}
        widths = {k: v for k, v in settings.items() if k not in kernels}
        _numbered(kernels, "kernel")
        layers: list[Any] = []
        for name in _numbered_names(widths, "width"):
            if not (width := widths[name]):
                continue
            kernel = kernels.get(name.replace("width", "kernel"), 3)
            layers += [
                nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            if min(size) > 1:
                layers.append(nn.MaxPool2d(2))
                size = [pixels // 2 for pixels in size]
            channels = width
        layers += [
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, n_classes),
        ]
        super().__init__(*layers)
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)


def _numbered_names(settings, noun):
    """Sort names like "width_10" by their number; raise for other names."""
    for name in settings:
        number = name.removeprefix(f"{noun}_")
        if number == name or not number.isdecimal():
            raise TypeError(
                f"got an unexpected keyword argument {name!r}; layers are called "
                f"{noun}_1, {noun}_2, ..."
            )
    return sorted(settings, key=lambda name: int(name.rpartition("_")[2]))


def _numbered(settings, noun):
    return [settings[name] for name in _numbered_names(settings, noun)]


def mlp_space(
    n_layers: int = 3,
    widths: Any = MLP_WIDTHS,
    *,
    skip: bool = True,
    prefix: Any = "module__",
) -> dict[str, Any]:
    """Return a search space over the widths of a :class:`LayeredMLP`.

    Parameters
    ----------
    n_layers : int, default=3
        Largest number of hidden layers.
    widths : sequence of int, default=(16, 32, 64, 128, 256)
        Numbers of units to try.
    skip : bool, default=True
        Whether a layer may be left out, so that the depth is searched, too.
    prefix : str, default ``"module__"``
        Prefix of each parameter, for example ``"student__module__"`` within an
        ``ActiveDistiller``.

    Returns
    -------
    layers : dict
        For :class:`LayerNASSearchCV` over a
        ``StudentNet(LayeredMLP, standardize=True)``.

    Examples
    --------
    >>> from skadistill.search import mlp_space
    >>> mlp_space(2, [8, 16])
    {'module__width_1': [0, 8, 16], 'module__width_2': [0, 8, 16]}
    """
    options = [0, *widths] if skip else list(widths)
    return {f"{prefix}width_{i}": list(options) for i in range(1, n_layers + 1)}


def cnn_space(
    n_blocks: int = 3,
    widths: Any = CNN_WIDTHS,
    kernels: Any = (3, 5),
    *,
    skip: bool = True,
    prefix: Any = "module__",
) -> dict[str, Any]:
    """Return a search space over the widths and kernels of a :class:`LayeredCNN`.

    Parameters
    ----------
    n_blocks : int, default=3
        Largest number of blocks.
    widths : sequence of int, default=(8, 16, 32, 64)
        Numbers of channels to try.
    kernels : sequence of int, default=(3, 5)
        Odd kernel sizes to try.
    skip : bool, default=True
        Whether a block other than the first may be left out.
    prefix : str, default ``"module__"``
        Prefix of each parameter.

    Returns
    -------
    layers : dict
        For :class:`LayerNASSearchCV` over a ``StudentNet(LayeredCNN)``. Each option
        sets two parameters.

    Examples
    --------
    >>> from skadistill.search import cnn_space
    >>> space = cnn_space(2, [8], [3, 5], prefix="")
    >>> space["block_1"]
    [{'width_1': 8, 'kernel_1': 3}, {'width_1': 8, 'kernel_1': 5}]
    >>> space["block_2"][0]
    {'width_2': 0, 'kernel_2': 3}
    """
    layers = {}
    for i in range(1, n_blocks + 1):
        settings = list(product(widths, kernels))
        if skip and i > 1:
            settings.insert(0, (0, kernels[0]))
        layers[f"block_{i}"] = [
            {f"{prefix}width_{i}": width, f"{prefix}kernel_{i}": kernel}
            for width, kernel in settings
        ]
    return layers
