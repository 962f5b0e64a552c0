"""LayerNAS: search layer by layer, keeping the best prefix of each cost."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

__all__ = ["LayerNASResult", "estimate_evaluations", "layernas"]

DEFAULT_BUCKETS = 8
# Below this, half of a budget is not enough for the layers.
FEWEST_BUCKETS = 3
COMPLETIONS = ("fit", "largest", "smallest")


@dataclass(frozen=True)
class LayerNASResult:
    """Hold what a layerwise search has seen and what it chose.

    Attributes
    ----------
    candidates : list of dict
        Every candidate scored, in the order in which it was; layer name -> option.
    scores : ndarray of shape (n_candidates,)
        Their scores, higher is better.
    costs : ndarray of shape (n_candidates,)
        Their costs.
    steps : ndarray of int of shape (n_candidates,)
        The step that asked for each: the position of the layer, counted from 0;
        the number of layers and above for steps of refinement.
    best_index : int
        Position of the choice.
    n_buckets : int or None
        What ``n_buckets="auto"`` came to.
    """

    candidates: list
    scores: np.ndarray
    costs: np.ndarray
    steps: np.ndarray
    best_index: int
    n_buckets: int | None

    @property
    def best_candidate(self):
        """Return the chosen candidate, a dict."""
        return self.candidates[self.best_index]

    @property
    def best_score(self):
        """Return its score."""
        return float(self.scores[self.best_index])

    @property
    def best_cost(self):
        """Return its cost."""
        return float(self.costs[self.best_index])

    @property
    def n_evaluations(self):
        """Return the number of candidates scored."""
        return len(self.candidates)


def layernas(
    evaluate,
    cost,
    layers,
    *,
    max_cost=None,
    n_buckets="auto",
    n_replicas=1,
    default="fit",
    max_evaluations=None,
):
    r"""Find the best candidate under a cost limit, one layer after the other.

    Candidates choose one of the options :math:`S_l` in each of :math:`L` layers.
    Layer by layer, every prefix that was kept is extended by every option; the
    layers that follow are completed by a default, and the completed candidates are
    scored. Prefixes are sorted into :math:`H` buckets by cost, and each bucket
    keeps its :math:`R` best. So about :math:`H R |S| L` candidates are scored
    instead of :math:`|S|^L`.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(candidates) -> scores``: takes a list of dicts (layer name ->
        option) and returns one number each, higher is better; NaN counts as the
        worst. It is called once for each layer, and no candidate is ever passed to
        it twice.
    cost : callable
        ``cost(candidate) -> float``. It is called often, never twice for one
        candidate, and before `evaluate` is called for that candidate.
    layers : mapping of str to sequence
        The options of each layer, in the order in which layers are decided.
    max_cost : float or None, default=None
        The largest cost allowed for the result. None: no limit.
    n_buckets : int, "auto" or None, default="auto"
        Number :math:`H` of buckets, all of one width, between the cheapest and the
        dearest admissible prefix of a layer. None: a bucket for each distinct cost.
        "auto": as many as by :func:`estimate_evaluations` need at most half of
        `max_evaluations`, the other half being for refinement, but 3 where all of
        them allow it; without `max_evaluations`, 8.
    n_replicas : int, default=1
        Number :math:`R` of prefixes that a bucket keeps. More of them guard against
        noisy scores.
    default : {"fit", "largest", "smallest"} or mapping, default="fit"
        How the layers that follow a prefix are completed before it is scored.
        "largest" and "smallest": by their dearest or cheapest options. "fit": by the
        largest ones with which the candidate stays within `max_cost`, the layers
        growing evenly; without a limit this is "largest". A mapping names an option
        for each layer.
    max_evaluations : int or None, default=None
        Number of candidates to score at most. What the layers leave of it is spent on
        refinement: the best candidate within `max_cost` becomes the default and
        every layer in turn tries its other options on it, then the next best, until
        the evaluations are spent or no candidate is left to refine. None: no
        refinement.

    Returns
    -------
    result : LayerNASResult
        All candidates scored, and the choice.

    Raises
    ------
    ValueError
        Before anything is scored, if a layer is empty or lists an option twice, if
        even the cheapest candidate costs more than `max_cost`, or if
        `max_evaluations` is too small for `n_buckets`.

    See Also
    --------
    LayerNASSearchCV : The same search over an estimator's parameters.
    estimate_evaluations : How many candidates would be scored.

    Notes
    -----
    *When it is exact.* The method assumes that whatever makes the best prefix of a
    bucket best also makes its continuations best. This holds where scores and
    costs are sums over layers and no bucket mixes costs (``n_buckets=None``): the
    method is then the dynamic programme of the knapsack problem. It fails where the
    worth of an option depends on later layers: with options 0 and 1 in two layers
    of equal cost and scores ``[[1.0, 1.0], [0.0, 2.0]]``, completing the first
    layer by option 0 makes 0 look better than 1, and the best candidate (1, 1) is
    never met, unless `n_replicas` is 2.

    *What is known of costs.* Only `cost` is called. The options of a layer are
    ordered by the cost they cause while all other layers are at their first
    option; the cheapest completion of a prefix takes the first option in that order
    in every later layer. This is the cheapest one wherever that order does not
    depend on the other layers, as for sums and products of widths. A prefix whose
    cheapest completion costs more than `max_cost` is dropped unscored, and the
    bucket of a prefix is that of its cheapest completion.

    *Ties and noise.* Among equal scores the cheaper prefix wins, then the one found
    first. Scores are taken as they are; since nothing is scored twice, noise is
    averaged nowhere, and the best score of many is too high.

    References
    ----------
    .. [1] Fan, Alon, Shen, Peng, Kumar, Long, Wang, Iliopoulos, Juan, Vee.
       "LayerNAS: Neural Architecture Search in Polynomial Complexity."
       arXiv:2304.11517, 2023.

    Examples
    --------
    >>> from skadistill.search import layernas
    >>> layers = {"first": [1, 2, 3], "second": [1, 2, 3], "third": [1, 2, 3]}
    >>> result = layernas(
    ...     lambda candidates: [4 * c["first"] + c["third"] for c in candidates],
    ...     lambda candidate: sum(candidate.values()),
    ...     layers,
    ...     max_cost=6,
    ... )
    >>> result.best_candidate, result.best_score, result.best_cost
    ({'first': 3, 'second': 1, 'third': 2}, 14.0, 6.0)
    """
    space = Space(layers)
    n_buckets = resolve_buckets(space.sizes, n_buckets, n_replicas, max_evaluations)
    costs = Costs(space, cost)
    completion = Completion(space, costs, max_cost, default)
    search = _Search(space, costs, completion, evaluate, max_cost, max_evaluations)
    search.run_layers(n_buckets, n_replicas)
    if max_evaluations is not None:
        search.refine()
    return search.result(n_buckets)


def estimate_evaluations(
    layers, *, n_buckets="auto", n_replicas=1, max_evaluations=None
):
    r"""Bound the number of candidates that a search will score, before it starts.

    Layer :math:`l` extends at most :math:`H R` prefixes, and never more than there
    are, by its options:

    .. math:: \sum_{l=1}^{L} |S_l| \min\Bigl(H R, \prod_{k<l} |S_k|\Bigr)
        = O(H R \, |S| \, L).

    Prefixes over the limit and candidates met before make it fewer; no search scores
    more than the whole space, nor more than `max_evaluations`, which refinement
    spends in full where it can.

    Parameters
    ----------
    layers : mapping of str to sequence
        The options of each layer.
    n_buckets : int, "auto" or None, default="auto"
        As in :func:`layernas`.
    n_replicas : int, default=1
        As in :func:`layernas`.
    max_evaluations : int or None, default=None
        As in :func:`layernas`.

    Returns
    -------
    n_evaluations : int
        An upper bound.

    Examples
    --------
    >>> from skadistill.search import estimate_evaluations
    >>> layers = {f"width_{i}": range(8) for i in range(5)}
    >>> estimate_evaluations(layers, n_buckets=5)
    168
    """
    sizes = Space(layers).sizes
    n_buckets = resolve_buckets(sizes, n_buckets, n_replicas, max_evaluations)
    if max_evaluations is not None:
        return min(max_evaluations, math.prod(sizes))
    return _layer_bound(sizes, n_buckets, n_replicas)


def _layer_bound(sizes, n_buckets, n_replicas):
    """Bound the candidates scored by the layers, without refinement."""
    kept = math.inf if n_buckets is None else n_buckets * n_replicas
    total, prefixes = 0, 1
    for size in sizes:
        total += size * min(kept, prefixes)
        prefixes *= size
    return min(total, prefixes)


def resolve_buckets(sizes, n_buckets, n_replicas, max_evaluations):
    """Check the numbers that bound a search, and settle "auto".

    Parameters
    ----------
    sizes : list of int
        Number of options of each layer.
    n_buckets, n_replicas, max_evaluations
        As in :func:`layernas`.

    Returns
    -------
    n_buckets : int or None
        The number of buckets.

    Raises
    ------
    ValueError
        If a number is not positive, or `max_evaluations` too small.
    """
    _check_count("n_replicas", n_replicas)
    if max_evaluations is not None:
        _check_count("max_evaluations", max_evaluations)
    automatic = isinstance(n_buckets, str)
    if automatic and n_buckets != "auto":
        raise ValueError(
            f"n_buckets must be a number, 'auto' or None, got {n_buckets!r}; pass for "
            "example 8."
        )
    if n_buckets is not None and not automatic:
        _check_count("n_buckets", n_buckets)
    if max_evaluations is None:
        return DEFAULT_BUCKETS if automatic else n_buckets
    largest = _most_buckets(sizes, n_replicas, max_evaluations)
    if largest < 1:
        raise ValueError(
            f"max_evaluations={max_evaluations} is too few: with one bucket and "
            f"n_replicas={n_replicas} the layers may need "
            f"{_layer_bound(sizes, 1, n_replicas)} evaluations; allow as many, or give "
            "fewer options."
        )
    if automatic:
        half = _most_buckets(sizes, n_replicas, max_evaluations // 2)
        return max(half, min(FEWEST_BUCKETS, largest))
    needed = _layer_bound(sizes, n_buckets, n_replicas)
    if needed > max_evaluations:
        raise ValueError(
            f"max_evaluations={max_evaluations} is too few for n_buckets={n_buckets}, "
            f"which may need {needed}; pass n_buckets={largest} or n_buckets='auto'."
        )
    return n_buckets


def _most_buckets(sizes, n_replicas, max_evaluations):
    """Find the largest number of buckets within the evaluations; 0 if none is."""
    # More buckets than prefixes before the last layer change nothing.
    useful = max(1, math.prod(sizes[:-1]))
    counts = range(1, min(useful, max_evaluations) + 1)
    return bisect_right(
        counts, max_evaluations, key=lambda n: _layer_bound(sizes, n, n_replicas)
    )


def _check_count(name, value):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"{name} must be a whole number of at least 1, got {value!r}; pass for "
            "example 1."
        )


class Space:
    """Translate between candidates (dicts of options) and tuples of positions.

    Parameters
    ----------
    layers : mapping of str to sequence
        The options of each layer.
    """

    def __init__(self, layers):
        if not isinstance(layers, Mapping) or not layers:
            raise ValueError(
                "layers must be a mapping from names to options with at least one "
                f"layer, got {layers!r}; pass for example {{'width': [16, 32]}}."
            )
        self.names = list(layers)
        self.options = [_check_options(name, layers[name]) for name in layers]
        self.sizes = [len(options) for options in self.options]

    def candidate(self, choice):
        """Return the candidate that a tuple of positions stands for."""
        chosen = zip(self.names, self.options, choice, strict=True)
        return {name: options[i] for name, options, i in chosen}

    def position(self, layer, option):
        """Return the position of an option, refusing one that is not listed."""
        for i, listed in enumerate(self.options[layer]):
            if same_value(listed, option):
                return i
        raise ValueError(
            f"default names the option {option!r} for layer {self.names[layer]!r}, "
            f"which lists {self.options[layer]!r}; name one of these."
        )


def _check_options(name, options):
    if isinstance(options, str) or not (isinstance(options, (Sequence, np.ndarray))):
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
    """Compare options of any type.

    Parameters
    ----------
    a, b : object
        Options.

    Returns
    -------
    same : bool
        False also where they do not compare to one answer. 1 and True are equal but
        configure an estimator differently: types must agree.
    """
    if a is b:
        return True
    try:
        return type(a) is type(b) and bool(a == b)
    except ValueError:
        return False


class Costs:
    """Ask for the cost of a choice, once.

    Parameters
    ----------
    space : Space
        Where choices live.
    cost : callable
        ``cost(candidate) -> float``.
    """

    def __init__(self, space, cost):
        self.space = space
        self.cost = cost
        self._known: dict[tuple, float] = {}

    def __call__(self, choice):
        """Return the cost of a choice."""
        if choice not in self._known:
            candidate = self.space.candidate(choice)
            value = self.cost(candidate)
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(
                    f"the cost of {candidate!r} is {value!r}; return a finite number."
                )
            self._known[choice] = float(value)
        return self._known[choice]


class Completion:
    """Complete prefixes of choices to whole ones.

    Parameters
    ----------
    space : Space
        Where choices live.
    costs : Costs
        What they cost.
    max_cost : float or None
        The limit.
    default : str or mapping
        As in :func:`layernas`.

    Raises
    ------
    ValueError
        If the cheapest choice is over the limit, or `default` is unknown.
    """

    def __init__(self, space, costs, max_cost, default):
        self.costs = costs
        self.limit = math.inf if max_cost is None else max_cost
        self._by_cost = _order_options(space, costs)
        cheapest = self.cheapest(())
        if costs(cheapest) > self.limit:
            raise ValueError(
                f"max_cost={max_cost!r} cannot be met: the cheapest candidate, "
                f"{space.candidate(cheapest)!r}, costs {costs(cheapest):g}; raise "
                "max_cost or add cheaper options."
            )
        self._fixed = self._fix(space, default)
        n_layers = len(space.sizes)
        self._paths = [self._path(k) for k in range(n_layers + 1)]

    def cheapest(self, prefix):
        """Complete by the cheapest option of each later layer."""
        return prefix + tuple(order[0] for order in self._by_cost[len(prefix) :])

    def complete(self, prefix):
        """Complete by the default."""
        if self._fixed is not None:
            return prefix + self._fixed[len(prefix) :]
        path = self._paths[len(prefix)]
        n_fitting = bisect_right(
            path, self.limit, key=lambda later: self.costs(prefix + later)
        )
        # The first completion is the cheapest; the caller knows that it fits.
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
        if default not in COMPLETIONS:
            raise ValueError(
                f"default must be a mapping or one of {COMPLETIONS}, got {default!r}; "
                "pass one of these."
            )
        if default == "smallest":
            return self.cheapest(())
        if default == "largest" or math.isinf(self.limit):
            return tuple(order[-1] for order in self._by_cost)
        return None

    def _path(self, start):
        """List completions from the cheapest to the dearest, layers growing evenly."""
        orders = self._by_cost[start:]
        levels = [0] * len(orders)
        path = [tuple(order[0] for order in orders)]
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


def _order_options(space, costs):
    """Sort the positions of each layer by cost, other layers at their first option."""
    reference = [0] * len(space.sizes)
    orders = []
    for layer, size in enumerate(space.sizes):
        alone = []
        for i in range(size):
            choice = [*reference]
            choice[layer] = i
            alone.append((costs(tuple(choice)), i))
        orders.append([i for _, i in sorted(alone)])
    return orders


class _Search:
    """Keep the scores of one run."""

    def __init__(self, space, costs, completion, evaluate, max_cost, max_evaluations):
        self.space = space
        self.costs = costs
        self.completion = completion
        self.evaluate = evaluate
        self.limit = math.inf if max_cost is None else max_cost
        n_candidates = math.prod(space.sizes)
        self.room = n_candidates if max_evaluations is None else max_evaluations
        self.scores: dict[tuple, float] = {}
        self.steps: list[int] = []

    def run_layers(self, n_buckets, n_replicas):
        """Decide the layers one after the other."""
        survivors: list[tuple] = [()]
        for layer, size in enumerate(self.space.sizes):
            prefixes = [(*p, i) for p in survivors for i in range(size)]
            prefixes = [p for p in prefixes if self._prefix_cost(p) <= self.limit]
            completed = [self.completion.complete(p) for p in prefixes]
            self._score(completed, step=layer)
            survivors = self._keep(prefixes, completed, n_buckets, n_replicas)

    def refine(self):
        """Try single changes of the best candidates while evaluations are left."""
        step, refined = len(self.space.sizes), set()
        while len(self.scores) < self.room:
            open_ = [c for c in self._affordable() if c not in refined]
            if not open_:
                break
            center = min(open_, key=self._rank)
            refined.add(center)
            step += self._score(self._neighbors(center), step)

    def result(self, n_buckets):
        """Collect what was seen."""
        choices = list(self.scores)
        best = min(self._affordable(), key=self._rank)
        return LayerNASResult(
            candidates=[self.space.candidate(c) for c in choices],
            scores=np.array([self.scores[c] for c in choices]),
            costs=np.array([self.costs(c) for c in choices]),
            steps=np.array(self.steps),
            best_index=choices.index(best),
            n_buckets=n_buckets,
        )

    def _prefix_cost(self, prefix):
        return self.costs(self.completion.cheapest(prefix))

    def _score(self, choices, step):
        """Score what is new, in one call; return whether there was anything."""
        new = [c for c in dict.fromkeys(choices) if c not in self.scores]
        new = new[: self.room - len(self.scores)]
        if not new:
            return False
        for choice in new:
            self.costs(choice)  # an error here must not cost a training
        scores = list(self.evaluate([self.space.candidate(c) for c in new]))
        if len(scores) != len(new):
            raise ValueError(
                f"evaluate returned {len(scores)} scores for {len(new)} candidates; "
                "return one each."
            )
        self.scores.update(zip(new, map(float, scores), strict=True))
        self.steps += [step] * len(new)
        return True

    def _keep(self, prefixes, completed, n_buckets, n_replicas):
        """Keep the best prefixes of each bucket, in the order in which they came."""
        costs = [self._prefix_cost(p) for p in prefixes]
        buckets = bucket_numbers(costs, n_buckets)
        ranked = sorted(
            range(len(prefixes)),
            key=lambda i: (self._loss(completed[i]), costs[i]),
        )
        taken: Counter = Counter()
        kept = []
        for i in ranked:
            if taken[buckets[i]] < n_replicas:
                taken[buckets[i]] += 1
                kept.append(i)
        return [prefixes[i] for i in sorted(kept)]

    def _neighbors(self, center):
        """List the affordable choices that differ in one layer, layer by layer."""
        return [
            choice
            for layer, size in enumerate(self.space.sizes)
            for i in range(size)
            if i != center[layer]
            and self.costs(choice := (*center[:layer], i, *center[layer + 1 :]))
            <= self.limit
        ]

    def _affordable(self):
        return [c for c in self.scores if self.costs(c) <= self.limit]

    def _rank(self, choice):
        """Sort key: best score, then lowest cost; `min` then takes the first found."""
        return self._loss(choice), self.costs(choice)

    def _loss(self, choice):
        score = self.scores[choice]
        return math.inf if math.isnan(score) else -score


def bucket_numbers(costs, n_buckets):
    """Sort costs into buckets of one width between the lowest and the highest.

    Parameters
    ----------
    costs : array-like of shape (n_prefixes,)
        Costs.
    n_buckets : int or None
        Number of buckets; None: one for each distinct cost.

    Returns
    -------
    buckets : list of int of length n_prefixes
        Numbers from 0 for the cheapest.

    Examples
    --------
    >>> from skadistill.search._layernas import bucket_numbers
    >>> bucket_numbers([10.0, 11.0, 19.0, 20.0], 2)
    [0, 0, 1, 1]
    """
    costs = np.asarray(costs, dtype=np.float64)
    if n_buckets is None:
        return np.unique(costs, return_inverse=True)[1].tolist()
    low, width = costs.min(), np.ptp(costs) / n_buckets
    if width == 0:
        return [0] * len(costs)
    return np.minimum((costs - low) / width, n_buckets - 1).astype(int).tolist()
