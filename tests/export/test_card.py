"""The card states what the fitted objects know, and nothing that changes by itself."""

import functools
import re
import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skadistill import ActiveDistiller
from skadistill._fitted.facts import ENDINGS
from skadistill.checking import CheckPolicy
from skadistill.export import model_card
from skadistill.ledger import MemoryLedger
from skadistill.objectives import Debiased
from skadistill.student import StudentNet
from skadistill.teachers import ParallelTeacher, as_teacher

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
PARTLY = Y.copy()
for hidden in (slice(30, 50), slice(70, 100), slice(120, 150)):
    PARTLY[hidden] = -1


def by_petals(X):
    """Right about most rows of iris."""
    return np.eye(3)[(X[:, 2] > 2.5).astype(int) + (X[:, 2] > 4.9)]


def distiller(teacher=by_petals, student=None, **kwargs):
    student = student or LogisticRegression(max_iter=500)
    settings = {"budget": 8, "query_size": 4, "random_state": 0} | kwargs
    return ActiveDistiller(teacher, student, **settings)


def facts(model):
    """Read the card's tables of facts back from its text."""
    pytest.importorskip("skops.card")
    found, section = {}, None
    for line in model_card(model).render().splitlines():
        if line.startswith("# "):
            section = found.setdefault(line[2:], {})
        elif line.startswith("|") and not line.startswith("| :"):
            name, *values = (cell.strip() for cell in line.strip("|").split("|"))
            section[name] = values[0] if len(values) == 1 else values
    return found


def test_labels_are_counted_as_the_fit_did():
    """Given, asked, paid, known and never asked add up to the rows."""
    ledger = MemoryLedger()
    teacher = as_teacher(by_petals, cost_per_row=0.5)
    first = distiller(teacher, ledger=ledger, teacher_checks=3).fit(X, PARTLY)
    again = distiller(teacher, ledger=ledger, teacher_checks=3).fit(X, PARTLY)
    told = facts(first)["Labels"]
    assert told["Rows with a given label"] == "70"
    assert told["Rows labeled by the teacher"] == str(first.n_queries_)
    assert told["Rows asked for"] == str(first.n_queries_)
    assert told["Rows without a label"] == str(80 - first.n_queries_)
    assert told["Rows paid for"] == str(first.n_paid_)
    assert told["Rows paid for to check the teacher"] == str(first.n_teacher_checks_)
    assert told["Budget"] == "8"
    assert told["Query strategy"] == "RobustSampler()"
    assert told["Ended because"] == "the budget was spent"
    paid = ledger.summary()["cost"]
    assert told["Cost"].startswith(f"{paid:g}, with all other fits")
    told = facts(again)["Labels"]
    assert told["Rows paid for"] == "0"
    assert told["Rows known to the ledger"] == str(again.n_queries_)


def test_cost_is_stated_only_where_it_is_known():
    """A ledger of one's own is one bill; without a price there is none."""
    priced = distiller(as_teacher(by_petals, cost_per_row=0.5)).fit(X, PARTLY)
    assert facts(priced)["Labels"]["Cost"] == f"{priced.ledger_.summary()['cost']:g}"
    free = distiller().fit(X, PARTLY)
    assert facts(free)["Labels"]["Cost"] == "not stated by the teacher"


