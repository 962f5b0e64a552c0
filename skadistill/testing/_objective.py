"""Check that an objective keeps its contract."""

from copy import deepcopy
from dataclasses import fields, replace
from functools import partial

import numpy as np
import torch
from sklearn.base import clone

from skadistill.exceptions import ObjectiveError
from skadistill.objectives import (
    Evidence,
    Lesson,
    Objective,
    SoftTargets,
    TeacherChecks,
)
from skadistill.objectives._loss import LessonLoss
from skadistill.testing._strategy import check_that

__all__ = ["check_objective"]

N_ROWS, N_GIVEN, N_CHECKS, N_CLASSES, N_DIMENSIONS = 120, 60, 50, 4, 6


def check_objective(objective: Objective, *, evidence: Evidence | None = None) -> None:
    """Check that an objective keeps the contract that students rely on.

    - Parameters: it can be cloned, and its constructor only stores.
    - Lesson: shapes fit; targets and subclasses are distributions; `alpha` lies in
      (0, 1], `spread` in [0, 1]; temperatures are positive; weights, including those
      of `reweight`, are finite and not negative.
    - Rows: permuting them permutes the lesson.
    - Given rows only: the loss is the cross-entropy with the labels (plus terms within
      classes), rows have equal weights, and no other evidence is needed.
    - Repetition: the same evidence gives the same lesson, and is not changed.
    - Missing evidence: it raises an `ObjectiveError` if evidence is missing that it
      says it needs.
    - Composition: :class:`~skadistill.objectives.SoftTargets` with default parameters
      changes nothing, as its base or on top of it.
    - Loss: its gradient is finite, also for one-hot predictions, and agrees with
      finite differences.

    Parameters
    ----------
    objective : Objective
        An instance; it is not changed.
    evidence : Evidence or None, default=None
        The evidence to use, for objectives that need a certain one, for example with a
        parameter of one value per row. None: synthetic evidence with four classes,
        teacher checks, embeddings and out-of-fold predictions.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message names the broken part.

    Examples
    --------
    >>> from skadistill.objectives import SLaM, SoftTargets
    >>> from skadistill.testing import check_objective
    >>> check_objective(SLaM(base=SoftTargets(temperature=2.0)))
    """
    check_that(
        isinstance(objective, Objective),
        f"{objective!r} is not an instance of skadistill.objectives.Objective",
    )
    evidence = make_evidence() if evidence is None else evidence
    check_constructor(objective)
    for check in CHECKS:
        check(clone(objective), deepcopy(evidence))


def make_evidence(seed=0):
    """Return synthetic evidence of a teacher that labels two thirds correctly."""
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(N_CLASSES, 0.5), size=N_ROWS)
    truth = (proba.cumsum(axis=1) < rng.random((N_ROWS, 1))).sum(axis=1)
    truth = np.minimum(truth, N_CLASSES - 1)
    given = np.arange(N_ROWS) < N_GIVEN
    weights = rng.normal(size=(N_CLASSES, N_DIMENSIONS))
    return Evidence(
        targets=np.where(given[:, None], np.eye(N_CLASSES)[truth], proba),
        given=given,
        teacher_checks=TeacherChecks(np.arange(N_CHECKS), proba[:N_CHECKS]),
        embeddings=proba @ weights + rng.normal(size=(N_ROWS, N_DIMENSIONS)),
        output_weights=weights,
        out_of_fold=partial(_lean_to, np.eye(N_CLASSES)[truth]),
        random_state=seed,
        fit_and_predict=partial(_lean_to_truth, np.eye(N_CLASSES)[truth]),
    )


def _lean_to_truth(truth, train, targets, test):
    """Return predictions as of a student that has learned some of the truth."""
    return 0.6 * truth[test] + 0.4 / truth.shape[1]


def _lean_to(truth, targets, n_folds, seed):
    """Return predictions as of students that have learned some of the truth."""
    return 0.5 * truth + 0.3 * targets + 0.2 / truth.shape[1]


def check_constructor(objective):
    """Require that the constructor only stores its parameters."""
    parameters = objective.get_params(deep=False)
    for name, value in parameters.items():
        check_that(
            getattr(type(objective)(**parameters), name) is value,
            f"the constructor changes the parameter {name!r}; it must only store",
        )


