"""Acquires studies and drives each with a StudyRun, a thread a study; settles what cancelled
studies have left open.
"""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage
from gradnoise_service.store import dispatchers, leases, studies, trials
from gradnoise_service.store.calibrations import Calibration
from gradnoise_service.store.database import Database
from gradnoise_service.store.dispatchers import DispatcherInfo
from gradnoise_service.store.leases import Lease
from gradnoise_workers.calibration import calibrated, sentence
from gradnoise_workers.heartbeat import Heartbeat
from gradnoise_workers.launcher import Launcher
from gradnoise_workers.study_run import StudyRun, open_searches

log = structlog.get_logger()

POLL_SECONDS = 0.5
MAX_CRASHES = 3


class StoppedError(Exception):
    """The dispatcher was told to stop."""


@dataclass(kw_only=True)
class Dispatcher:
    """Runs studies until told to stop; any number of dispatchers may share a database.

    Args:
        id: Name of this process among dispatchers, unique.
        database: The service's database.
        storage: Optuna's storage in it.
        open_launcher: Makes the launcher of one study.
        slots: Of each worker; 0 for as many as measure best.
        checkpoints: Folder in which trials keep their state while they train, in a folder of their
            study's id.
        protocol: What is stored with each study, beside the device: formula, clip order, unit of t,
            versions.
        machines: Tells what trials run on, for people, and how many run at once at least; asked
            anew each time, since nodes join and leave.
        lease: How long a study is held without a sign of life.
        concurrent_studies: How many studies run at once.
        now: The clock.
    """

    id: str
    database: Database
    storage: Storage
    open_launcher: Callable[[], Launcher]
    slots: int
    checkpoints: Path
    protocol: Mapping[str, Any]
    machines: Callable[[], tuple[str, int]]
    lease: timedelta
    concurrent_studies: int
    now: Callable[[], datetime]

    def __post_init__(self) -> None:
        self._runs: dict[int, threading.Thread] = {}
        self._crashes: Counter[int] = Counter()
        self._stop = threading.Event()
        self._clear_at = self.now()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then give every study back and return."""
        self._stop = stop
        with Heartbeat(self._announce, self.lease):
            self._announce()
            while not stop.is_set():
                try:
                    self._round()
                except Exception:
                    log.exception("the round failed; trying again")
                stop.wait(POLL_SECONDS)
            for thread in self._runs.values():
                thread.join()
        with self.database.session(write=True) as session:
            dispatchers.withdraw(session, self.id)

    def _announce(self) -> None:
        now = self.now()
        device, n_slots = self.machines()
        info = DispatcherInfo(
            id=self.id, device=device, n_slots=n_slots, acquired_until=now + self.lease
        )
        with self.database.session(write=True) as session:
            dispatchers.announce(session, info, now)

    def _round(self) -> None:
        self._runs = {
            study_id: thread for study_id, thread in self._runs.items() if thread.is_alive()
        }
        self._clear_checkpoints()
        with self.database.session() as session:
            left_open = studies.unsettled(session)
        for study in left_open:
            if study.id not in self._runs:
                self._settle(study)
        while len(self._runs) < self.concurrent_studies:
            with self.database.session(write=True) as session:
                acquired = leases.acquire(session, self.id, self.now(), self.lease)
            if acquired is None:
                break
            study, lease = acquired
            thread = threading.Thread(
                target=self._drive, args=(study, lease), name=f"study-{study.id}"
            )
            self._runs[study.id] = thread
            thread.start()

    def _drive(self, study: Study, lease: Lease) -> None:
        with structlog.contextvars.bound_contextvars(study=study.id, name=study.spec.name):
            log.info("study acquired")
            try:
                self._run_study(study, lease)
            except LeaseLostError:
                log.warning("the study was cancelled, or passed to another dispatcher; letting go")
            except Exception as error:
                self._crashed(study, lease, error)
            self._settle_if_ended(study)

    def _run_study(self, study: Study, lease: Lease) -> None:
        try:
            with (
                closing(self.open_launcher()) as launcher,
                Heartbeat(lambda: self._extend(lease), self.lease) as heartbeat,
            ):
                self._step_through(study, lease, launcher, heartbeat)
        except StoppedError:
            with self.database.session(write=True) as session:
                leases.release(session, lease, self.now())
            log.info("study given back")

    def _step_through(
        self, study: Study, lease: Lease, launcher: Launcher, heartbeat: Heartbeat
    ) -> None:
        def carry_on() -> None:
            heartbeat.check()
            if self._stop.is_set():
                raise StoppedError

        stacking = self._open(study, launcher, carry_on)
        run = StudyRun(
            study,
            lease,
            database=self.database,
            storage=self.storage,
            launcher=launcher,
            protocol={**self.protocol, "device": self.machines()[0], "stacking": stacking},
            lease_duration=self.lease,
            now=self.now,
        )
        run.begin()
        while not run.step(POLL_SECONDS):
            carry_on()

    def _open(self, study: Study, launcher: Launcher, carry_on: Callable[[], None]) -> str:
        """Give the launcher its slots and say for the report how many, and why."""
        if self.slots:
            launcher.start(carry_on)  # or the first worker would take every trial
            launcher.open(self.slots)
            return sentence(Calibration(slots=self.slots, refusal="as configured"))
        calibration = calibrated(
            study.spec, launcher, self.database, self.protocol["versions"], self.now, carry_on
        )
        launcher.open(calibration.slots)
        return sentence(calibration)

    def _extend(self, lease: Lease) -> None:
        with self.database.session(write=True) as session:
            leases.extend(session, lease, self.now(), self.lease)

    def _crashed(self, study: Study, lease: Lease, error: Exception) -> None:
        """Leave the study to whoever acquires it when the lease runs out; after several crashes
        here, end it with the reason.
        """
        log.exception("driving the study failed")
        self._crashes[study.id] += 1
        if self._crashes[study.id] < MAX_CRASHES:
            return
        try:
            with self.database.session(write=True) as session:
                leases.fail(
                    session,
                    lease,
                    self.now(),
                    f"The study could not be driven: {type(error).__name__}: {error}",
                )
        except Exception:
            log.exception("the study could not be marked as failed")

    def _settle_if_ended(self, study: Study) -> None:
        try:
            with self.database.session() as session:
                current = studies.get(session, study.id, None)
            if current.has_ended:
                self._settle(current)
                shutil.rmtree(self.checkpoints / str(study.id), ignore_errors=True)
        except Exception:
            log.exception("settling failed; the next round tries again")

    def _settle(self, study: Study) -> None:
        """Tell Optuna that what it takes for running has ended with the study, then close the
        trials.
        """
        for search in open_searches(study, self.storage).values():
            for number in search.running():
                search.tell(number, "cancelled", None)
        with self.database.session(write=True) as session:
            trials.cancel_open(session, study.id, self.now())

    def _clear_checkpoints(self) -> None:
        """Remove what is left of studies that ended so long ago that whoever held them has noticed;
        once in a lease's duration.
        """
        if self.now() < self._clear_at:
            return
        self._clear_at = self.now() + self.lease
        kept = {
            int(folder.name): folder
            for folder in self.checkpoints.glob("*")
            if folder.name.isdigit()
        }
        with self.database.session() as session:
            over = studies.ended(session, list(kept), before=self.now() - 2 * self.lease)
        for study_id in over:
            shutil.rmtree(kept[study_id], ignore_errors=True)
