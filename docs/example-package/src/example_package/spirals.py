"""A declared workload: classify the points of two spirals."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gradnoise.workloads import (
    Batch,
    Dropout,
    Forward,
    Metric,
    Splits,
    Workload,
    cross_entropy,
    normal,
    option,
)


@dataclass(frozen=True, kw_only=True)
class SpiralsOptions:
    """The options that a study may choose."""

    turns: float = option(1.5, "Turns of each spiral around the centre.", minimum=0.5, maximum=5)
    width: int = option(16, "Units of each of the two hidden layers.", minimum=1, maximum=1024)


class Spirals(Workload):
    """A network of two hidden layers that classifies points by their spiral."""

    name = "spirals"
    description = "A small network that classifies the points of two interleaved spirals."
    metrics = (
        Metric(
            name="accuracy",
            direction="maximize",
            worst=0.0,
            description="Share of points classified correctly.",
        ),
    )
    Options = SpiralsOptions
    batch_size = 32

    def data(self) -> Splits:
        return spirals(self.options.turns)

    def model(self) -> torch.nn.Module:
        width = self.options.width
        hidden = (
            torch.nn.Linear(2, width),
            torch.nn.Tanh(),
            Dropout(),
            torch.nn.Linear(width, width),
            torch.nn.Tanh(),
            Dropout(),
        )
        return torch.nn.Sequential(*hidden, torch.nn.Linear(width, 2))

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * 0.5)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        points, spiral = batch
        return cross_entropy(forward(points), spiral)

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        points, spiral = batch
        return {"accuracy": (forward(points).argmax(1) == spiral).float().mean()}


@functools.cache
def spirals(turns: float) -> Splits:
    """Return 384 points for training, 192 for validation and 192 for the test."""
    n = 384
    radius = torch.linspace(0.1, 1, n)
    angle = 2 * math.pi * turns * radius
    first = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    points = torch.cat([first, -first]) + 0.02 * normal(0, "data", 0, "spirals", (2 * n, 2))
    spiral = torch.arange(2).repeat_interleave(n)
    part = torch.arange(2 * n) % 4
    train, validation, test = (
        (points[rows], spiral[rows]) for rows in (part < 2, part == 2, part == 3)
    )
    return Splits(train=train, validation=validation, test=test)
