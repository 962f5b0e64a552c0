"""Language models as teachers."""

from skadistill.llm._batch import BatchTeacher
from skadistill.llm._chat import ChatTeacher
from skadistill.llm._decision import DecisionTeacher

__all__ = ["BatchTeacher", "ChatTeacher", "DecisionTeacher"]
