"""On Ray the same candidate wins; Ray is large, so this runs where it is installed."""

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy

ray = pytest.importorskip("ray")

# Ray leaves sockets and files to the interpreter's end.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


@pytest.fixture
def cluster():
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    yield
    ray.shutdown()


def test_a_search_on_ray_finds_what_one_process_finds(cluster):
    """Scores, predictions and the rows asked by a single fit are the same."""

    def teacher(X):
        codes = np.digitize(X[:, 0], [-0.5, 0.5])
        return np.eye(3)[codes] * 0.8 + 0.2 / 3

    X, y = make_classification(
        400, n_features=6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    X, y, pool = X[:60], y[:60], X[60:]
    model = ActiveDistiller(
        teacher,
        LogisticRegression(max_iter=300),
        budget=30,
        query_size=15,
        teacher_checks=CheckPolicy(error_rate=0.2),
        random_state=0,
    )
    search = GridSearchCV(model, {"budget": [10, 40]}, cv=2)
    alone = sklearn.clone(search).fit(X, y, X_unlabeled=pool)
    one = sklearn.clone(model).fit(X, y, X_unlabeled=pool)
    with parallel_config("ray"):
        together = sklearn.clone(search).fit(X, y, X_unlabeled=pool)
        with sklearn.config_context(working_memory=0.02):
            two = sklearn.clone(model).fit(X, y, X_unlabeled=pool)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(
            alone.cv_results_[name], together.cv_results_[name]
        )
    np.testing.assert_array_equal(alone.predict_proba(X), together.predict_proba(X))
    np.testing.assert_array_equal(one.labeled_round_, two.labeled_round_)
