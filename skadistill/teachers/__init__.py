"""Who is asked, what was paid for, and how often the teacher is wrong.

Teachers only answer, the ledger only remembers, the loop spends.
"""

from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._async import Answer, AsyncTeacher
from skadistill.teachers._base import BaseTeacher, Part
from skadistill.teachers._budget import Claim
from skadistill.teachers._estimator import EstimatorTeacher
from skadistill.teachers._function import FunctionTeacher
from skadistill.teachers._label_ledger import LabelLedger
from skadistill.teachers._ledger import BaseLedger, LedgerCopyWarning, MemoryLedger
from skadistill.teachers._parallel import ParallelTeacher
from skadistill.teachers._postgres_ledger import PostgresLedger
from skadistill.teachers._purchase import Purchase, buy_labels
from skadistill.teachers._rows import row_keys, take_rows
from skadistill.teachers._teacher_error import (
    TeacherErrorEstimate,
    estimate_teacher_error,
)

__all__ = [
    "Answer",
    "AsyncTeacher",
    "BaseLedger",
    "BaseTeacher",
    "Claim",
    "EstimatorTeacher",
    "FunctionTeacher",
    "LabelLedger",
    "LedgerCopyWarning",
    "MemoryLedger",
    "ParallelTeacher",
    "Part",
    "PostgresLedger",
    "Purchase",
    "TeacherErrorEstimate",
    "as_teacher",
    "buy_labels",
    "estimate_teacher_error",
    "row_keys",
    "take_rows",
]
