"""Checksums of what a ledger keeps, so that damage is noticed when it is read."""

import json
import zlib
from functools import lru_cache

import numpy as np

from skadistill._rows._keys import KEY_DTYPE

__all__ = ["CHECKSUM_BYTES", "digest_keys", "row_checksum", "sealed", "seals_broken"]

#: Width of the checksum that follows a label or an embedding.
CHECKSUM_BYTES = 8

_WORD = np.dtype("<u4")
_SUM = np.dtype("<u8")


def sealed(owner, keys, table):
    """Write each row of a table as bytes that end in a checksum."""
    words = _words(table)
    width = table.shape[1] * table.itemsize + CHECKSUM_BYTES
    data = np.empty((len(keys), width), np.uint8)
    data[:, :-CHECKSUM_BYTES] = words.view(np.uint8)
    sums = _sums(owner, keys, words).astype(_SUM)
    data[:, -CHECKSUM_BYTES:] = sums[:, np.newaxis].view(np.uint8)
    whole = data.tobytes()
    return (whole[i : i + width] for i in range(0, len(whole), width))


def seals_broken(owner, keys, data):
    """Compare the checksums of rows with their content."""
    words = data.view(_WORD)
    n_words = words.shape[1] - CHECKSUM_BYTES // _WORD.itemsize
    stored = np.ascontiguousarray(words[:, n_words:]).view(_SUM)[:, 0]
    return stored != _sums(owner, keys, words[:, :n_words])


def digest_keys(keys):
    """Reduce a set of keys to one number."""
    sums = _sums(0, keys, np.empty((len(keys), 0), _WORD))
    return int(np.bitwise_xor.reduce(sums, initial=np.uint64(0)).astype(np.int64))


def row_checksum(*values):
    """Return the CRC-32 of some texts and numbers."""
    return zlib.crc32(json.dumps(values).encode())


def _words(table):
    """View rows of numbers as 32-bit words."""
    n_words = table.shape[1] * table.itemsize // _WORD.itemsize
    data = np.ascontiguousarray(table).tobytes()
    return np.frombuffer(data, _WORD).reshape(len(table), n_words)


def _sums(owner, keys, words):
    """Return the weighted sum of the words of each row, modulo 2**64."""
    key_words = np.ascontiguousarray(keys, KEY_DTYPE).view(_WORD).reshape(-1, 4)
    weights = _weights(6 + words.shape[1])
    low, high = owner & 0xFFFFFFFF, owner >> 32
    first = np.array([low, high], np.uint64) @ weights[:2]
    sums = key_words.astype(np.uint64) @ weights[2:6] + first
    # In blocks that stay in the processor's cache.
    step = max(1, (1 << 16) // max(1, words.shape[1]))
    for start in range(0, len(words), step):
        rows = slice(start, start + step)
        # einsum: numpy has no fast matrix product of whole numbers.
        sums[rows] += np.einsum("ij,j->i", words[rows].astype(np.uint64), weights[6:])
    return sums


@lru_cache(maxsize=64)
def _weights(n_weights):
    """Return the first weights: splitmix64 of 1, 2, ... with the last bit set."""
    with np.errstate(over="ignore"):
        z = np.arange(1, n_weights + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) | np.uint64(1)
