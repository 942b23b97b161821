"""Runs the service's processes on one machine: starts them, restarts what dies, keeps their logs,
stops them in order.

Each process runs on a tether (`gradnoise_service.tether`), so that none outlives the supervisor,
even one that is killed; and in a session of its own, so that Ctrl-C reaches the supervisor alone.
"""

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from filelock import FileLock, Timeout

from gradnoise_service import ports
from gradnoise_service.settings import Settings

log = structlog.get_logger()

Echo = Callable[[str, str], None]
"""Shows one line of a process's output: the process's name, the line."""


class SupervisorError(Exception):
    """The service cannot be run here; `last_lines` are what the process that failed said at last,
    `log_file` holds all of it.
    """

    last_lines: Sequence[str] = ()
    log_file: Path | None = None


class DatabaseNotPreparedError(SupervisorError):
    """The database could not be created or brought up to date."""

    def __init__(self, code: int, said: str, log_file: Path) -> None:
        self.last_lines = said.strip().splitlines()[-12:]
        self.log_file = log_file
        super().__init__(
            "The database cannot be prepared: "
            f"{self.last_lines[-1] if self.last_lines else f'code {code}'}"
        )


class AlreadyRunningError(SupervisorError):
    """Another supervisor runs the service from this home."""

    def __init__(self, home: Path, running: Mapping[str, object]) -> None:
        self.home = home
        self.url = str(running.get("url", ""))
        where = (
            f"process {running.get('pid')}, at {self.url}" if self.url else "it is about to start"
        )
        super().__init__(f"The service already runs from {home}: {where}.")


class CrashLoopError(SupervisorError):
    """A process ended again and again soon after its start."""

    def __init__(
        self, name: str, code: int, n_deaths: int, last_lines: Sequence[str], log_file: Path
    ) -> None:
        self.name = name
        self.last_lines = tuple(last_lines)
        self.log_file = log_file
        super().__init__(
            f"The process {name!r} ended {n_deaths} times in a row soon after its start, at last "
            f"with code {code}."
        )


@dataclass(frozen=True, kw_only=True)
class Role:
    """One process of the service: the module it runs, and how long it may take to stop."""

    name: str
    module: str
    grace: timedelta = timedelta(seconds=8)


# in the order of starting; they stop in the reverse order, so that no trial runs on when its
# dispatcher has gone
ROLES = (
    Role(name="api", module="gradnoise_service.app"),
    Role(name="dashboard", module="gradnoise_service.dashboard"),
    Role(name="workers", module="gradnoise_workers", grace=timedelta(seconds=20)),
)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """When a process that dies is started again.

    Args:
        n_deaths: After so many quick deaths in a row it is given up.
        quick: A death is quick within this time of the start.
        first_pause: Before the first restart; it doubles with each quick death.
        longest_pause: No pause is longer.
    """

    n_deaths: int = 5
    quick: timedelta = timedelta(seconds=20)
    first_pause: timedelta = timedelta(seconds=0.5)
    longest_pause: timedelta = timedelta(seconds=10)

    def pause(self, n_deaths: int) -> timedelta:
        return min(self.longest_pause, self.first_pause * 2.0 ** min(n_deaths - 1, 16))


@dataclass(kw_only=True)
class Child:
    """A role with the process that plays it now."""

    role: Role
    log_file: Path
    process: subprocess.Popen[bytes] | None = None
    pump: threading.Thread | None = None
    started: float = 0.0
    n_quick_deaths: int = 0
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=12))


