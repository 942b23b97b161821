"""Noise on tensors of any type, device and layout, chunk by chunk."""

from collections.abc import Iterator

import numpy as np
import torch

from gradnoise._kernels import backends, portable
from gradnoise._kernels.runs import Runs
from gradnoise._kernels.threads import add_on_threads
from gradnoise._parts import Part

CHUNK = 2**16


def add_in_chunks(
    tensor: torch.Tensor, scale: torch.Tensor | None, part: Part, key: int, t: int, std: float
) -> None:
    """Add std * N_t to a tensor in place, with memory for a single chunk of CHUNK numbers.

    Args:
        tensor: Of any floating type, device and strides.
        scale: Factors of the noise, of the tensor's shape; None: 1.
        part: The elements of the stream that the tensor holds.
        key: The stream's key.
        t: Update count; in [0, 2^63).
        std: Standard deviation, in the tensor's units.
    """
    rows = _rows(tensor, part)
    scales = None if scale is None else _rows(scale, part)
    for i, start in enumerate(part.starts.tolist()):
        for offset, block in _blocks(rows[i]):
            # the same to the last bit as on contiguous memory
            if scales is None and block.dtype is torch.float32 and block.is_cpu:
                near = block.contiguous()
                _add_run(near, start + offset, key, t, std)
                if near is not block:
                    block.copy_(near)
                continue
            drawn = torch.zeros(block.shape, dtype=torch.float32, device="cpu")
            _add_run(drawn, start + offset, key, t, std)
            drawn = drawn.to(block.device)
            if scales is not None:
                drawn *= scales[i].reshape(-1)[offset : offset + block.numel()].view(block.shape)
            block.add_(drawn)
    if rows.data_ptr() != tensor.data_ptr():  # no view shows the rows with these strides: a copy
        tensor.copy_(rows.view(tensor.shape))


def _rows(tensor: torch.Tensor, part: Part) -> torch.Tensor:
    return tensor[None] if len(part.starts) == 1 else tensor.reshape(len(part.starts), -1)


def _blocks(tensor: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield views of at most CHUNK consecutive elements, each with the index of its first."""
    if tensor.numel() <= CHUNK:
        yield 0, tensor
        return
    size = tensor[0].numel()
    if size <= CHUNK:
        n = CHUNK // size
        yield from ((i * size, tensor[i : i + n]) for i in range(0, len(tensor), n))
    else:
        yield from (
            (i * size + offset, block)
            for i, row in enumerate(tensor)
            for offset, block in _blocks(row)
        )


def _add_run(values: torch.Tensor, start: int, key: int, t: int, std: float) -> None:
    if backends.native():
        part = Part(np.array([start], dtype=np.int64), values.numel())
        addresses = np.array([values.data_ptr()])
        ts = np.array([t], dtype=np.int64)
        add_on_threads(Runs.of([part], [key]), addresses, ts, np.array([std]))
    else:
        portable.add(values.view(-1).numpy(), start, key, t, std)
