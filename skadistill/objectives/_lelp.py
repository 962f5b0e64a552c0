"""LELP: pseudo-subclasses from the teacher's embeddings."""

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.linalg import svd
from scipy.stats import ortho_group
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, gen_batches

from skadistill._utils.compat import Interval, StrOptions
from skadistill.exceptions import ObjectiveError
from skadistill.objectives._base import Objective

__all__ = ["LELP"]

# Standard deviations below this share of the embeddings' size are rounding.
ROUNDING = 1e-6
BLOCK_ROWS = 4096
#: Subclasses of a class that hides kinds, and outputs of the student per class.
MOST_SUBCLASSES = 10
# For the evidence that it does: rows looked at, Gaussian samples, least difference.
FEWEST_ROWS, MOST_ROWS = 30, 2000
N_PLAIN, LEAST_GAP = 5, 0.05


class LELP(Objective):
    r"""Split each class into pseudo-subclasses along the teacher's embeddings.

    With few classes a soft label holds little information: one number for two
    classes. The teacher's embedding :math:`h(x)` holds more. Learning Embedding
    Linear Projections [1]_ turns it into probabilities that any student can match,
    whatever its width. Within each class :math:`c`, :math:`S` directions
    :math:`v_{c,1}, \dots, v_{c,S}` give

    .. math:: z_{c,i}(x) = \frac{\langle v_{c,i},\, P (h(x) - \mu_c)\rangle}
                                {\sigma_{c,i}}, \qquad
              t_{c,i}(x) = y_{T,c}(x)\; \mathrm{softmax}_i(z_c(x) / \beta)

    and the student learns the :math:`S \times C` targets :math:`t` by
    cross-entropy; its probability of a class is the sum over :math:`i`, as the sum
    of the targets is :math:`y_{T,c}`. Here :math:`\mu_c` is the mean and the
    :math:`v_c` span the first :math:`S` principal directions of the projected
    embeddings of the rows *whose likeliest class is* :math:`c`, :math:`\sigma_{c,i}`
    is the standard deviation along :math:`v_{c,i}` over these rows, and :math:`P`
    projects onto the null space of the teacher's output weights :math:`W`,
    :math:`P = I - W^+ W`, which removes what the logits already contain.

    Parameters
    ----------
    n_subclasses : {"auto"} or int, default="auto"
        :math:`S`. "auto": 10 for a class whose embeddings show that it hides several
        kinds of rows, see the notes, and one for any other. With 1, this is plain
        distillation.
    temperature : float, default=0.3
        :math:`\beta`, in standard deviations of a projection. Smaller values give
        harder subclasses; for :math:`\beta \to \infty` all are equally likely and only
        the class is learned.
    null_space : bool, default=True
        Whether to project, if the teacher's output weights are known. If they have as
        many independent rows as the embeddings have dimensions, the null space is
        empty, and the embeddings are not projected.
    rotate : bool, default=True
        Whether the principal directions of a class are rotated at random, so that
        each :math:`v_{c,i}` has the mean of their variances in expectation. Without
        the rotation, the first has the largest variance.
    random_state : int, RandomState instance or None, default=None
        Determines rotations, and the randomized PCA of large embeddings. None: the
        `random_state` of the evidence.
    base : Objective or None, default=None
        The objective whose lesson is changed, for example
        ``SoftTargets(temperature=2)``. None: the plain targets.

    See Also
    --------
    skadistill.teachers.as_teacher : Teachers with embeddings.

    Notes
    -----
    Rows without an embedding (NaN), such as labeled rows that the teacher was not
    asked about, teach only their class. In the first round, in which every row is
    given, all rows do; the student has :math:`S \times C` outputs from the start.

    A class of :math:`n_c` rows has at most :math:`n_c - 1` principal directions.
    If they are fewer than :math:`S`, the :math:`S` projections are dependent (without
    rotation the surplus ones are 0). A class with fewer than two distinct rows gets
    equal subclasses.

    With ``n_subclasses="auto"``, a class has hidden subclasses if ten clusters (k-means
    on its first ten principal directions, scaled to unit variance) leave at least 5 %
    less variance within than ten clusters of Gaussian rows do, and less than those of
    each of five Gaussian samples. Other classes get equal subclasses, from which the
    student learns the class alone. Fewer than 30 rows show nothing, and two or three
    kinds may go unseen.

    The numbers 10 and 0.3 were the best on average, of 5, 10 and 20 subclasses by
    temperatures of 0.3 and 1, on validation rows of six tasks
    (``benchmarks/results/lelp.md``).

    The directions cost :math:`O(n_c D^2 + D^3)` once per class, for :math:`n_c` rows
    and :math:`D` dimensions. If both are large, scikit-learn's randomized PCA is
    used, and no :math:`D \times D` matrix is formed.

    It assumes that the teacher's embedding separates kinds of rows within a class. It
    gained two points over soft targets where classes merge dozens of kinds, and nothing
    on most other tasks (see the benchmark); where it splits a class that has no kinds
    it loses up to 1.4 points.
    When not to use it: with many classes, whose soft labels already hold as much
    information, or with students that are not neural networks. A number of
    `n_subclasses` splits classes without kinds as well, which costs (a sentiment task
    lost 1.2 points; a higher `temperature` loses less).

    References
    ----------
    .. [1] Loo, Iliopoulos, Hu, Vee. "Linear Projections of Teacher Embeddings for
       Few-Class Distillation." arXiv:2409.20449, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.objectives import LELP, Evidence
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=100)
    >>> evidence = Evidence(
    ...     np.c_[1 - p, p],
    ...     given=np.zeros(100, dtype=bool),
    ...     embeddings=rng.normal(size=(100, 16)),
    ... )
    >>> lesson = LELP(n_subclasses=4).lesson(evidence)
    >>> lesson.subclasses.shape
    (100, 2, 4)
    >>> bool(np.allclose(lesson.subclasses.sum(axis=2), 1))
    True
    """

    uses_embeddings: bool = True

    _parameter_constraints: dict = {
        "n_subclasses": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "null_space": ["boolean"],
        "rotate": ["boolean"],
        "random_state": ["random_state"],
        "base": [Objective, None],
    }

    def __init__(
        self,
        n_subclasses: str | int = "auto",
        temperature: float = 0.3,
        *,
        null_space: bool = True,
        rotate: bool = True,
        random_state: Any = None,
        base: Objective | None = None,
    ) -> None:
        self.n_subclasses = n_subclasses
        self.temperature = temperature
        self.null_space = null_space
        self.rotate = rotate
        self.random_state = random_state
        self.base = base

    def transform(self, lesson: Any, evidence: Any) -> Any:
        """Add pseudo-subclasses on the rows whose embedding is known.

        See :meth:`skadistill.objectives.Objective.transform`.

        Raises
        ------
        ObjectiveError
            If the teacher's output weights do not fit its embeddings.
        """
        shape = (*lesson.targets.shape, self._n_outputs)
        subclasses = np.full(shape, np.nan, dtype=np.float32)
        if not evidence.given.all() and evidence.embeddings.shape[1]:
            known = np.isfinite(evidence.embeddings).all(axis=1)
            if known.any():
                subclasses[known] = self._subclasses(
                    evidence.embeddings[known],
                    lesson.targets[known].argmax(axis=1),
                    evidence,
                )
        return lesson.replace(subclasses=subclasses)

    def _subclasses(self, embeddings, likeliest, evidence):
        """Return the distribution over the subclasses of every class, per row."""
        seed = self.random_state
        rng = check_random_state(evidence.random_state if seed is None else seed)
        said = None
        if self.null_space and evidence.output_weights is not None:
            said = row_space(evidence.output_weights, embeddings.shape[1])
        weights, offsets = [], []
        for c in range(evidence.n_classes):
            rows = embeddings[likeliest == c].astype(np.float64)
            rotation = self._rotation(rng)
            weight, center = class_projections(rows, rotation, said, rng)
            z = (rows - center) @ weight
            if self.n_subclasses == "auto" and not hides_kinds(z, rng):
                weight = np.zeros_like(
                    weight
                )  # equal shares: only the class is learned
            weights.append(weight)
            offsets.append(center @ weight)
        weight, offset = np.hstack(weights), np.hstack(offsets)
        shape = (-1, evidence.n_classes, self._n_outputs)
        subclasses = np.empty((len(embeddings), *shape[1:]), dtype=np.float32)
        for block in gen_batches(len(embeddings), BLOCK_ROWS):
            z = embeddings[block].astype(np.float64) @ weight - offset
            subclasses[block] = tempered_softmax(z.reshape(shape), self.temperature)
        return subclasses

    @property
    def _n_outputs(self):
        """Outputs of the student per class."""
        return MOST_SUBCLASSES if self.n_subclasses == "auto" else self.n_subclasses

    def _rotation(self, rng):
        """Draw a rotation of the principal directions of a class."""
        if not self.rotate or self._n_outputs == 1:
            return np.eye(self._n_outputs)
        return ortho_group.rvs(self._n_outputs, random_state=rng)


