"""What torch makes of this machine's GPUs, examined in a process that may load torch."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradnoise_service.local.finding import Finding

DEVICES = Path("/dev")
PROBE_SECONDS = 120
COMPILER = (
    "Install a C compiler (Debian: apt-get install gcc libc6-dev), and set TRITON_CACHE_DIR to a "
    "writable folder from which code can be loaded."
)
USABLE = (
    "Install torch for CUDA and a driver that is new enough for it; `nvidia-smi` shows the driver. "
    "Until then Ray offers these GPUs, and studies refuse them."
)


def examine_gpus(devices: Path = DEVICES) -> Iterator[Finding]:
    """Check whether torch can use each GPU, and build the noise kernel for it.

    Args:
        devices: The folder of device files; without one of a GPU, torch is not loaded.
    """
    n_gpus = len([*devices.glob("nvidia[0-9]*"), *devices.glob("dxg")])  # dxg: of WSL
    if not n_gpus:
        yield Finding(name="GPU", state="ok", detail="none: trials train on CPU cores")
        return
    command = [sys.executable, "-m", "gradnoise.training.gpus"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True
        )
    except subprocess.SubprocessError as error:
        yield Finding(name="GPU", state="warn", detail=_last_line(error), hint=USABLE)
        return
    for number, gpu in enumerate(json.loads(done.stdout)):
        yield from _of_gpu(number, gpu, n_gpus)


def _of_gpu(number: int, gpu: dict[str, Any], n_gpus: int) -> Iterator[Finding]:
    if gpu["fault"]:
        detail = f"{n_gpus} in this machine, but {gpu['fault']}"
        yield Finding(name="GPU", state="warn", detail=detail, hint=USABLE)
        return
    memory = f"{gpu['free_bytes'] / 1e9:.1f} of {gpu['total_bytes'] / 1e9:.1f} GB free"
    detail = f"{number}: {gpu['name']}, {memory}, {gpu['uuid']}"
    yield Finding(name="GPU", state="ok", detail=detail)
    if gpu["kernel_fault"]:
        detail = f"{number}: noise is drawn on the CPU: {gpu['kernel_fault']}"
        yield Finding(name="GPU", state="warn", detail=detail, hint=COMPILER)


def _last_line(error: subprocess.SubprocessError) -> str:
    if not isinstance(error, subprocess.CalledProcessError):
        return f"torch did not answer within {PROBE_SECONDS} s"
    lines = str(error.stderr).strip().splitlines()
    return lines[-1] if lines else str(error)
