"""A process of the service: started on a tether, logged to a file, stopped with its group."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

from gradnoise_service.local.errors import N_LAST_LINES

MAX_LOG_BYTES = 10_000_000

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a process of the service does.

    Args:
        name: Its name in logs.
        module: The module that it runs.
        grace: The time that it may take to stop.
        niceness: Of its threads: above 0, other processes get the cores first.
        is_first: Whether it starts while the database is prepared, which it awaits itself, and
            stops while the others still run.
    """

    name: str
    module: str
    grace: timedelta = timedelta(seconds=8)
    niceness: int = 0
    is_first: bool = False


# the dispatcher starts Ray, which takes longest, and stops its trials while API and dashboard run
ROLES = (
    Role(name="api", module="gradnoise_service.app"),
    Role(name="dashboard", module="gradnoise_service.dashboard", niceness=10),
    Role(name="workers", module="gradnoise_workers", grace=timedelta(seconds=20), is_first=True),
)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command of a module; -P keeps files of the current folder from shadowing any."""
    return [sys.executable, "-P", "-m", module, *arguments]


class ServiceProcess:
    """The process in a role; `start` may be called again after the process has ended.

    Args:
        role: What the process does.
        log_file: The file that receives the process's output.
        environment: The environment variables of the process.
        on_line: Called with each line of output, from another thread.
        on_exit: Called with the exit code when the process ends, from another thread.
    """

    def __init__(
        self,
        role: Role,
        log_file: Path,
        environment: Mapping[str, str],
        *,
        on_line: Callable[[str], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self.role = role
        self.log_file = log_file
        self.last_lines: deque[str] = deque(maxlen=N_LAST_LINES)
        self.n_quick_deaths = 0
        self._environment = environment
        self._on_line = on_line
        self._on_exit = on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._started_at = 0.0

    @property
    def age(self) -> timedelta:
        """The time since the last start."""
        return timedelta(seconds=time.monotonic() - self._started_at)

    @property
    def pid(self) -> int:
        """The process id of the last start; 0 before the first."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process in a new session."""
        self.last_lines.clear()
        grace_seconds = str(self.role.grace.total_seconds())
        process = subprocess.Popen(
            module_command("gradnoise_service.local.tether", self.role.module, grace_seconds),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if self.role.niceness > os.getpriority(os.PRIO_PROCESS, 0):
            os.setpriority(os.PRIO_PROCESS, process.pid, self.role.niceness)
        self._process, self._started_at = process, time.monotonic()
        name = self.role.name
        self._reader = threading.Thread(
            target=self._read_output, args=(process,), name=f"log of {name}", daemon=True
        )
        self._reader.start()
        threading.Thread(
            target=lambda: self._on_exit(process.wait()), name=f"wait for {name}", daemon=True
        ).start()

    def request_stop(self) -> None:
        """Release the tether, so that the process stops."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._release_tether(self._process)

    def await_end(self) -> None:
        """Wait for the end of a process that is to stop, at most for the role's grace."""
        grace_seconds = self.role.grace.total_seconds()
        if self._process is None:
            return
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            log.warning(
                "process did not stop in time; killing it",
                role=self.role.name,
                grace_seconds=grace_seconds,
            )

    def kill_group(self) -> None:
        """Kill the rest of the process group and release the tether."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._release_tether(self._process)

    def wait_for_output(self, seconds: float) -> None:
        """Wait until all output of an ended process has been read."""
        if self._reader is not None:
            self._reader.join(timeout=seconds)

    def _release_tether(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.close()

    def _read_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        handler = RotatingFileHandler(
            self.log_file, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8"
        )
        with process.stdout as output, contextlib.closing(handler):
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                self.last_lines.append(line)
                handler.emit(logging.LogRecord("", logging.INFO, "", 0, line, None, None))
                self._on_line(line)
