"""What the tests of displays share."""

import sys

import pytest


@pytest.fixture
def pyplot():
    """Yield matplotlib's pyplot without a window, and close its figures."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(autouse=True)
def close_figures():
    """Close what tests draw that do not look at the figure."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
