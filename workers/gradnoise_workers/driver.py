"""Driver: runs one acquired study, from the start of its workers to its end."""

import importlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from gradnoise.training.files import Files
from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.hashes import spec_hash
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage
from gradnoise_service.store import leases, sources
from gradnoise_service.store.calibrations import Calibration
from gradnoise_service.store.database import Database
from gradnoise_service.store.leases import Lease
from gradnoise_workers.calibration import Stacking, calibrated, stacked
from gradnoise_workers.code_hash import changed_parts, code_hash, part_hashes
from gradnoise_workers.costs import search_costs, search_stacks
from gradnoise_workers.heartbeat import Heartbeat
from gradnoise_workers.launcher import CheckInterrupt, Launcher, NotMeasuredError
from gradnoise_workers.recipe_parameters import parameters_of
from gradnoise_workers.study import (
    Ledger,
    OptunaSync,
    PausedError,
    StudyRun,
    preparation_fault,
    rehearsals,
    untrained_level,
)

log = structlog.get_logger()

POLL_SECONDS = 0.5
SAVE_SECONDS = 60.0
"""A paused trial whose epoch takes longer continues from its last periodic checkpoint."""


class CodeChangedError(Exception):
    """The code of a study is not that with which it started."""

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__(
            f"The study waits: the code of {', '.join(parts)} has changed since it started. "
            "Restore the code and restart the workers; or let such studies go on, marked in their "
            "reports, with GRADNOISE_CHANGED_CODE=mark; or cancel the study and submit it again."
        )


class StoppedError(Exception):
    """The dispatcher was stopped."""


