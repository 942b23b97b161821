"""A running training function.

It runs in a process of its own, one epoch at a time, and waits between epochs.
"""

import contextlib
import io
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import torch

from gradnoise.training.faults import (
    EndlessPrintError,
    Fault,
    FunctionError,
    StallError,
    UnfinishedError,
)
from gradnoise.training.files import SavedFile
from gradnoise.training.function_child import Checkpoint, Ended, Order, Report, Source
from gradnoise.training.function_process import CLOSE_SECONDS, FunctionProcess, bootstrap
from gradnoise.training.output import Output
from gradnoise.training.setup import Setup
from gradnoise.workloads.function import FunctionWorkload

CHECK_SECONDS = 1.0
MOST_PRINTED = 1_000_000_000
"""Bytes that a function may print from one report to the next."""


class FunctionRun:
    """A training function with its process, which starts with the first epoch.

    Function and trainer take turns: while one of them runs, the other waits.

    Args:
        setup: The trial.
        workload: The function to train with.
        checkpoint_seconds: Seconds from one checkpoint to the next; None: none is kept.
        output: Takes what the function prints and saves.

    Raises:
        ValueError: If a technique contributes to weights or activations, which a function does not
            hand over.

    Attributes:
        clock: Wall-clock time.
        conduct: What the function has done, as `Trial.conduct` returns it; empty before its first
            report.
    """

    def __init__(
        self,
        setup: Setup,
        workload: FunctionWorkload,
        checkpoint_seconds: float | None = None,
        output: Output | None = None,
    ) -> None:
        spec = setup.spec
        unreachable = sorted(set(setup.contribution.places) - set(workload.places))
        if unreachable:
            raise ValueError(
                f"techniques must contribute to {' and '.join(workload.places)} alone on "
                f"{workload.name}, but got {', '.join(map(repr, spec.techniques))}, which also "
                f"contributes to {' and '.join(unreachable)}."
            )
        self.clock = time.perf_counter  # it trains in another process
        self.conduct: Mapping[str, Any] = {}
        self._spec = spec
        self._workload = workload
        self._checkpoint_seconds = checkpoint_seconds
        self._output = output or Output()
        self._process: FunctionProcess | None = None
        self._runs = False
        self._epoch = 0
        self._reported: Mapping[str, float] | None = None
        self._last: Mapping[str, float] | None = None
        self._has_ended = False
        self._checkpoint: Checkpoint | None = None

    def train_epoch(self, timeout_seconds: float | None = None) -> Mapping[str, float]:
        """Train an epoch and return its values.

        Raises:
            FunctionError: If the function fails.
            UnfinishedError: If it takes longer than the timeout; the next call continues the epoch.
        """
        if self._reported is None:
            self._reported = None if self._has_ended else self._turn(timeout_seconds)
        if self._reported is None:
            self._reported = self._after_the_end()
        if self._epoch + 1 == self._spec.budget_epochs and not self._has_ended:
            self._turn(timeout_seconds)
        values, self._reported = self._reported, None
        self._last = values
        self._epoch += 1
        return values

    def state(self) -> dict[str, Any] | None:
        if self._checkpoint is None:
            return None
        kept = torch.frombuffer(bytearray(self._checkpoint.kept), dtype=torch.uint8)
        return {"epoch": self._checkpoint.epoch, "kept": kept}

    def final_weights(self) -> Any:
        """Return the state that the function gave after its last report; None if it gave none."""
        if self._checkpoint is None or self._checkpoint.epoch != self._epoch:
            return None
        kept = torch.load(io.BytesIO(self._checkpoint.kept), weights_only=True, map_location="cpu")
        return kept["function"]

    def load(self, state: Mapping[str, Any]) -> None:
        kept = state["kept"].numpy().tobytes()
        self._epoch = state["epoch"]
        self._last = state["curve"][self._epoch - 1] if self._epoch else None
        self._checkpoint = Checkpoint(epoch=state["epoch"], kept=kept)

    def close(self, patience_seconds: float = CLOSE_SECONDS) -> None:
        """End the function at its next report, or end its process if it does not end in time."""
        if self._process is not None:
            self._process.close(patience_seconds)

    def _turn(self, timeout_seconds: float | None) -> Mapping[str, float] | None:
        """Run the function up to its next report and return the values; None if it ended."""
        if self._process is None:
            self._process = FunctionProcess(self._source(), self._output)
            self._process.send(self._order())
        elif not self._runs:
            self._process.send(True)
        self._runs = True
        while True:
            match self._receive(self._process, timeout_seconds):
                case SavedFile() as saved:
                    self._output.saved.append(saved)
                case Checkpoint() as checkpoint:
                    self._checkpoint = checkpoint
                case Report(values=values, conduct=conduct):
                    self.conduct, self._runs = conduct, False
                    return values
                case Ended(fault=None, conduct=conduct):
                    self.conduct, self._has_ended = conduct or {}, True
                    return None
                case Ended(fault=Fault() as fault):
                    self._fail(fault)
                case int() as code:
                    self._fail(_killed(code), was_killed=code == -signal.SIGKILL)

    def _receive(self, process: FunctionProcess, timeout_seconds: float | None) -> Any:
        limit = math.inf if self._spec.stall_seconds is None else self._spec.stall_seconds
        until = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            wait = min(until, process.alive_at + limit) - time.monotonic()
            try:
                return process.receive(min(max(0.0, wait), CHECK_SECONDS))
            except TimeoutError:
                if process.n_printed > MOST_PRINTED:
                    self._fail(Fault.of(EndlessPrintError(MOST_PRINTED)))
                if time.monotonic() >= process.alive_at + limit:
                    process.print_stack()
                    self._fail(Fault.of(StallError(limit)))
                if time.monotonic() >= until:
                    raise UnfinishedError from None

    def _after_the_end(self) -> Mapping[str, float]:
        """Return the values that stand for an epoch after the function has ended."""
        if not self._workload.early_stopping or self._last is None:
            error = RuntimeError(
                f"the function ended after {self._epoch} of {self._spec.budget_epochs} reports: "
                "every arm must train its whole budget, unless the function is declared with "
                "early_stopping=True and has reported."
            )
            self._fail(Fault.of(error))
        return {**self._last, "stopped_early": 1.0}

    def _fail(self, fault: Fault, *, was_killed: bool = False) -> NoReturn:
        tail = self._output.last_lines()
        printed = f"The function printed last:\n{tail}\n\n" if tail else ""
        raised = Fault(summary=fault.summary, error=printed + fault.error)
        raise FunctionError(raised, was_killed=was_killed)

    def _source(self) -> bytes:
        return pickle.dumps(
            Source(
                path=sys.path,
                module=self._workload.train.__module__,
                bootstrap=bootstrap(),
            )
        )

    def _order(self) -> Order:
        return Order(
            source=self._source(),
            spec=self._spec,
            environment=dict(os.environ),
            folder=os.getcwd(),
            threads=torch.get_num_threads(),
            checkpoint_seconds=self._checkpoint_seconds,
            kept=None if self._checkpoint is None else self._checkpoint.kept,
            files=self._output.files,
        )


def _killed(code: int) -> Fault:
    how = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name
    if code == -signal.SIGKILL:
        how += ", as the system ends a process when memory runs out"
    return Fault.of(RuntimeError(f"the process of the function ended by {how}."))
