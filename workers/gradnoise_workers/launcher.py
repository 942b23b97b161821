"""What a StudyRun sees of the machines: places where trials train, and the news from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gradnoise.training.calibration import Rate
from gradnoise.training.trial import Event, TrialSpec


@dataclass(frozen=True, kw_only=True)
class WorkerLost:
    """The worker of a trial ended under it; nothing more will be heard of this attempt."""

    key: str
    reason: str


News = Event | WorkerLost


class NotMeasuredError(Exception):
    """A measurement came to nothing: a worker ended under it, or the trial raised."""


class Launcher(Protocol):
    """Trains trials in slots somewhere; one launcher serves one study.

    Trials can be admitted once it is open. What waits before that calls `carry_on` now and then,
    which raises to end the waiting.
    """

    def start(self, carry_on: Callable[[], None]) -> str:
        """Wait for workers to start and return what they run on."""

    def candidates(self) -> Sequence[int]:
        """Return the numbers of slots worth measuring, ascending."""

    def measure(
        self, probe: TrialSpec, slots: int, before: Rate | None, carry_on: Callable[[], None]
    ) -> Rate:
        """Train copies of a trial in so many slots of every worker at once, for a moment, and
        return the rate of all together.

        Args:
            probe: The trial.
            slots: Of each worker.
            before: The last rate, from which follows whether so many slots fit.
            carry_on: See above.

        Raises:
            MemoryError: If they do not fit.
            NotMeasuredError: If a worker ended, or the trial raised.
        """

    def open(self, slots: int) -> None:
        """Give every worker so many slots, those too that start later."""

    def n_free(self) -> int:
        """Return how many trials could start now."""

    def admit(self, spec: TrialSpec) -> None:
        """Start a trial in a free slot."""

    def go_on(self, key: str) -> None:
        """Let a trial that waits at one of its rungs train on."""

    def measurements(self, timeout_seconds: float) -> Sequence[News]:
        """Return what has happened since the last call; wait for something to happen, but no longer
        than the timeout.
        """

    def release(self, key: str) -> None:
        """Take a trial out of its slot, finished or not."""

    def close(self) -> None:
        """Free every slot and device."""
