import signal
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from scipy import sparse


def _names(X):
    return [f"c{j}" for j in range(X.shape[1])]


# Ways to hold a table of numbers.
TABLES = {
    "array": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "fortran": np.asfortranarray,
    "list": lambda X: X.tolist(),
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "pandas": lambda X: pd.DataFrame(X, columns=_names(X), index=np.arange(len(X)) % 3),
    "polars": lambda X: pl.DataFrame(X, schema=_names(X)),
}
# Rows of other kinds, which are equal if rows of the table begin with equal numbers.
OTHERS = {
    "tensor": torch.as_tensor,
    "texts": lambda X: [f"text {x:g}" for x in X[:, 0]],
    "series": lambda X: pd.Series([f"text {x:g}" for x in X[:, 0]]),
    "records": lambda X: [{"a": float(x), "b": None} for x in X[:, 0]],
    "images": lambda X: X[:, :1].reshape(-1, 1, 1, 1) * np.ones((1, 2, 3, 3)),
}


@pytest.fixture(params=TABLES)
def as_table(request):
    """Put an array of numbers in a container: a function, one test per container."""
    return TABLES[request.param]


@pytest.fixture(params=TABLES | OTHERS)
def as_rows(request):
    """Make rows of a kind of the first numbers of rows: a function, as `as_table`."""
    return (TABLES | OTHERS)[request.param]


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