def check_lesson(objective, evidence):
    """Require that the parts of the lesson have valid shapes and values."""
    lesson = objective.lesson(evidence)
    n_samples, n_classes = evidence.targets.shape
    check_that(isinstance(lesson, Lesson), f"lesson returned {type(lesson).__name__}")
    shapes = {
        "targets": (n_samples, n_classes),
        "temperature": (n_samples,),
        "alpha": (n_samples,),
        "spread": (n_samples, n_classes),
        "subclasses": (n_samples, n_classes, lesson.n_subclasses),
        "weights": (n_samples,),
    }
    for name, shape in shapes.items():
        part = getattr(lesson, name)
        if part is None:
            continue
        check_that(part.shape == shape, f"{name} has shape {part.shape}, not {shape}")
        _within(name, part, *RANGES[name])
    _distribution("targets", lesson.targets)
    if lesson.subclasses is not None:
        known = ~np.isnan(lesson.subclasses).any(axis=(1, 2))
        _distribution("subclasses", lesson.subclasses[known])
    if lesson.reweight is not None:
        weights = np.asarray(lesson.reweight(_student_proba(evidence)))
        check_that(
            weights.shape == (n_samples,), f"reweight returned shape {weights.shape}"
        )
        _within("reweight's weights", weights, *RANGES["weights"])
        check_that(weights.any(), "reweight returned nothing but zeros")


def check_repetition(objective, evidence):
    """Require that the same evidence gives the same lesson, and is not changed."""
    own = set(vars(objective))
    before = {name: part.copy() for name, part in _arrays(evidence).items()}
    lesson = objective.lesson(evidence)
    new = {name for name in set(vars(objective)) - own if not name.endswith("_")}
    check_that(not new, f"lesson sets the attributes {sorted(new)}")
    for name, part in _arrays(evidence).items():
        check_that(
            np.array_equal(part, before[name], equal_nan=part.dtype.kind == "f"),
            f"the evidence's {name} were changed in place",
        )
    again = clone(objective).lesson(evidence)
    _same_lesson(lesson, again, "the same evidence twice gives a different lesson:")


def check_given_rows_alone(objective, evidence):
    """Require that without rows from the teacher, the loss is plain cross-entropy."""
    n_samples = int(evidence.given.sum())
    labels = evidence.targets[evidence.given]
    lesson = objective.lesson(Evidence(labels, np.ones(n_samples, dtype=bool)))
    check_that(
        np.array_equal(lesson.targets, labels),
        "the targets of given rows are changed although no row came from the teacher",
    )
    log_f = torch.log_softmax(_logits(n_samples, labels.shape[1]), dim=1)
    # Without subclasses, whose terms only add to the loss.
    plain = lesson.replace(subclasses=None)
    loss = LessonLoss(plain)(log_f, torch.from_numpy(LessonLoss.pack(plain)))
    expected = -(torch.from_numpy(labels) * log_f).sum(dim=1)
    check_that(
        torch.allclose(loss.double(), expected, atol=1e-6),
        "the loss of given rows is not the cross-entropy with their labels",
    )
    weights = np.ones(n_samples) if lesson.weights is None else lesson.weights
    if lesson.reweight is not None:
        weights = weights * lesson.reweight(log_f.exp().numpy())
    check_that(np.ptp(weights) == 0, "given rows do not have equal weights")


def check_rows_may_be_permuted(objective, evidence):
    """Require that the order of the rows does not matter."""
    order = np.random.default_rng(1).permutation(len(evidence.targets))
    lesson, permuted = objective.lesson(evidence), _permute(evidence, order)
    _same_lesson(
        _permuted_lesson(lesson, order),
        objective.lesson(permuted),
        "permuting the rows does not permute",
    )
    if lesson.reweight is not None:
        proba = _student_proba(evidence)
        check_that(
            np.allclose(
                lesson.reweight(proba)[order],
                objective.lesson(permuted).reweight(proba[order]),
            ),
            "permuting the rows does not permute what reweight returns",
        )


def check_missing_evidence(objective, evidence):
    """Require an ObjectiveError for missing evidence, and only for that."""
    for need, missing in [
        ("teacher_checks", objective.needs_teacher_checks),
        ("embeddings", objective.needs_embeddings),
        ("out_of_fold", objective.needs_out_of_fold),
        ("fit_and_predict", objective.needs_fit_and_predict),
    ]:
        try:
            objective.lesson(replace(evidence, **{need: None}))
        except ObjectiveError:
            check_that(missing, f"fails without {need}, but does not say it needs it")
        else:
            check_that(not missing, f"says it needs {need}, but does not raise without")


def check_composition(objective, evidence):
    """Require that it works on top of another objective, and as its base."""
    lesson = objective.lesson(evidence)
    above = SoftTargets(base=clone(objective)).lesson(evidence)
    _same_lesson(lesson, above, "SoftTargets on top of it changes")
    bottom = objective
    while bottom.base is not None:
        bottom = bottom.base
    bottom.set_params(base=SoftTargets())
    _same_lesson(
        lesson,
        objective.lesson(evidence),
        "SoftTargets with defaults as its base changes",
    )


