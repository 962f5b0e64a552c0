"""Renew the leases of claims while their rows are on the wire."""

import logging
import os
import threading
import weakref

from skadistill.exceptions import LedgerError

__all__ = ["LeaseKeeper"]

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Renew leases in a background thread while answers are being waited for.

    A claim is renewed until it ends, until its `Claim` is no longer referenced, or
    until the thread that sent its rows has ended: the answers would not be recorded.
    """

    def __init__(self, lease):
        self.lease = lease
        self._pid = None
        self._forget()

    def _forget(self):
        # By process: after a fork there is neither the thread nor the claims.
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self._kept = {}  # name of the claim: references to it and to its thread
            self._running = False

    def keep(self, ledger, claim):
        """Renew a claim of this thread from now on."""
        self._forget()
        with self._lock:
            thread = weakref.ref(threading.current_thread())
            self._kept[claim.token.name] = weakref.ref(claim), thread
            if not self._running:
                self._running = True
                threading.Thread(
                    target=self._run,
                    args=(weakref.ref(ledger),),
                    name="skadistill-leases",
                    daemon=True,
                ).start()

    def drop(self, claim):
        """Renew a claim no longer."""
        self._forget()
        with self._lock:
            self._kept.pop(claim.token.name, None)

    def _run(self, ledger_ref):
        pause = threading.Event()
        while True:
            pause.wait(self.lease / 3)
            for claim in self._claims():
                ledger = ledger_ref()
                try:
                    if ledger is None or not ledger.renew(claim):
                        self.drop(claim)
                except LedgerError as error:
                    # Whoever records the answer will meet the fault, too.
                    logger.warning("a lease could not be renewed: %s", error)
                del ledger, claim
            with self._lock:
                if not self._kept:
                    self._running = False
                    return

    def _claims(self):
        """Return the claims whose answers are still waited for; drop the others."""
        with self._lock:
            waited_for = {}
            for name, (claim_ref, thread_ref) in self._kept.items():
                claim, thread = claim_ref(), thread_ref()
                if claim is not None and thread is not None and thread.is_alive():
                    waited_for[name] = claim
            self._kept = {name: self._kept[name] for name in waited_for}
        return list(waited_for.values())
