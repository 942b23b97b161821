"""A driver stores where a study trains, and a dispatcher releases one that finds no device."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from formula_launcher import FormulaLauncher
from gradnoise_service.domain.devices import DeviceChoice, Devices
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.report.words.rehearsal import known_limits
from gradnoise_service.search import Storage
from gradnoise_service.store import studies
from gradnoise_service.store.database import Database
from gradnoise_workers.dispatcher import Dispatcher
from gradnoise_workers.driver import Driver
from gradnoise_workers.launcher import Launcher, LauncherEvent, NoDeviceError

FAULT = "Node a (10.0.0.1) offers GPU 0 to Ray, but it is not used: it was lost."


class Losing(FormulaLauncher):
    """Loses its only device after some epochs."""

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        if self.device_faults:
            raise NoDeviceError("gpu", self.device_faults)
        self.device_faults = (FAULT,)
        return super().events(timeout_seconds)


def test_a_study_keeps_its_devices_and_waits_with_the_reason_while_they_are_gone(
    database: Database, storage: Storage, make_spec: Callable[..., StudySpec]
) -> None:
    lost = Losing()
    launchers: list[FormulaLauncher] = [lost, FormulaLauncher(device_faults=(FAULT,))]
    opened: list[DeviceChoice] = []

    def open_launcher(study: Study, _source: Source | None) -> Launcher:
        opened.append(study.devices)
        return launchers[len(opened) - 1]

    def now() -> datetime:
        return datetime.now(UTC)

    lease = timedelta(seconds=30)
    driver = Driver(
        database=database,
        storage=storage,
        open_launcher=open_launcher,
        slots=3,
        protocol={"formula": "f", "versions": {"gradnoise": "1", "torch": "2"}},
        lease=lease,
        now=now,
    )
    found = [Devices(n_cores=2)]
    dispatcher = Dispatcher(
        id="d",
        database=database,
        storage=storage,
        driver=driver,
        checkpoints=Path("nowhere"),
        devices=lambda: found[-1],
        lease=lease,
        concurrent_studies=1,
        now=now,
    )
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now())

    def run_round() -> None:
        dispatcher.run_round()
        dispatcher.join()

    run_round()
    with database.session() as session:
        waiting = studies.get(session, study.id, None)
    assert (waiting.state, waiting.devices) == ("running", "cpu")
    assert waiting.error == (f"The study waits: the workers have no GPU that it can use. {FAULT}")
    found.append(Devices(n_gpus=1))  # it started on cores
    run_round()
    assert opened == ["auto"]
    found.append(Devices(n_gpus=1, n_cores=1))
    run_round()
    assert opened == ["auto", "cpu"]
    with database.session() as session:
        ended = studies.get(session, study.id, None)
    assert (ended.state, ended.error) == ("complete", None)
    assert ended.protocol["device"] == "2 x formula"
    assert FAULT in known_limits(ended)
