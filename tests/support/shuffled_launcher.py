"""A launcher whose trials advance in a random order and whose workers are lost at random."""

import random
from collections import Counter
from collections.abc import Sequence

from formula_launcher import FormulaLauncher
from gradnoise_workers.launcher import LauncherEvent, WorkerLost


class ShuffledLauncher(FormulaLauncher):
    """Trains an epoch of most members in a random order at each call of `events`.

    Args:
        seed: Of the order and of the losses.
        slots: Trials that run at once, divided among the workers.
        workers: Number of workers.
        losses: Most losses of a worker; each loses all of its trials.
    """

    def __init__(self, seed: int, *, slots: int, workers: int = 1, losses: int = 0) -> None:
        super().__init__(slots=slots)
        self._random = random.Random(seed)
        self._workers = workers
        self._losses = losses
        self._lost: Counter[str] = Counter()

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        events: list[LauncherEvent] = list(self._lose_a_worker()) if self._losses else []
        for key in self._random.sample(self._by_trial(), k=len(self.members)):
            if key not in self.waiting and self._random.random() < 0.7:
                events += self.train(key, self.members[key])
        return events

    def _lose_a_worker(self) -> list[WorkerLost]:
        """Lose a worker now and then; a trial is lost once, as it is retried only so often."""
        if self._random.random() > 0.2:
            return []
        worker = self._random.randrange(self._workers)
        keys = [
            key
            for i, key in enumerate(self._by_trial())
            if i % self._workers == worker and not self._lost[self.members[key].checkpoint]
        ]
        self._losses -= bool(keys)
        self._lost.update(self.members[key].checkpoint for key in keys)
        for key in keys:
            self.release(key)
        return [WorkerLost(key=key, reason="killed") for key in keys]

    def _by_trial(self) -> list[str]:
        """Return the members by trial: their keys are random."""
        return sorted(self.members, key=lambda key: self.members[key].checkpoint)
