"""Complete the prefixes of a search to whole candidates, and measure sizes once."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from numbers import Real

__all__ = ["COMPLETIONS", "Completion", "Sizes"]

COMPLETIONS = ("fit", "largest", "smallest")


class Sizes:
    """Return the size of a choice, measured once."""

    def __init__(self, space, size):
        self.space = space
        self.size = size
        self._known: dict[tuple, float] = {}

    def __call__(self, choice):
        """Return the size of a choice."""
        if choice not in self._known:
            candidate = self.space.candidate(choice)
            value = self.size(candidate)
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(
                    f"the size of {candidate!r} is {value!r}; return a finite number."
                )
            self._known[choice] = float(value)
        return self._known[choice]


class Completion:
    """Complete prefixes of choices to whole ones."""

    def __init__(self, space, sizes, max_size, default):
        self.sizes = sizes
        self.limit = math.inf if max_size is None else max_size
        self._by_size = _order_options(space, sizes)
        smallest = self.smallest(())
        if sizes(smallest) > self.limit:
            raise ValueError(
                f"max_size={max_size!r} cannot be met: the smallest candidate, "
                f"{space.candidate(smallest)!r}, has size {sizes(smallest):g}; raise "
                "max_size or add smaller options."
            )
        self._fixed = self._fix(space, default)
        n_layers = len(space.n_options)
        self._paths = [self._path(k) for k in range(n_layers + 1)]

    def smallest(self, prefix):
        """Complete by the smallest option of each later layer."""
        return prefix + tuple(order[0] for order in self._by_size[len(prefix) :])

    def complete(self, prefix):
        """Complete by the default."""
        if self._fixed is not None:
            return prefix + self._fixed[len(prefix) :]
        path = self._paths[len(prefix)]
        n_fitting = bisect_right(
            path, self.limit, key=lambda later: self.sizes(prefix + later)
        )
        # The first completion is the smallest; the caller knows that it fits.
        return prefix + path[max(0, n_fitting - 1)]

    def _fix(self, space, default):
        """Return the completion that does not depend on the prefix, if there is one."""
        if isinstance(default, Mapping):
            if set(default) != set(space.names):
                odd = sorted(map(str, set(default) ^ set(space.names)))
                raise ValueError(
                    "default must name an option for each layer, but it and layers "
                    f"differ in {odd}; name every layer once."
                )
            return tuple(
                space.position(layer, default[name])
                for layer, name in enumerate(space.names)
            )
        if default == "smallest":
            return self.smallest(())
        if default == "largest" or math.isinf(self.limit):
            return tuple(order[-1] for order in self._by_size)
        return None

    def _path(self, start):
        """List completions from the smallest to the largest, layers growing evenly."""
        orders = self._by_size[start:]
        levels = [0] * len(orders)
        path = [tuple(order[0] for order in orders)]
        # Each layer's options are spread over (0, 1]: the next step belongs to the
        # layer that lags behind in its own range.
        steps = sorted(
            (level / (len(order) - 1), layer)
            for layer, order in enumerate(orders)
            for level in range(1, len(order))
        )
        for _, layer in steps:
            levels[layer] += 1
            path.append(
                tuple(order[i] for order, i in zip(orders, levels, strict=True))
            )
        return path


def _order_options(space, sizes):
    """Sort the positions of each layer by size, other layers at their first option."""
    reference = [0] * len(space.n_options)
    orders = []
    for layer, n in enumerate(space.n_options):
        alone = []
        for i in range(n):
            choice = [*reference]
            choice[layer] = i
            alone.append((sizes(tuple(choice)), i))
        orders.append([i for _, i in sorted(alone)])
    return orders
