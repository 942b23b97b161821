"""A trial in a slot: its run, and the results of its epochs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from gradnoise.training.faults import UnfinishedError, as_exception
from gradnoise.training.output import Output
from gradnoise.training.trial import TrialSpec


class DivergedError(ArithmeticError):
    """A loss, a weight or a metric became non-finite."""


class SlotRun(Protocol):
    """A trial that trains in a slot."""

    def state(self) -> dict[str, Any] | None:
        """Return the contents of a checkpoint, tensors and plain values; None if it has none.

        `epoch` among them is the number of epochs after which it was taken.
        """

    def final_weights(self) -> Any:
        """Return what `torch.save` keeps of a finished trial; None if there is nothing."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned, of this class or of another."""

    def close(self) -> None:
        """End the run, finished or not."""


class LoneRun(SlotRun, Protocol):
    """A trial that trains as a separate model, timed by its clock."""

    clock: Callable[[], float]

    def train_epoch(self, timeout_seconds: float | None = None) -> Mapping[str, float]:
        """Train an epoch and return its values.

        Raises:
            UnfinishedError: If a training function takes longer than the timeout; the next call
                continues the epoch.
            DivergedError: If the trial has diverged. The trial may raise any other exception.
        """


@dataclass(frozen=True, kw_only=True)
class TrainedEpoch:
    """The values of an epoch, and the seconds it took."""

    values: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FailedEpoch:
    """The exception that ended a trial within an epoch, and the seconds until then."""

    error: Exception
    seconds: float


@dataclass(frozen=True, kw_only=True)
class OpenEpoch:
    """An epoch that goes on, and the seconds so far."""

    seconds: float


EpochResult = TrainedEpoch | FailedEpoch | OpenEpoch


@dataclass(kw_only=True)
class Member:
    """The trial in a slot.

    Args:
        spec: The trial.
        run: Its run, opened with its first epoch.
        epoch: Epochs reported so far.
        waits: Whether it waits at a rung.
        curve: The values of the epochs trained so far; after a checkpoint was loaded, these are
            more than were reported.
        saved_at: When its state was last written, by the monotonic clock.
        seconds: Device time of the present epoch, where it goes on.
        trained_seconds: Device time of the epochs before.
        output: What it has printed and saved.
        n_printing: How many trials print to the output at present, together.
    """

    spec: TrialSpec
    run: SlotRun | None = None
    epoch: int = 0
    waits: bool = False
    curve: list[Mapping[str, float]] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    trained_seconds: float = 0.0
    output: Output = field(default_factory=Output)
    n_printing: int = 1

    @property
    def is_over_time(self) -> bool:
        limit = self.spec.time_limit_seconds
        return limit is not None and self.trained_seconds + self.seconds > limit


def timed(run: SlotRun, timeout_seconds: float | None = None) -> EpochResult:
    """Train a LoneRun by an epoch, and return the result with the time it took."""
    lone = cast(LoneRun, run)
    start = lone.clock()
    try:
        values = lone.train_epoch(timeout_seconds)
    except UnfinishedError:
        return OpenEpoch(seconds=lone.clock() - start)
    except (Exception, SystemExit) as error:
        return FailedEpoch(error=as_exception(error), seconds=lone.clock() - start)
    return TrainedEpoch(values=values, seconds=lone.clock() - start)
