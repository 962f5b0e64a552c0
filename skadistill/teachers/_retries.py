"""What went wrong with a call over the network, and whether to try again."""

import http.client
import json
import urllib.error

__all__ = ["is_retryable", "may_be_billed", "retry_after", "status_of"]

#: Statuses that say "not now": too many, too slow, overloaded, restarting.
_PASSING = {408, 425, 429, 500, 502, 503, 504, 529}
_BROKEN_CALLS = (
    TimeoutError,
    ConnectionError,
    http.client.HTTPException,
    urllib.error.URLError,
    json.JSONDecodeError,
)


def status_of(error):
    """Return the HTTP status that an error carries, in the manner of most clients.

    Parameters
    ----------
    error : Exception
        From urllib, requests, httpx, aiohttp, openai, anthropic, ...

    Returns
    -------
    status : int or None
        None where the server did not get as far as a status.

    Examples
    --------
    >>> from urllib.error import HTTPError
    >>> from skadistill.teachers._retries import status_of
    >>> with HTTPError("http://localhost", 429, "slow down", {}, None) as error:
    ...     status_of(error)
    429
    """
    holders = (error, getattr(error, "response", None))
    for holder in holders:
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and not isinstance(status, bool):
                return status
    return None


def is_retryable(error):
    """Tell whether the same call may succeed a little later.

    Parameters
    ----------
    error : Exception
        What the call raised.

    Returns
    -------
    retryable : bool
        True for the statuses 408, 425, 429, 500, 502, 503, 504 and 529, and, without
        a status, for timeouts, dropped connections and unreadable JSON, be they the
        error itself or what it was raised from.

    Examples
    --------
    >>> from skadistill.teachers._retries import is_retryable
    >>> is_retryable(TimeoutError()), is_retryable(KeyError("choices"))
    (True, False)
    """
    status = status_of(error)
    if status is not None:
        return status in _PASSING
    while error is not None:
        if isinstance(error, _BROKEN_CALLS):
            return True
        error = error.__cause__ or error.__context__
    return False


def may_be_billed(error):
    """Tell whether a server may ask money for a call that came to this.

    Parameters
    ----------
    error : Exception
        What the call raised.

    Returns
    -------
    billed : bool
        False where the server itself refused, that is, sent a status.
    """
    return status_of(error) is None


def retry_after(error):
    """Return how long the server asks to wait.

    Parameters
    ----------
    error : Exception
        What the call raised.

    Returns
    -------
    seconds : float
        Of its ``Retry-After`` header; 0.0 without one, or where that is a date.
    """
    for holder in (error, getattr(error, "response", None)):
        headers = getattr(holder, "headers", None)
        if headers is not None:
            try:
                return max(0.0, float(headers.get("Retry-After") or 0.0))
            except ValueError:
                return 0.0
    return 0.0