def check_loss_gradient(objective, evidence):
    """Require that the gradient of the loss is finite and correct."""
    lesson = objective.lesson(evidence)
    loss = LessonLoss(lesson)
    packed = torch.from_numpy(LessonLoss.pack(lesson)).double()
    logits = _logits(len(packed), lesson.targets.shape[1] * lesson.n_subclasses)
    for scale in (1.0, 1e4):  # 1e4: one-hot predictions
        point = (scale * logits).requires_grad_()
        loss(point, packed).sum().backward()
        check_that(
            bool(torch.isfinite(point.grad).all()),
            f"the loss has gradients that are not finite at logits around {scale:g}",
        )
        if scale == 1:
            gradient = point.grad
    direction, step = torch.ones_like(logits), 1e-5
    direction[:, ::2] = -0.5
    ahead, behind = logits + step * direction, logits - step * direction
    slope = (loss(ahead, packed) - loss(behind, packed)) / (2 * step)
    check_that(
        torch.allclose((gradient * direction).sum(dim=1), slope, atol=1e-5),
        "the loss's gradient is not that of finite differences",
    )


CHECKS = [
    check_lesson,
    check_repetition,
    check_given_rows_alone,
    check_rows_may_be_permuted,
    check_missing_evidence,
    check_composition,
    check_loss_gradient,
]
# Smallest and largest value, and whether the smallest is itself excluded.
RANGES = {
    "targets": (0, 1, False),
    "temperature": (0, np.inf, True),
    "alpha": (0, 1, True),
    "spread": (0, 1, False),
    "subclasses": (0, 1, False),
    "weights": (0, np.inf, False),
}


def _within(name, values, low, high, open_low):
    """Require numbers between two bounds; NaN is allowed for subclasses."""
    if name == "subclasses":
        values = values[~np.isnan(values)]
    inside = (values > low if open_low else values >= low) & (values <= high + 1e-9)
    inside &= np.isfinite(values)
    check_that(
        inside.all(),
        f"{name} lie between {values.min()} and {values.max()}, not all in "
        f"{'(' if open_low else '['}{low}, {high}{']' if np.isfinite(high) else ')'}",
    )


def _distribution(name, values):
    """Require that the last axis sums to 1."""
    sums = values.sum(axis=-1)
    check_that(
        np.allclose(sums, 1, atol=1e-5),
        f"{name} sum to between {sums.min()} and {sums.max()}, not to 1",
    )


def _same_lesson(one, other, message):
    """Require that two lessons agree in all but the function that reweights."""
    for field in fields(Lesson):
        a, b = getattr(one, field.name), getattr(other, field.name)
        same = (a is None) == (b is None)
        if same and isinstance(a, np.ndarray):
            same = a.shape == b.shape and np.allclose(a, b, atol=1e-5, equal_nan=True)
        check_that(same, f"{message} {field.name}")


def _permuted_lesson(lesson, order):
    arrays = {name: part[order] for name, part in _arrays(lesson).items()}
    return lesson.replace(**arrays)


def _permute(evidence, order):
    """Put the rows of evidence in another order."""
    embeddings, checks = evidence.embeddings, evidence.teacher_checks
    out_of_fold, back = evidence.out_of_fold, np.argsort(order)
    predict = evidence.fit_and_predict
    if checks is not None:
        checks = replace(checks, rows=back[checks.rows])
    return replace(
        evidence,
        targets=evidence.targets[order],
        given=evidence.given[order],
        embeddings=None if embeddings is None else embeddings[order],
        teacher_checks=checks,
        out_of_fold=out_of_fold
        and (lambda targets, *args: out_of_fold(targets[back], *args)[order]),
        fit_and_predict=predict
        and (lambda train, targets, test: predict(order[train], targets, order[test])),
    )


def _arrays(parts):
    """Return the arrays among the fields, including those of the teacher checks."""
    found = {field.name: getattr(parts, field.name) for field in fields(parts)}
    if found.get("teacher_checks") is not None:
        found |= {"checks.rows": found["teacher_checks"].rows}
        found |= {"checks.proba": found["teacher_checks"].proba}
    return {name: part for name, part in found.items() if isinstance(part, np.ndarray)}


def _logits(n_samples, n_outputs):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_samples, n_outputs, generator=generator, dtype=torch.float64)


def _student_proba(evidence):
    return torch.softmax(_logits(*evidence.targets.shape), dim=1).numpy()
