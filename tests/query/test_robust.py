from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill._statistics.checks import TeacherChecks
from skadistill.checking import CheckPolicy
from skadistill.checking._error_curve import ErrorCurve
from skadistill.query import QueryPool, RADSampler, RobustSampler
from skadistill.teachers import as_teacher

SHARE = 0.1


def noisy_problem(seed, n_samples=3000, n_labeled=400):
    """Two classes with an honest border; hide the labels of the pool."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 3))
    y = (X @ [2.0, 1.0, 0.5] + rng.normal(size=n_samples) > 0).astype(int)
    given = np.where(np.arange(n_samples) < n_labeled, y, -1)
    return X, y, given


class TableTeacher:
    """Answer each row from a table, and count the rows asked."""

    def __init__(self, X, answers):
        self.row = {x.tobytes(): i for i, x in enumerate(X)}
        self.answers = np.asarray(answers)
        self.asked = []

    def __call__(self, X):
        rows = [self.row[x.tobytes()] for x in X]
        self.asked += rows
        return np.eye(2)[self.answers[rows]]


def border_teacher(X, y, share=0.3):
    """Be wrong exactly where a student of the labeled rows is unsure."""
    student = LogisticRegression().fit(X[:400], y[:400])
    margin = np.abs(student.decision_function(X))
    wrong = np.zeros(len(y), dtype=bool)
    for part in (slice(0, 400), slice(400, None)):
        wrong[part] = margin[part] < np.quantile(margin[part], share)
    return TableTeacher(X, np.where(wrong, 1 - y, y)), wrong


def curve_of(wrong_where, n_labeled=300, seed=0, n_checks=40):
    """Check a teacher that is wrong on two-class rows of some gains."""
    rng = np.random.default_rng(seed)
    first = rng.random(n_labeled)
    proba = np.stack([first, 1 - first], axis=1)
    truth = (rng.random(n_labeled) > first).astype(int)
    curve = ErrorCurve(proba, truth, TeacherChecks.none(2))
    rows = curve.order(SHARE, rng)[:n_checks]
    answer = np.where(wrong_where(curve.gains), 1 - truth, truth)
    return curve.of(TeacherChecks(rows, np.eye(2)[answer[rows]], truth[rows]))


def first(curve, n_checks):
    """Return the curve as it was after the first checks."""
    checks = curve.checks
    return curve.of(
        TeacherChecks(
            checks.rows[:n_checks], checks.proba[:n_checks], checks.truth[:n_checks]
        )
    )


def query(curve, proba, kept=None):
    pool = QueryPool.from_proba(proba)
    pool.error_curve, pool.kept = curve, kept
    rows = RobustSampler().query(pool, len(proba) // 10, np.random.default_rng(1))
    return rows, pool


def binary_proba(seed=2, n_samples=1000):
    first = np.random.default_rng(seed).random(n_samples)
    return np.stack([first, 1 - first], axis=1)


def test_without_checks_a_teacher_is_trusted():
    """The rows of largest gain are asked about, and nothing is kept."""
    proba = binary_proba()
    rows, pool = query(None, proba)
    gains = 1 - np.abs(proba[:, 0] - proba[:, 1])
    assert gains[rows].min() >= np.sort(gains)[-100]
    assert pool.kept is None


def test_a_teacher_right_on_all_rows_is_trusted_after_the_fewest_checks():
    """Twenty checks suffice, and they leave no doubt."""
    curve = curve_of(lambda gains: gains < 0, n_checks=20)
    assert first(curve, 0).n_more_checks(SHARE) == 20
    assert curve.n_more_checks(SHARE) == 0
    assert not curve.settle(SHARE).distrusted
    assert not first(curve, 0).settle(SHARE).distrusted


def test_a_trusted_teacher_is_asked_about_the_rows_of_largest_gain():
    """As `UncertaintySampler` asks; nothing is drawn and nothing is kept."""
    curve = curve_of(lambda gains: gains < 0, n_checks=20).settle(SHARE)
    proba = binary_proba()
    rows, pool = query(curve, proba)
    gains = 1 - np.abs(proba[:, 0] - proba[:, 1])
    assert gains[rows].min() >= np.sort(gains)[-100]
    assert pool.kept is None


def test_a_teacher_wrong_where_the_student_is_unsure_is_doubted():
    """It is checked on, and its rows lose their worth."""
    curve = curve_of(lambda gains: gains > 0.7)
    assert first(curve, 20).n_more_checks(SHARE) == 10
    assert first(curve, 35).n_more_checks(SHARE) == 5
    assert curve.n_more_checks(SHARE) == 0
    curve = curve.settle(SHARE)
    assert curve.distrusted
    low, high = curve.discount(np.array([0.3, 0.95], dtype=np.float32))
    assert low > 0.4
    assert high < 0.1
    proba = binary_proba()
    gains = 1 - np.abs(proba[:, 0] - proba[:, 1])
    rows, _ = query(curve, proba)
    assert np.mean(gains[rows] > 0.75) < 0.5 * np.mean(query_gains(proba) > 0.75)


def test_errors_by_chance_do_not_cost_a_teacher_its_trust():
    """Hard labels of two classes do much harm; that alone moves no row."""
    distrusted = [
        curve_of(lambda gains: np.arange(len(gains)) % 3 == 0, seed=seed)
        .settle(SHARE)
        .distrusted
        for seed in range(60)
    ]
    assert np.mean(distrusted) <= 0.1


def query_gains(proba):
    gains = 1 - np.abs(proba[:, 0] - proba[:, 1])
    return gains[query(None, proba)[0]]


def test_the_discount_is_the_tabulated_curve():
    """A table of steps differs little from the curve itself."""
    curve = curve_of(lambda gains: gains > 0.7)
    gains = np.random.default_rng(3).random(5000).astype(np.float32)
    cost = 1 - 4 * curve.ratio
    assert cost > 1
    exact = np.clip(1 - cost * curve.errors(gains), 0, 1)
    np.testing.assert_allclose(curve.discount(gains), exact, atol=0.02)
    ends = curve.discount(np.array([0.0, 1.0, 1.0000001], dtype=np.float32))
    assert np.isfinite(ends).all()


def test_the_curve_is_learned_in_the_first_round_and_kept():
    """Later rounds use what was kept, whatever the student says by then."""
    curve = curve_of(lambda gains: gains > 0.7).settle(SHARE)
    proba = binary_proba()
    _, pool = query(curve, proba)
    kept = pool.kept
    assert kept.shape == (1000,)
    rng = np.random.default_rng(0)
    _, later = query(curve, proba[rng.permutation(1000)], kept)
    assert later.kept is kept


class Judge:
    """A committee that finds some rows hard, whatever the student says of them."""

    def predict_proba(self, X):
        first = np.where(X[:, 0] > 0, 0.5, 0.95)
        return np.stack([first, 1 - first], axis=1)


def test_rows_that_the_committee_finds_hard_are_avoided():
    """The student's own margins are as large for these rows as for the others."""
    calls = []

    def train_committee():
        calls.append(1)
        return Judge()

    curve = curve_of(lambda gains: gains > 0.7).settle(SHARE)
    curve = replace(curve, train_committee=train_committee)
    proba = np.full((1000, 2), 0.5)
    X = np.random.default_rng(4).normal(size=(1000, 1))
    pool = QueryPool.from_proba(proba, X=X)
    pool.error_curve = curve
    rows = RobustSampler().query(pool, 100, np.random.default_rng(1))
    assert (X[rows, 0] < 0).all()
    again = QueryPool.from_proba(proba, X=X)
    again.error_curve, again.kept = curve, pool.kept
    RobustSampler().query(again, 100, np.random.default_rng(2))
    assert len(calls) == 1


