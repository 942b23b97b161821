"""The one interface behind which trials train: alone (single.py) or as one model (stack.py)."""

from collections.abc import Sequence
from typing import Protocol

from gradnoise.training.trial import Event, TrialSpec


class Trainer(Protocol):
    """A place with `slots` slots in which trials train side by side, epoch by epoch."""

    slots: int

    def admit(self, spec: TrialSpec) -> None:
        """Put a trial into a free slot; it starts with the next epoch.

        Raises:
            RuntimeError: If no slot is free.
        """

    def release(self, key: str) -> None:
        """Drop a trial from its slot, and its checkpoint, also when it has finished; unknown keys
        are ignored.
        """

    def advance(self, go_on: Sequence[str] = ()) -> list[Event]:
        """Train every member by one epoch and return what happened, in order.

        A member that stands at one of its rungs waits until its key is in `go_on`. A member that
        finished, diverged or failed has left its slot when this returns. A trial's own exception
        becomes `Failed`, never an exception of `advance`. The checkpoint of one that has finished
        stays until it is released, so that a caller who has not heard of the end need not have it
        trained anew.
        """
