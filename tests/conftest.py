import signal
from functools import partial

import numpy as np
import pytest
import sklearn
import torch


@pytest.fixture(autouse=True, scope="session")
def _few_threads():
    """Keep the small networks of the tests from fighting over two cores."""
    torch.set_num_threads(1)


@pytest.fixture
def metadata_routing():
    """Switch metadata routing on for one test."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def ctrl_c():
    """Press Ctrl-C: a function. In the background of a shell it would be ignored."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield partial(signal.raise_signal, signal.SIGINT)
    signal.signal(signal.SIGINT, usual)
