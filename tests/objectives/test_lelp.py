"""LELP: sums give the teacher's labels back, limits are plain distillation."""

import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import LELP, Evidence, Lesson, SoftTargets
from skadistill.objectives._as_objective import as_objective
from skadistill.objectives._lelp import (
    class_projections,
    hides_kinds,
    tempered_softmax,
)
from skadistill.objectives._loss import LessonLoss
from skadistill.student import StudentNet


def make_evidence(n_samples=200, n_classes=3, n_dimensions=12, seed=0, **changes):
    rng = np.random.default_rng(seed)
    parts = {
        "targets": rng.dirichlet(np.ones(n_classes), size=n_samples),
        "given": np.zeros(n_samples, dtype=bool),
        "embeddings": rng.normal(size=(n_samples, n_dimensions))
        * np.arange(n_dimensions),
        "output_weights": rng.normal(size=(n_classes, n_dimensions)),
    }
    return Evidence(**{**parts, **changes})


def loss_of(lesson, logits):
    packed = torch.from_numpy(LessonLoss.pack(lesson))
    return LessonLoss(lesson)(torch.as_tensor(logits, dtype=torch.float32), packed)


def directions_of(rows, n_subclasses=4, said=None, rotation=None):
    rotation = np.eye(n_subclasses) if rotation is None else rotation
    return class_projections(rows, rotation, said, np.random.RandomState(0))


# ---------------------------------------------------------------- the law of sums


@pytest.mark.parametrize("temperature", [1e-308, 0.01, 1.0, 100.0])
def test_summing_over_subclasses_gives_the_teachers_labels(temperature):
    """Each row's subclasses are a distribution, whatever the temperature."""
    evidence = make_evidence()
    lesson = LELP(5, temperature).lesson(evidence)
    assert lesson.subclasses.shape == (200, 3, 5)
    assert lesson.subclasses.min() >= 0
    joint = lesson.targets[:, :, None] * lesson.subclasses
    np.testing.assert_allclose(joint.sum(axis=2), evidence.targets, atol=1e-6)


def test_the_colder_the_harder_up_to_one_hot():
    """A tiny temperature gives the nearest subclass all, without a warning."""
    lesson = LELP(5, 1e-308, random_state=0).lesson(make_evidence())
    warm = LELP(5, 1.0, random_state=0).lesson(make_evidence())
    np.testing.assert_array_equal(lesson.subclasses.max(axis=2), 1.0)
    np.testing.assert_array_equal(
        lesson.subclasses.argmax(axis=2), warm.subclasses.argmax(axis=2)
    )


def test_the_tempered_softmax_is_that_of_z_over_the_temperature():
    """The ratio of two entries is exp of their difference over the temperature."""
    u = tempered_softmax(np.array([[1.0, 3.0]]), 4.0)
    assert u[0, 1] / u[0, 0] == pytest.approx(np.exp(0.5))


# ------------------------------------------------------ limits: plain distillation


def test_one_subclass_is_plain_distillation():
    """With S = 1 the loss is that of the bare targets, for any student."""
    evidence = make_evidence()
    logits = np.random.default_rng(1).normal(size=(200, 3))
    plain = loss_of(Lesson(evidence.targets), logits)
    torch.testing.assert_close(loss_of(LELP(1).lesson(evidence), logits), plain)


def test_an_infinite_temperature_is_plain_distillation():
    """All subclasses are equally likely; a student that ties them pays log S more."""
    evidence = make_evidence()
    lesson = LELP(4, 1e12).lesson(evidence)
    np.testing.assert_allclose(lesson.subclasses, 0.25, rtol=1e-6)
    logits = np.random.default_rng(1).normal(size=(200, 3))
    plain = loss_of(Lesson(evidence.targets), logits)
    tied = loss_of(lesson, np.repeat(logits, 4, axis=1))
    torch.testing.assert_close(tied, plain + np.log(4))


