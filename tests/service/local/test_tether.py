"""A tethered process ends with its starter."""

import signal
import subprocess
import sys

import pytest

from processes import WAIT_SECONDS, has_ended


@pytest.mark.usefixtures("modules")
def test_process_that_ignores_sigterm_is_killed_with_its_group() -> None:
    """The starter's end closes standard input; SIGKILL follows after the grace period."""
    command = [sys.executable, "-m", "gradnoise_service.local.tether", "stubborn", "0.2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        pids = [int(pid) for pid in process.stdout.readline().split()[1:]]
        process.stdin.close()
        assert process.wait(WAIT_SECONDS) == -signal.SIGKILL
        assert all(has_ended(pid) for pid in pids)
