"""The plain reference trainer: each trial alone, in eager torch, with torch's own optimizer and the
noise hook. The stack is held to it.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from gradnoise._hook import GradientNoise, attach
from gradnoise._processes import NoiseProcess
from gradnoise._streams import permutation
from gradnoise.techniques import Effect
from gradnoise.techniques.dropout import DropoutMasks, adopt, dropped, places
from gradnoise.techniques.weight_noise import NoisyWeights, WeightNoise
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.function_run import FunctionRun
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.slots import (
    DivergedError,
    LoneRun,
    Member,
    Outcome,
    Run,
    SlotTrainer,
    timed,
)
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Batch, Splits, Workload


class SingleTrainer(SlotTrainer):
    """Trains its members one after the other, each alone.

    Args:
        slots: Trials that it holds at most; at least 1.
        device: Where declared workloads train.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.
    """

    def __init__(
        self,
        slots: int = 1,
        device: torch.device | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        super().__init__(slots, checkpoints)
        self._device = device or torch.device("cpu")

    def _open(self, spec: TrialSpec) -> Run:
        return open_alone(prepare(spec), self._device)

    def _train_epoch(
        self, members: Sequence[tuple[Member, Run]]
    ) -> Iterator[tuple[Member, Outcome]]:
        return ((member, timed(run)) for member, run in members)


def open_alone(setup: Setup, device: torch.device) -> LoneRun:
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
        self._epoch = 0
        self._t = 0
        self._randomness = Randomness(setup.spec.seed)
        opened = open_model(setup, workload, device, self._randomness)
        self._model, self._splits = opened.model, opened.splits
        for name, place in places(self._model).items():
            if name in opened.dropped:
                masks = DropoutMasks(rate=opened.dropped[name][0])
                place.register_forward_pre_hook(functools.partial(self._set_mask, masks, name))
        self._rule = setup.optimizer
        self._hyper = setup.optimizer.hyperparameters(setup.spec.params)
        self._optimizer = setup.optimizer.single(self._model.named_parameters(), self._hyper)
        self._effect = setup.effect
        self._n_weights = sum(
            weights.numel() for weights in self._model.parameters() if weights.requires_grad
        )
        self._noise_to_gradient: dict[str, float] = {}
        self._noise: GradientNoise | None = None
        self._noisy_weights: NoisyWeights | None = None
        if isinstance(setup.effect, NoiseProcess):
            self._noise = attach(self._optimizer, setup.effect, seed=setup.spec.seed)
        elif isinstance(setup.effect, WeightNoise):
            self._noisy_weights = NoisyWeights(
                self._model.named_parameters(), setup.effect, seed=setup.spec.seed
            )

    def train_epoch(self) -> Mapping[str, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = self._hyper["lr"] * self._lr_factor(self._epoch)
        with self._randomness.lent():
            *orders, last = epoch_order(self._workload, self._spec.seed, self._epoch)
            losses = [*(self.step(rows) for rows in orders), self.step(last, is_last=True)]
            self._epoch += 1
            values = (
                {"train_loss": float(torch.stack(losses).mean())}
                | self._noise_to_gradient
                | self._evaluate()
            )
        if not all(map(math.isfinite, values.values())) or not all(
            bool(weights.isfinite().all()) for weights in self._model.parameters()
        ):
            raise DivergedError
        return values

    def state(self) -> dict[str, Any]:
        states = [self._optimizer.state[parameter] for parameter in self._model.parameters()]
        zeros = [torch.zeros_like(parameter) for parameter in self._model.parameters()]
        moments = [
            _flat(
                own if (own := state.get(name)) is not None else zero
                for state, zero in zip(states, zeros, strict=True)
            )
            for name in self._rule.moments
        ]
        scales = self._noise.state_dict().get("states", {}) if self._noise else {}
        return {
            "t": self._t,
            "epoch": self._epoch,
            "weights": _flat(self._model.parameters()),
            "buffers": dict(self._model.named_buffers()),
            "moments": torch.stack(moments),
            "preconditioner": _flat(scales[name] for name, _ in self._model.named_parameters())
            if scales
            else torch.empty(0),
            "randomness": self._randomness.state(),
        }

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        self._t, self._epoch = state["t"], state["epoch"]
        named = dict(self._model.named_parameters())

        def parts(flat: torch.Tensor) -> dict[str, torch.Tensor]:
            split = torch.split(flat, [parameter.numel() for parameter in named.values()])
            return {
                name: own.view_as(parameter).to(parameter.device)
                for (name, parameter), own in zip(named.items(), split, strict=True)
            }

        for name, own in parts(state["weights"]).items():
            named[name].copy_(own)
        for name, buffer in self._model.named_buffers():
            buffer.copy_(state["buffers"][name])
        for kept, flat in zip(self._rule.moments, state["moments"], strict=True):
            for name, own in parts(flat).items():
                self._optimizer.state[named[name]] |= {
                    kept: own.clone(),
                    "step": torch.tensor(float(self._t)),
                }
        if self._noise:
            states = parts(state["preconditioner"]) if len(state["preconditioner"]) else {}
            self._noise.load_state_dict({"t": self._t, "seed": self._spec.seed, "states": states})
        if "randomness" in state:  # a stack's trials draw nothing from the global generators
            self._randomness.load(state["randomness"])

    def close(self) -> None:
        """Nothing to end: the memory goes with the object."""

    def step(self, rows: torch.Tensor, *, is_last: bool = False) -> torch.Tensor:
        """Make one update on these examples, maybe the last of an epoch, and return its loss."""
        self._optimizer.zero_grad()
        with self._weights_of_gradient():
            loss = self._workload.loss(
                self._model, tuple(part[rows] for part in self._splits.train)
            )
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
        if self._clip_value is not None:
            torch.nn.utils.clip_grad_value_(self._model.parameters(), self._clip_value)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        if is_last:
            norm = torch.nn.utils.get_total_norm(
                [weights.grad for weights in self._model.parameters() if weights.grad is not None]
            )
            self._noise_to_gradient = noise_to_gradient(
                self._effect, self._t, self._n_weights, float(norm)
            )
        self._optimizer.step()
        self._t += 1
        return loss.detach()

    def _weights_of_gradient(self) -> AbstractContextManager[None]:
        return nullcontext() if self._noisy_weights is None else self._noisy_weights.at(self._t)

    def _set_mask(
        self, masks: DropoutMasks, name: str, place: torch.nn.Module, inputs: tuple[torch.Tensor]
    ) -> None:
        if place.training:
            place.mask = masks.draw(self._spec.seed, self._t, name, inputs[0])

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        with evaluating(self._model):
            return {
                f"{split}_{name}": float(value)
                for split in splits_measured(self._spec)
                for name, value in self._workload.measure(
                    self._model, getattr(self._splits, split)
                ).items()
            }


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A trial's model with its initial weights, its data, and where its activations are dropped, at
    which rate and of which shape.
    """

    model: torch.nn.Module
    splits: Splits
    dropped: dict[str, tuple[float, torch.Size]]