class Throttled:
    """Calls a function at most once in so many seconds; further calls do nothing."""

    def __init__(self, function: Callable[[], None], seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self._due_at = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._due_at:
            self._function()
            self._due_at = time.monotonic() + self._seconds


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Runs studies that were acquired.

    Args:
        database: The service's database.
        storage: Optuna's storage in it.
        open_launcher: Opens the launcher of a study with the code of its workload, if it has any.
        slots: Slots of each worker; 0 for the number that measures best.
        protocol: Stored with each study, with device, slots and hashes added: formulas, order of
            clipping, unit of t, versions.
        lease: How long a study is held without a heartbeat.
        now: The clock.
        import_seconds: How long the import of a study's source may take.
        marks_changed_code: Whether a study goes on under changed code, marked in its report.
        files: Where trials keep files; None: nowhere.
    """

    database: Database
    storage: Storage
    open_launcher: Callable[[Study, Source | None], Launcher]
    slots: int
    protocol: Mapping[str, Any]
    lease: timedelta
    now: Callable[[], datetime]
    import_seconds: float = 120.0
    marks_changed_code: bool = False
    files: Files | None = None

    def drive(self, study: Study, lease: Lease, stop: threading.Event) -> None:
        """Run a study to its end.

        Raises:
            StoppedError: If `stop` was set.
            CodeChangedError: If the code is not that with which the study started.
            PausedError: If the study is to be paused; its trials are checkpointed.
            LeaseLostError: If the study has another holder, or was ended.
            NoDeviceError: If the cluster has no device that the study can use.
        """
        ledger = Ledger(
            database=self.database,
            study=study,
            lease=lease,
            lease_duration=self.lease,
            now=self.now,
        )
        heartbeat = Heartbeat(lambda: self._extend(lease), self.lease)
        check = Throttled(ledger.check, POLL_SECONDS)

        def check_interrupt() -> None:
            heartbeat.check()
            if stop.is_set():
                raise StoppedError
            check()

        with self.database.session() as session:
            source = sources.of_study(session, study.id)
        with closing(self.open_launcher(study, source)) as launcher, heartbeat:
            code = self._code(study, source)  # while the workers start
            _load_scipy()
            try:
                self._run(ledger, launcher, source, code, check_interrupt)
            except PausedError:
                launcher.save(SAVE_SECONDS)
                raise

    def _run(
        self,
        ledger: Ledger,
        launcher: Launcher,
        source: Source | None,
        code: Mapping[str, Any],
        check_interrupt: CheckInterrupt,
    ) -> None:
        study = ledger.study
        device = launcher.start(check_interrupt)  # or the first worker would take every trial
        ledger.decide_devices(launcher.devices)
        broken = launcher.import_source(self.import_seconds, check_interrupt)
        if broken:
            log.error("the study's source cannot be imported", reason=broken)
            ledger.fail(f"The code of the study cannot be imported.\n{broken}")
            return
        kept = ("untrained", "rehearsal", "search_costs")
        measured = {name: study.protocol[name] for name in kept if name in study.protocol}
        if not ledger.trials():
            parameters = parameters_of(study.spec, source)
            done = rehearsals(study.spec, parameters, launcher, check_interrupt)
            fault = preparation_fault(study.spec, done)
            if fault is not None:
                log.error("study failed", reason=fault)
                ledger.fail(fault)
                return
            untrained = untrained_level(study, launcher, check_interrupt)
            measured = {"untrained": untrained.model_dump()} if untrained else {}
            measured["rehearsal"] = {arm: asdict(did) for arm, did in done.items()}
        stacking = self._open_slots(
            study, launcher, _workload_hash(study, source, code), check_interrupt
        )
        together = dict.fromkeys(study.design.phases, stacking.together)
        if study.spec.budget.needs_costs and "search_costs" not in measured:
            try:
                costs = search_costs(study.spec, launcher, stacking, check_interrupt)
            except NotMeasuredError as error:
                ledger.fail(f"What a search trial costs could not be measured: {error}")
                return
            measured["search_costs"] = costs
            study = replace(study, protocol={**study.protocol, "search_costs": costs})
            ledger = replace(ledger, study=study)
        if study.spec.budget.equal == "device_seconds":
            together["search"] = search_stacks(study.design, stacking, launcher.n_free())
        protocol = {
            **self.protocol,
            "device": device,
            "stacking": stacking.sentence,
            "slots": stacking.slots,
            "together": together,
            "parameters_of": parameters_of(study.spec, source),
            "hashes": {"spec": spec_hash(study.spec), "code": code_hash(study.spec, source)},
            **{name: study.protocol[name] for name in ("retries",) if name in study.protocol},
            **_of_source(self.protocol, source),
            **code,
            **measured,
        }
        run = StudyRun(
            ledger,
            OptunaSync(study, self.storage),
            launcher,
            protocol,
            together,
            self.files,
        )
        run.resume()
        while not run.step(POLL_SECONDS):
            check_interrupt()

    def _code(self, study: Study, source: Source | None) -> dict[str, Any]:
        """Return the hashes of the study's parts, and the parts that changed since its start."""
        now = part_hashes(study.spec, source)
        before: Any = study.protocol.get("code_of", {})
        changed = changed_parts(before, now)
        retries: Any = study.protocol.get("retries", ())
        is_accepted = any(each.accepts_changed_code for each in study.extensions[-1:]) or any(
            each["accepts_changed_code"] for each in retries[-1:]
        )
        if changed and not (self.marks_changed_code or is_accepted):
            raise CodeChangedError(changed)
        earlier: Any = study.protocol.get("changed_code", ())
        marked = sorted({*earlier, *changed})
        return {"code_of": now} | ({"changed_code": marked} if marked else {})

    def _open_slots(
        self, study: Study, launcher: Launcher, code: str, check_interrupt: CheckInterrupt
    ) -> Stacking:
        """Give the launcher its slots and return how many trials train as one model, and why."""
        if self.slots:
            configured = Calibration(slots=self.slots, refusal="as configured")
            launcher.open(self.slots)
            return Stacking(of_arms={arm.name: configured for arm in study.spec.arms})

        def measure(spec: StudySpec, arms: Sequence[Arm], n_forms: int) -> Calibration:
            versions = self.protocol["versions"]
            return calibrated(
                spec,
                arms,
                n_forms,
                launcher,
                self.database,
                code,
                versions,
                self.now,
                check_interrupt,
            )

        stacking = stacked(study.spec, measure)
        launcher.open(stacking.slots)
        return stacking

    def _extend(self, lease: Lease) -> None:
        with self.database.session(write=True) as session:
            leases.extend(session, lease, self.now(), self.lease)


def _load_scipy() -> None:
    """Import what the comparison needs; at its end all devices would wait for it."""
    for name in ("optimize", "special", "stats"):
        importlib.import_module(f"scipy.{name}")


def _workload_hash(study: Study, source: Source | None, code: Mapping[str, Any]) -> str:
    name = f"workload {study.spec.workload}"
    return source.hash if source is not None else str(code["code_of"].get(name, ""))


def _of_source(protocol: Mapping[str, Any], source: Source | None) -> dict[str, Any]:
    """Return the entries of a study's protocol that follow from its source."""
    if source is None:
        return {}
    declared = {each["name"]: each["formula"] for each in source.announced["techniques"]}
    return {
        "source": {"file": source.name, "sha256": source.hash},
        "formulas": {**protocol.get("formulas", {}), **declared},
    }
