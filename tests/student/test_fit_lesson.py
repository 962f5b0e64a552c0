import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import Lesson
from skadistill.soft_labels import fit_student
from skadistill.student import StudentNet

X, Y = load_iris(return_X_y=True)
TARGETS = 0.9 * np.eye(3)[Y] + 0.1 / 3
CLASSES = np.array(["a", "b", "c"])


def net(**params):
    return StudentNet(**{"max_epochs": 8, "random_state": 0, **params})


def test_a_bare_lesson_is_fit_soft():
    soft = net().fit_soft(X, TARGETS, classes=CLASSES)
    lesson = net().fit_lesson(X, Lesson(TARGETS), classes=CLASSES)
    np.testing.assert_array_equal(soft.predict_proba(X), lesson.predict_proba(X))


def test_parts_that_change_nothing_change_nothing():
    """Temperature 1, alpha 1, spread 0: the cross-entropy by another road."""
    n = len(X)
    lesson = Lesson(
        TARGETS, temperature=np.ones(n), alpha=np.ones(n), spread=np.zeros((n, 3))
    )
    soft = net().fit_soft(X, TARGETS, classes=CLASSES)
    same = net().fit_lesson(X, lesson, classes=CLASSES)
    np.testing.assert_allclose(
        soft.predict_proba(X), same.predict_proba(X), rtol=1e-4, atol=1e-6
    )


