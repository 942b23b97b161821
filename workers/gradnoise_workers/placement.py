"""Placement: how many of the waiting trials start, given what each worker has left to train."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from gradnoise.training.trial import Measurement, TrialSpec


@dataclass(kw_only=True)
class Held:
    """A trial in a worker.

    Args:
        spec: The trial.
        epoch: Its last epoch that was received.
    """

    spec: TrialSpec
    epoch: int = 0

    @property
    def share_left(self) -> float:
        """The share of its epochs that is left."""
        return 1 - self.epoch / self.spec.budget_epochs

    def measured(self, event: Measurement) -> bool:
        """Take an epoch; return whether it is a rung, at which the trial waits."""
        self.epoch = event.epoch
        return event.epoch in self.spec.rungs


@dataclass(order=True)
class Load:
    """What a worker has left to train.

    Args:
        left: Its trials, each counted by the share that is left, divided by its slots.
        n_free: Its free slots.
        slots: Its slots.
    """

    left: float
    n_free: int = field(compare=False)
    slots: int = field(compare=False)


def n_startable(loads: Iterable[Load], n_waiting: int | None) -> int:
    """Return how many of the waiting trials start now, such that the workers end together.

    Each trial starts in the worker that has the least left to train, which may have no slot until
    its present trials end. So the last trials of a study are spread over the workers, though the
    slots of the first one that is free would hold them all. None: as many trials as slots.

    >>> n_startable([Load(0.0, 8, 8), Load(0.5 / 8, 0, 8)], 6)
    3
    >>> n_startable([Load(0.0, 8, 8), Load(0.5 / 8, 0, 8)], 60)
    8
    """
    heap = [load for load in loads if load.slots]
    heapq.heapify(heap)
    n_free, n_started = sum(load.n_free for load in heap), 0
    if n_waiting is None:
        return n_free
    for _ in range(n_waiting):
        if n_started == n_free:
            break
        load = heapq.heappop(heap)
        is_free = load.n_free > 0
        n_started += is_free
        heapq.heappush(heap, Load(load.left + 1 / load.slots, load.n_free - is_free, load.slots))
    return n_started
