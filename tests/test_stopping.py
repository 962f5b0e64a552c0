"""Stopping rules as tables."""

import pytest

from skadistill.stopping import StablePredictions


@pytest.mark.parametrize(
    ("agreements", "stop"),
    [([], False), ([1.0], False), ([1.0, 1.0], True), ([1.0, 0.9, 1.0], False)],
)
def test_stable_predictions(agreements, stop):
    """Two rounds in a row, both at or above the limit."""
    assert (
        StablePredictions(patience=2, min_agreement=0.99).should_stop(agreements)
        == stop
    )


def test_stable_predictions_checks_its_parameters():
    """Zero rounds make no rule."""
    with pytest.raises(ValueError, match="patience"):
        StablePredictions(patience=0).should_stop([])
