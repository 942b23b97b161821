"""Workloads whose results show how the trainers behave."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gradnoise.workloads import (
    Batch,
    Dropout,
    Forward,
    Metric,
    Parameter,
    Splits,
    Workload,
    normal,
    option,
)
from gradnoise.workloads.base import StackedGradient, StackedMeasure, Tensors


@functools.cache
def splits() -> Splits:
    """30 examples of 5 numbers to train on, 10 to validate, 10 to test; float64."""
    inputs = normal(0, "data", 0, "inputs", (50, 5)).double()
    targets = inputs[:, :1].sin() - inputs[:, 1:2]
    train, validation, test = zip(
        inputs.split([30, 10, 10]), targets.split([30, 10, 10]), strict=True
    )
    return Splits(train=train, validation=validation, test=test)


class exact(Workload):  # noqa: N801  # the entry point's name
    """A network in float64.

    Two ways of the same computation differ by about 1e-15, a mistake by much more.
    """

    name = "exact"
    description = "A regression in float64."
    metrics = (Metric(name="error", direction="minimize", worst=1e6),)
    parameters = (Parameter(name="scale", description="Factor of the loss.", low=0, low_open=True),)
    places = ("gradient", "weights", "activations")
    batch_size = 8

    def data(self) -> Splits:
        return splits()

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(5, 7), torch.nn.Tanh(), Dropout(), torch.nn.Linear(7, 1)
        ).double()

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape))

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return self.params.get("scale", 1.0) * (forward(batch[0]) - batch[1]).square().mean()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"error": (forward(batch[0]) - batch[1]).square().mean()}


class Gate(torch.nn.Module):
    """Two outputs: a fixed one for the metrics, and one for the loss.

    The loss has no finite minimizer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack([inputs.mean(), 1e200 * self.weight])


class blind(exact):  # noqa: N801  # the entry point's name
    """One update per epoch, after which the weight is infinite at rate 1e200.

    The loss before the update and the metric stay finite.
    """

    name = "blind"
    batch_size = 30

    def model(self) -> torch.nn.Module:
        return Gate()

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return forward(batch[0])[1]

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"error": forward(batch[0])[0]}


class narrow(exact):  # noqa: N801  # the entry point's name
    """The workload `exact` in float32."""

    name = "narrow"

    def data(self) -> Splits:
        inputs, targets = (
            [getattr(splits(), split)[i].float() for split in ("train", "validation", "test")]
            for i in (0, 1)
        )
        train, validation, test = zip(inputs, targets, strict=True)
        return Splits(train=train, validation=validation, test=test)

    def model(self) -> torch.nn.Module:
        return super().model().float()


class normed(exact):  # noqa: N801  # the entry point's name
    """A network with BatchNorm, a fixed dropout layer, and a dropout layer for techniques."""

    name = "normed"

    def model(self) -> torch.nn.Module:
        inner = torch.nn.Sequential(
            torch.nn.BatchNorm1d(7),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.25),
            torch.nn.Linear(7, 6),
            Dropout(),
        )
        return torch.nn.Sequential(torch.nn.Linear(5, 7), inner, torch.nn.Linear(6, 1)).double()


class RandomFeatures(torch.nn.Module):
    """A fixed projection, drawn from torch's global generator when the module is constructed."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(5, 7))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.projection


class drawn(exact):  # noqa: N801  # the entry point's name
    """A network with a buffer that is drawn when the network is constructed."""

    name = "drawn"

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            RandomFeatures(), torch.nn.Tanh(), torch.nn.Linear(7, 1)
        ).double()


@dataclass(frozen=True, kw_only=True)
class LoneOptions:
    """The reason why the workload does not stack."""

    why: str = option(
        "branch",
        "`branch`, `lstm`, `draws`, `draws in numpy`, `reassigns`, `hooks`, `counts`, `complex`, "
        "`mixed`, `sparse`, `unused`, `frozen`, `wrong`, `mismeasures`, `measures more`, `mixes`; "
        "`overflows` does not.",
    )


class Lone(torch.nn.Module):
    """A network with a feature that a single model supports and a stack does not."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why
        self.lstm = (
            torch.nn.LSTM(5, 7, batch_first=True) if why == "lstm" else torch.nn.Linear(5, 7)
        )
        self.last = torch.nn.Linear(7, 1)
        self.n_calls = 0
        if why in ("complex", "mixed"):
            self.lstm = torch.nn.Linear(5, 7, dtype=torch.complex128)
        if why == "complex":
            self.last = torch.nn.Linear(7, 1, dtype=torch.complex128)
        if why == "sparse":
            self.lstm = torch.nn.Embedding(2, 7, sparse=True)
        if why == "reassigns":
            self.register_buffer("mean", torch.zeros(7))
        if why == "hooks":
            self.last.weight.register_hook(lambda gradient: 2 * gradient)
        if why == "unused":
            self.extra = torch.nn.Parameter(torch.zeros(3))
        if why == "frozen":
            self.lstm.requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.why == "sparse":
            return self.last(self.lstm((inputs[:, 0] > 0).long()))
        inputs = inputs.to(
            self.lstm.weight.dtype if self.why == "mixed" else self.last.weight.dtype
        )
        hidden = self.lstm(inputs[:, None])[0][:, 0] if self.why == "lstm" else self.lstm(inputs)
        if self.why == "branch" and hidden.sum() > 0:
            hidden = hidden + 1
        if self.why == "overflows":
            hidden = hidden.exp() * 1e308 * 1e308
        if self.why == "counts":
            self.n_calls += 1
            hidden = hidden * (1 + 0.1 * self.n_calls)
        if self.why == "reassigns":
            if self.training:
                self.mean = 0.9 * self.mean + 0.1 * hidden.detach().mean(0)
            hidden = hidden - self.mean
        if self.why == "mixed":
            hidden = hidden.real
        if self.why == "complex":
            return self.last(hidden).real
        if self.why == "draws in numpy":
            hidden = hidden * (1 + 0.1 * np.random.rand())
        if self.why == "draws":
            hidden = torch.nn.functional.dropout(hidden, 0.5, self.training)
        return self.last(hidden)