def open_model(
    setup: Setup, workload: Workload, device: torch.device, randomness: Randomness
) -> Opened:
    """Open a trial's model on a device. What a model draws as it is made is the trial's own: the
    global generators are lent to it.

    Raises:
        ValueError: If its technique drops activations, and the model has no place for that; or the
            training data do not fill one batch.
    """
    splits = workload.data().to(device)
    n_steps(workload)  # raises where there is none
    with randomness.lent():
        model = adopt(workload.model()).train()
        workload.initialise(model, setup.spec.seed)
        model.to(device)
        found = dropped(
            model, setup.effect, lambda: workload.loss(model, first_batch(workload, splits))
        )
    return Opened(model=model, splits=splits, dropped=found)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Keep the model in evaluation mode meanwhile, and in training mode from then on, whatever
    happens.
    """
    model.eval()
    try:
        yield
    finally:
        model.train()


def first_batch(workload: Workload, splits: Splits) -> Batch:
    """Return the first examples of the training data, in their own order, as many as an update
    takes.
    """
    return tuple(part[: workload.batch_size] for part in splits.train)


def _flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def noise_to_gradient(
    effect: Effect, t: int, n_weights: int, gradient_norm: float
) -> dict[str, float]:
    """Return `noise_to_gradient`: the expected norm of the noise of update t, sigma_t
    sqrt(n_weights), over that of the clipped gradient.

    Nothing where there is no noise on gradients, or none of one size for all coordinates, or the
    gradient is 0 or not finite.
    """
    if (
        not isinstance(effect, NoiseProcess)
        or effect.preconditioner is not None
        or not 0 < gradient_norm < math.inf
    ):
        return {}
    return {"noise_to_gradient": effect.std(t) * math.sqrt(n_weights) / gradient_norm}


def n_steps(workload: Workload) -> int:
    """Return the updates in one epoch.

    Raises:
        ValueError: If the training data do not fill one batch.
    """
    n_examples = len(workload.data().train[0])
    if n_examples < workload.batch_size:
        raise ValueError(
            f"batch_size must be at most {n_examples}, the training examples, but got "
            f"batch_size={workload.batch_size}."
        )
    return n_examples // workload.batch_size


def epoch_order(workload: Workload, seed: int, epoch: int) -> torch.Tensor:
    """Return the examples of each update of an epoch (from 0): [updates, batch_size]; those that
    fill no whole batch are left out.
    """
    n = n_steps(workload) * workload.batch_size
    return permutation(seed, "order", epoch, len(workload.data().train[0]))[:n].view(
        -1, workload.batch_size
    )


def splits_measured(spec: TrialSpec) -> tuple[str, ...]:
    """Return the splits that a trial is measured on: the test split only where the trial is judged."""
    return ("validation", "test") if spec.with_test else ("validation",)
