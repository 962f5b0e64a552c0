"""Every objective keeps the contract; each breach of it is told."""

import numpy as np
import pytest
import torch

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import (
    LELP,
    Corrected,
    Debiased,
    Evidence,
    Objective,
    SLaM,
    SoftTargets,
)
from skadistill.objectives._loss import LessonLoss
from skadistill.testing import check_objective
from skadistill.testing._objective import make_evidence

OBJECTIVES = [
    SoftTargets(),
    SoftTargets(temperature=3.0, hard_weight=0.5),
    SLaM(),
    SLaM(normalized=False),
    SLaM(alpha=0.7, k=2),
    SLaM(alpha="absolute"),
    SLaM(base=SoftTargets(temperature=2.0)),
    Debiased(),
    Debiased("ratio", n_neighbors=5),
    Debiased(withheld=0.5),
    Debiased(base=SLaM()),
    Corrected(),
    Corrected(n_passes=1, base=SoftTargets(temperature=2.0)),
    LELP(base=Corrected()),
    LELP(n_subclasses=3),
    LELP(base=SLaM()),
    SLaM(base=LELP(n_subclasses=2)),
    Debiased(withheld=0.3, base=SLaM(base=LELP(base=SoftTargets(temperature=2.0)))),
]


@pytest.mark.parametrize(
    "objective", OBJECTIVES, ids=lambda o: " ".join(repr(o).split())
)
def test_every_objective_keeps_the_contract(objective):
    check_objective(objective)


def test_evidence_may_be_brought_along():
    """Parameters with an entry per row fit one number of rows."""
    evidence = make_evidence(seed=3)
    # Permuting the rows would have to permute the parameter.
    same = Evidence(
        np.repeat(evidence.targets[[0, -1]], [4, 4], axis=0), np.arange(8) < 4
    )
    check_objective(SLaM(alpha=np.full(8, 0.7), k=2), evidence=same)
    with pytest.raises(ObjectiveError, match="alpha has shape"):
        check_objective(SLaM(alpha=np.full(8, 0.7), k=2))


class Sound(Objective):
    """Change nothing; the broken ones below differ in one point each."""

    def __init__(self, scale=1.0, *, base=None):
        self.scale = scale
        self.base = base

    def transform(self, lesson, evidence):
        return lesson


class Rescaling(Sound):
    def __init__(self, scale=1.0, *, base=None):
        self.scale = np.array(scale)
        self.base = base


class Remembering(Sound):
    def transform(self, lesson, evidence):
        self.last = lesson
        return lesson


class Unlearned(Sound):
    def transform(self, lesson, evidence):
        return lesson.targets


