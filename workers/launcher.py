"""What a StudyRun sees of the machines: places where trials train, and the news from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gradnoise.training.trial import Event, TrialSpec


@dataclass(frozen=True, kw_only=True)
class WorkerLost:
    """The worker of a trial ended under it; nothing more will be heard of this attempt."""

    key: str
    reason: str


News = Event | WorkerLost


class Launcher(Protocol):
    """Trains trials in slots somewhere; one launcher serves one study."""

    def n_free(self) -> int:
        """Return how many trials could start now."""

    def admit(self, spec: TrialSpec) -> None:
        """Start a trial in a free slot."""

    def go_on(self, key: str) -> None:
        """Let a trial that waits at one of its rungs train on."""

    def measurements(self, timeout_seconds: float) -> Sequence[News]:
        """Return what has happened since the last call; wait for something to happen, but no longer than the timeout."""

    def release(self, key: str) -> None:
        """Take a trial out of its slot, finished or not."""

    def close(self) -> None:
        """Free every slot and device."""
