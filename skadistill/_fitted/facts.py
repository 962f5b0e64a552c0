"""What a fit leaves to tell, as tables of facts: for model cards and reports."""

import platform
from importlib.metadata import version

from sklearn.pipeline import Pipeline

from skadistill._fitted.compare import size_of
from skadistill._fitted.comparison import bytes_text
from skadistill._utils.display import qualified_name, text_of
from skadistill.ledger._counts import bill_text
from skadistill.query._as_strategy import as_strategy
from skadistill.query._robust import RobustSampler
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._base import BaseTeacher

__all__ = [
    "ENDINGS",
    "about_choices",
    "about_labels",
    "about_student",
    "about_teacher",
    "last_step",
    "rounds",
    "spending",
    "teacher_name",
    "versions",
]

PACKAGES = ("skadistill", "numpy", "scikit-learn", "torch", "skorch")
ENDINGS = {
    "no_pool": "there were no unlabeled rows",
    "budget": "the budget was spent",
    "pool_empty": "all rows were asked about",
    "stable_predictions": "the student no longer changed",
    "target_agreement": "the agreement with the teacher reached its target",
    "target_accuracy": "the accuracy reached its target",
    "gain_per_cost": "the next round was not worth its price",
    "waiting": "jobs of the teacher had not ended; the fit goes on when run again",
    "no_label": "the teacher left too many rows without a label",
    "ledger_budget": "the ledger's limit was reached",
    "callback": "a callback asked to stop",
}


def last_step(model):
    """Return the classifier at the end of a pipeline; any other model itself."""
    return last_step(model[-1]) if isinstance(model, Pipeline) else model


#: What the default strategy takes, by whether the teacher is distrusted.
_DRAWN = {
    True: "rows the student is unsure about, except where the teacher is likely "
    "wrong, since it is often wrong on rows that are hard",
    False: "rows on which the student is least sure, since the teacher is right on "
    "enough of them",
    None: "rows drawn by how unsure the student is, since nothing is known of the "
    "teacher's errors",
}


def about_student(served):
    """Tell what model the student is, and how large."""
    classifier = last_step(served)
    classes = [str(label) for label in classifier.classes_]
    facts = {"Model": text_of(served), "Classes": f"{len(classes)}: {_some(classes)}"}
    if hasattr(served, "n_features_in_"):
        facts["Features"] = served.n_features_in_
    size = size_of(served)
    if size is not None:
        facts["Size"] = bytes_text(size)
    if hasattr(classifier, "module_") and hasattr(classifier, "batch_size_"):
        facts |= {
            "Module": _module_name(classifier),
            "Weights": sum(p.numel() for p in classifier.module_.parameters()),
            "Epochs": classifier.n_iter_,
            "Batch size": classifier.batch_size_,
            "Seed": classifier.seed_,
        }
    return facts


def _module_name(net):
    """Return the name of the module's class, also for "auto" and functions."""
    from skadistill.student._module import Standardize

    module = net.module_
    parts = list(module.children())
    if len(parts) > 1 and isinstance(parts[0], Standardize):
        return f"{type(parts[1]).__name__}, inputs standardized"
    return type(module).__name__


def about_labels(distiller):
    """Count the rows by where their label is from, and tell how they were chosen."""
    rounds = distiller.labeled_round_
    n_free = sum(record["n_free"] for record in distiller.history_)
    return {
        "Rows with a given label": int((rounds == 0).sum()),
        "Rows labeled by the teacher": int((rounds > 0).sum()),
        "Rows without a label": int((rounds < 0).sum()),
        "Budget": distiller.budget,
        "Rows asked for": distiller.n_queries_,
        "Rows paid for": distiller.n_paid_,
        "Rows known to the ledger": n_free,
        "Rows paid for to check the teacher": distiller.n_teacher_checks_,
        "Cost": _cost(distiller),
        "Query strategy": text_of(as_strategy(distiller.query_strategy)),
        "Objective": text_of(distiller.objective_),
        "Ended because": ENDINGS[distiller.termination_condition_],
    }


def _cost(distiller):
    """Return the cost in the ledger, and which fits it includes."""
    cost = bill_text(distiller.ledger_.summary())
    if not cost:
        return "not stated by the teacher"
    if distiller.ledger is None:
        return cost
    return f"{cost}, with all other fits that used the same ledger"


