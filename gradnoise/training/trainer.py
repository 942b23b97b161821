"""The interface of the trainers: separate models (single.py) or one model (stack.py)."""

from collections.abc import Sequence
from typing import Protocol

from gradnoise.training.trial import Event, TrialSpec


class Trainer(Protocol):
    """A number of slots in which trials train side by side, epoch by epoch."""

    slots: int

    def admit(self, spec: TrialSpec) -> None:
        """Put a trial into a free slot; it starts with the next epoch.

        Raises:
            RuntimeError: If no slot is free.
            ValueError: If a trial with the same key is in a slot.
        """

    def release(self, key: str) -> None:
        """Remove a trial from its slot and delete its checkpoint, also after it has finished.

        Unknown keys are ignored.
        """

    def save(self) -> None:
        """Checkpoint every member that has trained an epoch, where checkpoints are kept."""

    def advance(
        self, go_on: Sequence[str] = (), timeout_seconds: float | None = None
    ) -> list[Event]:
        """Train every member by one epoch and return the events, in order.

        When a training function takes longer than the timeout for its epoch, this returns the
        events until then; the next call continues that epoch, before any other.

        A member that has reached one of its rungs waits until its key is in `go_on`. A member that
        finished, diverged or failed has left its slot when this returns. An exception of a trial
        becomes `Failed`; `advance` does not raise it. The checkpoint of a finished trial is kept
        until the trial is released: a caller that lost the events can replay them.
        """
