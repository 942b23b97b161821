"""Trials of a known form opened for a stack without building a model for each."""

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import torch

from gradnoise.techniques.dropout_layers import adopt, dropout_layers
from gradnoise.training.output import Output, collecting
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup
from gradnoise.training.stacked_run import StackedRun, Start, form_of
from gradnoise.workloads.base import Workload


class StackedRuns:
    """Opens trials that train in a stack.

    Building a model takes most of the time of an opening. For the first two trials of a form a
    model is built for each. The second trial is then opened from a template too: if that gives the
    same weights and buffers to the last bit, later trials of the form are opened from it.

    Args:
        device: Where they train.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._n_built: dict[Hashable, int] = {}
        self._templates: dict[Hashable, Template] = {}

    def open(self, setup: Setup, workload: Workload) -> StackedRun:
        """Open a trial."""
        form = form_of(setup, workload), setup.contribution.activations is None
        if form in self._templates:
            start = self._templates[form].start(setup, workload)
            return StackedRun(setup, workload, self._device, start)
        run = StackedRun(setup, workload, self._device)
        self._n_built[form] = self._n_built.get(form, 0) + 1
        if self._n_built[form] == 2:
            template = Template.of(run)
            if template.gives(run):
                self._templates[form] = template
        return run


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """What the trials of a form have in common, and a model that each of them initialises.

    Args:
        model: On the CPU, built under a state of the global generators that no trial has.
        common: Of a trial.
    """

    model: torch.nn.Module
    common: Start

    @classmethod
    def of(cls, run: StackedRun) -> "Template":
        """Return the template of a run's form."""
        with Randomness(run.spec.seed + 1).lent(), collecting(Output()):
            model = adopt(run.workload.model()).train()
        return cls(
            model=model,
            common=Start(
                model=run.model,
                data=run.data,
                dropped=run.dropped,
                shapes=run.shapes,
                weights=run.weights.new_empty(0),
                buffers={},
            ),
        )

    def start(self, setup: Setup, workload: Workload) -> Start:
        """Return what a trial of the form starts from."""
        workload.initialise(self.model, setup.spec.seed)
        device, masks = self.common.weights.device, setup.contribution.activations
        return dataclasses.replace(
            self.common,
            dropped={
                name: (masks.rate if masks is not None and name in self._free else rate, shape)
                for name, (rate, shape) in self.common.dropped.items()
            },
            weights=torch.cat([part.detach().view(-1) for part in self._parameters]).to(device),
            buffers={name: buffer.to(device, copy=True) for name, buffer in self._buffers.items()},
        )

    @cached_property
    def _parameters(self) -> list[torch.nn.Parameter]:
        return list(self.model.parameters())

    @cached_property
    def _buffers(self) -> dict[str, torch.Tensor]:
        return dict(self.model.named_buffers())

    @cached_property
    def _free(self) -> list[str]:
        """The layers that drop activations only where a technique does."""
        layers = dropout_layers(self.model)
        return [name for name, layer in layers.items() if layer.rate == 0]

    def gives(self, run: StackedRun) -> bool:
        """Return whether it gives what a run started from: whether `initialise` sets all weights
        and buffers that differ between trials, and draws nothing from the global generators.
        """
        with Randomness(run.spec.seed + 1).lent(), collecting(Output()):
            self.start(run.setup, run.workload)  # a model that was initialised before is another
            start = self.start(run.setup, run.workload)
        pairs = [
            (start.weights, run.weights),
            *((start.buffers[k], run.buffers[k]) for k in run.buffers),
        ]
        return start.buffers.keys() == run.buffers.keys() and all(
            mine.dtype == other.dtype and torch.equal(mine, other) for mine, other in pairs
        )