def test_no_committee_is_trained_for_a_trusted_teacher():
    curve = curve_of(lambda gains: gains < 0, n_checks=20).settle(SHARE)
    curve = replace(curve, train_committee=lambda: pytest.fail("trained"))
    rows, _ = query(curve, binary_proba())
    assert len(rows) == 100


def test_labeled_rows_are_judged_thrice_before_a_teacher_is_doubted():
    """What is learned rests on the mean; a trusted teacher costs no training."""
    doubtful = curve_of(lambda gains: gains > 0.7)
    other = np.random.default_rng(5).dirichlet([1, 1], size=300)
    numbers = []

    def judge(number):
        numbers.append(number)
        return other

    settled = replace(doubtful, judge_again=judge).settle(SHARE)
    assert numbers == [1, 2]
    np.testing.assert_allclose(settled.proba, (doubtful.proba + 2 * other) / 3)
    np.testing.assert_array_equal(settled.checks.rows, doubtful.checks.rows)
    good = curve_of(lambda gains: gains < 0, n_checks=20)
    replace(good, judge_again=judge).settle(SHARE)
    replace(first(good, 0), judge_again=judge).settle(SHARE)
    assert numbers == [1, 2]


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_the_committee_learns_given_labels_only(tmp_path):
    """Paid labels that a ledger already holds come in before the first query."""
    X, y, given = noisy_problem(11)
    teacher, _ = border_teacher(X, y)
    path = str(tmp_path / "labels.sqlite")
    sizes = []
    for budget in (200, 280):
        taught = []
        ActiveDistiller(
            as_teacher(teacher, name="border"),
            Taught(taught, random_state=0),
            ledger=path,
            budget=budget,
            query_size=40,
            random_state=0,
        ).fit(X, given)
        sizes.append(taught)
    for taught in sizes:
        # Five members, each of another seed, and of the 400 given rows.
        seeds = {seed for n_rows, seed in taught if n_rows == 400}
        assert len(seeds) == 6


