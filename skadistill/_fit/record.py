"""What each round leaves in ``history_``."""

from dataclasses import asdict, dataclass, field
from time import perf_counter

__all__ = ["RoundRecord", "as_history"]

#: Keys of a strategy's report that every record has; others are its own.
_REPORTED = ("gain_mean", "gain_max", "water_level", "n_mistakes", "n_support")


@dataclass
class RoundRecord:
    """Collect the counts, scores and times of one round while it runs."""

    round: int
    n_labeled: int = 0
    n_pool: int = 0
    n_asked: int = 0
    n_paid: int = 0
    n_free: int = 0
    n_no_label: int = 0
    n_calls: int = 0
    cost: float = 0.0
    teacher_error: float | None = None
    gain_mean: float | None = None
    gain_max: float | None = None
    water_level: float | None = None
    n_mistakes: float | None = None
    n_support: int | None = None
    student_agreement: float | None = None
    student_score: float | None = None
    student_stability: float | None = None
    n_val: int | None = None
    pool_agreement: float | None = None
    pool_agreement_low: float | None = None
    pool_agreement_high: float | None = None
    n_effective: float | None = None
    pool_accuracy_low: float | None = None
    pool_accuracy_high: float | None = None
    seconds_teacher: float = 0.0
    seconds_student: float = 0.0
    seconds_predict: float = 0.0
    seconds_query: float = 0.0
    seconds_total: float = 0.0
    report: dict = field(default_factory=dict)
    n_agreed: int = 0
    start: float = field(default_factory=perf_counter)

    def take_report(self, report):
        """Keep what a strategy reported; it cannot replace the loop's own counts."""
        for name, value in report.items():
            if name in _REPORTED:
                setattr(self, name, value)
            else:
                self.report[name] = value

    def take_purchase(self, purchase, n_no_label, n_agreed):
        """Add what a purchase brought; a round may need more than one."""
        n_new = int(purchase.labeled.sum())
        self.n_agreed += n_agreed
        self.n_asked += n_new + n_no_label
        self.n_no_label += n_no_label
        self.n_paid += purchase.n_paid
        self.n_free += purchase.n_free
        self.n_calls += purchase.n_calls
        self.cost += purchase.cost
        self.seconds_teacher += purchase.seconds
        if self.n_new:
            self.student_agreement = self.n_agreed / self.n_new

    def take_estimate(self, estimate, checks):
        """Keep what the next round's uniform rows say of this round's student.

        With probability 95 % both the agreement and the teacher's error lie between
        their bounds of 97.5 %; what the accuracy can be at most and at least follows.
        """
        if estimate is None:
            return
        self.pool_agreement = float(estimate.share)
        self.n_effective = float(estimate.n_effective)
        self.pool_agreement_low, self.pool_agreement_high = estimate.interval()
        # Aimed checks are rows that are hard for the student: no sample of all rows.
        if checks is None or checks.method != "asked" or not checks.n_samples:
            return
        low, high = estimate.interval(0.975)
        wrong_low, wrong_high = checks.interval(0.975)
        self.pool_accuracy_low = max(0.0, low - wrong_high)
        # If the teacher is wrong where the student contradicts it, the student may
        # be right there: the accuracy is at most 1 - |P(contradicts) - P(wrong)|.
        gap = max(1 - high - wrong_high, wrong_low - (1 - low), 0.0)
        self.pool_accuracy_high = 1.0 - gap

    @property
    def n_new(self):
        """Rows that got a label in this round."""
        return self.n_asked - self.n_no_label

    def __str__(self):
        return (
            f"round {self.round}: {self.n_labeled} labeled rows, {self.n_asked} asked, "
            f"{self.n_paid} paid, {self.n_free} free, {self.seconds_total:.2f} s"
        )


def as_history(records):
    """Turn records into dictionaries that all have the same keys."""
    own_keys: dict = {}
    for record in records:
        own_keys |= dict.fromkeys(record.report)
    history = []
    for record in records:
        values = asdict(record)
        del values["start"], values["n_agreed"]
        report = values.pop("report")
        history.append({**own_keys, **report, **values})
    return history
