"""What is sent to a chat endpoint about a row, and how the reply is read."""

import logging
import re

import numpy as np

from skadistill.llm._clients import ReplyError
from skadistill.llm._endpoint import RowRequests, count_bytes
from skadistill.llm._prompts import Prompt, row_fields, without_system
from skadistill.llm._replies import ClassReader, without_thoughts
from skadistill.teachers._answers import Answer, NoLabel

__all__ = ["ChatRequests", "descriptions_of"]

logger = logging.getLogger(__name__)

#: What endpoints are known not to have; left out once one of them says so.
_OPTIONAL = (
    *("logprobs", "top_logprobs", "temperature", "response_format", "n", "seed"),
    "max_tokens",
)

#: How chat templates without a system role refuse it: Gemma 2 and Mistral behind vLLM
#: (github.com/vllm-project/vllm/pull/2964, github.com/microsoft/autogen/issues/1037),
#: Gemma 3 behind Gemini's address (github.com/google/adk-python/issues/3900).
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt|instruction)|developer instruction|roles must "
    r"alternate|only user and assistant roles"
)


class ChatRequests(RowRequests):
    """Write the messages about a row and read the replies."""

    def __init__(self, teacher):
        super().__init__(teacher)
        self.classes = teacher.classes_
        self.reader = ClassReader(self.classes, teacher.answer_with == "number")
        self.prompt = Prompt(
            teacher.prompt,
            self.classes,
            descriptions_of(teacher.classes),
            list(teacher.examples),
            teacher.answer_with == "number",
            teacher.answer_with == "json",
        )
        self.tokenizer = teacher.tokenizer or count_bytes
        self.n_samples = int(teacher.n_samples)
        self.max_input_tokens = teacher.max_input_tokens
        self.most_output = teacher._most_output
        self.has_system_role = True
        self.body = _fields(teacher, self.classes)

    def messages(self, rows):
        """Write the messages about one row."""
        return self.prompt.messages(row_fields(rows))

    def count_input(self, rows):
        """Count the tokens that are sent about one row."""
        return self._count(self.messages(rows))

    def most_input(self, rows):
        """Count the tokens that are sent about one row at most."""
        messages = self.messages(rows)
        if self.tokenizer is not count_bytes:
            return self._count(messages)
        contents = (m["content"].encode("utf-8", "surrogatepass") for m in messages)
        return sum(len(content) + 8 for content in contents)

    def count_tokens(self, rows):
        """Count the tokens of a request and its reply."""
        return self.count_input(rows) + self.most_output

    def _count(self, messages):
        # Each message has a few tokens around it.
        return sum(self.tokenizer(m["content"]) + 4 for m in messages)

    def unsent(self, rows):
        """Return a `NoLabel` if a row is not sent, else None."""
        fields = row_fields(rows)
        if self.prompt.is_empty(fields):
            return NoLabel("the row is empty")
        n_input = self._count(self.prompt.messages(fields))
        if n_input <= self.max_input_tokens:
            return None
        return NoLabel(f"the row has {n_input} tokens, more than max_input_tokens")

    def line(self, rows):
        """Write the whole request about one row, for a batch."""
        return {**self.body, "messages": self._sent(self.messages(rows))}

    def _sent(self, messages):
        return messages if self.has_system_role else without_system(messages)

    def answer_to(self, reply):
        """Read the reply to a request of a batch."""
        found = reply.get("choices") or []
        cost, usage = None, reply.get("usage")
        if self.prices is not None and usage:
            cost = self.prices.of_usage(usage)
        label = self._label(found[: self.n_samples])
        return Answer([label], cost=cost, model=self.note_model(reply))

    def refusal(self, error):
        """Return a `NoLabel` if an error says that a row has none, else None."""
        return _no_label_of(error)

    def accepts_without(self, error):
        """Tell whether the same request may pass without a field it now leaves out."""
        return self._leave_out(error, self.body)

    def steps(self, rows):
        if (unsent := self.unsent(rows)) is not None:
            return Answer([unsent], cost=0.0)
        messages = self.messages(rows)
        choices: list = []
        models: dict = {}
        cost = 0.0 if self.prices is not None else None
        while len(choices) < self.n_samples:
            reply = yield from self._one(messages, self.n_samples - len(choices))
            if isinstance(reply, NoLabel):
                return Answer([reply], cost=cost)
            found = reply.get("choices") or []
            if not found and reply.get("error"):
                raise ReplyError(reply["error"])
            if cost is not None:
                cost += self._cost(reply.get("usage"), messages, found)
            models[self.note_model(reply)] = None
            if not found:
                break
            choices += found
        label = self._label(choices[: self.n_samples])
        return Answer(
            [label], cost=cost, model=" and ".join(filter(None, models)) or None
        )

    def _one(self, messages, n_wanted):
        """Send one request; without what the endpoint turns out not to have."""
        while True:
            body = {**self.body, "messages": self._sent(messages)}
            if "n" in body:
                body["n"] = n_wanted
            try:
                return (yield (body,))
            except Exception as error:
                if (refused := _no_label_of(error)) is not None:
                    return refused
                if not self._leave_out(error, body):
                    raise

    def _leave_out(self, error, body):
        """Leave out the optional field that a refusal names, once for all rows."""
        if getattr(error, "status_code", None) not in (400, 404, 422, 500):
            return False
        text = _error_text(error)
        if _NO_SYSTEM.search(text):
            had_one = body.get("messages", [{"role": "system"}])[0]["role"] == "system"
            self.has_system_role = False
            return had_one
        if error.status_code == 500:
            return False
        with self.lock:
            for name in _OPTIONAL:
                if name not in body or not _names_field(text, name):
                    continue
                if name in self.body:
                    value = self.body.pop(name)
                    if name == "max_tokens":
                        self.body["max_completion_tokens"] = value
                    if name == "logprobs":
                        self.body.pop("top_logprobs", None)
                    logger.warning(
                        "the endpoint of %s does not accept %r; it is left out",
                        repr(self.model),
                        name,
                    )
                return True
        return False

    def _label(self, choices):
        """Make one label of the replies about a row."""
        found = [self._read(choice) for choice in choices]
        usable = [proba for proba in found if not isinstance(proba, NoLabel)]
        if usable:
            return np.mean(usable, axis=0)
        return found[0] if found else NoLabel("the reply holds no choice")

    def _read(self, choice):
        """Read one reply as a distribution, or return why it cannot be read."""
        message = choice.get("message") or {}
        if message.get("refusal"):
            return NoLabel("refused")
        reason = choice.get("finish_reason")
        if reason == "content_filter":
            return NoLabel("filtered")
        text = without_thoughts(_text_of(message.get("content")))
        listed = choice.get("logprobs")
        tokens = (listed.get("content") if isinstance(listed, dict) else None) or []
        proba = self.reader.read(text, tokens, cut=reason == "length")
        if proba is not None:
            return proba
        if reason == "length":
            return NoLabel("cut at max_tokens")
        return NoLabel("unreadable")

    def _cost(self, usage, messages, choices):
        """Return what a reply cost, by the usage that the endpoint reports."""
        assert self.prices is not None
        if not usage:
            n_out = sum(
                self.tokenizer(_text_of((c.get("message") or {}).get("content")))
                for c in choices
            )
            return self.prices.cost(self._count(messages), 0, n_out)
        return self.prices.of_usage(usage)


