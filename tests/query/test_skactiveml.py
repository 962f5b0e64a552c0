import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skadistill.exceptions import QueryStrategyError
from skadistill.query import QueryPool, UncertaintySampler
from skadistill.query._as_strategy import as_strategy

pytest.importorskip("skactiveml")
from skactiveml import pool as theirs
from skactiveml.classifier import (
    MixtureModelClassifier,
    ParzenWindowClassifier,
)
from skactiveml.utils import MISSING_LABEL

from skadistill.query import SkactivemlStrategy
from skadistill.query._skactiveml import _FrozenStudent

N_LABELED, N_POOL = 30, 90
CLASSES = np.array(["a", "b", "c"])


def make_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_LABELED + N_POOL, 4)).astype(np.float32)
    positions = np.arange(N_LABELED) % 3
    X[:N_LABELED, 0] += positions
    return X, positions


def make_pool(container=None, student=None, **changes):
    """Build a pool around a logistic regression fitted on the container's rows."""
    X, positions = make_rows()
    wrap = container or (lambda rows: rows)
    labeled, rest = wrap(X[:N_LABELED]), wrap(X[N_LABELED:])
    if student is None:
        student = LogisticRegression().fit(labeled, CLASSES[positions])
    settings = {
        "student": student,
        "teacher_error": 0.2,
        "X": rest,
        "X_labeled": labeled,
        "y_labeled": np.eye(3)[positions],
        **changes,
    }
    proba = student.predict_proba(rest)
    return QueryPool.from_proba(proba, classes=CLASSES, **settings)


def ask(strategy, n_queries=6, seed=0, pool=None, **query_params):
    wrapped = SkactivemlStrategy(strategy, query_params=query_params or None)
    pool = make_pool() if pool is None else pool
    return wrapped.query(pool, n_queries, np.random.default_rng(seed))


STRATEGIES = [
    theirs.UncertaintySampling(method="least_confident"),
    theirs.UncertaintySampling(method="margin_sampling"),
    theirs.UncertaintySampling(method="entropy"),
    theirs.Badge(),
    theirs.CoreSet(),
    theirs.TypiClust(),
    theirs.ProbCover(),
    theirs.Clue(),
    theirs.DropQuery(),
    theirs.Falcun(),
    theirs.ContrastiveAL(),
    theirs.DiscriminativeAL(),
    theirs.DiscriminativeAL(greedy_selection=True),
    # Since 1.0.
    *(getattr(theirs, name)() for name in ("MaxHerding",) if hasattr(theirs, name)),
    theirs.Quire(classes=[0, 1, 2]),
    theirs.RandomSampling(),
    theirs.SubSamplingWrapper(theirs.Badge(), max_candidates=0.5),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_their_strategies_follow_our_contract(strategy):
    """Each answers with distinct positions, which depend only on the seed."""
    first = ask(strategy, seed=1)
    np.random.seed(5)
    again = ask(strategy, seed=1)
    assert first.shape == (6,)
    assert first.dtype == np.int64
    assert len(set(first)) == 6
    assert first.min() >= 0
    assert first.max() < N_POOL
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    "strategy",
    [theirs.Badge(), theirs.RandomSampling(), theirs.Clue(), theirs.TypiClust()],
    ids=str,
)
def test_another_seed_another_answer(strategy):
    """Their randomness comes from the generator, whatever seed they were given."""
    seeded = clone(strategy).set_params(random_state=3)
    answers = {tuple(ask(seeded, seed=seed)) for seed in range(6)}
    assert len(answers) > 1


@pytest.mark.parametrize(
    ("method", "ours"),
    [
        ("margin_sampling", UncertaintySampler("margin")),
        ("entropy", UncertaintySampler("entropy")),
        ("least_confident", UncertaintySampler("least_confident")),
    ],
)
def test_uncertainty_sampling_agrees_with_our_samplers(method, ours):
    """Without ties both packages pick the same rows from the same student."""
    rows = ask(theirs.UncertaintySampling(method=method), n_queries=20)
    expected = ours.query(make_pool(), 20, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(rows), expected)


def test_core_set_agrees_with_a_direct_call():
    """The table holds labeled rows first, and positions count from the pool."""
    X, positions = make_rows()
    y = np.r_[positions.astype(float), np.full(N_POOL, MISSING_LABEL)]
    expected = theirs.CoreSet().query(X, y, batch_size=6) - N_LABELED
    np.testing.assert_array_equal(ask(theirs.CoreSet()), expected)


