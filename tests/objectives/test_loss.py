import numpy as np
import pytest
import torch

from skadistill.objectives import Lesson
from skadistill.objectives._loss import LessonLoss


def random_lesson(rng, n=6, c=3, s=2, parts=()):
    """Make a lesson with the named parts; every second row is as good as plain."""
    plain = np.arange(n) % 2 == 0
    values = {
        "temperature": np.where(plain, 1.0, rng.uniform(0.5, 4, n)),
        "alpha": np.where(plain, 1.0, rng.uniform(0.3, 1, n)),
        "spread": np.where(
            plain[:, None] | (rng.random((n, c)) < 0.3),
            0,
            rng.uniform(0.1, 0.5, (n, c)),
        ),
        "subclasses": rng.dirichlet(np.ones(s), (n, c)),
    }
    targets = rng.dirichlet(np.ones(c), n)
    return Lesson(targets, **{part: values[part] for part in parts})


def loss_by_formula(lesson, logits):
    """Compute the formula of Lesson's docstring, row by row, in numpy."""
    n, c = lesson.targets.shape
    s = lesson.n_subclasses
    losses = []
    for i in range(n):
        t = 1.0 if lesson.temperature is None else lesson.temperature[i]
        alpha = 1.0 if lesson.alpha is None else lesson.alpha[i]
        spread = np.zeros(c) if lesson.spread is None else lesson.spread[i]
        p = np.exp(logits[i] / t - np.max(logits[i] / t))
        p = (p / p.sum()).reshape(c, s)
        f = p.sum(axis=1)
        loss = -np.sum(lesson.targets[i] * np.log(alpha * f + spread * (1 - f)))
        if lesson.subclasses is not None and not np.isnan(lesson.subclasses[i]).any():
            within = lesson.subclasses[i] * np.log(p / f[:, None])
            loss -= np.sum(lesson.targets[i][:, None] * within)
        losses.append(t**2 * loss)
    return np.array(losses)


PARTS = [
    (),
    ("temperature",),
    ("alpha", "spread"),
    ("subclasses",),
    ("alpha", "spread", "subclasses"),
    ("temperature", "alpha", "spread", "subclasses"),
]


@pytest.mark.parametrize("parts", PARTS)
def test_the_loss_is_the_formula(parts):
    rng = np.random.default_rng(0)
    lesson = random_lesson(rng, parts=parts)
    logits = rng.normal(size=(6, 3 * lesson.n_subclasses)) * 2
    packed = torch.from_numpy(LessonLoss.pack(lesson))
    loss = LessonLoss(lesson)(torch.from_numpy(logits), packed)
    np.testing.assert_allclose(loss, loss_by_formula(lesson, logits), rtol=1e-6)


@pytest.mark.parametrize("parts", PARTS)
def test_gradients_agree_with_finite_differences(parts):
    rng = np.random.default_rng(1)
    lesson = random_lesson(rng, parts=parts)
    packed = torch.from_numpy(LessonLoss.pack(lesson)).double()
    logits = torch.from_numpy(rng.normal(size=(6, 3 * lesson.n_subclasses)))
    loss = LessonLoss(lesson)
    assert torch.autograd.gradcheck(
        lambda z: loss(z, packed), logits.requires_grad_(), atol=1e-6
    )


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_a_student_sure_of_itself_gets_finite_losses_and_gradients(parts, scale):
    """One-hot probabilities, where log(0) and 0 / 0 lie in wait."""
    lesson = random_lesson(np.random.default_rng(2), parts=parts)
    n_outputs = 3 * lesson.n_subclasses
    logits = torch.zeros(6, n_outputs)
    logits[torch.arange(6), torch.arange(6) % n_outputs] = scale
    logits.requires_grad_()
    loss = LessonLoss(lesson)(logits, torch.from_numpy(LessonLoss.pack(lesson)))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


def test_mixing_bounds_the_loss_of_a_confident_student():
    """With s > 0 everywhere, no row can cost more than -log(min(s, alpha))."""
    lesson = Lesson(
        np.array([[1.0, 0.0]]), alpha=np.array([0.8]), spread=np.array([[0.2, 0.2]])
    )
    packed = torch.from_numpy(LessonLoss.pack(lesson))
    loss = LessonLoss(lesson)(torch.tensor([[-1e4, 1e4]]), packed)
    assert loss.item() == pytest.approx(-np.log(0.2), rel=1e-6)


def test_subclasses_unknown_in_a_row_leave_the_cross_entropy_of_the_classes():
    lesson = Lesson(
        np.array([[0.7, 0.3]]), subclasses=np.full((1, 2, 3), np.nan, dtype=np.float32)
    )
    logits = torch.tensor([[1.0, 2.0, 3.0, 0.5, 0.1, 0.2]])
    folded = torch.softmax(logits, 1).reshape(2, 3).sum(1).log()
    loss = LessonLoss(lesson)(logits, torch.from_numpy(LessonLoss.pack(lesson)))
    assert loss.item() == pytest.approx(
        -(0.7 * folded[0] + 0.3 * folded[1]).item(), rel=1e-6
    )


def test_temperature_keeps_the_gradients_size():
    """As T grows, T^2 times the gradient tends to (z - v) / C of centred logits."""
    teacher = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)
    temperature = 1e3
    lesson = Lesson(
        torch.softmax(teacher / temperature, 1).numpy(),
        temperature=np.array([temperature]),
    )
    logits = torch.tensor([[0.5, 0.5, -1.0]], dtype=torch.float64, requires_grad=True)
    packed = torch.cat(
        [torch.from_numpy(lesson.targets), torch.tensor([[temperature]])], dim=1
    )
    LessonLoss(lesson)(logits, packed).sum().backward()
    torch.testing.assert_close(
        logits.grad, (logits.detach() - teacher) / 3, rtol=1e-2, atol=1e-3
    )
