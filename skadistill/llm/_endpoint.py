"""What the teachers behind an endpoint share: drivers, prices, cached requests."""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from numbers import Real

from skadistill.exceptions import TeacherError
from skadistill.llm._clients import open_client
from skadistill.llm._replies import clean
from skadistill.teachers._async import AsyncTeacher

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

    batch_size = 1
    retryable = None
    on_invalid = "skip"

    @property
    def display_name(self):
        """The teacher's name in messages."""
        return f"the teacher {self.name or self.model!r}"

    @property
    def claim_size(self):
        """How many rows are bought together: mostly all of a round.

        At the end of each purchase the slowest call, or the longest wait before
        another try, is waited for while nothing else is in flight.
        """
        return 64 * self._limits.max_concurrency

    @property
    def classes_(self):
        """The classes, in the order given."""
        return list(self.classes)

    @property
    def _requests(self):
        """What writes the requests and reads the replies, for the parameters set."""
        if (made := vars(self).get("_made_requests")) is None:
            self._check_parameters()
            made = self._made_requests = self._make_requests()
        return made

    @property
    def function(self):
        """The function that sends the requests."""
        if (made := vars(self).get("_made_sender")) is None:
            requests, timeout = self._requests, self._limits.timeout
            opened = open_client(self.client, self.api_key_env, timeout)
            made = self._made_sender = _Sender(opened, requests)
        return made

    @property
    def calls_are_async(self):
        """Whether calling `function` gives something to await."""
        return self.function.client.is_async

    def __setattr__(self, name, value):
        # Another parameter, another request; what is made is made once.
        if name not in _MADE:
            for made in _MADE:
                vars(self).pop(made, None)
        super().__setattr__(name, value)

    @property
    def reported_models_(self):
        """Which (model, fingerprint) the endpoint reported, and how often."""
        return self._requests.reported

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
                f"prompt is {self.prompt!r}; pass the question as a text."
            )
        if self.prices is not None:
            Prices(self.prices)

    def max_costs(self, X):
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

    def count_tokens(self, X):
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

    def derived_identity(self):
        """Return a hash of all that decides about the answers.

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

    def __getstate__(self):
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in _MADE}


class RowRequests(ABC):
    """Write the request about a row and read the reply.

    Holds no reference to the teacher: the event loop that sends the requests ends
    when the teacher does.
    """

    def __init__(self, teacher):
        self.model = teacher.model
        # Kept: a parameter that is changed in place changes neither of the two.
        self.identity = teacher._digest()
        self.prices = None if teacher.prices is None else Prices(teacher.prices)
        self.reported: Counter = Counter()
        self.lock = threading.Lock()

    @abstractmethod
    def count_tokens(self, rows):
        """Count the tokens of a request and its reply."""

    @abstractmethod
    def steps(self, rows):
        """Yield requests, take replies or errors, and return the Answer.

        A generator, so that clients that are awaited and clients that block share
        every decision.
        """

    def note_model(self, reply):
        """Count which model answered, as the reply says; return it as a text."""
        model, fingerprint = reply.get("model"), reply.get("system_fingerprint")
        with self.lock:
            self.reported[model, fingerprint] += 1
        said = [str(part) for part in (model, fingerprint) if part]
        return " ".join(said) or None


class _Sender:
    """Send the requests about a row through a client that is awaited or blocks."""

    def __init__(self, client, requests):
        self.client, self.requests = client, requests
        self.__name__ = requests.model

    def __call__(self, rows):
        answering = self._answer(rows)
        if self.client.is_async:
            return answering
        try:
            answering.send(None)  # awaits nothing, and so runs to its end
        except StopIteration as end:
            return end.value
        raise AssertionError

    async def _answer(self, rows):
        """Make the steps of a request."""
        steps = self.requests.steps(rows)
        try:
            request = next(steps)
            while True:
                try:
                    reply = self.client.send(*request)
                    if self.client.is_async:
                        reply = await reply
                except Exception as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(reply)
        except StopIteration as end:
            return end.value


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
                "tokens, or a dict with 'input', 'output' and perhaps 'cached_input'."
            )
        self.input, self.output = float(prices["input"]), float(prices["output"])
        self.cached = float(prices.get("cached_input", self.input))

    def cost(self, n_input, n_cached, n_output):
        """Return the money for some tokens; those from the cache are in `n_input`."""
        fresh = n_input - n_cached
        total = fresh * self.input + n_cached * self.cached + n_output * self.output
        return total / 1e6

    def of_usage(self, usage):
        """Return the money for the usage that an endpoint reports."""
        details = usage.get("prompt_tokens_details") or {}
        return self.cost(
            usage.get("prompt_tokens") or usage.get("input_tokens") or 0,
            details.get("cached_tokens") or 0,
            usage.get("completion_tokens") or usage.get("output_tokens") or 0,
        )


_PRICES = {"input", "output", "cached_input"}


def _is_price(value):
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and 0 <= float(value) < 1e12