class Taught(LogisticRegression):
    """Note the number of rows and the seed of each training."""

    def __init__(self, taught=None, random_state=None):
        super().__init__(random_state=random_state)
        self.taught = taught

    def __sklearn_clone__(self):
        return Taught(self.taught, self.random_state)

    def fit(self, X, y, sample_weight=None):
        self.taught.append((len(X), self.random_state))
        return super().fit(X, y, sample_weight)


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_the_loop_asks_fewer_wrong_rows_than_random_rows_hold():
    """Against a teacher wrong where the first student is unsure."""
    shares = {"robust": [], "random": []}
    for seed in range(3):
        X, y, given = noisy_problem(seed)
        for name, found in shares.items():
            teacher, wrong = border_teacher(X, y)
            distiller = ActiveDistiller(
                teacher,
                LogisticRegression(),
                query_strategy=name,
                budget=300,
                query_size=80,
                random_state=seed,
            ).fit(X, given)
            found.append(wrong[distiller.labeled_round_ > 0].mean())
    assert np.mean(shares["robust"]) < 0.6 * np.mean(shares["random"])


@pytest.mark.filterwarnings("ignore::skadistill.exceptions.TeacherWarning")
def test_checks_are_inside_the_budget_and_at_most_a_fifth_of_it():
    """A doubtful teacher costs forty rows, or a fifth; a good one twenty."""
    X, y, given = noisy_problem(5)
    bad, _ = border_teacher(X, y, share=0.5)
    for teacher, n_checks in ((TableTeacher(X, y), 20), (bad, 40)):
        distiller = ActiveDistiller(
            teacher,
            LogisticRegression(),
            query_strategy="robust",
            budget=300,
            query_size=80,
            random_state=0,
        ).fit(X, given)
        assert distiller.n_teacher_checks_ == n_checks
        assert distiller.n_queries_ == 300 - n_checks
        assert len(teacher.asked) == 300
        assert distiller.teacher_checks_.method == "aimed"
        assert distiller.teacher_checks_.n_samples == n_checks


def test_an_objective_that_needs_checks_gets_them_inside_the_budget_too():
    """The plan promises no more than the budget, and no more is paid."""
    X, y, given = noisy_problem(8)
    teacher = TableTeacher(X, y)
    distiller = ActiveDistiller(
        teacher,
        LogisticRegression(),
        query_strategy="robust",
        objective="debiased",
        budget=100,
        query_size=40,
        random_state=0,
    )
    assert distiller.plan(X, given).n_rows_to_pay == 100
    distiller.fit(X, given)
    assert distiller.n_teacher_checks_ == 20
    assert distiller.teacher_checks_.method == "asked"
    assert len(teacher.asked) == 100


@pytest.mark.parametrize("budget", [1, 4, 6])
def test_a_budget_of_a_few_rows_is_spent_whole(budget):
    """Too few for a check."""
    X, y, given = noisy_problem(9)
    teacher = TableTeacher(X, y)
    distiller = ActiveDistiller(
        teacher,
        LogisticRegression(),
        query_strategy="robust",
        budget=budget,
        query_size=40,
        random_state=0,
    ).fit(X, given)
    assert len(teacher.asked) == budget
    assert distiller.n_teacher_checks_ == 0


def test_a_teacher_fitted_here_is_checked_for_nothing():
    """Cross-fitting gives evidence on all labeled rows."""
    X, _, given = noisy_problem(6)
    distiller = ActiveDistiller(
        LogisticRegression(C=0.01),
        LogisticRegression(),
        query_strategy="robust",
        budget=100,
        random_state=0,
    ).fit(X, given)
    assert distiller.n_teacher_checks_ == 0
    assert distiller.n_queries_ == 100
    assert distiller.teacher_checks_.method == "cross-fitted"


@pytest.mark.parametrize("teacher_checks", [CheckPolicy(error_rate=0.1), 0])
def test_a_given_error_rate_leaves_the_teacher_unchecked(teacher_checks):
    """A rate is played as in the paper, and none as if the teacher were right."""
    X, y, given = noisy_problem(7)
    asked = []
    rival = "margin" if teacher_checks == 0 else RADSampler("auto")
    for strategy in ("robust", rival):
        teacher = TableTeacher(X, y)
        ActiveDistiller(
            teacher,
            LogisticRegression(),
            query_strategy=strategy,
            budget=100,
            teacher_checks=teacher_checks,
            objective="soft",
            random_state=0,
        ).fit(X, given)
        asked.append(teacher.asked)
    assert len(asked[0]) == 100
    assert asked[0] == asked[1]
