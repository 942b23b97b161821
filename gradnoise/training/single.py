"""The plain reference trainer: each trial alone, in eager torch, with torch's own optimizer and the noise hook. The stack is held to it."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from gradnoise import streams
from gradnoise.hook import attach
from gradnoise.noise import Injection
from gradnoise.techniques.dropout import DropoutMasks, activation_shapes, places
from gradnoise.techniques.weight_noise import NoisyWeights, WeightNoise
from gradnoise.training.function_run import FunctionRun
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.slots import Broken, Diverged, Member, Outcome, Run, SlotTrainer, timed
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Splits, Workload


class SingleTrainer(SlotTrainer):
    """Trains its members one after the other, each alone.

    Args:
        slots: Trials that it holds at most; at least 1.
        device: Where declared workloads train.
    """

    def __init__(self, slots: int = 1, device: torch.device | None = None) -> None:
        super().__init__(slots)
        self._device = device or torch.device("cpu")

    def _train_epoch(self, members: Sequence[Member]) -> Iterator[tuple[Member, Outcome]]:
        for member in members:
            try:
                member.run = member.run or self._open(member.spec)
            except Exception as error:
                yield member, Broken(error=error, seconds=0.0)
            else:
                yield member, timed(member.run)

    def _open(self, spec: TrialSpec) -> Run:
        return open_alone(prepare(spec), self._device)


def open_alone(setup: Setup, device: torch.device) -> Run:
    """Open a trial that trains alone, whatever its workload."""
    if isinstance(setup.workload, Workload):
        return SingleRun(setup, setup.workload, device)
    return FunctionRun(setup, setup.workload)


class SingleRun:
    """A declared workload under training, alone."""

    def __init__(self, setup: Setup, workload: Workload, device: torch.device) -> None:
        self._spec = setup.spec
        self._workload = workload
        self._clip_value = setup.clip_value
        self._clip_norm = setup.clip_norm
        self._lr_factor = setup.lr_factor
        self._splits = workload.data().to(device)
        self._n_steps = n_steps(workload)
        self._epoch = 0
        self._t = 0
        self._randomness = Randomness(setup.spec.seed)
        with self._randomness.lent():
            self._model = workload.model()
            workload.initialise(self._model, setup.spec.seed)
        self._model.to(device)
        self._hyper = setup.optimizer.hyperparameters(setup.spec.params)
        self._optimizer = setup.optimizer.single(self._model.named_parameters(), self._hyper)
        self._noisy_weights: NoisyWeights | None = None
        match setup.effect:
            case Injection() as injection:
                attach(self._optimizer, seed=setup.spec.seed, injection=injection)
            case WeightNoise() as effect:
                self._noisy_weights = NoisyWeights(self._model.named_parameters(), effect, seed=setup.spec.seed)
            case DropoutMasks() as masks:
                with self._randomness.lent():
                    dropout_shapes(workload, self._model, self._splits)  # raises where dropout would reach nothing
                for name, place in places(self._model).items():
                    place.register_forward_pre_hook(functools.partial(self._set_mask, masks, name))

    def train_epoch(self) -> Mapping[str, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = self._hyper["lr"] * self._lr_factor(self._epoch)
        with self._randomness.lent():
            losses = [self._step(rows) for rows in epoch_order(self._workload, self._spec.seed, self._epoch)]
            self._epoch += 1
            values = {"train_loss": float(torch.stack(losses).mean())} | self._evaluate()
        if not all(map(math.isfinite, values.values())) or not all(bool(weights.isfinite().all()) for weights in self._model.parameters()):
            raise Diverged
        return values

    def close(self) -> None:
        """Nothing to end: the memory goes with the object."""

    def _step(self, rows: torch.Tensor) -> torch.Tensor:
        self._optimizer.zero_grad()
        with self._weights_of_gradient():
            loss = self._workload.loss(self._model, tuple(part[rows] for part in self._splits.train))
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
        if self._clip_value is not None:
            torch.nn.utils.clip_grad_value_(self._model.parameters(), self._clip_value)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self._optimizer.step()
        self._t += 1
        return loss.detach()

    def _weights_of_gradient(self) -> AbstractContextManager[None]:
        return nullcontext() if self._noisy_weights is None else self._noisy_weights.at(self._t)

    def _set_mask(self, masks: DropoutMasks, name: str, place: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if place.training:
            place.mask = masks.draw(self._spec.seed, self._t, name, inputs[0])

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        self._model.eval()
        values = {
            f"{split}_{name}": float(value)
            for split in splits_measured(self._spec)
            for name, value in self._workload.measure(self._model, getattr(self._splits, split)).items()
        }
        self._model.train()
        return values


def n_steps(workload: Workload) -> int:
    """Return the updates in one epoch.

    Raises:
        ValueError: If the training data do not fill one batch.
    """
    n_examples = len(workload.data().train[0])
    if n_examples < workload.batch_size:
        raise ValueError(f"batch_size must be at most {n_examples}, the training examples, but got batch_size={workload.batch_size}.")
    return n_examples // workload.batch_size


def epoch_order(workload: Workload, seed: int, epoch: int) -> torch.Tensor:
    """Return the examples of each update of an epoch (from 0): [updates, batch_size]; those that fill no whole batch are left out."""
    n = n_steps(workload) * workload.batch_size
    return streams.permutation(seed, "order", epoch, len(workload.data().train[0]))[:n].view(-1, workload.batch_size)


def dropout_shapes(workload: Workload, model: torch.nn.Module, splits: Splits) -> dict[str, torch.Size]:
    """Return the shape of an update's activations at each of the model's places for dropout.

    Raises:
        ValueError: If the model has no place, or its loss passes none.
    """
    batch = tuple(part[: workload.batch_size] for part in splits.train)
    return activation_shapes(model, lambda: workload.loss(model, batch))


def splits_measured(spec: TrialSpec) -> tuple[str, ...]:
    """Return the splits that a trial is measured on: the test split only where the trial is judged."""
    return ("validation", "test") if spec.with_test else ("validation",)
