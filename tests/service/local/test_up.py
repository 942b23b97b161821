"""The whole service on this machine, as `gradnoise up` and `gradnoise demo` run it: real processes,
a real Ray, a real study.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradnoise_service import ports
from gradnoise_service.client import Client
from gradnoise_service.domain.spec import StudySpec
from processes import has_ended, with_environment

COMMAND = [sys.executable, "-c", "from gradnoise_service.cli import main; main()"]


class Up:
    """`gradnoise up` in a process of its own, ready to take studies."""

    def __init__(self, home: Path) -> None:
        port = ports.free("127.0.0.1")
        dashboard_port = ports.free("127.0.0.1", besides=frozenset({port}))
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        arguments = [
            "up",
            "--home",
            str(home),
            "--port",
            str(port),
            "--dashboard-port",
            str(dashboard_port),
        ]
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.printed = ""
        self.until("Ready: ")

    def until(self, text: str) -> str:
        """Return the next line that it prints with this text in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never printed, but:\n{self.printed}")

    def processes(self) -> dict[int, str]:
        """Everything that runs because of it, by process."""
        return with_environment(f"GRADNOISE_HOME={self.home}")

    def pid(self, module: str) -> int:
        return next(
            pid
            for pid, command in self.processes().items()
            if command.endswith(f"gradnoise_service.tether {module}")
        )

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    service = Up(tmp_path / "home")
    yield service
    service.close()


@pytest.fixture
def small(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """A real study that trains for a second."""
    options = {"dataset": "digits", "depth": 1, "width": 4}
    return make_spec(
        options=options,
        search={"n_trials": 4, "epochs": 2, "sampler": "random"},
        confirm={"n_seeds": 3},
    )


@pytest.mark.ray
def test_a_study_survives_what_dies_under_it_and_nothing_is_left_at_the_end(
    up: Up, small: StudySpec
) -> None:
    """API and dispatcher are killed while a study runs: both come back, the study completes, and
    after Ctrl-C no process remains.
    """
    with Client(up.url) as client:
        study = client.submit(small)
        news = client.watch(study.id)
        next(news)
        for module in ("gradnoise_workers", "gradnoise_service.app"):
            os.kill(up.pid(module), signal.SIGKILL)
            up.until("starting it again")
        assert list(news)[-1].state == "complete"
        trials = list(client.trials(study.id))
        assert {
            (trial.phase, trial.arm): sum(
                one.arm == trial.arm and one.phase == trial.phase for one in trials
            )
            for trial in trials
        } == {
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
    assert up.process.wait(60) == 0
    assert [command for pid, command in running.items() if not has_ended(pid)] == []


@pytest.mark.ray
def test_nothing_outlives_a_killed_service(up: Up) -> None:
    """kill -9 of `gradnoise up` itself: API, dashboard, dispatcher and Ray end by themselves."""
    running = up.processes()
    assert (
        sum(
            "raylet" in command or "gradnoise_service.tether" in command
            for command in running.values()
        )
        >= 4
    )
    up.process.kill()
    assert [command for pid, command in running.items() if not has_ended(pid)] == []


def test_a_service_that_cannot_run_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that keeps dying ends the whole with its last words; also in the background of a
    shell, where Ctrl-C is ignored.
    """
    (tmp_path / "ray.py").write_text("raise ImportError('this Ray is broken')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    home, port = tmp_path / "home", ports.free("127.0.0.1")
    dashboard_port = ports.free("127.0.0.1", besides=frozenset({port}))
    arguments = [
        "up",
        "--home",
        str(home),
        "--port",
        str(port),
        "--dashboard-port",
        str(dashboard_port),
    ]
    in_background = ["sh", "-c", '"$@" & wait $!', "sh", *COMMAND, *arguments]
    done = subprocess.run(in_background, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The process 'workers' ended 5 times in a row" in done.stderr
    assert "ImportError: this Ray is broken" in done.stderr
    assert with_environment(f"GRADNOISE_HOME={home}") == {}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_the_demonstration_runs_from_start_to_end(tmp_path: Path) -> None:
    """On other ports than those that are taken, with a verdict, a report and nothing left behind."""
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ["demo", "--home", str(home), "--port", str(taken.getsockname()[1])]
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Taking port" in done.stderr
    assert re.search(
        r"^verdict\t(helps|hurts|no_difference|undecided)\t", done.stdout, re.MULTILINE
    )
    assert (
        (home / "reports" / "demo.html")
        .read_text(encoding="utf-8")
        .lstrip()
        .lower()
        .startswith("<!doctype html")
    )
    assert with_environment(f"GRADNOISE_HOME={home}") == {}