def test_rows_without_embedding_teach_their_class_alone():
    """NaN in, NaN out, and the loss of such rows is the plain one, folded."""
    evidence = make_evidence()
    evidence.embeddings[::2] = np.nan
    lesson = LELP(4).lesson(evidence)
    assert np.isnan(lesson.subclasses[::2]).all()
    assert np.isfinite(lesson.subclasses[1::2]).all()
    logits = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    folded = logits.unflatten(1, (3, 4)).logsumexp(dim=2)
    plain = loss_of(Lesson(evidence.targets), folded)
    loss = loss_of(lesson, logits)
    torch.testing.assert_close(loss[::2], plain[::2])
    assert (loss[1::2] > plain[1::2]).all()


def test_the_rows_without_embedding_do_not_matter_to_the_others():
    """Masking embeddings equals dropping their rows."""
    evidence = make_evidence()
    evidence.embeddings[:80] = np.nan
    fewer = Evidence(
        evidence.targets[80:],
        evidence.given[80:],
        embeddings=evidence.embeddings[80:],
        output_weights=evidence.output_weights,
    )
    np.testing.assert_array_equal(
        LELP(4).lesson(evidence).subclasses[80:], LELP(4).lesson(fewer).subclasses
    )


@pytest.mark.parametrize("embeddings", [None, np.ones((20, 5)), np.empty((20, 0))])
def test_the_first_round_keeps_the_students_outputs(embeddings):
    """While all rows are given nothing is known within classes, S stays S."""
    evidence = make_evidence(20, given=np.ones(20, dtype=bool), embeddings=embeddings)
    lesson = LELP(6).lesson(evidence)
    assert lesson.n_subclasses == 6
    assert np.isnan(lesson.subclasses).all()
    np.testing.assert_array_equal(lesson.targets, evidence.targets)


@pytest.mark.parametrize("embeddings", [np.full((20, 5), np.nan), np.empty((20, 0))])
def test_embeddings_of_no_row_are_no_error(embeddings):
    """A purchase that brought labels without a single embedding teaches classes."""
    evidence = make_evidence(20, embeddings=embeddings, output_weights=None)
    assert np.isnan(LELP(6).lesson(evidence).subclasses).all()


# -------------------------------------------------------------- projections


def test_projections_have_mean_0_and_variance_1_within_the_class(rng):
    """Over the rows of the class; with and without rotation, in float32 too."""
    rows = rng.normal(size=(300, 10)) * np.arange(1, 11) + 100
    for rotation in (np.eye(4), LELP(4)._rotation(np.random.RandomState(1))):
        weight, center = directions_of(rows, rotation=rotation)
        z = (rows - center) @ weight
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(z.var(axis=0), 1)


def test_directions_are_those_of_the_textbook(rng):
    """Eigenvectors of P Cov P with P = I - pinv(W) W, divided by root eigenvalues."""
    rows = rng.normal(size=(300, 10)) * np.arange(1, 11)
    W = rng.normal(size=(3, 10))
    P = np.eye(10) - np.linalg.pinv(W) @ W
    values, vectors = np.linalg.eigh(P @ np.cov(rows.T, bias=True) @ P)
    expected = vectors[:, :-5:-1] / np.sqrt(values[:-5:-1])
    weight, _ = directions_of(rows, said=np.linalg.svd(W, full_matrices=False)[2].T)
    signs = np.sign(np.sum(weight * expected, axis=0))
    np.testing.assert_allclose(weight * signs, expected, atol=1e-10)


def test_each_class_is_projected_by_its_own_rows():
    """Moving the embeddings of one likeliest class leaves the other's columns."""
    evidence = make_evidence(n_classes=2, output_weights=None)
    second = evidence.targets.argmax(axis=1) == 1
    moved = evidence.embeddings.copy()
    moved[second] = moved[second][:, ::-1]
    before = LELP(4).lesson(evidence).subclasses
    after = LELP(4).lesson(
        make_evidence(n_classes=2, output_weights=None, embeddings=moved)
    )
    np.testing.assert_allclose(
        after.subclasses[~second, 0], before[~second, 0], atol=1e-6
    )
    assert np.abs(after.subclasses[~second, 1] - before[~second, 1]).max() > 0.01