def hides_kinds(z, rng):
    """Tell whether the rows of a class cluster more than Gaussian rows would."""
    # The order of the rows, by which k-means is seeded, must not decide.
    z = z[np.lexsort(z.T)] if z.shape[1] else z
    if len(z) > MOST_ROWS:
        z = z[rng.permutation(len(z))[:MOST_ROWS]]
    # Older versions of scipy cannot decompose empty arrays.
    if len(z) < FEWEST_ROWS or not z.shape[1]:
        return False
    scores, sizes, _ = svd(z, full_matrices=False)
    # Whitened: all directions count alike, whatever their variance.
    scores = scores[:, sizes > ROUNDING * max(sizes.max(initial=0.0), 1.0)]
    if not scores.shape[1]:
        return False
    plain = [
        _share_within(rng.standard_normal(scores.shape), rng) for _ in range(N_PLAIN)
    ]
    own = _share_within(scores, rng)
    return bool(own < min(plain) and own < (1 - LEAST_GAP) * np.mean(plain))


def _share_within(scores, rng):
    """Return the share of the variance within clusters."""
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(MOST_SUBCLASSES, n_init=2, random_state=rng).fit(scores)
    return model.inertia_ / np.sum((scores - scores.mean(axis=0)) ** 2)


def row_space(output_weights, n_dimensions):
    """Return an orthonormal basis of the row space of the output weights."""
    if output_weights.ndim != 2 or output_weights.shape[1] != n_dimensions:
        raise ObjectiveError(
            f"output_weights have shape {output_weights.shape}, but embeddings have "
            f"{n_dimensions} dimensions; pass one row per class and one column per "
            "dimension, or None."
        )
    weights = np.asarray(output_weights, dtype=np.float64)
    _, sizes, rows = svd(weights, full_matrices=False)
    rank = int(np.sum(sizes > ROUNDING * sizes[0]))
    return None if rank == n_dimensions else rows[:rank].T


