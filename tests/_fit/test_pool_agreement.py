"""What each round says of the student before it, at no price."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.checking import CheckPolicy

KEYS = ("pool_agreement", "pool_agreement_low", "pool_agreement_high", "n_effective")


@pytest.fixture
def problem():
    """Sixty labeled rows of 1000, and a teacher that is wrong in every tenth row."""
    X, y = make_classification(
        1000, n_features=6, n_informative=5, n_redundant=0, random_state=0
    )
    wrong = np.random.default_rng(0).random(1000) < 0.1
    answers = {row.tobytes(): c for row, c in zip(X, y ^ wrong, strict=True)}

    def teacher(X):
        return np.array([answers[row.tobytes()] for row in X])

    return X, np.where(np.arange(1000) < 60, y, -1), teacher, y ^ wrong, y


def fit(X, y, teacher, **params):
    params = {"query_strategy": "rad", "budget": 400, "query_size": 100} | params
    return ActiveDistiller(teacher, LogisticRegression(), random_state=0, **params).fit(
        X, y
    )


@pytest.mark.parametrize("strategy", ["rad", "margin", "random", "robust"])
def test_every_student_but_the_last_is_judged(problem, strategy):
    """By the rows of the next round, with an interval around the estimate."""
    X, y, teacher, _, _ = problem
    history = fit(
        X,
        y,
        teacher,
        query_strategy=strategy,
        teacher_checks=CheckPolicy(error_rate=0.1),
    ).history_
    for record in history[:-1]:
        low, high = record["pool_agreement_low"], record["pool_agreement_high"]
        assert 0 <= low <= record["pool_agreement"] <= high <= 1
        assert record["n_effective"] > 0
    assert [history[-1][key] for key in KEYS] == [None] * 4


def test_the_estimate_is_of_the_whole_pool(problem):
    """With all rows of a census it is the agreement of that very student."""
    X, y, teacher, answers, _ = problem
    fitted = fit(
        X,
        y,
        teacher,
        query_size=940,
        budget=None,
        teacher_checks=CheckPolicy(error_rate=0.1),
        use_known=False,
    )
    alone = LogisticRegression().fit(X[:60], y[:60])
    truth = np.mean(alone.predict(X[60:]) == answers[60:])
    first = fitted.history_[0]
    assert first["pool_agreement"] == pytest.approx(truth)
    assert first["pool_agreement_low"] == first["pool_agreement_high"]


@pytest.mark.parametrize("strategy", ["rad", "margin"])
def test_rows_labeled_before_belong_to_the_pool(problem, strategy):
    """The last round takes what is left: then the agreement on all rows is known."""
    X, y, teacher, answers, _ = problem
    params = {
        "query_strategy": strategy,
        "query_size": 500,
        "teacher_checks": CheckPolicy(error_rate=0.1),
    }
    whole = fit(X, y, teacher, budget=None, **params)
    part = fit(X, y, teacher, budget=500, **params)
    truth = np.mean(part.predict(X[60:]) == answers[60:])
    assert whole.n_rounds_ == 2
    assert whole.history_[1]["pool_agreement"] == pytest.approx(truth)


@pytest.mark.parametrize("strategy", ["rad", "margin"])
def test_estimates_over_fits_have_no_bias(problem, strategy):
    """In the mean over seeds, for the first student and for one that learned."""
    X, y, teacher, answers, _ = problem
    gaps = []
    for seed in range(25):
        shared = MemoryLedger()
        params = {
            "query_strategy": strategy,
            "teacher_checks": CheckPolicy(error_rate=0.1),
            "random_state": seed,
        }
        make = {"student": LogisticRegression(), "query_size": 100, "ledger": shared}
        long = ActiveDistiller(teacher, budget=300, **make, **params).fit(X, y)
        make["ledger"] = None
        short = ActiveDistiller(teacher, budget=200, **make, **params).fit(X, y)
        truth = np.mean(short.predict(X[60:]) == answers[60:])
        gaps.append(long.history_[2]["pool_agreement"] - truth)
    assert abs(np.mean(gaps)) < 3.5 * np.std(gaps) / np.sqrt(len(gaps))


def test_teacher_checks_bound_the_accuracy(problem):
    """The student's accuracy on the pool lies between the bounds."""
    X, y, teacher, _, truth = problem
    history = fit(X, y, teacher, teacher_checks=60, budget=460).history_
    alone = LogisticRegression().fit(X[:60], y[:60])
    accuracy = np.mean(alone.predict(X[60:]) == truth[60:])
    assert history[0]["pool_accuracy_low"] < accuracy < history[0]["pool_accuracy_high"]
    without = fit(X, y, teacher, teacher_checks=CheckPolicy(error_rate=0.1)).history_
    assert without[0]["pool_accuracy_low"] is None


def test_without_a_uniform_share_top_rows_say_nothing(problem):
    """And the strategy gets all rows, as ever; a drawing one still says something."""
    X, y, teacher, _, _ = problem
    history = fit(X, y, teacher, query_strategy="margin", uniform_share=0.0).history_
    assert all(record["pool_agreement"] is None for record in history)
    history = fit(X, y, teacher, query_strategy="random", uniform_share=0.0).history_
    assert history[0]["pool_agreement"] is not None


def test_labels_owned_before_judge_the_students_of_rebuilt_rounds(problem):
    """And rows drawn anew judge the last of them."""
    X, y, teacher, _, _ = problem
    ledger = MemoryLedger()
    fit(
        X,
        y,
        teacher,
        ledger=ledger,
        teacher_checks=CheckPolicy(error_rate=0.1),
        budget=200,
    )
    again = fit(
        X,
        y,
        teacher,
        ledger=ledger,
        teacher_checks=CheckPolicy(error_rate=0.1),
        budget=400,
    )
    rebuilt = [record for record in again.history_[1:] if not record["n_paid"]]
    assert sum(record["n_free"] for record in rebuilt) == 200
    judged = [record["pool_agreement"] is not None for record in again.history_]
    assert judged == [True] * again.n_rounds_ + [False]


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_the_share_is_a_share(problem, share):
    X, y, teacher, _, _ = problem
    with pytest.raises(ValueError, match="uniform_share"):
        fit(X, y, teacher, uniform_share=share)
