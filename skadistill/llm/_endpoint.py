"""What the teachers behind an endpoint share: drivers, prices, cached requests."""

import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from numbers import Integral, Real
from typing import Any, NamedTuple

from numpy.typing import NDArray

from skadistill.exceptions import TeacherError
from skadistill.llm._clients import open_client
from skadistill.llm._refusals import may_concern_row, refuses_system_role
from skadistill.llm._replies import clean
from skadistill.teachers._async import AsyncTeacher
from skadistill.teachers._request import Call
from skadistill.teachers._retries import is_retryable

__all__ = ["EndpointTeacher", "Prices", "RowRequests", "count_bytes"]

#: What is made of the parameters when it is needed, and again when one is set.
_MADE = ("_made_requests", "_made_sender")


class EndpointTeacher(AsyncTeacher):
    """Ask an endpoint about one row per request.

    A subclass has the parameters `client` and `model`, and makes its requests by
    `_make_requests`.
    """

    _parameter_constraints: dict = AsyncTeacher._parameter_constraints | {
        "classes": ["array-like", dict],
        "model": [str],
        "prompt": [str],
        "api_key_env": [str, None],
    }

    batch_size: int = 1
    on_invalid: str = "skip"

    @property
    def display_name(self) -> str:
        """The teacher's name in messages."""
        return f"the teacher {self.name or self.model!r}"

    @property
    def claim_size(self) -> Any:
        """How many rows are bought together: mostly all of a round.

        At the end of each purchase the slowest call, or the longest wait before
        another try, is waited for while nothing else is in flight.
        """
        return 64 * self._limits.max_concurrency

    @property
    def classes_(self) -> Any:
        """The classes, in the order given."""
        return list(self.classes)

    @property
    def _requests(self):
        """What writes the requests and reads the replies, for the parameters set."""
        made = vars(self).get("_made_requests")
        if made is None or made.process != os.getpid():
            self._check_parameters()
            made = self._made_requests = self._make_requests()
        return made

    @property
    def function(self) -> Any:
        """What sends the requests."""
        requests, made = self._requests, vars(self).get("_made_sender")
        if made is None or made.requests is not requests:
            opened = open_client(self.client, self.api_key_env, self._limits.timeout)
            made = self._made_sender = Endpoint(opened, requests)
        return made

    def __setattr__(self, name, value):
        # Another parameter, another request; what is made is made once.
        if name not in _MADE:
            for made in _MADE:
                self.__dict__.pop(made, None)
        super().__setattr__(name, value)

    @property
    def calls_are_async(self) -> Any:
        """Whether the client is awaited."""
        return self.function.client.is_async

    @property
    def has_answered(self) -> Any:  # type: ignore[override]
        """Whether the endpoint has answered any request."""
        return self._requests.accepted

    def retryable(self, error: Any) -> Any:
        """Tell whether the same request may succeed a little later."""
        return not refuses_system_role(error) and is_retryable(error)

    def _conversation(self, rows):
        return self._requests.steps(rows)

    def _function_of(self, call):
        return self.function.send, call.content

    def _reply_cost(self, call, reply):
        return self._requests.cost_of(call.content[0], reply)

    def _may_concern_row(self, error):
        cause = error.__cause__ if isinstance(error, TeacherError) else error
        return may_concern_row(cause)

    def _tokens_of(self, call):
        return self._requests.tokens_of(call.content[0])

    @property
    def reported_models_(self) -> Any:
        """Which (model, fingerprint) the endpoint reported, and how often."""
        made = vars(self).get("_made_requests")
        return Counter() if made is None else made.reported

    def _check_parameters(self):
        super()._check_parameters()
        # As replies are read: "Yes." is an answer of the class "yes".
        names = {clean(str(label)) for label in self.classes_}
        if len(names) < 2 or len(names) != len(self.classes_) or "" in names:
            raise TeacherError(
                f"classes are {self.classes_!r}; pass at least two, with names that "
                "differ in more than case, blanks and punctuation."
            )
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise TeacherError(
                f"prompt is {self.prompt!r}; pass the question as a string."
            )
        if self.prices is not None:
            Prices(self.prices)

    def max_costs(self, X: Any) -> NDArray[Any] | None:
        """Return what each of some rows costs at most, failed tries included.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        costs : ndarray of float64 of shape (n_samples,) or None
            None: not known.
        """
        prices = self.prices_of(X)
        return None if prices is None else prices * self._limits.max_tries

    def count_tokens(self, X: Any) -> int:
        """Count the tokens of the request about a row, the reply included.

        Parameters
        ----------
        X : container of one row
            The row.

        Returns
        -------
        n_tokens : int
            An estimate.
        """
        return self._requests.count_tokens(X)

    def derived_identity(self) -> str:
        """Return a hash of all that the answers depend on.

        Returns
        -------
        identity : str
            Of the model, the question with its classes, and what else changes the
            answers; neither of the client nor of limits.
        """
        return self._requests.identity

    @abstractmethod
    def _digest(self):
        """Return the identity for the parameters of the moment."""

    @abstractmethod
    def _make_requests(self):
        """Return the RowRequests for the parameters of the moment."""

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in _MADE}


