"""The stacked trainer: trials of equal form train as one model.

Each trial has the results that it has as a separate model. Trials that cannot stack train one at a
time.
"""

import logging
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.memory import is_out_of_memory
from gradnoise.training.setup import prepare
from gradnoise.training.single import open_lone
from gradnoise.training.slots import (
    DivergedError,
    EpochResult,
    FailedEpoch,
    Member,
    SlotRun,
    SlotTrainer,
    TrainedEpoch,
    timed,
)
from gradnoise.training.stack_check import declared_refusal, refusal
from gradnoise.training.stacked_epoch import StackedEpoch
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload

log = logging.getLogger(__name__)

MODELS_ON_GPU = 12  # of each form of trials, a CUDA graph each
MOST_ON_CPU = 32


class StackTrainer(SlotTrainer):
    """Trains members of equal workload, options and optimizer as one model.

    Members that do not stack train as separate models. If memory runs out in an epoch, the members
    train that epoch again in two halves, and later stacks are no larger than these.

    Args:
        slots: Most trials at the same time; at least 1.
        device: Where declared workloads train.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.

    Attributes:
        refusals: For each form of trials the reason why they do not stack, a sentence; empty if
            they do.
    """

    def __init__(
        self, slots: int, device: torch.device | None = None, checkpoints: Checkpoints | None = None
    ) -> None:
        super().__init__(slots, checkpoints)
        self.refusals: dict[Hashable, str] = {}
        self._device = device or torch.device("cpu")
        self._largest = slots
        self._models: dict[Hashable, dict[Hashable, StackedModel]] = {}

    def _open(self, spec: TrialSpec) -> SlotRun:
        setup = prepare(spec)
        workload = setup.workload
        if (
            spec.together == 1
            or not isinstance(workload, Workload)
            or declared_refusal(setup, workload)
        ):
            return open_lone(setup, self._device, self._checkpoints_of(spec))
        run = StackedRun(setup, workload, self._device)
        if run.form not in self.refusals:
            reason = self.refusals[run.form] = self._refusal(run)
            if reason:
                log.warning("Trials of %s train one at a time: %s", spec.workload, reason)
        return open_lone(setup, self._device) if self.refusals[run.form] else run

    def _refusal(self, run: StackedRun) -> str:
        for _ in range(2):
            try:
                return refusal(run)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._free()
        return "memory does not hold two of them."

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
                yield member, timed(run)
        self._models = {form: models for form, models in self._models.items() if form in stacks}
        for stack in stacks.values():
            limits = [member.spec.together for member, _ in stack if member.spec.together]
            while stack:
                n = rows_for(min(len(stack), self._largest, *limits), self._device)
                part, stack = stack[:n], stack[n:]
                yield from zip(
                    (member for member, _ in part),
                    self._train([run for _, run in part]),
                    strict=True,
                )

    def _train(self, runs: Sequence[StackedRun]) -> list[EpochResult]:
        start = time.perf_counter()
        try:
            results = self._train_together(runs)
        except Exception as error:
            self._free()
            if len(runs) == 1:
                return [FailedEpoch(error=error, seconds=time.perf_counter() - start)]
            n = len(runs) // 2
            if is_out_of_memory(error):
                self._largest = len(runs) - n
                log.warning(
                    "Memory does not hold %d trials as one model; %d at once from now on.",
                    len(runs),
                    self._largest,
                )
            # the failed epoch has changed no run; halving isolates a run that raises
            return [*self._train(runs[:n]), *self._train(runs[n:])]
        seconds = (time.perf_counter() - start) / len(runs)
        return [
            FailedEpoch(error=DivergedError(), seconds=seconds)
            if values is None
            else TrainedEpoch(values=values, seconds=seconds)
            for values in results
        ]

    def _train_together(self, runs: Sequence[StackedRun]) -> list[Mapping[str, float] | None]:
        epoch = StackedEpoch(runs, rows_for(len(runs), self._device))
        models = self._models.setdefault(runs[0].form, {})
        model = models.pop(epoch.kind, None) or StackedModel(epoch)
        models[epoch.kind] = model  # in order of use, the latest last
        while len(models) > (MODELS_ON_GPU if self._device.type == "cuda" else 1):
            del models[next(iter(models))]
        return model.train(epoch)


def rows_for(n: int, device: torch.device) -> int:
    """Return the number of rows for the next part of n members.

    On a CPU it is limited so that the buffers fit its caches; on a GPU it is a power of two, with
    at most a quarter of the rows empty, so that few graphs are captured.
    """
    if device.type != "cuda":
        return min(n, MOST_ON_CPU)
    power: int = 2 ** (n.bit_length() - 1)
    return 2 * power if n > 1.5 * power else power
