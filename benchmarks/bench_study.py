"""Whole studies on this machine: how busy its devices are, and the time of `gradnoise demo`.

The share is that of device time over wall time x devices, from the first trial to the verdict; on
cores, device time is the CPU time of training. The time is that of the command: the service starts,
runs the study, writes its report and stops.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness import Figure, report

ROUNDS = 3
HAS_MNIST = Path(os.environ.get("GRADNOISE_DATA", "/nowhere"), "mnist").exists()
PRESETS = ("demo", "mnist-quick") if HAS_MNIST else ("demo",)
DEMO_SECONDS = 150.0
LEAST_PERCENT = 92.0


def main() -> bool:
    return report("bench_study", figures())


def figures() -> Iterator[Figure]:
    for preset in PRESETS:
        shares, seconds = [], []
        for _ in range(ROUNDS):
            start = perf_counter()
            shares.append(100 * busy(preset)["share"])
            seconds.append(perf_counter() - start)
        yield Figure(
            name=f"{preset}: share of device time",
            unit="%",
            values=shares,
            at_least=LEAST_PERCENT,
        )
        at_most = DEMO_SECONDS if preset == "demo" else None
        yield Figure(name=f"  gradnoise demo, {preset}", unit="s", values=seconds, at_most=at_most)


def busy(preset: str) -> dict[str, Any]:
    """Run `gradnoise demo` in a new home folder; return how busy the devices were."""
    command = [sys.executable, "-m", "gradnoise_service", "demo", "--preset", preset, "--json"]
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        done = subprocess.run(
            [*command, "--home", home],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout)["comparison"]["protocol"]["busy"]
    return found


if __name__ == "__main__":
    sys.exit(not main())