class RowRequests(ABC):
    """Write the requests about a row and read the replies.

    Holds no reference to the teacher: the event loop that sends the requests ends
    when the teacher does.
    """

    def __init__(self, teacher):
        self.model = teacher.model
        # Kept: a parameter that is changed in place changes neither of the two.
        self.identity = teacher._digest()
        self.prices = None if teacher.prices is None else Prices(teacher.prices)
        self.reported: Counter = Counter()
        self.accepted = False  # whether a request was answered
        self.process = os.getpid()

    @abstractmethod
    def count_tokens(self, rows):
        """Count the tokens of a request and its reply."""

    @abstractmethod
    def steps(self, rows):
        """Yield calls, take replies or errors, and return the Answer.

        A generator, so that clients that are awaited and clients that block share
        every decision. Its answer needs no cost: each reply has its own.
        """

    def call(self, most, body, path=None):
        """Return a call that sends a body, at what it can cost."""
        return Call((body, path), most)

    @abstractmethod
    def check(self, reply):
        """Raise a ReplyError if a reply holds nothing that a later one may hold."""

    @abstractmethod
    def cost_of(self, body, reply):
        """Return what the reply to a request cost; None if that is not known."""

    def tokens_of(self, body):
        """Count the tokens of a request and of its replies."""
        return count_bytes(json.dumps(body, ensure_ascii=False))

    def note_model(self, reply):
        """Count which model answered, as the reply says; return it as a text."""
        model, fingerprint = reply.get("model"), reply.get("system_fingerprint")
        self.reported[model, fingerprint] += 1
        said = [str(part) for part in (model, fingerprint) if part]
        return " ".join(said) or None


class Endpoint(NamedTuple):
    """A client, and what is sent through it."""

    client: Any
    requests: RowRequests

    def send(self, body, path=None):
        """Send a request; return the reply, or what to await for it."""
        reply = self.client.send(body) if path is None else self.client.send(body, path)
        return self._awaited(reply) if self.client.is_async else self._checked(reply)

    async def _awaited(self, reply):
        return self._checked(await reply)

    def _checked(self, reply):
        self.requests.check(reply)
        return reply


def count_bytes(text):
    """Overestimate the tokens of a text: English has some four bytes in one."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


class Prices:
    """Compute what tokens cost."""

    def __init__(self, prices):
        try:
            if not isinstance(prices, dict):
                prices = dict(zip(("input", "output"), prices, strict=True))
            complete = {"input", "output"} <= prices.keys() <= _PRICES
        except (TypeError, ValueError):
            complete = False
        if not complete or not all(map(_is_price, prices.values())):
            raise TeacherError(
                f"prices are {prices!r}; pass (input, output) in money per million "
                "tokens, or a dict with 'input', 'output' and perhaps 'cached_input' "
                "and 'cache_write'."
            )
        self.input, self.output = float(prices["input"]), float(prices["output"])
        self.cached = float(prices.get("cached_input", self.input))
        # What Anthropic takes for writing to its cache for five minutes.
        self.written = float(prices.get("cache_write", 1.25 * self.input))
        self.most_input = max(self.input, float(prices.get("cache_write", 0.0)))

    def cost(self, n_input, n_cached, n_output):
        """Return the money for some tokens; those from the cache are in `n_input`."""
        fresh = n_input - n_cached
        total = fresh * self.input + n_cached * self.cached + n_output * self.output
        return total / 1e6

    def most(self, n_input, n_output):
        """Return the most that some tokens can cost."""
        return (n_input * self.most_input + n_output * self.output) / 1e6

    def of_usage(self, usage):
        """Return the money for the usage that an endpoint reports."""
        tokens = tokens_of_usage(usage)
        written = tokens.n_written * (self.written - self.input) / 1e6
        return written + self.cost(tokens.n_input, tokens.n_cached, tokens.n_output)


class Tokens(NamedTuple):
    """Count tokens; those read from a cache, and written to one, are in `n_input`."""

    n_input: int
    n_cached: int
    n_written: int
    n_output: int


def tokens_of_usage(usage):
    """Read the usage of a reply, whichever words it has for it.

    OpenAI, xAI, OpenRouter: prompt_tokens with prompt_tokens_details; DeepSeek:
    prompt_cache_hit_tokens; Moonshot: cached_tokens; Anthropic: input_tokens without
    those of the cache, beside cache_read_input_tokens and cache_creation_input_tokens.
    """
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    details = details if isinstance(details, dict) else {}
    n_read = _first(usage, "cache_read_input_tokens")
    n_cached = n_read or _first(usage, "prompt_cache_hit_tokens", "cached_tokens")
    n_cached = n_cached or _first(details, "cached_tokens")
    n_written = _first(usage, "cache_creation_input_tokens", "cache_write_tokens")
    n_written = n_written or _first(
        details, "cache_write_tokens", "cache_creation_tokens"
    )
    n_input = _first(usage, "prompt_tokens")
    if not n_input:
        n_input = _first(usage, "input_tokens")
        if n_read or "cache_creation_input_tokens" in usage:  # Anthropic
            n_input += n_read + n_written
    n_output = _first(usage, "completion_tokens", "output_tokens")
    # Thoughts that are billed but not shown are in the total alone: Gemini, xAI.
    n_output = max(n_output, _first(usage, "total_tokens") - n_input)
    n_cached = min(n_cached, n_input)
    return Tokens(n_input, n_cached, min(n_written, n_input - n_cached), n_output)


def _first(counts, *names):
    """Return the first of some counts that is one; 0 if none is."""
    for name in names:
        count = counts.get(name)
        if isinstance(count, Integral) and int(count) > 0:
            return int(count)
    return 0


_PRICES = {"input", "output", "cached_input", "cache_write"}


def _is_price(value):
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and 0 <= float(value) < 1e12
