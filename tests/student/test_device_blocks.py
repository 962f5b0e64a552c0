"""Blocks for a GPU: how large, in which order, and what comes out."""

import numpy as np
import pytest
import torch

from skadistill import StudentNet
from skadistill.student import _loading as loading_module
from skadistill.student._batches import Rows
from skadistill.student._device_blocks import (
    CudaMemory,
    overlapped,
    rows_of_a_block,
    rows_that_fit,
)

X = np.random.default_rng(0).standard_normal((5_000, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


class Memory:
    """Stand in for a device on which a row takes some bytes."""

    def __init__(self, free, bytes_per_row):
        self._free, self.bytes_per_row = free, bytes_per_row
        self.tries = []

    def free(self):
        return self._free

    def taken_by(self, function):
        self.tries.append(len(function()))
        return self.tries[-1] * self.bytes_per_row


@pytest.mark.parametrize(
    ("free", "bytes_per_row", "expected"),
    [(2**28, 2**10, 2**17), (2**20, 2**10, 512), (0, 10, 32), (2**40, 0, 2**18)],
)
def test_rows_fill_half_of_the_free_memory(free, bytes_per_row, expected):
    """Between a floor and a ceiling."""
    assert rows_that_fit(free, bytes_per_row) == expected


def test_a_block_is_found_by_one_try():
    """Three inputs and the computation on one fit in half of what is free."""
    memory = Memory(free=2**21, bytes_per_row=500 - 3 * 24)
    assert rows_of_a_block(lambda x: x, Rows(X), memory) == 2**20 // 500
    assert memory.tries == [1024]


def test_a_small_table_needs_no_try():
    """It is one block, whatever it takes."""
    memory = Memory(free=0, bytes_per_row=1)
    assert rows_of_a_block(None, Rows(X[:100]), memory) == 100
    assert memory.tries == []


class Copier:
    """Stand in for a stream: write down what is started and what is waited for."""

    def __init__(self):
        self.log = []

    def start(self, tensor):
        self.log.append(("start", int(tensor[0])))
        return tensor

    def finish(self, copy):
        self.log.append(("finish", int(copy[0])))
        return copy + 100


@pytest.mark.parametrize("n", [0, 1, 3])
def test_the_next_batch_is_under_way_before_this_one_is_used(n):
    """Batches come in order, and each but the last has its follower started."""
    copier = Copier()
    batches = ((torch.tensor([i]), i) for i in range(n))
    seen = []
    for rows, target in overlapped(batches, torch.device("cpu"), copier):
        seen.append((int(rows[0]), target))
        copier.log.append(("use", target))
    assert seen == [(100 + i, i) for i in range(n)]
    at = {entry: place for place, entry in enumerate(copier.log)}
    for i in range(n - 1):
        # The next is under way, and no more than the next: memory is for three.
        assert at["start", i + 1] < at["use", i] < at.get(("start", i + 2), 99)


def test_on_a_cpu_nothing_is_copied():
    """Batches are handed on as they are."""
    batches = [(torch.zeros(2), 1)]
    assert next(overlapped(batches, torch.device("cpu"))) is batches[0]


def test_a_net_takes_the_blocks_that_it_is_told(monkeypatch):
    """Predictions on a device are made in blocks found from its memory."""
    net = StudentNet(max_epochs=2, device="cpu", random_state=0).fit(X, Y)
    expected = net.predict_proba(X)
    memory = Memory(free=2**21, bytes_per_row=1_000)
    monkeypatch.setattr(loading_module, "memory_of", lambda device: memory)
    sizes = []
    step = StudentNet.evaluation_step
    monkeypatch.setattr(
        StudentNet,
        "evaluation_step",
        lambda self, batch, training=False: (
            sizes.append(len(batch[0])) or step(self, batch, training)
        ),
    )
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    limit = 2**20 // (1_000 + 3 * 24)
    assert memory.tries == [1024]
    assert max(sizes[1:]) <= limit  # the first is the try
    assert len(sizes) - 1 == -(-len(X) // limit)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_predicts_what_a_cpu_does():
    """Blocks that fit, copied while others are computed, give the same."""
    net = StudentNet(max_epochs=2, device="cuda", random_state=0).fit(X, Y)
    memory = CudaMemory(torch.device("cuda"))
    assert memory.free() > 0
    assert memory.taken_by(lambda: torch.zeros(2**20, device="cuda")) >= 2**22
    proba = net.predict_proba(X)
    net.module_.cpu()
    net.set_params(device="cpu")
    np.testing.assert_allclose(net.predict_proba(X), proba, atol=1e-5)
