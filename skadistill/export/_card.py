"""Model cards: how a student was made, on one page."""

import platform
from importlib.metadata import version

from sklearn.pipeline import Pipeline
from torch import nn

from skadistill._utils.display import qualified_name, text_of
from skadistill._utils.optional import require
from skadistill.export._onnx import last_step, served_model
from skadistill.ledger._counts import bill_text
from skadistill.query._as_strategy import as_strategy
from skadistill.student import StudentNet
from skadistill.student._module import Standardize
from skadistill.teachers._base import BaseTeacher

__all__ = ["model_card"]

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


def model_card(model):
    """Return a model card that states how a student was made.

    The card states the student and its size, the numbers of rows that were labeled,
    asked about and paid for, the teacher's error rate and on how many rows it was
    measured, objective, strategy, rounds and versions. It contains no dates or
    durations, so that equal fits give equal cards.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~skadistill.ActiveDistiller`, a search over one, or a
        pipeline that ends in one. The card of a fitted student without its distiller
        contains only the student and the versions.

    Returns
    -------
    card : skops.card.Card
        ``render()`` returns the text in Markdown, ``save(path)`` writes it, ``add``
        adds sections, such as the intended use, ``add_table`` and ``add_plot`` add
        measurements.

    Raises
    ------
    ImportError
        If skops is not installed.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    to_onnx : Export the student.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.export import model_card
    >>> X, y = load_iris(return_X_y=True)
    >>> y[40:50], y[80:100], y[110:] = -1, -1, -1
    >>> distiller = ActiveDistiller(
    ...     LogisticRegression(max_iter=1000), LogisticRegression(max_iter=1000),
    ...     budget=10, query_size=10, random_state=0,
    ... ).fit(X, y)
    >>> card = model_card(distiller)
    >>> for line in card.select("Rounds").format().splitlines():
    ...     print(line[:42])
    | Round | Rows trained on | Asked | Paid |
    | :---: | :-------------: | :---: | :--: |
    |   0   |        80       |   0   |  0   |
    |   1   |        90       |   10  |  10  |
    """
    cards = require("skops.card", "export")
    served = served_model(model)
    distiller = _find_distiller(model)
    card = cards.Card(model, template=None, model_diagram=False)
    card.add_table(Student=_facts(_about_student(served)))
    if distiller is not None:
        card.add_table(Labels=_facts(_about_labels(distiller)))
        card.add_table(Teacher=_facts(_about_teacher(distiller)))
        card.add_table(Rounds=_rounds(distiller.history_))
    card.add_table(Versions=_facts(_versions()))
    return card


def _find_distiller(model):
    """Return the distiller in a pipeline or a search, or None."""
    if hasattr(model, "best_estimator_"):
        return _find_distiller(model.best_estimator_)
    if isinstance(model, Pipeline):
        return _find_distiller(model[-1])
    return model if hasattr(model, "student_") else None


def _facts(facts):
    """Return facts as the columns of a table."""
    return {"Fact": list(facts), "Value": list(facts.values())}


def _about_student(served):
    classifier = last_step(served)
    classes = [str(label) for label in classifier.classes_]
    facts = {"Model": text_of(served), "Classes": f"{len(classes)}: {_some(classes)}"}
    if hasattr(served, "n_features_in_"):
        facts["Features"] = served.n_features_in_
    if isinstance(classifier, StudentNet):
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
    module = net.module_
    if isinstance(module, nn.Sequential) and isinstance(module[0], Standardize):
        return f"{type(module[1]).__name__}, inputs standardized"
    return type(module).__name__


def _about_labels(distiller):
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
        "Rows paid for to judge the teacher": distiller.n_teacher_checks_,
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


def _about_teacher(distiller):
    facts = {"Name": _teacher_name(distiller.teacher)}
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


def _rounds(history):
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


def _versions():
    return {"Python": platform.python_version()} | {p: version(p) for p in PACKAGES}


def _teacher_name(teacher):
    """Name a teacher as its user did, else by its function or its class."""
    if getattr(teacher, "name", None) and isinstance(teacher, BaseTeacher):
        return " ".join(filter(None, (teacher.name, teacher.version)))
    for inner in ("teacher", "function", "estimator"):
        if isinstance(teacher, BaseTeacher) and hasattr(teacher, inner):
            return _teacher_name(getattr(teacher, inner))
    return qualified_name(teacher)


def _some(names, limit=20):
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ..."


def _short(value):
    return f"{value:.3f}" if isinstance(value, float) else value
