"""The GPUs that this process sees, and whether torch can compute on them.

`python -m gradnoise.training.gpus` prints them as JSON, for `gradnoise doctor`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from gradnoise._kernels import backends

OF_PROGRAMS = (
    "device-side assert",
    "illegal memory access",
    "misaligned address",
    "illegal instruction",
    "invalid address space",
    "invalid program counter",
)
"""Errors of CUDA that name the program as their cause, not the GPU."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU of this process.

    Args:
        fault: Why torch cannot compute on it; empty if it can.
        name: Its model.
        uuid: Its identifier, unique in the world.
        free_bytes: Memory that no process uses.
        total_bytes: Its memory.
    """

    fault: str = ""
    name: str = ""
    uuid: str = ""
    free_bytes: int = 0
    total_bytes: int = 0


def cuda_fault() -> str:
    """Return why torch can use no GPU at all; empty if it sees some."""
    version = f"torch {torch.__version__}"
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]  # of torch
        return f"{version} is built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # of torch
    except (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError) as error:
        return f"{version}: {_first_line(error)}"
    return "" if torch.cuda.device_count() else f"{version} sees no GPU"


def first_gpu() -> Gpu:
    """Return the first GPU of this process; only a fault if torch can use none."""
    fault = cuda_fault()
    return Gpu(fault=fault) if fault else _gpu(torch.device("cuda", 0))


def device_fault(device: torch.device) -> str:
    """Return why torch cannot compute on a device, or no longer can; empty if it can.

    A device whose memory is full can: a trial that needs less fits later.
    """
    try:
        torch.arange(4, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:
        return "" if "out of memory" in str(error) else _first_line(error)
    return ""


def is_of_program(fault: str) -> bool:
    """Return whether the fault of a device is that of a program that ran on it.

    >>> is_of_program("CUDA error: device-side assert triggered")
    True
    >>> is_of_program("CUDA error: unspecified launch failure")
    False
    """
    return any(sign in fault for sign in OF_PROGRAMS)


def _gpu(device: torch.device) -> Gpu:
    fault = device_fault(device)
    if fault:
        return Gpu(fault=fault)
    properties = torch.cuda.get_device_properties(device)
    try:
        free = torch.cuda.mem_get_info(device)[0]
    except RuntimeError:  # no memory is left for this process to open the GPU
        free = 0
    return Gpu(
        name=properties.name,
        uuid=f"GPU-{properties.uuid}",
        free_bytes=free,
        total_bytes=properties.total_memory,
    )


def _report() -> Iterator[dict[str, object]]:
    """Yield each GPU with `kernel_fault`, why the noise kernel cannot be built for it."""
    fault = cuda_fault()
    if fault:
        yield {**asdict(Gpu(fault=fault)), "kernel_fault": ""}
        return
    for i in range(torch.cuda.device_count()):
        device = torch.device("cuda", i)
        gpu = _gpu(device)
        is_open = not gpu.fault and gpu.free_bytes > 0
        kernel_fault = backends.launch_fault(device, torch.float32) if is_open else ""
        yield {**asdict(gpu), "kernel_fault": kernel_fault}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    sys.stdout.write(json.dumps(list(_report())) + "\n")