def test_what_the_logits_say_is_not_said_twice():
    """Moving embeddings along output weights changes nothing, unless told to."""
    evidence = make_evidence()
    along = np.random.default_rng(2).normal(size=(200, 3)) @ evidence.output_weights
    moved = make_evidence(embeddings=evidence.embeddings + 5 * along)
    for null_space, same in [(True, True), (False, False)]:
        lesson = LELP(4, null_space=null_space, random_state=0)
        a, b = lesson.lesson(evidence).subclasses, lesson.lesson(moved).subclasses
        assert np.allclose(a, b, atol=1e-5) is same


@pytest.mark.parametrize("n_rows_of_weights", [12, 30])
def test_an_empty_null_space_is_not_projected_onto(n_rows_of_weights):
    """Output weights of full column rank change nothing."""
    W = np.random.default_rng(3).normal(size=(n_rows_of_weights, 12))
    with_weights = LELP(4).lesson(make_evidence(output_weights=W))
    without = LELP(4, null_space=False).lesson(make_evidence())
    np.testing.assert_array_equal(with_weights.subclasses, without.subclasses)


def test_rounding_is_not_blown_up_to_unit_variance(rng):
    """Embeddings that the output weights read completely give equal subclasses."""
    W = rng.normal(size=(3, 12))
    embeddings = (rng.normal(size=(200, 3)) @ W + 10 * W[0]).astype(np.float32)
    evidence = make_evidence(embeddings=embeddings, output_weights=W)
    np.testing.assert_allclose(LELP(4).lesson(evidence).subclasses, 0.25, rtol=1e-6)


def test_unit_and_origin_of_embeddings_do_not_matter():
    """Shifting and scaling all embeddings leaves the lesson alone."""
    evidence = make_evidence()
    moved = make_evidence(embeddings=1e-3 * (evidence.embeddings + 7))
    np.testing.assert_allclose(
        LELP(4).lesson(moved).subclasses,
        LELP(4).lesson(evidence).subclasses,
        atol=1e-5,
    )


def test_permuting_rows_permutes_the_lesson():
    """The order of rows is no information."""
    evidence = make_evidence()
    order = np.random.default_rng(4).permutation(200)
    permuted = make_evidence(
        targets=evidence.targets[order], embeddings=evidence.embeddings[order]
    )
    np.testing.assert_allclose(
        LELP(4).lesson(permuted).subclasses,
        LELP(4).lesson(evidence).subclasses[order],
        atol=1e-5,
    )


def test_blocks_of_rows_do_not_show(monkeypatch):
    """The lesson of many blocks is that of one."""
    whole = LELP(4).lesson(make_evidence()).subclasses
    monkeypatch.setattr("skadistill.objectives._lelp.BLOCK_ROWS", 7)
    parts = LELP(4).lesson(make_evidence()).subclasses
    np.testing.assert_allclose(parts, whole, atol=1e-6)


# ------------------------------------------------------------------ rotation


def test_a_rotation_spreads_the_variance_evenly():
    """Over draws, each direction's expected variance is the mean eigenvalue."""
    values = np.array([10.0, 3.0, 1.0, 0.5, 0.5])
    rng = np.random.RandomState(0)
    draws = [LELP(5)._rotation(rng) for _ in range(2000)]
    np.testing.assert_allclose(draws[0] @ draws[0].T, np.eye(5), atol=1e-12)
    variance = np.array([np.diag(Q @ np.diag(values) @ Q.T) for Q in draws])
    error = variance.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(variance.mean(axis=0) - values.mean()) < 4 * error).all()


def test_no_rotation_leaves_the_principal_directions():
    """Uncorrelated projections without it, correlated ones with it."""
    rows = make_evidence().embeddings
    for rotate in (False, True):
        rotation = LELP(4, rotate=rotate)._rotation(np.random.RandomState(0))
        weight, center = directions_of(rows, rotation=rotation)
        off_diagonal = np.corrcoef((rows - center) @ weight, rowvar=False) - np.eye(4)
        assert (np.abs(off_diagonal).max() < 1e-9) is not rotate