def _text_of(content):
    """Return the text of a message; some hosts send it in parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def descriptions_of(classes):
    return dict(classes) if isinstance(classes, dict) else {}


def _fields(teacher, classes):
    """Return all fields of a request but the messages."""
    temperature, max_tokens, options = teacher._sampling
    name = "max_tokens"
    if "max_completion_tokens" in (teacher.options or {}):
        name = "max_completion_tokens"
    body = {"model": teacher.model, "temperature": temperature, name: max_tokens}
    if teacher.n_samples > 1:
        body["n"] = teacher.n_samples
    elif options.get("logprobs", True):
        body |= {"logprobs": True, "top_logprobs": 20}
    else:
        del options["logprobs"]
    if teacher.answer_with == "json":
        body["response_format"] = _schema(classes)
    return {
        name: _plain(value)
        for name, value in (body | options).items()
        if value is not None
    }


def _plain(value):
    """Copy a field with Python's numbers in place of NumPy's, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _schema(classes):
    """Return the response format that admits the names of the classes only."""
    label = {"type": "string", "enum": [str(c) for c in classes]}
    schema = {
        "type": "object",
        "properties": {"label": label},
        "required": ["label"],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def _error_text(error):
    """Return what a client's error says, its body included, in lower case."""
    body = getattr(error, "body", None)
    return f"{error} {body if body is not None else ''}".casefold()


def _names_field(text, name):
    """Tell whether a refusal complains of a field of the request."""
    complaint = (
        "support",
        "unknown",
        "unrecognized",
        "not permitted",
        "extra",
        "unexpected",
        "invalid param",
    )
    return name in text and any(word in text for word in complaint)


def _no_label_of(error):
    """Return the reason for a missing label from a refusal, or None."""
    if getattr(error, "status_code", None) not in (400, 413, 422):
        return None
    text = _error_text(error)
    if "content_filter" in text or "content management policy" in text:
        return NoLabel("filtered")
    if "context_length" in text or "maximum context length" in text:
        return NoLabel("too long for the model")
    return None
