"""A panel asks the member that is worth most, and files answers under their giver."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.exceptions import BudgetError, TeacherCallError, TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.teachers import TeacherPanel, as_teacher

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1200, 3))
TRUTH = (X[:, 0] > 0).astype(int)


class Member:
    """Answer correctly with some probability, the same for the same row."""

    def __init__(self, accuracy, fail_after=None):
        self.accuracy, self.fail_after, self.n_asked = accuracy, fail_after, 0

    def __call__(self, rows):
        if self.fail_after is not None and self.n_asked + len(rows) > self.fail_after:
            raise RuntimeError("out of order")
        self.n_asked += len(rows)
        chance = np.modf(np.abs(rows[:, 1] * 1e4 * (1 + self.accuracy)))[0]
        truth = rows[:, 0] > 0
        return np.where(chance < self.accuracy, truth, ~truth).astype(int)


def make(accuracy, name, price=1.0, **params):
    function = Member(accuracy, **params)
    return as_teacher(function, name=name, cost_per_row=price, batch_size=20)


def fit(teacher, budget=300, seed=0, **params):
    y = np.where(np.arange(len(X)) < 200, TRUTH, -1)
    params = {"teacher_checks": CheckPolicy(on_weak="ignore")} | params
    distiller = ActiveDistiller(
        teacher, LogisticRegression(), budget=budget, random_state=seed, **params
    )
    return distiller.fit(X, y)


def statuses(distiller):
    return {m["name"]: m["status"] for m in distiller.teacher_.members_}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "params", [{}, {"objective": "soft", "query_strategy": "random"}]
)
def test_the_best_member_labels_the_pool(seed, params):
    """Whatever its place, and whether or not the strategy needs checks."""
    panel = TeacherPanel([make(0.6, "poor"), make(0.95, "good"), make(0.7, "fair")])
    distiller = fit(panel, seed=seed, **params)
    assert statuses(distiller) == {
        "poor": "dropped",
        "good": "asked",
        "fair": "dropped",
    }
    bills = {m["name"]: m["n_paid"] for m in distiller.teacher_.members_}
    assert bills["good"] > 4 * max(bills["poor"], bills["fair"])
    assert not hasattr(panel, "members_")


def test_every_answer_is_filed_under_its_giver():
    """The ledger, the report and the attributes of the fit name the same bill."""
    panel = TeacherPanel([make(0.6, "poor", 1.0), make(0.95, "good", 2.0)])
    distiller = fit(panel)
    teachers = distiller.ledger_.summary()["teachers"]
    members = distiller.teacher_.members_
    assert {m["name"]: (m["n_paid"], m["cost"]) for m in members} == {
        name: (counts["n_paid"], counts["cost"]) for name, counts in teachers.items()
    }
    assert {m["name"]: m["n_paid"] for m in members} == {
        t.name: t.function.n_asked for t in panel.teachers
    }
    assert sum(m["n_paid"] for m in members) == distiller.n_paid_ <= 300
    assert sum(m["cost"] for m in members) == pytest.approx(distiller.cost_)
    assert distiller.teacher_.identity == "good"
    assert len(distiller.suspects(X)["row"]) == distiller.n_queries_


def test_money_decides_between_members_that_are_alike():
    """With max_cost, a dear member must be better by what its price costs in labels."""
    panel = TeacherPanel([make(0.9, "dear", 30.0), make(0.9, "cheap", 1.0)])
    limited = fit(panel, budget=900, ledger=MemoryLedger(max_cost=3000.0))
    assert statuses(limited)["cheap"] == "asked"
    assert limited.cost_ <= 3000
    panel = TeacherPanel([make(0.97, "dear", 1.5), make(0.7, "cheap", 1.0)])
    limited = fit(panel, budget=600, ledger=MemoryLedger(max_cost=400.0))
    assert statuses(limited)["dear"] == "asked"


def test_a_member_whose_checks_cost_too_much_is_left_out():
    """Its checks alone would take the money."""
    panel = TeacherPanel(
        [make(0.6, "poor"), make(0.95, "good"), make(0.99, "dear", 100.0)]
    )
    distiller = fit(panel, ledger=MemoryLedger(max_cost=300.0))
    assert statuses(distiller) == {
        "poor": "dropped",
        "good": "asked",
        "dear": "dropped",
    }
    assert panel.teachers[2].function.n_asked == 0


@pytest.mark.parametrize("fail_after", [0, 15, 120])
def test_a_member_that_fails_is_replaced(fail_after):
    """By the next one, before, during or after the checks; answers are not lost."""
    good = make(0.95, "good", fail_after=fail_after)
    distiller = fit(TeacherPanel([good, make(0.9, "next")]))
    assert statuses(distiller) == {"good": "failed", "next": "asked"}
    counts = distiller.ledger_.summary()
    assert distiller.n_queries_ + distiller.n_teacher_checks_ >= 280
    assert (
        counts["teachers"].get("good", {"n_paid": 0})["n_paid"] == good.function.n_asked
    )
    assert distiller.n_paid_ == counts["n_paid"]


def test_the_error_of_the_last_member_is_raised():
    """If nobody is left."""
    members = [make(0.9, "a", fail_after=0), make(0.9, "b", fail_after=0)]
    with pytest.raises(TeacherCallError, match="'b' raised RuntimeError: out of order"):
        fit(TeacherPanel(members))


def test_the_first_is_asked_without_checks():
    """Without labeled rows nothing tells members apart."""
    panel = TeacherPanel([make(0.9, "first"), make(0.99, "second")])
    distiller = fit(panel, teacher_checks=0)
    assert statuses(distiller) == {"first": "asked", "second": "spare"}
    assert panel.teachers[1].function.n_asked == 0


def test_a_second_fit_pays_nothing_again(tmp_path):
    """The choice and the pool are found in the ledger."""
    path = tmp_path / "labels.sqlite"
    first = fit(TeacherPanel([make(0.6, "poor"), make(0.95, "good")]), ledger=path)
    panel = TeacherPanel([make(0.6, "poor"), make(0.95, "good")])
    second = fit(panel, ledger=path)
    assert second.n_paid_ == 0
    assert [t.function.n_asked for t in panel.teachers] == [0, 0]
    assert second.n_queries_ >= first.n_queries_
    assert statuses(second)["good"] == "asked"
    assert LabelLedger(path).summary()["n_paid"] == first.n_paid_


def test_a_purchase_uses_what_members_know():
    """Rows that a member has labeled are free, each with the label of its giver."""
    one, two = make(0.5, "one"), make(0.99, "two")
    ledger, question = MemoryLedger(), {"classes": [0, 1]}
    known = buy_labels(two, X[:10], ledger=ledger, **question)
    bought = buy_labels(TeacherPanel([one, two]), X[:30], ledger=ledger, **question)
    assert (bought.n_paid, bought.n_free) == (20, 10)
    np.testing.assert_array_equal(bought.labels[:10], known.labels)
    assert one.function.n_asked == 20
    assert (
        buy_labels(TeacherPanel([one, two]), X[:0], ledger=ledger, **question).n_paid
        == 0
    )
    alone = buy_labels(TeacherPanel([one]), X[:5], **question)
    assert (alone.n_paid, alone.cost) == (5, 5.0)


def test_panels_are_cloned_and_planned():
    """The plan is at most what the dearest member costs."""
    panel = TeacherPanel([make(0.9, "a", 1.0), make(0.9, "b", 3.0)])
    assert clone(panel).max_cost_per_row == 3.0
    y = np.where(np.arange(len(X)) < 200, TRUTH, -1)
    plan = ActiveDistiller(panel, budget=100).plan(X, y)
    assert plan.cost == 300.0


@pytest.mark.parametrize(
    ("members", "said"),
    [([], "teachers is empty"), ([LogisticRegression()], "not fitted; fit it before")],
)
def test_bad_members_are_refused(members, said):
    """Before anything is paid."""
    with pytest.raises((TeacherError, BudgetError), match=said):
        fit(TeacherPanel(members))


def test_functions_are_read_in_the_order_of_the_classes():
    """As those of a distiller are."""

    def function(rows):
        right = (rows[:, 0] > 0).astype(float)
        return np.column_stack([right, 1 - right])  # "yes" first

    y = np.array(["no", "yes"], dtype=object)[TRUTH]
    y[200:] = -1
    panel = TeacherPanel([function, function])
    distiller = ActiveDistiller(
        panel, LogisticRegression(), budget=60, classes=["yes", "no"], random_state=0
    ).fit(X, y)
    expected = np.array(["no", "yes"])[TRUTH]
    assert (distiller.predict(X) == expected).mean() > 0.9
