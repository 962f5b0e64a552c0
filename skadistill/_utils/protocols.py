"""What strategies, objectives, teachers and ledgers must have, for type checkers."""

from typing import Any, Protocol


class Strategy(Protocol):
    """Choose rows of a pool, as :class:`skadistill.query.QueryStrategy` does."""

    def query(self, pool: Any, n_queries: int, random_state: Any) -> Any:
        """Return the positions of the chosen rows."""


class TrainingObjective(Protocol):
    """Turn evidence into a lesson, as :class:`skadistill.objectives.Objective` does."""

    def lesson(self, evidence: Any) -> Any:
        """Return targets, loss and weights."""


class AnyTeacher(Protocol):
    """Label rows, as :class:`skadistill.teachers.BaseTeacher` does."""

    def ask(self, X: Any, classes: Any) -> Any:
        """Return the labels of some rows."""


class FittedOrNot(Protocol):
    """A classifier, fitted or not, as in scikit-learn."""

    def fit(self, X: Any, y: Any) -> Any:
        """Learn the labels of some rows."""

    def predict(self, X: Any) -> Any:
        """Return the labels of some rows."""


class LabelStore(Protocol):
    """Remember paid labels, as :class:`skadistill.ledger.BaseLedger` does."""

    def lookup(self, *given: Any, **more: Any) -> Any:
        """Return known labels."""

    def record(self, *given: Any, **more: Any) -> Any:
        """Keep labels that were paid for."""

    def claim(self, *given: Any, **more: Any) -> Any:
        """Reserve rows before they are paid for."""

    def release(self, *given: Any, **more: Any) -> Any:
        """Give up rows that were reserved."""
