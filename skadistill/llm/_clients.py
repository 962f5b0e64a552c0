"""Send a chat request through a user's client, or to an address."""

import inspect
import os
import weakref

from skadistill._utils.optional import require
from skadistill.exceptions import TeacherError

__all__ = [
    "EndpointError",
    "ReplyError",
    "open_address",
    "open_client",
    "without_retries",
]


class EndpointError(Exception):
    """A server refused a request; carries its status, headers and error code."""

    def __init__(self, response):
        self.status_code = response.status_code
        self.headers = response.headers
        self.body = _json_of(response)
        # Not the server's own text, which may quote the row.
        code = self.body.get("code") or self.body.get("type") or response.reason_phrase
        super().__init__(f"HTTP {self.status_code} {code}")


class ReplyError(Exception):
    """A reply with the status 200 that holds an error, as some gateways send it."""

    def __init__(self, error):
        self.body = error if isinstance(error, dict) else {"message": str(error)}
        status = self.body.get("code")
        known = isinstance(status, int) and 400 <= status < 600
        self.status_code = status if known else 502
        super().__init__(f"the reply holds an error ({self.status_code})")


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


class _Address:
    """Post to an address with httpx.

    In threads: a pool of connections of an event loop would have to be closed in
    that loop.
    """

    is_async = False

    def __init__(self, url, api_key_env, timeout):
        if not url.startswith(("http://", "https://")):
            raise TeacherError(
                f"client is {url!r}, which is not an address; pass a base URL such as "
                "'https://api.example.com/v1', or a client."
            )
        httpx = require("httpx", "llm")
        self.url = url.rstrip("/")
        self.api_key_env = api_key_env
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self.connections = httpx.Client(timeout=timeout, limits=limits)
        weakref.finalize(self, self.connections.close)

    def send(self, body, path="/chat/completions"):
        """Send a request; the reply as a dict."""
        return _as_dict(self.request("POST", path, json=body).json())

    def request(self, method, path, **content):
        """Send any request; the response, unless it is a refusal."""
        headers = {}
        if self.api_key_env is not None and (key := os.environ.get(self.api_key_env)):
            headers["Authorization"] = f"Bearer {key}"
        response = self.connections.request(
            method, self.url + path, headers=headers, **content
        )
        if response.status_code >= 400:
            raise EndpointError(response)
        return response


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


def _json_of(response):
    """Return the error object of a refused request, empty without one."""
    try:
        body = response.json()
    except ValueError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {"message": str(error)}