def about_teacher(distiller):
    """Name the teacher, and tell how often it is wrong and how sure that is."""
    facts = {"Name": teacher_name(distiller.teacher)}
    if distiller.teacher_ is not None:
        identity = as_teacher(distiller.teacher_).identity
        models = distiller.ledger_.models(identity)
        if models:
            facts["Answered by"] = ", ".join(
                f"{name} ({n_rows} rows)" for name, n_rows in models.items()
            )
    rate, checks = distiller.teacher_error_, distiller.teacher_checks_
    if rate is None:
        facts["Error rate"] = "unknown"
    elif checks is not None and checks.method == "aimed":
        # Most of the rows seen were hard, and their interval is not that of all rows.
        facts["Error rate"] = f"{rate:.3f}, estimated for all labeled rows"
    elif checks is None or rate != checks.rate:
        facts["Error rate"] = f"{rate:.3f}, given by the user, not measured"
    else:
        low, high = checks.interval()
        facts["Error rate"] = f"{rate:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    if checks is not None:
        facts["Seen wrong"] = (
            f"on {checks.n_wrong} of {checks.n_samples} rows with given labels "
            f"({checks.method})"
        )
    return facts


def rounds(history):
    """Return the table of rounds, with accuracy if validation rows were given."""
    columns = {
        "Round": "round",
        "Rows trained on": "n_labeled",
        "Asked": "n_asked",
        "Paid": "n_paid",
        "Agreement on the rows asked": "student_agreement",
        "Agreement on the pool": "pool_agreement",
        "at least": "pool_agreement_low",
        "at most": "pool_agreement_high",
        "Accuracy on validation rows": "student_score",
    }
    table = {
        title: [record[name] for record in history] for title, name in columns.items()
    }
    return {
        title: ["" if v is None else _short(v) for v in values]
        for title, values in table.items()
        if any(v is not None for v in values)
    }


def versions():
    """Return the versions of Python and of the packages that decide."""
    return {"Python": platform.python_version()} | {p: version(p) for p in PACKAGES}


def teacher_name(teacher):
    """Name a teacher as its user did, else by its function or its class."""
    if teacher is None:
        return "none"
    if getattr(teacher, "name", None) and isinstance(teacher, BaseTeacher):
        return " ".join(filter(None, (teacher.name, teacher.version)))
    if isinstance(teacher, BaseTeacher) and isinstance(
        getattr(teacher, "model", None), str
    ):
        return f"{teacher.model}, asked by {type(teacher).__name__}"
    for inner in ("teacher", "function", "estimator"):
        if isinstance(teacher, BaseTeacher) and hasattr(teacher, inner):
            return teacher_name(getattr(teacher, inner))
    return qualified_name(teacher)


def _some(names, limit=20):
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ..."


def _short(value):
    return f"{value:.3f}" if isinstance(value, float) else value


def about_choices(distiller):
    """Tell what was left to the fit, what it chose, and why."""
    made = getattr(distiller, "_choices", {})
    checks, rate = distiller.teacher_checks_, distiller.teacher_error_
    seen = "it was not checked"
    if checks is not None:
        kinds = {"aimed": "mostly hard for the student", "asked": "drawn at random"}
        kind = kinds.get(checks.method, "predicted by teachers fitted on other rows")
        seen = f"wrong on {checks.n_wrong} of {checks.n_samples} labeled rows, {kind}"
        if rate is not None:
            seen += f"; about {100 * rate:.1f} % of all labeled rows"
    strategy = as_strategy(distiller.query_strategy)
    text = text_of(strategy)
    if isinstance(strategy, RobustSampler):
        text += f": {_DRAWN[made.get('distrusted')]}"
    objective = text_of(distiller.objective_)
    if distiller.objective == "auto":
        objective += f", chosen by the teacher checks: {seen}"
    kept = "that of the last round"
    if distiller.student_round_ < distiller.n_rounds_:
        kept = (
            "that of the labeled rows alone: out of fold, students that also learned "
            "the teacher's labels were not better"
        )
    facts = {
        "Query strategy": text,
        "Objective": objective,
        "Teacher checks": seen,
        "Student kept": kept,
    }
    scores = distiller.student_scores_
    if scores:
        facts["Kind of student"] = "lowest Brier score out of fold: " + ", ".join(
            f"{name} {score:.3f}" for name, score in scores.items()
        )
    return facts


def spending(distiller):
    """Return planned and actual numbers of rows, and their cost, row by row."""
    made = getattr(distiller, "_choices", {})
    n_checks, n_pool = made.get("planned", (None, None))
    total = None if n_pool is None else n_checks + n_pool
    price = None
    if distiller.teacher_ is not None:
        price = as_teacher(distiller.teacher_).max_cost_per_row
    n_checks_paid = distiller.n_teacher_checks_
    return {
        "": ("planned", "paid"),
        "Rows of the pool": (n_pool, distiller.n_paid_ - n_checks_paid),
        "Teacher checks": (n_checks, n_checks_paid),
        "Rows in all": (total, distiller.n_paid_),
        "Cost": (
            None if price is None or total is None else price * total,
            distiller.cost_,
        ),
    }
