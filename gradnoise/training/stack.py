"""The stacked trainer: trials of equal form train as one model under `torch.func.vmap`, each as if it were alone.

Between epochs every trial owns its weights; for an epoch those of all members are stacked along a first axis, trained together, and given
back. So trials come and go at any epoch boundary, and none depends on its place or its neighbours.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.func import functional_call, grad_and_value, vmap

from gradnoise.noise import Injection, Noise
from gradnoise.techniques import dropout, weight_noise
from gradnoise.techniques.dropout import DropoutMasks
from gradnoise.techniques.weight_noise import WeightNoise
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.single import dropout_shapes, epoch_order, open_alone, splits_measured
from gradnoise.training.slots import Broken, Diverged, Epoch, Member, Outcome, Run, SlotTrainer, timed
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Batch, Workload

Weights = dict[str, torch.Tensor]


class StackTrainer(SlotTrainer):
    """Trains members of equal workload, options and optimizer as one model; those that do not stack, each alone.

    Args:
        slots: Trials that it holds at most; at least 1.
        device: Where declared workloads train.
    """

    def __init__(self, slots: int, device: torch.device | None = None) -> None:
        super().__init__(slots)
        self._device = device or torch.device("cpu")

    def _train_epoch(self, members: Sequence[Member]) -> Iterator[tuple[Member, Outcome]]:
        stacks: dict[Hashable, list[tuple[Member, StackedRun]]] = {}
        for member in members:
            try:
                run = member.run = member.run or self._open(member.spec)
            except Exception as error:
                yield member, Broken(error=error, seconds=0.0)
                continue
            if isinstance(run, StackedRun):
                stacks.setdefault(run.form, []).append((member, run))
            else:
                yield member, timed(run)
        for stack in stacks.values():
            start = time.perf_counter()
            try:
                results = train_together([run for _, run in stack])
            except Exception as error:
                broken = Broken(error=error, seconds=(time.perf_counter() - start) / len(stack))
                yield from ((member, broken) for member, _ in stack)
                continue
            seconds = (time.perf_counter() - start) / len(stack)
            for (member, _), values in zip(stack, results, strict=True):
                yield member, Broken(error=Diverged(), seconds=seconds) if values is None else Epoch(values=values, seconds=seconds)

    def _open(self, spec: TrialSpec) -> Run:
        setup = prepare(spec)
        if isinstance(setup.workload, Workload) and setup.workload.stacks:
            return StackedRun(setup, setup.workload, self._device)
        return open_alone(setup, self._device)


class StackedRun:
    """A trial that trains in a stack: its weights, its optimizer's moments, its technique's state, its updates and epochs so far.

    `form` is equal for trials that can train as one model.
    """

    def __init__(self, setup: Setup, workload: Workload, device: torch.device) -> None:
        spec = setup.spec
        self.form = (spec.workload, setup.options, tuple(sorted(workload.params.items())), spec.optimizer, spec.with_test)
        self.spec = spec
        self.workload = workload
        self.optimizer = setup.optimizer
        self.hyper = setup.optimizer.hyperparameters(spec.params)
        self.clip_norm = math.inf if setup.clip_norm is None else setup.clip_norm
        self.effect = setup.effect
        self.splits = workload.data().to(device)
        self.model = workload.model()
        workload.initialise(self.model, spec.seed)
        self.model.to(device)
        self.shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        self.places: Mapping[str, torch.Size] = {}
        match setup.effect:
            case WeightNoise():
                self.noise = Noise(spec.seed, self.shapes, weight_noise.PURPOSE)
            case DropoutMasks():
                self.places = dropout_shapes(workload, self.model, self.splits)
                self.noise = Noise(spec.seed, self.places, dropout.PURPOSE)
            case _:
                self.noise = Noise(spec.seed, self.shapes)
        self.weights = torch.nn.utils.parameters_to_vector(self.model.parameters()).detach()
        is_preconditioned = isinstance(setup.effect, Injection) and setup.effect.preconditioner is not None
        self.preconditioner_state = torch.zeros(self.weights.numel() if is_preconditioned else 0, dtype=torch.float32, device=device)
        self.moments = [torch.zeros_like(self.weights) for _ in range(setup.optimizer.n_moments)]
        self.t = 0
        self.epoch = 0

    def train_epoch(self) -> Mapping[str, float]:
        (values,) = train_together([self])
        if values is None:
            raise Diverged
        return values

    def close(self) -> None:
        """Nothing to end: the memory goes with the object."""


@torch.no_grad()
def train_together(runs: Sequence[StackedRun]) -> list[Mapping[str, float] | None]:
    """Train runs of equal form by one epoch, and return each one's values, or None where it became non-finite."""
    first = runs[0]
    weights = torch.stack([run.weights for run in runs])
    moments = [torch.stack(parts) for parts in zip(*(run.moments for run in runs), strict=True)]
    hyper = {name: _column([run.hyper[name] for run in runs], weights) for name in first.hyper}
    clip_norm = _column([run.clip_norm for run in runs], weights)
    clips = any(run.clip_norm < math.inf for run in runs)
    steps_before = _column([run.t for run in runs], weights).double()
    differentiate = vmap(grad_and_value(lambda own, masks, batch: first.workload.loss(_forward(first.model, own | masks), batch)))

    losses = []
    gradients = torch.empty_like(weights)
    weights_of_gradient, masks, add_noise = _on_weights(runs, weights), _on_activations(runs, weights), _on_gradients(runs, gradients)
    order = torch.stack([epoch_order(run.workload, run.spec.seed, run.epoch) for run in runs], dim=1).to(weights.device)
    for i, rows in enumerate(order):
        by_parameter, loss = differentiate(weights_of_gradient(), masks(), tuple(part[rows] for part in first.splits.train))
        torch.cat([part.reshape(len(runs), -1) for part in by_parameter.values()], dim=1, out=gradients)
        if clips:
            gradients.mul_((clip_norm / (torch.linalg.vector_norm(gradients, dim=1, keepdim=True) + 1e-6)).clamp_(max=1))
        add_noise()
        for run in runs:
            run.t += 1
        first.optimizer.stacked(weights, gradients, moments, hyper, steps_before + i)
        losses.append(loss)

    columns = {"train_loss": torch.stack(losses).mean(0)} | _measure(first, _by_name(weights, first.shapes))
    values = [dict(zip(columns, row, strict=True)) for row in torch.stack([column.double() for column in columns.values()], dim=1).tolist()]
    finite = weights.isfinite().all(dim=1).tolist()
    for k, run in enumerate(runs):
        run.weights = weights[k]
        run.moments = [moment[k] for moment in moments]
        run.epoch += 1
    return [own if ok and all(map(math.isfinite, own.values())) else None for own, ok in zip(values, finite, strict=True)]