def test_subclasses_are_folded_back():
    """Six outputs become three classes whose probabilities sum to 1."""
    rng = np.random.default_rng(0)
    lesson = Lesson(TARGETS, subclasses=rng.dirichlet([1, 1], (len(X), 3)))
    student = net(max_epochs=30).fit_lesson(X, lesson, classes=CLASSES)
    proba = student.predict_proba(X)
    assert student.n_subclasses_ == 2
    assert student.module_[-1][-1].out_features == 6
    assert proba.shape == (len(X), 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert student.score(X, CLASSES[Y]) > 0.85


def test_subclasses_are_learned():
    """Where a half of a class is marked, its outputs learn to tell the halves."""
    low = X[:, 2] < np.median(X[:, 2])
    within = np.repeat(np.c_[low, ~low].astype(float)[:, None], 3, axis=1)
    student = net(max_epochs=60).fit_lesson(
        X, Lesson(TARGETS, subclasses=within), classes=CLASSES
    )
    outputs = torch.softmax(next(iter(student.forward_iter(X))), dim=1)
    first = outputs.unflatten(1, (3, 2)).sum(1)[:, 0].numpy()
    assert np.mean((first > 0.5) == low) > 0.9


def test_a_later_fit_without_subclasses_has_one_output_a_class_again():
    lesson = Lesson(TARGETS, subclasses=np.full((len(X), 3, 2), 0.5))
    student = net(max_epochs=1).fit_lesson(X, lesson, classes=CLASSES)
    student.fit(X, CLASSES[Y])
    assert student.n_subclasses_ == 1
    assert student.module_[-1][-1].out_features == 3


def test_mixing_reaches_the_student():
    """A fifth of each class relabeled: the plain student predicts the noise too.

    Where mixing accounts for the noise, the student answers as if there were none.
    """
    wrong = np.arange(len(X)) % 5 == 0
    targets = np.eye(3)[np.where(wrong, (Y + 1) % 3, Y)]
    lesson = Lesson(
        targets, alpha=np.full(len(X), 0.8), spread=np.full((len(X), 3), 0.1)
    )
    plain = net(max_epochs=40).fit_soft(X, targets, classes=CLASSES)
    mixed = net(max_epochs=40).fit_lesson(X, lesson, classes=CLASSES)
    truth = np.arange(len(X)), Y
    certainty = [s.predict_proba(X)[truth].mean() for s in (plain, mixed)]
    assert certainty[1] > certainty[0] + 0.08


class Reweighter:
    """Count the calls, keep what was seen, and mute one class."""

    def __init__(self, muted):
        self.muted = muted
        self.seen = []

    def __call__(self, proba):
        self.seen.append(np.array(proba))
        return np.where(self.muted, 0.0, 1.0)


def test_weights_are_refreshed_before_each_epoch_but_the_first():
    reweighter = Reweighter(np.zeros(len(X), dtype=bool))
    student = net(max_epochs=5).fit_lesson(
        X, Lesson(TARGETS, reweight=reweighter), classes=CLASSES
    )
    assert len(reweighter.seen) == 4
    assert reweighter.seen[0].shape == (len(X), 3)
    # Epoch by epoch the student has moved on; rows are in their own order.
    assert not np.allclose(reweighter.seen[0], reweighter.seen[-1])
    right = reweighter.seen[-1].argmax(axis=1) == student.predict_proba(X).argmax(1)
    assert right.mean() > 0.8
    assert [name for name, _ in student.callbacks_].count("reweight") == 0


def test_constant_new_weights_change_nothing():
    class Constant:
        def __call__(self, proba):
            return np.full(len(proba), 0.3)

    soft = net().fit_soft(X, TARGETS, classes=CLASSES)
    same = net().fit_lesson(X, Lesson(TARGETS, reweight=Constant()), classes=CLASSES)
    np.testing.assert_allclose(
        soft.predict_proba(X), same.predict_proba(X), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "student",
    [net(max_epochs=40), LogisticRegression(max_iter=500)],
    ids=["net", "logistic"],
)
def test_rows_muted_by_the_objective_do_not_teach(student):
    """Class "c" is labeled "a"; muting those rows leaves "b" the best guess."""
    targets = np.eye(3)[np.where(Y == 2, 0, Y)]
    targets = 0.97 * targets + 0.01
    lesson = Lesson(targets, reweight=Reweighter(Y == 2))
    fit_student(student, X, lesson, classes=CLASSES)
    assert np.mean(student.predict(X[Y == 2]) == "b") > 0.9


def test_lesson_weights_multiply_sample_weights():
    weights, sample_weight = np.where(Y == 0, 2.0, 1.0), np.where(Y == 1, 3.0, 1.0)
    one = net().fit_lesson(
        X,
        Lesson(TARGETS, weights=weights),
        classes=CLASSES,
        sample_weight=sample_weight,
    )
    other = net().fit_soft(
        X, TARGETS, classes=CLASSES, sample_weight=weights * sample_weight
    )
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_reweighting_speaks_of_all_rows_also_where_some_weigh_nothing():
    weight = np.where(np.arange(len(X)) < 10, 0.0, 1.0)
    reweighter = Reweighter(np.zeros(len(X), dtype=bool))
    net(max_epochs=3).fit_lesson(
        X,
        Lesson(TARGETS, reweight=reweighter),
        classes=CLASSES,
        sample_weight=weight,
    )
    assert {len(seen) for seen in reweighter.seen} == {len(X)}


def test_a_pipeline_hands_the_lesson_to_its_last_step():
    lesson = Lesson(TARGETS, subclasses=np.full((len(X), 3, 2), 0.5))
    pipeline = make_pipeline(StandardScaler(), net())
    fit_student(pipeline, X, lesson, classes=CLASSES)
    assert pipeline[-1].n_subclasses_ == 2


def test_a_fitted_student_survives_pickling_without_its_lesson():
    lesson = Lesson(TARGETS, alpha=np.full(len(X), 0.9))
    student = net(max_epochs=2).fit_lesson(X, lesson, classes=CLASSES)
    twin = pickle.loads(pickle.dumps(student))
    np.testing.assert_array_equal(twin.predict_proba(X), student.predict_proba(X))
    assert student._run is None


MIXED = Lesson(TARGETS, alpha=np.full(len(X), 0.9))
SPLIT = Lesson(TARGETS, subclasses=np.full((len(X), 3, 2), 0.5))


@pytest.mark.parametrize(
    ("student", "lesson", "message"),
    [
        (
            net(criterion=nn.NLLLoss),
            MIXED,
            "criterion is <class 'torch.nn.modules.loss.NLLLoss'>, but the objective "
            "has its own loss; leave the criterion out, or use the objective "
            "'soft'.",
        ),
        (
            net(predict_nonlinearity=None),
            MIXED,
            "predict_nonlinearity is None, but the objective's loss reads logits; let "
            "the module return logits and leave predict_nonlinearity out.",
        ),
        (
            LogisticRegression(),
            MIXED,
            "the objective has its own loss, which LogisticRegression cannot "
            "follow; use a StudentNet, or an objective made of targets and weights, "
            "such as 'soft' or 'debiased'.",
        ),
        (
            net(),
            Lesson(TARGETS, reweight=lambda proba: np.zeros(len(proba))),
            "reweight must return 150 finite weights, none negative and some "
            "positive, got values from 0 to 0; fix the objective.",
        ),
        (
            LogisticRegression(max_iter=500),
            Lesson(TARGETS, reweight=lambda proba: proba),
            "reweight must return 150 finite weights, none negative and some "
            "positive, got shape (150, 3); fix the objective.",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(student, lesson, message):
    with pytest.raises((ValueError, ObjectiveError)) as error:
        fit_student(student, X, lesson, classes=CLASSES)
    assert str(error.value) == message


def test_training_cannot_go_on_with_another_number_of_subclasses():
    student = net(warm_start=True).fit_lesson(X, SPLIT, classes=CLASSES)
    with pytest.raises(ValueError, match="got 1 after 2; fit a fresh clone"):
        student.fit_lesson(X, MIXED, classes=CLASSES)
    with pytest.raises(ValueError, match="the module has 2 outputs per class"):
        student.partial_fit(X, CLASSES[Y])


def test_new_weights_multiply_sample_weights_of_other_students():
    sample_weight = np.where(Y == 1, 0.2, 1.0)
    lesson = Lesson(TARGETS, reweight=lambda proba: np.where(Y == 0, 0.1, 1.0))
    student, twin = (LogisticRegression(max_iter=500) for _ in range(2))
    fit_student(student, X, lesson, classes=CLASSES, sample_weight=sample_weight)
    product = sample_weight * np.where(Y == 0, 0.1, 1.0)
    fit_student(twin, X, TARGETS, classes=CLASSES, sample_weight=product)
    np.testing.assert_array_equal(student.predict_proba(X), twin.predict_proba(X))
