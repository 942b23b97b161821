"""The stacked trainer: trials of equal form train as one model, each as if it were alone; those
that cannot, one at a time.
"""

import logging
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.setup import prepare
from gradnoise.training.single import open_alone
from gradnoise.training.slots import (
    Broken,
    DivergedError,
    Epoch,
    Member,
    Outcome,
    Run,
    SlotTrainer,
    timed,
)
from gradnoise.training.stacked_model import StackedEpoch, StackedModel
from gradnoise.training.stacked_run import StackedRun, is_out_of_memory, refusal
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload

log = logging.getLogger(__name__)

MODELS_ON_GPU = 12  # a CUDA graph each
MOST_ON_CPU = 32


class StackTrainer(SlotTrainer):
    """Trains members of equal workload, options and optimizer as one model; those that do not
    stack, each alone.

    Where memory runs out in an epoch, that epoch is trained anew in two halves, and no stack is as
    large again.

    Args:
        slots: Trials that it holds at most; at least 1.
        device: Where declared workloads train.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.

    Attributes:
        refusals: Why trials of a form do not stack, in a sentence; empty where they do.
    """

    def __init__(
        self, slots: int, device: torch.device | None = None, checkpoints: Checkpoints | None = None
    ) -> None:
        super().__init__(slots, checkpoints)
        self.refusals: dict[Hashable, str] = {}
        self._device = device or torch.device("cpu")
        self._largest = slots
        self._models: dict[Hashable, StackedModel] = {}

    def _open(self, spec: TrialSpec) -> Run:
        setup = prepare(spec)
        if not isinstance(setup.workload, Workload) or not setup.workload.stacks:
            return open_alone(setup, self._device)
        run = StackedRun(setup, setup.workload, self._device)
        if run.form not in self.refusals:
            reason = self.refusals[run.form] = self._refusal(run)
            if reason:
                log.warning("Trials of %s train one at a time: %s", spec.workload, reason)
        return open_alone(setup, self._device) if self.refusals[run.form] else run

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
        self, members: Sequence[tuple[Member, Run]]
    ) -> Iterator[tuple[Member, Outcome]]:
        stacks: dict[Hashable, list[tuple[Member, StackedRun]]] = {}
        for member, run in members:
            if isinstance(run, StackedRun):
                stacks.setdefault(run.form, []).append((member, run))
            else:
                yield member, timed(run)
        for stack in stacks.values():
            while stack:
                n = rows_for(min(len(stack), self._largest), self._device)
                piece, stack = stack[:n], stack[n:]
                yield from zip(
                    (member for member, _ in piece),
                    self._train([run for _, run in piece]),
                    strict=True,
                )

    def _train(self, runs: Sequence[StackedRun]) -> list[Outcome]:
        start = time.perf_counter()
        try:
            results = self._train_together(runs)
        except Exception as error:
            self._free()
            if len(runs) == 1:
                return [Broken(error=error, seconds=time.perf_counter() - start)]
            n = len(runs) // 2
            if is_out_of_memory(error):
                self._largest = len(runs) - n
                log.warning(
                    "Memory does not hold %d trials as one model; %d at once from now on.",
                    len(runs),
                    self._largest,
                )
            # the epoch had changed nothing; a run that raises ends up alone
            return [*self._train(runs[:n]), *self._train(runs[n:])]
        seconds = (time.perf_counter() - start) / len(runs)
        return [
            Broken(error=DivergedError(), seconds=seconds)
            if values is None
            else Epoch(values=values, seconds=seconds)
            for values in results
        ]

    def _train_together(self, runs: Sequence[StackedRun]) -> list[Mapping[str, float] | None]:
        epoch = StackedEpoch(runs, rows_for(len(runs), self._device))
        model = self._models.pop(epoch.kind, None) or StackedModel(epoch)
        self._models[epoch.kind] = model  # the last is the latest
        while len(self._models) > (MODELS_ON_GPU if self._device.type == "cuda" else 1):
            del self._models[next(iter(self._models))]
        return model.train(epoch)


def rows_for(n: int, device: torch.device) -> int:
    """Return how many rows the next piece of n members gets.

    On a CPU only so many that their buffers stay near its caches; on a GPU a power of two, at most
    a quarter empty, to capture few graphs.
    """
    if device.type != "cuda":
        return min(n, MOST_ON_CPU)
    power: int = 2 ** (n.bit_length() - 1)
    return 2 * power if n > 1.5 * power else power
