"""The machine: driver, GPU, memory, torch, Triton, the C compiler, and a first noise kernel."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.first_gpu.running import Finding, logged
from benchmarks.harness import Figure
from gradnoise._kernels import backends
from gradnoise._noise import Noise

QUERY = "name,uuid,driver_version,memory.total,memory.used,clocks.sm,power.limit"
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def findings() -> Iterator[Finding]:
    yield f"Python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    yield f"{os.cpu_count()} cores; torch uses {torch.get_num_threads()} threads"
    for name in ("triton", "numba", "pytest", "sklearn"):
        found = importlib.util.find_spec(name)
        yield f"{name}: {'installed' if found else 'not installed'}"
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    yield f"C compiler: {_first_line([compiler, '--version']) if compiler else 'none'}"
    smi = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    yield f"nvidia-smi ({QUERY}): {_first_line(smi)}"
    if not torch.cuda.is_available():
        yield "no GPU: torch sees none"
        return
    properties = torch.cuda.get_device_properties(0)
    yield f"torch: {properties}"
    free, total = torch.cuda.mem_get_info()
    yield Figure(name="free memory of the GPU", unit="GiB", values=[free / 2**30])
    yield Figure(name="memory of the GPU", unit="GiB", values=[total / 2**30])
    for dtype in TYPES:
        yield from _first_noise(dtype)


def _first_noise(dtype: torch.dtype) -> Iterator[Finding]:
    """Draw the noise of a type for the first time, which compiles the kernel."""
    shapes = {"w": (300, 7)}
    found, expected = (
        torch.zeros(shapes["w"], dtype=dtype, device=device) for device in ("cuda", "cpu")
    )
    start = time.perf_counter()
    with logged() as messages:
        Noise(1, shapes).add_([found], 3, 0.5)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    Noise(1, shapes).add_([expected], 3, 0.5)
    name = str(dtype).removeprefix("torch.")
    yield Figure(name=f"first noise in {name}", unit="s", values=[seconds])
    yield Figure(
        name=f"noise in {name} by the GPU's kernel (1: yes)",
        unit="",
        values=[float(backends.is_on_gpu(found))],
        at_least=1,
    )
    yield Figure(
        name=f"its largest difference from the CPU's, of a standard deviation, in {name}",
        unit="",
        values=[float((found.cpu().float() - expected.float()).abs().max()) / 0.5],
        at_most=4e-6 if dtype is torch.float32 else 16 * torch.finfo(dtype).eps,
    )
    yield from messages


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}"
    return next(iter((done.stdout or done.stderr).strip().splitlines()), "no output")
