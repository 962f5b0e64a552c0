"""Language models as teachers."""

from skadistill.llm._chat import ChatTeacher

__all__ = ["ChatTeacher"]
