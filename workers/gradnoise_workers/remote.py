"""RayLauncher: places actors on the GPUs and cores of the cluster."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import structlog
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from gradnoise.training.calibration import Rate, candidates
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.faults import StallError
from gradnoise.training.files import Files
from gradnoise.training.graphs import CaptureError
from gradnoise.training.rehearsal import Rehearsal
from gradnoise.training.trial import Failed, Finished, TrialSpec
from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.source import IMPORT_HINT, IMPORT_TOO_LONG, Source
from gradnoise_workers.actor import Slice, TrialActor
from gradnoise_workers.cluster import Cluster, Location
from gradnoise_workers.health import Slot
from gradnoise_workers.launcher import (
    CheckInterrupt,
    LauncherEvent,
    NoDeviceError,
    NotMeasuredError,
    total,
)
from gradnoise_workers.placement import Held, n_startable
from gradnoise_workers.worker import (
    POLL_SECONDS,
    Worker,
    await_replies,
    devices_text,
    kill,
    reason_of,
    stall_limit,
    started_worker,
)

log = structlog.get_logger()

START_SECONDS = 10.0
GROW_SECONDS = 10.0
MAX_FAILED_STARTS = 5
IMPORT_TRIES = 2
"""A worker may die during an import for another reason, such as its node; a second one does not."""


class RayLauncher:
    """Places one actor on each GPU of the cluster, or on each core; more as nodes join.

    An actor requests only a share of its device, so that several studies can run. On a node, Ray
    fills a GPU before it takes the next. An actor that lands on a GPU where this study has one
    already, or which torch cannot use, is kept idle until the others are placed, and then killed.

    Args:
        cluster: The devices.
        devices: Which of them the study uses; auto: GPUs, if torch can use one, else cores.
        checkpoints: Where trials store their state, for another worker to continue; None: nowhere.
        n_studies: How many studies share each device.
        source: The code of the study's workload; None for an installed workload.
        files: Where trials keep files; None: nowhere.
        traces: Folder of the actors' traces, shared by all nodes; None: they leave none.
        actor: The class of the actors.

    Raises:
        NoDeviceError: If there is no such device.
    """

    def __init__(
        self,
        cluster: Cluster,
        devices: DeviceChoice = "auto",
        checkpoints: Checkpoints | None = None,
        n_studies: int = 1,
        source: Source | None = None,
        files: Files | None = None,
        traces: Path | None = None,
        actor: type[TrialActor] = TrialActor,
    ) -> None:
        self._cluster, self._devices = cluster, devices
        self._checkpoints, self._files = checkpoints, files
        self._n_studies, self._source = n_studies, source
        self._traces, self._actor = traces, actor
        self._eager = ""
        self._slots = self._core_slots = self._n_wanted = self._failed_starts = 0
        self._workers: list[Worker] = []
        self._worker_of: dict[str, Worker] = {}
        self._spares: list[Any] = []
        self._started_at, self._grown_at = math.inf, -math.inf
        self._grow()

    @property
    def workers(self) -> Sequence[Worker]:
        return tuple(self._workers)

    @property
    def n_devices(self) -> int:
        return len(self._placed())

    @property
    def devices(self) -> DeviceChoice:
        return self._devices

    @property
    def device_faults(self) -> Sequence[str]:
        return self._cluster.faults()

    def start(self, check_interrupt: CheckInterrupt) -> str:
        while not self._is_complete() and time.monotonic() < self._started_at + START_SECONDS:
            check_interrupt()
            self.events(POLL_SECONDS)
        if self._devices == "auto":
            self._devices = "gpu" if self._has_gpus() else "cpu"
        return devices_text([location for _, location in self._placed()], self._n_studies)

    def candidates(self) -> Sequence[int]:
        return candidates(on_gpu=self._has_gpus())

    def import_source(self, seconds: float, check_interrupt: CheckInterrupt) -> str:
        if self._source is None:
            return ""
        fault = ""
        for _ in range(IMPORT_TRIES):
            worker = self._first(check_interrupt)
            reply = worker.actor.import_source.remote()
            if not await_replies([reply], check_interrupt, seconds):
                kill([worker.actor])
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
        has_gpus = self._has_gpus()  # beside them, a core trains one trial at a time
        measured = [worker for worker, _ in self._placed() if worker.on_gpu == has_gpus]
        on_node = Counter(worker.node for worker in measured)
        pending = {}
        for worker in measured:
            n_processes = self._n_studies * (1 if worker.on_gpu else on_node[worker.node])
            reply = worker.actor.measure.remote(probe, slots, before, n_processes * n_forms)
            pending[reply] = worker
        has_ended = await_replies(list(pending), check_interrupt, stall_limit(probe))
        rates: list[Rate | None] = []
        faults: list[str] = []
        eager = self._eager
        for reply, worker in pending.items():
            try:
                rates.append(ray.get(reply, timeout=None if has_ended else 0))
            except GetTimeoutError:
                faults.append(str(StallError(stall_limit(probe))))
                self._remove(worker, faults[-1])
            except RayTaskError as error:
                faults.append(str(error.cause))
                if isinstance(error.cause, CaptureError):
                    self._lose(worker, error)
            except RayError as error:
                faults.append(f"{type(error).__name__}: {error}")
                self._lose(worker, error)
        if self._eager != eager:  # those that take the place of the lost capture nothing
            self._started_at = math.inf
            self.start(check_interrupt)
            return self.measure(probe, slots, before, n_forms, check_interrupt)
        if faults or not rates:
            raise NotMeasuredError(faults[0] if faults else "no worker has started")
        return total(rates, slots)

    def open(self, slots: int) -> None:
        self._slots = slots
        self._core_slots = 1 if self._has_gpus() else slots

    def n_free(self, n_waiting: int | None = None) -> int:
        loads = [worker.load(self._slots_of(worker)) for worker, _ in self._placed()]
        return n_startable(loads, n_waiting)

    def admit(self, spec: TrialSpec) -> None:
        health, slots = self._cluster.health, self._slots_of
        worker = min(
            (worker for worker, _ in self._placed() if len(worker.trials) < slots(worker)),
            key=lambda w: (health.failures_in_a_row(w.place), w.load(slots(w)).left),
        )
        worker.trials[spec.key] = Held(spec=spec)
        worker.admit.append(spec)
        self._worker_of[spec.key] = worker

    def resume(self, key: str) -> None:
        if worker := self._worker_of.get(key):
            worker.resume.append(key)

    def release(self, key: str) -> None:
        if worker := self._worker_of.get(key):
            self._forget(worker, [key])
            worker.release.append(key)

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        self._grow()
        for worker in self._workers:
            if worker.reply is None and (worker.keys or worker.release):
                worker.advance(self._slots_of(worker))
        if stalled := self._end_stalled():
            return stalled
        pending = {worker.reply: worker for worker in self._workers if worker.reply is not None}
        if not pending:
            time.sleep(timeout_seconds)
            return []
        replies = list(pending)
        ray.wait(replies, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        ready, _ = ray.wait(replies, num_returns=len(replies), timeout=0, fetch_local=False)
        return [event for reply in ready for event in self._receive(pending[reply])]

    def save(self, seconds: float) -> None:
        if saved := [worker.actor.save.remote() for worker, _ in self._placed() if worker.keys]:
            ray.wait(saved, num_returns=len(saved), timeout=seconds, fetch_local=False)

    def close(self) -> None:
        kill(self._spares)
        kill(worker.actor for worker in self._workers)
        for worker in self._workers:
            worker.delete_trace()
        self._spares.clear()
        self._workers.clear()
        self._worker_of.clear()

    def _call_first(
        self, method: str, specs: Sequence[TrialSpec], check_interrupt: CheckInterrupt
    ) -> Mapping[str, Any]:
        """Call a method of the first worker, once one has started; empty if the worker dies."""
        worker = self._first(check_interrupt)
        reply = getattr(worker.actor, method).remote(specs)
        seconds = stall_limit(specs[0])
        if not await_replies([reply], check_interrupt, seconds):
            self._remove(worker, str(StallError(seconds)))
            return {}
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

    def _has_gpus(self) -> bool:
        return any(worker.on_gpu for worker, _ in self._placed())

    def _slots_of(self, worker: Worker) -> int:
        return self._slots if worker.on_gpu else self._core_slots

    def _placed(self) -> list[tuple[Worker, Location]]:
        """Return the workers that have started, each with its location."""
        return [(w, w.location) for w in self._workers if w.location is not None]

    def _receive(self, worker: Worker) -> Sequence[LauncherEvent]:
        reply, worker.reply = worker.reply, None
        try:
            received = ray.get(reply)
        except RayError as error:
            return self._lose(worker, error)
        if isinstance(received, Location):
            self._place(worker, received)
            return []
        return self._read(worker, received)

    def _read(self, worker: Worker, received: Slice) -> Sequence[LauncherEvent]:
        ends = [event for event in received.events if isinstance(event, Finished | Failed)]
        needs_decision = worker.take(received.events) or ends or received.broken
        self._forget(worker, [end.key for end in ends])
        if worker.keys and not needs_decision:  # it trains while these events are stored
            worker.advance(self._slots_of(worker))
        for end in ends:
            # the checkpoint goes with the next order, which is sent after these events are stored
            worker.release.append(end.key)
            self._cluster.health.add(worker.place, failed=isinstance(end, Failed))
        if not received.broken:
            return [*received.events, *self._set_aside(worker.place)]
        if received.lost_gpu and worker.location is not None:
            self._cluster.lose(worker.location, received.broken)
        return [*received.events, *self._remove(worker, received.broken)]

    def _end_stalled(self) -> list[LauncherEvent]:
        """Replace the workers that have given no sign of life for too long."""
        events: list[LauncherEvent] = []
        for worker in tuple(self._workers):
            if (seconds := worker.stall()) is not None:
                self._cluster.health.add(worker.place, failed=True)
                events += self._remove(worker, str(StallError(seconds)))
        return events

    def _set_aside(self, place: Slot) -> list[LauncherEvent]:
        """Use a place no more where trial after trial fails; return the loss of its trials."""
        reason = self._cluster.health.fault(place)
        if not reason:
            return []
        self._cluster.set_aside(place, reason)
        there = [worker for worker in self._workers if worker.place == place]
        return [event for worker in there for event in self._remove(worker, reason)]

    def _place(self, worker: Worker, location: Location) -> None:
        self._failed_starts = 0
        device = (location.node, location.gpu)
        is_taken = any((other.node, other.gpu) == device for _, other in self._placed())
        if worker.on_gpu and (is_taken or not self._cluster.admits(location)):
            self._workers.remove(worker)
            self._spares.append(worker.actor)
            self._grown_at = -math.inf
            return
        self._started_at = time.monotonic()
        worker.location = location
        log.info("worker started", **asdict(location))

    def _forget(self, worker: Worker, keys: Iterable[str]) -> None:
        for key in keys:
            worker.trials.pop(key, None)
            self._worker_of.pop(key, None)

    def _lose(self, worker: Worker, error: RayError) -> Sequence[LauncherEvent]:
        if isinstance(error, RayTaskError) and isinstance(error.cause, CaptureError):
            self._eager = str(error.cause)
            log.warning("updates are no longer captured as CUDA graphs", reason=self._eager)
        reason = reason_of(error)
        if worker.location is None and self._cluster.has(worker.node):
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise RuntimeError(f"No worker can start: {reason}") from error
        if worker.suspects():
            self._cluster.health.add(worker.place, failed=True)
        return [*self._remove(worker, reason), *self._set_aside(worker.place)]

    def _remove(self, worker: Worker, reason: str) -> Sequence[LauncherEvent]:
        """Kill a worker and return the loss of its trials; another takes its place."""
        log.warning("a worker died", trials=len(worker.keys), reason=reason.splitlines()[0])
        self._workers.remove(worker)
        kill([worker.actor])
        self._grown_at = -math.inf
        losses = worker.losses(reason, has_left=not self._cluster.has(worker.node))
        self._forget(worker, [loss.key for loss in losses])
        worker.delete_trace()
        return losses

    def _grow(self) -> None:
        is_due = time.monotonic() >= self._grown_at + GROW_SECONDS
        if self._spares and (self._is_complete() or (is_due and self._grown_at > -math.inf)):
            kill(self._spares)
            self._spares.clear()
        if not is_due:
            return
        self._grown_at = time.monotonic()
        wanted = self._cluster.places(self._devices)
        self._n_wanted = sum(wanted.values())
        present = {node for node, _ in wanted}
        self._workers = [
            worker  # without a pending reply, nothing else shows that its node has left
            for worker in self._workers
            if worker.node in present or worker.reply is not None or worker.keys
        ]
        if not self._n_wanted and not self._workers:
            raise NoDeviceError(self._devices, self._cluster.faults())
        there = Counter((worker.node, worker.on_gpu) for worker in self._workers)
        for place, n in wanted.items():
            self._workers += [self._started(*place) for _ in range(n - there[place])]

    def _started(self, node: str, on_gpu: bool) -> Worker:
        arguments = (on_gpu, self._checkpoints, self._source, self._files, self._eager)
        return started_worker(self._actor, node, on_gpu, self._n_studies, arguments, self._traces)

    def _is_complete(self) -> bool:
        return 0 < self._n_wanted <= len(self._placed())
