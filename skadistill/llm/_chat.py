"""A chat model behind an OpenAI-compatible endpoint as a teacher."""

import json
from hashlib import blake2b
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skadistill._rows._containers import count_rows, take_rows
from skadistill._utils.compat import Interval, StrOptions
from skadistill.exceptions import TeacherError
from skadistill.llm._chat_requests import ChatRequests, descriptions_of
from skadistill.llm._endpoint import EndpointTeacher, Prices
from skadistill.llm._prompts import example_of
from skadistill.llm._replies import PARSER_VERSION, clean

__all__ = ["ChatTeacher"]


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
    answer_with : {"name", "number"}, default="name"
        Whether the model is asked for the name of a class or for its number, which
        is short even if names are long. Classes that are other numbers are refused.
    structured : bool, default=False
        Whether a JSON schema is sent that admits the classes only.
    logprobs : bool, default=True
        Whether log-probabilities are asked for. An endpoint that refuses them is
        asked without.
    n_samples : int, default=1
        Replies per row. More than 1: without log-probabilities, at `temperature` 1.
    temperature : float or None, default=None
        None: 0 for one reply, 1 for several.
    max_output_tokens : int, default=64
        Tokens of a reply at most; models that reason aloud need more.
    max_input_tokens : int, default=8000
        Longer rows are not sent.
    prices : tuple of 2 floats, dict or None, default=None
        Money per million tokens: (input, output), or a dict with "input", "output"
        and "cached_input". None: not known.
    options : dict or None, default=None
        Further fields of the request.
    tokenizer : callable or None, default=None
        Takes a text and returns its number of tokens. None: a third of its bytes, which
        overestimates English.
    api_key_env : str or None, default="OPENAI_API_KEY"
        The environment variable that holds the key when `client` is a URL. It is
        read for each request and never stored.
    name, version : str or None, default=None
        The identity under which a ledger files the answers. None: model, prompt,
        classes, examples and sampling settings.
    max_concurrency : int, default=16
        Requests in flight.
    requests_per_minute, tokens_per_minute : float or None, default=None
        Limits of the account. None: no limit.
    timeout : float, default=60.0
        Seconds for one try.
    max_tries : int, default=6
        Tries of one request, the first included.
    backoff : float, default=1.0
        Seconds; the k-th wait is random between 0 and ``backoff * 2 ** (k - 1)``, and
        not less than the server's ``Retry-After``, see `AsyncTeacher`.

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

    _parameter_constraints: dict = EndpointTeacher._parameter_constraints | {
        "examples": [list, tuple],
        "answer_with": [StrOptions({"name", "number"})],
        "structured": ["boolean"],
        "logprobs": ["boolean"],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="left"), None],
        "max_output_tokens": [Interval(Integral, 1, None, closed="left")],
        "max_input_tokens": [Interval(Integral, 1, None, closed="left")],
        "options": [dict, None],
        "tokenizer": [callable, None],
    }

    def __init__(
        self,
        client,
        model,
        classes,
        prompt,
        *,
        examples=(),
        answer_with="name",
        structured=False,
        logprobs=True,
        n_samples=1,
        temperature=None,
        max_output_tokens=64,
        max_input_tokens=8000,
        prices=None,
        options=None,
        tokenizer=None,
        api_key_env="OPENAI_API_KEY",
        name=None,
        version=None,
        max_concurrency=16,
        requests_per_minute=None,
        tokens_per_minute=None,
        timeout=60.0,
        max_tries=6,
        backoff=1.0,
    ):
        self.client = client
        self.model = model
        self.classes = classes
        self.prompt = prompt
        self.examples = examples
        self.answer_with = answer_with
        self.structured = structured
        self.logprobs = logprobs
        self.n_samples = n_samples
        self.temperature = temperature
        self.max_output_tokens = max_output_tokens
        self.max_input_tokens = max_input_tokens
        self.prices = prices
        self.options = options
        self.tokenizer = tokenizer
        self.api_key_env = api_key_env
        self.name = name
        self.version = version
        self.max_concurrency = max_concurrency
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.timeout = timeout
        self.max_tries = max_tries
        self.backoff = backoff

    @property
    def count_tokens(self):
        """Count the tokens of the request for some rows, the reply included."""
        return self.function.requests.count_tokens

    @property
    def cost_per_row(self):  # type: ignore[override]
        """What one try about one row costs at most; None without prices."""
        if self.prices is None:
            return None
        n_out = self.n_samples * self.max_output_tokens
        return Prices(self.prices).cost(self.max_input_tokens, 0, n_out)

    def prices_of(self, X):
        """Return what one try about each of some rows costs at most.

        Parameters
        ----------
        X : container of n_samples rows
            The rows.

        Returns
        -------
        prices : ndarray of float64 of shape (n_samples,) or None
            By the bytes of each request, since a token has at least one, or by
            `tokenizer`; and `max_output_tokens`. None without prices.
        """
        if self.prices is None:
            return None
        requests, prices = self.function.requests, Prices(self.prices)
        n_out = self.n_samples * self.max_output_tokens
        return np.array(
            [
                prices.cost(requests.most_input(take_rows(X, [i])), 0, n_out)
                for i in range(count_rows(X))
            ]
        )

    def derived_identity(self):
        """Return a hash of all that decides about the answers.

        Returns
        -------
        identity : str
            Of model, prompt, classes with their descriptions, examples and sampling
            settings, and of the version of our parser; not of the client.
        """
        decisive = {
            "prompt": self.prompt,
            "classes": [[type(c).__name__, str(c)] for c in self.classes_],
            "descriptions": descriptions_of(self.classes),
            "examples": [[str(row), str(label)] for row, label in self.examples],
            "settings": [self.answer_with, self.structured, self.logprobs],
            "sampling": [self.n_samples, self._temperature(), self.max_output_tokens],
            "options": self.options or {},
            "parser": PARSER_VERSION,
        }
        text = json.dumps(decisive, sort_keys=True, default=_plain)
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
        return f"chat:{self.model}:{digest.hexdigest()}"

    def preview(self, X):
        """Write the messages about the first row, without sending them.

        Parameters
        ----------
        X : container of n_samples rows
            Texts, mappings, a frame or an array.

        Returns
        -------
        text : str
            Role and content of each message.
        """
        messages = self.function.requests.messages(take_rows(X, [0]))
        return "\n".join(f"[{m['role']}] {m['content']}" for m in messages)

    def estimate_cost(self, X):
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
        requests = self.function.requests
        n_rows = count_rows(X)
        n_in = sum(requests.count_input(take_rows(X, [i])) for i in range(n_rows))
        longest = max(len(str(label).encode()) for label in self.classes_)
        n_out = n_rows * self.n_samples * (-(-longest // 3) + 1)
        return Prices(self.prices).cost(n_in, 0, n_out)

    def with_examples(self, X, y, n_per_class=1, random_state=None):
        """Return a teacher whose prompt shows some labeled rows.

        Parameters
        ----------
        X : container of n_samples rows
            Labeled rows.
        y : array-like of shape (n_samples,)
            Their labels; rows with another label than the classes are passed over.
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
        for example in self.examples:
            if len(example) != 2 or example[1] not in self.classes_:
                raise TeacherError(
                    f"examples has the label {example[-1]!r:.60}, which is not one of "
                    "the classes; pass pairs of a row and its class."
                )

    def _temperature(self):
        if self.temperature is not None:
            return self.temperature
        return 0.0 if self.n_samples == 1 else 1.0

    def _make_requests(self):
        return ChatRequests(self)


def _plain(value):
    """Write a value that JSON lacks; a NumPy number as Python's own."""
    return value.item() if isinstance(value, np.generic) else str(value)
