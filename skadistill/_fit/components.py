"""The objects that the parameters of a fit stand for."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skadistill._utils.display import text_of
from skadistill.exceptions import ObjectiveError
from skadistill.objectives import SoftTargets
from skadistill.objectives._as_objective import as_objective
from skadistill.objectives._auto import AutoObjective
from skadistill.objectives._base import Objective
from skadistill.objectives._lelp import LELP
from skadistill.objectives._slam import SLaM
from skadistill.query._as_strategy import as_strategy
from skadistill.query._rad import RADSampler
from skadistill.soft_labels._as_student import as_student, for_labels
from skadistill.soft_labels._default import default_students
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._base import BaseTeacher
from skadistill.teachers._estimator import EstimatorTeacher
from skadistill.teachers._function import FunctionTeacher

__all__ = ["Components", "named_teacher", "resolve", "unwrap_teacher"]


@dataclass(frozen=True, eq=False)
class Components:
    """Hold what the names given to the estimator stand for."""

    teacher: BaseTeacher
    student: Any
    strategy: Any
    objective: Objective
    # Students to choose from if none is named.
    candidates: dict = field(default_factory=dict)


def named_teacher(teacher, classes):
    """Return the teacher, whose columns have the order in which the user names classes.

    Of a function that has not said what they mean, they would be read sorted.
    """
    teacher = as_teacher(teacher)
    params = teacher.get_params(deep=False)
    if classes is None or teacher.classes_ is not None or "classes" not in params:
        return teacher
    named = list(dict.fromkeys(np.asarray(classes, dtype=object).tolist()))
    return type(teacher)(**params | {"classes": named})


def resolve(teacher, student, query_strategy, objective, *, seed, parts=(), space=None):
    """Turn names into objects, once per fit."""
    objective, strategy = as_objective(objective), as_strategy(query_strategy)
    _refuse_one_class(objective, strategy, space)
    candidates = {}
    if student is None and _has_own_loss(objective):
        from skadistill.student._net import StudentNet

        student = StudentNet()
    elif student is None:
        candidates = {
            name: for_labels(as_student(each, seed), space)
            for name, each in default_students(parts, space.n_outcomes).items()
        }
        student = next(iter(candidates.values()))
    student = as_student(student, seed)
    components = Components(
        teacher=as_teacher(teacher),
        student=student if candidates else for_labels(student, space),
        strategy=strategy,
        objective=objective,
        candidates=candidates,
    )
    if objective.needs_embeddings and not components.teacher.has_embeddings:
        raise ObjectiveError(
            f"the objective {objective!r} needs the teacher's embeddings, which "
            f"{text_of(teacher):.80} does not return; name their source with "
            "as_teacher(teacher, embedding=...), or use another objective."
        )
    return components


def _refuse_one_class(objective, strategy, space):
    """Raise if objective or strategy reads one class per row, and rows have several."""
    plain = isinstance(objective, SoftTargets) and objective.temperature == 1
    if objective.base is not None or not (
        plain or isinstance(objective, AutoObjective)
    ):
        space.refuse(f"the objective {objective!r}")
    # By name: scikit-activeml may not be installed.
    foreign = type(strategy).__name__ == "SkactivemlStrategy"
    if isinstance(strategy, RADSampler) or foreign:
        space.refuse(f"the query strategy {strategy!r}")


def _has_own_loss(objective):
    """Tell whether only a network can follow an objective."""
    if objective is None or isinstance(objective, SLaM | LELP):
        return objective is not None
    return _has_own_loss(getattr(objective, "base", None))


def unwrap_teacher(asked, given):
    """Return a teacher as the user knows it, if the ledger knows it so, too."""
    is_adapter = isinstance(asked, EstimatorTeacher | FunctionTeacher)
    if not is_adapter or isinstance(given, BaseTeacher):
        return asked
    if asked.classes is not None or hasattr(asked, "estimator_"):
        return asked  # alone it would not say what its columns mean, or who it is
    return getattr(asked, "estimator", None) or asked.function
