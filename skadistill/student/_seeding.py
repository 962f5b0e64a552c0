"""Seed torch for one fit and hand its generators back untouched."""

import secrets
import threading
from contextlib import contextmanager

import torch
from sklearn.utils import check_random_state

__all__ = ["draw_seed", "seeded"]

# Held while torch's shared generators are swapped, so that two threads that
# initialize students at the same time do not draw from each other's seed.
_LOCK = threading.RLock()


def draw_seed(random_state):
    """Turn a `random_state` into one integer seed."""
    if random_state is None:
        return secrets.randbits(32)
    # Through RandomState for ints as well: it refuses what scikit-learn refuses.
    return int(check_random_state(random_state).randint(2**32, dtype="uint32"))


@contextmanager
def seeded(seed, device, *, exclusive=False):
    """Seed torch's shared generators inside a block and restore them after it."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    _LOCK.acquire()
    held = True
    try:
        states = [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(seed)
        if not exclusive:
            _LOCK.release()
            held = False
        yield
    finally:
        if not held:
            _LOCK.acquire()
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        _LOCK.release()
