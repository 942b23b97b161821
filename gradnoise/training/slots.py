"""Slots: which trials are in them, which wait at a rung, and the events of each epoch.

`single` and `stack` define how an epoch is trained.
"""

import gc
import logging
import math
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.faults import Fault, FunctionError, TimeLimitError, as_exception
from gradnoise.training.files import WEIGHTS_NAME, Files
from gradnoise.training.member import (
    DivergedError,
    EpochResult,
    FailedEpoch,
    Member,
    OpenEpoch,
    SlotRun,
    TrainedEpoch,
    timed,
)
from gradnoise.training.output import Output
from gradnoise.training.precision import exact_float32
from gradnoise.training.surroundings import surrounded
from gradnoise.training.trace import Trace
from gradnoise.training.trial import Event, Failed, Finished, Measurement, Printed, Saved, TrialSpec

log = logging.getLogger(__name__)

GARBAGE_SECONDS = 10.0
"""Python counts objects, not the bytes of their tensors, before it collects garbage by itself."""


class SlotTrainer(ABC):
    """A Trainer; subclasses define how members train an epoch.

    Args:
        slots: Most trials at the same time; at least 1.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.
        files: Where it keeps the files of these trials.
        trace: Where other processes see which trials train; None: nowhere.
    """

    def __init__(
        self,
        slots: int,
        checkpoints: Checkpoints | None = None,
        files: Files | None = None,
        trace: Trace | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, but got {slots=}.")
        self.slots = slots
        self._checkpoints, self._files, self._trace = checkpoints, files, trace
        self._left_garbage, self._collect_at = False, time.monotonic() + GARBAGE_SECONDS
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

    def save(self) -> None:
        for member in self._members.values():
            self._save(member)

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
        self._round = None  # which refers to the runs that have ended
        self._collect_garbage()
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
            except (Exception, SystemExit) as error:
                yield member, FailedEpoch(error=as_exception(error), seconds=0.0)
                continue
            if member.epoch < len(member.curve):  # trained before the checkpoint was written
                replayed = member.curve[member.epoch]
                yield member, TrainedEpoch(values=replayed, seconds=0.0)
            else:
                due.append((member, run))
        yield from self._train_epoch(due)

    def _opened(self, member: Member) -> SlotRun:
        with surrounded([member], self._trace):
            member.run = self._resume(member)
        return member.run

    def _trained(self, member: Member, run: SlotRun) -> Iterator[tuple[Member, EpochResult]]:
        """Train a LoneRun by an epoch; an epoch that takes long has several results."""
        while member.run is run:
            with surrounded([member], self._trace):
                result = timed(run, self._timeout_seconds)
            yield member, result
            if not isinstance(result, OpenEpoch):
                return

    def _leave(self, key: str) -> TrialSpec:
        member = self._members.pop(key)
        if member.run is not None:
            run, member.run = member.run, None
            run.close()
            self._left_garbage = True
        return member.spec

    def _collect_garbage(self) -> None:
        """Free what trials have left in reference cycles, at most once in GARBAGE_SECONDS."""
        now = time.monotonic()
        if self._left_garbage and now >= self._collect_at:
            gc.collect()
            self._left_garbage, self._collect_at = False, now + GARBAGE_SECONDS

    def _ended(self, end: Finished | Failed) -> Event:
        spec = self._leave(end.key)
        if isinstance(end, Failed):
            self._delete_checkpoint(spec)  # the checkpoint may be the cause
        elif end.diverged or not spec.keep_checkpoint:
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
        if checkpoints and time.monotonic() >= member.saved_at + checkpoints.every_seconds:
            self._save(member)

    def _save(self, member: Member) -> None:
        """Write the member's state, if it has one."""
        checkpoints = self._checkpoints_of(member.spec)
        if checkpoints is None or member.run is None:
            return
        state = member.run.state()
        # an epoch whose values were not returned yet is trained again
        if state is not None and 0 < state["epoch"] <= len(member.curve):
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
            if member.spec.keep_checkpoint:
                self._save(member)
            yield self._ended(Finished(key=key))
            return
        if member.is_over_time:
            yield self._ended(_end(key, _over_time(member).error, 0.0))
            return
        member.waits = member.epoch in member.spec.rungs
        self._keep(member)


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
