"""Layers and their options, as positions and as candidates."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["Space", "candidate_params", "same_value"]


class Space:
    """Translate between candidates (dicts of options) and tuples of positions."""

    def __init__(self, layers):
        if not isinstance(layers, Mapping) or not layers:
            raise ValueError(
                "layers must be a mapping from names to options with at least one "
                f"layer, got {layers!r}; pass for example {{'width': [16, 32]}}."
            )
        self.names = list(layers)
        self.options = [_check_options(name, layers[name]) for name in layers]
        self.n_options = [len(options) for options in self.options]

    def candidate(self, choice):
        """Return the candidate that a tuple of positions stands for."""
        chosen = zip(self.names, self.options, choice, strict=True)
        return {name: options[i] for name, options, i in chosen}

    def position(self, layer, option):
        """Return the position of an option; raise if the layer does not list it."""
        for i, listed in enumerate(self.options[layer]):
            if same_value(listed, option):
                return i
        raise ValueError(
            f"default names the option {option!r} for layer {self.names[layer]!r}, "
            f"which lists {self.options[layer]!r}; name one of these."
        )


def _check_options(name, options):
    """Return the options of a layer as a list of at least one, each listed once."""
    if isinstance(options, str) or not isinstance(options, Sequence | np.ndarray):
        raise ValueError(
            f"the options of layer {name!r} must be a sequence, got {options!r}; "
            "pass a list."
        )
    options = options.tolist() if isinstance(options, np.ndarray) else list(options)
    if not options:
        raise ValueError(
            f"layer {name!r} has no options; give it at least one, or leave the "
            "layer out."
        )
    for i, option in enumerate(options):
        if any(same_value(option, other) for other in options[:i]):
            raise ValueError(
                f"layer {name!r} lists the option {option!r} twice; list it once, so "
                "that nothing is trained twice."
            )
    return options


def same_value(a, b):
    """Tell whether two options of any type are the same."""
    if a is b:
        return True
    try:
        return type(a) is type(b) and bool(a == b)
    except ValueError:
        return False


def candidate_params(candidate):
    """Merge the options of a candidate into the parameters they set."""
    params: dict = {}
    for layer, option in candidate.items():
        params.update(option if isinstance(option, Mapping) else {layer: option})
    return params