def test_seeds():
    """Equal seeds give equal lessons; LELP's own seed wins over the evidence's."""
    first, second = make_evidence(), make_evidence()
    other = make_evidence()
    object.__setattr__(other, "random_state", 1)

    def subclasses(evidence, **kwargs):
        return LELP(4, **kwargs).lesson(evidence).subclasses

    np.testing.assert_array_equal(subclasses(first), subclasses(second))
    assert np.abs(subclasses(first) - subclasses(other)).max() > 0.01
    np.testing.assert_array_equal(
        subclasses(first, random_state=5), subclasses(other, random_state=5)
    )


# ---------------------------------------------------------------- poor classes


@pytest.mark.parametrize("rotate", [True, False])
def test_a_class_of_few_rows_has_few_directions(rotate):
    """Three rows span two directions; S projections lie in them, all finite."""
    rows = np.random.default_rng(5).normal(size=(3, 12))
    rotation = LELP(6, rotate=rotate)._rotation(np.random.RandomState(0))
    weight, center = directions_of(rows, rotation=rotation)
    assert np.linalg.matrix_rank(weight, tol=1e-8) == 2
    z = (rows - center) @ weight
    np.testing.assert_allclose(z.var(axis=0)[:2], 1)
    np.testing.assert_allclose(z.var(axis=0)[2:], 1 if rotate else 0, atol=1e-12)


@pytest.mark.parametrize("n_samples", [0, 1, 5])
def test_a_class_without_two_distinct_rows_gets_equal_subclasses(n_samples):
    """No row, one row, or copies of one: nothing is known, and nothing fails."""
    targets = np.tile([0.9, 0.1], (50, 1))
    targets[:n_samples] = [0.2, 0.8]
    evidence = make_evidence(50, 2, targets=targets, output_weights=None)
    evidence.embeddings[:n_samples] = evidence.embeddings[0]
    subclasses = LELP(4).lesson(evidence).subclasses
    np.testing.assert_allclose(subclasses[:, 1], 0.25)
    assert np.ptp(subclasses[:, 0], axis=0).min() > 0.1


# ------------------------------------------------------------------ large ones


def test_many_dimensions_need_no_square_matrix(rng):
    """With D = 6000 less than a tenth of D x D numbers is held at any time."""
    evidence = make_evidence(
        60,
        2,
        embeddings=rng.normal(size=(60, 6000)).astype(np.float32),
        output_weights=rng.normal(size=(2, 6000)),
    )
    tracemalloc.start()
    LELP(4).lesson(evidence)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * 8 * 6000**2


def test_the_randomized_pca_finds_as_much_variance(rng):
    """On 700 rows of 600 dimensions it misses less than 1 % of the exact one's."""
    scale = 1 / np.arange(1, 601)
    rows = rng.normal(size=(700, 600)) * scale
    weight, center = directions_of(rows)
    basis = np.linalg.qr(weight)[0]
    found = np.sum(((rows - center) @ basis) ** 2)
    exact = np.linalg.svd(rows - center, compute_uv=False)[:4]
    assert found > 0.99 * np.sum(exact**2)


# -------------------------------------------------------- contract and messages


def test_what_lies_below_is_kept():
    """A teacher temperature comes from SoftTargets, subclasses from its targets."""
    evidence = make_evidence()
    soft = SoftTargets(temperature=2.0)
    lesson = LELP(4, base=soft).lesson(evidence)
    np.testing.assert_array_equal(lesson.targets, soft.lesson(evidence).targets)
    np.testing.assert_array_equal(lesson.temperature, 2.0)
    assert lesson.n_subclasses == 4
    assert SoftTargets(base=LELP()).needs_embeddings
    assert clone(LELP(base=soft)).get_params()["base__temperature"] == 2.0


def test_the_name_stands_for_the_defaults():
    """objective="lelp" is LELP()."""
    assert as_objective("lelp").get_params() == LELP().get_params()


def test_embeddings_are_asked_for_by_name():
    """Without any the message says what to do."""
    with pytest.raises(ObjectiveError, match="LELP needs the teacher's embeddings"):
        LELP().lesson(make_evidence(embeddings=None))


