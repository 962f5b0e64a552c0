"""Endpoints that answer a question with a probability for every class."""

import json
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np

from skadistill._utils.validation import as_cost
from skadistill.exceptions import TeacherAnswerError, TeacherError
from skadistill.llm._clients import ReplyError
from skadistill.llm._endpoint import EndpointTeacher, RowRequests, count_bytes
from skadistill.llm._prompts import row_fields
from skadistill.llm._replies import clean
from skadistill.teachers._answers import Answer, NoLabel, OtherAnswer

__all__ = ["DecisionTeacher"]

#: Part of the identity: another way of reading gives other labels.
_READER_VERSION = 1


class DecisionTeacher(EndpointTeacher):
    """Ask an endpoint that decides: a probability for every class, no text.

    One request holds one row and one or more questions. Two forms of answer are
    read: a ``choice`` with its ``probabilities`` as a mapping, and a list of
    ``{"value": ..., "probability": ...}``. An answer of the type ``refusal`` is *no
    label*: remembered, and left out of the training.

    Parameters
    ----------
    client : str or object
        The base URL of the endpoint, or a client of the openai package, sync or
        async, which posts to its own address.
    model : str
        The model's name, as the endpoint knows it.
    classes : sequence of n_classes labels
        What may be answered.
    prompt : str
        The question.
    other_questions : dict or None, default=None
        Further questions to ask in the same request: each question with its classes.
        Their answers are kept in the ledger, so that a teacher with such a question
        as its `prompt` finds the rows paid for.
    path : str, default="/decisions"
        Where to post, below the base URL.
    write_request : callable or None, default=None
        Takes model, the row's text and a list of dicts with ``id``, ``question`` and
        ``choices``, and returns the request as a dict. None: ``model``, ``input``
        and ``questions``, each of the type "choice".
    cost_per_row : float or None, default=None
        What one request costs at most, in the user's money. None: not known.
    prices : tuple of 2 floats, dict or None, default=None
        Money per million tokens, as in `ChatTeacher`, for endpoints that report
        their usage. None: each request costs `cost_per_row`.
    api_key_env : str or None, default="OPENAI_API_KEY"
        The environment variable that holds the key when `client` is a URL. It is
        read for each request and never stored.
    limits : Limits or None, default=None
        Requests in flight, requests and tokens per minute, seconds and tries of a
        request, see `Limits`. None: ``Limits()``.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: model, question
        and classes.

    See Also
    --------
    ChatTeacher : Endpoints that answer in words.

    Notes
    -----
    Needs ``pip install "skadistill[llm]"``.

    Examples
    --------
    >>> from skadistill.llm import DecisionTeacher
    >>> teacher = DecisionTeacher(
    ...     "http://localhost:8000/v1",
    ...     model="judge",
    ...     classes=["spam", "ham"],
    ...     prompt="Is this message spam?",
    ...     cost_per_row=0.0001,
    ... )
    >>> teacher.classes_
    ['spam', 'ham']
    """

    _parameter_constraints: dict = EndpointTeacher._parameter_constraints | {
        "other_questions": [dict, None],
        "path": [str],
        "write_request": [callable, None],
    }

    def __init__(
        self,
        client: Any,
        model: str,
        classes: Any,
        prompt: str,
        *,
        other_questions: dict[Any, Any] | None = None,
        path: str = "/decisions",
        write_request: Callable[..., Any] | None = None,
        cost_per_row: float | None = None,
        prices: tuple[Any, ...] | dict[Any, Any] | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        limits: Any = None,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        self.client = client
        self.model = model
        self.classes = classes
        self.prompt = prompt
        self.other_questions = other_questions
        self.path = path
        self.write_request = write_request
        self.cost_per_row = cost_per_row
        self.prices = prices
        self.api_key_env = api_key_env
        self.limits = limits
        self.name = name
        self.version = version

    def _digest(self):
        """Hash model, question and classes: not what else the request asks."""
        return _identity(self.model, self.prompt, self.classes_)

    def _check_parameters(self):
        super()._check_parameters()
        for question, classes in (self.other_questions or {}).items():
            if not isinstance(question, str) or len({str(c) for c in classes}) < 2:
                raise TeacherError(
                    f"other_questions has {question!r} with the classes "
                    f"{list(classes)!r}; pass a dict of questions with at least two "
                    "classes each."
                )

    def _make_requests(self):
        return _DecisionRequests(self)


class _DecisionRequests(RowRequests):
    """Write the questions about a row and read the decisions."""

    def __init__(self, teacher):
        super().__init__(teacher)
        self.path = teacher.path
        self.price = as_cost(teacher.cost_per_row, "cost_per_row")
        self.write = teacher.write_request or _write_request
        self.questions = [(teacher.prompt, teacher.classes_)]
        self.questions += [
            (question, list(classes))
            for question, classes in (teacher.other_questions or {}).items()
        ]

    def count_tokens(self, rows):
        """Count the tokens of a request; an answer has hardly any."""
        body = self._body(row_fields(rows)["text"])
        return count_bytes(json.dumps(body, ensure_ascii=False))

    def _body(self, text):
        """Write the request about a text."""
        asked = [
            {"id": f"q{i}", "question": question, "choices": [str(c) for c in classes]}
            for i, (question, classes) in enumerate(self.questions)
        ]
        return self.write(self.model, text, asked)

    def steps(self, rows):
        text = row_fields(rows)["text"]
        if not text.strip():
            return Answer([NoLabel("the row is empty")], cost=0.0)
        body = self._body(text)
        reply = yield self.call(self.price or 0.0, body, self.path)
        self.accepted = True
        model = self.note_model(reply)
        decisions = _decisions(reply, len(self.questions))
        labels, *others = (
            _read(decision, classes)
            for decision, (_, classes) in zip(decisions, self.questions, strict=True)
        )
        also = [
            OtherAnswer(_identity(self.model, question, classes), classes, label[None])
            for label, (question, classes) in zip(
                others, self.questions[1:], strict=True
            )
            if not isinstance(label, NoLabel)
        ]
        return Answer([labels], also=also, model=model)

    def check(self, reply):
        if reply.get("error") and _listed(reply) is None:
            raise ReplyError(reply["error"])

    def cost_of(self, body, reply):
        if self.prices is not None and reply.get("usage"):
            return self.prices.of_usage(reply["usage"])
        return self.price


def _write_request(model, text, questions):
    """Write a request in the form that most hosts take."""
    choices = [{"type": "choice"} | question for question in questions]
    return {"model": model, "input": text, "questions": choices}


def _identity(model, question, classes):
    """Return the identity of one question to one model."""
    named = [[type(c).__name__, str(c)] for c in classes]
    text = json.dumps([question, named, _READER_VERSION])
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    return f"decision:{model}:{digest.hexdigest()}"


def _decisions(reply, n_questions):
    """Return the answer to each question, in the order asked."""
    found = _listed(reply)
    if isinstance(found, dict):
        found = [{"id": name} | answer for name, answer in found.items()]
    if found is None and n_questions == 1:
        found = [reply]
    if found is None or len(found) != n_questions:
        raise TeacherAnswerError(
            f"the endpoint sent {0 if found is None else len(found)} answers to "
            f"{n_questions} questions, in a reply with the fields "
            f"{sorted(reply)!r:.200}; check `path` and `write_request`."
        )
    by_id = {str(answer.get("id")): answer for answer in found}
    if {f"q{i}" for i in range(n_questions)} <= by_id.keys():
        return [by_id[f"q{i}"] for i in range(n_questions)]
    return found


def _listed(reply):
    """Return the list or mapping of answers in a reply, None if there is none."""
    names = ("answers", "decisions", "output", "results", "choices")
    found = (reply[n] for n in names if isinstance(reply.get(n), list | dict))
    return next(found, None)


def _read(decision, classes):
    """Return the probabilities in a decision, or why they are missing."""
    if decision.get("type") == "refusal" or decision.get("refusal"):
        return NoLabel("refused")
    listed = decision.get("probabilities")
    if listed is None:
        listed = next((v for v in decision.values() if isinstance(v, list)), None)
    if isinstance(listed, list):
        if any(item.get("type") == "refusal" for item in listed):
            return NoLabel("refused")
        listed = {item.get("value"): item.get("probability") for item in listed}
    if not isinstance(listed, dict):
        return NoLabel("unreadable")
    given = {clean(str(value)): p for value, p in listed.items()}
    # A host may leave out what it finds impossible.
    proba = np.array([given.get(clean(str(c))) or 0.0 for c in classes], dtype=float)
    total = proba.sum()
    if not np.isfinite(total) or (proba < 0).any() or total <= 0:
        return NoLabel("unreadable")
    return proba / total
