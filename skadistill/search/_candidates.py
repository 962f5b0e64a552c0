"""Candidates of a search: options, completions, sizes, buckets and known results."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
from scipy.stats import rankdata

__all__ = [
    "COMPLETIONS",
    "Completion",
    "KnownResults",
    "Sizes",
    "Space",
    "bucket_numbers",
    "candidate_params",
    "layer_bound",
    "resolve_buckets",
]

COMPLETIONS = ("fit", "largest", "smallest")
DEFAULT_BUCKETS = 8
# With fewer buckets, half of the evaluations are not enough for the layers.
FEWEST_BUCKETS = 3


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


def layer_bound(n_options, n_buckets, n_replicas):
    """Bound the candidates that the layers score, without refinement."""
    kept = math.inf if n_buckets is None else n_buckets * n_replicas
    total, prefixes = 0, 1
    for n in n_options:
        total += n * min(kept, prefixes)
        prefixes *= n
    return min(total, prefixes)


def resolve_buckets(n_options, n_buckets, n_replicas, max_evaluations):
    """Replace "auto" by a number of buckets, and check it against the evaluations."""
    automatic = n_buckets == "auto"
    if max_evaluations is None:
        return DEFAULT_BUCKETS if automatic else n_buckets
    largest = _most_buckets(n_options, n_replicas, max_evaluations)
    if largest < 1:
        raise ValueError(
            f"max_evaluations={max_evaluations} is too few: with one bucket and "
            f"n_replicas={n_replicas} the layers may need "
            f"{layer_bound(n_options, 1, n_replicas)} evaluations; allow as many, or "
            "give fewer options."
        )
    if automatic:
        half = _most_buckets(n_options, n_replicas, max_evaluations // 2)
        return max(half, min(FEWEST_BUCKETS, largest))
    needed = layer_bound(n_options, n_buckets, n_replicas)
    if needed > max_evaluations:
        raise ValueError(
            f"max_evaluations={max_evaluations} is too few for n_buckets={n_buckets}, "
            f"which may need {needed}; pass n_buckets={largest} or n_buckets='auto'."
        )
    return n_buckets


def _most_buckets(n_options, n_replicas, max_evaluations):
    """Return the largest number of buckets that the evaluations allow, or 0."""
    # More buckets than prefixes before the last layer change nothing.
    useful = max(1, math.prod(n_options[:-1]))
    counts = range(1, min(useful, max_evaluations) + 1)
    # The bound grows with the number of buckets, so that it can be bisected.
    return bisect_right(
        counts, max_evaluations, key=lambda n: layer_bound(n_options, n, n_replicas)
    )


def bucket_numbers(sizes, n_buckets):
    """Sort sizes into buckets of equal width between the smallest and the largest."""
    sizes = np.asarray(sizes, dtype=np.float64)
    if n_buckets is None:
        return np.unique(sizes, return_inverse=True)[1].tolist()
    low, width = sizes.min(), np.ptp(sizes) / n_buckets
    if width == 0:
        return [0] * len(sizes)
    # The largest size would be the first of a bucket too many.
    return np.minimum((sizes - low) / width, n_buckets - 1).astype(int).tolist()


class KnownResults:
    """Look up candidates in the ``cv_results_`` of an earlier search."""

    def __init__(self, previous):
        self.previous = previous
        self.params = [] if previous is None else list(previous["params"])

    def row(self, params):
        """Return the position of a candidate among the earlier ones, or None."""
        for row, known in enumerate(self.params):
            if known.keys() == params.keys() and all(
                same_value(known[name], params[name]) for name in params
            ):
                return row
        return None

    def complete(self, settings, train, column_of):
        """Score candidates: known ones by looking them up, the others by training."""
        rows = [self.row(params) for params in settings]
        scores = np.empty(len(settings))
        new = [i for i, row in enumerate(rows) if row is None]
        if new:
            scores[new] = train([settings[i] for i in new])
        if len(new) < len(rows):
            column = self.previous[column_of(self.previous)]
            old = [i for i, row in enumerate(rows) if row is not None]
            scores[old] = [column[rows[i]] for i in old]
        return scores

    def merge_into(self, results, settings):
        """Insert the rows of known candidates among those just trained."""
        if self.previous is None:
            return
        trained = KnownResults(results)
        n_trained = len(trained.params)
        order = []
        for params in settings:
            row = trained.row(params)
            order.append(n_trained + self.row(params) if row is None else row)
        for name, column in results.items():
            if name == "params":
                continue
            earlier = self.previous.get(name, np.full(len(self.params), np.nan))
            results[name] = np.ma.concatenate([column, earlier])[order]
            if not isinstance(column, np.ma.MaskedArray):
                results[name] = np.ma.getdata(results[name])
        results["params"] = settings
        for name in results:
            if name.startswith("rank_"):
                means = results[name.replace("rank_", "mean_")]
                ranks = rankdata(-np.nan_to_num(means, nan=-np.inf), method="min")
                results[name] = ranks.astype(np.int32)
