"""Send a chat request through a user's client, or to an address."""

import inspect
import os
import re
import weakref
from urllib.parse import urlsplit

from skadistill._utils.display import message_of
from skadistill._utils.optional import require
from skadistill.exceptions import TeacherError
from skadistill.llm._anthropic import as_chat, as_messages
from skadistill.teachers._retries import error_object

__all__ = [
    "AnthropicAddress",
    "EmptyReply",
    "EndpointError",
    "ReplyError",
    "open_address",
    "open_client",
    "speaks_anthropic",
    "without_retries",
]


#: A quotation of the row in what a server says is at least so long, or the whole row.
_QUOTED, _SHORTEST_ROW = 16, 4
#: How often a request follows a server to another address of the same host.
_MOST_REDIRECTS = 5


class EndpointError(Exception):
    """A server refused a request; carries its status, headers and what it said."""

    def __init__(self, response, sent=None, key=None):
        self.status_code = response.status_code
        self.headers = response.headers
        self.body = _json_of(response)
        named = (self.body.get("code"), self.body.get("type"), self.body.get("status"))
        code = next((c for c in named if c and str(c) != str(self.status_code)), None)
        said = self.body.get("message") or response.reason_phrase
        if 300 <= self.status_code < 400:
            there = urlsplit(response.headers.get("location", ""))
            host = "".join(filter(None, [there.hostname, there.path]))
            said = f"it redirects to {host}; pass that address"
        parts = [f"HTTP {self.status_code}", code and str(code)]
        super().__init__(": ".join(filter(None, [*parts, _quoted(said, sent, key)])))


class ReplyError(Exception):
    """A reply with the status 200 that holds an error, or nothing.

    Gateways send such replies if the host behind them fails; they may be billed, as
    their usage says.
    """

    def __init__(self, error, reply=None):
        self.body = error_object(error)
        self.reply = reply
        status = self.body.get("code")
        known = isinstance(status, int) and 400 <= status < 600
        self.status_code = status if known else 502
        super().__init__(f"the reply holds an error ({self.status_code})")


class EmptyReply(ReplyError):
    """A reply without a text, although nothing says why."""


def _quoted(said, sent, key):
    """Quote a server without the key and the row that was sent, which it may repeat."""
    said = str(said)[:400]
    hidden = [False] * len(said)
    pieces = [(text, min(_QUOTED, len(text))) for text in _texts_of(sent)]
    pieces += [(key, min(6, len(key)))] if key else []
    for text, size in pieces:
        for i in range(len(said) - size + 1):
            if size >= _SHORTEST_ROW and said[i : i + size] in text:
                hidden[i : i + size] = [True] * size
    shown = "".join("\0" if h else c for c, h in zip(said, hidden, strict=True))
    return message_of(re.sub("\0+", "...", shown))[:200]


def _texts_of(body):
    """Return the texts in a request that hold the row."""
    if not isinstance(body, dict):
        return []
    messages = body.get("messages") or []
    texts = [m.get("content") for m in messages if m.get("role") != "system"]
    texts += [value for name, value in body.items() if name != "model"]
    return [text for text in texts if isinstance(text, str)]


def without_retries(client):
    """Return a client that does not try again by itself, if it can be told so.

    Its own retries would be invisible: unlogged, unlimited, unbilled.
    """
    if hasattr(client, "with_options") and hasattr(client, "max_retries"):
        return client.with_options(max_retries=0)
    return client


def open_client(client, api_key_env, timeout):
    """Return an object with `is_async` and ``send(body)`` for a client."""
    if isinstance(client, str):
        return open_address(client, api_key_env, timeout)
    client = without_retries(client)
    if speaks_anthropic(client):
        return _Messages(client.messages.create, {})
    create = getattr(
        getattr(getattr(client, "chat", None), "completions", None), "create", None
    )
    if create is not None:
        return _Function(create, {}, getattr(client, "post", None))
    for name in ("acompletion", "completion"):
        function = getattr(client, name, None)
        if function is not None:
            return _Function(function, {"num_retries": 0, "max_retries": 0})
    raise TeacherError(
        f"client is an object of type {type(client).__name__}, which has neither "
        "chat.completions.create nor acompletion; pass a client of the openai "
        "package, the litellm module, or the base URL of an endpoint."
    )


def speaks_anthropic(client):
    """Tell whether a client, or what is behind an address, has Anthropic's batches."""
    if isinstance(client, str):
        there = urlsplit(client)
        return "anthropic" in f"{there.hostname}{there.path}"
    messages = getattr(client, "messages", None)
    return hasattr(messages, "batches") and hasattr(messages, "create")


