"""A trial that trains in a stack: all that is its own, from one epoch to the next."""

import math
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.func import functional_call, grad_and_value, vmap

from gradnoise._noise import Noise
from gradnoise._processes import NoiseProcess
from gradnoise.techniques import weight_noise
from gradnoise.techniques.weight_noise import WeightNoise
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup
from gradnoise.training.single import evaluating, first_batch, open_model
from gradnoise.workloads.base import Batch, StackedGradient, StackedMeasure, Tensors, Workload

# of the largest number: float32 loses 1e-7 an operation, a gradient of something else is off by its
# own size
TOLERANCE = 1e-3


class StackedRun:
    """Weights, buffers, the optimizer's moments, the technique's state, updates and epochs so far.

    `form` is equal for trials that can train as one model.

    Args:
        setup: The trial.
        workload: Its workload.
        device: Where it trains.
    """

    def __init__(self, setup: Setup, workload: Workload, device: torch.device) -> None:
        spec = setup.spec
        self.form = (
            spec.workload,
            setup.options,
            tuple(sorted(workload.params.items())),
            spec.optimizer,
            spec.with_test,
        )
        self.spec = spec
        self.setup = setup
        self.workload = workload
        self.effect = setup.effect
        self.hyper = setup.optimizer.hyperparameters(spec.params)
        self.clip_norm = math.inf if setup.clip_norm is None else setup.clip_norm
        self.clip_value = math.inf if setup.clip_value is None else setup.clip_value
        opened = open_model(setup, workload, device, Randomness(spec.seed))
        self.model, self.data, self.dropped = opened.model, opened.splits, opened.dropped
        self.shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        is_on_weights = isinstance(setup.effect, WeightNoise)
        self.noise = (
            Noise(spec.seed, self.shapes, weight_noise.PURPOSE)
            if is_on_weights
            else Noise(spec.seed, self.shapes)
        )
        self.weights = torch.nn.utils.parameters_to_vector(self.model.parameters()).detach()
        self.buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        self.moments = self.weights.new_zeros(setup.optimizer.n_moments, self.weights.numel())
        is_preconditioned = (
            isinstance(setup.effect, NoiseProcess) and setup.effect.preconditioner is not None
        )
        self.preconditioner_state = torch.zeros(
            self.weights.numel() if is_preconditioned else 0, dtype=torch.float32, device=device
        )
        self.t = 0
        self.epoch = 0
        # what stays is the model's form: its numbers are passed in
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)

    def state(self) -> dict[str, Any]:
        own = {
            "t": self.t,
            "epoch": self.epoch,
            "weights": self.weights,
            "buffers": self.buffers,
            "moments": self.moments,
        }
        return own | {"preconditioner": self.preconditioner_state}

    def load(self, state: Mapping[str, Any]) -> None:
        self.t, self.epoch = state["t"], state["epoch"]
        self.weights.copy_(state["weights"])
        self.moments.copy_(state["moments"])
        self.preconditioner_state.copy_(state["preconditioner"])
        for name, buffer in self.buffers.items():
            buffer.copy_(state["buffers"][name])

    def close(self) -> None:
        """Nothing to end: the memory goes with the object."""


def gradient_of(run: StackedRun) -> StackedGradient:
    """Return the gradient of many models like the run's: the workload's own way, or else
    `torch.func.vmap` over its loss.
    """
    own = run.workload.stacked_gradient()
    if own is not None:
        return own

    def loss(weights: Tensors, buffers: Tensors, batch: Batch) -> torch.Tensor:
        return run.workload.loss(
            lambda *inputs: functional_call(run.model, {**weights, **buffers}, inputs), batch
        )

    differentiate = vmap(grad_and_value(loss))

    def gradient(
        weights: Tensors, buffers: Tensors, batch: Batch, gradients: Tensors
    ) -> torch.Tensor:
        found, losses = differentiate(weights, buffers, batch)
        for name, into in gradients.items():
            into.copy_(found[name])
        return torch.as_tensor(losses)

    return gradient


def measure_of(run: StackedRun) -> StackedMeasure:
    """Return the metrics of many models like the run's: the workload's own way, or else `vmap` on a
    GPU, and one by one on a CPU.
    """
    own = run.workload.stacked_measure()
    if own is not None:
        return own

    def of_one(weights: Tensors, buffers: Tensors, batch: Batch) -> dict[str, torch.Tensor]:
        found = run.workload.measure(
            lambda *inputs: functional_call(run.model, {**weights, **buffers}, inputs), batch
        )
        return {
            name: torch.as_tensor(value, device=run.weights.device).reshape(())
            for name, value in found.items()
        }

    def one_by_one(weights: Tensors, buffers: Tensors, batch: Batch) -> dict[str, torch.Tensor]:
        n = len(next(iter(weights.values())))
        of_each = [of_one(rows(weights, k), rows(buffers, k), batch) for k in range(n)]
        return {name: torch.stack([found[name] for found in of_each]) for name in of_each[0]}

    return vmap(of_one, in_dims=(0, 0, None)) if run.weights.is_cuda else one_by_one


