"""Supervisor on real processes: it starts, restarts, logs and stops them, and none outlives it."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from gradnoise_service.domain import dispatcher_id
from gradnoise_service.local import running_service
from gradnoise_service.local.errors import (
    AlreadyRunningError,
    CrashLoopError,
    DatabaseNotPreparedError,
    PortTakenError,
)
from gradnoise_service.local.restart_policy import RestartPolicy
from gradnoise_service.local.running_service import RunningService
from gradnoise_service.local.service_process import Role
from gradnoise_service.local.supervisor import Supervisor
from gradnoise_service.settings import Settings
from processes import WAIT_SECONDS, has_ended

pytestmark = pytest.mark.slow  # each starts processes of its own

QUICK = RestartPolicy(max_quick_deaths=3, first_pause=timedelta(seconds=0.01))


class Lines:
    """The output of the processes, which a test can wait for."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[str, str]] = queue.Queue()

    def __call__(self, name: str, line: str) -> None:
        self.queue.put((name, line))

    def until(self, prefix: str) -> str:
        """Return the next line with a prefix."""
        while True:
            _, line = self.queue.get(timeout=WAIT_SECONDS)
            if line.startswith(prefix):
                return line


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_processes_get_the_settings_and_the_first_one_stops_first(
    settings: Settings, lines: Lines, user_folder: None
) -> None:
    """Files of the current folder shadow no module of theirs."""
    first, second = (Role(name=name, module="obedient") for name in ("first", "second"))
    roles = [replace(first, niceness=5), replace(second, is_first=True)]
    with Supervisor(settings, echo=lines, roles=roles) as service:
        started = [lines.until("obedient ") for _ in range(2)]
        assert {line.split()[2] for line in started} == {str(settings.port)}
        assert all(
            service.has_dispatcher(dispatcher_id.new(int(line.split()[1]))) for line in started
        )
        assert not service.has_dispatcher(dispatcher_id.new(os.getpid()))
        own = os.getpriority(os.PRIO_PROCESS, 0)
        niceness = {os.getpriority(os.PRIO_PROCESS, int(line.split()[1])) for line in started}
        assert niceness == {own, max(own, 5)}
        recorded = running_service.find(service.home)
        url = f"http://127.0.0.1:{settings.port}"
        assert recorded == RunningService(pid=os.getpid(), url=url)
    stopped = [lines.queue.get(timeout=WAIT_SECONDS) for _ in range(2)]
    assert stopped == [("second", "obedient stops"), ("first", "obedient stops")]
    assert all(has_ended(int(line.split()[1])) for line in started)
    assert running_service.find(service.home) is None


def test_output_is_logged_and_a_killed_process_is_restarted(
    settings: Settings, lines: Lines
) -> None:
    roles = [Role(name="first", module="obedient")]
    with Supervisor(settings, echo=lines, roles=roles, policy=QUICK):
        first = lines.until("obedient ")
        os.kill(int(first.split()[1]), signal.SIGKILL)
        second = lines.until("obedient ")
        assert second != first
    lines.until("obedient stops")
    log = (settings.home / "logs" / "first.log").read_text(encoding="utf-8")
    assert log.splitlines() == [first, second, "obedient stops"]


def test_process_that_keeps_dying_is_given_up(settings: Settings) -> None:
    """The error names the process, its exit code and its last output."""
    failures: queue.Queue[None] = queue.Queue()
    supervisor = Supervisor(
        settings,
        on_failure=lambda: failures.put(None),
        roles=[Role(name="first", module="dying")],
        policy=QUICK,
    )
    with supervisor as service:
        failures.get(timeout=WAIT_SECONDS)
        with pytest.raises(
            CrashLoopError, match=r"'first' ended 3 times in a row .* exit code 7"
        ) as caught:
            service.check()
    assert caught.value.last_lines == ("dying with a last word",)
    assert caught.value.log_file == settings.home / "logs" / "first.log"