def _on_weights(runs: Sequence[StackedRun], weights: torch.Tensor) -> Callable[[], Weights]:
    """Return what gives the weights, by name, at which the gradient of each run's present update is taken."""
    shapes = runs[0].shapes
    if not any(isinstance(run.effect, WeightNoise) for run in runs):
        by_name = _by_name(weights, shapes)
        return lambda: by_name
    noisy = torch.empty_like(weights)
    noisy_by_name = _by_name(noisy, shapes)
    perturbed = [
        (run, run.effect, _split(row, shapes)) for run, row in zip(runs, noisy, strict=True) if isinstance(run.effect, WeightNoise)
    ]

    def perturb() -> Weights:
        noisy.copy_(weights)
        for run, effect, parts in perturbed:
            run.noise.add_(parts, run.t, effect.schedule(run.t))
        return noisy_by_name

    return perturb


def _on_activations(runs: Sequence[StackedRun], weights: torch.Tensor) -> Callable[[], Weights]:
    """Return what draws the dropout masks of each run's present update, by buffer; a run without dropout has ones beside those with it."""
    shapes = next((run.places for run in runs if run.places), {})
    n = sum(shape.numel() for shape in shapes.values())
    masks = weights.new_ones(len(runs), n)
    by_buffer = {f"{name}.mask": mask for name, mask in _by_name(masks, shapes).items()}
    normals = torch.empty(n, dtype=torch.float32, device=weights.device)
    parts = _split(normals, shapes)
    dropped = [(run, run.effect, mask) for run, mask in zip(runs, masks, strict=True) if isinstance(run.effect, DropoutMasks)]

    def draw() -> Weights:
        for run, effect, mask in dropped:
            normals.zero_()
            run.noise.add_(parts, run.t, std=1.0)
            effect.write_(mask, normals)
        return by_buffer

    return draw


def _on_gradients(runs: Sequence[StackedRun], gradients: torch.Tensor) -> Callable[[], None]:
    """Return what adds the noise of each run's present update to its gradient."""
    injected = [
        (run, run.effect, gradient, _split(gradient, run.shapes))
        for run, gradient in zip(runs, gradients, strict=True)
        if isinstance(run.effect, Injection)
    ]

    def add() -> None:
        for run, injection, gradient, parts in injected:
            scales = None
            if injection.preconditioner is not None:
                injection.preconditioner.update_(run.preconditioner_state, gradient)
                scales = _split(injection.preconditioner.scale(run.preconditioner_state), run.shapes)
            for t, std in injection.terms(run.t):
                run.noise.add_(parts, t, std, scales)

    return add


def _measure(run: StackedRun, by_name: Weights) -> dict[str, torch.Tensor]:
    """Return each metric of every member, [members], by split and name."""
    values: dict[str, torch.Tensor] = {}
    run.model.eval()
    for split in splits_measured(run.spec):
        batch: Batch = getattr(run.splits, split)
        measured = vmap(lambda own, batch=batch: dict(run.workload.measure(_forward(run.model, own), batch)))(by_name)
        values |= {f"{split}_{name}": value for name, value in measured.items()}
    run.model.train()
    return values


def _forward(model: torch.nn.Module, weights: Weights) -> Callable[..., Any]:
    return lambda *inputs: functional_call(model, weights, inputs)


def _by_name(flat: torch.Tensor, shapes: Mapping[str, torch.Size]) -> Weights:
    """Return views of [members, weights] as each parameter, [members, *shape]; what is written to the one shows in the other."""
    parts = torch.split(flat, [shape.numel() for shape in shapes.values()], dim=1)
    return {name: part.view(-1, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _split(flat: torch.Tensor, shapes: Mapping[str, torch.Size]) -> list[torch.Tensor]:
    """Return views of one member's weights as each parameter."""
    return [part[0] for part in _by_name(flat[None], shapes).values()]


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
