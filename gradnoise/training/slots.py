"""Slots: which trials are in, which wait at a rung, what is told of each epoch. single.py and stack.py say how an epoch is trained."""

import math
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec


class Diverged(ArithmeticError):
    """A loss, a weight or a metric became non-finite."""


class Run(Protocol):
    """A trial under way."""

    def train_epoch(self) -> Mapping[str, float]:
        """Train one epoch and return its values; raises Diverged, or whatever the trial raises."""

    def close(self) -> None:
        """End it, finished or not."""


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
    """The trial in a slot."""

    spec: TrialSpec
    run: Run | None = None
    epoch: int = 0
    waits: bool = False


class SlotTrainer(ABC):
    """A Trainer; a subclass says how members train an epoch.

    Args:
        slots: Trials that it holds at most; at least 1.
    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, but got {slots=}.")
        self.slots = slots
        self._members: dict[str, Member] = {}

    def admit(self, spec: TrialSpec) -> None:
        if len(self._members) >= self.slots:
            raise RuntimeError(f"no slot is free: all {self.slots} hold a trial.")
        if spec.key in self._members:
            raise ValueError(f"key must be new, but {spec.key!r} is in a slot already.")
        self._members[spec.key] = Member(spec=spec)

    def release(self, key: str) -> None:
        member = self._members.pop(key, None)
        if member is not None and member.run is not None:
            member.run.close()

    def advance(self, go_on: Sequence[str] = ()) -> list[Event]:
        for key in go_on:
            if key in self._members:
                self._members[key].waits = False
        active = [member for member in self._members.values() if not member.waits]
        return [event for member, outcome in self._train_epoch(active) for event in self._settle(member, outcome)]

    @abstractmethod
    def _train_epoch(self, members: Sequence[Member]) -> Iterator[tuple[Member, Outcome]]:
        """Train each member by an epoch, in any order; open its run first where it has none."""

    def _settle(self, member: Member, outcome: Outcome) -> Iterator[Event]:
        key = member.spec.key
        if isinstance(outcome, Epoch) and not all(map(math.isfinite, outcome.values.values())):
            outcome = Broken(error=Diverged(), seconds=outcome.seconds)
        if isinstance(outcome, Broken):
            self.release(key)
            yield _end(key, outcome)
            return
        member.epoch += 1
        yield Measurement(key=key, epoch=member.epoch, values=outcome.values, seconds=outcome.seconds)
        if member.epoch == member.spec.budget_epochs:
            self.release(key)
            yield Finished(key=key)
        member.waits = member.epoch in member.spec.rungs


def timed(run: Run) -> Outcome:
    """Train a run by an epoch and return how that went, with the time it took."""
    start = time.perf_counter()
    try:
        values = run.train_epoch()
    except Exception as error:
        return Broken(error=error, seconds=time.perf_counter() - start)
    return Epoch(values=values, seconds=time.perf_counter() - start)


def _end(key: str, broken: Broken) -> Event:
    if isinstance(broken.error, Diverged):
        return Finished(key=key, diverged=True, seconds=broken.seconds)
    lines = traceback.format_exception(broken.error)
    summary = "".join(traceback.format_exception_only(broken.error)).strip().splitlines()[-1]
    return Failed(key=key, error="".join(lines), summary=summary, seconds=broken.seconds)
