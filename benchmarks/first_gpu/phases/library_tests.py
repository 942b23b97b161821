"""The library's tests, which use the GPU where there is one.

They are selected by what they need: packages that are missing skip their tests. Without pytest this
is noted, and the phase `parity` remains.
"""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import torch

from benchmarks.first_gpu.running import ROOT, Finding
from benchmarks.harness import Figure

ON_GPU = ("kernels", "noise", "hook", "processes", "techniques", "training", "workloads")
ON_CPU = ("kernels/test_portable.py", "kernels/test_cuda.py")
OPTIONS = (
    "-o",
    "addopts=--import-mode=importlib -m 'not slow'",
    "-W",
    "ignore::pytest.PytestConfigWarning",
    "-W",
    "default::UserWarning",
)
"""In place of those of pyproject.toml, by which a setting of a missing plugin is an error. So is a
warning of CUDA, which the output shows instead.
"""
OF_FAILURE = re.compile(r"::\S.* (FAILED|ERROR) |\] (FAILED|ERROR) ")
"""The outcome of a test, in one process and in several."""
SECONDS_PER_TEST = 60
SHOWN = 60
"""Lines on failures that are kept."""


def findings() -> Iterator[Finding]:
    is_on_gpu = torch.cuda.is_available()
    if not is_on_gpu:
        yield "no GPU: a few tests run on the CPU"
    if not importlib.util.find_spec("pytest"):
        yield "pytest is not installed: no test ran"
        return
    command = [sys.executable, "-m", "pytest", "-v", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    # the tests beside the library's need the service
    command += ["--confcutdir=tests/gradnoise", *OPTIONS]
    if importlib.util.find_spec("xdist") and is_on_gpu:
        command += ["-n", f"{min(8, os.cpu_count() or 1)}", "--dist", "loadfile"]
    if importlib.util.find_spec("pytest_timeout"):
        command += ["--timeout", f"{SECONDS_PER_TEST}"]
    command += [f"tests/gradnoise/{each}" for each in (ON_GPU if is_on_gpu else ON_CPU)]
    lines = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.rstrip())
            if OF_FAILURE.search(line):  # at once, in case the phase is stopped
                yield lines[-1]
    summary = lines[-1] if lines else "no output"
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", summary)}
    yield f"pytest ended with {process.returncode}: {summary}"
    yield Figure(name="tests that passed", unit="", values=[counts.get("passed", 0)], at_least=1)
    yield Figure(
        name="tests that failed or could not run",
        unit="",
        values=[counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)],
        at_most=0,
    )
    yield from [line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))][:SHOWN]
