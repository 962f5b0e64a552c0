"""scikit-learn's own checks, with both kinds of student and both markers."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skadistill import ActiveDistiller, StudentNet

# The checks give every row a label, and the default budget is a share of the pool.
pytestmark = pytest.mark.filterwarnings("ignore::skadistill.exceptions.BudgetWarning")


def _distillers():
    teacher = LogisticRegression(C=10)
    for student in (
        LogisticRegression(),
        StudentNet(max_epochs=20, lr=0.02, random_state=0),
    ):
        for marker in (None, -1):
            yield ActiveDistiller(teacher, student, unlabeled_marker=marker)


def _expected_failures(estimator):
    if estimator.unlabeled_marker is None:
        return {}
    return {
        "check_classifiers_classes": (
            "its data has the classes -1 and 1, and here -1 marks unlabeled rows; "
            "scikit-learn exempts its own semi-supervised classifiers by name"
        )
    }


# The marker -1 must fail that check and no other; a check that passes against
# expectation is an error too (xfail_strict in pyproject.toml).
@parametrize_with_checks(list(_distillers()), expected_failed_checks=_expected_failures)
def test_scikit_learn_checks(estimator, check):
    """ActiveDistiller is a scikit-learn classifier."""
    check(estimator)
