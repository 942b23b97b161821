"""The reference trainer: each trial is a separate model in eager torch.

It uses torch's optimizer and the noise hook. Tests compare the stack with it. On a CPU, a trial has
the same results bit by bit with the same number of threads; on a GPU they are only close, because
some operations add in any order.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from gradnoise._hook import GradientNoise
from gradnoise._processes import noise_to_gradient
from gradnoise.techniques.dropout_layers import dropout_layers
from gradnoise.techniques.masks import DropoutMasks
from gradnoise.techniques.noisy_weights import NoisyWeights
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.clock import clock_of
from gradnoise.training.epochs import (
    epoch_order,
    evaluating,
    open_model,
    splits_measured,
)
from gradnoise.training.files import Files
from gradnoise.training.function_run import FunctionRun
from gradnoise.training.member import DivergedError, EpochResult, LoneRun, Member, SlotRun
from gradnoise.training.output import Output
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.single_functions import SingleFunctions
from gradnoise.training.slots import SlotTrainer
from gradnoise.training.trace import Trace, beat
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Batch, Workload


class SingleTrainer(SlotTrainer):
    """Trains its members one after the other, each as a separate model.

    Args:
        slots: Most trials at the same time; at least 1.
        device: Where declared workloads train.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.
        files: Where it keeps the files of these trials.
        trace: Where other processes see which trials train; None: nowhere.
    """

    def __init__(
        self,
        slots: int = 1,
        device: torch.device | None = None,
        checkpoints: Checkpoints | None = None,
        files: Files | None = None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(slots, checkpoints, files, trace)
        self._device = device or torch.device("cpu")

    def _open(self, spec: TrialSpec, output: Output) -> SlotRun:
        return open_lone(prepare(spec), self._device, self._checkpoints_of(spec), output)

    def _train_epoch(
        self, members: Sequence[tuple[Member, SlotRun]]
    ) -> Iterator[tuple[Member, EpochResult]]:
        for member, run in members:
            yield from self._trained(member, run)


def open_lone(
    setup: Setup,
    device: torch.device,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> LoneRun:
    """Open a trial that trains as a separate model, of a declared workload or of a function."""
    if isinstance(setup.workload, Workload):
        return SingleRun(setup, setup.workload, device)
    every_seconds = checkpoints.every_seconds if checkpoints else None
    return FunctionRun(setup, setup.workload, every_seconds, output)


class SingleRun:
    """A trial of a declared workload that trains as a separate model."""

    def __init__(self, setup: Setup, workload: Workload, device: torch.device) -> None:
        self.clock = clock_of(device)
        self._spec = setup.spec
        self._workload = workload
        self._device = device
        self._clip_value = setup.clip_value
        self._clip_norm = setup.clip_norm
        self._setup = setup
        self._epoch = 0
        self._t = 0
        self._randomness = Randomness(setup.spec.seed)
        opened = open_model(setup, workload, device, self._randomness)
        self._model, self._splits = opened.model, opened.splits
        for name, layer in dropout_layers(self._model).items():
            if name in opened.dropped:
                masks = DropoutMasks(rate=opened.dropped[name][0])
                layer.register_forward_pre_hook(functools.partial(self._set_mask, masks, name))
        self._rule = setup.optimizer
        self._hyper = setup.optimizer.hyperparameters(setup.spec.params)
        self._optimizer = setup.optimizer.single(self._model.named_parameters(), self._hyper)
        self._n_weights = sum(
            weights.numel() for weights in self._model.parameters() if weights.requires_grad
        )
        self._functions = SingleFunctions(
            setup.contribution,
            dict(self._model.named_parameters()),
            dict(self._model.named_buffers()),
        )
        self._noise_to_gradient: dict[str, float] = {}
        self._gradient_process = setup.contribution.gradient
        self._noise: GradientNoise | None = None
        if self._gradient_process is not None:
            # of many models in a process, whose noise may be equal: attach would warn
            self._noise = GradientNoise(self._optimizer, self._gradient_process, setup.spec.seed)
        self._noisy_weights: NoisyWeights | None = None
        if setup.contribution.weights is not None:
            self._noisy_weights = NoisyWeights(
                self._model.named_parameters(), setup.contribution.weights, seed=setup.spec.seed
            )

    @property
    def noise_to_gradient(self) -> Mapping[str, float]:
        """`noise_to_gradient` of the last update that was one of an epoch."""
        return self._noise_to_gradient

    def train_epoch(self, timeout_seconds: float | None = None) -> Mapping[str, float]:
        self._set_rate()
        with self._randomness.lent():
            order = epoch_order(self._workload, self._spec, self._epoch)
            *orders, last = order.to(self._device)
            losses = [*(self.step(rows) for rows in orders), self.step(last, is_last=True)]
            self._epoch += 1
            values = (
                {"train_loss": float(torch.stack(losses).mean())}
                | self._noise_to_gradient
                | self.evaluate()
            )
        if not all(map(math.isfinite, values.values())) or not all(
            bool(weights.isfinite().all()) for weights in self._model.parameters()
        ):
            raise DivergedError
        return values

    def state(self) -> dict[str, Any]:
        scales = self._noise.state_dict().get("states", {}) if self._noise else {}
        return {
            "t": self._t,
            "epoch": self._epoch,
            "weights": _flat(self._model.parameters()),
            "buffers": dict(self._model.named_buffers()),
            "moments": self._moments(),
            "optimizer": None if self._rule.stacked else self._optimizer.state_dict(),
            "preconditioner": _flat(scales[name] for name, _ in self._model.named_parameters())
            if scales
            else torch.empty(0),
            "kept": self._functions.kept,
            "randomness": self._randomness.state(),
        }

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        self._t, self._epoch = state["t"], state["epoch"]
        named = dict(self._model.named_parameters())

        def parts(flat: torch.Tensor) -> dict[str, torch.Tensor]:
            split = torch.split(flat, [parameter.numel() for parameter in named.values()])
            return {
                name: part.view_as(parameter).to(parameter.device)
                for (name, parameter), part in zip(named.items(), split, strict=True)
            }

        for name, weights in parts(state["weights"]).items():
            named[name].copy_(weights)
        for name, buffer in self._model.named_buffers():
            buffer.copy_(state["buffers"][name])
        if self._rule.stacked is None:
            self._optimizer.load_state_dict(state["optimizer"])
        else:
            for parameter in named.values():
                self._optimizer.state[parameter]["step"] = torch.tensor(float(self._t))
        for moment, flat in zip(self._rule.moments, state["moments"], strict=True):
            for name, part in parts(flat).items():
                self._optimizer.state[named[name]][moment] = part.clone()
        self._functions.load(state["kept"])
        if self._noise:
            states = parts(state["preconditioner"]) if len(state["preconditioner"]) else {}
            self._noise.load_state_dict({"t": self._t, "seed": self._spec.seed, "states": states})
        if "randomness" in state:  # trials of a stack draw nothing from the global generators
            self._randomness.load(state["randomness"])

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Return the model's `state_dict` at which its metrics are measured."""
        with self._at_evaluated(), self._functions.evaluated():
            return {
                name: tensor.detach().cpu().clone()
                for name, tensor in self._model.state_dict().items()
            }

    def close(self) -> None:
        """Do nothing: the memory is freed with the object."""

    def step(self, rows: torch.Tensor, *, is_last: bool = False) -> torch.Tensor:
        """Make an update on these examples and return its loss.

        Args:
            rows: Indices of the examples in the training data.
            is_last: Whether it is the last of its epoch; then the gradient is compared with the
                noise.
        """
        if self._setup.has_warmup:
            self._set_rate()
        batch = tuple(part[rows] for part in self._splits.train)
        with self._weights_of_gradient():
            loss = self._take_gradient(batch)
            if self._functions.perturbs:
                with self._functions.perturbed(self._t):
                    self._take_gradient(batch)
        self._functions.transform(self._t)
        if self._clip_value is not None:
            torch.nn.utils.clip_grad_value_(self._model.parameters(), self._clip_value)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        if is_last:
            norm = torch.nn.utils.get_total_norm(
                [weights.grad for weights in self._model.parameters() if weights.grad is not None]
            )
            self._noise_to_gradient = noise_to_gradient(
                self._gradient_process, self._t, self._n_weights, float(norm)
            )
        self._optimizer.step()
        self._functions.average(self._t)
        self._t += 1
        beat()
        return loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the metrics by `<split>_<metric>`: of the average, if the arm keeps one, else of
        the present weights.
        """
        with evaluating(self._model), self._at_evaluated(), self._functions.evaluated():
            return {
                f"{split}_{name}": float(value)
                for split in splits_measured(self._spec)
                for name, value in self._workload.measure(
                    self._model, getattr(self._splits, split)
                ).items()
            }

    def _take_gradient(self, batch: Batch) -> torch.Tensor:
        """Set the gradient at the present weights and return the loss."""
        self._optimizer.zero_grad()
        with self._functions.loss():
            loss = self._workload.loss(self._model, batch)
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        for weights in self._model.parameters():
            if weights.grad is not None and weights.grad.is_sparse:
                weights.grad = weights.grad.to_dense()
        return loss.detach()

    def _set_rate(self) -> None:
        factor = self._setup.rate_factor(self._epoch, self._t)
        for group in self._optimizer.param_groups:
            group["lr"] = self._hyper["lr"] * factor

    @contextmanager
    def _at_evaluated(self) -> Iterator[None]:
        """Put the optimizer's weights for evaluation in place within the context."""
        if self._rule.evaluated is None:
            yield
            return
        parameters = list(self._model.parameters())
        weights = _flat(parameters)
        columns = {
            name: weights.new_full((1, 1), value, dtype=torch.float64)
            for name, value in self._hyper.items()
        }
        moments = list(self._moments()[:, None])
        found = self._rule.evaluated(weights[None], moments, columns)[0]
        _set(parameters, found)
        try:
            yield
        finally:
            _set(parameters, weights)

    def _moments(self) -> torch.Tensor:
        """Return the optimizer's moments, [moments, numbers]."""
        parameters = list(self._model.parameters())
        rows = [
            _flat(self._moment(name, parameter) for parameter in parameters)
            for name in self._rule.moments
        ]
        return torch.stack(rows) if rows else _flat(parameters)[None][:0]

    def _moment(self, name: str, parameter: torch.Tensor) -> torch.Tensor:
        """Return a moment of the optimizer; zeros if it keeps none, as SGD without momentum."""
        moment = self._optimizer.state[parameter].get(name)
        return torch.zeros_like(parameter) if moment is None else moment

    def _weights_of_gradient(self) -> AbstractContextManager[None]:
        return nullcontext() if self._noisy_weights is None else self._noisy_weights.at(self._t)

    def _set_mask(
        self, masks: DropoutMasks, name: str, layer: torch.nn.Module, inputs: tuple[torch.Tensor]
    ) -> None:
        if layer.training:
            layer.mask = masks.draw(self._spec.seed, self._t, name, inputs[0])


def _flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _set(parameters: Sequence[torch.Tensor], flat: torch.Tensor) -> None:
    parts = torch.split(flat, [parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.copy_(part.view_as(parameter))
