"""Which noise kernels this machine has, and which tensors the GPU kernel takes."""

import functools
import os
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


def openmp() -> ModuleType | None:
    """Return `_kernels.openmp`; None if torch has no libgomp, or its threads ended in a fork."""
    return None if _is_forked else _openmp()


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


@functools.cache
def _openmp() -> ModuleType | None:
    try:
        from gradnoise._kernels import openmp
    except (ImportError, OSError):  # torch uses other threads on systems other than Linux
        return None
    return openmp


_is_forked = False


def _record_fork() -> None:
    global _is_forked
    _is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_record_fork)
