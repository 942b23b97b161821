"""Slots: which trials are in them, which wait at a rung, and the events of each epoch.

`single` and `stack` define how an epoch is trained.
"""

import logging
import math
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.faults import Fault, FunctionError, TimeLimitError, UnfinishedError
from gradnoise.training.files import WEIGHTS_NAME, Files
from gradnoise.training.output import Output, collecting, joined
from gradnoise.training.precision import exact_float32
from gradnoise.training.trial import Event, Failed, Finished, Measurement, Printed, Saved, TrialSpec

log = logging.getLogger(__name__)


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


class SlotTrainer(ABC):
    """A Trainer; subclasses define how members train an epoch.

    Args:
        slots: Most trials at the same time; at least 1.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.
        files: Where it keeps the files of these trials.
    """

    def __init__(
        self,
        slots: int,
        checkpoints: Checkpoints | None = None,
        files: Files | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, but got {slots=}.")
        self.slots = slots
        self._checkpoints, self._files = checkpoints, files
        self._members: dict[str, Member] = {}
        self._finished: dict[str, TrialSpec] = {}
        self._round: Iterator[tuple[Member, EpochResult]] | None = None
        self._timeout_seconds: float | None = None

    def admit(self, spec: TrialSpec) -> None:
        if len(self._members) >= self.slots:
            raise RuntimeError(f"no slot is free: all {self.slots} hold a trial.")
        if spec.key in self._members:
            raise ValueError(f"key must be new, but {spec.key!r} is in a slot already.")
        files = self._files if spec.checkpoint else None
        self._members[spec.key] = Member(spec=spec, output=Output(files))

    def release(self, key: str) -> None:
        spec = self._finished.pop(key, None)
        if spec is None and key in self._members:
            spec = self._leave(key)
        if spec is not None:
            self._delete_checkpoint(spec)

    @exact_float32()
    def advance(
        self, go_on: Sequence[str] = (), timeout_seconds: float | None = None
    ) -> list[Event]:
        for key in go_on:
            if key in self._members:
                self._members[key].waits = False
        self._timeout_seconds = timeout_seconds
        if self._round is None:
            self._round = self._start_round()
        events: list[Event] = []
        for member, result in self._round:
            if isinstance(result, OpenEpoch):
                member.seconds += result.seconds
                if not member.is_over_time:
                    return [*events, *_outputs(member)]
                result = _over_time(member)
            events += self._settle(member, result)
        self._round = None
        return events

    @abstractmethod
    def _open(self, spec: TrialSpec, output: Output) -> SlotRun:
        """Open a trial that has not trained yet; a function prints and saves to the output."""

    @abstractmethod
    def _train_epoch(
        self, members: Sequence[tuple[Member, SlotRun]]
    ) -> Iterable[tuple[Member, EpochResult]]:
        """Train each member by an epoch, in any order.

        A member whose epoch goes on has its next result before any other member.
        """

    def _start_round(self) -> Iterator[tuple[Member, EpochResult]]:
        """Open the runs of new members, then train every member that is due by an epoch."""
        due: list[tuple[Member, SlotRun]] = []
        for member in [member for member in self._members.values() if not member.waits]:
            try:
                run = member.run or self._opened(member)
            except Exception as error:
                yield member, FailedEpoch(error=error, seconds=0.0)
                continue
            if member.epoch < len(member.curve):  # trained before the checkpoint was written
                replayed = member.curve[member.epoch]
                yield member, TrainedEpoch(values=replayed, seconds=0.0)
            else:
                due.append((member, run))
        yield from self._train_epoch(due)

    def _opened(self, member: Member) -> SlotRun:
        with collecting(member.output):
            member.run = self._resume(member)
        return member.run

    def _trained(self, member: Member, run: SlotRun) -> Iterator[tuple[Member, EpochResult]]:
        """Train a LoneRun by an epoch; an epoch that takes long has several results."""
        while member.run is run:
            with collecting(member.output):
                result = timed(run, self._timeout_seconds)
            yield member, result
            if not isinstance(result, OpenEpoch):
                return

    def _leave(self, key: str) -> TrialSpec:
        member = self._members.pop(key)
        if member.run is not None:
            run, member.run = member.run, None
            run.close()
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
        run = self._open(member.spec, member.output)
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

    def _settle(self, member: Member, result: TrainedEpoch | FailedEpoch) -> Iterator[Event]:
        key = member.spec.key
        seconds, member.seconds = member.seconds + result.seconds, 0.0
        if isinstance(result, TrainedEpoch) and not all(map(math.isfinite, result.values.values())):
            result = FailedEpoch(error=DivergedError(), seconds=result.seconds)
        is_last = isinstance(result, FailedEpoch) or member.epoch + 1 == member.spec.budget_epochs
        if is_last and isinstance(result, TrainedEpoch) and member.spec.keep_weights:
            _keep_weights(member)
        yield from _outputs(member, is_last=is_last)
        if isinstance(result, FailedEpoch):
            yield self._ended(_end(key, result.error, seconds))
            return
        if member.epoch == len(member.curve):
            member.curve.append(result.values)
        member.epoch += 1
        member.trained_seconds += seconds
        yield Measurement(key=key, epoch=member.epoch, values=result.values, seconds=seconds)
        if is_last:
            yield self._ended(Finished(key=key))
            return
        if member.is_over_time:
            yield self._ended(_end(key, _over_time(member).error, 0.0))
            return
        member.waits = member.epoch in member.spec.rungs
        self._keep(member)


def timed(run: SlotRun, timeout_seconds: float | None = None) -> EpochResult:
    """Train a LoneRun by an epoch, and return the result with the time it took."""
    lone = cast(LoneRun, run)
    start = lone.clock()
    try:
        values = lone.train_epoch(timeout_seconds)
    except UnfinishedError:
        return OpenEpoch(seconds=lone.clock() - start)
    except Exception as error:
        return FailedEpoch(error=error, seconds=lone.clock() - start)
    return TrainedEpoch(values=values, seconds=lone.clock() - start)


@contextmanager
def collecting_for(members: Sequence[Member]) -> Iterator[None]:
    """Add what this process prints within the block to the output of each of the members.

    What trials that train as one model print cannot be told apart: a line before it says so.
    """
    shared = Output()
    try:
        with collecting(shared):
            yield
    finally:
        text = joined(shared.take(is_last=True))
        for member in members if text else ():
            if member.n_printing != len(members):
                member.n_printing = len(members)
                member.output.add(_heading(member.n_printing))
            member.output.add(text)


def _heading(n: int) -> str:
    if n == 1:
        return "[printed by this trial alone]\n"
    return f"[printed by {n} trials that train as one model]\n"


def _keep_weights(member: Member) -> None:
    """Save the weights of a finished trial; if that fails, its log says why."""
    files, output = member.output.files, member.output
    if files is None or member.run is None:
        return
    try:
        weights = member.run.final_weights()
        if weights is None:
            output.add("[no weights are kept: no checkpoint was given after the last report]\n")
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / WEIGHTS_NAME
            torch.save(weights, path)
            output.saved.append(files.keep(member.spec.checkpoint, WEIGHTS_NAME, path))
    except Exception as error:  # the trial has finished
        log.warning("the weights of a trial are not kept", exc_info=True)
        output.add(f"[the weights are not kept: {error}]\n")


def _outputs(member: Member, *, is_last: bool = False) -> Iterator[Event]:
    for position, text in member.output.take(is_last=is_last):
        yield Printed(key=member.spec.key, position=position, text=text)
    for file in member.output.take_saved():
        yield Saved(key=member.spec.key, file=file)


def _over_time(member: Member) -> FailedEpoch:
    return FailedEpoch(error=TimeLimitError(member.spec.time_limit_seconds or 0.0), seconds=0.0)


def _end(key: str, error: Exception, seconds: float) -> Finished | Failed:
    if isinstance(error, DivergedError):
        return Finished(key=key, diverged=True, seconds=seconds)
    fault = error.fault if isinstance(error, FunctionError) else Fault.of(error)
    return Failed(
        key=key,
        error=fault.error,
        summary=fault.summary,
        seconds=seconds,
        may_retry=not isinstance(error, TimeLimitError),
    )
