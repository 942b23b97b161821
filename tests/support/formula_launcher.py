"""A launcher whose trials follow a formula: studies are fast and every result is known."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gradnoise.training.calibration import Rate
from gradnoise.training.rehearsal import Rehearsal
from gradnoise.training.trial import Failed, Finished, Measurement, TrialSpec
from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_workers.launcher import LauncherEvent


def accuracy(spec: TrialSpec, epoch: int) -> float:
    """Return a value that depends on seed, technique, learning rate and epoch alone."""
    spread = (spec.seed % 997) / 9970
    bonus = 0.2 if "annealed" in spec.techniques else 0.0
    return 0.3 + spread + bonus + float(spec.params["lr"]) / 10 + epoch / 1000


@dataclass
class FormulaLauncher:
    """Trains one epoch of every member at each call of `events`.

    Args:
        slots: The number of trials that run at once, whatever `open` receives.
        override: Returns None, or the event that ends a trial at an epoch without its measurement.
        memory: Trials that fit into the memory of a worker, in stacks of all kinds together.
        speeds: Updates per second, rate or error of the measurement, by number of slots.
        faults: Errors of the preparation by key.
        before: Returns the metrics of a trial before its first update.
        seconds: Returns the device time of an epoch of a trial.
        device_faults: Why GPUs are not used.
    """

    slots: int = 3
    override: Callable[[TrialSpec, int], LauncherEvent | None] = lambda _spec, _epoch: None
    members: dict[str, TrialSpec] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    released: list[str] = field(default_factory=list)
    admitted: list[TrialSpec] = field(default_factory=list)
    speeds: Mapping[int, float | Rate | Exception] = field(
        default_factory=lambda: {1: 100.0, 2: 150.0, 4: 151.0}
    )
    memory: float = math.inf
    measured: list[tuple[TrialSpec, int]] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    prepared: list[TrialSpec] = field(default_factory=list)
    import_fault: str = ""
    faults: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[TrialSpec], Mapping[str, float]] = lambda _spec: {}
    seconds: Callable[[TrialSpec], float] = lambda _spec: 0.25
    device_faults: Sequence[str] = ()
    n_saved: int = 0

    @property
    def n_devices(self) -> int:
        return 2

    @property
    def devices(self) -> DeviceChoice:
        return "cpu"

    def start(self, check_interrupt: Callable[[], None]) -> str:
        check_interrupt()
        return "2 x formula"

    def import_source(self, seconds: float, check_interrupt: Callable[[], None]) -> str:
        check_interrupt()
        return self.import_fault

    def prepare(
        self, specs: Sequence[TrialSpec], check_interrupt: Callable[[], None]
    ) -> Mapping[str, Rehearsal]:
        check_interrupt()
        self.prepared += specs
        return {spec.key: Rehearsal(error=self.faults.get(spec.key, "")) for spec in specs}

    def untrained(
        self, specs: Sequence[TrialSpec], check_interrupt: Callable[[], None]
    ) -> Mapping[str, Mapping[str, float]]:
        check_interrupt()
        return {spec.key: self.before(spec) for spec in specs}

    def candidates(self) -> Sequence[int]:
        return list(self.speeds)

    def measure(
        self,
        probe: TrialSpec,
        slots: int,
        before: Rate | None,
        n_forms: int,
        check_interrupt: Callable[[], None],
    ) -> Rate:
        check_interrupt()
        assert before is not None or slots == 1
        if slots * n_forms > self.memory:
            raise MemoryError
        self.measured.append((probe, slots))
        speed = self.speeds[slots]
        if isinstance(speed, Exception):
            raise speed
        return (
            speed
            if isinstance(speed, Rate)
            else Rate(slots=slots, steps_per_second=speed, bytes_per_slot=1)
        )

    def open(self, slots: int) -> None:
        self.opened.append(slots)

    def n_free(self, n_waiting: int | None = None) -> int:
        return self.slots - len(self.members)

    def admit(self, spec: TrialSpec) -> None:
        assert self.n_free() > 0
        self.members[spec.key] = spec
        self.epochs[spec.key] = 0
        self.admitted.append(spec)

    def resume(self, key: str) -> None:
        self.waiting.discard(key)

    def release(self, key: str) -> None:
        self.released.append(key)
        self.members.pop(key, None)
        self.waiting.discard(key)

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        events: deque[LauncherEvent] = deque()
        for key, spec in list(self.members.items()):
            if key not in self.waiting:
                events.extend(self.train(key, spec))
        return list(events)

    def save(self, seconds: float) -> None:
        self.n_saved += len(self.members)

    def close(self) -> None:
        self.members.clear()

    def train(self, key: str, spec: TrialSpec) -> Iterator[LauncherEvent]:
        self.epochs[key] += 1
        epoch = self.epochs[key]
        ending = self.override(spec, epoch)
        if ending is not None:
            del self.members[key]
            yield ending
            return
        values = {
            "train_loss": 1.0 / epoch,
            "validation_accuracy": accuracy(spec, epoch),
            "validation_loss": 1.0,
        }
        if spec.with_test:
            values |= {"test_accuracy": accuracy(spec, epoch) - 0.01, "test_loss": 1.0}
        yield Measurement(key=key, epoch=epoch, values=values, seconds=self.seconds(spec))
        if epoch == spec.budget_epochs:
            del self.members[key]
            yield Finished(key=key)
        elif epoch in spec.rungs:
            self.waiting.add(key)


def failure(spec: TrialSpec, summary: str = "ValueError: boom") -> Failed:
    return Failed(
        key=spec.key, error=f"Traceback (most recent call last):\n  ...\n{summary}", summary=summary
    )
