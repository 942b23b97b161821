"""Slots: which trials are in them, which wait at a rung, and the events of each epoch.

`single` and `stack` define how an epoch is trained.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.faults import Fault, FunctionError
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec


class DivergedError(ArithmeticError):
    """A loss, a weight or a metric became non-finite."""


class SlotRun(Protocol):
    """A trial that trains in a slot."""

    def state(self) -> dict[str, Any] | None:
        """Return the contents of a checkpoint, tensors and plain values; None if it has none.

        `epoch` among them is the number of epochs after which it was taken.
        """

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned, of this class or of another."""

    def close(self) -> None:
        """End the run, finished or not."""


class LoneRun(SlotRun, Protocol):
    """A trial that trains as a separate model."""

    def train_epoch(self) -> Mapping[str, float]:
        """Train an epoch and return its values.

        Raises:
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


EpochResult = TrainedEpoch | FailedEpoch


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
    """

    spec: TrialSpec
    run: SlotRun | None = None
    epoch: int = 0
    waits: bool = False
    curve: list[Mapping[str, float]] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)


class SlotTrainer(ABC):
    """A Trainer; subclasses define how members train an epoch.

    Args:
        slots: Most trials at the same time; at least 1.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.
    """

    def __init__(self, slots: int, checkpoints: Checkpoints | None = None) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, but got {slots=}.")
        self.slots = slots
        self._checkpoints = checkpoints
        self._members: dict[str, Member] = {}
        self._finished: dict[str, TrialSpec] = {}

    def admit(self, spec: TrialSpec) -> None:
        if len(self._members) >= self.slots:
            raise RuntimeError(f"no slot is free: all {self.slots} hold a trial.")
        if spec.key in self._members:
            raise ValueError(f"key must be new, but {spec.key!r} is in a slot already.")
        self._members[spec.key] = Member(spec=spec)

    def release(self, key: str) -> None:
        spec = self._finished.pop(key, None)
        if spec is None and key in self._members:
            spec = self._leave(key)
        if spec is not None:
            self._delete_checkpoint(spec)

    def advance(self, go_on: Sequence[str] = ()) -> list[Event]:
        for key in go_on:
            if key in self._members:
                self._members[key].waits = False
        results: list[tuple[Member, EpochResult]] = []
        due: list[tuple[Member, SlotRun]] = []
        for member in [member for member in self._members.values() if not member.waits]:
            try:
                run = member.run = member.run or self._resume(member)
            except Exception as error:
                results.append((member, FailedEpoch(error=error, seconds=0.0)))
                continue
            if member.epoch < len(member.curve):  # trained before the checkpoint was written
                replayed = member.curve[member.epoch]
                results.append((member, TrainedEpoch(values=replayed, seconds=0.0)))
            else:
                due.append((member, run))
        return [
            event
            for member, result in (*results, *self._train_epoch(due))
            for event in self._settle(member, result)
        ]

    @abstractmethod
    def _open(self, spec: TrialSpec) -> SlotRun:
        """Open a trial that has not trained yet."""

    @abstractmethod
    def _train_epoch(
        self, members: Sequence[tuple[Member, SlotRun]]
    ) -> Iterable[tuple[Member, EpochResult]]:
        """Train each member by an epoch, in any order."""

    def _leave(self, key: str) -> TrialSpec:
        member = self._members.pop(key)
        if member.run is not None:
            member.run.close()
        return member.spec

    def _ended(self, end: Finished | Failed) -> Event:
        spec = self._leave(end.key)
        if isinstance(end, Failed):
            self._delete_checkpoint(spec)  # the checkpoint may be the cause
        else:
            self._finished[end.key] = spec
        return end

    def _delete_checkpoint(self, spec: TrialSpec) -> None:
        if checkpoints := self._checkpoints_of(spec):
            checkpoints.delete(spec)

    def _checkpoints_of(self, spec: TrialSpec) -> Checkpoints | None:
        return self._checkpoints if spec.checkpoint else None

    def _resume(self, member: Member) -> SlotRun:
        run = self._open(member.spec)
        checkpoints = self._checkpoints_of(member.spec)
        state = checkpoints.load(member.spec) if checkpoints else None
        if state is not None:
            run.load(state)
            member.curve = list(state["curve"])[: state["epoch"]]
        return run

    def _keep(self, member: Member) -> None:
        """Write the member's state if it is due."""
        checkpoints = self._checkpoints_of(member.spec)
        if (
            checkpoints is None
            or member.run is None
            or time.monotonic() < member.saved_at + checkpoints.every_seconds
        ):
            return
        state = member.run.state()
        if state is not None:
            checkpoints.save(
                member.spec, state | {"curve": [dict(values) for values in member.curve]}
            )
        member.saved_at = time.monotonic()

    def _settle(self, member: Member, result: EpochResult) -> Iterator[Event]:
        key = member.spec.key
        if isinstance(result, TrainedEpoch) and not all(map(math.isfinite, result.values.values())):
            result = FailedEpoch(error=DivergedError(), seconds=result.seconds)
        if isinstance(result, FailedEpoch):
            yield self._ended(_end(key, result))
            return
        if member.epoch == len(member.curve):
            member.curve.append(result.values)
        member.epoch += 1
        yield Measurement(key=key, epoch=member.epoch, values=result.values, seconds=result.seconds)
        if member.epoch == member.spec.budget_epochs:
            yield self._ended(Finished(key=key))
            return
        member.waits = member.epoch in member.spec.rungs
        self._keep(member)


def timed(run: SlotRun) -> EpochResult:
    """Train a LoneRun by an epoch, and return the result with the time it took."""
    start = time.perf_counter()
    try:
        values = cast(LoneRun, run).train_epoch()
    except Exception as error:
        return FailedEpoch(error=error, seconds=time.perf_counter() - start)
    return TrainedEpoch(values=values, seconds=time.perf_counter() - start)


def _end(key: str, failed: FailedEpoch) -> Finished | Failed:
    if isinstance(failed.error, DivergedError):
        return Finished(key=key, diverged=True, seconds=failed.seconds)
    error = failed.error
    fault = error.fault if isinstance(error, FunctionError) else Fault.of(error)
    return Failed(key=key, error=fault.error, summary=fault.summary, seconds=failed.seconds)
