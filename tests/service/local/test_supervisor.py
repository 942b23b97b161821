"""The supervisor runs real processes: it starts, restarts, logs and stops them, and none outlives
it.
"""

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gradnoise_service import ports
from gradnoise_service.ports import PortTakenError
from gradnoise_service.settings import Settings
from gradnoise_service.supervisor import (
    AlreadyRunningError,
    CrashLoopError,
    DatabaseNotPreparedError,
    Patience,
    Role,
    Supervisor,
    running,
)
from processes import WAIT_SECONDS, has_ended

MODULES = {
    "obedient": """
        import os, signal, sys
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("obedient stops")))
        print("obedient", os.getpid(), os.environ["GRADNOISE_PORT"])
        while True:
            signal.pause()
    """,
    "stubborn": """
        import os, signal, subprocess, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        helper = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"])
        print("stubborn", os.getpid(), helper.pid)
        while True:
            signal.pause()
    """,
    "dying": """
        import sys
        print("dying with a last word")
        sys.exit(7)
    """,
}
QUICK = Patience(n_deaths=3, first_pause=timedelta(seconds=0.01))


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a migrated database, and small modules that can be run in it."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "gradnoise.db")
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    return home


@pytest.fixture
def settings(home: Path) -> Settings:
    port = ports.free("127.0.0.1")
    return Settings(
        home=home, port=port, dashboard_port=ports.free("127.0.0.1", besides=frozenset({port}))
    )


