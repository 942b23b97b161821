"""Acquires studies and drives each with a StudyRun, a thread a study; settles what cancelled studies have left open."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from service.domain.errors import LeaseLost
from service.domain.study import Study
from service.search import Storage
from service.store import dispatchers, leases, studies, trials
from service.store.database import Database
from service.store.dispatchers import DispatcherInfo
from service.store.leases import Lease
from workers.heartbeat import Heartbeat
from workers.launcher import Launcher
from workers.study_run import StudyRun, open_searches

log = structlog.get_logger()

POLL_SECONDS = 0.5
MAX_CRASHES = 3


@dataclass(kw_only=True)
class Dispatcher:
    """Runs studies until told to stop; any number of dispatchers may share a database.

    Args:
        id: Name of this process among dispatchers, unique.
        database: The service's database.
        storage: Optuna's storage in it.
        open_launcher: Makes the launcher of one study.
        protocol: What is stored with each study, beside the device: formula, clip order, unit of t, versions.
        machines: Tells what trials run on, for people, and how many run at once; asked anew each time, since nodes join and leave.
        lease: How long a study is held without a sign of life.
        concurrent_studies: How many studies run at once.
        now: The clock.
    """

    id: str
    database: Database
    storage: Storage
    open_launcher: Callable[[], Launcher]
    protocol: Mapping[str, object]
    machines: Callable[[], tuple[str, int]]
    lease: timedelta
    concurrent_studies: int
    now: Callable[[], datetime]

    def __post_init__(self) -> None:
        self._runs: dict[int, threading.Thread] = {}
        self._crashes: Counter[int] = Counter()
        self._stop = threading.Event()

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
        info = DispatcherInfo(id=self.id, device=device, n_slots=n_slots, acquired_until=now + self.lease)
        with self.database.session(write=True) as session:
            dispatchers.announce(session, info, now)

    def _round(self) -> None:
        self._runs = {study_id: thread for study_id, thread in self._runs.items() if thread.is_alive()}
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
            thread = threading.Thread(target=self._drive, args=(study, lease), name=f"study-{study.id}")
            self._runs[study.id] = thread
            thread.start()

    def _drive(self, study: Study, lease: Lease) -> None:
        with structlog.contextvars.bound_contextvars(study=study.id, name=study.spec.name):
            log.info("study acquired")
            try:
                self._run_study(study, lease)
            except LeaseLost:
                log.warning("the study was cancelled, or passed to another dispatcher; letting go")
            except Exception as error:
                self._crashed(study, lease, error)
            self._settle_if_ended(study)

    def _run_study(self, study: Study, lease: Lease) -> None:
        launcher = self.open_launcher()
        try:
            with Heartbeat(lambda: self._extend(lease), self.lease) as heartbeat:
                run = StudyRun(
                    study,
                    lease,
                    database=self.database,
                    storage=self.storage,
                    launcher=launcher,
                    protocol={**self.protocol, "device": self.machines()[0]},
                    lease_duration=self.lease,
                    now=self.now,
                )
                run.begin()
                while not run.step(POLL_SECONDS):
                    heartbeat.check()
                    if self._stop.is_set():
                        with self.database.session(write=True) as session:
                            leases.release(session, lease, self.now())
                        log.info("study given back")
                        return
        finally:
            launcher.close()

    def _extend(self, lease: Lease) -> None:
        with self.database.session(write=True) as session:
            leases.extend(session, lease, self.now(), self.lease)

    def _crashed(self, study: Study, lease: Lease, error: Exception) -> None:
        """Leave the study to whoever acquires it when the lease runs out; after several crashes here, end it with the reason."""
        log.exception("driving the study failed")
        self._crashes[study.id] += 1
        if self._crashes[study.id] < MAX_CRASHES:
            return
        try:
            with self.database.session(write=True) as session:
                leases.fail(session, lease, self.now(), f"The study could not be driven: {type(error).__name__}: {error}")
        except Exception:
            log.exception("the study could not be marked as failed")

    def _settle_if_ended(self, study: Study) -> None:
        try:
            with self.database.session() as session:
                current = studies.get(session, study.id, None)
            if current.has_ended:
                self._settle(current)
        except Exception:
            log.exception("settling failed; the next round tries again")

    def _settle(self, study: Study) -> None:
        """Tell Optuna that what it takes for running has ended with the study, then close the trials."""
        for search in open_searches(study, self.storage).values():
            for number in search.running():
                search.tell(number, "cancelled", None)
        with self.database.session(write=True) as session:
            trials.cancel_open(session, study.id, self.now())
