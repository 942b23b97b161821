"""Supervisor: runs the service's processes on one machine and restarts those that die.

Each process runs on a tether (`gradnoise_service.local.tether`), so that it ends with the
supervisor, even if the supervisor is killed. It runs in its own session, so that Ctrl-C reaches
only the supervisor.
"""

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

import structlog
from filelock import FileLock, Timeout

from gradnoise_service.domain import dispatcher_id
from gradnoise_service.local import ports, ray_sockets, running_service
from gradnoise_service.local.errors import (
    AlreadyRunningError,
    CrashLoopError,
    DatabaseNotPreparedError,
    SupervisorError,
)
from gradnoise_service.local.restart_policy import RestartPolicy
from gradnoise_service.local.running_service import RunningService
from gradnoise_service.local.service_process import ROLES, Role, ServiceProcess, module_command
from gradnoise_service.settings import Settings

log = structlog.get_logger()

LOCK_NAME = "up.lock"
"""The file in the home folder that a running supervisor locks."""

Echo = Callable[[str, str], None]
"""Shows a line of a process's output, given the process's name and the line."""


class Supervisor:
    """Runs the service in a `with` block; its processes stop at the end of the block.

    Args:
        settings: The settings of the service. The processes get those that the command line can
            change through their environment.
        echo: Shows the output of the processes. The output also goes to `<home>/logs`.
        on_failure: Called once, from another thread, when a process is given up; `check` then
            raises the error.
        roles: The processes to run.
        policy: When a process that died is restarted.

    Raises:
        AlreadyRunningError: On entry, if another supervisor runs from this home folder.
        SocketPathError: On entry, if the paths of Ray's sockets would be too long.
        PortTakenError: On entry, if a port is in use.
        DatabaseNotPreparedError: On entry, if the database cannot be created or upgraded.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        echo: Echo | None = None,
        on_failure: Callable[[], None] = lambda: None,
        roles: Sequence[Role] = ROLES,
        policy: RestartPolicy | None = None,
    ) -> None:
        self.settings = settings
        self.home = settings.home.resolve()
        self.url = f"http://{settings.local_host}:{settings.port}"
        self._echo = echo
        self._on_failure = on_failure
        self._policy = policy or RestartPolicy()
        changed = {
            "HOME": self.home,
            "HOST": settings.host,
            "PORT": settings.port,
            "DASHBOARD_PORT": settings.dashboard_port,
            "LOG_FORMAT": settings.log_format,
        }
        self._environment = (
            os.environ
            | {f"GRADNOISE_{name}": str(value) for name, value in changed.items()}
            | {"PYTHONUNBUFFERED": "1"}
        )
        self._processes = [self._process(role) for role in roles]
        self._lock = FileLock(self.home / LOCK_NAME, timeout=0)
        self._deaths: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._failure: SupervisorError | None = None

    def __enter__(self) -> Self:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            other = running_service.find(self.home)
            pid, url = (other.pid, other.url) if other else (None, None)
            raise AlreadyRunningError(self.home, pid, url) from None
        try:
            if self.settings.ray_address == "local":
                ray_sockets.check()
            for port in (self.settings.port, self.settings.dashboard_port):
                ports.check(self.settings.host, port)
            self._start(are_first=True)
            self._prepare_database()
            running_service.record(self.home, RunningService(pid=os.getpid(), url=self.url))
            self._start(are_first=False)
            self._thread.start()
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
        self._stop()

    def has_dispatcher(self, id: str) -> bool:
        """Return whether a dispatcher is one of the processes."""
        return any(id.startswith(dispatcher_id.of_process(each.pid)) for each in self._processes)

    def check(self) -> None:
        """Raise CrashLoopError if a process was given up."""
        if self._failure is not None:
            raise self._failure

    def _process(self, role: Role) -> ServiceProcess:
        return ServiceProcess(
            role,
            self.home / "logs" / f"{role.name}.log",
            self._environment,
            on_line=partial(self._show, role.name),
            on_exit=lambda code: self._deaths.put((role.name, code)),
        )

    def _start(self, *, are_first: bool) -> None:
        for process in self._those(are_first=are_first):
            process.start()

    def _those(self, *, are_first: bool) -> list[ServiceProcess]:
        return [each for each in self._processes if each.role.is_first == are_first]

    def _show(self, name: str, line: str) -> None:
        if self._echo is None:
            return
        try:
            self._echo(name, line)
        except OSError:  # the terminal was closed; the log files remain
            self._echo = None

    def _prepare_database(self) -> None:
        """Create or upgrade the database in another process.

        This process then need not load Optuna.
        """
        done = subprocess.run(
            module_command("gradnoise_service.prepare_database"),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            log_file = self.home / "logs" / "prepare_database.log"
            log_file.write_text(done.stdout, encoding="utf-8")
            raise DatabaseNotPreparedError(done.returncode, done.stdout, log_file)

    def _supervise(self) -> None:
        """Restart processes that die, until the block ends or a process is given up."""
        processes = {process.role.name: process for process in self._processes}
        restart_at: dict[str, float] = {}
        while True:
            next_at = min(restart_at.values(), default=None)
            timeout = None if next_at is None else max(0.0, next_at - time.monotonic())
            try:
                death = self._deaths.get(timeout=timeout)
            except queue.Empty:
                due = [name for name, at in restart_at.items() if at <= time.monotonic()]
                for name in due:
                    del restart_at[name]
                    processes[name].start()
                continue
            if death is None:
                return
            name, code = death
            pause_seconds = self._handle_death(processes[name], code)
            if pause_seconds is None:
                return
            restart_at[name] = time.monotonic() + pause_seconds

    def _handle_death(self, process: ServiceProcess, code: int) -> float | None:
        """Return the seconds until the restart of a process that died, None if it is given up."""
        process.kill_group()
        is_quick = process.age < self._policy.quick_death
        process.n_quick_deaths = process.n_quick_deaths + 1 if is_quick else 1
        if is_quick and process.n_quick_deaths >= self._policy.max_quick_deaths:
            process.wait_for_output(seconds=2)
            self._failure = CrashLoopError(
                process.role.name,
                code,
                process.n_quick_deaths,
                process.last_lines,
                process.log_file,
            )
            self._on_failure()
            return None
        pause_seconds = self._policy.pause(process.n_quick_deaths).total_seconds()
        log.warning(
            "process ended; restarting it",
            role=process.role.name,
            code=code,
            pause_seconds=pause_seconds,
        )
        return pause_seconds

    def _stop(self) -> None:
        try:
            self._deaths.put(None)
            if self._thread.is_alive():
                self._thread.join()
            for are_first in (True, False):
                for process in self._those(are_first=are_first):
                    process.request_stop()
                for process in self._those(are_first=are_first):
                    process.await_end()
        finally:  # also after a second Ctrl-C, which interrupts the waiting
            for process in self._processes:
                process.kill_group()
            running_service.forget(self.home)
            self._lock.release()
