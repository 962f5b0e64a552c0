import numpy as np
import pytest
from scipy import stats

from skadistill.query._measures import entropy_gain, least_confident_gain, margin_gain


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gains_are_their_definitions(tools, n_classes, dtype):
    """Each gain agrees with the formula written out on sorted probabilities."""
    proba = tools.make_proba(100, n_classes).astype(dtype)
    ranked = np.sort(proba.astype(np.float64), axis=1)
    margin = 1 - (ranked[:, -1] - ranked[:, -2])
    np.testing.assert_allclose(margin_gain(proba), margin, atol=1e-6)
    least = 1 - ranked[:, -1]
    np.testing.assert_allclose(least_confident_gain(proba), least, atol=1e-6)
    entropy = stats.entropy(ranked, axis=1)
    np.testing.assert_allclose(entropy_gain(proba), entropy, atol=1e-5)


@pytest.mark.parametrize("gain", [margin_gain, entropy_gain, least_confident_gain])
def test_a_certain_student_has_nothing_to_gain(gain):
    """One-hot rows have gain exactly 0, an even row the most."""
    proba = np.vstack([np.eye(3), np.full((1, 3), 1 / 3)]).astype(np.float32)
    gains = gain(proba)
    np.testing.assert_array_equal(gains[:3], 0)
    assert gains[3] > 0.6
