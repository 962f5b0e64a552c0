"""The teacher's reliability: tables by hand, intervals by scipy, curves by law."""

import numpy as np
import pytest
from scipy.stats import binomtest

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import teacher_reliability
from skadistill.objectives._base import margin
from skadistill.objectives._calibration import (
    class_ranks,
    correctness_curve,
    topk_coverage,
)


def calibrated(rng, n, n_classes=4):
    """Draw answers and truths such that the answers are the truths' distribution."""
    proba = rng.dirichlet(np.full(n_classes, 0.5), n)
    truth = (proba.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return proba, np.minimum(truth, n_classes - 1)


def test_ranks_are_counted_from_the_likeliest_and_ties_from_the_left():
    proba = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(class_ranks(proba), [[2, 0, 1], [0, 2, 1], [1, 2, 0]])


def test_coverage_counts_truths_among_the_first():
    proba = np.tile([0.5, 0.3, 0.2], (4, 1))
    np.testing.assert_array_equal(
        topk_coverage(proba, np.array([0, 0, 1, 2])), [0.5, 0.75, 1.0]
    )


@pytest.mark.parametrize("n_right", [0, 3, 10])
def test_one_level_is_shrunk_by_the_prior(n_right):
    """Equal margins: (r + 2 a) / (n + 2) with a = (r + 1) / (n + 2)."""
    curve = correctness_curve(np.full(10, 0.3), np.arange(10) < n_right)
    overall = (n_right + 1) / 12
    np.testing.assert_allclose(curve([0.0, 0.3, 1.0]), (n_right + 2 * overall) / 12)


def test_the_curve_never_falls_and_never_claims_certainty(rng):
    for _ in range(20):
        margins = rng.random(40)
        curve = correctness_curve(margins, rng.random(40) < margins)
        levels = curve(np.linspace(0, 1, 200))
        assert (np.diff(levels) >= 0).all()
        assert levels[0] > 0
        assert levels[-1] < 1


def test_shrinking_keeps_the_curve_near_the_truth(rng):
    """Twenty rows: the mean squared error is below that of bare isotonic levels."""
    from sklearn.isotonic import IsotonicRegression

    grid, errors = np.linspace(0.05, 0.95, 50), []
    for _ in range(50):
        margins = rng.random(20)
        right = rng.random(20) < 0.5 + margins / 2
        bare = IsotonicRegression(out_of_bounds="clip").fit(margins, right)
        errors.append(
            [
                np.mean((curve(grid) - (0.5 + grid / 2)) ** 2)
                for curve in (bare.predict, correctness_curve(margins, right))
            ]
        )
    bare, shrunk = np.mean(errors, axis=0)
    assert shrunk < 0.8 * bare


def test_the_table_is_what_one_counts_by_hand():
    """Four unsure rows with one mistake, four sure ones with none."""
    proba = np.repeat([[0.6, 0.4], [0.9, 0.1]], 4, axis=0)
    y = ["a", "a", "a", "b", "a", "a", "a", "a"]
    found = teacher_reliability(proba, y, n_bins=2)
    np.testing.assert_allclose(found.margin_low, [0.2, 0.8])
    np.testing.assert_allclose(found.margin_high, [0.2, 0.8])
    np.testing.assert_array_equal(found.n_samples, [4, 4])
    np.testing.assert_allclose(found.confidence, [0.6, 0.9])
    np.testing.assert_allclose(found.accuracy, [0.75, 1.0])
    np.testing.assert_allclose(found.calibration_error, (0.15 + 0.1) / 2)
    np.testing.assert_allclose(found.coverage, [7 / 8, 1])
    assert found.overall_accuracy == 7 / 8
    # (3 + 2 * 0.8) / 6 and (4 + 2 * 0.8) / 6, with 0.8 = (7 + 1) / (8 + 2)
    np.testing.assert_allclose(found.expected, [4.6 / 6, 5.6 / 6])
    np.testing.assert_allclose(found.curve([0.2, 0.8]), found.expected)


@pytest.mark.parametrize("n_unsure", [2, 6])
def test_bins_count_by_their_rows(n_unsure):
    """A large tie on either side leaves the other rows a bin of their own."""
    proba = np.repeat([[0.6, 0.4], [0.9, 0.1]], [n_unsure, 8 - n_unsure], axis=0)
    found = teacher_reliability(proba, [0] * 8, classes=[0, 1], n_bins=2)
    np.testing.assert_array_equal(found.n_samples, [n_unsure, 8 - n_unsure])
    gap = (0.4 * n_unsure + 0.1 * (8 - n_unsure)) / 8
    np.testing.assert_allclose(found.calibration_error, gap)


def test_the_interval_is_wilsons(rng):
    proba, truth = calibrated(rng, 90)
    found = teacher_reliability(proba, truth, n_bins=3)
    for b in range(3):
        n_right = round(found.accuracy[b] * found.n_samples[b])
        test = binomtest(n_right, int(found.n_samples[b]))
        low, high = test.proportion_ci(method="wilson")
        np.testing.assert_allclose(found.accuracy_low[b], low)
        np.testing.assert_allclose(found.accuracy_high[b], high)


def test_a_calibrated_teacher_has_no_error_and_a_boastful_one_has(rng):
    """Answers that are the truth's distribution; the same ones squared."""
    proba, truth = calibrated(rng, 20_000)
    assert teacher_reliability(proba, truth).calibration_error < 0.02
    boast = proba**2 / (proba**2).sum(axis=1, keepdims=True)
    found = teacher_reliability(boast, truth)
    # Its likeliest classes are the same, so accuracy is known: mean of max(proba).
    gap = boast.max(axis=1).mean() - proba.max(axis=1).mean()
    np.testing.assert_allclose(found.calibration_error, gap, atol=0.02)


@pytest.mark.parametrize(
    ("n_samples", "n_bins"), [(20, 1), (70, 2), (299, 9), (900, 10)]
)
def test_bins_are_few_enough_to_count_in(rng, n_samples, n_bins):
    found = teacher_reliability(*calibrated(rng, n_samples))
    assert len(found.n_samples) == n_bins
    assert found.n_samples.sum() == n_samples
    assert np.ptp(found.n_samples) <= 1
    assert (found.margin_low[1:] > found.margin_high[:-1]).all()


def test_rows_of_equal_margin_share_a_bin():
    """Hard labels have one margin, and so one bin."""
    truth = np.arange(100) % 2
    found = teacher_reliability(np.eye(2)[truth], truth, n_bins=5)
    np.testing.assert_array_equal(found.n_samples, [100])
    np.testing.assert_array_equal(found.accuracy, [1.0])


def test_the_order_of_rows_and_the_names_of_classes_play_no_part(rng):
    proba, truth = calibrated(rng, 200)
    one = teacher_reliability(proba, truth)
    order, names = rng.permutation(200), np.array(["p", "q", "r", "s"])
    other = teacher_reliability(proba[order], names[truth[order]])
    np.testing.assert_allclose(one.to_frame(), other.to_frame())
    assert str(one) == str(other)


def test_classes_that_the_rows_lack_are_named():
    found = teacher_reliability([[0.7, 0.2, 0.1]], ["b"], classes=["a", "b", "c"])
    np.testing.assert_array_equal(found.coverage, [0, 1, 1])


def test_the_frame_has_a_row_per_bin(rng):
    proba, truth = calibrated(rng, 90)
    found = teacher_reliability(proba, truth)
    frame = found.to_frame()
    assert list(frame.columns) == [
        *("margin_low", "margin_high", "n_samples", "confidence", "accuracy"),
        *("accuracy_low", "accuracy_high", "expected"),
    ]
    np.testing.assert_array_equal(frame["accuracy"], found.accuracy)
    in_first = margin(proba) <= found.margin_high[0]
    np.testing.assert_allclose(
        frame["expected"][0], found.curve(margin(proba)[in_first]).mean()
    )


@pytest.mark.parametrize(
    ("proba", "y", "options", "message"),
    [
        (
            [[0.7, 0.3]],
            [0],
            {},
            "proba has shape (1, 2) for 1 labels of 1 classes; pass one row per "
            "label and one column per class, at least two, and list "
            "classes that y lacks in `classes`.",
        ),
        (
            [[0.7, 0.7], [-0.1, 1.1]],
            [0, 1],
            {},
            "proba has entries from -0.1 to 1.1 and rows that sum to 1.0 to 1.4; pass "
            "probabilities, which are not negative and sum to 1.",
        ),
        (
            [[0.7, 0.3], [0.2, 0.8]],
            [0, 7],
            {"classes": [0, 1]},
            "y holds [7], which is not among the classes [0, 1]; pass labels of these "
            "classes only.",
        ),
        (
            [[0.7, 0.3], [0.2, 0.8]],
            [0, 1],
            {"n_bins": 0},
            "n_bins must be 'auto' or an int of at least 1, got 0; pass for example "
            "10.",
        ),
    ],
)
def test_invalid_answers_raise(proba, y, options, message):
    with pytest.raises(ObjectiveError) as error:
        teacher_reliability(proba, y, **options)
    assert str(error.value) == message
