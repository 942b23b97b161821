"""The workloads of the benchmarks.

They need only torch: random images of the same shape replace a missing data set.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from torch.nn import functional

from gradnoise.workloads import Batch, Forward, Metric, Splits, Workload, normal
from gradnoise.workloads.options import option
from gradnoise.workloads.paper.downloads import DataUnavailableError
from gradnoise.workloads.paper.memn2n import MemN2N
from gradnoise.workloads.paper.mlp import Mlp
from gradnoise.workloads.paper.mlp.data import N_CLASSES, images
from gradnoise.workloads.paper.mlp.model import INITS
from gradnoise.workloads.paper.neural_gpu import NeuralGpu
from gradnoise.workloads.paper.neural_programmer import NeuralProgrammer
from gradnoise.workloads.paper.nram import Nram

N_UPDATES, N_MODULE_UPDATES = 20, 10


class Dense(Mlp):
    """The network `mlp`, evaluated on a fifth as many images as it trains on.

    A short epoch then spends about the same share of its time on evaluation as a whole epoch.
    """

    name = "dense"

    def data(self) -> Splits:
        return _cut(self.options.dataset, self.options.n_train)


class Convolutions(Workload):
    """Three 3x3 convolutions on images of 16 x 16."""

    name = "convolutions"
    description = "A small convolution net on random images."
    metrics = (Metric(name="loss", direction="minimize", worst=100.0),)
    batch_size = 50

    def data(self) -> Splits:
        return _random_images((1, 16, 16), 500)

    def model(self) -> torch.nn.Module:
        relu, conv = torch.nn.ReLU, torch.nn.Conv2d
        convolutions = (
            conv(1, 16, 3, padding=1),
            relu(),
            conv(16, 32, 3, 2, 1),
            relu(),
            conv(32, 32, 3, 2, 1),
            relu(),
        )
        return torch.nn.Sequential(
            *convolutions, torch.nn.Flatten(), torch.nn.Linear(512, N_CLASSES)
        )

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            std = 0.0 if name.endswith("bias") else INITS["he"](parameter[0].numel())
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * std)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(forward(batch[0]), batch[1])

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"loss": self.loss(forward, batch)}


@dataclass(frozen=True, kw_only=True)
class ModuleOptions:
    """The modules of torch that users bring most often."""

    module: Literal["gru", "encoder", "cnn"] = option("gru", "The network.")
    side: int = option(8, "Lines of an image, of as many numbers.", minimum=8, maximum=28)
    width: int = option(64, "Units of a state or token.", minimum=4, maximum=1_024)


class Module(Workload):
    """A network of torch's modules on random images: it reads lines or convolves."""

    name = "module"
    description = "A GRU, a Transformer encoder or a convolution net on random images."
    metrics = (Metric(name="loss", direction="minimize", worst=100.0),)
    batch_size = 32
    Options: ClassVar[type] = ModuleOptions
    options: ModuleOptions

    def data(self) -> Splits:
        side, n = self.options.side, N_MODULE_UPDATES * self.batch_size
        return _random_images((1, side, side) if self.options.module == "cnn" else (side, side), n)

    def model(self) -> torch.nn.Module:
        side, width = self.options.side, self.options.width
        if self.options.module == "cnn":
            return _convolutions(side)
        return Reader(side, width) if self.options.module == "gru" else Encoder(side, width)

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            std = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.0
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * std)
            if "norm" in name and name.endswith("weight"):
                parameter.fill_(1.0)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(forward(batch[0]), batch[1])

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"loss": self.loss(forward, batch)}


class Reader(torch.nn.Module):
    """A GRU over the lines of an image, and a linear layer on its last state."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(side, width, batch_first=True)
        self.output = torch.nn.Linear(width, N_CLASSES)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(self.gru(lines)[1][0])
        return logits


class Encoder(torch.nn.Module):
    """Two encoder layers over the lines of an image, each a token."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(side, width)
        self.place = torch.nn.Parameter(torch.empty(side, width))
        layer = torch.nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0, batch_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, num_layers=2)
        self.output = torch.nn.Linear(width, N_CLASSES)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        tokens = self.layers(self.embed(lines) + self.place)
        logits: torch.Tensor = self.output(tokens.mean(1))
        return logits


