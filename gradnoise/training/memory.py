"""Memory of the device or of this machine: free memory, peak use, out-of-memory errors."""

import contextlib
from pathlib import Path

import torch

UNKNOWN = 2**62  # more than any machine has; used where no limit is known
SIGNS = ("out of memory", "allocate memory", "STATUS_ALLOC_FAILED")
"""In the messages of the CUDA runtime, Triton and torch's allocators; of cuBLAS and cuDNN."""

STATUS = Path("/proc/self/status")
CONTROL_GROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, or of this machine or container.

    On a GPU the memory that torch keeps for its next tensors is released first.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    limit, used = (_number(CONTROL_GROUP / name) for name in ("memory.max", "memory.current"))
    of_container = UNKNOWN if limit is None or used is None else limit - used
    return min(of_container, _entries(Path("/proc/meminfo")).get("MemAvailable", UNKNOWN))


def reset_peak(device: torch.device) -> int:
    """Restart the measurement of the peak, and return the bytes in use.

    On a GPU these are the bytes that torch reserves, those of CUDA graphs included, after what it
    does not use is released.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_reserved(device))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _entries(STATUS).get("VmRSS", 0)


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes in use since the last `reset_peak`."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return _entries(STATUS).get("VmHWM", 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device or the machine had no memory left.

    In many errors, only the message shows this. In a CUDA graph's capture it may be the error
    before: the end of the capture then raises another.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, torch.OutOfMemoryError | MemoryError) or (
            isinstance(found, RuntimeError) and any(sign in str(found) for sign in SIGNS)
        ):
            return True
        found = found.__cause__ or found.__context__
    return False


def _entries(path: Path) -> dict[str, int]:
    """Return the entries `name: number kB` of a Linux file, in bytes; none without the file."""
    found = {}
    for line in _text(path).splitlines():
        name, _, amount = line.partition(":")
        match amount.split():
            case [number, "kB"]:
                found[name] = 1024 * int(number)
    return found


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