def class_projections(rows, rotation, said, rng):
    """Return rotated principal directions of one class, scaled to unit variance."""
    n_samples, n_dimensions = rows.shape
    weight = np.zeros((n_dimensions, len(rotation)))
    if n_samples < 2:
        return weight, np.zeros(n_dimensions)
    center = rows.mean(axis=0)
    smallest = ROUNDING * np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    rows = rows - center
    if said is not None:
        rows -= (rows @ said) @ said.T
    if np.sqrt(np.sum(rows**2) / n_samples) <= smallest:
        return weight, center
    n_directions = min(len(rotation), n_samples, n_dimensions)
    pca = PCA(n_directions, random_state=rng).fit(rows)
    variance = pca.singular_values_**2 / n_samples
    kept = np.sqrt(variance) > smallest
    # A rotated direction is sum_j turn_ij v_j, with variance sum_j turn_ij^2 var_j.
    turn = rotation[:, :n_directions][:, kept]
    spread = np.sqrt(turn**2 @ variance[kept])
    used = spread > 0
    weight[:, used] = (turn[used] / spread[used, None] @ pca.components_[kept]).T
    return weight, center


def tempered_softmax(z, temperature):
    """Return the softmax of ``z / temperature`` over the last axis."""
    below = z - z.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # -inf is right for a tiny temperature
        powers = np.exp(below / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)
