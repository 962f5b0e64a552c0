"""What is sent to a chat endpoint about a row, and how the reply is read."""

import json
import logging
import math
import zlib
from collections import Counter
from typing import Any

import numpy as np

from skadistill._rows._containers import count_rows, take_rows
from skadistill.exceptions import TeacherError
from skadistill.llm._clients import EmptyReply, ReplyError
from skadistill.llm._endpoint import RowRequests, count_bytes, tokens_of_usage
from skadistill.llm._label_lists import LabelListReader, list_schema
from skadistill.llm._prompts import OTHER, Prompt, row_fields, without_system
from skadistill.llm._refusals import (
    changed_body,
    may_concern_row,
    no_label_of,
    refuses_system_role,
    variants,
)
from skadistill.llm._replies import ClassReader, row_answers, without_thoughts
from skadistill.teachers._answers import Answer, NoLabel

__all__ = ["ChatRequests", "descriptions_of"]

logger = logging.getLogger(__name__)

#: Why a reply ended that the server did not want to give.
_FILTERED = {
    *("content_filter", "safety", "prohibited_content", "recitation", "blocklist"),
    *("spii", "sensitive", "refusal"),
}
#: Stands for the schema in the fields that all requests share.
_BY_REQUEST = "the schema of the request"


class ChatRequests(RowRequests):
    """Write the messages about rows and read the replies."""

    def __init__(self, teacher):
        super().__init__(teacher)
        self.classes = teacher.classes_
        self.prompt = Prompt(
            teacher.prompt,
            self.classes,
            descriptions_of(teacher.classes),
            list(teacher.examples),
            teacher.answer_with,
            teacher.multilabel,
        )
        self.reader: Any
        if teacher.multilabel:
            self.reader = LabelListReader(self.classes)
        else:
            self.reader = ClassReader(self.classes, self.prompt.numbered)
        self.tokenizer = teacher.tokenizer or count_bytes
        self.n_samples = int(teacher.n_samples)
        self.rows_per_call = int(teacher.rows_per_call)
        self.n_candidates = teacher.n_candidates
        self.shortlists: dict = {}
        self.unread_positions: Counter = Counter()
        self.max_input_tokens = teacher.max_input_tokens
        _, self.max_output, _ = teacher._sampling
        #: Tokens of a reply about a row at most; more if the endpoint has billed more.
        self.most_output = self.max_output
        self.has_system_role = True
        self.has_recalled = False  # another process has sent requests
        self.honors_n: bool | None = None
        self.body = self.first_body = _fields(teacher, self.classes)

    def messages(self, rows):
        """Write the messages about the rows of one call."""
        return self.prompt.messages(_fields_of(rows))

    def count_input(self, rows):
        """Count the tokens that are sent about the rows of one call."""
        return self._count(self.messages(rows))

    def _most_input(self, messages):
        """Count the tokens of messages at most: one has a byte at least."""
        if self.tokenizer is not count_bytes:
            return self._count(messages)
        return sum(_n_bytes(message["content"]) + 8 for message in messages)

    def most_cost(self, rows):
        """Return what one row costs at most, each request sent once.

        With several rows in a call, those about all its halves are among them.
        """
        (fields,) = _fields_of(rows)
        n_in = self._most_input(self.prompt.messages([fields]))
        n_levels, k = 1, self.rows_per_call
        if self.n_candidates is not None:
            n_in, n_levels = 2 * n_in, 2
        elif k > 1:
            rules = self._most_input(
                self.prompt.messages([dict.fromkeys(fields, "")] * 2)
            )
            both = self._most_input(self.prompt.messages([fields] * 2))
            own = max((both - rules) / 2, n_in - rules) + len(f"\n[row {k}]\n")
            n_levels = math.ceil(math.log2(k)) + 1
            n_in = (2 - 1 / k) * rules + n_levels * own
        n_in, n_out = self.most_tokens(n_in)
        return None if self.prices is None else self.prices.most(n_in, n_levels * n_out)

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
        """Count the tokens of the requests about some rows and of their replies."""
        n_requests = -(-self.n_samples // self.body.get("n", 1))
        n_output = self.n_samples * self.max_output * count_rows(rows)
        return n_requests * self.count_input(rows) + n_output

    def tokens_of(self, body):
        """Count the tokens of a request and of its replies."""
        return self._count(body["messages"]) + body.get("n", 1) * self._allowed(body)

    def _allowed(self, body):
        """Return how long a reply to a request may be."""
        limits = (body.get(name) for name in ("max_tokens", "max_completion_tokens"))
        return next(filter(None, limits), self.max_output)

    def _most_reply(self, body):
        """Count the tokens of a reply to a request at most, unseen ones included."""
        return self._allowed(body) * self.most_output / self.max_output

    def _count(self, messages):
        # Each message has a few tokens around it.
        return sum(self.tokenizer(m["content"]) + 4 for m in messages)

    def unsent(self, fields):
        """Return a `NoLabel` if a row is not sent, else None."""
        if self.prompt.is_empty(fields):
            return NoLabel("the row is empty")
        n_input = self._count(self.prompt.messages([fields]))
        if n_input <= self.max_input_tokens:
            return None
        return NoLabel(f"the row has {n_input} tokens, more than max_input_tokens")

    def line(self, rows):
        """Write the whole request about one row, for a batch."""
        request = self.messages(rows), 1, None
        return self._written(self.body, request, self.has_system_role)

    def _written(self, body, request, has_system):
        """Write the request that asks for the labels of some rows."""
        messages, n_rows, only = request
        messages = messages if has_system else without_system(messages)
        sent = {**body, "messages": messages}
        for name in ("max_tokens", "max_completion_tokens"):
            if name in sent:
                sent[name] *= n_rows
        if sent.get("response_format") == _BY_REQUEST:
            names = [str(label) for label in self.classes]
            names = names if only is None else [*(names[k] for k in only), OTHER]
            sent["response_format"] = _schema(names, n_rows)
        return sent

    def answer_to(self, reply):
        """Read the reply to a request of a batch."""
        found = reply.get("choices") or []
        cost = None
        if self.prices is not None and reply.get("usage"):
            cost = self._cost_of_usage(self.body, reply)
        labels = self._labels(found[: self.n_samples], 1)
        return Answer(labels, cost=cost, model=self.note_model(reply))

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
        self.has_recalled = True
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

    def offer(self, rows, proba):
        """Remember the likeliest classes of some rows, for their next requests."""
        best = np.sort(np.argsort(-proba, axis=1)[:, : self.n_candidates], axis=1)
        fields = _fields_of(rows)
        self.shortlists = dict(zip(map(_key, fields), best.tolist(), strict=True))

    def steps(self, rows):
        fields = _fields_of(rows)
        labels: list = list(map(self.unsent, fields))
        models: dict = {}
        refusals: list = []
        groups = [[i for i in self._order(fields) if labels[i] is None]]
        while groups:
            if not (group := groups.pop()):
                continue
            only = self.shortlists.get(_key(fields[group[0]]))
            if len(group) > 1 or labels[group[0]] is _OTHER:
                only = None
            messages = self.prompt.messages([fields[i] for i in group], only)
            found: list = []
            if len(group) == 1 or self._count(messages) <= self.max_input_tokens:
                request = messages, len(group), only
                try:
                    found = yield from self._choices(request, models)
                except Exception as error:
                    if isinstance(error, TeacherError) or not may_concern_row(error):
                        raise
                    refusals.append(error)
                    found = [NoLabel("refused by the endpoint")]
            read = self._labels(found, len(group), only)
            for position, (i, label) in enumerate(zip(group, read, strict=True), 1):
                labels[i] = label
                if found and label is _OPEN:
                    self.unread_positions[position] += 1
            again = [i for i in group if labels[i] is _OPEN or labels[i] is _OTHER]
            half = len(again) // 2
            groups += [again[half:], again[:half]]
        if refusals and not models:
            raise refusals[0]
        # Its cost is that of its replies, each counted when it came.
        cost = None if self.prices is None else 0.0
        model = " and ".join(filter(None, models)) or None
        return Answer(labels, cost=cost, model=model)

    def _order(self, fields):
        """Shuffle the rows of a call, alike whenever the same ones are asked about."""
        if len(fields) == 1:
            return [0]
        texts = "\n".join(row["text"] for row in fields).encode("utf-8", "replace")
        rng = np.random.default_rng(zlib.crc32(texts))
        return rng.permutation(len(fields)).tolist()

    def _choices(self, request, models):
        """Ask one question; return the choices of all its replies."""
        choices: list = []
        while len(choices) < self.n_samples:
            reply = yield from self._one(request, self.n_samples - len(choices))
            if isinstance(reply, NoLabel):
                return choices or [reply]
            models[self.note_model(reply)] = None
            found = [c for c in reply["choices"] if _fault_of(c) is None]
            n_missing = self.n_samples - len(choices) - len(found)
            choices += found
            # One that has sent several before and now fewer is not asked for more,
            # which the budget has not reserved.
            if self.honors_n and len(found) < self.body.get("n", 1) and n_missing > 0:
                break
        return choices[: self.n_samples]

    def _one(self, request, n_wanted):
        """Send one request; without what the endpoint turns out not to have."""
        while True:
            body, has_system = self.body, self.has_system_role
            try:
                reply = yield self._call(body, request, n_wanted, has_system)
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
                reply = yield from self._search(error, request, n_wanted)
            self.accepted = True
            n_asked = min(n_wanted, body.get("n", 1))
            if n_asked > 1 and self.honors_n is None:
                self.honors_n = len(reply["choices"]) >= n_asked
                if not self.honors_n:
                    self._change(body, _without_n(body))
            return reply

    def _search(self, error, request, n_wanted):
        """Send a request that was refused without saying why, less this or that."""
        body, has_system = self.body, self.has_system_role
        forms = [(changed, has_system) for changed in variants(body)]
        forms += [(body, False)] if has_system else []
        for changed, system in forms:
            try:
                reply = yield self._call(changed, request, n_wanted, system)
            except TeacherError:
                raise
            except Exception:  # the first refusal is the one to report
                continue
            self._change(body, changed)
            self.has_system_role = system
            return reply
        raise error

    def _call(self, body, request, n_wanted, has_system):
        """Return the call that sends a request, and what it can cost."""
        sent = self._written(body, request, has_system)
        if "n" in sent:
            sent["n"] = min(n_wanted, sent["n"])
        most = 0.0
        if self.prices is not None:
            n_out = sent.get("n", 1) * self._most_reply(sent)
            most = self.prices.most(self._most_input(request[0]), n_out)
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

    def _labels(self, choices, n_rows, only=None):
        """Make one label of each row of the replies about them."""
        read = [self._read(choice, n_rows, only) for choice in choices]
        if not read:
            empty = _OPEN if n_rows > 1 else NoLabel("the reply is empty")
            read = [[empty] * n_rows]
        return list(map(_mean, zip(*read, strict=True)))

    def _read(self, choice, n_rows, only):
        """Read one reply: for each row probabilities, or why there are none."""
        text, tokens, reason = _content_of(choice)
        cut = reason == "length"
        unread = NoLabel("cut at max_tokens" if cut else "unreadable")
        if n_rows == 1:
            if isinstance(text, NoLabel):
                return [text]
            proba = self._proba(text, tokens, cut, None, only)
            return [unread if proba is None else proba]
        answers = {} if isinstance(text, NoLabel) else row_answers(text, n_rows)
        read: list = [_OPEN] * n_rows
        for row, (answer, n_after) in answers.items():
            if n_after or not cut:
                proba = self._proba(answer, tokens, False, n_after, None)
                read[row - 1] = unread if proba is None else proba
        return read

    def _proba(self, text, tokens, cut, n_after, only):
        """Return the probabilities that an answer gives, None or `_OTHER`."""
        reader = self.reader
        if only is not None:
            names = [*(self.classes[k] for k in only), OTHER]
            reader = ClassReader(names, self.prompt.numbered)
        if self.prompt.candidates:
            positions = reader.positions(text)
            proba: Any = np.zeros(len(reader.names))
            # The k-th in proportion to 1 / k, so that the first one has the most.
            proba[positions] = 1 / np.arange(1, len(positions) + 1)
            proba = proba / proba.sum() if positions else None
        elif n_after is None:
            proba = reader.read(text, tokens, cut=cut)
        else:
            proba = reader.read(text, tokens, cut=cut, n_after=n_after)
        if only is None:
            return proba
        if proba is None or proba.argmax() == len(only):
            return _OTHER
        rest = len(self.classes) - len(only)
        whole = np.full(len(self.classes), proba[-1] / rest)
        whole[only] = proba[:-1]
        return whole

    def cost_of(self, body, reply):
        """Return what a reply cost, by its usage; without one, the most that it may."""
        if self.prices is None:
            return None
        choices, usage = reply.get("choices") or [], reply.get("usage")
        if not usage:
            n_out = sum(self._most_tokens_of(choice, body) for choice in choices)
            return self.prices.most(self._most_input(body["messages"]), n_out)
        return self._cost_of_usage(body, reply)

    def _cost_of_usage(self, body, reply):
        """Return what a reply cost, and remember how long replies may be."""
        assert self.prices is not None
        usage, n_replies = reply["usage"], max(1, len(reply.get("choices") or []))
        n_tokens = tokens_of_usage(usage).n_output / n_replies
        self._note_output(n_tokens * self.max_output / self._allowed(body))
        return self.prices.of_usage(usage)

    def _most_tokens_of(self, choice, body):
        """Count the tokens of a reply without usage at most."""
        message = choice.get("message") or {}
        texts = [
            message.get(name) for name in ("content", "reasoning_content", "reasoning")
        ]
        if choice.get("finish_reason") == "length":
            return self._allowed(body)
        n_bytes = sum(_n_bytes(_text_of(text)) for text in texts)
        return min(n_bytes + 8, self._most_reply(body))

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


#: The class is none of those offered: ask again, with all.
_OTHER = NoLabel("none of the classes offered")
#: A reply about several rows has left this one open: ask again.
_OPEN = NoLabel("left open")


def _content_of(choice):
    """Return text, tokens and finish reason of a reply; why not instead of the text."""
    if isinstance(choice, NoLabel):
        return choice, [], None
    message, reason = choice.get("message") or {}, choice.get("finish_reason")
    if message.get("refusal"):
        return NoLabel("refused"), [], reason
    if str(reason).casefold() in _FILTERED:
        return NoLabel("filtered"), [], reason
    listed = choice.get("logprobs")
    tokens = (listed.get("content") if isinstance(listed, dict) else None) or []
    return without_thoughts(_text_of(message.get("content"))), tokens, reason


def _mean(read):
    """Return the mean of what was read of one row, or why nothing was."""
    if any(proba is _OTHER for proba in read):
        return _OTHER
    usable = [proba for proba in read if not isinstance(proba, NoLabel)]
    return np.mean(usable, axis=0) if usable else read[0]


def _fields_of(rows):
    """Return the fields of each row of a container."""
    return [row_fields(take_rows(rows, [i])) for i in range(count_rows(rows))]


def _key(fields):
    return json.dumps(fields, sort_keys=True)


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
    is_open = teacher.answer_with == "candidates"
    if teacher.n_samples > 1:
        body["n"] = teacher.n_samples
    elif options.get("logprobs", not teacher.multilabel and not is_open):
        body |= {"logprobs": True, "top_logprobs": 20}
    else:
        options.pop("logprobs", None)
    if teacher.answer_with == "json":
        schema = list_schema(classes) if teacher.multilabel else _BY_REQUEST
        body["response_format"] = schema
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


def _schema(names, n_rows):
    """Return the response format that admits the names of the classes only."""
    label = {"type": "string", "enum": names}
    keys = ["label"] if n_rows == 1 else [str(i + 1) for i in range(n_rows)]
    schema = {
        "type": "object",
        "properties": dict.fromkeys(keys, label),
        "required": keys,
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def _n_bytes(text):
    return len(text.encode("utf-8", "surrogatepass"))
