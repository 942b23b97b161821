"""The workload on which techniques and optimizers are checked."""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, TypeVar

import torch

from gradnoise.registry import Named, Registry
from gradnoise.techniques.contribution import PLACES, Place
from gradnoise.training.trial import ParamValue, TrialSpec
from gradnoise.workloads import (
    Batch,
    Dropout,
    Forward,
    Metric,
    Splits,
    Workload,
    cross_entropy,
    normal,
)
from gradnoise.workloads.registry import WORKLOADS

NAME = "gradnoise-testing-reference"
CLASSES = "gradnoise-testing-classes"
T = TypeVar("T", bound=Named)


class Reference(Workload):
    """A regression in float64 by a network of two layers with a Dropout layer in between.

    In float64 two ways of computing the same differ by about 1e-15, a mistake by much more.
    """

    name = NAME
    description = "A regression in float64."
    metrics = (
        Metric(name="error", direction="minimize", worst=1e6, description="Mean squared error."),
    )
    places: ClassVar[tuple[Place, ...]] = ("gradient", "weights", "activations")
    batch_size = 8

    def data(self) -> Splits:
        return _splits()

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(5, 7), torch.nn.Tanh(), Dropout(), torch.nn.Linear(7, 1)
        ).double()

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape))

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return (forward(batch[0]) - batch[1]).square().mean()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"error": self.loss(forward, batch)}


class Classes(Reference):
    """The same network with three classes, for techniques on the loss."""

    name = CLASSES
    description = "A classification in float64."
    places = PLACES

    def data(self) -> Splits:
        return _classes()

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(5, 7), torch.nn.Tanh(), Dropout(), torch.nn.Linear(7, 3)
        ).double()

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return cross_entropy(forward(batch[0]), batch[1])


def trial(
    techniques: tuple[str, ...],
    optimizer: str,
    params: Mapping[str, ParamValue],
    workload: str = NAME,
) -> TrialSpec:
    """Return a trial of a reference workload."""
    return TrialSpec(
        key="trial",
        workload=workload,
        techniques=techniques,
        optimizer=optimizer,
        params=params,
        seed=1,
        budget_epochs=3,
        with_test=True,
    )


@contextmanager
def registered(registry: Registry[T], declared: T) -> Iterator[None]:
    """Register the reference workloads, and a declaration, for the time of a context."""
    with WORKLOADS.including(Reference, Classes), registry.including(declared):
        yield


@functools.cache
def _splits() -> Splits:
    """Return 30 examples to train on, 10 to validate and 10 to test."""
    inputs = normal(0, "data", 0, "inputs", (50, 5)).double()
    targets = inputs[:, :1].sin() - inputs[:, 1:2]
    train, validation, test = (
        (inputs[rows], targets[rows]) for rows in (slice(30), slice(30, 40), slice(40, 50))
    )
    return Splits(train=train, validation=validation, test=test)


@functools.cache
def _classes() -> Splits:
    """Return the same inputs, each with the sign of its target or, near 0, a third class."""
    train, validation, test = (
        (inputs, torch.where(targets[:, 0].abs() < 0.3, 2, (targets[:, 0] > 0).long()))
        for inputs, targets in (_splits().train, _splits().validation, _splits().test)
    )
    return Splits(train=train, validation=validation, test=test)