class Lines:
    """What the processes print, to be waited for."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[str, str]] = queue.Queue()

    def __call__(self, name: str, line: str) -> None:
        self.queue.put((name, line))

    def until(self, start: str) -> str:
        """Return the next line that starts so."""
        while True:
            _, line = self.queue.get(timeout=WAIT_SECONDS)
            if line.startswith(start):
                return line


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_processes_get_the_settings_and_stop_in_order(settings: Settings, lines: Lines) -> None:
    """Each learns its port from its environment, and is asked to stop at the end, the last started
    first.
    """
    with Supervisor(
        settings,
        echo=lines,
        roles=[Role(name="first", module="obedient"), Role(name="second", module="obedient")],
    ) as service:
        started = [lines.until("obedient ") for _ in range(2)]
        assert {line.split()[2] for line in started} == {str(settings.port)}
        assert running(service.home) == {
            "pid": os.getpid(),
            "url": f"http://127.0.0.1:{settings.port}",
        }
    stopped = [lines.queue.get(timeout=WAIT_SECONDS) for _ in range(2)]
    assert stopped == [("second", "obedient stops"), ("first", "obedient stops")]
    assert all(has_ended(int(line.split()[1])) for line in started)
    assert running(service.home) is None


def test_what_processes_print_is_kept(settings: Settings, lines: Lines) -> None:
    """Each process has a log file of its own in the home folder."""
    with Supervisor(settings, echo=lines, roles=[Role(name="first", module="obedient")]):
        line = lines.until("obedient ")
    lines.until("obedient stops")
    assert (settings.home / "logs" / "first.log").read_text(encoding="utf-8").splitlines()[
        0
    ] == line


def test_a_killed_process_is_started_again(settings: Settings, lines: Lines) -> None:
    """After kill -9 another process takes the role."""
    with Supervisor(
        settings, echo=lines, roles=[Role(name="first", module="obedient")], patience=QUICK
    ):
        pid = int(lines.until("obedient ").split()[1])
        os.kill(pid, signal.SIGKILL)
        assert int(lines.until("obedient ").split()[1]) != pid


def test_a_process_that_keeps_dying_is_given_up(settings: Settings) -> None:
    """After several quick deaths the error names the process, its code and its last words, and
    whoever waits is told.
    """
    told: queue.Queue[None] = queue.Queue()
    supervisor = Supervisor(
        settings,
        on_failure=lambda: told.put(None),
        roles=[Role(name="first", module="dying")],
        patience=QUICK,
    )
    with supervisor as service:
        told.get(timeout=WAIT_SECONDS)
        with pytest.raises(
            CrashLoopError, match=r"'first' ended 3 times in a row .* code 7"
        ) as caught:
            service.check()
    assert caught.value.last_lines == ("dying with a last word",)
    assert caught.value.log_file == settings.home / "logs" / "first.log"


def test_a_process_that_does_not_stop_is_ended_with_its_helpers(
    settings: Settings, lines: Lines
) -> None:
    """After its grace a process is killed, and with it what it has started."""
    with Supervisor(
        settings,
        echo=lines,
        roles=[Role(name="first", module="stubborn", grace=timedelta(seconds=0.2))],
    ):
        pids = [int(pid) for pid in lines.until("stubborn ").split()[1:]]
    assert all(has_ended(pid) for pid in pids)


@contextlib.contextmanager
def another(settings: Settings, module: str) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor in a process of its own, which prints what its processes print."""
    program = f"""
        import threading
        from gradnoise_service.settings import Settings
        from gradnoise_service.supervisor import Role, Supervisor
        roles = [Role(name="first", module={module!r})]
        with Supervisor(Settings(), echo=lambda name, line: print(line, flush=True), roles=roles) as service:
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


def test_no_process_outlives_a_killed_supervisor(settings: Settings) -> None:
    """kill -9 of the supervisor: its processes notice and stop."""
    with another(settings, "obedient") as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline().split()[1])
        supervisor.kill()
        assert has_ended(pid)


def test_a_process_that_will_not_stop_does_not_outlive_it_either(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tethered process that ignores the request to stop is ended after its grace, helpers
    included.
    """
    program = (
        "import gradnoise_service.tether, sys; gradnoise_service.tether.GRACE_SECONDS = 0.2; "
        "gradnoise_service.tether.main()"
    )
    command = [sys.executable, "-c", program, "stubborn"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    pids = [int(pid) for pid in process.stdout.readline().split()[1:]]
    process.stdin.close()
    assert process.wait(WAIT_SECONDS) == -signal.SIGKILL
    assert all(has_ended(pid) for pid in pids)
    process.stdout.close()


def test_a_second_supervisor_of_one_home_is_refused(settings: Settings) -> None:
    """The refusal says which process runs the service, and where."""
    with another(settings, "obedient") as first:
        assert first.stdout is not None
        first.stdout.readline()
        with (
            pytest.raises(
                AlreadyRunningError,
                match=rf"process {first.pid}, at http://127.0.0.1:{settings.port}",
            ),
            Supervisor(settings),
        ):
            pass


def test_a_taken_port_is_named_with_its_holder(settings: Settings) -> None:
    """Nothing is started then."""
    message = rf"127\.0\.0\.1:{settings.port}: it is in use by process {os.getpid()} \("
    with (
        socket.create_server(("127.0.0.1", settings.port)),
        pytest.raises(PortTakenError, match=message),
        Supervisor(settings),
    ):
        pass
    assert running(settings.home) is None


def test_an_address_that_is_not_ours_is_named(settings: Settings) -> None:
    """A host that this machine does not have cannot be listened on."""
    elsewhere = settings.model_copy(update={"host": "no-such-host.invalid"})
    with pytest.raises(PortTakenError, match=r"no-such-host\.invalid"), Supervisor(elsewhere):
        pass


def test_an_unusable_database_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started before the database is ready."""
    monkeypatch.setenv("GRADNOISE_DATABASE_URL", "sqlite:////proc/no/such/folder/gradnoise.db")
    with (
        pytest.raises(DatabaseNotPreparedError, match="cannot be prepared") as caught,
        Supervisor(settings),
    ):
        pass
    assert caught.value.log_file is not None
    assert caught.value.log_file.exists()


def test_pauses_grow_to_a_limit() -> None:
    """Each quick death doubles the pause before the next start, up to the longest."""
    patience = Patience(first_pause=timedelta(seconds=1), longest_pause=timedelta(seconds=5))
    assert [patience.pause(n).total_seconds() for n in (1, 2, 3, 4, 50)] == [1, 2, 4, 5, 5]


@pytest.mark.parametrize("wanted", [lambda taken: taken, lambda taken: 0], ids=["taken", "any"])
def test_a_free_port_is_found(wanted: Callable[[int], int]) -> None:
    """A port that is taken, or reserved for something else, is not given out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        found = ports.free("127.0.0.1", wanted(taken))
        assert found not in (0, taken)
        assert ports.free("127.0.0.1", found, besides=frozenset({found})) != found
