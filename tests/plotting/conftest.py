"""What the tests of displays share."""

import pytest


@pytest.fixture
def pyplot():
    """Yield matplotlib's pyplot without a window, and close its figures."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")