class lone(exact):  # noqa: N801  # the entry point's name
    """Trains a single trial at a time, for the reason that its option names."""

    name = "lone"
    Options = LoneOptions

    def model(self) -> torch.nn.Module:
        model = Lone(self.options.why)
        # the CPU has a fused LSTM in float32 only
        return model if self.options.why == "lstm" else model.double()

    def stacked_gradient(self) -> StackedGradient | None:
        if self.options.why != "wrong":
            return None

        def gradient(
            weights: Tensors, _buffers: Tensors, _batch: Batch, gradients: Tensors
        ) -> torch.Tensor:
            for gradient_buffer in gradients.values():
                gradient_buffer.fill_(0.5)
            return next(iter(weights.values())).new_zeros(2)

        return gradient

    def stacked_measure(self) -> StackedMeasure | None:
        model = self.model()

        def found(weights: Tensors, _buffers: Tensors, batch: Batch) -> dict[str, torch.Tensor]:
            outputs = torch.func.vmap(
                lambda each: torch.func.functional_call(model, each, batch[0])
            )(weights)
            return {"error": (outputs - batch[1]).square().mean((1, 2))}

        if self.options.why == "mismeasures":
            return lambda weights, _buffers, _batch: {
                "error": next(iter(weights.values())).new_full((2,), 0.5)
            }
        if self.options.why == "mixes":
            return lambda *arguments: {"error": found(*arguments)["error"][:1].expand(2)}
        return (
            (lambda *arguments: found(*arguments) | {"more": torch.zeros(2)})
            if self.options.why == "measures more"
            else None
        )


@dataclass(frozen=True, kw_only=True)
class OddOptions:
    """The kind of the second metric."""

    metric: str = option(
        "scalar",
        "`scalar`, `vector`, `float`, `bool` or `int`: the kind of its second metric.",
    )


class Counter(torch.nn.Module):
    """Counts its calls, in training and in evaluation, and scales its input by the count."""

    passed: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passed", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passed.add_(1)
        return inputs * (1 + 0.1 * self.passed)


class odd(exact):  # noqa: N801  # the entry point's name
    """A network that counts its calls, with a second metric of the kind of its option."""

    name = "odd"
    Options = OddOptions

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(Counter(), torch.nn.Linear(5, 1)).double()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, Any]:
        error = (forward(batch[0]) - batch[1]).square().mean()
        kinds = {
            "scalar": error,
            "vector": error[None],
            "float": 0.5,
            "bool": error > 0.1,
            "int": (error * 100).long(),
        }
        return {"error": error, "second": kinds[self.options.metric]}


@dataclass(frozen=True, kw_only=True)
class FragileOptions:
    """The method that raises."""

    breaks_in: str = option("loss", "`data`, `model` or `loss`.")


class fragile(exact):  # noqa: N801  # the entry point's name
    """Raises in the method that its option names."""

    name = "fragile"
    Options = FragileOptions

    def data(self) -> Splits:
        return self._break("data") or super().data()

    def model(self) -> torch.nn.Module:
        return self._break("model") or super().model()

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return self._break("loss") or super().loss(forward, batch)

    def _break(self, method: str) -> None:
        if self.options.breaks_in == method:
            raise OSError(f"no {method} today")


class copies(exact):  # noqa: N801  # the entry point's name
    """The workload `exact` with a factor that its loss copies from the host at each call."""

    name = "copies"

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return (forward(batch[0]) - batch[1]).square().mean() * batch[0].new_tensor([0.5])[0]


class wide_loss(narrow):  # noqa: N801  # the entry point's name
    """A network in float32 whose stacked losses are float64."""

    name = "wide_loss"

    def stacked_gradient(self) -> StackedGradient:
        model = self.model()

        def loss(weights: Tensors, buffers: Tensors, batch: Batch) -> torch.Tensor:
            call = torch.func.functional_call
            return self.loss(lambda inputs: call(model, {**weights, **buffers}, inputs), batch)

        differentiate = torch.func.vmap(torch.func.grad_and_value(loss))

        def gradient(
            weights: Tensors, buffers: Tensors, batch: Batch, gradients: Tensors
        ) -> torch.Tensor:
            found, losses = differentiate(weights, buffers, batch)
            for name, gradient_buffer in gradients.items():
                gradient_buffer.copy_(found[name])
            return losses.double()

        return gradient
