"""How fast the command line, the library and the service start.

`gradnoise up` is timed until it prints that the service is ready for a study, on a new home folder;
the import of the library in addition to torch's, in a process that has imported torch.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from time import perf_counter

from benchmarks.harness import Figure, report
from gradnoise_service.local import ports

ROUNDS = 5
IMPORT = """
import time, torch
start = time.perf_counter()
import gradnoise
print(time.perf_counter() - start)
"""
HOST = "127.0.0.1"
COMMAND = [sys.executable, "-m", "gradnoise_service"]


def main() -> bool:
    return report("bench_start", figures())


def figures() -> Iterator[Figure]:
    for name, seconds, at_most in (
        ("gradnoise up, until it is ready for a study", until_ready, 6.0),
        ("import gradnoise, beyond torch's", of_import, 0.15),
        ("gradnoise --help", of_help, 0.3),
    ):
        seconds()  # files are cached from now on
        yield Figure(
            name=name, unit="s", values=[seconds() for _ in range(ROUNDS)], at_most=at_most
        )


def until_ready() -> float:
    """Return the seconds after which `gradnoise up` prints that it is ready."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        port = ports.free(HOST)
        environment = {
            "GRADNOISE_HOME": home,
            "GRADNOISE_PORT": str(port),
            "GRADNOISE_DASHBOARD_PORT": str(ports.free(HOST, exclude=frozenset([port]))),
        }
        start = perf_counter()
        up = subprocess.Popen(
            [*COMMAND, "up"], env=os.environ | environment, stdout=subprocess.PIPE, text=True
        )
        assert up.stdout is not None
        try:
            if not any("Ready:" in line for line in up.stdout):
                raise RuntimeError(f"gradnoise up ended with {up.wait()}")
            return perf_counter() - start
        finally:
            up.send_signal(signal.SIGTERM)
            up.communicate()


def of_import() -> float:
    return float(subprocess.check_output([sys.executable, "-c", IMPORT]))


def of_help() -> float:
    start = perf_counter()
    subprocess.run([*COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


if __name__ == "__main__":
    sys.exit(not main())
