"""Ray: actors that hold trials, and the launcher that places them on the cluster's GPUs, or else its cores."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import structlog
from ray.exceptions import RayError

from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec
from workers.launcher import News, WorkerLost

log = structlog.get_logger()

SLICE_SECONDS = 0.25
GROW_SECONDS = 10.0
MAX_FAILED_STARTS = 5


class TrialActor:
    """Trains up to `slots` trials on one device, in slices of time; one message a slice goes each way."""

    def __init__(self, slots: int, on_gpu: bool) -> None:
        import torch

        from gradnoise.training import open_trainer

        if not on_gpu:
            torch.set_num_threads(1)
        self._trainer = open_trainer(slots)
        self._rungs: dict[str, tuple[int, ...]] = {}

    def ready(self) -> int:
        """Return the process id, once the actor has started."""
        return os.getpid()

    def advance(self, admit: Sequence[TrialSpec], release: Sequence[str], go_on: Sequence[str]) -> list[Event]:
        """Carry out the orders, then train until the slice is over or something needs the driver's decision."""
        for key in release:
            self._trainer.release(key)
        for spec in admit:
            self._rungs[spec.key] = spec.rungs
            self._trainer.admit(spec)
        until = time.monotonic() + SLICE_SECONDS
        events: list[Event] = []
        while True:
            latest = self._trainer.advance(go_on)
            events += latest
            go_on = ()
            if not latest or time.monotonic() >= until or any(self._needs_driver(event) for event in latest):
                return events

    def _needs_driver(self, event: Event) -> bool:
        return not isinstance(event, Measurement) or event.epoch in self._rungs[event.key]


@dataclass(kw_only=True)
class Place:
    """An actor, the trials in it, the orders it has not had yet, and the answer it owes."""

    actor: Any
    answer: Any
    started: bool = False
    keys: set[str] = field(default_factory=set)
    admit: list[TrialSpec] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    go_on: list[str] = field(default_factory=list)


class RayLauncher:
    """Places one actor on each GPU of the cluster, or on each core where there is none; more as nodes join.

    Args:
        slots: Trials in one actor.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._places: list[Place] = []
        self._grown_at = float("-inf")
        self._failed_starts = 0
        self._grow()

    def n_free(self) -> int:
        return sum(self._slots - len(place.keys) for place in self._places if place.started)

    def admit(self, spec: TrialSpec) -> None:
        place = min((place for place in self._places if place.started), key=lambda place: len(place.keys))
        place.keys.add(spec.key)
        place.admit.append(spec)

    def go_on(self, key: str) -> None:
        for place in self._places:
            if key in place.keys:
                place.go_on.append(key)

    def release(self, key: str) -> None:
        for place in self._places:
            if key in place.keys:
                place.keys.discard(key)
                place.release.append(key)

    def measurements(self, timeout_seconds: float) -> Sequence[News]:
        self._grow()
        for place in self._places:
            if place.answer is None and (place.keys or place.release):
                place.answer = place.actor.advance.remote(place.admit, place.release, place.go_on)
                place.admit, place.release, place.go_on = [], [], []
        owed = [place.answer for place in self._places if place.answer is not None]
        if not owed:
            time.sleep(timeout_seconds)
            return []
        ray.wait(owed, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        arrived, _ = ray.wait(owed, num_returns=len(owed), timeout=0, fetch_local=False)
        return [one for place in list(self._places) if place.answer in arrived for one in self._hear(place)]

    def close(self) -> None:
        for place in self._places:
            with contextlib.suppress(RayError):
                ray.kill(place.actor)
        self._places.clear()

    def _hear(self, place: Place) -> Sequence[News]:
        answer, place.answer = place.answer, None
        try:
            news = ray.get(answer)
        except RayError as error:
            return self._lose(place, error)
        if not place.started:
            place.started = True
            self._failed_starts = 0
            return []
        place.keys -= {one.key for one in news if isinstance(one, Finished | Failed)}
        return list(news)

    def _lose(self, place: Place, error: RayError) -> Sequence[News]:
        reason = f"the worker ended: {type(error).__name__}: {error}".strip()
        log.warning("a worker ended", trials=len(place.keys), reason=reason.splitlines()[0])
        self._places.remove(place)
        with contextlib.suppress(RayError):
            ray.kill(place.actor)
        if not place.started:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise RuntimeError(f"No worker can start: {reason}") from error
        self._grown_at = float("-inf")
        return [WorkerLost(key=key, reason=reason) for key in sorted(place.keys)]

    def _grow(self) -> None:
        if time.monotonic() < self._grown_at + GROW_SECONDS:
            return
        self._grown_at = time.monotonic()
        gpu, n_places = devices()
        if n_places == 0:
            log.warning("the Ray cluster has neither GPUs nor cores; waiting for a node to join")
        needs = {"num_gpus": 1, "num_cpus": 1} if gpu else {"num_cpus": 1, "num_gpus": 0}
        while len(self._places) < n_places:
            actor = ray.remote(TrialActor).options(max_restarts=0, max_task_retries=0, **needs).remote(self._slots, gpu)
            self._places.append(Place(actor=actor, answer=actor.ready.remote()))  # type: ignore[attr-defined]  # a handle, typed as its class


def devices() -> tuple[bool, int]:
    """Return whether trials run on GPUs, and how many places the cluster has for actors."""
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # of Ray
    n_gpus = int(resources.get("GPU", 0))
    return (True, n_gpus) if n_gpus else (False, int(resources.get("CPU", 0)))
