"""What the clones of a distiller share: a fitted teacher, and a ledger."""

import os
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator, clone

from skadistill.ledger._base import BaseLedger
from skadistill.ledger._memory import MemoryLedger
from skadistill.teachers._as_teacher import as_teacher

__all__ = ["CloneLedger", "SharesLedger"]


class CloneLedger(NamedTuple):
    """A ledger that the clones of one estimator share, and the process it lives in."""

    ledger: BaseLedger
    process: int

    @classmethod
    def new(cls):
        """Make one for this process."""
        return cls(MemoryLedger(), os.getpid())


class SharesLedger(BaseEstimator):
    """Let the clones of an estimator share a fitted teacher and a ledger; a mixin."""

    ledger: Any
    teacher: Any
    use_known: Any

    #: What a clone shares with the other clones of its original; None: no clone.
    _clone_ledger: CloneLedger | None = None
    #: What the clones of an original share; None: it has not been cloned.
    _ledger_of_clones: CloneLedger | None = None

    def _uses_known(self):
        """Tell whether labels of the ledger train the student from the first round."""
        if self.use_known == "auto":
            return self._clone_ledger is None
        return self.use_known

    def __sklearn_clone__(self) -> Any:
        """Clone everything but a fitted teacher and the ledger, which are shared."""
        params = self.get_params(deep=False)
        shared = {"ledger"}
        if as_teacher(self.teacher).is_fitted:
            shared.add("teacher")
        new = type(self)(
            **{
                name: value if name in shared else clone(value, safe=False)
                for name, value in params.items()
            }
        )
        for name in ("_metadata_request", "_skl_callbacks"):
            if name in vars(self):
                setattr(new, name, vars(self)[name])
        # All clones of one estimator, and theirs, share one ledger in memory.
        if self._clone_ledger is None and self._ledger_of_clones is None:
            self._ledger_of_clones = CloneLedger.new()
        new._clone_ledger = self._clone_ledger or self._ledger_of_clones
        return new
