"""A trial that trains in a stack: its state from one epoch to the next."""

import functools
import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.func import functional_call, vmap
from torch.nn.utils import parameters_to_vector

from gradnoise._noise import Noise
from gradnoise._noise.noise import PURPOSE
from gradnoise.techniques import masks, noisy_weights
from gradnoise.training import arm_functions
from gradnoise.training.batched_gradient import BatchedGradient
from gradnoise.training.decomposed import decomposing
from gradnoise.training.epochs import Order, open_model
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup
from gradnoise.training.single import SingleRun
from gradnoise.workloads.base import (
    Batch,
    Splits,
    StackedGradient,
    StackedMeasure,
    Tensors,
    Workload,
)
from gradnoise.workloads.losses import replaced_by


class StackedRun:
    """Weights, buffers, the optimizer's moments, a preconditioner's state, updates and epochs.

    Args:
        setup: The trial.
        workload: Its workload.
        device: Where it trains.
        start: What it starts from; None: a model is built for it.

    Attributes:
        form: Equal for trials that can train as one model.
        model: Its structure; its parameters are empty, their values are in `weights`.
        weights: All parameters in a row, [numbers].
        moments: The optimizer's state, [moments, numbers].
        function_hyper: The hyperparameters of the techniques' functions.
        kept: What these functions keep from update to update.
        dropped: The rate and the activations' shape at each layer that drops activations.
        order: The order of its examples.
        t: Updates so far.
        epoch: Epochs so far.
    """

    def __init__(
        self,
        setup: Setup,
        workload: Workload,
        device: torch.device,
        start: "Start | None" = None,
    ) -> None:
        spec = setup.spec
        self.form = form_of(setup, workload)
        self.spec = spec
        self.setup = setup
        self.workload = workload
        self.contribution = setup.contribution
        self.hyper = setup.optimizer.hyperparameters(spec.params)
        self.clip_norm = math.inf if setup.clip_norm is None else setup.clip_norm
        self.clip_value = math.inf if setup.clip_value is None else setup.clip_value
        start = start or Start.of(setup, workload, device)
        self.model, self.data, self.dropped = start.model, start.data, start.dropped
        self.shapes, self.weights, self.buffers = start.shapes, start.weights, start.buffers
        self.moments = self.weights.new_zeros(setup.optimizer.n_moments, self.weights.numel())
        process = setup.contribution.gradient
        is_preconditioned = process is not None and process.preconditioner is not None
        self.preconditioner_state = torch.zeros(
            self.weights.numel() if is_preconditioned else 0, dtype=torch.float32, device=device
        )
        self.function_hyper = arm_functions.hyper_of(setup.contribution, device)
        self.kept = arm_functions.first_kept(
            setup.contribution, by_name(self.weights, self.shapes), self.buffers
        )
        self.order = Order(workload, spec, is_pinned=device.type == "cuda")
        self._mask_noise: tuple[Mapping[str, torch.Size], Noise] | None = None
        self.t = 0
        self.epoch = 0

    @cached_property
    def gradient_noise(self) -> Noise:
        """The draws of its gradient noise."""
        return self._noise(self.shapes, PURPOSE)

    @cached_property
    def weight_noise(self) -> Noise:
        """The draws of its weight noise."""
        return self._noise(self.shapes, noisy_weights.PURPOSE)

    def mask_noise(self, shapes: Mapping[str, torch.Size]) -> Noise:
        """Return the draws of its dropout masks at layers with activations of these shapes."""
        if self._mask_noise is None or self._mask_noise[0] != shapes:
            self._mask_noise = shapes, self._noise(shapes, masks.PURPOSE)
        return self._mask_noise[1]

    def _noise(self, shapes: Mapping[str, torch.Size], purpose: str) -> Noise:
        return _noise_on(tuple(shapes.items()), purpose).reseeded(self.spec.seed)

    def state(self) -> dict[str, Any]:
        return {
            "t": self.t,
            "epoch": self.epoch,
            "weights": self.weights,
            "buffers": self.buffers,
            "moments": self.moments,
            "preconditioner": self.preconditioner_state,
            "kept": self.kept,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.t, self.epoch = state["t"], state["epoch"]
        self.weights.copy_(state["weights"])
        self.moments.copy_(state["moments"])
        self.preconditioner_state.copy_(state["preconditioner"])
        for name, buffer in self.buffers.items():
            buffer.copy_(state["buffers"][name])
        for mine, saved in zip(self.kept, state["kept"], strict=True):
            arm_functions.copy_into(mine, saved)

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Return the model's `state_dict` at which its metrics are measured."""
        alone = SingleRun(self.setup, self.workload, self.weights.device)
        alone.load(self.state())
        return alone.final_weights()

    def close(self) -> None:
        """Do nothing: the memory is freed with the object."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """What a trial starts from; the fields as the attributes of StackedRun."""

    model: torch.nn.Module
    data: Splits
    dropped: Mapping[str, tuple[float, torch.Size]]
    shapes: Mapping[str, torch.Size]
    weights: torch.Tensor
    buffers: dict[str, torch.Tensor]

    @classmethod
    def of(cls, setup: Setup, workload: Workload, device: torch.device) -> "Start":
        """Build the model of a trial and initialise it."""
        opened = open_model(setup, workload, device, Randomness(setup.spec.seed))
        model = opened.model
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        weights = parameters_to_vector(model.parameters()).detach()
        for parameter in model.parameters():
            parameter.data = parameter.data.new_empty(0)
        return cls(
            model=model,
            data=opened.splits,
            dropped=opened.dropped,
            shapes=shapes,
            weights=weights,
            buffers={name: buffer.clone() for name, buffer in model.named_buffers()},
        )


def form_of(setup: Setup, workload: Workload) -> Hashable:
    """Return what is equal for trials that can train as one model."""
    spec = setup.spec
    return (
        spec.workload,
        setup.options,
        json.dumps(workload.params, sort_keys=True),
        spec.optimizer,
        spec.with_test,
        setup.contribution.structure,
        spec.report_every,
    )


def gradient_of(run: StackedRun, loss_hyper: Tensors) -> StackedGradient:
    """Return the function that computes the gradients of many models like the run's.

    It is the workload's `stacked_gradient`, or else, and where a technique replaces the
    cross-entropy, a `BatchedGradient` of the workload's loss.

    Args:
        run: The run.
        loss_hyper: The hyperparameters of the technique's loss, [members] each.
    """
    is_replaced = run.contribution.loss is not None
    faster = None if is_replaced else run.workload.stacked_gradient()
    if faster is not None:
        return faster

    def loss(weights: Tensors, buffers: Tensors, batch: Batch, loss_hyper: Tensors) -> torch.Tensor:
        with replaced_by(arm_functions.loss_of(run.contribution, loss_hyper)):
            return run.workload.loss(
                lambda *inputs: functional_call(run.model, {**weights, **buffers}, inputs), batch
            )

    differentiate = BatchedGradient(loss)

    def gradient(
        weights: Tensors, buffers: Tensors, batch: Batch, gradients: Tensors
    ) -> torch.Tensor:
        return differentiate(weights, buffers, batch, loss_hyper, gradients)

    return gradient


def measure_of(run: StackedRun) -> StackedMeasure:
    """Return the function that measures the metrics of many models like the run's.

    It is the workload's `stacked_measure`, or else `vmap` on a GPU, and on a CPU a loop over the
    models.
    """
    faster = run.workload.stacked_measure()
    if faster is not None:
        return faster

    def of_model(weights: Tensors, buffers: Tensors, batch: Batch) -> dict[str, torch.Tensor]:
        found = run.workload.measure(
            lambda *inputs: functional_call(run.model, {**weights, **buffers}, inputs), batch
        )
        return {
            name: torch.as_tensor(value, device=run.weights.device).reshape(())
            for name, value in found.items()
        }

    def in_turn(weights: Tensors, buffers: Tensors, batch: Batch) -> dict[str, torch.Tensor]:
        n = len(next(iter(weights.values())))
        of_each = [of_model(rows(weights, k), rows(buffers, k), batch) for k in range(n)]
        return {name: torch.stack([found[name] for found in of_each]) for name in of_each[0]}

    if run.weights.is_cuda:
        return decomposing(vmap(of_model, in_dims=(0, 0, None)))
    return in_turn


def rows(tensors: Tensors, which: int | slice) -> dict[str, torch.Tensor]:
    """Return the rows of some members, or of a single member, of tensors [members, ...] by name."""
    return {name: tensor[which] for name, tensor in tensors.items()}


def by_name(flat: torch.Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Return views of [..., numbers] as each parameter, [..., *shape]."""
    parts = torch.split(flat, [shape.numel() for shape in shapes.values()], dim=-1)
    return {
        name: part.view((*flat.shape[:-1], *shape))
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


@functools.lru_cache(maxsize=64)
def _noise_on(shapes: tuple[tuple[str, torch.Size], ...], purpose: str) -> Noise:
    return Noise(0, dict(shapes), purpose)
