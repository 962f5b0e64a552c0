"""A teacher made of teachers, of which the one worth most at its price is asked."""

import copy
import logging
from dataclasses import replace
from typing import Any

import numpy as np

from skadistill._rows._containers import count_rows, take_rows
from skadistill._rows._keys import row_keys
from skadistill.exceptions import JobPendingError, TeacherError
from skadistill.ledger._memory import MemoryLedger
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._base import TEACHER_CONSTRAINTS, BaseTeacher

__all__ = ["TeacherPanel"]

logger = logging.getLogger(__name__)

#: Labeled rows about which all members are asked before one is dropped, and then.
FEWEST_CHECKS, MORE_CHECKS = 10, 5
#: One in so many rows, and of the money, goes to the choice at most.
CHOICE_SHARE = 3
#: How many standard errors a member is worse before it is dropped.
_BEYOND_CHANCE = 1.0
#: Accuracy of labels that is worth as much to a student as twice as many labels.
_DOUBLING = 0.04


class TeacherPanel(BaseTeacher):
    r"""Ask the best of several teachers, found out on labeled rows.

    A fit first asks all members about the same labeled rows, a few at a time. A member
    that is worse at its price than the best, beyond chance, is asked no more. The pool
    then goes to the member that is worth most; if it fails, the next one goes on.
    Members may be models, prompts of one model, or people.

    Parameters
    ----------
    teachers : list of BaseTeacher, estimator or callable
        The members, ready to be asked. Without labeled rows, or with a budget too
        small for checks, the first is asked.
    classes : array-like of shape (n_classes,) or None, default=None
        What the columns of functions among the members mean. None: the classes asked
        for.
    max_checks : int, default=100
        Labeled rows that each member labels at most, to be compared. All these answers
        together are at most a third of the budget, and of the ledger's ``max_cost``.

    Attributes
    ----------
    members_ : list of dict
        After a fit, in ``teacher_``: for each member, in the order given, its ``name``,
        ``identity``, ``n_checks``, ``n_right``, ``price`` of an answer (None: not
        known), ``status`` ("asked", "spare", "dropped" or "failed"), and ``n_paid``,
        ``n_no_label`` and ``cost`` of what was bought, checks included.
    checked_rows : ndarray of int
        After a fit, in ``teacher_``: the labeled rows used to compare members.
    identity : str
        That of the member chosen, after a fit.

    See Also
    --------
    as_teacher : Make a member from an estimator or a function.

    Notes
    -----
    Every answer is filed under the member that gave it, and rows that one of the
    members not dropped has labeled are not paid again. Members are compared in pairs
    on the same rows: if :math:`d` rows are labeled correctly by one of two members
    only, the difference of their errors has a standard error of :math:`\sqrt d`.

    If the ledger has a ``max_cost``, a cheap member can label more rows. Twice as many
    labels are taken to be worth as much as four points of accuracy of the labels, which
    is what students of answers of language models gained on four data sets. Without
    ``max_cost`` all members would label the same number of rows, and only their
    accuracy counts.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill import ActiveDistiller
    >>> from skadistill.ledger import MemoryLedger
    >>> from skadistill.teachers import TeacherPanel
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(900, 2))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> def poor(X):
    ...     return (X[:, 1] > 0).astype(int)
    >>> def good(X):
    ...     return (X[:, 0] > 0.1).astype(int)
    >>> y[100:] = -1
    >>> distiller = ActiveDistiller(
    ...     TeacherPanel([poor, good]), budget=200, random_state=0
    ... ).fit(X, y)
    >>> [(m["name"], m["status"]) for m in distiller.teacher_.members_]
    [('poor', 'dropped'), ('good', 'asked')]
    """

    _parameter_constraints: dict = {
        "teachers": [list, tuple],
        "classes": TEACHER_CONSTRAINTS["classes"],
        "max_checks": TEACHER_CONSTRAINTS["batch_size"],
    }

    members_: list
    checked_rows: np.ndarray
    _order: list

    def __init__(
        self, teachers: Any, classes: Any = None, *, max_checks: int = 100
    ) -> None:
        self.teachers = teachers
        self.classes = classes
        self.max_checks = max_checks

    @property
    def _members(self):
        """The members as teachers, in the order given."""
        made = vars(self).get("_made")
        if made is None or made[0] is not self.teachers or made[1] is not self.classes:
            members = [_as_member(t, self.classes) for t in self.teachers]
            made = self._made = (self.teachers, self.classes, members)
        return made[2]

    @property
    def _alive(self):
        """Members that may be asked, the best one first."""
        order = vars(self).get("_order")
        return self._members if order is None else [self._members[i] for i in order]

    @property
    def display_name(self) -> str:
        """The teacher's name in messages."""
        return f"the panel, now {self._alive[0].display_name}"

    @property
    def classes_(self) -> Any:
        """What the columns of its answers mean; None if no member has said."""
        known = [m.classes_ for m in self._members if m.classes_ is not None]
        return self.classes if not known else known[0]

    @property
    def max_cost_per_row(self) -> float | None:
        """What one row can cost at most; None if a member does not say."""
        prices = [member.max_cost_per_row for member in self._alive]
        return None if None in prices else max(prices)

    @property
    def claim_size(self) -> int | None:
        """How many rows are bought together by default, as the first member says."""
        return self._alive[0].claim_size

    @property
    def identity(self) -> str:
        """That of the member that is asked; before the choice, of all."""
        if vars(self).get("_order") is not None:
            return self._alive[0].identity
        return self.derived_identity()

    def derived_identity(self) -> str:
        """Return the identities of all members.

        Returns
        -------
        identity : str
            Known to no ledger, which files answers under each member.
        """
        return f"panel:{[member.identity for member in self._members]!r}"

    def answer(self, X: Any) -> Any:
        """Ask the member that is worth most.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        answer : array-like or Answer
            Unchecked.
        """
        return self._alive[0].answer(X)

    def ask_parts(self, X: Any, classes: Any, **how: Any) -> Any:
        """Yield labels by the member that is worth most.

        Parameters
        ----------
        X, classes, **how : as in `BaseTeacher.ask_parts`
            The question.

        Yields
        ------
        part : LabeledBatch
            Labels of some rows.
        """
        yield from self._alive[0].ask_parts(X, classes, **how)

    def choose(
        self,
        buy: Any,
        X: Any,
        truth: Any,
        *,
        outcomes: Any,
        classes: Any,
        ledger: Any,
        n_rows: int,
        rng: Any,
    ) -> Any:
        """Return a panel that knows which member is worth most.

        Parameters
        ----------
        buy : callable
            :func:`skadistill.labeling.buy_labels`.
        X : container of n_labeled rows
            Labeled rows.
        truth : ndarray of int of shape (n_labeled,)
            Positions of their classes.
        outcomes : callable
            Turns soft labels into such positions.
        classes : array-like of shape (n_classes,)
            The classes.
        ledger : BaseLedger
            Where answers are looked up and recorded.
        n_rows : int
            Rows that the fit may pay for.
        rng : Generator
            Draws the labeled rows.

        Returns
        -------
        chosen : TeacherPanel
            With ``members_``; this one is not changed.
        """
        self._check_parameters()
        chosen = copy.copy(self)
        chosen._order = list(range(len(self._members)))
        chosen.members_ = [_new_entry(member) for member in self._members]
        right = np.zeros((len(self._members), 0), dtype=bool)
        order = rng.permutation(len(truth))[: self.max_checks]
        money = getattr(ledger, "max_cost", None)
        left = None if money is None else money - ledger.summary()["cost"]
        money = None if left is None else left / CHOICE_SHARE
        chosen._leave_out_the_dear(n_rows, money)
        chosen._name_first()
        start, spent, n_answers, tried = 0, 0.0, 0, chosen._order
        while start < len(order) and len(tried) > 1:
            rows = order[start : start + (MORE_CHECKS if start else FEWEST_CHECKS)]
            room = n_rows // CHOICE_SHARE - n_answers
            rows = rows[: max(0, room) // len(tried)]
            dear = chosen._price(tried) * len(rows)
            if not len(rows) or (money is not None and spent + dear > money):
                break
            new = np.zeros((len(right), len(rows)), dtype=bool)
            for i in list(tried):
                part = {"classes": classes, "ledger": ledger, "row_numbers": rows}
                try:
                    found = buy(self._members[i], take_rows(X, rows), **part)
                except JobPendingError:
                    raise
                except TeacherError as error:
                    chosen._retire(i, error)
                    continue
                chosen._count(i, found.n_paid, found.n_no_label, found.cost)
                new[i] = outcomes(found.labels) == truth[rows]
                new[i] &= found.labeled
                spent, n_answers = spent + found.cost, n_answers + len(rows)
                chosen.members_[i]["n_checks"] += len(rows)
                chosen.members_[i]["n_right"] += int(new[i].sum())
            right = np.concatenate([right, new], axis=1)
            start += len(rows)
            tried = chosen._drop(right, n_rows - n_answers, left, spent)
        chosen.checked_rows = order[:start]
        logger.info("%s is chosen of %s", chosen.display_name, chosen.members_)
        return chosen

    def _price(self, members):
        """Return what one answer of each of some members costs in all."""
        return sum(self.members_[i]["price"] or 0.0 for i in members)

    def _leave_out_the_dear(self, n_rows, money):
        """Drop the dearest members while the first checks of all cost too much."""
        while len(self._order) > 2 and money is not None:
            n_checks = min(FEWEST_CHECKS, n_rows // CHOICE_SHARE // len(self._order))
            if self._price(self._order) * n_checks <= money:
                return
            dearest = max(self._order[1:], key=lambda i: self._price([i]))
            self.members_[dearest]["status"] = "dropped"
            self._order.remove(dearest)

    def _drop(self, right, n_rows, money, spent):
        """Order the members by what they are worth, and drop those that are worse."""
        n_checks = right.shape[1]
        bonus = np.zeros(len(right))
        for i in self._order:
            entry = self.members_[i]
            if entry["n_paid"] and entry["cost"]:
                entry["price"] = entry["cost"] / entry["n_paid"]
            if money is not None and entry["price"]:
                affordable = max(money - spent, 0.0) / entry["price"]
                bonus[i] = np.clip(affordable, 1, max(n_rows, 1))
                bonus[i] = _DOUBLING * np.log2(bonus[i] / max(n_rows, 1))
        worth = right.mean(axis=1) + bonus
        self._order.sort(key=lambda i: (-worth[i], self._price([i])))
        best = self._order[0]
        for i in self._order[1:]:
            error = np.sqrt(np.count_nonzero(right[i] != right[best])) / n_checks
            if n_checks >= FEWEST_CHECKS // 2 and (
                worth[best] - worth[i] > max(_BEYOND_CHANCE * error, 1 / n_checks)
            ):
                self.members_[i]["status"] = "dropped"
        self._order = [i for i in self._order if self._is_spare(i)]
        self._name_first()
        return self._order

    def buy(
        self,
        buy: Any,
        X: Any,
        *,
        classes: Any,
        ledger: Any = None,
        identity: str | None = None,
        **how: Any,
    ) -> Any:
        """Buy labels from the member that is worth most, each filed under its giver.

        Parameters
        ----------
        buy : callable
            :func:`skadistill.labeling.buy_labels`, which calls this.
        X, classes, ledger, identity, **how : as in `buy_labels`
            The question.

        Returns
        -------
        purchase : LabelPurchase
            Of all rows.
        """
        ledger = MemoryLedger() if ledger is None else ledger
        again = "" if identity is None else identity.removeprefix(self.identity)
        numbers = how.pop("row_numbers", None)
        numbers = np.arange(count_rows(X)) if numbers is None else np.asarray(numbers)
        keys, before = row_keys(X), (0, 0.0)
        while True:
            parts = []
            for i, rows in self._sources(keys, ledger, classes, again):
                member = self._members[i]
                name = member.identity + again
                paid = _paid(ledger, name)
                options = how | {"row_numbers": numbers[rows], "identity": name}
                try:
                    found = buy(
                        member,
                        take_rows(X, rows),
                        classes=classes,
                        ledger=ledger,
                        **options,
                    )
                except JobPendingError:
                    raise
                except TeacherError as error:
                    more = np.subtract(_paid(ledger, name), paid)
                    before = tuple(np.add(before, more))
                    self._count(i, int(more[0]), 0, float(more[1]))
                    self._retire(i, error)
                    break
                self._count(i, found.n_paid, found.n_no_label, found.cost)
                before = before[0] + found.n_paid, before[1] + found.cost
                parts.append((rows, found))
            else:
                return _joined(parts, len(keys), int(before[0]), float(before[1]))

    def _sources(self, keys, ledger, classes, again):
        """Deal rows to the members that know them, the others to the best."""
        order = vars(self).get("_order") or list(range(len(self._members)))
        who = np.full(len(keys), order[0])
        unknown = np.ones(len(keys), dtype=bool)
        for i in order:
            if not unknown.any():
                break
            name = self._members[i].identity + again
            rows = np.flatnonzero(unknown)
            known = rows[ledger.lookup(keys[rows], name, classes)[0]]
            who[known], unknown[known] = i, False
        found = [(i, np.flatnonzero(who == i)) for i in order]
        return [(i, rows) for i, rows in found if len(rows)] or [
            (order[0], np.arange(0))
        ]

    def _retire(self, i, error):
        """Go on with the next member; raise the error if there is none."""
        if "members_" not in vars(self):
            self.members_ = list(map(_new_entry, self._members))
        members = self.members_
        order = vars(self).get("_order") or list(range(len(members)))
        members[i]["status"] = "failed"
        left = [j for j in order if j != i]
        if not left:  # those that were worse
            left = [j for j, m in enumerate(members) if m["status"] == "dropped"]
            left.sort(
                key=lambda j: -members[j]["n_right"] / (members[j]["n_checks"] or 1)
            )
        if not left:
            raise error
        self._order = left
        self._name_first()
        logger.warning(
            "%s has failed, and %s is asked instead: %s",
            self._members[i].display_name,
            self._members[left[0]].display_name,
            error,
        )

    def _is_spare(self, i):
        return self.members_[i]["status"] not in ("dropped", "failed")

    def _name_first(self):
        """Note which member is asked."""
        for i in self._order:
            self.members_[i]["status"] = "asked" if i == self._order[0] else "spare"

    def _count(self, i, n_paid, n_no_label, cost):
        """Add a purchase to the report of a member."""
        if "members_" in vars(self):
            entry = self.members_[i]
            entry["n_paid"] += n_paid
            entry["n_no_label"] += n_no_label
            entry["cost"] += cost

    def _check_parameters(self):
        super()._check_parameters()
        if not len(self.teachers):
            raise TeacherError("teachers is empty; pass at least one teacher.")
        for member in self._members:
            member._check_parameters()
            if not member.is_fitted:
                raise TeacherError(
                    f"{member.display_name} is not fitted; fit it before it becomes a "
                    "member of a panel."
                )

    def _check_classes(self, classes):
        for member in self._members:
            member._check_classes(classes)


def _as_member(teacher, classes):
    """Return a member as a teacher; of a function, `classes` name the columns."""
    member = as_teacher(teacher)
    if classes is None or member is teacher or member.classes_ is not None:
        return member
    return as_teacher(teacher, classes=classes)


def _new_entry(member):
    """Return what is reported of a member before it is asked."""
    function = getattr(getattr(member, "function", None), "__name__", None)
    return {
        "name": member.name or function or type(member).__name__,
        "identity": member.identity,
        "n_checks": 0,
        "n_right": 0,
        "price": member.max_cost_per_row,
        "status": "spare",
        "n_paid": 0,
        "n_no_label": 0,
        "cost": 0.0,
    }


def _paid(ledger, identity):
    """Return the rows paid for so far under an identity, and their cost."""
    counts = ledger.summary()["teachers"].get(identity)
    return (0, 0.0) if counts is None else (counts["n_paid"], counts["cost"])


def _joined(parts, n_samples, n_paid, cost):
    """Join purchases of different members to one."""
    first = parts[0][1]
    values = {}
    for field in ("keys", "labels", "paid", "labeled", "no_label"):
        some = getattr(first, field)
        values[field] = np.zeros((n_samples, *some.shape[1:]), dtype=some.dtype)
        for rows, found in parts:
            values[field][rows] = getattr(found, field)
    sums = ("n_free", "seconds", "n_calls", "n_refused", "n_no_label")
    values |= {name: sum(getattr(p, name) for _, p in parts) for name in sums}
    return replace(first, n_paid=n_paid, cost=cost, **values)