def test_process_that_does_not_stop_is_killed_with_its_group(
    settings: Settings, lines: Lines
) -> None:
    roles = [Role(name="first", module="stubborn", grace=timedelta(seconds=0.2))]
    with Supervisor(settings, echo=lines, roles=roles):
        pids = [int(pid) for pid in lines.until("stubborn ").split()[1:]]
    assert all(has_ended(pid) for pid in pids)


@contextlib.contextmanager
def supervisor_process(settings: Settings, module: str) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor in another process, which prints the output of its processes."""
    program = f"""
        import threading
        from datetime import timedelta
        from gradnoise_service.local.service_process import Role
        from gradnoise_service.local.stop_signals import interrupt_on_stop_signals
        from gradnoise_service.local.supervisor import Supervisor
        from gradnoise_service.settings import Settings

        roles = [Role(name="first", module={module!r}, grace=timedelta(hours=1))]
        show = lambda _, line: print(line, flush=True)
        with interrupt_on_stop_signals(), Supervisor(Settings(), echo=show, roles=roles):
            threading.Event().wait()
    """
    environment = os.environ | {
        "GRADNOISE_HOME": str(settings.home),
        "GRADNOISE_PORT": str(settings.port),
        "GRADNOISE_DASHBOARD_PORT": str(settings.dashboard_port),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_second_supervisor_is_refused_and_no_process_outlives_the_first(
    settings: Settings,
) -> None:
    """The refusal names process and address of the first, which is then killed."""
    with supervisor_process(settings, "obedient") as first:
        assert first.stdout is not None
        pid = int(first.stdout.readline().split()[1])
        message = rf"process {first.pid}, at http://127.0.0.1:{settings.port}"
        with pytest.raises(AlreadyRunningError, match=message), Supervisor(settings):
            pass
        first.kill()
        assert has_ended(pid)


def test_stopped_process_does_not_outlive_a_killed_supervisor(settings: Settings) -> None:
    """The kernel continues it, and its tether ends it."""
    with supervisor_process(settings, "obedient") as first:
        assert first.stdout is not None
        pid = int(first.stdout.readline().split()[1])
        os.kill(pid, signal.SIGSTOP)
        first.kill()
        assert has_ended(pid)


def test_stopped_processes_end_at_once_with_the_service(settings: Settings, lines: Lines) -> None:
    """Ten, since after a stop the kernel may give a signal to any thread of a process."""
    grace = timedelta(seconds=WAIT_SECONDS)
    roles = [Role(name=f"role {k}", module="obedient", grace=grace) for k in range(10)]
    with Supervisor(settings, echo=lines, roles=roles):
        for _ in roles:
            os.kill(int(lines.until("obedient ").split()[1]), signal.SIGSTOP)
    for _ in roles:
        lines.until("obedient stops")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_second_signal_ends_a_process_that_does_not_stop(
    settings: Settings, number: signal.Signals
) -> None:
    with supervisor_process(settings, "stubborn") as first:
        assert first.stdout is not None
        pids = [int(pid) for pid in first.stdout.readline().split()[1:]]
        first.send_signal(number)
        assert first.stdout.readline() == "stubborn stays\n"
        first.send_signal(number)
        assert first.wait(WAIT_SECONDS) != 0
        assert all(has_ended(pid) for pid in pids)


def test_nothing_starts_on_a_taken_port(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", settings.port)),
        pytest.raises(PortTakenError, match=f"127.0.0.1:{settings.port}: it is in use"),
        Supervisor(settings),
    ):
        pass
    assert running_service.find(settings.home) is None


def test_nothing_starts_without_a_database(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the log file."""
    monkeypatch.setenv("GRADNOISE_DATABASE_URL", "sqlite:////proc/no/such/folder/gradnoise.db")
    with (
        pytest.raises(DatabaseNotPreparedError, match="cannot be prepared") as caught,
        Supervisor(settings),
    ):
        pass
    assert caught.value.log_file is not None
    assert caught.value.log_file.exists()
