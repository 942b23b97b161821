"""Which kernels this machine has, and which tensors the GPU kernel takes."""

import functools
import importlib
import logging
import os
from types import ModuleType

import numpy as np
import torch

from gradnoise._kernels.runs import Runs
from gradnoise._parts import whole

log = logging.getLogger(__name__)


@functools.cache
def native() -> ModuleType | None:
    """Return `_kernels.native`; None without numba, which is an extra."""
    return _compiled("native", "noise", "numpy draws the noise, several times slower")


@functools.cache
def networks() -> ModuleType | None:
    """Return `_kernels.native_networks`; None without numba."""
    return _compiled("native_networks", "dense networks", "torch trains them, about half as fast")


def _compiled(name: str, work: str, otherwise: str) -> ModuleType | None:
    """Return a module of `_kernels` that loads machine code; None without numba.

    Where numba is installed but gives no machine code, such as a version with other internals, the
    reason is logged.
    """
    try:
        return importlib.import_module(f"gradnoise._kernels.{name}")
    except ModuleNotFoundError:
        return None
    except Exception as error:  # numba, llvmlite and the loader raise many types
        log.warning(
            "The kernel for %s on the CPU cannot be built, so %s: %s",
            work,
            otherwise,
            " ".join(f"{type(error).__name__}: {error}".split()),
        )
        return None


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
        and not launch_fault(tensor.device, tensor.dtype)
    )


@functools.cache
def launch_fault(device: torch.device, dtype: torch.dtype) -> str:
    """Return why the GPU kernel of a type cannot run on a device; empty if it can.

    Triton compiles at the first launch. It needs a C compiler, a cache folder on a file system from
    which code can be loaded, and a compiler of the device's architecture.
    """
    kernel = cuda()
    if kernel is None:
        return "Triton is not installed"
    number = torch.zeros(1, dtype=dtype, device=device)
    try:
        kernel.add_([number], Runs.of([whole((1,))], [0]), 0, np.ones(1))
    except Exception as error:  # Triton, the C compiler and the loader raise many types
        is_capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if is_capturing or "out of memory" in str(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning(
            "The kernel for %s noise cannot be built for %s, so the noise is drawn on the CPU, "
            "with the same values up to rounding: %s",
            str(dtype).removeprefix("torch."),
            device,
            reason,
        )
        return reason
    return ""


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
