"""LayerNAS: search layer by layer, keeping the best prefix of each size."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from skadistill._utils.compat import Interval, StrOptions, validate_arguments
from skadistill.search._candidates import (
    COMPLETIONS,
    Completion,
    Sizes,
    Space,
    bucket_numbers,
    layer_bound,
    resolve_buckets,
)

__all__ = ["CONSTRAINTS", "LayerNASResult", "bound_evaluations", "layernas"]

CONSTRAINTS: dict = {
    "layers": [Mapping],
    "max_size": [Interval(Real, 0, None, closed="left"), None],
    "n_buckets": [
        Interval(Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
        None,
    ],
    "n_replicas": [Interval(Integral, 1, None, closed="left")],
    "default": [StrOptions(set(COMPLETIONS)), Mapping],
    "max_evaluations": [Interval(Integral, 1, None, closed="left"), None],
}


@dataclass(frozen=True)
class LayerNASResult:
    """Hold the candidates that a layerwise search scored, and its choice."""

    candidates: list
    scores: np.ndarray
    sizes: np.ndarray
    steps: np.ndarray
    best_index: int
    n_buckets: int | None

    @property
    def best_candidate(self):
        """Return the chosen candidate, a dict."""
        return self.candidates[self.best_index]

    @property
    def best_score(self):
        """Return the score of the choice."""
        return float(self.scores[self.best_index])

    @property
    def best_size(self):
        """Return the size of the choice."""
        return float(self.sizes[self.best_index])

    @property
    def n_evaluations(self):
        """Return the number of candidates scored."""
        return len(self.candidates)


def layernas(
    evaluate: Callable[..., Any],
    size: Callable[..., Any],
    layers: Any,
    *,
    max_size: float | None = None,
    n_buckets: int | str | None = "auto",
    n_replicas: int = 1,
    default: Any = "fit",
    max_evaluations: int | None = None,
) -> LayerNASResult:
    r"""Find the best candidate under a size limit, one layer after the other.

    Candidates choose one of the options :math:`S_l` in each of :math:`L` layers.
    Layer by layer, every prefix that was kept is extended by every option; the
    layers that follow are completed by a default, and the completed candidates are
    scored. Prefixes are sorted into :math:`H` buckets by size, and each bucket
    keeps its :math:`R` best. So about :math:`H R |S| L` candidates are scored
    instead of :math:`|S|^L`.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(candidates) -> scores``: takes a list of dicts (layer name ->
        option) and returns one value per candidate, higher is better; NaN counts as
        the worst. It is called once for each layer, and no candidate is ever passed to
        it twice.
    size : callable
        ``size(candidate) -> float``. It is called often, never twice for one
        candidate, and before `evaluate` is called for that candidate.
    layers : mapping of str to sequence
        The options of each layer, in the order in which layers are decided.
    max_size : float or None, default=None
        The largest size allowed for the result. None: no limit.
    n_buckets : int, "auto" or None, default="auto"
        Number :math:`H` of buckets of equal width between the smallest and the
        largest admissible prefix of a layer. None: one bucket per distinct size.
        "auto": as many as need at most half of `max_evaluations`, since the other
        half is for refinement, but at least 3 if all evaluations together allow it;
        8 without `max_evaluations`.
    n_replicas : int, default=1
        Number :math:`R` of prefixes that a bucket keeps. More of them guard against
        noisy scores.
    default : {"fit", "largest", "smallest"} or mapping, default="fit"
        How the layers that follow a prefix are completed before it is scored. "largest"
        and "smallest": by their largest or smallest options. "fit": by the largest ones
        that keep the candidate within `max_size`, all layers growing evenly; without a
        limit this is "largest". A mapping names one option per layer.
    max_evaluations : int or None, default=None
        Largest number of candidates to score. Evaluations that the layers leave are
        spent on refinement: every layer in turn tries its other options on the best
        candidate within `max_size`, then on the next best, until the evaluations are
        spent or no candidate is left to refine. None: no refinement.

    Returns
    -------
    result : LayerNASResult
        All candidates scored (``candidates``, ``scores``, ``sizes``, ``steps``), and
        the choice (``best_candidate``, ``best_score``, ``best_size``,
        ``best_index``).

    Raises
    ------
    ValueError
        Before anything is scored, if a layer is empty or lists an option twice, if
        even the smallest candidate is larger than `max_size`, or if
        `max_evaluations` is too small for `n_buckets`.

    See Also
    --------
    LayerNASSearchCV : The same search over an estimator's parameters.

    Notes
    -----
    *When it is exact.* The method assumes that the best prefix of a bucket also has
    the best continuations. This holds if scores and sizes are sums over layers and
    no bucket mixes sizes (``n_buckets=None``): the method is then the dynamic program
    of the knapsack problem. It fails if the value of an option depends on later
    layers: with options 0 and 1 in two layers
    of equal size and scores ``[[1.0, 1.0], [0.0, 2.0]]``, completing the first
    layer by option 0 makes 0 look better than 1, and the best candidate (1, 1) is
    never met, unless `n_replicas` is 2.

    *Sizes of prefixes.* The options of a layer are ordered by the size of the
    candidate that has them while all other layers are at their first option. The
    smallest completion of a prefix takes the first option in that order in every
    later layer. It is the smallest indeed if that order does not depend on the other
    layers, as for sums and products of widths. A prefix whose smallest completion is
    larger than `max_size` is dropped unscored, and the bucket of a prefix is that of
    its smallest completion.

    *Ties and noise.* Among equal scores the smaller prefix wins, then the one found
    first. Nothing is scored twice, so noise is never averaged, and the best score of
    many is too high.

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
    ...     max_size=6,
    ... )
    >>> result.best_candidate, result.best_score, result.best_size
    ({'first': 3, 'second': 1, 'third': 2}, 14.0, 6.0)
    """
    validate_arguments(
        CONSTRAINTS,
        {
            "layers": layers,
            "max_size": max_size,
            "n_buckets": n_buckets,
            "n_replicas": n_replicas,
            "default": default,
            "max_evaluations": max_evaluations,
        },
        "layernas",
    )
    space = Space(layers)
    n_buckets = resolve_buckets(space.n_options, n_buckets, n_replicas, max_evaluations)
    sizes = Sizes(space, size)
    completion = Completion(space, sizes, max_size, default)
    search = _Search(space, sizes, completion, evaluate, max_size, max_evaluations)
    search.run_layers(n_buckets, n_replicas)
    if max_evaluations is not None:
        search.refine()
    return search.result(n_buckets)


def bound_evaluations(layers, *, n_buckets="auto", n_replicas=1, max_evaluations=None):
    """Bound the number of candidates that a search scores."""
    n_options = Space(layers).n_options
    n_buckets = resolve_buckets(n_options, n_buckets, n_replicas, max_evaluations)
    if max_evaluations is not None:
        return min(max_evaluations, math.prod(n_options))
    return layer_bound(n_options, n_buckets, n_replicas)


class _Search:
    """Score candidates layer by layer, and remember what was scored."""

    def __init__(self, space, sizes, completion, evaluate, max_size, max_evaluations):
        self.space = space
        self.sizes = sizes
        self.completion = completion
        self.evaluate = evaluate
        self.limit = math.inf if max_size is None else max_size
        n_candidates = math.prod(space.n_options)
        # Never more than the space holds: `refine` stops when all are scored.
        self.max_evaluations = (
            n_candidates if max_evaluations is None else max_evaluations
        )
        self.scores: dict[tuple, float] = {}
        self.steps: list[int] = []

    def run_layers(self, n_buckets, n_replicas):
        """Decide the layers one after the other."""
        survivors: list[tuple] = [()]
        for layer, n in enumerate(self.space.n_options):
            prefixes = [(*p, i) for p in survivors for i in range(n)]
            prefixes = [p for p in prefixes if self._prefix_size(p) <= self.limit]
            completed = [self.completion.complete(p) for p in prefixes]
            self._score(completed, step=layer)
            survivors = self._keep(prefixes, completed, n_buckets, n_replicas)

    def refine(self):
        """Try single changes of the best candidates while evaluations are left."""
        step, refined = len(self.space.n_options), set()
        while len(self.scores) < self.max_evaluations:
            candidates = [c for c in self._within_limit() if c not in refined]
            if not candidates:
                break
            center = min(candidates, key=self._rank)
            refined.add(center)
            step += self._score(self._neighbors(center), step)

    def result(self, n_buckets):
        """Return all candidates and the choice."""
        choices = list(self.scores)
        best = min(self._within_limit(), key=self._rank)
        return LayerNASResult(
            candidates=[self.space.candidate(c) for c in choices],
            scores=np.array([self.scores[c] for c in choices]),
            sizes=np.array([self.sizes(c) for c in choices]),
            steps=np.array(self.steps),
            best_index=choices.index(best),
            n_buckets=n_buckets,
        )

    def _prefix_size(self, prefix):
        return self.sizes(self.completion.smallest(prefix))

    def _score(self, choices, step):
        """Score what is new, in one call; return whether there was anything."""
        new = [c for c in dict.fromkeys(choices) if c not in self.scores]
        new = new[: self.max_evaluations - len(self.scores)]
        if not new:
            return False
        for choice in new:
            self.sizes(choice)  # measured first: an error must not cost a training
        scores = list(self.evaluate([self.space.candidate(c) for c in new]))
        if len(scores) != len(new):
            raise ValueError(
                f"evaluate returned {len(scores)} scores for {len(new)} candidates; "
                "return one score per candidate."
            )
        self.scores.update(zip(new, map(float, scores), strict=True))
        self.steps += [step] * len(new)
        return True

    def _keep(self, prefixes, completed, n_buckets, n_replicas):
        """Keep the best prefixes of each bucket, in the order in which they came."""
        sizes = [self._prefix_size(p) for p in prefixes]
        buckets = bucket_numbers(sizes, n_buckets)
        ranked = sorted(
            range(len(prefixes)),
            key=lambda i: (self._loss(completed[i]), sizes[i]),
        )
        taken: Counter = Counter()
        kept = []
        for i in ranked:
            if taken[buckets[i]] < n_replicas:
                taken[buckets[i]] += 1
                kept.append(i)
        return [prefixes[i] for i in sorted(kept)]

    def _neighbors(self, center):
        """List choices within the limit that differ in one layer, layer by layer."""
        return [
            choice
            for layer, n in enumerate(self.space.n_options)
            for i in range(n)
            if i != center[layer]
            and self.sizes(choice := (*center[:layer], i, *center[layer + 1 :]))
            <= self.limit
        ]

    def _within_limit(self):
        return [c for c in self.scores if self.sizes(c) <= self.limit]

    def _rank(self, choice):
        """Sort key: best score, then lowest size; `min` then takes the first found."""
        return self._loss(choice), self.sizes(choice)

    def _loss(self, choice):
        score = self.scores[choice]
        return math.inf if math.isnan(score) else -score
