"""What calls of an API are limited to: how many, how fast, how long, how often."""

from dataclasses import asdict, dataclass
from numbers import Integral, Real

from skadistill._utils.compat import Interval, validate_arguments

__all__ = ["Limits"]

_POSITIVE = Interval(Real, 0, None, closed="neither")
_COUNT = Interval(Integral, 1, None, closed="left")

_CONSTRAINTS = {
    "max_concurrency": [_COUNT],
    "requests_per_minute": [_POSITIVE, None],
    "tokens_per_minute": [_POSITIVE, None],
    "timeout": [_POSITIVE],
    "max_tries": [_COUNT],
    "backoff": [_POSITIVE],
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Say how many calls of an API run at once, how fast, how long and how often.

    All teachers that call an API take one, as ``limits=``. It cannot be changed; a
    teacher gets another one by ``teacher.set_params(limits=...)``.

    Parameters
    ----------
    max_concurrency : int, default=16
        Calls in flight.
    requests_per_minute : float or None, default=None
        Tries that may start within any minute, the first included; after a rest they
        may start together. Counted in this process. None: no limit.
    tokens_per_minute : float or None, default=None
        Tokens that may be sent within any minute. None: no limit.
    timeout : float, default=60.0
        Seconds for one try. The thread of a function without ``async`` cannot be
        stopped: give its connection a timeout, too.
    max_tries : int, default=6
        Tries of one call, the first included; of a `BatchTeacher`, jobs in which a row
        may stay unanswered, which costs nothing.
    backoff : float, default=1.0
        Seconds: the k-th wait is random between 0 and ``backoff * 2 ** (k - 1)``,
        at most 60; the first is a tenth of that if other calls are answered meanwhile.
        A server that asks for a longer wait is obeyed, up to 300 seconds.

    See Also
    --------
    AsyncTeacher : Any function that calls an API.

    Examples
    --------
    >>> from skadistill.teachers import Limits
    >>> Limits(requests_per_minute=500, timeout=20).max_tries
    6
    """

    max_concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 60.0
    max_tries: int = 6
    backoff: float = 1.0

    def __post_init__(self):
        validate_arguments(_CONSTRAINTS, asdict(self), "Limits")
