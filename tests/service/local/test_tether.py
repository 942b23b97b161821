"""A tethered process ends with its starter."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from processes import WAIT_SECONDS, has_ended

pytestmark = pytest.mark.usefixtures("modules")


@contextmanager
def tethered(module: str, grace: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start a module on a tether; return the process, and the ids that it prints."""
    command = [sys.executable, "-m", "gradnoise_service.local.tether", module, grace]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        yield process, [int(pid) for pid in process.stdout.readline().split()[1:]]


def release(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def test_process_that_ignores_sigterm_is_killed_with_its_group() -> None:
    """The starter's end closes standard input; SIGKILL follows after the grace period."""
    with tethered("stubborn", "0.2") as (process, pids):
        release(process)
        assert process.wait(WAIT_SECONDS) == -signal.SIGKILL
        assert all(has_ended(pid) for pid in pids)


def test_stopped_process_of_the_group_does_not_delay_the_end() -> None:
    with tethered("leading", str(2 * WAIT_SECONDS)) as (process, pids):
        os.kill(pids[1], signal.SIGSTOP)
        release(process)
        try:
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
