"""Which noise kernels this machine has, and which tensors the GPU kernel takes."""

import functools
from types import ModuleType

import torch


@functools.cache
def compiled() -> ModuleType | None:
    """Return `_kernels.compiled`; None without numba, which is an extra."""
    try:
        from gradnoise._kernels import compiled
    except ImportError:
        return None
    return compiled


@functools.cache
def cuda() -> ModuleType | None:
    """Return `_kernels.cuda`; None without Triton, which torch installs on Linux."""
    try:
        from gradnoise._kernels import cuda
    except ImportError:
        return None
    return cuda


def is_on_gpu(tensor: torch.Tensor) -> bool:
    """Return whether `_kernels.cuda` can add noise to the tensor."""
    return (
        tensor.is_cuda
        and tensor.is_contiguous()
        and tensor.dtype in (torch.float32, torch.bfloat16, torch.float16)
    )
