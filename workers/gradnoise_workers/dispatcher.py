"""Dispatcher: acquires studies and drives each in a thread; settles studies that were ended."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from gradnoise_service.domain.devices import Devices
from gradnoise_service.domain.errors import LeaseLostError, NotFoundError
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage
from gradnoise_service.store import dispatchers, leases, studies, trials
from gradnoise_service.store.database import Database, is_unavailable
from gradnoise_service.store.dispatchers import DispatcherInfo
from gradnoise_service.store.leases import Lease
from gradnoise_service.usecases.removal import Remover
from gradnoise_service.usecases.study_folders import StudyFolders
from gradnoise_workers.driver import POLL_SECONDS, CodeChangedError, Driver, StoppedError
from gradnoise_workers.heartbeat import Heartbeat
from gradnoise_workers.launcher import NoDeviceError
from gradnoise_workers.study import OptunaSync, PausedError

log = structlog.get_logger()

MAX_CRASHES = 3
MAX_PAUSE_SECONDS = 8.0
"""The longest pause after rounds that failed, each of which doubles it."""


@dataclass(kw_only=True)
class Dispatcher:
    """Runs studies until it is stopped; any number of dispatchers may share a database.

    Args:
        id: Unique name of this process among dispatchers.
        database: The service's database.
        storage: Optuna's storage in it.
        driver: Drives one study.
        checkpoints: The trials' checkpoints, in a folder for each study.
        devices: Returns the devices of the cluster; called each time, since nodes join and leave.
        lease: How long a study is held without a heartbeat.
        concurrent_studies: How many studies run at once.
        now: The clock.
        keep: How long logs, files and checkpoints of a study stay after its end; None: for ever.
    """

    id: str
    database: Database
    storage: Storage
    driver: Driver
    checkpoints: StudyFolders
    devices: Callable[[], Devices]
    lease: timedelta
    concurrent_studies: int
    now: Callable[[], datetime]
    keep: timedelta | None = None

    def __post_init__(self) -> None:
        self._threads: dict[int, threading.Thread] = {}
        self._stop = threading.Event()
        self._clear_at = self.now()
        self._cleared: set[int] = set()

    def run(self, stop: threading.Event) -> None:
        """Run studies until `stop` is set; then release every study and return."""
        self._stop = stop
        pause = POLL_SECONDS
        with Heartbeat(self.announce, self.lease):
            self.announce()
            while not stop.is_set():
                try:
                    self.run_round()
                    pause = POLL_SECONDS
                except Exception:
                    pause = min(2 * pause, MAX_PAUSE_SECONDS)
                    log.exception("the round failed; retrying", pause_seconds=pause)
                stop.wait(pause)
            self.join()
        with self.database.session(write=True) as session:
            dispatchers.withdraw(session, self.id)

    def join(self) -> None:
        """Wait for the threads of the present studies."""
        for thread in self._threads.values():
            thread.join()

    def announce(self) -> None:
        """Record this dispatcher as alive, with its devices."""
        now = self.now()
        devices = self.devices()
        info = DispatcherInfo(
            id=self.id,
            devices=devices,
            n_slots=(devices.n_gpus or devices.n_cores) * (self.driver.slots or 1),
            acquired_until=now + self.lease,
        )
        with self.database.session(write=True) as session:
            dispatchers.announce(session, info, now)

    def run_round(self) -> None:
        """Settle ended studies, acquire what is due, and start a thread for each."""
        self._threads = {id: thread for id, thread in self._threads.items() if thread.is_alive()}
        self._clear()
        with self.database.session() as session:
            unsettled = studies.unsettled(session, self.now())
            left_pausing = leases.left_pausing(session, self.now())
        for study_id in left_pausing:
            with self.database.session(write=True) as session:
                leases.settle_pausing(session, study_id, self.now())
        for study in unsettled:
            if study.id not in self._threads:
                self._settle_if_ended(study)
        while len(self._threads) < self.concurrent_studies:
            served = self.devices().served
            with self.database.session(write=True) as session:
                acquired = leases.acquire(session, self.id, self.now(), self.lease, served)
            if acquired is None:
                break
            study, lease = acquired
            thread = threading.Thread(
                target=self._drive, args=(study, lease), name=f"study-{study.id}"
            )
            self._threads[study.id] = thread
            self._cleared.discard(study.id)
            thread.start()

    def _drive(self, study: Study, lease: Lease) -> None:
        with structlog.contextvars.bound_contextvars(study=study.id, name=study.spec.name):
            log.info("study acquired")
            try:
                self._drive_held(study, lease)
            except LeaseLostError:
                log.warning("the study was cancelled, or another dispatcher has it")
            except Exception:
                log.exception("the study stays with its lease until it expires")
            self._settle_if_ended(study)

    def _drive_held(self, study: Study, lease: Lease) -> None:
        try:
            self.driver.drive(study, lease, self._stop)
        except (StoppedError, PausedError) as error:
            with self.database.session(write=True) as session:
                leases.release(session, lease, self.now())
            paused = isinstance(error, PausedError)
            log.info("study paused" if paused else "study released")
        except NoDeviceError as error:
            self._release(lease, str(error))
        except CodeChangedError as error:
            self._hold(lease, str(error))
        except LeaseLostError:
            raise
        except Exception as error:
            if is_unavailable(error):
                log.warning("the database does not answer; the study goes on when it does")
                self._release_when_answered(lease)
            else:
                self._count_crash(lease, error)

    def _release(self, lease: Lease, reason: str) -> None:
        """Release the study, which is due again once there is a device, with the reason."""
        log.error("the study waits for a device", reason=reason)
        with self.database.session(write=True) as session:
            leases.explain(session, lease, reason)
            leases.release(session, lease, self.now())

    def _release_when_answered(self, lease: Lease) -> None:
        """Release the study once the database answers, so that no queued study goes before it.

        The study cannot be acquired before its lease expires, but others can.
        """
        expires_at = self.now() + self.lease
        while self.now() < expires_at and not self._stop.is_set():
            try:
                with self.database.session(write=True) as session:
                    leases.release(session, lease, self.now())
                return
            except Exception as error:
                if not is_unavailable(error):
                    raise
            self._stop.wait(POLL_SECONDS)

    def _hold(self, lease: Lease, reason: str) -> None:
        """Leave the study until its lease expires, with the reason why it does not go on."""
        log.error("the study is held", reason=reason)
        with self.database.session(write=True) as session:
            leases.explain(session, lease, reason)

    def _count_crash(self, lease: Lease, error: Exception) -> None:
        """Leave the study until its lease expires; after several crashes without an ended trial,
        fail it.
        """
        log.exception("driving the study failed")
        message = f"The study could not be driven: {type(error).__name__}: {error}"
        with self.database.session(write=True) as session:
            if leases.count_crash(session, lease) >= MAX_CRASHES:
                leases.fail(session, lease, self.now(), message)

    def _settle_if_ended(self, study: Study) -> None:
        try:
            with self.database.session() as session:
                current = studies.get(session, study.id, None)
            if current.has_ended:
                self._settle(current)
                self._clear_checkpoints(study.id)
        except NotFoundError:
            log.info("the study was deleted")
        except Exception:
            log.exception("settling failed; the next round retries")

    def _settle(self, study: Study) -> None:
        """End the trials that an ended study has left open, in Optuna first."""
        with self.database.session() as session:
            stored = trials.of_study(session, study.id)
            numbers = trials.optuna_numbers(session, study.id)
        if stored:
            optuna = OptunaSync(study, self.storage)
            optuna.settle(stored, numbers)
            optuna.cancel_running()
        with self.database.session(write=True) as session:
            trials.cancel_open(session, study.id, self.now())
            studies.settle(session, study.id)

    def _clear_checkpoints(self, study_id: int) -> None:
        """Remove the checkpoints of an ended study that an extension could not continue."""
        with self.database.session() as session:
            if not studies.ended(session, [study_id], before=self.now() + self.lease):
                return  # it has been extended since
            continued = trials.extensible(session, study_id)
        if not continued:
            self.checkpoints.remove(study_id)
            return
        # also the traces of workers whose dispatcher was killed are removed
        self.checkpoints.keep_only(study_id, {f"{trial_id}.pt" for trial_id in continued})
        self._cleared.add(study_id)

    def _clear(self) -> None:
        """Remove deleted studies, and what ended ones need no longer, once in a lease's duration.

        A study must have ended two leases ago, so that its last holder has noticed.
        """
        if self.now() < self._clear_at:
            return
        self._clear_at = self.now() + self.lease
        try:
            present = sorted(self.checkpoints.studies() - self._cleared)
            with self.database.session() as session:
                ended = studies.ended(session, present, before=self.now() - 2 * self.lease)
            for study_id in ended:
                self._clear_checkpoints(study_id)
        except Exception:  # the packages of fsspec raise many kinds
            log.exception("old checkpoints could not be removed")
        files = [] if self.driver.files is None else [StudyFolders(url=self.driver.files.url)]
        remover = Remover(
            database=self.database, storage=self.storage, folders=[self.checkpoints, *files]
        )
        remover.run(self.now() - 2 * self.lease)
        if self.keep is not None:
            remover.prune(self.now() - self.keep, self.now())