def _convolutions(side: int) -> torch.nn.Module:
    """Return two 3x3 convolutions of 8 and 16 maps, each with a ReLU and pooling."""
    relu, conv, pool = torch.nn.ReLU, torch.nn.Conv2d, torch.nn.MaxPool2d
    return torch.nn.Sequential(
        conv(1, 8, 3, padding=1),
        relu(),
        pool(2),
        conv(8, 16, 3, padding=1),
        relu(),
        pool(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * (side // 4) ** 2, N_CLASSES),
    )


class Line(Workload):
    """One weight and one update per epoch, so that training takes almost no time."""

    name = "line"
    description = "A line through two points."
    metrics: ClassVar[tuple[Metric, ...]] = (Metric(name="loss", direction="minimize", worst=1e9),)
    batch_size = 2

    def data(self) -> Splits:
        return _points()

    def model(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1, bias=False)

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape))

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return (forward(batch[0]) - batch[1]).square().mean()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"loss": self.loss(forward, batch)}


class HostCopy(Line):
    """Its loss copies a number from the host, which no CUDA graph can hold."""

    name = "host-copy"

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return super().loss(forward, batch) * batch[0].new_tensor([0.5])[0]


class BrokenCapture(Line):
    """Its loss waits for the device during a capture, which breaks the capture off."""

    name = "broken-capture"

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        if torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        return super().loss(forward, batch)


def shortened(declared: type[Workload]) -> type[Workload]:
    """Return a workload whose epoch is its first 20 updates.

    The splits that are measured are cut by the same factor as the training data.
    """

    def data(self: Workload) -> Splits:
        return _first(declared.data(self), N_UPDATES * self.batch_size)

    return type(
        f"Short{declared.__name__}", (declared,), {"name": f"short-{declared.name}", "data": data}
    )


SHORT = SimpleNamespace(
    **{
        declared.__name__: shortened(declared)
        for declared in (Mlp, MemN2N, NeuralProgrammer, Nram, NeuralGpu)
    }
)

ENTRY_POINTS = {
    declared.name: f"benchmarks.workloads:{declared.__name__}"
    for declared in (Dense, Convolutions, Module, Line, HostCopy, BrokenCapture)
} | {short.name: f"benchmarks.workloads:SHORT.{name}" for name, short in vars(SHORT).items()}


@functools.cache
def _first(splits: Splits, n: int) -> Splits:
    share = n / len(splits.train[0])
    if share >= 1:
        return splits
    n_measured = max(1, round(share * len(splits.validation[0])))
    return Splits(
        train=tuple(part[:n] for part in splits.train),
        validation=tuple(part[:n_measured] for part in splits.validation),
        test=tuple(part[:n_measured] for part in splits.test),
    )


@functools.cache
def _cut(dataset: str, n: int) -> Splits:
    try:
        if dataset != "digits" and "GRADNOISE_DATA" not in os.environ:
            raise DataUnavailableError("a benchmark downloads nothing")
        found = images(dataset)
    except DataUnavailableError:
        return _random_images((64 if dataset == "digits" else 784,), n)
    parts: dict[str, Any] = {"train": n, "validation": n // 5, "test": n // 5}
    return Splits(
        **{
            split: tuple(part[:count] for part in getattr(found, split))
            for split, count in parts.items()
        }
    )


@functools.cache
def _random_images(shape: tuple[int, ...], n: int) -> Splits:
    """Return n random training images and a fifth as many to measure on, of ten classes."""
    generator = torch.Generator().manual_seed(0)
    counts = [n, n // 5, n // 5]
    inputs = torch.rand((sum(counts), *shape), generator=generator)
    labels = torch.randint(N_CLASSES, (sum(counts),), generator=generator)
    train, validation, test = zip(inputs.split(counts), labels.split(counts), strict=True)
    return Splits(train=train, validation=validation, test=test)


@functools.cache
def _points() -> Splits:
    points = (torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]]))
    return Splits(train=points, validation=points, test=points)
