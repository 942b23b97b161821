"""The whole service with real processes: a worker is killed in the search, the dispatcher later.

The study ends with exactly its declared trials.
"""

import os
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from typer.testing import CliRunner

from gradnoise_service.cli.app import app
from gradnoise_service.domain.study import Trial
from gradnoise_service.search import open_storage
from gradnoise_service.store import measurements, trials
from gradnoise_service.store.database import open_database
from service_up import Up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPEC = {
    "name": "survivor",
    "workload": "mlp",
    "options": {"dataset": "digits", "depth": 2, "width": 16, "init": "he"},
    "smallest_difference": 0.02,
    "space": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
    "search": {
        "n_trials": 8,
        "repeats": 1,
        "epochs": 300,
        "lag": 7,
        "pruner": {"name": "median", "startup_trials": 2, "warmup_epochs": 200, "every_epochs": 50},
        "rerun": {"n_seeds": 0},
    },
    "confirm": {"n_seeds": 6},
    "seed": 3,
}
N_TRIALS = {"search": 16, "confirm": 12}


def is_in_the_middle(up: Up, phase: str) -> bool:
    """Return whether all trials of the phase are training, so that every worker holds some."""
    page: Any = up.get(f"/v1/studies/1/trials?state=running&phase={phase}")
    running = page["items"]
    return len(running) == N_TRIALS[phase] and all(trial["epochs"] >= 5 for trial in running)


def victim(up: Up, kind: str) -> int:
    """Return the process id of a process of this kind."""
    pattern = {
        "dispatcher": "gradnoise_service.local.tether gradnoise_workers",
        "actor": "ray::TrialActor",
    }[kind]
    return next(pid for pid, command in up.processes().items() if pattern in command)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_study_survives_kill_9(up: Up, database_url: str) -> None:
    assert up.get("/v1/studies", SPEC)["id"] == 1
    for phase, kind in (("search", "actor"), ("confirm", "dispatcher")):
        up.until(lambda phase=phase: is_in_the_middle(up, phase), f"the middle of the {phase}")  # type: ignore[misc]
        os.kill(victim(up, kind), signal.SIGKILL)
    up.until(
        lambda: up.get("/v1/studies/1")["state"] not in ("queued", "running"),
        "the end of the study",
    )
    assert up.get("/v1/studies/1")["state"] == "complete", up.tail()
    assert_exactly_as_declared(database_url)
    assert_nothing_was_trained_twice(database_url)
    verification = CliRunner().invoke(
        app, ["verify", "1", "--trials", "3", "--url", f"http://127.0.0.1:{up.port}"]
    )
    assert verification.exit_code == 0, verification.output
    assert verification.stdout.count("identical") == 3
    page: Any = up.get("/v1/studies/1/trials?phase=confirm")
    kept = {f"{trial['id']}.pt" for trial in page["items"]}  # so that it can be extended by epochs
    checkpoints = up.home / "checkpoints"
    up.until(
        lambda: {path.name for path in checkpoints.rglob("*.pt")} == kept,
        "the removal of the other checkpoints",
    )


def assert_exactly_as_declared(database_url: str) -> None:
    """Assert that every declared trial ended, and that Optuna holds the same trials and values."""
    database = open_database(database_url)
    with database.session() as session:
        table = trials.of_study(session, 1)
    database.dispose()
    counts = Counter((trial.phase, trial.arm) for trial in table)
    assert counts == {
        ("search", "baseline"): 8,
        ("search", "noisy"): 8,
        ("confirm", "baseline"): 6,
        ("confirm", "noisy"): 6,
    }
    assert {trial.state for trial in table} <= {"complete", "pruned"}
    storage = open_storage(database_url)
    for name, n in (("baseline", 8), ("noisy", 8), ("confirm phase", 12)):
        recorded = optuna.load_study(study_name=f"survivor (1) · {name}", storage=storage).trials
        declared = [
            trial
            for trial in table
            if name == (trial.arm if trial.phase == "search" else f"{trial.phase} phase")
        ]
        assert len(recorded) == n
        assert all(trial.state.is_finished() for trial in recorded)
        assert values_of(recorded) == values_of(declared)
    storage.remove_session()
    storage.engine.dispose()


def values_of(trials_found: Sequence[FrozenTrial | Trial]) -> list[float]:
    return sorted(trial.value for trial in trials_found if trial.value is not None)


def assert_nothing_was_trained_twice(database_url: str) -> None:
    """Assert that every attempt continued from the checkpoint of the previous attempt.

    A trial's device time is then the sum over its measurements, each counted once.
    """
    database = open_database(database_url)
    with database.session() as session:
        table = trials.of_study(session, 1)
        resumed = {trial.phase for trial in table if trial.n_attempts > 1}
        assert resumed == {"search", "confirm"}
        for trial in table:
            measured = sum(row.seconds for row in measurements.of_trial(session, trial.id))
            assert trial.device_seconds == pytest.approx(measured, rel=1e-6), (
                f"trial {trial.id} of {trial.n_attempts} attempts"
            )
    database.dispose()