def test_soft_labels_are_hardened_to_positions():
    """A strategy reads the most probable class of each label, as its position."""
    seen = {}

    class Spy(theirs.RandomSampling):
        def query(self, X, y, candidates=None, batch_size=1, return_utilities=False):
            seen["y"] = y
            return super().query(X, y, batch_size=batch_size)

    soft = np.full((N_LABELED, 3), 0.25)
    soft[:, 2] = 0.5
    ask(Spy(), pool=make_pool(y_labeled=soft))
    np.testing.assert_array_equal(seen["y"][:N_LABELED], 2.0)
    assert np.isnan(seen["y"][N_LABELED:]).all()


def test_student_columns_follow_the_pools_classes():
    """A student that lists its classes in another order is read correctly."""

    class Reversed:
        def __init__(self, student):
            self.student = student
            self.classes_ = student.classes_[::-1]

        def predict_proba(self, X):
            return self.student.predict_proba(X)[:, ::-1]

    X, positions = make_rows()
    student = LogisticRegression().fit(X[:N_LABELED], CLASSES[positions])
    expected = ask(theirs.ContrastiveAL(), pool=make_pool(student=student))
    turned = ask(theirs.ContrastiveAL(), pool=make_pool(student=Reversed(student)))
    np.testing.assert_array_equal(turned, expected)
    frozen = _FrozenStudent(Reversed(student), CLASSES, np.asarray)
    np.testing.assert_allclose(
        frozen.predict_proba(X), student.predict_proba(X), rtol=1e-12
    )


def as_pandas(rows):
    frame = pd.DataFrame(rows, columns=list("wxyz"))
    return frame.astype({"w": "float64"}).assign(z=(frame["z"] > 0).astype("int64"))


def as_polars(rows):
    return pl.DataFrame(as_pandas(rows).to_dict("list"))


def as_images(rows):
    return rows.reshape(-1, 2, 2)


class Recorder:
    """Stand in for a student and keep what it was asked about."""

    classes_ = CLASSES

    def __init__(self):
        self.seen = []

    def predict_proba(self, X):
        self.seen.append(X)
        score = np.linspace(0.4, 0.9, len(X))
        return np.stack([score, 1 - score, np.zeros(len(X))], axis=1)


@pytest.mark.parametrize("container", [as_pandas, as_polars, as_images])
@pytest.mark.parametrize("strategy", [theirs.UncertaintySampling(), theirs.Badge()])
def test_the_student_gets_rows_as_the_user_gave_them(container, strategy):
    """Frames come back with names and dtypes, images with their shape."""
    student = Recorder()
    pool = make_pool(container, student=student)
    rows = ask(strategy, pool=pool)
    assert len(set(rows)) == 6
    given, seen = student.seen[0], student.seen[-1]
    assert type(seen) is type(given)
    if container is as_pandas:
        pd.testing.assert_frame_equal(seen, given)
    elif container is as_polars:
        assert seen.equals(given)
        assert seen.schema == given.schema
    else:
        assert seen.dtype == given.dtype
        np.testing.assert_array_equal(seen, given)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_rows_are_refused(container):
    """Sparse rows meet a sentence that names a way out."""
    with pytest.raises(
        QueryStrategyError,
        match=r"need dense rows, got a sparse csr_\w+ of shape \(30, 4\); reduce the "
        r"features before, for example with TruncatedSVD in a Pipeline, or use a "
        r"strategy of skadistill\.query\.",
    ):
        ask(theirs.CoreSet(), pool=make_pool(container))


@pytest.mark.parametrize(
    "container",
    [
        lambda rows: [f"text {i}" for i in range(len(rows))],
        lambda rows: pd.DataFrame({"word": ["x"] * len(rows)}),
        lambda rows: rows.astype("int64").astype("datetime64[s]"),
        lambda rows: rows[:, 0],
    ],
    ids=["texts", "words in a frame", "dates", "one dimension"],
)
def test_rows_that_are_no_numbers_are_refused(container):
    """Texts, words, dates and bare vectors meet a sentence, not a traceback."""
    with pytest.raises(
        QueryStrategyError,
        match=r"need a numeric table, got \w+ rows that are not one \(.*\); encode "
        r"them before, for example in a Pipeline, or use a strategy of "
        r"skadistill\.query\.",
    ):
        ask(theirs.CoreSet(), pool=make_pool(container, student=Recorder()))


def test_a_model_the_user_must_give():
    """A committee is asked for by name, and used once it is given."""
    with pytest.raises(
        QueryStrategyError,
        match=r"QueryByCommittee\.query needs ensemble, which skadistill does not "
        r"have; give it as SkactivemlStrategy\(\.\.\., "
        r"query_params={'ensemble': \.\.\.}\)\.",
    ):
        ask(theirs.QueryByCommittee())
    committee = [
        ParzenWindowClassifier(classes=[0, 1, 2], metric_dict={"gamma": gamma})
        for gamma in (0.1, 1.0, 10.0)
    ]
    rows = ask(theirs.QueryByCommittee(), ensemble=committee, fit_ensemble=True)
    assert len(set(rows)) == 6