class Scaled(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(targets=lesson.targets / 2)


class Boundless(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(alpha=np.full(len(lesson.targets), 1.5))


class Extinct(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(alpha=np.zeros(len(lesson.targets)))


class Spread(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(spread=np.full(lesson.targets.shape, -0.1))


class Misshapen(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(weights=np.ones((len(lesson.targets), 1)))


class Negative(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(weights=-np.ones(len(lesson.targets)))


class Undefined(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(weights=np.full(len(lesson.targets), np.nan))


class Subclasses(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(subclasses=np.full((*lesson.targets.shape, 2), 0.4))


class Refreshed(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(reweight=lambda proba: -proba[:, 0])


class Silenced(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(reweight=lambda proba: 0 * proba[:, 0])


class Smoothing(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(targets=0.9 * lesson.targets + 0.1 / evidence.n_classes)


class Mixing(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(spread=np.full(lesson.targets.shape, 0.1))


class Favouring(Sound):
    def transform(self, lesson, evidence):
        return lesson.replace(weights=1 + lesson.targets[:, 0])


class Counting(Sound):
    def transform(self, lesson, evidence):
        if evidence.given.all():
            return lesson
        return lesson.replace(weights=np.arange(len(lesson.targets)))


class CountingLate(Sound):
    def transform(self, lesson, evidence):
        if evidence.given.all():
            return lesson
        return lesson.replace(reweight=lambda proba: np.arange(len(proba)))


class Meddling(Sound):
    def transform(self, lesson, evidence):
        evidence.targets[-1] = evidence.targets[-1][::-1].copy()
        return lesson


class Rolling(Sound):
    calls = 0

    def transform(self, lesson, evidence):
        Rolling.calls += 1
        return lesson.replace(
            weights=np.full(len(lesson.targets), float(Rolling.calls))
        )


class Asking(Sound):
    def transform(self, lesson, evidence):
        if evidence.embeddings is None and not evidence.given.all():
            raise ObjectiveError("no embeddings")
        return lesson


class Pretending(Sound):
    uses_teacher_checks = True

    def _check_evidence(self, evidence):
        pass


class Jealous(Sound):
    def transform(self, lesson, evidence):
        if self.base is None:
            return lesson
        return lesson.replace(weights=np.ones(len(lesson.targets)))


class Freezing(Sound):
    """Set a temperature that is zero in float32."""

    def transform(self, lesson, evidence):
        return lesson.replace(
            temperature=np.where(evidence.given, 1.0, 1e-60),
        )


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Rescaling, "changes the parameter 'scale'; it must only store"),
        (Remembering, r"lesson sets the attributes \['last'\]"),
        (Unlearned, "lesson returned ndarray"),
        (Scaled, "targets sum to between 0.[45].* and 0.5.*, not to 1"),
        (Boundless, r"alpha lie between 1.5 and 1.5, not all in \(0, 1\]"),
        (Extinct, r"alpha lie between 0.0 and 0.0, not all in \(0, 1\]"),
        (Spread, r"spread lie between -0.1 and -0.1, not all in \[0, 1\]"),
        (Misshapen, r"weights has shape \(120, 1\), not \(120,\)"),
        (Negative, r"weights lie between -1.0 and -1.0, not all in \[0, inf\)"),
        (Undefined, "weights lie between nan and nan"),
        (Subclasses, "subclasses sum to between 0.8 and 0.8, not to 1"),
        (Refreshed, "reweight's weights lie between"),
        (Silenced, "reweight returned nothing but zeros"),
        (Smoothing, "the targets of given rows are changed"),
        (Mixing, "the loss of given rows is not the cross-entropy"),
        (Favouring, "given rows do not have equal weights"),
        (Counting, "permuting the rows does not permute weights"),
        (CountingLate, "does not permute what reweight returns"),
        (Meddling, "the evidence's targets were changed in place"),
        (Rolling, "the same evidence twice gives a different lesson: weights"),
        (Asking, "fails without embeddings, but does not say it needs it"),
        (Pretending, "says it needs teacher_checks, but does not raise without"),
        (Jealous, "SoftTargets with defaults as its base changes weights"),
        (Freezing, "the loss has gradients that are not finite"),
    ],
)
def test_a_broken_contract_is_named(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_objective(broken())


def test_the_sound_one_passes():
    """The base class of the broken objectives keeps the contract."""
    check_objective(Sound())


def test_only_objectives_are_checked():
    with pytest.raises(AssertionError, match="'soft' is not an instance of"):
        check_objective("soft")


def test_a_loss_whose_gradient_is_another_ones_is_told(monkeypatch):
    """The kit's own finite differences see a gradient that is off by one."""

    class Crooked(LessonLoss):
        def forward(self, output, packed):
            excess = (output - output.detach()).sum(dim=1)
            return super().forward(output, packed) + excess

    monkeypatch.setattr("skadistill.testing._objective.LessonLoss", Crooked)
    with pytest.raises(AssertionError, match="is not that of finite differences"):
        check_objective(Sound())


def test_a_loss_that_breaks_at_one_hot_students_is_told(monkeypatch):
    """The logarithm of a probability that has become zero has no gradient."""

    class Naive(LessonLoss):
        def forward(self, output, packed):
            return -(packed * torch.softmax(output, dim=1).log()).sum(dim=1)

    monkeypatch.setattr("skadistill.testing._objective.LessonLoss", Naive)
    with pytest.raises(AssertionError, match=r"not finite at logits around 10000\."):
        check_objective(Sound())
