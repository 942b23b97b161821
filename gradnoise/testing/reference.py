"""The workload on which techniques and optimizers are checked."""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

from gradnoise.registry import Named, Registry
from gradnoise.training.trial import ParamValue, TrialSpec
from gradnoise.workloads import Batch, Dropout, Forward, Metric, Splits, Workload, normal
from gradnoise.workloads.registry import WORKLOADS

NAME = "gradnoise-testing-reference"
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


def trial(
    techniques: tuple[str, ...], optimizer: str, params: Mapping[str, ParamValue]
) -> TrialSpec:
    """Return a trial of the reference workload."""
    return TrialSpec(
        key="trial",
        workload=NAME,
        techniques=techniques,
        optimizer=optimizer,
        params=params,
        seed=1,
        budget_epochs=3,
        with_test=True,
    )


@contextmanager
def registered(registry: Registry[T], declared: T) -> Iterator[None]:
    """Register the reference workload, and a declaration, for the time of a context."""
    with WORKLOADS.including(Reference), registry.including(declared):
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