def test_a_model_of_the_users_own_is_fitted():
    """Given a classifier, the frozen student steps back and fit_clf stays theirs."""
    clf = MixtureModelClassifier(classes=[0, 1, 2], random_state=0)
    assert len(set(ask(theirs.FourDs(), clf=clf))) == 6


def test_a_strategy_that_refits_the_student_is_refused():
    """The student is frozen, and says so."""
    with pytest.raises(
        QueryStrategyError,
        match=r"wants to refit its classifier, but the student LogisticRegression is "
        r"frozen; pass a classifier of scikit-activeml in query_params, or a strategy "
        r"that takes fit_clf=False\.",
    ):
        ask(theirs.UncertaintySampling(), fit_clf=True)


@pytest.mark.parametrize(
    "strategy", ["margin", theirs.Badge, UncertaintySampler(), None], ids=str
)
def test_only_their_strategies_are_wrapped(strategy):
    """Names, classes and our own strategies are not theirs."""
    message = "The 'strategy' parameter of SkactivemlStrategy must be an instance of"
    with pytest.raises(ValueError, match=message):
        ask(strategy)


def test_a_strategy_for_several_annotators_is_refused():
    """It would answer with pairs."""
    from skactiveml.pool.multiannotator import SingleAnnotatorWrapper

    several = as_strategy(SingleAnnotatorWrapper(theirs.RandomSampling()))
    assert isinstance(several, SkactivemlStrategy)
    with pytest.raises(ValueError, match="SingleAnnotatorPoolQueryStrategy"):
        several.query(make_pool(), 6, np.random.default_rng(0))


def test_as_strategy_wraps_their_strategies():
    """An instance is passed as it is, wherever a strategy is expected."""
    badge = theirs.Badge()
    wrapped = as_strategy(badge)
    assert isinstance(wrapped, SkactivemlStrategy)
    assert wrapped.strategy is badge


def test_picking_a_labeled_row_is_an_error():
    """A position before the pool is not taken for one that counts from its end."""

    class Backward(theirs.RandomSampling):
        def query(self, X, y, candidates=None, batch_size=1, return_utilities=False):
            return np.arange(3, 3 + batch_size)

    with pytest.raises(
        QueryStrategyError,
        match=r"Backward picked row 3 of its table, but the first 30 rows are "
        r"labeled already; pass a strategy that picks only rows whose y is missing\.",
    ):
        ask(Backward())


def test_other_missing_labels_are_replaced():
    """A strategy made for y == -1 works: its marker is set here, inside too."""
    plain = ask(theirs.UncertaintySampling())
    marked = theirs.UncertaintySampling(missing_label=-1)
    np.testing.assert_array_equal(ask(marked), plain)
    nested = theirs.SubSamplingWrapper(marked, max_candidates=1.0, missing_label=-1)
    np.testing.assert_array_equal(np.sort(ask(nested)), np.sort(plain))
    assert marked.missing_label == -1


def test_the_users_object_is_left_alone():
    """Rounds share nothing: ProbCover's stored distances stay with the clone."""
    strategy = theirs.ProbCover(random_state=4)
    ask(strategy)
    assert strategy.random_state == 4
    assert not hasattr(strategy, "distances_")


def test_parameters_are_searched_through_the_wrapper():
    """`strategy__...` reaches the wrapped strategy, and clones keep it."""
    wrapped = SkactivemlStrategy(theirs.UncertaintySampling())
    copy = clone(wrapped).set_params(strategy__method="entropy")
    assert copy.strategy.method == "entropy"
    assert wrapped.strategy.method == "least_confident"


def test_importing_query_does_not_import_scikit_activeml():
    """The optional package is imported for these strategies only."""
    code = (
        "import sys; from skadistill.query._as_strategy import as_strategy; "
        "as_strategy('margin'); "
        "print(any(m.startswith('skactiveml') for m in sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "False"


def test_without_scikit_activeml_the_extra_is_named(monkeypatch):
    """The error says what to install; other names are unknown as ever."""
    import skadistill.query

    monkeypatch.setitem(sys.modules, "skactiveml", None)
    with pytest.raises(ImportError, match=r'pip install "skadistill\[activeml\]"'):
        _ = skadistill.query.SkactivemlStrategy
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = skadistill.query.Nothing
