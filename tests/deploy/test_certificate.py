"""Certificates: exact promises, and audits that are paid for and kept apart."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skadistill import MemoryLedger
from skadistill.deploy import certify_accuracy, certify_agreement
from skadistill.deploy._certificate import _certify_share, _gap_bound
from skadistill.exceptions import BudgetError


def test_a_good_student_is_certified_and_the_bill_is_told(problem):
    """Three hundred rows nobody was trained on, bought through the same ledger."""
    fitted = problem.fit()
    before, n_known = problem.n_asked, len(fitted.ledger_)
    found = certify_agreement(fitted, problem.X[1500:], target=0.8, random_state=0)
    assert found
    assert found.certified
    assert found.n_more == 0
    assert (found.n_samples, found.n_paid) == (300, 300)
    assert found.cost == pytest.approx(30.0)
    assert problem.n_asked - before == len(fitted.ledger_) - n_known == 300
    agreed = fitted.predict(problem.X[1500:]) == problem.taught[1500:]
    assert abs(found.estimate - agreed.mean()) < 0.08
    assert found.bound < found.estimate
    assert repr(found).startswith(
        "certified: agreement with the teacher of at least 0.8, confidence 0.95; seen"
    )


def test_an_audit_of_the_same_rows_is_free(problem):
    fitted = problem.fit()
    first = certify_agreement(fitted, problem.X[1500:], random_state=0)
    second = certify_agreement(fitted, problem.X[1500:], random_state=0)
    assert (second.n_paid, second.cost, second.estimate) == (0, 0.0, first.estimate)


def test_what_is_missing_is_told():
    """As many more rows as would do if what was seen repeated itself."""
    hits = np.arange(100) < 97
    found = _certify_share("x", hits, 0.95, 0.95)
    assert not found.certified
    n_rows = found.n_samples + found.n_more
    more = np.arange(n_rows) < n_rows - np.ceil(0.03 * n_rows)
    assert _certify_share("x", more, 0.95, 0.95).certified
    assert f"{found.n_more} more rows would do if the estimate held" in repr(found)
    hopeless = _certify_share("x", np.arange(100) < 90, 0.95, 0.95)
    assert hopeless.n_more is None
    assert repr(hopeless).startswith("not certified: x")
    assert "more rows will not help" in repr(hopeless)


def test_rows_that_the_student_was_trained_on_are_left_out(problem):
    """Given rows and paid ones, wherever they stand; none else is a named error."""
    fitted = problem.fit()
    labeled = np.flatnonzero(fitted.labeled_round_ >= 0)
    found = certify_agreement(fitted, problem.X[:1500], n_audit=None)
    assert found.n_samples == 1500 - len(labeled)
    with pytest.raises(BudgetError, match="trained on all of them"):
        certify_agreement(fitted, problem.X[labeled])


def test_a_spent_ledger_leaves_fewer_rows(problem):
    """They are the first of the draw, so that the bound still holds."""
    fitted = problem.fit(ledger=MemoryLedger(max_rows=250))
    found = certify_agreement(fitted, problem.X[1500:], random_state=0)
    assert (found.n_samples, found.n_refused) == (50, 250)
    assert "250 rows were beyond the ledger's budget" in repr(found)


def test_rows_without_an_answer_are_left_out_and_told(problem):
    """A teacher that answers no label for some rows."""
    fitted = problem.fit()
    silent = {row.tobytes() for row in problem.X[1500:2000]}

    def answer(X):
        return [
            None if row.tobytes() in silent else problem.answers[row.tobytes()]
            for row in X
        ]

    fitted.teacher_ = answer
    found = certify_agreement(fitted, problem.X[1500:2500], n_audit=None)
    assert (found.n_samples, found.n_no_label) == (500, 500)
    assert "500 rows had no answer" in repr(found)


def test_accuracy_is_certified_for_nothing(problem):
    """Given labels cost nothing."""
    fitted, before = problem.fit(), problem.n_asked
    X, y = problem.X[1500:], problem.y[1500:]
    n_before = problem.n_asked
    found = certify_accuracy(fitted, X, y, target=0.8)
    assert found.estimate == pytest.approx(fitted.score(X, y))
    assert problem.n_asked == n_before == before
    assert found.certified
    assert not certify_accuracy(fitted, X, y, target=0.99)


def test_the_gap_to_the_teacher_is_certified(problem):
    """Paired: only rows on which one of the two is wrong count."""
    fitted = problem.fit()
    X, y, taught = problem.X[1500:], problem.y[1500:], problem.taught[1500:]
    found = certify_accuracy(fitted, X, y, within=0.25)
    gap = np.mean(taught == y) - fitted.score(X, y)
    assert found.estimate == pytest.approx(gap)
    assert found.certified == (found.bound <= 0.25)
    assert found.bound > gap
    assert found.n_paid == 1500
    assert not certify_accuracy(fitted, X, y, within=0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, X, y: certify_agreement(f, X, target=1.0), "target is 1.0"),
        (lambda f, X, y: certify_agreement(f, X, confidence=0), "confidence is 0"),
        (lambda f, X, y: certify_accuracy(f, X, y), "pass one of the two"),
        (
            lambda f, X, y: certify_accuracy(f, X, y, target=0.9, within=0.1),
            "pass one of the two",
        ),
        (lambda f, X, y: certify_accuracy(f, X, y, within=1.0), "within is 1.0"),
        (lambda f, X, y: certify_accuracy(f, X, y[:-1], target=0.9), "inconsistent"),
    ],
)
def test_mistakes_are_told_before_anything_is_paid(problem, call, message):
    fitted = problem.fit()
    before = problem.n_asked
    with pytest.raises(ValueError, match=message):
        call(fitted, problem.X[1500:], problem.y[1500:])
    assert problem.n_asked == before


def test_an_unfitted_distiller_is_refused(problem):
    with pytest.raises(NotFittedError):
        certify_agreement(problem.distiller(), problem.X)


def broken_promises(n_draws, share, target, seed=0):
    """Draw audits of a student that is just not good enough."""
    rng = np.random.default_rng(seed)
    return np.mean(
        [
            _certify_share("x", rng.random(300) < share, target, 0.95).certified
            for _ in range(n_draws)
        ]
    )


def broken_gaps(n_draws, within, seed=0):
    """Draw audits of a student whose gap to its teacher is just what is allowed."""
    rng = np.random.default_rng(seed)
    only_student = 0.05
    broken = 0
    for _ in range(n_draws):
        n_teacher, n_student, _ = rng.multinomial(
            300, [within + only_student, only_student, 1 - within - 2 * only_student]
        )
        broken += _gap_bound(n_teacher, n_student, 300, 0.95) < within
    return broken / n_draws


def test_certificates_are_rarely_wrong():
    """At most 5 %, with the tolerance of 400 draws."""
    assert broken_promises(400, 0.95 - 1e-9, 0.95) <= 0.08
    assert broken_gaps(400, 0.03) <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.98])
def test_certificates_keep_their_promise(share):
    """2,000 audits of a student that is just below the target; 5 % and 3 errors."""
    tolerance = 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert broken_promises(2000, share, share + 1e-9) <= 0.05 + tolerance
    assert broken_gaps(2000, 1 - share if share > 0.9 else 0.05) <= 0.05 + tolerance


@pytest.mark.parametrize("n_audit", [0, -5, 2.5, True, "all"])
def test_numbers_of_audit_rows_are_checked(problem, n_audit):
    """Before anything is paid, and not as rows that were trained on."""
    fitted = problem.fit()
    before = problem.n_asked
    with pytest.raises(ValueError, match=f"n_audit is {n_audit!r}; pass an integer"):
        certify_agreement(fitted, problem.X[1500:], n_audit=n_audit)
    with pytest.raises(BudgetError, match="there are no audit rows"):
        certify_agreement(fitted, problem.X[:0])
    with pytest.raises(ValueError, match="target is 'high'; pass a number"):
        certify_agreement(fitted, problem.X[1500:], target="high")
    assert problem.n_asked == before


@pytest.mark.parametrize("n_audit", [1, 3])
def test_few_rows_certify_nothing(problem, n_audit):
    """Even if all agree: three rows show no more than a share of 0.37."""
    fitted = problem.fit()
    found = certify_agreement(
        fitted, problem.X[1500:], target=0.4, n_audit=n_audit, random_state=0
    )
    assert found.n_samples == n_audit
    assert not found


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda y: np.where(np.arange(len(y)) < 7, np.nan, y), "7 of the 500"),
        (lambda y: np.where(np.arange(len(y)) < 9, -1, y), "9 of the 500"),
        (lambda y: y.astype(str), "none of the 500 labels"),
        (lambda y: y + 5, r"student's classes \[0, 1\]"),
    ],
    ids=["missing", "marker", "strings", "other codes"],
)
def test_labels_that_cannot_be_compared_are_refused(problem, spoil, message):
    """They would count as mistakes of the student, in silence."""
    fitted = problem.fit()
    y = spoil(problem.y[1500:2000])
    for how in ({"target": 0.7}, {"within": 0.1}):
        with pytest.raises(ValueError, match=message):
            certify_accuracy(fitted, problem.X[1500:2000], y, **how)


def test_a_class_that_the_student_does_not_know_is_a_mistake(problem):
    """It comes in use as well, and the student will be wrong."""
    fitted = problem.fit()
    y = np.where(np.arange(500) < 250, 2, problem.y[1500:2000])
    found = certify_accuracy(fitted, problem.X[1500:2000], y, target=0.7)
    assert 0.4 < found.estimate <= 0.5
