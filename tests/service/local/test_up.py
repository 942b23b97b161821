"""`gradnoise up` with real processes, a real Ray and a real study."""

import os
import pty
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gradnoise_service.client import Client
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local import ports
from processes import has_ended, with_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COMMAND = [str(Path(sys.executable).parent / "gradnoise")]


def up_command(home: Path, port: int) -> list[str]:
    dashboard_port = ports.free("127.0.0.1", exclude=frozenset({port}))
    options = {"--home": home, "--port": port, "--dashboard-port": dashboard_port}
    return [*COMMAND, "up", *(str(part) for option in options.items() for part in option)]


class Up:
    """`gradnoise up` in a process."""

    def __init__(self, home: Path) -> None:
        port = ports.free("127.0.0.1")
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            up_command(home, port),
            env=os.environ | {"PYTHONIOENCODING": "latin-1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="latin-1",
        )
        self.printed = ""

    def until(self, text: str) -> str:
        """Return the next line of output that contains a text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if text in line:
                return line
        raise AssertionError(f"{text!r} was not printed, but:\n{self.printed}")

    def processes(self) -> dict[int, str]:
        """Return the command lines of all its processes by id."""
        return with_environment(f"GRADNOISE_HOME={self.home}")

    def pid(self, text: str) -> int:
        """Return the process of a module, or the first with a text in its command."""
        module = f"gradnoise_service.local.tether {text}"
        running = self.processes()
        found = [pid for pid, command in running.items() if module in command]
        return (found or [pid for pid, command in running.items() if text in command])[0]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def up(tmp_path: Path, user_folder: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """Ready to take studies; started in a folder whose files have the names of modules."""
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    service = Up(tmp_path / "home")
    service.until("Ready: ")
    yield service
    service.close()


@pytest.fixture
def small(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """A real study that trains for a second."""
    return make_spec(
        options={"dataset": "digits", "depth": 1, "width": 4},
        search={"n_trials": 4, "epochs": 2, "sampler": "random"},
        confirm={"n_seeds": 3},
    )


def test_study_survives_killed_processes_and_ctrl_c_leaves_no_process(
    up: Up, small: StudySpec
) -> None:
    """Ray and the API are killed in a study: they and the dispatcher restart, and it completes.

    The output goes on, although its encoding lacks the line between name and text.
    """
    with Client(up.url) as client:
        study = client.submit(small)
        events = client.watch(study.id)
        next(events)
        for process in ("/raylet/raylet", "gradnoise_service.app"):
            os.kill(up.pid(process), signal.SIGKILL)
            up.until("restarting it")
            up.until("study acquired" if process != "gradnoise_service.app" else "Uvicorn running")
        assert list(events)[-1].state == "complete"
        assert up.until("study complete").startswith("  workers ? ")
        trials = list(client.trials(study.id))
        assert Counter((trial.phase, trial.arm) for trial in trials) == {
            ("search", "baseline"): 4,
            ("search", "noisy"): 4,
            ("rerun", "baseline"): 9,
            ("rerun", "noisy"): 9,
            ("confirm", "baseline"): 3,
            ("confirm", "noisy"): 3,
        }
        assert all(trial.state == "complete" for trial in trials)
        assert client.report(study.id, "html").lstrip().lower().startswith("<!doctype html")
    running = up.processes()
    assert any("raylet" in command for command in running.values())
    up.process.send_signal(signal.SIGINT)
    up.process.communicate(timeout=60)  # reads the output, so that a full pipe blocks no process
    assert up.process.returncode == 0
    assert [command for pid, command in running.items() if not has_ended(pid)] == []


def test_no_process_outlives_a_killed_service(up: Up) -> None:
    """After kill -9 of `gradnoise up`, API, dashboard, dispatcher and Ray end by themselves.

    So do those of them that are stopped.
    """
    running = up.processes()
    ours = ("raylet", "gradnoise_service.local.tether")
    found = [pid for pid, text in running.items() if any(name in text for name in ours)]
    assert len(found) >= 4
    for pid in found:
        os.kill(pid, signal.SIGSTOP)
    up.process.kill()
    assert [command for pid, command in running.items() if not has_ended(pid)] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_the_service_starts_is_no_error(
    number: signal.Signals, tmp_path: Path
) -> None:
    service = Up(tmp_path / "home")
    with closing(service):
        while not service.processes().keys() - {service.process.pid}:
            assert service.process.poll() is None
        running = service.processes()
        service.process.send_signal(number)
        service.process.communicate(timeout=60)
        assert service.process.returncode == 0
        assert [command for pid, command in running.items() if not has_ended(pid)] == []


def test_crash_loop_ends_the_service_with_the_last_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds in a background job of a shell too, where SIGINT is ignored."""
    (tmp_path / "ray.py").write_text("raise ImportError('this Ray is broken')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    home = tmp_path / "home"
    command = up_command(home, ports.free("127.0.0.1"))
    in_background = ["sh", "-c", '"$@" & wait $!', "sh", *command]
    done = subprocess.run(in_background, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The process 'workers' ended 5 times in a row" in done.stderr
    assert "ImportError: this Ray is broken" in done.stderr
    assert with_environment(f"GRADNOISE_HOME={home}") == {}


def test_closed_terminal_ends_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output has nowhere to go, and every process ends all the same."""
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    home, port = tmp_path / "home", ports.free("127.0.0.1")
    pid, terminal = pty.fork()
    if pid == 0:
        command = up_command(home, port)
        os.execv(command[0], command)
    printed = b""
    while b"Ready: " not in printed:
        printed += os.read(terminal, 65536)
    running = with_environment(f"GRADNOISE_HOME={home}")
    assert len(running) >= 4
    os.close(terminal)
    assert has_ended(pid)
    os.waitpid(pid, 0)
    assert [command for other, command in running.items() if not has_ended(other)] == []
