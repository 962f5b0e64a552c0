"""The contract of a query strategy, as checks."""

from typing import Any

import numpy as np
from sklearn.base import clone

from skadistill.query._as_strategy import as_strategy
from skadistill.query._base import QueryPool, check_query

__all__ = ["check_strategy", "check_that"]

N_ROWS, N_FEATURES = 60, 3


def check_strategy(strategy: Any, *, student: Any = None) -> None:
    """Check that a query strategy keeps the contract that the loop relies on.

    - Answer: as many distinct positions in the pool as asked for, from one to all,
      for students that are unsure, certain, or say the same everywhere.
    - Chance: the generator that it is handed is its only source. Equal generators
      give equal answers, and numpy's global generator does not move.
    - Manners: the pool is read and not written, its own parameters stay as they were.

    Parameters
    ----------
    strategy : str, callable or QueryStrategy
        Whatever `query_strategy` of :class:`~skadistill.ActiveDistiller` accepts;
        what can be cloned is not changed.
    student : estimator or None, default=None
        Shown in the pool, for strategies that read ``pool.student``: fitted on three
        features and the classes 0, 1 and 2.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says where.
    QueryStrategyError
        If an answer is not a valid choice of rows.

    Examples
    --------
    >>> from skadistill.testing import check_strategy
    >>> check_strategy("robust")
    >>> check_strategy(lambda proba: proba[:, 0])
    """
    strategy = as_strategy(strategy)
    if hasattr(strategy, "get_params"):
        strategy = clone(strategy)
    rng = np.random.default_rng(0)
    students = {
        "an unsure student": rng.dirichlet(np.ones(3), N_ROWS),
        "a certain student": np.eye(3)[rng.integers(3, size=N_ROWS)],
        "a student that says the same everywhere": np.full((N_ROWS, 3), 1 / 3),
    }
    for name, proba in students.items():
        for n_queries in (1, 7, N_ROWS):
            _check_answer(strategy, proba, n_queries, student, name)
    _check_answer(strategy, proba[:1], 1, student, "a pool of one row")


def _check_answer(strategy, proba, n_queries, student, name):
    """Ask twice; hold the answers and what they left behind against the contract."""
    X = np.random.default_rng(1).normal(size=(len(proba), N_FEATURES))
    before = repr(strategy), X.copy(), proba.copy(), _global_state()
    answers = [
        check_query(
            strategy.query(
                _pool(X, proba, student), n_queries, np.random.default_rng(2)
            ),
            len(proba),
            n_queries,
            strategy,
        )
        for _ in range(2)
    ]
    check_that(
        np.array_equal(*answers),
        f"with {name}, equal generators give different answers; draw from the "
        "generator that query is handed, and remember nothing",
    )
    check_that(before[0] == repr(strategy), f"with {name}, query changes parameters")
    check_that(
        np.array_equal(before[1], X) and np.array_equal(before[2], proba),
        f"with {name}, query writes into the pool",
    )
    check_that(
        before[3] == _global_state(),
        f"with {name}, query draws from numpy's global generator",
    )


def _pool(X, proba, student):
    """Show rows, the student's probabilities, and an error rate of a fifth."""
    return QueryPool.from_proba(
        proba,
        student=student,
        teacher_error=0.2,
        X=X,
        X_labeled=X[:5],
        y_labeled=np.eye(3)[np.arange(5) % 3],
    )


def _global_state():
    """Return the state of numpy's global generator, comparable."""
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (the one meant)
    return state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"]


def check_that(holds, message):
    """Raise an AssertionError unless a claim holds, also under ``python -O``."""
    if not holds:
        raise AssertionError(f"{message}.")
