"""Ledger: every transaction of a study run; each extends the lease, or fails if it is lost."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.log import n_kept
from gradnoise_service.domain.plain_text import plain
from gradnoise_service.domain.planned_trial import PlannedTrial, Setting
from gradnoise_service.domain.study import EpochMean, Study, Trial, TrialFile
from gradnoise_service.store import attempts, files, leases, logs, measurements, studies, trials
from gradnoise_service.store.attempts import WaitingTrial
from gradnoise_service.store.database import Database, Session
from gradnoise_service.store.leases import Lease, Request
from gradnoise_workers.study.decisions import Decisions, Ending


class PausedError(Exception):
    """The study is to be paused."""


class StopRequestedError(Exception):
    """The study was stopped: fewer of its trials are to run."""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The stored state of a study under a lease.

    Every method that writes raises LeaseLostError if the study has another holder, or was ended.
    Those that begin something, and `check`, raise PausedError if the study is to be paused, and
    StopRequestedError if it was stopped since `study` was read.

    Args:
        database: The service's database.
        study: As `leases.acquire` returned it.
        lease: The lease that `leases.acquire` returned with it.
        lease_duration: The time by which every transaction extends the lease.
        now: The clock.
    """

    database: Database
    study: Study
    lease: Lease
    lease_duration: timedelta
    now: Callable[[], datetime]

    def describe(self, protocol: Mapping[str, object]) -> None:
        """Store what the study runs on: versions, formulas, device."""
        with self._transaction() as session:
            leases.describe(session, self.lease, protocol)

    def decide_devices(self, devices: DeviceChoice) -> None:
        """Store where the study's trials train, from now on."""
        with self._transaction() as session:
            leases.decide_devices(session, self.lease, devices)

    def trials(self) -> list[Trial]:
        """Return all stored trials of the study."""
        with self.database.session() as session:
            return trials.of_study(session, self.study.id)

    def optuna_numbers(self) -> dict[int, int]:
        """Return the trials' numbers in Optuna, by trial id."""
        with self.database.session() as session:
            return trials.optuna_numbers(session, self.study.id)

    def mean_curves(self) -> list[EpochMean]:
        """Return each arm's mean over its complete confirm runs, epoch by epoch."""
        with self.database.session() as session:
            return measurements.mean_curves(session, self.study.id, self.study.metric.name)

    def busy(self, n_devices: int) -> Mapping[str, float]:
        """Return the share of device time since the study, or its last extension, started.

        Device seconds over the seconds since the first attempt, times the devices; empty if none
        have passed.
        """
        since, now = self.study.started_at, self.now()
        if since is None:
            return {}
        with self.database.session() as session:
            seconds, first = attempts.cost_since(session, self.study.id, since)
        wall = 0.0 if first is None else (now - first).total_seconds()
        if wall <= 0:
            return {}
        return {
            "share": seconds / (wall * max(1, n_devices)),
            "device_seconds": seconds,
            "wall_seconds": wall,
            "n_devices": n_devices,
        }

    def declare(self, planned: Iterable[PlannedTrial]) -> list[WaitingTrial]:
        """Store the planned trials that are missing and return all waiting trials."""
        with self._transaction() as session:
            trials.declare(session, self.study.id, planned)
            return attempts.waiting(session, self.study.id)

    def start(self, proposals: Sequence[tuple[WaitingTrial, int, Setting]]) -> list[str]:
        """Open an attempt for each waiting trial with its Optuna number and setting."""
        with self._transaction() as session:
            return [
                attempts.start(session, waiting.trial.id, params, number, self.now())
                for waiting, number, params in proposals
            ]

    def record(self, decisions: Decisions) -> list[WaitingTrial]:
        """Store what events led to and return the trials that wait for another attempt."""
        now = self.now()
        costs = {
            token: (attempt.epoch, attempt.unrecorded_seconds)
            for token, attempt in decisions.attempts.items()
        }
        retried = [end for end in decisions.endings.values() if end.state is None]
        with self.database.session(write=True) as session:
            leases.extend(session, self.lease, now, self.lease_duration)
            measurements.record(session, decisions.measurements)
            attempts.add_cost(session, costs)
            logs.record(session, self.study.id, decisions.printed, self._n_kept)
            files.record(session, decisions.saved, now)
            for end in decisions.endings.values():
                _store_ending(session, end, now)
            if not retried:
                return []
            ids = {end.attempt.trial.id for end in retried}
            waiting = attempts.waiting(session, self.study.id)
            return [trial for trial in waiting if trial.trial.id in ids]

    def check(self) -> None:
        """Raise LeaseLostError or PausedError, as above; writes nothing."""
        with self.database.session() as session:
            self._honour(leases.check(session, self.lease))

    def complete(self, comparison: Comparison) -> None:
        with self.database.session(write=True) as session:
            stored = comparison.model_dump(mode="json")
            leases.complete(session, self.lease, self.now(), stored, comparison.verdict)

    def forget_files(self, trial_ids: Sequence[int], name: str) -> list[TrialFile]:
        """Remove a file of this name from each trial, of a study that may have ended."""
        with self.database.session(write=True) as session:
            return files.forget(session, trial_ids, name)

    def fail(self, error: str) -> None:
        """End the study with an error; its open trials are cancelled."""
        with self.database.session(write=True) as session:
            leases.fail(session, self.lease, self.now(), error)
            trials.cancel_open(session, self.study.id, self.now())

    @cached_property
    def _n_kept(self) -> int:
        """How many of the first and of the last characters that an attempt prints are kept."""
        return n_kept(self.study.design.n_trials_total * self.study.spec.max_attempts)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self.database.session(write=True) as session:
            self._honour(leases.extend(session, self.lease, self.now(), self.lease_duration))
            yield session

    def _honour(self, request: Request) -> None:
        if request.is_pausing:
            raise PausedError
        if request.n_stops > len(self.study.stops):
            raise StopRequestedError

    def stopped(self) -> "Ledger":
        """Return the ledger of the study as it is after a stop."""
        with self.database.session() as session:
            study = studies.get(session, self.study.id, None)
        return replace(self, study=replace(self.study, state=study.state, stops=study.stops))


def _store_ending(session: Session, end: Ending, now: datetime) -> None:
    token = end.attempt.token
    error = None if end.error is None else plain(end.error)
    if end.state is None:
        attempts.retry(session, token, end.outcome, now, error or "")
    else:
        attempts.end(
            session,
            token,
            end.state,
            now,
            value=end.value,
            diverged=end.diverged,
            error=error,
        )
