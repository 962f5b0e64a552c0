import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skadistill.query import QueryPool, RADSampler
from skadistill.query._as_strategy import as_strategy

pytest.importorskip("skactiveml")
from skactiveml import pool as theirs
from skactiveml.classifier import (
    ParzenWindowClassifier,
    SklearnClassifier,
)

from skadistill.query import (
    RobustQueryStrategy,
    SkactivemlStrategy,
)

N_LABELED, N_POOL = 30, 90


def make_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_LABELED + N_POOL, 4)).astype(np.float32)
    positions = np.arange(N_LABELED) % 3
    X[:N_LABELED, 0] += positions
    return X, positions


def make_pool(teacher_error=None):
    """Build a pool around a logistic regression fitted on the labeled rows."""
    X, positions = make_rows()
    labeled, rest = X[:N_LABELED], X[N_LABELED:]
    student = LogisticRegression().fit(labeled, positions)
    return QueryPool.from_proba(
        student.predict_proba(rest),
        student=student,
        teacher_error=teacher_error,
        X=rest,
        X_labeled=labeled,
        y_labeled=np.eye(3)[positions],
    )


def their_problem():
    """Build the same problem as a user of scikit-activeml sees it."""
    X, positions = make_rows()
    y = np.r_[positions.astype(float), np.full(N_POOL, np.nan)]
    clf = SklearnClassifier(LogisticRegression(), classes=[0, 1, 2])
    return X, y, clf


@pytest.mark.parametrize("error_rate", [None, 0.0, 0.3])
@pytest.mark.parametrize("kind", ["none", "indices", "rows"])
def test_ours_follows_their_contract(error_rate, kind):
    """Shapes, NaN places and index spaces are those of their own strategies."""
    X, y, clf = their_problem()
    candidates = {
        "none": None,
        "indices": np.arange(40, 100),
        "rows": X[40:100],
    }[kind]
    strategy = RobustQueryStrategy(error_rate=error_rate, random_state=0)
    options = {"candidates": candidates, "batch_size": 5}
    rows, utilities = strategy.query(X, y, clf, return_utilities=True, **options)
    _, like = theirs.UncertaintySampling(random_state=0).query(
        X, y, clf, return_utilities=True, **options
    )
    assert rows.shape == (5,)
    assert len(set(rows)) == 5
    assert utilities.shape == like.shape
    np.testing.assert_array_equal(np.isnan(utilities[0]), np.isnan(like[0]))
    assert not np.isnan(utilities[0][rows]).any()
    for step in range(5):
        np.testing.assert_array_equal(
            np.isnan(utilities[step]) & ~np.isnan(utilities[0]),
            np.isin(np.arange(utilities.shape[1]), rows[:step]),
        )
    assert np.nansum(utilities[0]) == pytest.approx(5)
    np.testing.assert_array_equal(rows, strategy.query(X, y, clf, **options))
    other = clone(strategy).set_params(random_state=1).query(X, y, clf, **options)
    assert set(other) != set(rows) or error_rate == 0.0


@pytest.mark.parametrize("error_rate", [None, 0.2])
def test_ours_there_is_ours_here(error_rate):
    """Their loop draws with the inclusion probabilities of our RADSampler."""
    X, y, clf = their_problem()
    clf = clf.fit(X, y)
    _, utilities = RobustQueryStrategy(error_rate=error_rate).query(
        X, y, clf, fit_clf=False, batch_size=10, return_utilities=True
    )
    pool = make_pool(teacher_error=error_rate)
    drawn = np.zeros(N_POOL)
    n_draws = 2000
    rng = np.random.default_rng(0)
    sampler = RADSampler()
    for _ in range(n_draws):
        drawn[sampler.query(pool, 10, rng)] += 1
    expected = utilities[0][N_LABELED:]
    spread = np.sqrt(np.maximum(expected * (1 - expected), 1e-12) / n_draws)
    # 90 rows at five standard errors: a false alarm in about 2e4 seeds.
    assert (np.abs(drawn / n_draws - expected) <= 5 * spread + 1e-6).all()


def test_ours_through_both_adapters():
    """The robust sampler as theirs runs in our loop, with our seeds."""
    strategy = as_strategy(RobustQueryStrategy(error_rate=0.2))
    assert isinstance(strategy, SkactivemlStrategy)
    rows, again = (
        strategy.query(make_pool(0.2), 6, np.random.default_rng(0)) for _ in range(2)
    )
    assert len(set(rows)) == 6
    np.testing.assert_array_equal(rows, again)


def test_fit_clf_fits_a_clone_with_the_weights():
    """As in their strategies: the user's classifier stays as it was."""
    X, y, clf = their_problem()
    strategy = RobustQueryStrategy(random_state=0)
    weights = np.where(np.arange(len(X)) % 2, 1.0, 100.0)

    def utilities(**options):
        return strategy.query(X, y, clf, return_utilities=True, **options)[1]

    plain = utilities()
    assert not hasattr(clf, "classes_")
    weighted = utilities(sample_weight=weights)
    assert np.nanmax(np.abs(plain - weighted)) > 1e-3
    clf = clf.fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(utilities(fit_clf=False), weighted)


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({"error_rate": 1.0}, {}, ValueError, "error_rate"),
        ({"error_rate": -0.1}, {}, ValueError, "error_rate"),
        ({"error_rate": "high"}, {}, TypeError, "error_rate"),
        ({}, {"clf": LogisticRegression()}, TypeError, "clf"),
        ({}, {"fit_clf": "yes"}, TypeError, "fit_clf"),
        ({}, {"clf": ParzenWindowClassifier(missing_label=-1)}, ValueError, "missing"),
        ({}, {"batch_size": 0}, ValueError, "batch_size"),
        ({}, {"candidates": [500]}, ValueError, "indices"),
    ],
)
def test_ours_refuses_what_theirs_refuse(changes, options, error, message):
    """Wrong parameters raise the same kind of error as in their strategies."""
    X, y, clf = their_problem()
    strategy = RobustQueryStrategy(**changes)
    with pytest.raises(error, match=message):
        strategy.query(X, y, **{"clf": clf, **options})


def test_ours_takes_a_batch_larger_than_the_pool():
    """As theirs: all candidates, with a warning."""
    X, y, clf = their_problem()
    with pytest.warns(UserWarning, match="batch_size=500"):
        rows = RobustQueryStrategy().query(X, y, clf, batch_size=500)
    np.testing.assert_array_equal(np.sort(rows), np.arange(N_LABELED, len(X)))


def test_an_instance_pickles_and_clones():
    """The class is found by its name, and keeps its parameters."""
    strategy = RobustQueryStrategy(error_rate=0.3)
    for copy in (pickle.loads(pickle.dumps(strategy)), clone(strategy)):
        assert type(copy) is RobustQueryStrategy
        assert copy.error_rate == 0.3