def open_address(url, api_key_env, timeout):
    """Return an endpoint at a base URL; see `open_client`."""
    return _Address(url, api_key_env, timeout)


class _Function:
    """Call a client's function."""

    def __init__(self, function, options, post=None):
        self.function, self.options, self.post = function, options, post
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function))

    def send(self, body, path=None):
        """Send a request; the reply as a dict."""
        call = self._call(body, path)
        return self._awaited(call) if self.is_async else _as_dict(call)

    def _call(self, body, path):
        if path is None:
            return self.function(**body, **self.options)
        if self.post is None:
            raise TeacherError(
                f"the client cannot post to {path!r}; pass a base URL or a client of "
                "the openai package."
            )
        return self.post(path, body=body, cast_to=object)

    async def _awaited(self, call):
        return _as_dict(await call)


class _Messages(_Function):
    """Call a client of the anthropic package."""

    def _call(self, body, path):
        sent = as_messages(body)
        # Versions of the package differ in what else they take.
        named = {n: sent.pop(n) for n in ("model", "max_tokens", "messages")}
        return self.function(**named, extra_body=sent)

    def send(self, body, path=None):
        """Send a request; the reply as a dict."""
        call = self._call(body, path)
        return self._awaited(call) if self.is_async else as_chat(_as_dict(call))

    async def _awaited(self, call):
        return as_chat(_as_dict(await call))


class _Address:
    """Post to an address with httpx.

    In threads: a pool of connections of an event loop would have to be closed in
    that loop. A forked process opens its own connections: answers to requests on those
    of its parent could reach other rows.
    """

    is_async = False

    def __init__(self, url, api_key_env, timeout):
        if not url.startswith(("http://", "https://")):
            raise TeacherError(
                f"client is {message_of(url)!r}, which is not an address; pass a base "
                "URL such as 'https://api.example.com/v1', or a client."
            )
        require("httpx", "llm")
        # Azure's address may end in a query, "?api-version=...".
        self.url, _, self.query = url.partition("?")
        self.url = self.url.rstrip("/")
        self.api_key_env = api_key_env
        self.timeout = timeout
        self.process = None
        _ = self.connections

    @property
    def connections(self):
        """The open connections of this process."""
        if self.process != os.getpid():
            httpx = require("httpx", "llm")
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
            made = httpx.Client(timeout=self.timeout, limits=limits)
            self.process, self.opened = os.getpid(), made
            weakref.finalize(self, _close, made, self.process)
        return self.opened

    def send(self, body, path="/chat/completions"):
        """Send a request; the reply as a dict."""
        return _as_dict(self.request("POST", path, json=body).json())

    def request(self, method, path, **content):
        """Send any request; the response, unless it is a refusal."""
        url = path if path.startswith(self.url) else self.url + path
        if self.query:
            url += f"{'&' if '?' in url else '?'}{self.query}"
        key = os.environ.get(self.api_key_env) if self.api_key_env else None
        headers = self.headers(key)
        for _ in range(_MOST_REDIRECTS):
            response = self.connections.request(method, url, headers=headers, **content)
            there = response.next_request
            # Elsewhere neither the key nor the row is sent.
            if there is None or not _is_same_host(url, str(there.url)):
                break
            url = str(there.url)
        if response.status_code >= 300:
            raise EndpointError(response, content.get("json"), key)
        return response

    def headers(self, key):
        """Return the headers that hold the key."""
        return {"Authorization": f"Bearer {key}"} if key else {}


class AnthropicAddress(_Address):
    """Speak Anthropic's own protocol with an address."""

    def headers(self, key):
        """Return the headers that hold the key and the version of the protocol."""
        version = {"anthropic-version": "2023-06-01"}
        return version | {"x-api-key": key} if key else version


def _as_dict(reply):
    """Return a reply as plain dicts and lists."""
    if isinstance(reply, dict):
        return reply
    if hasattr(reply, "model_dump"):
        return reply.model_dump()
    raise TeacherError(
        f"the endpoint sent a reply of type {type(reply).__name__} instead of an "
        "object with choices; check the address, and that it speaks the protocol."
    )


def _close(connections, process):
    """Close connections where they were opened."""
    if process == os.getpid():
        connections.close()


def _is_same_host(here, there):
    """Tell whether a redirect stays on a host, and on an encrypted connection."""
    old, new = urlsplit(here), urlsplit(there)
    is_safe = new.scheme == old.scheme or new.scheme == "https"
    return old.hostname == new.hostname and is_safe


def _json_of(response):
    """Return what a refused request says of its error, as a dict."""
    try:
        return error_object(response.json())
    except ValueError:
        is_text = "text/plain" in response.headers.get("content-type", "")
        return {"message": response.text} if is_text else {}