def test_the_teachers_error_has_an_interval_and_its_rows():
    """Rate and bounds are those of the estimate kept by the fit."""
    model = distiller(query_strategy="rad").fit(X, PARTLY)
    estimate = model.teacher_checks_
    low, high = estimate.interval()
    told = facts(model)["Teacher"]
    assert told["Name"].endswith("by_petals")
    assert told["Error rate"] == (
        f"{model.teacher_error_:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    )
    assert told["Seen wrong"] == (
        f"on {estimate.n_wrong} of {estimate.n_samples} rows with given labels (asked)"
    )
    assert estimate.proba is None


@pytest.mark.parametrize(
    ("kwargs", "rate"),
    [
        (
            {"teacher_checks": CheckPolicy(error_rate=0.25)},
            "0.250, given by the user, not measured",
        ),
        ({"query_strategy": "random"}, "unknown"),
    ],
)
def test_an_error_that_was_not_measured_says_so(kwargs, rate):
    """A belief is not shown as a measurement, and ignorance is admitted."""
    told = facts(distiller(**kwargs).fit(X, PARTLY))["Teacher"]
    assert told["Error rate"] == rate
    assert "Seen wrong" not in told


def test_the_interval_of_hard_rows_is_not_that_of_all():
    """The checks of the default strategy are aimed at such rows."""
    model = distiller(teacher_checks=3).fit(X, PARTLY)
    assert model.teacher_checks_.method == "aimed"
    assert facts(model)["Teacher"]["Error rate"] == (
        f"{model.teacher_error_:.3f}, estimated for all labeled rows"
    )


def test_objectives_that_look_at_the_teacher():
    """The rows they looked at are stated although the rate was given."""
    model = distiller(
        objective=Debiased(), teacher_checks=CheckPolicy(error_rate=0.25)
    ).fit(X, PARTLY)
    told = facts(model)
    assert told["Labels"]["Objective"].startswith("Debiased(")
    assert told["Teacher"]["Error rate"].startswith("0.250, given")
    n_checks = model.teacher_checks_.n_samples
    assert f"of {n_checks} rows" in told["Teacher"]["Seen wrong"]


def test_rounds_carry_scores_where_rows_were_kept_aside():
    """One line a round; accuracy appears with X_val only."""
    model = distiller().fit(X, PARTLY)
    plain = facts(model)["Rounds"]
    assert plain["Round"] == [
        "Rows trained on",
        "Asked",
        "Paid",
        "Agreement on the rows asked",
        "Agreement on the pool",
        "at least",
        "at most",
    ]
    assert [plain[r][0] for r in "012"] == ["70", "74", str(70 + model.n_queries_)]
    model = distiller().fit(X, PARTLY, X_val=X, y_val=Y)
    scored = facts(model)["Rounds"]
    at = scored["Round"].index("Accuracy on validation rows")
    assert scored["2"][at] == f"{model.score(X, Y):.3f}"


def test_nets_state_their_size():
    """Weights are counted, and "auto" is told as the module it became."""
    student = StudentNet(max_epochs=2, module__hidden_sizes=(8,), random_state=0)
    told = facts(distiller(student=student).fit(X, PARTLY))["Student"]
    assert told["Module"] == "StudentMLP, inputs standardized"
    assert told["Weights"] == str((4 + 1) * 8 + (8 + 1) * 3)
    own = StudentNet(
        nn.Linear, module__in_features=4, module__out_features=3, max_epochs=2
    )
    told = facts(own.fit(X, NAMES))
    assert told["Student"]["Module"] == "Linear"
    assert told["Student"]["Classes"] == "3: setosa, versicolor, virginica"
    assert told.keys() == {"Student", "Versions"}


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), distiller(lambda X: np.eye(3)[[0] * len(X)])),
        GridSearchCV(distiller(LogisticRegression(max_iter=500)), {"query_size": [4]}),
    ],
    ids=["pipeline", "search"],
)
def test_distillers_are_found_inside(model):
    """The card of a pipeline or a search is that of the distiller at its end."""
    if isinstance(model, GridSearchCV):
        model.set_params(cv=[(np.arange(0, 150, 2), np.flatnonzero(PARTLY >= 0))])
    told = facts(model.fit(X, PARTLY))
    last = model.best_estimator_ if isinstance(model, GridSearchCV) else model[-1]
    assert told["Labels"]["Rows asked for"] == str(last.n_queries_)
    assert " at 0x" not in model_card(model).render()


def test_equal_fits_give_equal_cards():
    """No date, no duration and no address is on the card."""
    pytest.importorskip("skops.card")
    # Functions of their own, at addresses of their own.
    teachers = [as_teacher(lambda X: by_petals(X), name="petals") for _ in range(2)]
    first, second = (
        model_card(distiller(teacher).fit(X, PARTLY, X_val=X, y_val=Y)).render()
        for teacher in teachers
    )
    assert first == second
    assert "petals" in first


def test_a_card_takes_sections_of_its_own(tmp_path):
    """It is a skops card: sections are added, and it is saved."""
    pytest.importorskip("skops.card")
    card = model_card(distiller().fit(X, PARTLY)).add(**{"Intended use": "Petals."})
    card.save(tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text("utf8")
    assert text == card.render()
    assert text.endswith("# Intended use\n\nPetals.\n")


def test_every_ending_has_its_words():
    """The reasons in the docstring of the estimator are those of the card."""
    text = ActiveDistiller.__doc__.partition("termination_condition_ : str")[2]
    assert set(re.findall(r'"(\w+)"', text.partition("See Also")[0])) == set(ENDINGS)


def test_unfitted_models_and_missing_packages(monkeypatch):
    """Both are told before anything is looked at."""
    pytest.importorskip("skops.card")
    with pytest.raises(NotFittedError):
        model_card(distiller())
    monkeypatch.setitem(sys.modules, "skops.card", None)
    with pytest.raises(ImportError, match=r"skops .*skadistill\[export\]"):
        model_card(distiller())


class Client:
    """Holds a key and shows it."""

    def __init__(self, api_key):
        self.api_key = api_key

    def __repr__(self):
        return f"Client({self.api_key!r})"

    def label(self, X):
        return by_petals(X)

    def __call__(self, X):
        return by_petals(X)


def keyed(X, api_key):
    return by_petals(X)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functools.partial(keyed, api_key="sk-secret"), "keyed"),
        (Client("sk-secret").label, "Client.label"),
        (Client("sk-secret"), "Client"),
        (as_teacher(Client("sk-secret"), name="big", version="2"), "big 2"),
        (ParallelTeacher(as_teacher(Client("sk-secret"))), "Client"),
    ],
)
def test_a_card_shows_no_key(function, name):
    """A card is made to be published: the teacher is on it by name only."""
    pytest.importorskip("skops.card")
    model = distiller(function).fit(X, PARTLY)
    assert "sk-secret" not in model_card(model).render()
    assert facts(model)["Teacher"]["Name"].endswith(name)
