"""The whole service, with real processes: whatever is killed in the middle of a study, the study ends with exactly its declared trials."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from processes import has_ended, with_environment

from service import ports
from service.search import open_storage
from service.store import measurements, trials
from service.store.database import open_database

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

SPEC = {
    "name": "survivor",
    "workload": "mlp",
    "options": {"dataset": "digits", "depth": 2, "width": 16, "init": "he"},
    "smallest_difference": 0.02,
    "space": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
    "search": {
        "n_trials": 8,
        "epochs": 300,
        "pruner": {"name": "median", "startup_trials": 2, "warmup_epochs": 200, "every_epochs": 50},
        "rerun": {"n_seeds": 0},
    },
    "confirm": {"n_seeds": 6},
    "seed": 3,
}
N_TRIALS = {"search": 16, "confirm": 12}


class Up:
    """`gradnoise up` in a folder of its own, and what a test does to it."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.port = ports.free("127.0.0.1")
        dashboard_port = ports.free("127.0.0.1", besides=frozenset({self.port}))
        self.home = home
        environment = {
            **os.environ,
            "GRADNOISE_HOME": str(home),
            "GRADNOISE_DATABASE_URL": database_url,
            "GRADNOISE_LEASE_SECONDS": "4",
            "GRADNOISE_CHECKPOINT_SECONDS": "0",
            "GRADNOISE_SLOTS": "16",
            "GRADNOISE_PORT": str(self.port),
            "GRADNOISE_DASHBOARD_PORT": str(dashboard_port),
        }
        self.log = (home / "up.log").open("wb")
        command = [str(Path(sys.executable).parent / "gradnoise"), "up"]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=subprocess.STDOUT, cwd=home)

    def get(self, path: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
        """Poll the service from outside, as a user would; a service that does not answer has not met the condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.tail()
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.1)
        pytest.fail(f"{what} did not happen within {seconds:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        return (self.home / "up.log").read_text(errors="replace")[-4000:]

    def is_in_the_middle(self, phase: str) -> bool:
        """Whether all trials of the phase train, so that whichever worker is killed holds some."""
        running: list[dict[str, int]] = self.get(f"/v1/studies/1/trials?state=running&phase={phase}")["items"]  # type: ignore[assignment]
        return len(running) == N_TRIALS[phase] and all(trial["epochs"] >= 5 for trial in running)

    def victim(self, kind: str) -> int:
        words = {"dispatcher": "service.tether workers", "api": "service.tether service.app", "actor": "ray::TrialActor"}[kind]
        return next(pid for pid, command in self.processes().items() if words in command)

    def processes(self) -> dict[int, str]:
        return with_environment(f"GRADNOISE_HOME={self.home}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@pytest.fixture
def up(tmp_path: Path, database_url: str) -> Iterator[Up]:
    service = Up(tmp_path, database_url)
    try:
        service.until(lambda: bool(service.get("/readyz")["ready"]), "getting ready")
        yield service
        running = service.processes()
        service.stop()
        assert [command for pid, command in running.items() if not has_ended(pid)] == []
    finally:
        service.process.kill()
        service.process.wait()
        service.log.close()


@pytest.mark.parametrize("kind", ["dispatcher", "actor", "api"])
def test_a_study_survives_kill_9(up: Up, database_url: str, kind: str) -> None:
    assert up.get("/v1/studies", SPEC)["id"] == 1
    for phase in ("search", "confirm"):
        up.until(lambda phase=phase: up.is_in_the_middle(phase), f"the middle of the {phase}")  # type: ignore[misc]
        os.kill(up.victim(kind), signal.SIGKILL)
    up.until(lambda: up.get("/v1/studies/1")["state"] not in ("queued", "running"), "the end of the study")
    assert up.get("/v1/studies/1")["state"] == "complete", up.tail()
    assert_exactly_as_declared(database_url)
    assert_nothing_was_trained_twice(database_url, is_resumed=kind != "api")
    up.until(lambda: list((up.home / "checkpoints").glob("*")) == [], "the removal of its checkpoints")


def assert_exactly_as_declared(database_url: str) -> None:
    database = open_database(database_url)
    with database.session() as session:
        table = trials.table(session, 1)
    database.dispose()
    counts = Counter((trial.phase, trial.arm) for trial in table)
    assert counts == {("search", "baseline"): 8, ("search", "noisy"): 8, ("confirm", "baseline"): 6, ("confirm", "noisy"): 6}
    assert {trial.state for trial in table} <= {"complete", "pruned"}
    storage = open_storage(database_url)
    for name, n in (("baseline", 8), ("noisy", 8), ("confirm", 12)):
        told = optuna.load_study(study_name=f"survivor · {name}", storage=storage).trials
        ours = [trial for trial in table if name == ("confirm" if trial.phase == "confirm" else trial.arm)]
        assert len(told) == n
        assert all(trial.state.is_finished() for trial in told)
        values = [sorted(trial.value for trial in trials_of if trial.value is not None) for trials_of in (told, ours)]
        assert values[0] == values[1]
    storage.remove_session()
    storage.engine.dispose()


def assert_nothing_was_trained_twice(database_url: str, is_resumed: bool) -> None:
    """Every epoch that was told of cost its time once, however many attempts the trial took: each went on where the last one stood."""
    database = open_database(database_url)
    with database.session() as session:
        table = trials.table(session, 1)
        assert {trial.phase for trial in table if trial.n_attempts > 1} == ({"search", "confirm"} if is_resumed else set())
        for trial in table:
            told = sum(row.seconds for row in measurements.of_trial(session, trial.id))
            assert trial.device_seconds == pytest.approx(told, rel=1e-6), f"trial {trial.id} of {trial.n_attempts} attempts"
    database.dispose()