@pytest.mark.parametrize("shape", [(3, 11), (12,)])
def test_output_weights_must_fit(shape):
    """Weights of other embeddings are refused with both widths."""
    evidence = make_evidence(output_weights=np.ones(shape))
    with pytest.raises(ObjectiveError, match=r"output_weights .* 12 dimensions"):
        LELP().lesson(evidence)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_subclasses": 0},
        {"n_subclasses": 2.0},
        {"temperature": 0},
        {"null_space": "yes"},
        {"base": "soft"},
    ],
)
def test_parameters_are_checked(parameters):
    """By scikit-learn's table, when the lesson is asked for."""
    (name,) = parameters
    with pytest.raises(InvalidParameterError, match=name):
        LELP(**parameters).lesson(make_evidence())


# ------------------------------------------------------------------------- story


def test_a_student_learns_more_from_subclasses_than_from_two_classes():
    """24 blobs in two classes, blobs in the embedding: LELP is ahead of soft."""
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        blob = rng.integers(24, size=3000)
        X = rng.normal(size=(24, 16))[blob] + rng.normal(size=(3000, 16))
        y = blob % 2
        proba = np.where(np.eye(2)[y] == 1, 0.95, 0.05)
        embeddings = np.eye(24)[blob] + 0.1 * rng.normal(size=(3000, 24))
        evidence = Evidence(
            proba[:300], np.zeros(300, dtype=bool), embeddings=embeddings[:300]
        )
        scores = [
            StudentNet(random_state=seed, device="cpu", max_epochs=40)
            .fit_lesson(X[:300], objective.lesson(evidence), classes=[0, 1])
            .score(X[300:], y[300:])
            for objective in (SoftTargets(), LELP(10, 0.3))
        ]
        gains.append(scores[1] - scores[0])
    assert np.mean(gains) > 0.015, gains


# ------------------------------------------------- evidence that a class hides kinds


def embeddings_of(n_kinds, n_samples=300, n_dimensions=12, seed=0):
    """Return Gaussian rows around as many centers as there are kinds."""
    rng = np.random.default_rng(seed)
    centers = 4 * rng.normal(size=(n_kinds, n_dimensions))
    rows = centers[np.arange(n_samples) % n_kinds]
    return rows + rng.normal(size=(n_samples, n_dimensions))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("n_samples", [100, 300, 3000])
def test_one_kind_is_seen_as_one(n_samples, seed):
    """Gaussian rows, whatever the scales and correlations of their directions."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_samples, 8)) @ rng.normal(size=(8, 8)) * [1e4, *[1] * 7]
    assert not hides_kinds(z - z.mean(axis=0), np.random.RandomState(seed))


@pytest.mark.parametrize("n_kinds", [4, 5, 10, 20])
def test_kinds_are_seen(n_kinds):
    """A few clusters or many."""
    z = embeddings_of(n_kinds, n_dimensions=8)
    assert hides_kinds(z - z.mean(axis=0), np.random.RandomState(0))


@pytest.mark.parametrize(
    "z", [np.zeros((0, 4)), np.zeros((100, 4)), np.eye(20)[:, :5]], ids=len
)
def test_few_rows_and_constant_ones_show_nothing(z):
    """No evidence, no split, no warning."""
    assert not hides_kinds(z, np.random.RandomState(0))


def test_only_the_class_that_hides_kinds_is_split():
    """The other one teaches its class, as without LELP."""
    embeddings = np.vstack([embeddings_of(1), embeddings_of(8)])
    evidence = make_evidence(
        600,
        2,
        targets=np.eye(2)[np.repeat([0, 1], 300)],
        embeddings=embeddings,
        output_weights=None,
    )
    subclasses = LELP().lesson(evidence).subclasses
    np.testing.assert_allclose(subclasses[:, 0], 0.1, atol=1e-6)
    assert subclasses[300:, 1].max() > 0.5
    # A number of subclasses is an order.
    assert LELP(10).lesson(evidence).subclasses[:, 0].max() > 0.5


def test_copies_of_two_rows_are_two_kinds():
    """Fewer distinct rows than clusters: no warning either."""
    z = np.repeat(np.array([[-1.0, 0.0], [1.0, 0.0]]), 50, axis=0)
    assert hides_kinds(z, np.random.RandomState(0))
