"""A launcher in simulated time: workers that train stacks at given rates, placed as on Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from formula_launcher import FormulaLauncher
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise_workers.launcher import LauncherEvent
from gradnoise_workers.placement import Held, Load, n_startable

SLICE_SECONDS = 1.0


@dataclass
class TimedWorker:
    """A worker; its trials train an epoch at a time, all together.

    Args:
        speed: Its speed in units of the rates.
        free_at: The end of its present slice.
        pause: How long it waits for its next orders.
        trials: Its trials by key.
        pending: The events of its present slice.
    """

    speed: float
    free_at: float = 0.0
    pause: float = 0.0
    trials: dict[str, Held] = field(default_factory=dict)
    pending: list[LauncherEvent] = field(default_factory=list)


class TimedLauncher(FormulaLauncher):
    """Trains slices of a second of simulated time; the clock is that of the study.

    Args:
        start: The time at the start.
        slots: Slots of each worker.
        rates: Updates per second of all trials together, by their number; numbers between have
            the rate of the next smaller one.
        steps: Updates of an epoch.
        speeds: The speed of each worker.
        answer_seconds: How long a worker waits for its next orders after a trial has ended.
    """

    def __init__(
        self,
        start: datetime,
        *,
        slots: int,
        rates: Mapping[int, float],
        steps: int,
        speeds: Sequence[float] = (1.0, 0.97),
        answer_seconds: float = 0.05,
    ) -> None:
        super().__init__(slots=slots)
        self.start_at, self.rates, self.steps = start, rates, steps
        self.answer_seconds = answer_seconds
        self.seconds_now = 0.0
        self.workers = [TimedWorker(speed) for speed in speeds]

    @property
    def n_devices(self) -> int:
        return len(self.workers)

    def now(self) -> datetime:
        return self.start_at + timedelta(seconds=self.seconds_now)

    def n_free(self, n_waiting: int | None = None) -> int:
        return n_startable([self.load(worker) for worker in self.workers], n_waiting)

    def load(self, worker: TimedWorker) -> Load:
        left = sum(held.share_left for held in worker.trials.values())
        return Load(left / self.slots, self.slots - len(worker.trials), self.slots)

    def admit(self, spec: TrialSpec) -> None:
        free = [worker for worker in self.workers if self.load(worker).n_free]
        worker = min(free, key=lambda worker: self.load(worker).left)
        worker.trials[spec.key] = Held(spec=spec)
        self.members[spec.key], self.epochs[spec.key] = spec, 0

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        for worker in self.workers:
            if worker.trials and not worker.pending:
                worker.free_at = max(worker.free_at, self.seconds_now) + worker.pause
                worker.pending = self._slice(worker)
        busy = [worker for worker in self.workers if worker.pending]
        if not busy:
            return []
        worker = min(busy, key=lambda worker: worker.free_at)
        self.seconds_now = worker.free_at
        events, worker.pending = worker.pending, []
        return events

    def _slice(self, worker: TimedWorker) -> list[LauncherEvent]:
        events: list[LauncherEvent] = []
        until, has_ended = worker.free_at + SLICE_SECONDS, False
        while not has_ended and worker.free_at < until:
            n = len(worker.trials)
            rate = self.rates[max(each for each in self.rates if each <= n)] * worker.speed
            worker.free_at += n * self.steps / rate
            for key, held in list(worker.trials.items()):
                events += self._epoch(held, self.steps / rate)
                if key not in self.members:
                    del worker.trials[key]
                    has_ended = True
        worker.pause = self.answer_seconds if has_ended else 0.0
        return events

    def _epoch(self, held: Held, seconds: float) -> list[LauncherEvent]:
        self.seconds = lambda _spec: seconds
        events = list(self.train(held.spec.key, held.spec))
        for event in events:
            if isinstance(event, Measurement):
                held.measured(event)
        return events
