"""ActiveDistiller with objectives: what they are told, and what they cost."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier

from skadistill import ActiveDistiller, MemoryLedger, StudentNet
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.exceptions import ObjectiveError
from skadistill.objectives import (
    LELP,
    Corrected,
    Debiased,
    Lesson,
    Objective,
    SLaM,
    SoftTargets,
)
from skadistill.teachers import as_teacher


class Witness(Objective):
    """Hand out plain lessons and remember the evidence they were made of."""

    uses_teacher_checks = True
    seen: list = []

    def transform(self, lesson, evidence):
        self.seen.append(evidence)
        return lesson


@pytest.fixture
def witness():
    Witness.seen.clear()
    return Witness()


class Teacher:
    """Answer from the truth, softly, and count the rows."""

    def __init__(self, X, y):
        self.truth = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
        self.n_samples = 0

    def __call__(self, X):
        self.n_samples += len(X)
        return np.eye(3)[[self.truth[row.tobytes()] for row in X]] * 0.7 + 0.1


@pytest.fixture
def problem():
    """Sixty labeled rows of 300, three classes; a teacher that knows all."""
    X, y = make_classification(
        300, n_features=6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    partly = y.copy()
    partly[60:] = -1
    return X, y, partly, Teacher(X, y)


def distiller(teacher, **params):
    params = {
        "student": LogisticRegression(max_iter=500),
        "query_strategy": "random",
        "budget": 50,
        "query_size": 25,
        "random_state": 0,
        # What a weak teacher leads to is tested elsewhere.
        "teacher_checks": CheckPolicy(on_weak="ignore"),
    } | params
    return ActiveDistiller(teacher, **params)


def test_an_objective_is_told_what_is_known_in_each_round(problem, witness):
    X, y, partly, teacher = problem
    model = distiller(
        teacher,
        objective=witness,
        teacher_checks=CheckPolicy(40, on_weak="ignore"),
        budget=90,
    ).fit(X, partly)
    first, second, third = witness.seen
    assert [len(e.targets) for e in witness.seen] == [60, 85, 110]
    assert first.given.all()
    assert first.teacher_checks is None
    for evidence in (second, third):
        np.testing.assert_array_equal(np.flatnonzero(evidence.given), np.arange(60))
        rows = evidence.teacher_checks.rows
        assert len(rows) == 40
        np.testing.assert_array_equal(evidence.checked_truth, y[rows])
        np.testing.assert_allclose(evidence.teacher_checks.proba, teacher(X[rows]))
        assert evidence.teacher_checks.independent
        np.testing.assert_allclose(evidence.targets[60:].max(axis=1), 0.8)
    assert model.n_teacher_checks_ == 40
    assert first.random_state == third.random_state


def test_a_teacher_fitted_here_is_cross_fitted_for_the_objective(problem, witness):
    """It costs nothing, and no row is judged by a teacher that has seen it."""
    X, _, partly, _ = problem
    teacher = GaussianNB()
    model = distiller(teacher, objective=witness).fit(X, partly)
    checks = witness.seen[-1].teacher_checks
    assert model.n_teacher_checks_ == 0
    np.testing.assert_array_equal(checks.rows, np.arange(60))
    seen = model.teacher_.estimator_.predict_proba(X[:60])
    assert not np.allclose(checks.proba, seen)
    # It was fitted on them all, then, and its answers on other rows carry their truth.
    assert not checks.independent


def test_an_error_rate_given_stays_also_where_the_objective_validates(problem, witness):
    X, _, partly, teacher = problem
    model = distiller(
        teacher, objective=witness, teacher_checks=CheckPolicy(error_rate=0.25)
    ).fit(X, partly)
    assert model.teacher_error_ == 0.25
    assert model.n_teacher_checks_ == 10


def test_plan_counts_the_rows_an_objective_is_validated_on(problem, witness):
    X, _, partly, teacher = problem
    plan = distiller(teacher, objective=witness, teacher_checks=30).plan(X, partly)
    assert plan.n_teacher_checks == 30
    plain = distiller(teacher, objective="soft", teacher_checks=30).plan(X, partly)
    assert plain.n_teacher_checks == 0


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("hard", "objective must be one of 'auto', 'soft'"),
        (SoftTargets(-1.0), "temperature"),
    ],
)
def test_an_objective_that_cannot_be_is_an_error_that_costs_nothing(
    problem, objective, message
):
    X, _, partly, teacher = problem
    with pytest.raises(ValueError, match=message):
        distiller(teacher, objective=objective).fit(X, partly)
    assert teacher.n_samples == 0


@pytest.mark.parametrize("objective", [SLaM(), SoftTargets(2.0)])
def test_a_student_that_cannot_follow_is_found_before_anything_is_paid(
    problem, objective
):
    X, _, partly, teacher = problem
    with pytest.raises(ObjectiveError, match="LogisticRegression cannot follow"):
        distiller(teacher, objective=objective).fit(X, partly)
    assert teacher.n_samples == 0


@pytest.mark.parametrize(
    ("objective", "student"),
    [
        ("soft", LogisticRegression(max_iter=500)),
        ("debiased", LogisticRegression(max_iter=500)),
        ("corrected", LogisticRegression(max_iter=500)),
        ("corrected", StudentNet(max_epochs=15, random_state=0)),
        ("slam", StudentNet(max_epochs=15, random_state=0)),
        ("debiased", StudentNet(max_epochs=15, random_state=0)),
        (Debiased(base=SLaM()), StudentNet(max_epochs=15, random_state=0)),
    ],
)
def test_every_objective_trains_every_student_that_can_follow(
    problem, objective, student
):
    X, y, partly, teacher = problem
    model = distiller(teacher, objective=objective, student=student).fit(X, partly)
    assert model.termination_condition_ == "budget"
    assert model.score(X[60:], y[60:]) > 0.6
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_same_seed_same_student_with_an_objective(problem):
    X, _, partly, teacher = problem
    model = distiller(
        teacher,
        objective=Debiased(base=SLaM()),
        student=StudentNet(max_epochs=5),
        query_strategy="robust",
    )
    one, two = clone(model).fit(X, partly), clone(model).fit(X, partly)
    np.testing.assert_array_equal(one.labeled_round_, two.labeled_round_)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


class Pupil(LogisticRegression):
    """A student that tells how much its rows weighed."""

    weighed: list = []

    def fit(self, X, y, sample_weight=None):
        self.weighed.append((len(X), float(np.sum(sample_weight))))
        return super().fit(X, y, sample_weight)


class AskStudents(Objective):
    """Hand out plain lessons and remember what students of other folds say."""

    uses_out_of_fold = True
    said: list = []

    def transform(self, lesson, evidence):
        self.said.append(evidence.out_of_fold(lesson.targets, 3, 0))
        return lesson


def test_an_objective_may_ask_students_that_were_trained_on_other_rows(
    problem, metadata_routing
):
    """Fitted like the student, with its metadata; the student itself is not touched."""
    X, _, partly, teacher = problem
    AskStudents.said.clear(), Pupil.weighed.clear()
    student = Pupil(max_iter=500).set_fit_request(sample_weight=True)
    model = distiller(teacher, objective=AskStudents(), student=student)
    model.fit(X, partly, sample_weight=np.full(300, 2.0))
    assert [len(proba) for proba in AskStudents.said] == [60, 85, 110]
    weights = [weight for _, weight in Pupil.weighed]
    np.testing.assert_allclose(weights[:4], [80, 80, 80, 120], rtol=1e-5)
    np.testing.assert_allclose(sum(weights[-4:-1]), 2 * weights[-1], rtol=1e-5)


def test_corrected_labels_make_a_better_student_of_a_wrong_teacher():
    """A third of its answers are wrong; a perfect one is distilled as it is."""
    for error_rate in (0.35, 0.0):
        problem = make_noisy_teacher_problem(
            200,
            1500,
            2000,
            n_clusters_per_class=1,
            teacher_error=error_rate,
            random_state=0,
        )
        X, y = problem.partially_labeled()
        soft, corrected = (
            distiller(
                problem.teacher,
                student=GaussianNB(),
                objective=objective,
                budget=budget,
            )
            .fit(X, y)
            .score(problem.X_test, problem.y_test)
            # The same 480 rows of the pool; a fifth of 600 goes to teacher checks.
            for objective, budget in (("soft", 480), (Corrected(n_passes=1), 600))
        )
        assert corrected > soft + 0.02 if error_rate else corrected == soft


def test_a_teacher_fitted_here_is_not_corrected(problem):
    X, _, partly, _ = problem
    soft, corrected = (
        distiller(GaussianNB(), objective=objective).fit(X, partly)
        for objective in ("soft", "corrected")
    )
    np.testing.assert_array_equal(soft.predict_proba(X), corrected.predict_proba(X))


def test_a_search_reaches_the_objectives_parameters(problem):
    X, y, _, teacher = problem
    model = distiller(
        teacher,
        objective=SoftTargets(),
        student=StudentNet(max_epochs=2, random_state=0),
        ledger=MemoryLedger(),
        query_size=1000,
    )
    search = GridSearchCV(
        model,
        {"objective__temperature": [1.0, 2.0], "objective": [SoftTargets()]},
        cv=StratifiedKFold(2),
    )
    partly = np.where(np.arange(300) % 3 == 0, y, -1)
    labeled = partly != -1
    search.fit(X[labeled], y[labeled], X_unlabeled=X[~labeled])
    temperatures = [p["objective__temperature"] for p in search.cv_results_["params"]]
    assert sorted(temperatures) == [1.0, 2.0]
    assert search.best_estimator_.objective.temperature in (1.0, 2.0)


def test_a_lesson_of_ones_own_reaches_the_student(problem):
    """An objective that mutes the teacher leaves the student of the given rows."""

    class Mute(Objective):
        def transform(self, lesson, evidence):
            return Lesson(lesson.targets, weights=evidence.given.astype(float))

    X, y, partly, teacher = problem
    model = distiller(teacher, objective=Mute()).fit(X, partly)
    alone = LogisticRegression(max_iter=500).fit(X[:60], y[:60])
    np.testing.assert_allclose(
        model.predict_proba(X), alone.predict_proba(X), atol=1e-3
    )


class Embedder(Objective):
    """Ask for embeddings, remember the evidence, hand out plain lessons."""

    uses_embeddings = True
    seen: list = []

    def transform(self, lesson, evidence):
        self.seen.append(evidence)
        return lesson


@pytest.fixture
def embedder():
    Embedder.seen.clear()
    return Embedder()


def test_embeddings_are_bought_with_the_labels(problem, embedder):
    """Rows with given labels have none: asking about them would cost."""
    X, _, partly, teacher = problem
    both = as_teacher(teacher, embedding=lambda X: 2 * X)
    model = distiller(both, objective=embedder).fit(X, partly)
    first, second, third = (e.embeddings for e in embedder.seen)
    assert first is None
    assert second.shape == (85, 6)
    assert np.isnan(third[:60]).all()
    rounds = model.labeled_round_
    asked = np.concatenate([np.flatnonzero(rounds == r) for r in (1, 2)])
    np.testing.assert_allclose(
        third[60:].sum(axis=0), 2 * X[asked].sum(axis=0), rtol=1e-5
    )
    np.testing.assert_allclose(
        np.sort(third[60:85], axis=0), np.sort(2 * X[rounds == 1], axis=0), rtol=1e-6
    )
    assert teacher.n_samples == 50


def test_a_teacher_fitted_here_embeds_the_given_rows_as_well(problem, embedder):
    X, _, partly, _ = problem
    teacher = MLPClassifier((8,), max_iter=20, tol=1.0, random_state=0)
    model = distiller(teacher, objective=embedder).fit(X, partly)
    last = embedder.seen[-1]
    assert last.embeddings.shape == (110, 8)
    assert np.isfinite(last.embeddings).all()
    weights = model.teacher_.estimator_.coefs_[-1].T
    np.testing.assert_allclose(last.output_weights, weights)


def test_embeddings_paid_for_once_are_free_afterward(problem, embedder):
    X, _, partly, teacher = problem
    both = as_teacher(teacher, embedding=lambda X: 2 * X)
    ledger = MemoryLedger()
    for _ in range(2):
        model = distiller(both, objective=embedder, ledger=ledger).fit(X, partly)
    assert teacher.n_samples == 50
    assert model.n_paid_ == 0
    assert np.isfinite(embedder.seen[-1].embeddings[60:]).all()


def test_a_teacher_without_embeddings_is_refused_before_anything_is_paid(problem):
    X, _, partly, teacher = problem
    with pytest.raises(ObjectiveError, match=r"objective LELP\(\) needs the teacher's"):
        distiller(teacher, objective="lelp", student=None).fit(X, partly)
    assert teacher.n_samples == 0


@pytest.mark.parametrize("objective", ["lelp", SLaM(base=LELP(n_subclasses=2))])
def test_lelp_through_the_loop(problem, objective):
    X, y, partly, teacher = problem
    student = StudentNet(max_epochs=15, random_state=0)
    both = as_teacher(teacher, embedding=lambda X: X)
    model = distiller(both, objective=objective, student=student).fit(X, partly)
    assert model.student_.n_subclasses_ >= 2
    assert model.score(X[60:], y[60:]) > 0.6
