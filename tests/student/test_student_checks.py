"""scikit-learn's own checks."""

from functools import partial

from sklearn.utils.estimator_checks import (
    estimator_checks_generator,
    parametrize_with_checks,
)

from skadistill.student import StudentNet

QUICK = {"max_epochs": 12, "lr": 1e-2, "random_state": 0}
ROUNDING = (
    "the check compares probabilities at rtol=1e-7, which float32 sums in another "
    "order cannot meet; in float64 the check passes, see the test below"
)
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": ROUNDING,
    "check_sample_weight_equivalence_on_sparse_data": ROUNDING,
}


@parametrize_with_checks(
    [StudentNet(**QUICK)], expected_failed_checks=lambda _: EXPECTED
)
def test_estimator_checks(estimator, check):
    """Every check passes in float32 but two that ask for float64's precision."""
    check(estimator)


def name_of(check):
    return check.func.__name__ if isinstance(check, partial) else check.__name__


def test_weights_are_repetitions_in_double_precision():
    """The two checks that float32 fails pass in float64 with full batches."""
    net = StudentNet(input_dtype="float64", batch_size=-1, module__dropout=0.0, **QUICK)
    passed = []
    for estimator, check in estimator_checks_generator(net):
        if name_of(check) in EXPECTED:
            check(estimator)
            passed.append(name_of(check))
    assert set(passed) <= set(EXPECTED)
    assert passed
