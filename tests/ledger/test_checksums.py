"""Checksums notice every change of one word, and nearly every other."""

import numpy as np
import pytest

from skadistill.ledger._checksums import digest_keys, sealed, seals_broken


def sealed_rows(dtype, n_columns, n=20):
    rng = np.random.default_rng(0)
    keys = np.frombuffer(rng.bytes(16 * n), "V16")
    blobs = list(sealed(7, keys, rng.random((n, n_columns)).astype(dtype)))
    return keys, np.frombuffer(b"".join(blobs), np.uint8).reshape(n, -1).copy()


def test_the_checksum_of_a_known_row():
    """The format of files: these bytes must not change.

    Computed by the formula in docs/ledger_format.rst with Python's integers.
    """
    key, row, owner = bytes(range(16)), np.array([[0.25, 0.75]]), 2**32 + 3
    (blob,) = sealed(owner, np.array([key], "V16"), row)
    data = key + row.tobytes()
    words = [
        3,
        1,
        *(int.from_bytes(data[i : i + 4], "little") for i in range(0, 32, 4)),
    ]
    mask, total, state = 2**64 - 1, 0, 0
    for word in words:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        total += word * ((z ^ (z >> 31)) | 1)
    assert blob == row.tobytes() + (total & mask).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("dtype", "n_columns"), [("<f8", 3), ("<f8", 150), ("<f4", 1), ("<f4", 7)]
)
def test_every_flipped_bit_is_noticed(dtype, n_columns):
    """In the numbers and in the checksum, of any row."""
    keys, table = sealed_rows(dtype, n_columns)
    assert not seals_broken(7, keys, table).any()
    rng = np.random.default_rng(1)
    for bit in range(8 * table.shape[1]):
        row = rng.integers(len(table))
        table[row, bit // 8] ^= 1 << bit % 8
        assert np.flatnonzero(seals_broken(7, keys, table)).tolist() == [row]
        table[row, bit // 8] ^= 1 << bit % 8


def test_two_flipped_bits_are_noticed():
    """Also the highest bits of two numbers, which cancel out in weak sums."""
    keys, table = sealed_rows("<f8", 4)
    for first in range(0, 256, 3):
        for second in range(first + 1, 256):
            row = np.array([table[0]])
            for bit in (first, second):
                row[0, bit // 8] ^= 1 << bit % 8
            assert seals_broken(7, keys[:1], row)[0]


def test_a_row_belongs_to_its_key_and_its_owner():
    """Rows that have changed places are noticed."""
    keys, table = sealed_rows("<f8", 3)
    assert seals_broken(8, keys, table).all()
    assert seals_broken(7 + 2**32, keys, table).all()
    assert seals_broken(7, keys[::-1].copy(), table).all()
    assert seals_broken(7, keys, table[:, ::-1].copy()).all()


def test_a_digest_of_keys_is_one_of_a_set():
    """Their order does not matter; that of two sets is the exclusive or."""
    keys, _ = sealed_rows("<f8", 1)
    assert digest_keys(keys) == digest_keys(keys[::-1])
    assert digest_keys(keys) == digest_keys(keys[:5]) ^ digest_keys(keys[5:])
    assert digest_keys(keys[:0]) == 0
    assert digest_keys(keys[1:]) != digest_keys(keys)
    assert -(2**63) <= digest_keys(keys) < 2**63