class Supervisor:
    """Runs the service in a `with` block: started and supervised inside, stopped in order at its
    end.

    Args:
        settings: Of the service; its processes get those that a command line can change through
            their environment, beside our own.
        echo: Shows what the processes print; nothing does by default. Everything goes to
            `<home>/logs` in any case.
        on_failure: Called once, from another thread, when a process has to be given up; `check`
            then says which and why.
        roles: What to run.
        patience: With processes that die.

    Raises:
        AlreadyRunningError: On entry, if another supervisor runs from this home.
        PortTakenError: On entry, if a port is in use.
        DatabaseNotPreparedError: On entry, if the database cannot be created or brought up to date.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        echo: Echo | None = None,
        on_failure: Callable[[], None] = lambda: None,
        roles: Sequence[Role] = ROLES,
        patience: Patience | None = None,
    ) -> None:
        self.settings = settings
        self.home = settings.home.resolve()
        self.url = f"http://{_address(settings.host)}:{settings.port}"
        self._echo = echo
        self._on_failure = on_failure
        self._patience = patience or Patience()
        told = {
            "HOME": self.home,
            "HOST": settings.host,
            "PORT": settings.port,
            "DASHBOARD_PORT": settings.dashboard_port,
            "LOG_FORMAT": settings.log_format,
        }
        self._environment = (
            os.environ
            | {f"GRADNOISE_{name}": str(value) for name, value in told.items()}
            | {"PYTHONUNBUFFERED": "1"}
        )
        self._children = [
            Child(role=role, log_file=self.home / "logs" / f"{role.name}.log") for role in roles
        ]
        self._lock = FileLock(self.home / "up.lock", timeout=0)
        self._deaths: queue.SimpleQueue[tuple[Child, int] | None] = queue.SimpleQueue()
        self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._failure: SupervisorError | None = None

    def __enter__(self) -> Self:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise AlreadyRunningError(self.home, running(self.home) or {}) from None
        try:
            for port in (self.settings.port, self.settings.dashboard_port):
                ports.check(self.settings.host, port)
            self._prepare()
            (self.home / "running.json").write_text(
                json.dumps({"pid": os.getpid(), "url": self.url}), encoding="utf-8"
            )
            for child in self._children:
                self._start(child)
            self._keeper.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._deaths.put(None)
            self._keeper.join()
        finally:
            self._stop()

    def check(self) -> None:
        """Raise CrashLoopError if a process had to be given up."""
        if self._failure is not None:
            raise self._failure

    def _prepare(self) -> None:
        command = [sys.executable, "-m", "gradnoise_service.migrate"]
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }
        done = subprocess.run(command, env=self._environment, text=True, check=False, **pipes)
        if done.returncode != 0:
            log_file = self.home / "logs" / "migrate.log"
            log_file.write_text(done.stdout, encoding="utf-8")
            raise DatabaseNotPreparedError(done.returncode, done.stdout, log_file)

    def _start(self, child: Child) -> None:
        child.last_lines.clear()
        process = subprocess.Popen(
            [sys.executable, "-m", "gradnoise_service.tether", child.role.module],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child.process, child.started = process, time.monotonic()
        child.pump = threading.Thread(
            target=self._pump, args=(child, process), name=f"log of {child.role.name}", daemon=True
        )
        child.pump.start()
        threading.Thread(
            target=lambda: self._deaths.put((child, process.wait())),
            name=f"wait for {child.role.name}",
            daemon=True,
        ).start()

    def _pump(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        keeper = RotatingFileHandler(
            child.log_file, maxBytes=10_000_000, backupCount=1, encoding="utf-8"
        )
        with process.stdout as output, contextlib.closing(keeper):
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                child.last_lines.append(line)
                keeper.emit(logging.LogRecord("", logging.INFO, "", 0, line, None, None))
                if self._echo is not None:
                    try:
                        self._echo(child.role.name, line)
                    except OSError:  # whoever looked has gone; the files go on
                        self._echo = None

    def _keep(self) -> None:
        """Start again what dies, until the end of the block or until a process has to be given up."""
        due: dict[str, tuple[float, Child]] = {}
        while True:
            wait = min((at for at, _ in due.values()), default=None)
            try:
                death = self._deaths.get(
                    timeout=None if wait is None else max(0.0, wait - time.monotonic())
                )
            except queue.Empty:
                for name in [name for name, (at, _) in due.items() if at <= time.monotonic()]:
                    self._start(due.pop(name)[1])
                continue
            if death is None:
                return
            child, code = death
            _end_group(child)
            quick = time.monotonic() - child.started < self._patience.quick.total_seconds()
            child.n_quick_deaths = child.n_quick_deaths + 1 if quick else 1
            if quick and child.n_quick_deaths >= self._patience.n_deaths:
                if child.pump is not None:
                    child.pump.join(timeout=2)
                self._failure = CrashLoopError(
                    child.role.name, code, child.n_quick_deaths, child.last_lines, child.log_file
                )
                self._on_failure()
                return
            pause = self._patience.pause(child.n_quick_deaths)
            log.warning(
                "a process ended; starting it again",
                role=child.role.name,
                code=code,
                pause_seconds=pause.total_seconds(),
            )
            due[child.role.name] = (time.monotonic() + pause.total_seconds(), child)

    def _stop(self) -> None:
        try:
            for child in reversed(self._children):
                _stop(child)
        finally:  # a second Ctrl-C: no more waiting
            for child in self._children:
                _end_group(child)
            (self.home / "running.json").unlink(missing_ok=True)
            self._lock.release()


def running(home: Path) -> dict[str, object] | None:
    """Return `pid` and `url` of the service that runs from this home, None if none does; they
    outlive a supervisor that was killed.
    """
    try:
        plain: dict[str, object] = json.loads((home / "running.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plain


def _stop(child: Child) -> None:
    process = child.process
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(child.role.grace.total_seconds())
    except subprocess.TimeoutExpired:
        log.warning(
            "a process did not stop in time and is ended",
            role=child.role.name,
            grace_seconds=child.role.grace.total_seconds(),
        )


def _end_group(child: Child) -> None:
    """End whatever is left of a child's process group, itself included, and let go of the tether."""
    if child.process is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)
    if child.process.stdin is not None:
        child.process.stdin.close()


def _address(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
