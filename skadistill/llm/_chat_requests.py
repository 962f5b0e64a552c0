"""What is sent to a chat endpoint about a row, and how the reply is read."""

import logging

import numpy as np

from skadistill.exceptions import TeacherError
from skadistill.llm._clients import EmptyReply, ReplyError
from skadistill.llm._endpoint import RowRequests, count_bytes, tokens_of_usage
from skadistill.llm._label_lists import LabelListReader, list_schema
from skadistill.llm._prompts import Prompt, row_fields, without_system
from skadistill.llm._refusals import (
    changed_body,
    may_concern_row,
    no_label_of,
    refuses_system_role,
    variants,
)
from skadistill.llm._replies import ClassReader, without_thoughts
from skadistill.teachers._answers import Answer, NoLabel

__all__ = ["ChatRequests", "descriptions_of"]

logger = logging.getLogger(__name__)

#: Why a reply ended that the server did not want to give.
_FILTERED = {
    *("content_filter", "safety", "prohibited_content", "recitation", "blocklist"),
    *("spii", "sensitive", "refusal"),
}


class ChatRequests(RowRequests):
    """Write the messages about a row and read the replies."""

    def __init__(self, teacher):
        super().__init__(teacher)
        self.classes = teacher.classes_
        if teacher.multilabel:
            self.reader = LabelListReader(self.classes)
        else:
            self.reader = ClassReader(self.classes, teacher.answer_with == "number")
        self.prompt = Prompt(
            teacher.prompt,
            self.classes,
            descriptions_of(teacher.classes),
            list(teacher.examples),
            teacher.answer_with == "number",
            teacher.answer_with == "json",
            teacher.multilabel,
        )
        self.tokenizer = teacher.tokenizer or count_bytes
        self.n_samples = int(teacher.n_samples)
        self.max_input_tokens = teacher.max_input_tokens
        _, self.max_output, _ = teacher._sampling
        #: Tokens of a reply at most; more if the endpoint has billed more.
        self.most_output = self.max_output
        self.has_system_role = True
        self.honors_n: bool | None = None
        self.body = self.first_body = _fields(teacher, self.classes)

    def messages(self, rows):
        """Write the messages about one row."""
        return self.prompt.messages(row_fields(rows))

    def count_input(self, rows):
        """Count the tokens that are sent about one row."""
        return self._count(self.messages(rows))

    def _most_input(self, messages):
        """Count the tokens of messages at most: one has a byte at least."""
        if self.tokenizer is not count_bytes:
            return self._count(messages)
        return sum(_n_bytes(message["content"]) + 8 for message in messages)

    def most_cost(self, rows):
        """Return what one row costs at most, each request sent once."""
        n_input = self._most_input(self.messages(rows))
        tokens = self.most_tokens(n_input)
        return None if self.prices is None else self.prices.most(*tokens)

    def most_tokens(self, n_input):
        """Return tokens of input and output for one row at most.

        A server that ignores `n` gets as many requests as replies are wanted. Before
        that is known, the first of them may bring them all, be billed, and break.
        """
        n, n_out, n_asked = self.n_samples, self.most_output, self.body.get("n", 1)
        if n_asked == 1 or self.honors_n:
            return -(-n // n_asked) * n_input, n * n_out
        return n * n_input, (2 * n - 1) * n_out

    def count_tokens(self, rows):
        """Count the tokens of the requests about a row and of their replies."""
        n_requests = -(-self.n_samples // self.body.get("n", 1))
        n_output = self.n_samples * self.max_output
        return n_requests * self.count_input(rows) + n_output

    def tokens_of(self, body):
        """Count the tokens of a request and of its replies."""
        n_replies = body.get("n", 1)
        return self._count(body["messages"]) + n_replies * self.max_output

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
        messages = self.messages(rows)
        if not self.has_system_role:
            messages = without_system(messages)
        return {**self.body, "messages": messages}

    def answer_to(self, reply):
        """Read the reply to a request of a batch."""
        found = reply.get("choices") or []
        cost = None
        if self.prices is not None and reply.get("usage"):
            cost = self.prices.of_usage(reply["usage"])
        label = self._label(found[: self.n_samples])
        return Answer([label], cost=cost, model=self.note_model(reply))

    def accepts_without(self, error, body):
        """Tell whether a request may pass without a field that is now left out."""
        if self._learn(error, body, self.has_system_role):
            return True
        return self.body is not body and changed_body(error, body) is not None

    def learned(self):
        """Return how requests differ from those first sent, as JSON; empty if not."""
        first, now = self.first_body, self.body
        changed = {k: v for k, v in now.items() if k not in first or first[k] != v}
        found = {
            "fields": [name for name in first if name not in now],
            "but with": changed,
            "system messages": not self.has_system_role,
        }
        return {name: value for name, value in found.items() if value}

    def recall(self, learned):
        """Send requests as another process has learned to, unless this one has."""
        if self.body is self.first_body:
            left = learned.get("fields", [])
            body = {k: v for k, v in self.body.items() if k not in left}
            self.body = body | learned.get("but with", {})
        self.has_system_role &= not learned.get("system messages", False)

    def check(self, reply):
        """Raise if a reply holds nothing that a later one may hold."""
        choices = reply.get("choices") or []
        if not choices and reply.get("error"):
            raise ReplyError(reply["error"], reply if reply.get("usage") else None)
        usable = [c for c in choices if _fault_of(c) is None]
        if choices and not usable:
            raise ReplyError(_fault_of(choices[0]), reply)
        if all(map(_is_empty, usable)):
            raise EmptyReply("it is empty", reply)

    def steps(self, rows):
        if (unsent := self.unsent(rows)) is not None:
            return Answer([unsent], cost=0.0)
        messages = self.messages(rows)
        choices: list = []
        models: dict = {}
        while len(choices) < self.n_samples:
            reply = yield from self._one(messages, self.n_samples - len(choices))
            if isinstance(reply, NoLabel):
                if choices:
                    break
                return self.answer(reply, models)
            models[self.note_model(reply)] = None
            found = [c for c in reply["choices"] if _fault_of(c) is None]
            n_missing = self.n_samples - len(choices) - len(found)
            choices += found
            # One that has sent several before and now fewer is not asked for more,
            # which the budget has not reserved.
            if self.honors_n and len(found) < self.body.get("n", 1) and n_missing > 0:
                break
        return self.answer(self._label(choices[: self.n_samples]), models)

    def answer(self, label, models):
        """Return an answer whose cost is that of its replies."""
        cost = None if self.prices is None else 0.0
        return Answer(
            [label], cost=cost, model=" and ".join(filter(None, models)) or None
        )

    def _one(self, messages, n_wanted):
        """Send one request; without what the endpoint turns out not to have."""
        while True:
            body, has_system = self.body, self.has_system_role
            try:
                reply = yield self._call(body, messages, n_wanted, has_system)
            except TeacherError:
                raise
            except EmptyReply:
                return NoLabel("the reply is empty")
            except Exception as error:
                if (refused := no_label_of(error)) is not None:
                    return refused
                if self._learn(error, body, has_system):
                    continue
                if self.accepted or not may_concern_row(error):
                    raise
                reply = yield from self._search(error, messages, n_wanted)
            self.accepted = True
            n_asked = min(n_wanted, body.get("n", 1))
            if n_asked > 1 and self.honors_n is None:
                self.honors_n = len(reply["choices"]) >= n_asked
                if not self.honors_n:
                    self._change(body, _without_n(body))
            return reply

    def _search(self, error, messages, n_wanted):
        """Send a request that was refused without saying why, less this or that."""
        body, has_system = self.body, self.has_system_role
        forms = [(changed, has_system) for changed in variants(body)]
        forms += [(body, False)] if has_system else []
        for changed, system in forms:
            try:
                reply = yield self._call(changed, messages, n_wanted, system)
            except TeacherError:
                raise
            except Exception:  # the first refusal is the one to report
                continue
            self._change(body, changed)
            self.has_system_role = system
            return reply
        raise error

    def _call(self, body, messages, n_wanted, has_system):
        """Return the call that sends messages, and what it can cost."""
        sent = {
            **body,
            "messages": messages if has_system else without_system(messages),
        }
        if "n" in sent:
            sent["n"] = min(n_wanted, sent["n"])
        most = 0.0
        if self.prices is not None:
            n_out = sent.get("n", 1) * self.most_output
            most = self.prices.most(self._most_input(messages), n_out)
        return self.call(most, sent)

    def _learn(self, error, body, has_system):
        """Change all later requests as a refusal asks for; return whether it does."""
        if refuses_system_role(error):
            self.has_system_role = False
            return has_system
        changed = changed_body(error, body)
        if changed is None:
            return False
        self._change(body, changed)
        return True

    def _change(self, body, changed):
        """Send later requests in another form, unless another row has seen to it."""
        if self.body is not body:
            return
        self.body = changed
        for name in body:
            if name not in changed:
                logger.warning(
                    "the endpoint of %r does not accept %r; %s",
                    self.model,
                    name,
                    "'max_completion_tokens' is sent instead"
                    if name == "max_tokens"
                    else "it is left out",
                )
            elif changed[name] != body[name]:
                logger.warning(
                    "the endpoint of %r does not accept %s=%r; it is %r from now on",
                    self.model,
                    name,
                    body[name],
                    changed[name],
                )

    def _label(self, choices):
        """Make one label of the replies about a row."""
        found = [self._read(choice) for choice in choices]
        usable = [proba for proba in found if not isinstance(proba, NoLabel)]
        if usable:
            return np.mean(usable, axis=0)
        return found[0] if found else NoLabel("the reply is empty")

    def _read(self, choice):
        """Read one reply as a distribution, or return why it cannot be read."""
        message = choice.get("message") or {}
        if message.get("refusal"):
            return NoLabel("refused")
        reason = choice.get("finish_reason")
        if str(reason).casefold() in _FILTERED:
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

    def cost_of(self, body, reply):
        """Return what a reply cost, by its usage; without one, the most that it may."""
        if self.prices is None:
            return None
        choices, usage = reply.get("choices") or [], reply.get("usage")
        if not usage:
            n_out = sum(map(self._most_tokens_of, choices))
            return self.prices.most(self._most_input(body["messages"]), n_out)
        self._note_output(tokens_of_usage(usage).n_output / max(1, len(choices)))
        return self.prices.of_usage(usage)

    def _most_tokens_of(self, choice):
        """Count the tokens of a reply without usage at most."""
        message = choice.get("message") or {}
        texts = [
            message.get(name) for name in ("content", "reasoning_content", "reasoning")
        ]
        if choice.get("finish_reason") == "length":
            return self.max_output
        return min(
            sum(_n_bytes(_text_of(text)) for text in texts) + 8, self.most_output
        )

    def _note_output(self, n_tokens):
        """Remember if replies are longer than asked for, as with hidden thoughts."""
        if n_tokens <= self.most_output:
            return
        if self.most_output == self.max_output:
            logger.warning(
                "the endpoint of %r bills replies of %d tokens although "
                "max_tokens is %d; it may think unseen; a budget reserves that "
                "from now on",
                self.model,
                n_tokens,
                self.max_output,
            )
        self.most_output = n_tokens


def _fault_of(choice):
    """Return the error of a reply that broke off at the server, None for others."""
    error = choice.get("error")
    if error or choice.get("finish_reason") == "error":
        return error or "it broke off"
    return None


def _is_empty(choice):
    """Tell whether a reply says nothing although nothing kept it from that."""
    message = choice.get("message") or {}
    reason = str(choice.get("finish_reason")).casefold()
    is_explained = message.get("refusal") or reason in _FILTERED | {"length"}
    return not is_explained and not _text_of(message.get("content")).strip()


def _without_n(body):
    return {name: value for name, value in body.items() if name != "n"}


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
    elif options.get("logprobs", not teacher.multilabel):
        body |= {"logprobs": True, "top_logprobs": 20}
    else:
        options.pop("logprobs", None)
    if teacher.answer_with == "json":
        schema = list_schema if teacher.multilabel else _schema
        body["response_format"] = schema(classes)
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


def _n_bytes(text):
    return len(text.encode("utf-8", "surrogatepass"))
