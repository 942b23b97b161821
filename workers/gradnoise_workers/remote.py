"""RayLauncher: places actors on the cluster's GPUs, or on its cores where it has no GPU."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import structlog
from ray.exceptions import RayError, RayTaskError

from gradnoise.training.calibration import Rate, candidates
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.files import Files
from gradnoise.training.rehearsal import Rehearsal
from gradnoise.training.trial import Failed, Finished, TrialSpec
from gradnoise_service.domain.source import IMPORT_HINT, IMPORT_TOO_LONG, Source
from gradnoise_workers.actor import Location, TrialActor
from gradnoise_workers.launcher import (
    CheckInterrupt,
    LauncherEvent,
    NotMeasuredError,
    WorkerLost,
)

log = structlog.get_logger()

POLL_SECONDS = 0.5
START_SECONDS = 10.0
GROW_SECONDS = 10.0
MAX_FAILED_STARTS = 5
IMPORT_TRIES = 2
"""A worker may die during an import for another reason, such as its node; a second one does not."""


@dataclass(kw_only=True, eq=False)
class Worker:
    """An actor with its trials, its unsent orders and its pending reply."""

    actor: Any
    reply: Any
    location: Location | None = None
    keys: set[str] = field(default_factory=set)
    admit: list[TrialSpec] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    resume: list[str] = field(default_factory=list)


class RayLauncher:
    """Places one actor on each GPU of the cluster, or on each core; more as nodes join.

    An actor requests only a share of its device, so that several studies can run. Ray fills a
    device before it takes the next. An actor that lands where this study has one already is kept
    idle until the others are placed, and then killed.

    Args:
        checkpoints: Where trials store their state, for another worker to continue; None: nowhere.
        n_studies: How many studies share each device.
        source: The code of the study's workload; None for an installed workload.
        files: Where trials keep files; None: nowhere.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None = None,
        n_studies: int = 1,
        source: Source | None = None,
        files: Files | None = None,
    ) -> None:
        self._checkpoints, self._files = checkpoints, files
        self._n_studies = n_studies
        self._source = source
        self._slots = 0
        self._on_gpu = False
        self._n_wanted = 0
        self._workers: list[Worker] = []
        self._worker_of: dict[str, Worker] = {}
        self._spares: list[Any] = []
        self._started_at = math.inf
        self._grown_at = -math.inf
        self._failed_starts = 0
        self._grow()

    @property
    def workers(self) -> Sequence[Worker]:
        return tuple(self._workers)

    def start(self, check_interrupt: CheckInterrupt) -> str:
        while not self._is_complete() and time.monotonic() < self._started_at + START_SECONDS:
            check_interrupt()
            self.events(POLL_SECONDS)
        names = Counter(location.device for _, location in self._placed())
        shares = f", each shared by {self._n_studies} studies" if self._n_studies > 1 else ""
        return ", ".join(f"{n} x {name}" for name, n in sorted(names.items())) + shares

    def candidates(self) -> Sequence[int]:
        return candidates(on_gpu=self._on_gpu)

    def import_source(self, seconds: float, check_interrupt: CheckInterrupt) -> str:
        if self._source is None:
            return ""
        fault = ""
        for _ in range(IMPORT_TRIES):
            worker = self._first(check_interrupt)
            reply = worker.actor.import_source.remote()
            if not self._await([reply], check_interrupt, seconds):
                _kill([worker.actor])
                return f"{self._source.name}: {IMPORT_TOO_LONG} ({seconds:g} s). {IMPORT_HINT}"
            try:
                return str(ray.get(reply))
            except RayError as error:
                fault = f"The process that imports {self._source.name} died: {error}".strip()
                self._lose(worker, error)
        return fault

    def prepare(
        self, specs: Sequence[TrialSpec], check_interrupt: CheckInterrupt
    ) -> Mapping[str, Rehearsal]:
        return self._call_first("prepare", specs, check_interrupt)

    def untrained(
        self, specs: Sequence[TrialSpec], check_interrupt: CheckInterrupt
    ) -> Mapping[str, Mapping[str, float]]:
        return self._call_first("untrained", specs, check_interrupt)

    def measure(
        self,
        probe: TrialSpec,
        slots: int,
        before: Rate | None,
        n_forms: int,
        check_interrupt: CheckInterrupt,
    ) -> Rate:
        placed = self._placed()
        on_node = Counter(location.node for _, location in placed)
        pending = {}
        for worker, location in placed:
            n_processes = self._n_studies * (1 if self._on_gpu else on_node[location.node])
            n_shares = n_processes * n_forms
            pending[worker.actor.measure.remote(probe, slots, before, n_shares)] = worker
        self._await(list(pending), check_interrupt)
        rates: list[Rate | None] = []
        faults: list[str] = []
        for reply, worker in pending.items():
            try:
                rates.append(ray.get(reply))
            except RayTaskError as error:
                faults.append(str(error.cause))
            except RayError as error:
                faults.append(f"{type(error).__name__}: {error}")
                self._lose(worker, error)
        if faults or not rates:
            raise NotMeasuredError(faults[0] if faults else "no worker has started")
        return _total(rates, slots)

    def open(self, slots: int) -> None:
        self._slots = slots

    def n_free(self) -> int:
        if not self._slots:
            return 0
        return sum(self._slots - len(worker.keys) for worker, _ in self._placed())

    def admit(self, spec: TrialSpec) -> None:
        worker, _ = min(self._placed(), key=lambda placed: len(placed[0].keys))
        worker.keys.add(spec.key)
        worker.admit.append(spec)
        self._worker_of[spec.key] = worker

    def resume(self, key: str) -> None:
        if key in self._worker_of:
            self._worker_of[key].resume.append(key)

    def release(self, key: str) -> None:
        if key in self._worker_of:
            worker = self._worker_of[key]
            self._forget(worker, [key])
            worker.release.append(key)

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        self._grow()
        for worker in self._workers:
            if worker.reply is None and (worker.keys or worker.release):
                worker.reply = worker.actor.advance.remote(
                    self._slots, worker.admit, worker.release, worker.resume
                )
                worker.admit, worker.release, worker.resume = [], [], []
        pending = {worker.reply: worker for worker in self._workers if worker.reply is not None}
        if not pending:
            time.sleep(timeout_seconds)
            return []
        replies = list(pending)
        ray.wait(replies, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        ready, _ = ray.wait(replies, num_returns=len(replies), timeout=0, fetch_local=False)
        return [event for reply in ready for event in self._receive(pending[reply])]

    def close(self) -> None:
        _kill(self._spares)
        _kill(worker.actor for worker in self._workers)
        self._spares.clear()
        self._workers.clear()
        self._worker_of.clear()

    def _call_first(
        self, method: str, specs: Sequence[TrialSpec], check_interrupt: CheckInterrupt
    ) -> Mapping[str, Any]:
        """Call a method of the first worker, once one has started; empty if the worker dies."""
        worker = self._first(check_interrupt)
        reply = getattr(worker.actor, method).remote(specs)
        self._await([reply], check_interrupt)
        try:
            found: Mapping[str, Any] = ray.get(reply)
        except RayError as error:
            self._lose(worker, error)
            return {}  # the worker's fault: the trials will show whether it is the study's
        return found

    def _first(self, check_interrupt: CheckInterrupt) -> Worker:
        """Return the first worker, once one has started."""
        while not self._placed():
            check_interrupt()
            self.events(POLL_SECONDS)
        return self._placed()[0][0]

    def _placed(self) -> list[tuple[Worker, Location]]:
        """Return the workers that have started, each with its location."""
        return [(w, w.location) for w in self._workers if w.location is not None]

    def _await(
        self, replies: Sequence[Any], check_interrupt: CheckInterrupt, seconds: float = math.inf
    ) -> bool:
        """Wait for replies, at most so many seconds; return whether all have arrived."""
        pending, until = list(replies), time.monotonic() + seconds
        while pending and time.monotonic() < until:
            _, pending = ray.wait(
                pending, num_returns=len(pending), timeout=POLL_SECONDS, fetch_local=False
            )
            check_interrupt()
        return not pending

    def _receive(self, worker: Worker) -> Sequence[LauncherEvent]:
        reply, worker.reply = worker.reply, None
        try:
            received = ray.get(reply)
        except RayError as error:
            return self._lose(worker, error)
        if isinstance(received, Location):
            self._place(worker, received)
            return []
        ended = [event.key for event in received if isinstance(event, Finished | Failed)]
        self._forget(worker, ended)
        # their checkpoints go with the next order, which is sent after these events are stored
        worker.release += ended
        return list(received)

    def _place(self, worker: Worker, location: Location) -> None:
        self._failed_starts = 0
        self._started_at = time.monotonic()
        device = (location.node, location.gpu)
        n_beside = sum((other.node, other.gpu) == device for _, other in self._placed())
        if n_beside < (1 if self._on_gpu else _cores(location.node)):
            worker.location = location
            return
        self._workers.remove(worker)
        self._spares.append(worker.actor)
        self._grown_at = -math.inf

    def _forget(self, worker: Worker, keys: Iterable[str]) -> None:
        for key in keys:
            worker.keys.discard(key)
            self._worker_of.pop(key, None)

    def _lose(self, worker: Worker, error: RayError) -> Sequence[LauncherEvent]:
        reason = f"the worker died: {type(error).__name__}: {error}".strip()
        log.warning("a worker died", trials=len(worker.keys), reason=reason.splitlines()[0])
        self._workers.remove(worker)
        _kill([worker.actor])
        if worker.location is None:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise RuntimeError(f"No worker can start: {reason}") from error
        self._grown_at = -math.inf
        lost = sorted(worker.keys)
        self._forget(worker, lost)
        return [WorkerLost(key=key, reason=reason) for key in lost]

    def _grow(self) -> None:
        is_due = time.monotonic() >= self._grown_at + GROW_SECONDS
        if self._spares and (self._is_complete() or (is_due and self._grown_at > -math.inf)):
            _kill(self._spares)
            self._spares.clear()
        if not is_due:
            return
        self._grown_at = time.monotonic()
        self._on_gpu, self._n_wanted = devices()
        if self._n_wanted == 0:
            log.warning("the Ray cluster has neither GPUs nor cores; waiting for a node to join")
        share = math.floor(1e4 / self._n_studies) / 1e4  # Ray counts in ten-thousandths
        needs = {"num_cpus": share, "num_gpus": share if self._on_gpu else 0}
        while len(self._workers) < self._n_wanted:
            options = {
                "max_restarts": 0,
                "max_task_retries": 0,
                "scheduling_strategy": "SPREAD",
                **needs,
            }
            actor: Any = ray.remote(TrialActor).options(**options)
            started = actor.remote(self._on_gpu, self._checkpoints, self._source, self._files)
            self._workers.append(Worker(actor=started, reply=started.locate.remote()))

    def _is_complete(self) -> bool:
        return 0 < self._n_wanted <= len(self._placed())


def devices() -> tuple[bool, int]:
    """Return whether trials run on GPUs, and how many actors the cluster has devices for."""
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    n_gpus = int(resources.get("GPU", 0))
    return (True, n_gpus) if n_gpus else (False, int(resources.get("CPU", 0)))


def _total(rates: Sequence[Rate | None], slots: int) -> Rate:
    fitting = [rate for rate in rates if rate is not None]
    if len(fitting) < len(rates):
        raise MemoryError(f"{slots} slots do not fit.")
    return Rate(
        slots=slots,
        steps_per_second=sum(rate.steps_per_second for rate in fitting),
        bytes_per_slot=max(rate.bytes_per_slot for rate in fitting),
        refusal=next((rate.refusal for rate in fitting if rate.refusal), ""),
    )


def _cores(node: str) -> int:
    nodes: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    of_node = (int(n["Resources"].get("CPU", 0)) for n in nodes if n["NodeID"] == node)
    return next(of_node, 0)


def _kill(actors: Iterable[Any]) -> None:
    for actor in actors:
        with contextlib.suppress(RayError):
            ray.kill(actor)
