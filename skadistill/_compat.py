"""Every name borrowed from a private or young corner of scikit-learn.

One place to look when scikit-learn moves something; each entry names the
version in which it appeared or left.
"""

from contextlib import nullcontext

try:  # scikit-learn >= 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    HAS_CALLBACKS = True
except ImportError:
    HAS_CALLBACKS = False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in for scikit-learn's mixin before 1.9: no callbacks to run."""

    def with_callbacks(method):
        """Return the method as it is: there are no callbacks to tear down."""
        return method


__all__ = ["HAS_CALLBACKS", "CallbackSupportMixin", "nullcontext", "with_callbacks"]
