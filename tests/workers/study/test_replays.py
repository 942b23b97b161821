"""Attempts that are repeated: a lost worker, and epochs that an earlier attempt measured."""

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from formula_launcher import FormulaLauncher
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import LauncherEvent, WorkerLost
from study_runs import (
    assert_exactly_as_declared,
    finish,
    read,
    start,
    submit,
)

Make = Callable[..., StudySpec]


def test_a_lost_worker_costs_each_trial_one_attempt(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    lost: set[int] = set()

    def override(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
        if epoch == 2 and spec.seed not in lost:
            lost.add(spec.seed)
            return WorkerLost(key=spec.key, reason="killed")
        return None

    finish(start(database, storage, FormulaLauncher(override=override), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert {trial.state for trial in table} == {"complete"}
    assert sum(trial.n_attempts - 1 for trial in table) == len(lost)


@pytest.mark.slow
def test_a_replayed_attempt_counts_each_epoch_once_at_no_cost(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """A trial whose worker is lost after epoch 2 replays its epochs at no cost.

    It is pruned or completed as in a study without the loss.
    """
    pruner = {"name": "median", "startup_trials": 2}
    study = submit(
        database,
        make_spec(search={"n_trials": 6, "epochs": 4, "sampler": "random", "pruner": pruner}),
        now,
    )
    undisturbed = submit(
        database, make_spec(name="undisturbed", search=study.spec.search.model_dump()), now
    )
    trained: dict[str, int] = {}

    class Resuming(FormulaLauncher):
        def train(self, key: str, spec: TrialSpec) -> Iterator[LauncherEvent]:
            for event in super().train(key, spec):
                replayed = isinstance(event, Measurement) and event.epoch <= trained.get(
                    spec.checkpoint, 0
                )
                if isinstance(event, Measurement):
                    trained[spec.checkpoint] = max(event.epoch, trained.get(spec.checkpoint, 0))
                # a measurement
                yield dataclasses.replace(event, seconds=0.0) if replayed else event  # type: ignore[type-var]

    lost: set[str] = set()

    def override(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
        if epoch == 3 and spec.checkpoint not in lost:
            lost.add(spec.checkpoint)
            return WorkerLost(key=spec.key, reason="killed")
        return None

    finish(start(database, storage, Resuming(slots=1, override=override), now))
    finish(start(database, storage, FormulaLauncher(slots=1), now))
    (_, table), (_, expected) = read(database, study), read(database, undisturbed)
    assert lost
    assert {spec.split("/")[0] for spec in lost} == {str(study.id)}
    assert [(trial.state, trial.value, trial.epochs, trial.device_seconds) for trial in table] == [
        (trial.state, trial.value, trial.epochs, trial.device_seconds) for trial in expected
    ]
    assert sum(trial.n_attempts - 1 for trial in table) == len(lost)


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2))]
)
def test_a_replayed_rung_is_not_decided_again(
    database: Database, storage: Storage, make_spec: Make, now: datetime, number: int
) -> None:
    """A trial is lost beyond its rungs and replays them after the others have ended.

    The results of the others do not prune it at a rung that it has passed.
    """
    pruner = {"name": "median", "startup_trials": 2}
    study = submit(
        database,
        make_spec(search={"n_trials": 4, "epochs": 6, "sampler": "random", "pruner": pruner}),
        now,
    )
    seed, lost = study.design.seed("search", "noisy", number), []

    def override(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
        if (spec.seed, spec.techniques, epoch) == (seed, ("none",), 5) and not lost:
            lost.append(spec.key)
            return WorkerLost(key=spec.key, reason="killed")
        return None

    finish(start(database, storage, FormulaLauncher(slots=8, override=override), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    [resumed] = [trial for trial in table if trial.n_attempts == 2]
    assert resumed.epochs >= 4
