"""What went wrong with a call over the network, and whether to try again."""

import asyncio
import email.utils
import http.client
import json
import re
import ssl
import time
import urllib.error
from contextlib import suppress
from datetime import datetime

__all__ = [
    "LONGEST_WAIT",
    "error_object",
    "is_retryable",
    "may_be_billed",
    "other_loop",
    "retry_after",
    "status_of",
]

#: Seconds that a server's request to wait is followed at most.
LONGEST_WAIT = 300.0
#: Statuses that say "not now": a conflict, too early, too many, overloaded,
#: restarting; 520 to 524 and 529 are those of proxies in front of the server.
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, *range(520, 525), 529}
_BROKEN_CALLS = (
    TimeoutError,
    ConnectionError,
    asyncio.IncompleteReadError,
    http.client.HTTPException,
    ssl.SSLEOFError,
    urllib.error.URLError,
    json.JSONDecodeError,
)
#: Errors of clients that are never imported here, by package and class name: the
#: connection was dropped, timed out, or ended in the middle of an answer.
_BROKEN_NAMES = {
    *(("httpx", n) for n in ("TimeoutException", "NetworkError", "ProxyError")),
    *(("httpx", n) for n in ("RemoteProtocolError", "DecodingError")),
    *(("httpcore", n) for n in ("TimeoutException", "NetworkError", "ProxyError")),
    ("httpcore", "RemoteProtocolError"),
    *(("openai", n) for n in ("APIConnectionError", "APIResponseValidationError")),
    *(("anthropic", n) for n in ("APIConnectionError", "APIResponseValidationError")),
    *(("aiohttp", n) for n in ("ClientConnectionError", "ClientPayloadError")),
    ("aiohttp", "ContentTypeError"),
    *(("requests", n) for n in ("ConnectionError", "Timeout", "ChunkedEncodingError")),
    *(("urllib3", n) for n in ("TimeoutError", "ProtocolError", "IncompleteRead")),
    *(("botocore", n) for n in ("HTTPClientError", "IncompleteReadError")),
    *(("botocore", n) for n in ("ConnectionError", "ResponseStreamingError")),
}
#: Errors that another try cannot mend, whatever they derive from.
_LASTING_NAMES = {
    ("aiohttp", "ClientConnectorCertificateError"),
    ("aiohttp", "InvalidURL"),
    ("botocore", "SSLError"),
    ("requests", "SSLError"),
}
#: What AWS calls "too many" and "not now", often under the status 400.
_PASSING_CODES = {
    *("Throttling", "ThrottlingException", "ThrottledException", "SlowDown"),
    *("TooManyRequestsException", "RequestLimitExceeded", "ServiceUnavailable"),
    *("ModelNotReadyException", "ModelTimeoutException", "InternalServerException"),
    # What streams of OpenAI and Anthropic report under the status 200.
    *("overloaded_error", "api_error", "rate_limit_error", "timeout_error"),
}
_EMPTY_ACCOUNT = re.compile(
    r"insufficient[_ ](quota|balance|funds|credits?)|billing_(hard_limit|not_active)"
    r"|credit balance is too low",
    re.IGNORECASE,
)
#: A wait that a message asks for: "try again in 6m0s", "retry after 26 seconds".
_ASKED = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+((?:[\d.]+\s*(?:milliseconds?|seconds?|"
    r"minutes?|hours?|ms|s|m|h)\s*)+)",
    re.IGNORECASE,
)
_OTHER_LOOP = re.compile(
    r"Event loop is closed|different (event )?loop|another (event )?loop"
)


def status_of(error):
    """Return the HTTP status that an error carries; None if it is one of success."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) and status >= 300 else None
    for holder in (error, response):
        # One after the other: aiohttp warns whoever looks at its `code`.
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and not isinstance(status, bool):
                return status if status >= 300 else None
    return None


def is_retryable(error):
    """Return whether the same call may succeed a little later."""
    if any(map(_is_lasting, _causes(error))):
        return False
    for cause in _causes(error):
        status = status_of(cause)
        if _codes(cause) & _PASSING_CODES or (status is None and _is_broken(cause)):
            return True
        if status is not None:
            return status in _PASSING or status == 402
    return False


def may_be_billed(error):
    """Return whether a server may ask money for a call that failed like this."""
    return not other_loop(error) and all(status_of(e) is None for e in _causes(error))


def other_loop(error):
    """Return whether a client was used in another event loop before."""
    return any(
        isinstance(cause, RuntimeError) and _OTHER_LOOP.search(str(cause))
        for cause in _causes(error)
    )


def retry_after(error):
    """Return how long the server asks to wait."""
    for cause in _causes(error):
        headers = _headers(cause)
        waits = [
            _seconds(headers.get("retry-after-ms"), 0.001),
            _seconds(headers.get("retry-after")),
            *_delays(cause),
        ]
        if status_of(cause) == 429:
            waits.append(_reset(headers))
        wait = next((w for w in waits if w is not None), None)
        if wait is not None:
            return min(max(0.0, wait), LONGEST_WAIT)
    return 0.0


def _causes(error):
    """Yield an error and what it was raised from, each once: causes may be cyclic."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _names(error):
    """Return package and name of an error's classes."""
    return {(c.__module__.partition(".")[0], c.__name__) for c in type(error).__mro__}


def _is_lasting(error):
    return (
        isinstance(error, ssl.SSLCertVerificationError)
        or bool(_names(error) & _LASTING_NAMES)
        or _is_account_empty(error)
    )


def _is_broken(error):
    loop_closed = isinstance(error, RuntimeError) and "loop is closed" in str(error)
    return (
        loop_closed
        or isinstance(error, _BROKEN_CALLS)
        or bool(_names(error) & _BROKEN_NAMES)
    )


def _bodies(error):
    """Return what the server said of an error, as far as it has been read."""
    response = getattr(error, "response", None)
    found = [getattr(error, "body", None)]
    if isinstance(response, dict):
        found.append(response)
    content = getattr(response, "_content", None)  # of requests and httpx
    if isinstance(content, bytes):
        with suppress(ValueError):
            found.append(json.loads(content))
    # Gemini sends a list of one.
    found = [body[0] if isinstance(body, list) and body else body for body in found]
    return [body for body in found if isinstance(body, dict)]


def error_object(body):
    """Return what a body says of an error, in whichever form, as a dict."""
    if isinstance(body, list) and body:  # Gemini
        body = body[0]
    if not isinstance(body, dict):
        return {} if body is None else {"message": str(body)}
    error = body.get("error") or body.get("detail") or body
    if isinstance(error, dict):
        return error
    return body | {"message": error if isinstance(error, str) else json.dumps(error)}


def _delays(error):
    """Yield the waits that the body of an error asks for."""
    for body in map(error_object, _bodies(error)):
        details = body.get("details")
        for item in details if isinstance(details, list) else []:
            if isinstance(item, dict) and "retryDelay" in item:  # Google's RetryInfo
                yield _seconds(str(item["retryDelay"]))
        if match := _ASKED.search(str(body.get("message"))):
            yield _seconds(re.sub(r"([a-z])[a-z]*", _unit, match[1].lower()))


def _unit(match):
    """Shorten the name of a unit of time."""
    return "ms" if match[0].startswith(("ms", "milli")) else match[1]


def _codes(error):
    """Return the codes and types by which a server names an error."""
    own = getattr(error, "__dict__", {})
    codes = {str(own.get(name)) for name in ("code", "type")}
    for body in _bodies(error):
        for holder in (body, error_object(body), body.get("Error") or {}):
            codes |= {str(holder.get(name)) for name in ("code", "Code", "type")}
    return codes


def _is_account_empty(error):
    if status_of(error) == 402:
        # OpenRouter's limit of what is in flight passes, and says when:
        # https://openrouter.ai/docs/api/reference/errors-and-debugging
        return "retry-after" not in _headers(error)
    if status_of(error) is None:
        return False
    said = [str(error), *map(str, _bodies(error))]
    return any(map(_EMPTY_ACCOUNT.search, said))


def _headers(error):
    """Return the headers of an error or its response, names in lower case.

    Those of the host behind a gateway count, too: OpenRouter puts them in the body.
    """
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        response = response.get("ResponseMetadata", {})
        headers = response.get("HTTPHeaders")
    else:
        headers = getattr(error, "headers", None) or getattr(response, "headers", None)
    found: dict = {}
    for body in map(error_object, _bodies(error)):
        metadata = body.get("metadata")
        behind = metadata.get("headers") if isinstance(metadata, dict) else None
        if isinstance(behind, dict):
            found |= behind
    if hasattr(headers, "items"):
        found |= dict(headers.items())
    return {str(name).lower(): str(value) for name, value in found.items()}


def _reset(headers):
    """Return the seconds until an exhausted rate limit is reset."""
    waits = []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        left = headers.get(name.replace("reset", "remaining"), "0")
        if left.strip() in ("0", "0.0"):
            waits.append(_seconds(value))
    return max((w for w in waits if w is not None), default=None)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(text, unit=1.0):
    """Read a waiting time: a number, "6m0s", a date, or the time since 1970."""
    if text is None:
        return None
    text = text.replace(" ", "") if text[:1].isdigit() else text.strip()
    with suppress(ValueError):
        seconds = float(text) * unit
        if not seconds < float("inf"):
            return None
        if seconds > 1e11:  # milliseconds since 1970
            seconds /= 1000
        return seconds - time.time() if seconds > 1e9 else seconds
    if re.fullmatch(r"(?:[\d.]+(?:ms|[smhd]))+", text):
        parts = re.findall(r"([\d.]+)(ms|[smhd])", text)
        with suppress(ValueError):
            return sum(float(number) * _UNITS[name] for number, name in parts)
    for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError):
            return read(text).timestamp() - time.time()
    return None
