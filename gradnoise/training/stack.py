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

from gradnoise.noise import Noise
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.single import epoch_order, open_alone, splits_measured
from gradnoise.training.slots import Broken, Diverged, Epoch, Member, Outcome, Run, SlotTrainer, timed
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Batch, Workload

Weights = Mapping[str, torch.Tensor]


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
    """A trial that trains in a stack: its weights, its optimizer's moments, its updates and epochs so far.

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
        self.schedule = setup.schedule
        self.splits = workload.data().to(device)
        self.model = workload.model()
        workload.initialise(self.model, spec.seed)
        self.model.to(device)
        self.shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        self.noise = Noise(spec.seed, self.shapes)
        self.weights = torch.nn.utils.parameters_to_vector(self.model.parameters()).detach()
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
    by_name = _by_name(weights, first.shapes)
    hyper = {name: _column([run.hyper[name] for run in runs], weights) for name in first.hyper}
    clip_norm = _column([run.clip_norm for run in runs], weights)
    clips = any(run.clip_norm < math.inf for run in runs)
    steps_before = _column([run.t for run in runs], weights).double()
    differentiate = vmap(grad_and_value(lambda own, batch: first.workload.loss(_forward(first.model, own), batch)))

    losses = []
    gradients = torch.empty_like(weights)
    noisy = [(run, schedule, _row(gradients, k, first.shapes)) for k, run in enumerate(runs) if (schedule := run.schedule)]
    order = torch.stack([epoch_order(run.workload, run.spec.seed, run.epoch) for run in runs], dim=1).to(weights.device)
    for i, rows in enumerate(order):
        by_parameter, loss = differentiate(by_name, tuple(part[rows] for part in first.splits.train))
        torch.cat([part.reshape(len(runs), -1) for part in by_parameter.values()], dim=1, out=gradients)
        if clips:
            gradients.mul_((clip_norm / (torch.linalg.vector_norm(gradients, dim=1, keepdim=True) + 1e-6)).clamp_(max=1))
        for run, schedule, row in noisy:
            run.noise.add_(row, run.t, schedule(run.t))
        for run in runs:
            run.t += 1
        first.optimizer.stacked(weights, gradients, moments, hyper, steps_before + i)
        losses.append(loss)

    columns = {"train_loss": torch.stack(losses).mean(0)} | _measure(first, by_name)
    values = [dict(zip(columns, row, strict=True)) for row in torch.stack([column.double() for column in columns.values()], dim=1).tolist()]
    finite = weights.isfinite().all(dim=1).tolist()
    for k, run in enumerate(runs):
        run.weights = weights[k]
        run.moments = [moment[k] for moment in moments]
        run.epoch += 1
    return [own if ok and all(map(math.isfinite, own.values())) else None for own, ok in zip(values, finite, strict=True)]


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
    return lambda *inputs: functional_call(model, dict(weights), inputs)


def _by_name(flat: torch.Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Return views of [members, weights] as each parameter, [members, *shape]; what is written to the one shows in the other."""
    parts = torch.split(flat, [shape.numel() for shape in shapes.values()], dim=1)
    return {name: part.view(-1, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _row(flat: torch.Tensor, k: int, shapes: Mapping[str, torch.Size]) -> list[torch.Tensor]:
    return [part[k] for part in _by_name(flat, shapes).values()]


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
