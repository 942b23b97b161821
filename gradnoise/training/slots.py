"""Slots: which trials are in, which wait at a rung, what is told of each epoch. single.py and
stack.py say how an epoch is trained.
"""

import math
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec


class DivergedError(ArithmeticError):
    """A loss, a weight or a metric became non-finite."""


class Run(Protocol):
    """A trial under way."""

    def state(self) -> dict[str, Any] | None:
        """Return what a checkpoint holds, tensors and plain values; None where the trial's state is
        not in the trainer's hands.
        """

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, maybe of another kind of run."""

    def close(self) -> None:
        """End it, finished or not."""


class LoneRun(Run, Protocol):
    """A trial under way that trains alone."""

    def train_epoch(self) -> Mapping[str, float]:
        """Train one epoch and return its values; raises Diverged, or whatever the trial raises."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The values of one trained epoch, and the seconds it took."""

    values: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What ended a trial in the middle of an epoch, and the seconds that the epoch had taken."""

    error: Exception
    seconds: float


Outcome = Epoch | Broken


@dataclass(kw_only=True)
class Member:
    """The trial in a slot.

    `epoch` is how many epochs have been told of, `curve` the values of those that were trained:
        more, after a checkpoint was taken up.
    """

    spec: TrialSpec
    run: Run | None = None
    epoch: int = 0
    waits: bool = False
    curve: list[Mapping[str, float]] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)


class SlotTrainer(ABC):
    """A Trainer; a subclass says how members train an epoch.

    Args:
        slots: Trials that it holds at most; at least 1.
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
        outcomes: list[tuple[Member, Outcome]] = []
        due: list[tuple[Member, Run]] = []
        for member in [member for member in self._members.values() if not member.waits]:
            try:
                run = member.run = member.run or self._resume(member)
            except Exception as error:
                outcomes.append((member, Broken(error=error, seconds=0.0)))
                continue
            if member.epoch < len(member.curve):  # trained before the checkpoint that was taken up
                outcomes.append((member, Epoch(values=member.curve[member.epoch], seconds=0.0)))
            else:
                due.append((member, run))
        return [
            event
            for member, outcome in (*outcomes, *self._train_epoch(due))
            for event in self._settle(member, outcome)
        ]

    @abstractmethod
    def _open(self, spec: TrialSpec) -> Run:
        """Open a trial at its beginning."""

    @abstractmethod
    def _train_epoch(
        self, members: Sequence[tuple[Member, Run]]
    ) -> Iterable[tuple[Member, Outcome]]:
        """Train each member by an epoch, in any order."""

    def _leave(self, key: str) -> TrialSpec:
        member = self._members.pop(key)
        if member.run is not None:
            member.run.close()
        return member.spec

    def _ended(self, end: Finished | Failed) -> Event:
        spec = self._leave(end.key)
        if isinstance(end, Failed):
            self._delete_checkpoint(spec)  # it may be what fails
        else:
            self._finished[end.key] = spec
        return end

    def _delete_checkpoint(self, spec: TrialSpec) -> None:
        if checkpoints := self._checkpoints_of(spec):
            checkpoints.delete(spec)

    def _checkpoints_of(self, spec: TrialSpec) -> Checkpoints | None:
        return self._checkpoints if spec.checkpoint else None

    def _resume(self, member: Member) -> Run:
        run = self._open(member.spec)
        checkpoints = self._checkpoints_of(member.spec)
        state = checkpoints.load(member.spec) if checkpoints else None
        if state is not None:
            run.load(state)
            member.curve = list(state["curve"])
        return run

    def _keep(self, member: Member) -> None:
        """Write the member's state, if it is time to."""
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

    def _settle(self, member: Member, outcome: Outcome) -> Iterator[Event]:
        key = member.spec.key
        if isinstance(outcome, Epoch) and not all(map(math.isfinite, outcome.values.values())):
            outcome = Broken(error=DivergedError(), seconds=outcome.seconds)
        if isinstance(outcome, Broken):
            yield self._ended(_end(key, outcome))
            return
        if member.epoch == len(member.curve):
            member.curve.append(outcome.values)
        member.epoch += 1
        yield Measurement(
            key=key, epoch=member.epoch, values=outcome.values, seconds=outcome.seconds
        )
        if member.epoch == member.spec.budget_epochs:
            yield self._ended(Finished(key=key))
            return
        member.waits = member.epoch in member.spec.rungs
        self._keep(member)


def timed(run: Run) -> Outcome:
    """Train a run that trains alone by an epoch and return how that went, with the time it took."""
    start = time.perf_counter()
    try:
        values = cast(LoneRun, run).train_epoch()
    except Exception as error:
        return Broken(error=error, seconds=time.perf_counter() - start)
    return Epoch(values=values, seconds=time.perf_counter() - start)


def _end(key: str, broken: Broken) -> Finished | Failed:
    if isinstance(broken.error, DivergedError):
        return Finished(key=key, diverged=True, seconds=broken.seconds)
    lines = traceback.format_exception(broken.error)
    told = "".join(traceback.format_exception_only(broken.error)).splitlines()
    # before that line a SyntaxError shows its place, and after it torch gives advice
    summary = next(line for line in told if line and not line[0].isspace())
    return Failed(key=key, error="".join(lines), summary=summary, seconds=broken.seconds)
