"""What scikit-learn wraps around estimators works around a distiller, or says why."""

import warnings

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    TunedThresholdClassifierCV,
    cross_validate,
    learning_curve,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.exceptions import BudgetError, BudgetWarning
from skadistill.model_selection import PartiallyLabeledSplit

X, Y = make_classification(
    260, 4, n_informative=3, n_redundant=0, n_clusters_per_class=1, class_sep=1.5,
    random_state=0,
)  # fmt: skip
LABELED, POOL = slice(0, 80), slice(80, 200)
MARKED = np.where(np.arange(200) < 80, Y[:200], -1)
NEW = X[200:], Y[200:]

pytestmark = pytest.mark.usefixtures("metadata_routing")


@pytest.fixture
def distiller():
    """Return a distiller whose pool comes through metadata routing."""
    return ActiveDistiller(
        LogisticRegression().fit(*NEW),
        GaussianNB(),
        budget=10,
        query_strategy="random",
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
    ).set_fit_request(X_unlabeled=True)


def asked(model):
    return model.n_queries_


def test_cross_validate(distiller):
    """Every fold asks for rows of the whole pool."""
    result = cross_validate(
        distiller,
        X[LABELED],
        Y[LABELED],
        cv=3,
        params={"X_unlabeled": X[POOL]},
        return_estimator=True,
    )
    assert [asked(model) for model in result["estimator"]] == [10, 10, 10]
    assert result["test_score"].mean() > 0.7


def test_cross_validate_with_marked_rows(distiller):
    """A splitter that knows of the marker leaves unlabeled rows out of test folds."""
    result = cross_validate(
        distiller, X[:200], MARKED, cv=PartiallyLabeledSplit(3), return_estimator=True
    )
    assert [asked(model) for model in result["estimator"]] == [10, 10, 10]
    assert result["test_score"].mean() > 0.7


@pytest.mark.parametrize("prefix", ["", "activedistiller__"])
def test_grid_search(distiller, prefix):
    """A search over the distiller, alone or in a pipeline."""
    model = distiller
    if prefix:
        model = make_pipeline(
            StandardScaler(), distiller, transform_input=["X_unlabeled"]
        )
    search = GridSearchCV(model, {f"{prefix}query_size": [5, 10]}, cv=3)
    search.fit(X[LABELED], Y[LABELED], X_unlabeled=X[POOL])
    best = search.best_estimator_
    assert asked(best[-1] if prefix else best) == 10
    assert search.score(*NEW) > 0.7


def test_halving_grid_search(distiller):
    """More labeled rows in each iteration, the same pool in all."""
    search = HalvingGridSearchCV(
        distiller, {"query_size": [2, 5, 10]}, cv=2, random_state=0, min_resources=20
    )
    search.fit(X[LABELED], Y[LABELED], X_unlabeled=X[POOL])
    assert search.n_iterations_ == 2
    assert asked(search.best_estimator_) == 10


def test_halving_over_the_budget(distiller):
    """The budget itself can be the resource."""
    search = HalvingGridSearchCV(
        distiller,
        {"query_size": [2, 5, 10]},
        cv=2,
        resource="budget",
        min_resources=5,
        max_resources=20,
        random_state=0,
    )
    search.fit(X[LABELED], Y[LABELED], X_unlabeled=X[POOL])
    assert search.n_resources_[-1] > search.n_resources_[0]


def test_learning_curve(distiller):
    """Sizes are numbers of labeled rows."""
    sizes, _, test = learning_curve(
        distiller,
        X[LABELED],
        Y[LABELED],
        train_sizes=[20, 50],
        cv=3,
        params={"X_unlabeled": X[POOL]},
    )
    assert sizes.tolist() == [20, 50]
    assert test.mean() > 0.7


def test_tuned_threshold(distiller):
    """The threshold is tuned on labeled rows, with the whole pool in each fold."""
    model = TunedThresholdClassifierCV(distiller, cv=3)
    model.fit(X[LABELED], Y[LABELED], X_unlabeled=X[POOL])
    assert asked(model.estimator_) == 10
    assert model.score(*NEW) > 0.7


def test_calibration(distiller):
    """Each calibrated distiller asks for rows of the whole pool."""
    model = CalibratedClassifierCV(distiller, cv=2)
    model.fit(X[LABELED], Y[LABELED], X_unlabeled=X[POOL])
    assert [asked(c.estimator) for c in model.calibrated_classifiers_] == [10, 10]
    assert model.score(*NEW) > 0.7


def test_voting_with_a_routed_pool(distiller):
    """It hands the pool on, and labels of any kind are encoded in between."""
    names = np.array(["no", "yes"])[Y]
    model = VotingClassifier([("d", distiller)], voting="soft")
    model.fit(X[LABELED], names[LABELED], X_unlabeled=X[POOL])
    assert asked(model.estimators_[0]) == 10
    assert model.score(NEW[0], names[200:]) > 0.7


def test_stacking_of_a_fitted_distiller(distiller):
    """scikit-learn would hand the pool to the final classifier too: fit it before."""
    distiller.fit(X[LABELED], Y[LABELED], X_unlabeled=X[POOL])
    model = StackingClassifier([("d", distiller)], cv="prefit")
    model.fit(X[LABELED], Y[LABELED])
    assert model.score(*NEW) > 0.7


def test_bagging_with_a_routed_pool(distiller):
    """Each member learns from its own labeled rows and the whole pool."""
    model = BaggingClassifier(distiller, n_estimators=2, random_state=0)
    model.fit(X[LABELED], Y[LABELED], X_unlabeled=X[POOL])
    assert [asked(member) for member in model.estimators_] == [10, 10]
    assert model.score(*NEW) > 0.7


@pytest.mark.parametrize("budget", [0.2, 10])
@pytest.mark.parametrize(
    "outer",
    [
        lambda d: VotingClassifier([("d", d)]),
        lambda d: StackingClassifier([("d", d)], cv=2),
        lambda d: BaggingClassifier(d, n_estimators=2, random_state=0),
    ],
    ids=["voting", "stacking", "bagging"],
)
def test_marked_rows_inside_what_encodes_labels(outer, budget, distiller):
    """The marker becomes a class there: the empty pool is said, and what to do."""
    model = outer(distiller.set_params(budget=budget))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        refusal = refusal_of(model)
    said = [str(w.message) for w in told if w.category is BudgetWarning]
    assert "X_unlabeled" in (refusal or said[0])


def refusal_of(model):
    """Return the message of the error that a fit ends with, if it does."""
    try:
        model.fit(X[:200], MARKED)
    except BudgetError as error:
        return str(error)
    return None
