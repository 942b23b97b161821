"""The stacked trainer: trials of equal form train as one model.

Each trial has the results that it has as a separate model, up to rounding: batched products add in
another order. On a CPU, the same trials in the same stack have the same results bit by bit; on a
GPU they are only close, because some operations add in any order. Trials that cannot stack train
one at a time.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.clock import clock_of
from gradnoise.training.faults import as_exception, release_locals
from gradnoise.training.files import Files
from gradnoise.training.graphs import CaptureError
from gradnoise.training.member import (
    DivergedError,
    EpochResult,
    FailedEpoch,
    Member,
    SlotRun,
    TrainedEpoch,
)
from gradnoise.training.memory import is_out_of_memory
from gradnoise.training.output import Output
from gradnoise.training.setup import prepare
from gradnoise.training.single import open_lone
from gradnoise.training.slots import SlotTrainer
from gradnoise.training.stack_check import declared_refusal, refusal
from gradnoise.training.stacked_epoch import StackedEpoch
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.surroundings import surrounded
from gradnoise.training.templates import StackedRuns
from gradnoise.training.trace import Trace
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload

log = logging.getLogger(__name__)

T = TypeVar("T")

MODELS_ON_GPU = 12  # of each form of trials, a CUDA graph each
MOST_ON_CPU = 32


class StackTrainer(SlotTrainer):
    """Trains members of equal workload, options and optimizer as one model.

    Members that do not stack train as separate models. If memory runs out in an epoch, the other
    models that are kept are freed and the members train the epoch again; if it runs out again, they
    train it in parts as large as fitted before or else in two halves, and later stacks of their
    form are no larger.

    Args:
        slots: Most trials at the same time; at least 1.
        device: Where declared workloads train.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.
        eager: Why no update is to be captured as a CUDA graph, a sentence; empty: each is where
            that is possible.
        files: Where it keeps the files of trials whose spec names a checkpoint.
        trace: Where other processes see which trials train; None: nowhere.

    Attributes:
        refusals: For each form of trials the reason why they do not stack, a sentence; empty if
            they do.
        eager: For each form whose updates could not be captured, the reason, a sentence.
    """

    def __init__(
        self,
        slots: int,
        device: torch.device | None = None,
        checkpoints: Checkpoints | None = None,
        eager: str = "",
        files: Files | None = None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(slots, checkpoints, files, trace)
        self.refusals: dict[Hashable, str] = {}
        self.eager: dict[Hashable, str] = {}
        self._device = device or torch.device("cpu")
        self._clock = clock_of(self._device)
        self._may_capture = not eager
        self._runs = StackedRuns(self._device)
        self._fitted: dict[Hashable, int] = {}
        self._limits: dict[Hashable, int] = {}
        self._models: dict[Hashable, dict[Hashable, StackedModel]] = {}

    def _open(self, spec: TrialSpec, output: Output) -> SlotRun:
        setup = prepare(spec)
        workload = setup.workload
        if (
            spec.together == 1
            or not isinstance(workload, Workload)
            or declared_refusal(setup, workload)
        ):
            return open_lone(setup, self._device, self._checkpoints_of(spec), output)
        run = self._again_if_full(lambda: self._runs.open(setup, workload))
        if run.form not in self.refusals:
            reason = self.refusals[run.form] = self._refusal(run)
            if reason:
                log.warning("Trials of %s train one at a time: %s", spec.workload, reason)
        return open_lone(setup, self._device) if self.refusals[run.form] else run

    def _refusal(self, run: StackedRun) -> str:
        try:
            return self._again_if_full(lambda: refusal(run))
        except Exception as error:
            if is_out_of_memory(error):
                return "memory does not hold two of them."
            raise

    def _again_if_full(self, function: Callable[[], T]) -> T:
        """Call a function; if memory runs out, free the models and call it again."""
        try:
            return function()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release_locals(error)
        self._free()
        return function()

    def _free(self) -> None:
        self._models.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _train_epoch(
        self, members: Sequence[tuple[Member, SlotRun]]
    ) -> Iterator[tuple[Member, EpochResult]]:
        stacks: dict[Hashable, list[tuple[Member, StackedRun]]] = {}
        for member, run in members:
            if isinstance(run, StackedRun):
                stacks.setdefault(run.form, []).append((member, run))
            else:
                yield from self._trained(member, run)
        self._models = {form: models for form, models in self._models.items() if form in stacks}
        for stack in stacks.values():
            stack.sort(key=lambda each: not each[0].spec.apart)
            limits = [member.spec.together for member, _ in stack if member.spec.together]
            while stack:
                limit = self._limits.get(stack[0][1].form, self.slots)
                n = rows_for(min(len(stack), limit, *limits), self._device)
                if stack[0][0].spec.apart:
                    n = 1
                part, stack = stack[:n], stack[n:]
                together = [member for member, _ in part]
                with surrounded(together, self._trace):
                    results = self._train([run for _, run in part])
                yield from zip(together, results, strict=True)

    def _train(self, runs: Sequence[StackedRun]) -> list[EpochResult]:
        start, n, form = self._clock(), len(runs), runs[0].form
        limit = self._limits.get(form, n)
        if n > limit:
            return [*self._train(runs[:limit]), *self._train(runs[limit:])]
        result = self._attempt(runs)
        if isinstance(result, Exception) and is_out_of_memory(result):
            result = self._attempt(runs)  # the memory of other models is free now
        if not isinstance(result, Exception):
            self._fitted[form] = max(n, self._fitted.get(form, 0))
            seconds = (self._clock() - start) / n
            return [
                FailedEpoch(error=DivergedError(), seconds=seconds)
                if values is None
                else TrainedEpoch(values=values, seconds=seconds)
                for values in result
            ]
        if n == 1:
            return [FailedEpoch(error=result, seconds=self._clock() - start)]
        of_first = n - n // 2
        if is_out_of_memory(result):
            of_first = self._limit(form, n)
            log.warning(
                "Memory does not hold %d trials as one model; %d at once from now on.", n, of_first
            )
        # the failed epoch has changed no run; halving isolates a run that raises
        return [*self._train(runs[:of_first]), *self._train(runs[of_first:])]

    def _attempt(self, runs: Sequence[StackedRun]) -> list[Mapping[str, float] | None] | Exception:
        """Train an epoch; if that raises, free all models and return the exception."""
        try:
            return self._train_together(runs)
        except CaptureError:
            raise
        except (Exception, SystemExit) as error:
            release_locals(error)
            raised = as_exception(error)
        self._free()  # not within the handler, where the failed model still has references
        return raised

    def _limit(self, form: Hashable, n: int) -> int:
        """Set and return the most trials of a form that train together after n did not fit."""
        half, fitted = n - n // 2, self._fitted.pop(form, 0)
        self._limits[form] = fitted if half < fitted < n else half
        return self._limits[form]

    def _train_together(self, runs: Sequence[StackedRun]) -> list[Mapping[str, float] | None]:
        epoch, form = StackedEpoch(runs, rows_for(len(runs), self._device)), runs[0].form
        models = self._models.setdefault(form, {})
        may_capture = self._may_capture and form not in self.eager
        model = models.pop(epoch.kind, None) or StackedModel(epoch, may_capture=may_capture)
        models[epoch.kind] = model  # in order of use, the latest last
        while len(models) > (1 if self._device.type == "cpu" else MODELS_ON_GPU):
            del models[next(iter(models))]
        values = model.train(epoch)
        if model.eager and form not in self.eager:
            self.eager[form] = model.eager
            workload = runs[0].spec.workload
            log.warning("Trials of %s train without a CUDA graph: %s", workload, model.eager)
        return values


def rows_for(n: int, device: torch.device) -> int:
    """Return the number of rows for the next part of n members.

    On a CPU it is limited so that the buffers fit its caches; on a GPU it is a power of two, with
    at most a quarter of the rows empty, so that few graphs are captured.
    """
    if device.type == "cpu":
        return min(n, MOST_ON_CPU)
    power: int = 2 ** (n.bit_length() - 1)
    return 2 * power if n > 1.5 * power else power
