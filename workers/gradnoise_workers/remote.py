"""Ray: actors that hold trials, and the launcher that places them on the cluster's GPUs, or else
its cores.
"""

import contextlib
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import structlog
from ray.exceptions import RayError, RayTaskError

from gradnoise.training.calibration import Rate, candidates
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec
from gradnoise_workers.launcher import News, NotMeasuredError, WorkerLost

log = structlog.get_logger()

SLICE_SECONDS = 1.0
POLL_SECONDS = 0.5
START_SECONDS = 10.0
GROW_SECONDS = 10.0
MAX_FAILED_STARTS = 5


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where an actor runs: its node in Ray, its GPU there if it has one, and what the device calls
    itself.
    """

    node: str
    gpu: str
    device: str


class TrialActor:
    """Trains trials on one device, in slices of time; one message a slice goes each way."""

    def __init__(self, on_gpu: bool, checkpoints: Checkpoints | None) -> None:
        import torch

        if not on_gpu:
            torch.set_num_threads(1)
        self._on_gpu = on_gpu
        self._checkpoints = checkpoints
        self._measurer: Any = None
        self._trainer: Any = None
        self._rungs: dict[str, tuple[int, ...]] = {}

    def home(self) -> Home:
        """Return where the actor runs, once it has started."""
        context = ray.get_runtime_context()
        gpu = ",".join(context.get_accelerator_ids().get("GPU", [])) if self._on_gpu else ""
        return Home(node=context.get_node_id(), gpu=gpu, device=_device(self._on_gpu))

    def measure(
        self, probe: TrialSpec, slots: int, before: Rate | None, n_processes: int
    ) -> Rate | None:
        """Return how fast copies of a trial train in so many slots, None if they do not fit beside
        the other processes.
        """
        from gradnoise.training.calibration import Measurer, fits
        from gradnoise.training.memory import is_out_of_memory

        if before is not None and before.slots < slots and not fits(before, slots, n_processes):
            return None
        try:
            if self._measurer is None or self._measurer.spec != probe:
                self._measurer = Measurer(probe)
            rate: Rate = self._measurer.measure(slots)
        except Exception as error:
            self._measurer = None  # the copies that it holds are what takes the memory
            if is_out_of_memory(error):
                return None
            raise
        return rate

    def advance(
        self, slots: int, admit: Sequence[TrialSpec], release: Sequence[str], go_on: Sequence[str]
    ) -> list[Event]:
        """Carry out the orders, then train until the slice is over or something needs the driver's
        decision.
        """
        if self._trainer is None:
            from gradnoise.training import open_trainer

            self._trainer, self._measurer = open_trainer(slots, self._checkpoints), None
        for key in release:
            self._trainer.release(key)
            self._rungs.pop(key, None)
        for spec in admit:
            self._rungs[spec.key] = spec.rungs
            self._trainer.admit(spec)
        until = time.monotonic() + SLICE_SECONDS
        events: list[Event] = []
        while True:
            latest = self._trainer.advance(go_on)
            events += latest
            go_on = ()
            if (
                not latest
                or time.monotonic() >= until
                or any(self._needs_driver(event) for event in latest)
            ):
                for event in events:
                    if isinstance(event, Finished | Failed):
                        self._rungs.pop(event.key, None)
                return events

    def _needs_driver(self, event: Event) -> bool:
        return not isinstance(event, Measurement) or event.epoch in self._rungs[event.key]


@dataclass(kw_only=True, eq=False)
class Place:
    """An actor, the trials in it, the orders it has not had yet, and the answer it owes."""

    actor: Any
    answer: Any
    home: Home | None = None
    keys: set[str] = field(default_factory=set)
    admit: list[TrialSpec] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    go_on: list[str] = field(default_factory=list)


class RayLauncher:
    """Places one actor on each GPU of the cluster, or on each core where there is none; more as
    nodes join.

    So that several studies can run, an actor asks Ray for a share of its device only. Ray fills a
    device before it takes the next one: an actor that lands where this study has one already is
    held, idle, until the others have found theirs, and then ended.

    Args:
        checkpoints: Where trials keep their state, so that another worker can go on with them;
            None: nowhere.
        n_studies: How many studies share each device.
    """

    def __init__(self, checkpoints: Checkpoints | None = None, n_studies: int = 1) -> None:
        self._checkpoints = checkpoints
        self._n_studies = n_studies
        self._slots = 0
        self._on_gpu = False
        self._n_places = 0
        self._places: list[Place] = []
        self._place_of: dict[str, Place] = {}
        self._spares: list[Any] = []
        self._started_at = math.inf
        self._grown_at = -math.inf
        self._failed_starts = 0
        self._grow()

    def start(self, carry_on: Callable[[], None]) -> str:
        while not self._is_complete() and time.monotonic() < self._started_at + START_SECONDS:
            carry_on()
            self.measurements(POLL_SECONDS)
        names = Counter(place.home.device for place in self._places if place.home is not None)
        shares = f", each shared by {self._n_studies} studies" if self._n_studies > 1 else ""
        return ", ".join(f"{n} x {name}" for name, n in sorted(names.items())) + shares

    def candidates(self) -> Sequence[int]:
        return candidates(on_gpu=self._on_gpu)

    def measure(
        self, probe: TrialSpec, slots: int, before: Rate | None, carry_on: Callable[[], None]
    ) -> Rate:
        started = [(place, place.home.node) for place in self._places if place.home is not None]
        on_node = Counter(node for _, node in started)
        owed = {}
        for place, node in started:
            n_processes = self._n_studies * (1 if self._on_gpu else on_node[node])
            owed[place.actor.measure.remote(probe, slots, before, n_processes)] = place
        waiting = list(owed)
        while waiting:
            _, waiting = ray.wait(
                waiting, num_returns=len(waiting), timeout=POLL_SECONDS, fetch_local=False
            )
            carry_on()
        rates: list[Rate | None] = []
        faults: list[str] = []
        for answer, place in owed.items():
            try:
                rates.append(ray.get(answer))
            except RayTaskError as error:
                faults.append(str(error.cause))
            except RayError as error:
                faults.append(f"{type(error).__name__}: {error}")
                self._lose(place, error)
        if faults or not rates:
            raise NotMeasuredError(faults[0] if faults else "no worker has started")
        fitting = [rate for rate in rates if rate is not None]
        if len(fitting) < len(rates):
            raise MemoryError(f"{slots} slots do not fit.")
        return Rate(
            slots=slots,
            steps_per_second=sum(rate.steps_per_second for rate in fitting),
            bytes_per_slot=max(rate.bytes_per_slot for rate in fitting),
            refusal=next((rate.refusal for rate in fitting if rate.refusal), ""),
        )

    def open(self, slots: int) -> None:
        self._slots = slots

    def n_free(self) -> int:
        return (
            sum(self._slots - len(place.keys) for place in self._places if place.home is not None)
            if self._slots
            else 0
        )

    def admit(self, spec: TrialSpec) -> None:
        place = min(
            (place for place in self._places if place.home is not None),
            key=lambda place: len(place.keys),
        )
        place.keys.add(spec.key)
        place.admit.append(spec)
        self._place_of[spec.key] = place

    def go_on(self, key: str) -> None:
        if key in self._place_of:
            self._place_of[key].go_on.append(key)

    def release(self, key: str) -> None:
        if key in self._place_of:
            place = self._place_of[key]
            self._forget(place, [key])
            place.release.append(key)

    def measurements(self, timeout_seconds: float) -> Sequence[News]:
        self._grow()
        for place in self._places:
            if place.answer is None and (place.keys or place.release):
                place.answer = place.actor.advance.remote(
                    self._slots, place.admit, place.release, place.go_on
                )
                place.admit, place.release, place.go_on = [], [], []
        owed = {place.answer: place for place in self._places if place.answer is not None}
        if not owed:
            time.sleep(timeout_seconds)
            return []
        ray.wait(list(owed), num_returns=1, timeout=timeout_seconds, fetch_local=False)
        arrived, _ = ray.wait(list(owed), num_returns=len(owed), timeout=0, fetch_local=False)
        return [one for answer in arrived for one in self._hear(owed[answer])]

    def close(self) -> None:
        _end(self._spares)
        _end(place.actor for place in self._places)
        self._spares.clear()
        self._places.clear()
        self._place_of.clear()

    def _hear(self, place: Place) -> Sequence[News]:
        answer, place.answer = place.answer, None
        try:
            told = ray.get(answer)
        except RayError as error:
            return self._lose(place, error)
        if isinstance(told, Home):
            self._settle(place, told)
            return []
        ended = [one.key for one in told if isinstance(one, Finished | Failed)]
        self._forget(place, ended)
        # their checkpoints go with the next order, which is given when this has been written
        place.release += ended
        return list(told)

    def _settle(self, place: Place, home: Home) -> None:
        self._failed_starts = 0
        self._started_at = time.monotonic()
        beside = [
            other
            for other in self._places
            if other.home is not None and (other.home.node, other.home.gpu) == (home.node, home.gpu)
        ]
        if len(beside) < (1 if self._on_gpu else _cores(home.node)):
            place.home = home
            return
        self._places.remove(place)
        self._spares.append(place.actor)
        self._grown_at = -math.inf

    def _forget(self, place: Place, keys: Iterable[str]) -> None:
        for key in keys:
            place.keys.discard(key)
            self._place_of.pop(key, None)

    def _lose(self, place: Place, error: RayError) -> Sequence[News]:
        reason = f"the worker ended: {type(error).__name__}: {error}".strip()
        log.warning("a worker ended", trials=len(place.keys), reason=reason.splitlines()[0])
        self._places.remove(place)
        _end([place.actor])
        if place.home is None:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise RuntimeError(f"No worker can start: {reason}") from error
        self._grown_at = -math.inf
        lost = sorted(place.keys)
        self._forget(place, lost)
        return [WorkerLost(key=key, reason=reason) for key in lost]

    def _grow(self) -> None:
        is_due = time.monotonic() >= self._grown_at + GROW_SECONDS
        if self._spares and (self._is_complete() or (is_due and self._grown_at > -math.inf)):
            _end(self._spares)
            self._spares.clear()
        if not is_due:
            return
        self._grown_at = time.monotonic()
        self._on_gpu, self._n_places = devices()
        if self._n_places == 0:
            log.warning("the Ray cluster has neither GPUs nor cores; waiting for a node to join")
        share = math.floor(1e4 / self._n_studies) / 1e4  # Ray counts in ten-thousandths
        needs = {"num_cpus": share, "num_gpus": share if self._on_gpu else 0}
        while len(self._places) < self._n_places:
            options = {
                "max_restarts": 0,
                "max_task_retries": 0,
                "scheduling_strategy": "SPREAD",
                **needs,
            }
            actor = (
                ray.remote(TrialActor).options(**options).remote(self._on_gpu, self._checkpoints)
            )
            # a handle, typed as its class
            self._places.append(Place(actor=actor, answer=actor.home.remote()))  # type: ignore[attr-defined]

    def _is_complete(self) -> bool:
        return 0 < self._n_places <= sum(place.home is not None for place in self._places)


def devices() -> tuple[bool, int]:
    """Return whether trials run on GPUs, and how many places the cluster has for actors."""
    # of Ray
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    n_gpus = int(resources.get("GPU", 0))
    return (True, n_gpus) if n_gpus else (False, int(resources.get("CPU", 0)))


def _cores(node: str) -> int:
    nodes: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # of Ray
    return next((int(one["Resources"].get("CPU", 0)) for one in nodes if one["NodeID"] == node), 0)


def _device(on_gpu: bool) -> str:
    import torch

    if on_gpu and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"core of {line.partition(':')[2].strip()}"
    return f"core of {platform.processor() or platform.machine()}"


def _end(actors: Iterable[Any]) -> None:
    for actor in actors:
        with contextlib.suppress(RayError):
            ray.kill(actor)
