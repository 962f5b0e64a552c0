"""The contract of a ledger finds broken ones; ours pass in the tests of each."""

import numpy as np
import pytest

from skadistill.ledger import BaseLedger, MemoryLedger
from skadistill.ledger._budget import Claim
from skadistill.testing import check_ledger


def test_a_subclass_needs_eight_methods():
    """As the documentation says."""
    assert len(BaseLedger.__abstractmethods__) == 8


class Rounds(MemoryLedger):
    def _find(self, keys, teacher_id, classes):
        known, labels = super()._find(keys, teacher_id, classes)
        with np.errstate(over="ignore"):  # rows that are not known hold anything
            return known, labels.astype(np.float32).astype(np.float64)


class IgnoresTheOrderOfColumns(MemoryLedger):
    def _find(self, keys, teacher_id, classes):
        return super()._find(keys, teacher_id, sorted(classes))


class AnswersForAnybody(MemoryLedger):
    def _find(self, keys, teacher_id, classes):
        return super()._find(keys, "t", classes)


class ForgetsAnswersWithoutLabel(MemoryLedger):
    def _find(self, keys, teacher_id, classes):
        known, labels = super()._find(keys, teacher_id, classes)
        return known & ~np.isnan(labels).any(axis=1), labels


class CountsNoCost(MemoryLedger):
    def _store(self, *args):
        super()._store(*args[:5], 0.0, *args[6:])


class LosesEmbeddings(MemoryLedger):
    def _store_embeddings(self, keys, teacher_id, embeddings, cost, seconds):
        pass


class GrantsEverything(MemoryLedger):
    def _reserve(self, keys, teacher_id, classes, price):
        claim = super()._reserve(keys, teacher_id, classes, price)
        everything = np.ones(len(keys), dtype=bool)
        return Claim(everything, ~everything, ~everything, price, claim.token)


class CountsFaultsTwice(MemoryLedger):
    def _end(self, claim, fault, cost, seconds):
        super()._end(claim, fault, 2 * cost, seconds)


class HasNoBudget(MemoryLedger):
    def __init__(self, **limits):
        super().__init__()


class KeepsReservations(MemoryLedger):
    def _take_from_claim(self, token, keys):
        pass


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Rounds, "do not come back to the last bit"),
        (IgnoresTheOrderOfColumns, "in the order of the classes"),
        (AnswersForAnybody, "answers for another teacher"),
        (ForgetsAnswersWithoutLabel, "an answer without a label is not known"),
        (CountsNoCost, "cost is 0.0 instead of 3.0"),
        (LosesEmbeddings, "embeddings do not come back"),
        (GrantsEverything, "rows that another buyer is paying for are granted"),
        (CountsFaultsTwice, "a fault is not counted once"),
        (HasNoBudget, "max_rows is not what is granted"),
        (KeepsReservations, "a fault is not counted once"),
    ],
)
def test_a_broken_ledger_is_found(broken, message):
    """Each fault is named by the check that it breaks."""
    with pytest.raises(AssertionError, match=message):
        check_ledger(broken)