def rows(tensors: Tensors, which: int | slice) -> dict[str, torch.Tensor]:
    """Return one member's part of [members, ...] by name, or some members'."""
    return {name: tensor[which] for name, tensor in tensors.items()}


def _where(error: Exception) -> str:
    """Return the last line outside torch and this package that an error passed."""
    folders = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(folders)
    ]
    return (
        f"at {Path(frames[-1].filename).name}:{frames[-1].lineno}, `{frames[-1].line}`: "
        if frames
        else ""
    )


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a device or the machine had no memory left; on a CPU torch says so in words
    alone.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


def refusal(run: StackedRun) -> str:
    """Return why trials like this one cannot train as one model, in a sentence; empty if they can.

    The gradient and the metrics of two models are taken, and held to what autograd and the model
    itself give for one. Raises what the workload itself raises, and where memory runs out.
    """
    names, batch = list(run.shapes), first_batch(run.workload, run.data)
    masks = {
        f"{name}.mask": run.weights.new_full(shape, 0.5) for name, (_, shape) in run.dropped.items()
    }
    parts = torch.split(run.weights, [shape.numel() for shape in run.shapes.values()])
    weights = {
        name: part.view(shape).clone().requires_grad_()
        for (name, shape), part in zip(run.shapes.items(), parts, strict=True)
    }

    def buffers() -> dict[str, torch.Tensor]:
        return {name: buffer.clone() for name, buffer in run.buffers.items()} | masks

    own_buffers, generators = buffers(), torch.get_rng_state()
    with torch.enable_grad():
        loss = run.workload.loss(
            lambda *inputs: functional_call(run.model, weights | own_buffers, inputs), batch
        )
        expected = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    with torch.no_grad(), evaluating(run.model):
        found = run.workload.measure(
            lambda *inputs: functional_call(run.model, weights | buffers(), inputs),
            run.data.validation,
        )
        metrics = {
            name: run.weights.new_tensor(float(value), dtype=torch.float64)
            for name, value in found.items()
        }
    if not torch.equal(generators, torch.get_rng_state()):
        torch.set_rng_state(generators)
        return "its loss or its metrics draw random numbers, which are to be each trial's own."
    frozen = [
        name for name, parameter in run.model.named_parameters() if not parameter.requires_grad
    ]
    if frozen:
        return f"{frozen[0]} takes no gradient, and such a parameter must stay as it is."
    unused = [name for name, gradient in zip(names, expected, strict=True) if gradient is None]
    if unused:
        return f"{unused[0]} takes no part in its loss, and such a parameter must stay as it is."

    def two(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The second is the one that is looked at; the first, with other numbers, must not show in
        it.
        """
        own = {name: tensor.detach() for name, tensor in tensors.items()}
        return {
            name: torch.stack([one / 2 if one.is_floating_point() else one, one])
            for name, one in own.items()
        }

    gradients, stacked_buffers = two(weights), two(buffers())
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # vmap would go through the members one by one
            warnings.filterwarnings("error", message=".*batching rule.*")
            with evaluating(run.model):
                found_metrics = measure_of(run)(two(weights), two(run.buffers), run.data.validation)
            losses = gradient_of(run)(
                two(weights),
                stacked_buffers,
                tuple(torch.stack([part.flip(0), part]) for part in batch),
                gradients,
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return (
            f"torch.func.vmap cannot train it: {_where(error)}{type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}"
        )
    alone = (
        {"the loss": loss.detach()},
        dict(zip(names, expected, strict=True)),
        own_buffers,
        metrics,
    )
    if found_metrics.keys() != metrics.keys():
        return f"as one model it would give other metrics than alone: {', '.join(found_metrics)}."
    for some, together in zip(
        alone, ({"the loss": losses}, gradients, stacked_buffers, found_metrics), strict=True
    ):
        sizes = [float(own.abs().max()) for own in some.values() if own.numel()]
        room = TOLERANCE * max((size for size in sizes if size < math.inf), default=0.0)
        for name, own in some.items():
            if not torch.allclose(
                together[name][1].double(), own.double(), rtol=TOLERANCE, atol=room, equal_nan=True
            ):
                return f"as one model it would give another value for {name} than alone."
    return ""
