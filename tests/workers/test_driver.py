"""A driver prepares, measures and describes a study before its first trial.

It waits for devices and for the code with which the study started.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dispatcher_runs import WAIT_SECONDS, make_dispatcher, read, running, submit, until
from formula_launcher import FormulaLauncher
from gradnoise.training.calibration import Rate
from gradnoise.training.trial import TrialSpec
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.devices import DeviceChoice, Devices
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Study
from gradnoise_service.report.protocol import protocol
from gradnoise_service.report.words.rehearsal import known_limits
from gradnoise_service.search import Storage
from gradnoise_service.store import studies, verbs
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import StudyRow
from gradnoise_workers import driver as driver_module
from gradnoise_workers.launcher import Launcher, LauncherEvent, NoDeviceError

Make = Callable[..., StudySpec]
FAULT = "Node a (10.0.0.1) offers GPU 0 to Ray, but it is not used: it was lost."


class Losing(FormulaLauncher):
    """Loses its only device after some epochs."""

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        if self.device_faults:
            raise NoDeviceError("gpu", self.device_faults)
        self.device_faults = (FAULT,)
        return super().events(timeout_seconds)


def test_a_study_keeps_its_devices_and_waits_with_the_reason_while_they_are_gone(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    lost = Losing()
    launchers: list[FormulaLauncher] = [lost, FormulaLauncher(device_faults=(FAULT,))]
    opened: list[DeviceChoice] = []

    def open_launcher(study: Study, _source: Source | None) -> Launcher:
        opened.append(study.devices)
        return launchers[len(opened) - 1]

    found = [Devices(n_cores=2)]
    dispatcher = make_dispatcher(database, storage, FormulaLauncher, devices=lambda: found[-1])
    dispatcher.driver = replace(dispatcher.driver, open_launcher=open_launcher)
    study = submit(database, make_spec())

    def run_round() -> None:
        dispatcher.run_round()
        dispatcher.join()

    run_round()
    waiting = read(database, study)
    assert (waiting.state, waiting.devices) == ("running", "cpu")
    assert waiting.error == (f"The study waits: the workers have no GPU that it can use. {FAULT}")
    found.append(Devices(n_gpus=1))  # it started on cores
    run_round()
    assert opened == ["auto"]
    found.append(Devices(n_gpus=1, n_cores=1))
    run_round()
    assert opened == ["auto", "cpu"]
    ended = read(database, study)
    assert (ended.state, ended.error) == ("complete", None)
    assert ended.protocol["device"] == "2 x formula"
    assert FAULT in known_limits(ended)


def test_a_study_whose_arm_cannot_be_trained_fails_once_before_its_first_trial(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    launcher = FormulaLauncher(faults={"arms.1": "ValueError: rate must be below 1, but got 2"})
    study = submit(database, make_spec())
    with running(database, storage, lambda: launcher):
        until(lambda: read(database, study).has_ended)
    ended = read(database, study)
    assert ended.state == "failed"
    assert str(ended.error).endswith("arms.1 (noisy): ValueError: rate must be below 1, but got 2")
    assert launcher.admitted == []


def test_the_untrained_model_is_measured_once_on_the_first_confirm_seeds(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    """Its best finite value on test is stored, also for an extension; here no run exceeds it."""
    study = submit(database, make_spec(confirm={"n_seeds": 7}))
    seeds = [study.design.seed("confirm", "baseline", i) for i in range(5)]
    values = dict(zip(seeds, [0.1, 0.95, 0.2, math.inf, math.nan], strict=True))
    measured: list[TrialSpec] = []

    def before(spec: TrialSpec) -> dict[str, float]:
        measured.append(spec)
        return {"validation_accuracy": 0.0, "test_accuracy": values[spec.seed]}

    for n_extra in (0, 2):
        if n_extra:
            with database.session(write=True) as session:
                now = datetime.now(UTC)
                studies.extend(session, study.id, "ada", n_extra, max_trials=99, now=now)
        with running(database, storage, lambda: FormulaLauncher(before=before)):
            until(lambda: read(database, study).has_ended)
        after = read(database, study)
        assert after.protocol["untrained"] == {"best": 0.95, "n_seeds": 3}
        assert after.comparison is not None
        (difference,) = after.comparison["differences"]  # type: ignore[misc]  # plain values
        assert difference["no_verdict"]["kind"] == "neither_learned"
        assert difference["n"] == 7 + n_extra
    assert [(spec.seed, spec.with_test, spec.techniques) for spec in measured] == [
        (seed, True, ("none",)) for seed in seeds
    ]


@pytest.mark.parametrize(
    ("slots", "opened", "expected"),
    [
        (0, 2, "2 trials as one model on each worker: 100 updates a second with 1, 150 with 2"),
        (5, 5, "5 trials as one model on each worker: as configured"),
        pytest.param(
            1, 1, "one trial at a time on each worker: as configured", marks=pytest.mark.slow
        ),
    ],
)
def test_slots_are_measured_or_configured_and_reported(
    database: Database, storage: Storage, make_spec: Make, slots: int, opened: int, expected: str
) -> None:
    launcher = FormulaLauncher()
    study = submit(database, make_spec())
    with running(database, storage, lambda: launcher, slots=slots):
        until(lambda: read(database, study).has_ended)
    assert launcher.opened == [opened]
    assert bool(launcher.measured) == (slots == 0)
    comparison = read(database, study).comparison
    assert comparison is not None
    assert dict(protocol(Comparison.model_validate(comparison)))["stacking"] == expected


@pytest.mark.slow
def test_a_dispatcher_stopped_during_a_measurement_releases_its_study(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    measuring = threading.Event()

    class Endless(FormulaLauncher):
        def measure(
            self,
            probe: TrialSpec,
            slots: int,
            before: Rate | None,
            n_forms: int,
            check_interrupt: Callable[[], None],
        ) -> Rate:
            measuring.set()
            while True:
                check_interrupt()

    with running(database, storage, Endless, slots=0):
        assert measuring.wait(WAIT_SECONDS)
    # a released study is due at once
    with running(database, storage, FormulaLauncher, slots=0):
        until(lambda: read(database, study).has_ended)
    assert read(database, study).state == "complete"


def test_a_study_waits_while_its_code_is_not_that_of_its_start(
    database: Database, storage: Storage, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on where changed code is marked in the report, or if its retry accepts it."""
    installed = {"workload mlp": "old"}
    monkeypatch.setattr(driver_module, "part_hashes", lambda _spec, _source: dict(installed))
    study = submit(database, make_spec())
    with running(database, storage, lambda: FormulaLauncher(slots=1)) as stop:
        until(lambda: bool(read(database, study).protocol))
        stop.set()
    installed["workload mlp"] = "new"
    dispatcher = make_dispatcher(database, storage, FormulaLauncher, lease=timedelta(0))
    for _ in range(4):  # more rounds than a crashing study has
        dispatcher.run_round()
        dispatcher.join()
    held = read(database, study)
    assert (held.state, held.error) == (
        "running",
        str(driver_module.CodeChangedError(["workload mlp"])),
    )
    marking = make_dispatcher(database, storage, FormulaLauncher, marks_changed_code=True)
    marking.run_round()
    marking.join()
    ended = read(database, study)
    assert (ended.state, ended.error) == ("complete", None)
    assert ended.protocol["changed_code"] == ["workload mlp"]
    assert ended.protocol["code_of"] == installed
    installed["workload mlp"] = "newer"
    with database.session(write=True) as session:
        session.get_one(StudyRow, study.id).state = "failed"
        verbs.retry(session, study.id, None, datetime.now(UTC), accepts_changed_code=True)
    dispatcher.run_round()
    dispatcher.join()
    assert read(database, study).protocol["code_of"] == installed
    assert read(database, study).state == "complete"
