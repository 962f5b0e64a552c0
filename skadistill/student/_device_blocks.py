"""Blocks of rows on their way to a GPU: how large they may be, and how they travel."""

import torch

__all__ = [
    "CudaCopier",
    "CudaMemory",
    "memory_of",
    "overlapped",
    "rows_of_a_block",
    "rows_that_fit",
]

_PROBE_ROWS = 1024
_MOST_ROWS = 1 << 18  # larger blocks are no faster and leave nothing to overlap
_SHARE = 0.5  # of the free memory: allocators round up, and others live there too


def rows_that_fit(free_bytes, bytes_per_row, *, least=32, most=_MOST_ROWS):
    """Count the rows whose computation fits in half of the free memory."""
    return int(max(least, min(most, _SHARE * free_bytes / max(1.0, bytes_per_row))))


def rows_of_a_block(forward, rows, memory):
    """Find from a try how many rows a module can take at a time."""
    n_samples = min(_PROBE_ROWS, len(rows))
    if len(rows) <= n_samples:
        return max(1, n_samples)
    block = rows.block(0, n_samples)
    taken = memory.taken_by(lambda: forward(block))
    return rows_that_fit(memory.free(), taken / n_samples + 3 * rows.bytes_per_row)


def memory_of(device):
    """Return the memory probe of a device."""
    return CudaMemory(device) if device.type == "cuda" else None


class CudaMemory:
    """Ask a CUDA device about its memory."""

    def __init__(self, device):
        self.device = device

    def free(self):
        """Count the bytes that are free, those that torch keeps in reserve included."""
        kept = torch.cuda.memory_reserved(self.device)
        used = torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + kept - used

    def taken_by(self, function):
        """Count the bytes that a call has in use at its peak."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        function()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before


class CudaCopier:
    """Copy tensors from pinned memory to a CUDA device in a separate stream."""

    def __init__(self, device):
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def start(self, tensor):
        """Begin a copy and return at once."""
        pinned = tensor.pin_memory()
        with torch.cuda.stream(self.stream):
            moved = pinned.to(self.device, non_blocking=True)
        return moved, pinned

    def finish(self, copy):
        """Let the device wait for a copy."""
        moved, _ = copy
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        # The memory must not be given away while the other stream still reads it.
        moved.record_stream(current)
        return moved


def overlapped(batches, device, copier=None):
    """Have the next batch under way while the device works on this one."""
    if copier is None:
        if device.type != "cuda":
            yield from batches
            return
        copier = CudaCopier(device)
    ahead = None
    for rows, *rest in batches:
        here = isinstance(rows, torch.Tensor) and rows.device.type == "cpu"
        following = copier.start(rows) if here else rows, here, rest
        if ahead is not None:
            yield _arrived(copier, *ahead)
        ahead = following
    if ahead is not None:
        yield _arrived(copier, *ahead)


def _arrived(copier, rows, was_sent, rest):
    return (copier.finish(rows) if was_sent else rows, *rest)
