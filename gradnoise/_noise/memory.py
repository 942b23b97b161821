"""Which tensors share memory, by the ranges that their elements occupy."""

from collections.abc import Sequence

import torch

from gradnoise._kernels.runs import Integers


def overlaps_itself(tensor: torch.Tensor) -> bool:
    """Return whether two elements of a strided tensor may share memory, as those of `expand` do.

    False if, with the axes sorted by stride, each stride exceeds what the smaller axes span.
    """
    if tensor.is_contiguous():
        return False
    span = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= span:
                return True
            span += (size - 1) * stride
    return False


def overlapping(tensors: Sequence[torch.Tensor]) -> list[int]:
    """Return the indices of strided tensors that start in memory which others occupy.

    Once they are copied, no two of the tensors share memory. Memory counts as occupied from a
    tensor's first element to its last.
    """
    ends, found, end = [_end(tensor) for tensor in tensors], [], 0
    starts = [tensor.data_ptr() for tensor in tensors]
    for i in sorted(range(len(tensors)), key=starts.__getitem__):
        if ends[i] == starts[i]:
            continue
        if starts[i] < end:
            found.append(i)
        else:
            end = ends[i]
    return found


def are_apart(addresses: Integers, n_bytes: Integers) -> bool:
    """Return whether no two contiguous tensors share memory."""
    order = addresses.argsort()
    starts = addresses[order]
    return bool((starts[:-1] + n_bytes[order][:-1] <= starts[1:]).all())


def _end(tensor: torch.Tensor) -> int:
    """Return the address of the first byte after the last element."""
    if tensor.numel() == 0:
        return tensor.data_ptr()
    last = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    return tensor.data_ptr() + (last + 1) * tensor.element_size()
