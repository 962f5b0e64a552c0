"""A chat model behind an OpenAI-compatible endpoint as a teacher."""

import json
import math
from collections.abc import Callable
from hashlib import blake2b
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skadistill._rows._containers import count_rows, take_rows
from skadistill._utils.compat import Interval, StrOptions
from skadistill._utils.validation import read_labels
from skadistill.exceptions import TeacherError
from skadistill.llm._chat_requests import ChatRequests, descriptions_of
from skadistill.llm._endpoint import EndpointTeacher, Prices
from skadistill.llm._prompts import example_of
from skadistill.llm._replies import PARSER_VERSION, clean

__all__ = ["ChatTeacher"]


#: Fields of a request that parameters decide about.
_TAKEN = {
    "model": "pass model= instead",
    "messages": "pass prompt= and examples= instead",
    "n": "pass n_samples= instead",
    "stream": "replies are read whole",
}


class ChatTeacher(EndpointTeacher):
    """Ask a language model that chats: an LLM behind an API as a teacher.

    Each row becomes one request. The reply becomes a soft label: by the
    log-probabilities of the answer's first tokens if the endpoint reports them, by
    the shares of several replies if `n_samples` is larger than 1, and by the class
    that the reply names otherwise. A refusal, a filtered, cut or unreadable reply and
    a row that is too long are *no label*: paid for if they were billed, remembered,
    and left out of the training.

    Parameters
    ----------
    client : str or object
        A client of the openai package, sync or async; anything with the same
        ``chat.completions.create``; the litellm module or a router of it; or the base
        URL of an endpoint, such as ``"http://localhost:8000/v1"``. The client's own
        retries are switched off: tries are made, counted and billed here.
    model : str
        The model's name, as the endpoint knows it.
    classes : sequence of n_classes labels, or dict
        What may be answered; a dict gives each class a description.
    prompt : str
        The question. ``{text}`` is replaced by the row's text and ``{name}`` by the
        value of its column `name`; if neither occurs, the row follows the question.
        What may be answered is added.
    examples : sequence of (row, label) pairs, default=()
        Shown before the row, see `with_examples`.
    answer_with : {"name", "number", "json", "candidates"}, default="name"
        What the model is asked for: the name of a class; its number, which is short
        even if names are long (classes that are other numbers are refused); a JSON
        object, whose schema allows the classes only; or the names of all classes that
        may be right, which share the label, the k-th in proportion to 1 / k: soft
        labels without log-probabilities.
    rows_per_call : int, default=1
        Rows in one prompt, in random order. Those that a reply leaves open are asked
        about again in two halves, down to one row. Cheaper, as the rules and the
        classes are sent once for all; whether it is as good depends on the model, see
        `teacher_repeatability`.
    n_candidates : int or None, default=None
        From the second round of a fit on, only so many classes are offered for a row,
        those that the student finds likeliest, and "none of these"; after such an
        answer the row is asked about again, with all. Cheaper with many classes. None:
        always all.
    n_samples : int, default=1
        Replies per row. More than 1: without log-probabilities.
    multilabel : bool, default=False
        Whether several of the classes may apply to a row, or none. The model is asked
        for a list of them, as JSON; log-probabilities are not used, and the label of a
        class is 0, 1 or its share of several replies.
    options : dict or None, default=None
        Further fields of the request, and others than these: ``temperature``, 0 for
        one reply and 1 for several; ``max_tokens`` (or ``max_completion_tokens``), 64
        for each reply, while models that reason aloud need more; ``logprobs``, True,
        and ``top_logprobs``, 20, for one reply. A field that is None is left out. An
        endpoint that refuses log-probabilities is asked without.
    max_input_tokens : int, default=8000
        Longer rows are not sent.
    prices : tuple of 2 floats, dict or None, default=None
        Money per million tokens: (input, output), or a dict with "input", "output"
        and "cached_input". None: not known.
    tokenizer : callable or None, default=None
        Takes a string and returns its number of tokens. None: a third of its bytes,
        which overestimates English.
    api_key_env : str or None, default="OPENAI_API_KEY"
        The environment variable that holds the key when `client` is a URL. It is
        read for each request and never stored.
    limits : Limits or None, default=None
        Requests in flight, requests and tokens per minute, seconds and tries of a
        request, see `Limits`. None: ``Limits()``.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: model, prompt,
        classes, examples and sampling settings.

    Attributes
    ----------
    classes_ : list
        The classes.
    identity : str
        Under which a ledger files the answers.
    cost_per_row : float or None
        What one try about one row costs at most.
    reported_models_ : Counter
        Which (model, fingerprint) the endpoint said it is, and how often.
    unread_positions_ : Counter
        With several rows in a prompt: the places, counted from 1, of those that a reply
        left open.

    See Also
    --------
    AsyncTeacher : Any function that calls an API.

    Notes
    -----
    Needs ``pip install "skadistill[llm]"``. Some providers forbid training on their
    models' output; read their terms.

    Examples
    --------
    >>> from skadistill.llm import ChatTeacher
    >>> teacher = ChatTeacher(
    ...     "http://localhost:8000/v1",
    ...     model="small",
    ...     classes={"spam": "unwanted advertising", "ham": "anything else"},
    ...     prompt="Is this message spam?",
    ...     prices=(0.15, 0.60),
    ... )
    >>> print(teacher.preview(["win a prize"]))
    [system] Is this message spam?
    <BLANKLINE>
    Answer with the name of one class and nothing else.
    Classes:
    - spam: unwanted advertising
    - ham: anything else
    [user] win a prize
    >>> teacher.estimate_cost(["win a prize"]) < 0.001
    True
    """

    classes_: list[Any]
    identity: str
    reported_models_: Any

    _parameter_constraints: dict = EndpointTeacher._parameter_constraints | {
        "examples": [list, tuple],
        "answer_with": [StrOptions({"name", "number", "json", "candidates"})],
        "rows_per_call": [Interval(Integral, 1, 100, closed="both")],
        "n_candidates": [Interval(Integral, 2, None, closed="left"), None],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "multilabel": ["boolean"],
        "max_input_tokens": [Interval(Integral, 1, None, closed="left")],
        "options": [dict, None],
        "tokenizer": [callable, None],
    }

    def __init__(
        self,
        client: Any,
        model: str,
        classes: Any,
        prompt: str,
        *,
        examples: Any = (),
        answer_with: str = "name",
        rows_per_call: int = 1,
        n_candidates: int | None = None,
        n_samples: int = 1,
        multilabel: bool = False,
        options: dict[Any, Any] | None = None,
        max_input_tokens: int = 8000,
        prices: tuple[Any, ...] | dict[Any, Any] | None = None,
        tokenizer: Callable[..., Any] | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        limits: Any = None,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        self.client = client
        self.model = model
        self.classes = classes
        self.prompt = prompt
        self.examples = examples
        self.answer_with = answer_with
        self.rows_per_call = rows_per_call
        self.n_candidates = n_candidates
        self.n_samples = n_samples
        self.multilabel = multilabel
        self.options = options
        self.max_input_tokens = max_input_tokens
        self.prices = prices
        self.tokenizer = tokenizer
        self.api_key_env = api_key_env
        self.limits = limits
        self.name = name
        self.version = version

    @property
    def _sampling(self):
        """Temperature, tokens of a reply at most, and further fields of the request."""
        options = dict(self.options or {})
        temperature = options.pop("temperature", 0.0 if self.n_samples == 1 else 1.0)
        max_tokens = options.pop("max_tokens", self._reply_tokens)
        return temperature, options.pop("max_completion_tokens", max_tokens), options

    @property
    def _reply_tokens(self):
        """Tokens that are enough for a reply; a list may name all labels."""
        if not self.multilabel:
            return 64
        return 64 + sum(len(str(label).encode()) // 2 + 4 for label in self.classes_)

    @property
    def batch_size(self) -> Any:  # type: ignore[override]
        """Rows of one call."""
        return self.rows_per_call

    @property
    def unread_positions_(self) -> Any:
        """Places in prompts of several rows that replies left open."""
        return self._requests.unread_positions

    @property
    def cost_per_row(self) -> Any:  # type: ignore[override]
        """What one try about one row costs at most; None without prices."""
        if self.prices is None:
            return None
        # As if the endpoint ignored `n`, see `ChatRequests.most_tokens`.
        n, (_, max_tokens, _) = self.n_samples, self._sampling
        n_in: float = n * self.max_input_tokens
        n_out: float = (2 * n - 1) * max_tokens
        if self.rows_per_call > 1:  # and all its halves
            n_in *= 2 - 1 / self.rows_per_call
            n_out *= math.ceil(math.log2(self.rows_per_call)) + 1
        n_tries = 1 if self.n_candidates is None else 2
        return Prices(self.prices).most(n_tries * n_in, n_tries * n_out)

    def prices_of(self, X: Any) -> NDArray[Any] | None:
        """Return what one try about each of some rows costs at most.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        prices : ndarray of float64 of shape (n_samples,) or None
            By the bytes of each request, since a token has at least one, or by
            `tokenizer`; and ``max_tokens`` of the reply, or what the endpoint has
            billed for one if that is more. With `n_samples`, as many requests, until
            the endpoint is known to send several replies to one. None without prices.
        """
        if self.prices is None:
            return None
        rows = (take_rows(X, [i]) for i in range(count_rows(X)))
        return np.array([self._requests.most_cost(row) for row in rows])

    def offer_candidates(self, X: Any, proba: ArrayLike, classes: ArrayLike) -> None:
        """Take the likeliest classes of some rows, for the next requests about them.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.
        proba : array-like of shape (n_samples, n_classes)
            Probabilities by a student. Does nothing if `n_candidates` is None.
        classes : array-like of shape (n_classes,)
            Its columns.
        """
        if self.n_candidates is None or self.n_candidates >= len(self.classes_):
            return
        columns = np.asarray(classes).tolist()
        own = np.asarray(self.classes_).tolist()
        ordered = np.asarray(proba)[:, [columns.index(c) for c in own]]
        self._requests.offer(X, ordered)

    def _digest(self):
        """Hash model, prompt, classes, examples, sampling, and our parser's version."""
        temperature, max_tokens, options = self._sampling
        logprobs = options.pop("logprobs", not self.multilabel)
        logprobs = self.n_samples > 1 or bool(logprobs)
        answer_with = "name" if self.answer_with == "json" else self.answer_with
        decisive = {
            "prompt": self.prompt,
            "classes": [[type(c).__name__, str(c)] for c in self.classes_],
            "descriptions": descriptions_of(self.classes),
            "examples": [[str(row), str(label)] for row, label in self.examples],
            "settings": [answer_with, self.answer_with == "json", logprobs],
            "sampling": [self.n_samples, temperature, max_tokens],
            "options": options,
            "parser": PARSER_VERSION,
        }
        if self.multilabel:
            decisive["multilabel"] = True
        if self.rows_per_call > 1:
            decisive["rows_per_call"] = self.rows_per_call
        if self.n_candidates is not None:
            decisive["n_candidates"] = self.n_candidates
        text = json.dumps(decisive, sort_keys=True, default=_plain)
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
        return f"chat:{self.model}:{digest.hexdigest()}"

    def preview(self, X: Any) -> str:
        """Write the messages of the first call, without sending them.

        Parameters
        ----------
        X : container of n_samples rows
            Texts, mappings, a frame or an array.

        Returns
        -------
        text : str
            Role and content of each message.
        """
        first = list(range(min(self.rows_per_call, count_rows(X))))
        messages = self._requests.messages(take_rows(X, first))
        return "\n".join(f"[{m['role']}] {m['content']}" for m in messages)

    def estimate_cost(self, X: Any) -> float | None:
        """Estimate what the labels of some rows cost, without a call.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        cost : float or None
            Tokens as `tokenizer` counts them, and replies of the length of the
            longest class, without failed tries; None without prices.
        """
        if self.prices is None:
            return None
        requests = self._requests
        n_rows, k = count_rows(X), self.rows_per_call
        calls = (range(i, min(i + k, n_rows)) for i in range(0, n_rows, k))
        n_in = sum(requests.count_input(take_rows(X, list(rows))) for rows in calls)
        n_in *= self.n_samples if requests.honors_n is False else 1
        longest = max(len(str(label).encode()) for label in self.classes_)
        n_out = n_rows * self.n_samples * (-(-longest // 3) + (1 if k == 1 else 3))
        return Prices(self.prices).cost(n_in, 0, n_out)

    def with_examples(
        self, X: Any, y: Any, n_per_class: int = 1, random_state: Any = None
    ) -> Any:
        """Return a teacher whose prompt shows some labeled rows.

        Parameters
        ----------
        X : container of n_samples rows
            Labeled rows.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Their labels; rows with another label than the classes are passed over.
            With `multilabel` an indicator matrix.
        n_per_class : int, default=1
            Rows shown of each class.
        random_state : int, RandomState or None, default=None
            Seeds the choice.

        Returns
        -------
        teacher : ChatTeacher
            A copy with `examples` set, and so with another identity.
        """
        rng = check_random_state(random_state)
        if self.multilabel:
            chosen = self._rows_of_labels(y, n_per_class, rng)
        else:
            labels = np.asarray(y, dtype=object)
            chosen = [
                (i, label)
                for label in self.classes_
                for i in rng.permutation(np.flatnonzero(labels == label))[:n_per_class]
            ]
        order = rng.permutation(len(chosen))
        examples = [
            (example_of(take_rows(X, [chosen[k][0]])), chosen[k][1]) for k in order
        ]
        params = self.get_params(deep=False) | {"examples": examples}
        return type(self)(**params)

    def _rows_of_labels(self, y, n_per_label, rng):
        """Choose rows of an indicator matrix for each label, and what applies there."""
        y, unlabeled = read_labels(y, -1)
        if y.ndim != 2 or y.shape[1] != len(self.classes_):
            raise TeacherError(
                f"y has shape {y.shape}; with multilabel=True pass an indicator matrix "
                f"with one column for each of the {len(self.classes_)} classes."
            )
        names = np.asarray(self.classes_, dtype=object)
        rows: dict[int, None] = {}
        for column in y.T:
            found = np.flatnonzero((column == 1) & ~unlabeled)
            rows |= dict.fromkeys(rng.permutation(found)[:n_per_label].tolist())
        return [(i, names[y[i] == 1].tolist()) for i in rows]

    def _check_parameters(self):
        super()._check_parameters()
        names = [clean(str(label)) for label in self.classes_]
        if self.answer_with == "number" and any(
            name.isdigit() and name != str(i + 1) for i, name in enumerate(names)
        ):
            raise TeacherError(
                f"classes are {self.classes_!r:.100}, and answer_with='number' numbers "
                "them otherwise; pass answer_with='name', or classes that are words."
            )
        if self.multilabel and self.answer_with not in ("name", "json"):
            raise TeacherError(
                f"answer_with={self.answer_with!r} asks for one class, and "
                "multilabel=True for several; pass 'name' or 'json'."
            )
        if self.multilabel and (self.rows_per_call > 1 or self.n_candidates):
            raise TeacherError(
                f"rows_per_call is {self.rows_per_call} and n_candidates is "
                f"{self.n_candidates}; with multilabel=True pass 1 and None: each row "
                "is asked about by itself, with all labels."
            )
        self._check_options()
        if self.rows_per_call > 1 and self.n_candidates is not None:
            raise TeacherError(
                f"rows_per_call is {self.rows_per_call} and n_candidates is "
                f"{self.n_candidates}; pass one of them: the rows of a call share one "
                "list of classes."
            )
        for example in self.examples:
            shown = example[-1] if self.multilabel else example[-1:]
            if len(example) != 2 or any(each not in self.classes_ for each in shown):
                raise TeacherError(
                    f"examples has the label {example[-1]!r:.60}, which is not one of "
                    "the classes; pass pairs of a row and its class."
                )

    def _check_options(self):
        """Refuse fields that are parameters, and numbers that no endpoint takes."""
        if taken := _TAKEN.keys() & (self.options or {}).keys():
            name = min(taken)
            raise TeacherError(f"options has {name!r}; {_TAKEN[name]}.")
        temperature, max_tokens, _ = self._sampling
        for name, value, kind, lowest in (
            ("temperature", temperature, Real, 0),
            ("max_tokens", max_tokens, Integral, 1),
        ):
            if name == "temperature" and value is None:
                continue
            if not isinstance(value, kind) or not float(value) >= lowest:
                raise TeacherError(
                    f"options has {value!r:.60} for {name}; pass a number from "
                    f"{lowest} on."
                )

    def _make_requests(self):
        return ChatRequests(self)


def _plain(value):
    """Write a value that JSON lacks; a NumPy number as Python's own."""
    return value.item() if isinstance(value, np.generic) else str(value)
