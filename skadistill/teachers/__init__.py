"""Teachers: estimators, functions and APIs that label rows.

A teacher only answers; payments are recorded by a ledger, see
:mod:`skadistill.ledger`, and bought by :mod:`skadistill.labeling`.
"""

from skadistill.teachers._answers import Answer, NoLabel
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._async import AsyncTeacher
from skadistill.teachers._base import BaseTeacher
from skadistill.teachers._function import FunctionTeacher
from skadistill.teachers._limits import Limits
from skadistill.teachers._panel import TeacherPanel
from skadistill.teachers._parallel import ParallelTeacher
from skadistill.teachers._people import FileTeacher, PeopleAgreement

__all__ = [
    "Answer",
    "AsyncTeacher",
    "BaseTeacher",
    "FileTeacher",
    "FunctionTeacher",
    "Limits",
    "NoLabel",
    "ParallelTeacher",
    "PeopleAgreement",
    "TeacherPanel",
    "as_teacher",
]
