"""The conformance checks of workloads detect faulty workloads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import probe_workloads
from gradnoise.testing import WorkloadCase, workloads
from gradnoise.workloads import Batch, Forward, Metric, Splits, Trial, function, option

X = Metric(name="x", direction="maximize", worst=0.0)


def case(workload: Any, **changes: Any) -> WorkloadCase:
    return WorkloadCase(workload=workload, **{"params": {"lr": 0.05}, **changes})


class Undescribed(probe_workloads.exact):
    description = "No stop"


@dataclass(frozen=True, kw_only=True)
class BareOptions:
    depth: int = option(1, "No stop")


class Bare(probe_workloads.exact):
    Options = BareOptions


class Uneven(probe_workloads.exact):
    def data(self) -> Splits:
        splits = super().data()
        inputs, targets = splits.validation
        return Splits(train=splits.train, validation=(inputs, targets[:-1]), test=splits.test)


class Redrawn(probe_workloads.exact):
    def data(self) -> Splits:
        inputs, targets = super().data().train
        return Splits(
            train=(inputs + torch.rand(()), targets),
            validation=(inputs, targets),
            test=(inputs, targets),
        )


class Large(probe_workloads.exact):
    batch_size = 31


class Partly(probe_workloads.exact):
    """Leaves the biases at their values."""

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        biases = {
            name: parameter.clone()
            for name, parameter in model.named_parameters()
            if name.endswith("bias")
        }
        super().initialise(model, seed)
        for name, bias in biases.items():
            model.get_parameter(name).copy_(bias)


class Misnamed(probe_workloads.exact):
    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"loss": super().measure(forward, batch)["error"]}


class Extra(probe_workloads.exact):
    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        measured = super().measure(forward, batch)
        return {**measured, "loss": measured["error"]}


class Optimistic(probe_workloads.exact):
    metrics = (Metric(name="error", direction="minimize", worst=1e-9),)


class Drawing(probe_workloads.exact):
    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return super().loss(forward, batch) * (1 + torch.rand(()))


class Layerless(probe_workloads.drawn):
    """Declares the place `activations` without a Dropout layer."""


class Leaking(probe_workloads.exact):
    """Its stacked gradient depends on the neighbours."""

    def stacked_gradient(self) -> Any:
        gradient = probe_workloads.wide_loss.stacked_gradient(self)  # type: ignore[arg-type]

        def leaking(weights: Any, buffers: Any, batch: Batch, gradients: Any) -> torch.Tensor:
            losses = gradient(weights, buffers, batch, gradients)
            for into in gradients.values():
                into *= 1 + 1e-9 * into.abs().sum()
            return losses

        return leaking


@function(name="silent", description="Applies no noise.", metrics=[X])
def silent(trial: Trial) -> None:
    for epoch in range(1, trial.budget_epochs + 1):
        drawn = torch.rand(())
        trial.report(epoch=epoch, validation_x=drawn, test_x=drawn)


@pytest.mark.parametrize(
    ("check", "workload", "message"),
    [
        (workloads.check_declaration, Undescribed, "description must be a sentence"),
        (workloads.check_options, Bare, "the description of the option depth must be a sentence"),
        (workloads.check_data, Uneven, r"the tensors of validation have \[10, 9\] examples"),
        (workloads.check_data, Redrawn, "data must return the same examples"),
        (workloads.check_data, Large, "batch_size must be at most 30"),
        (workloads.check_initialisation, Partly, r"the initial values of 0\.bias depend on more"),
        (workloads.check_metrics, Misnamed, "validation_error is missing"),
        (workloads.check_metrics, Extra, r"measure returns \['error', 'loss'\], declared are"),
        (workloads.check_metrics, Optimistic, "worse than the worst, 1e-09"),
        (workloads.check_places, Layerless, "dropout needs a Dropout layer in the model"),
        pytest.param(
            workloads.check_places,
            silent,
            "the arm's techniques reached no update",
            marks=pytest.mark.slow,
        ),
        (workloads.check_stack, Drawing, "does not stack: its loss or its metrics draw"),
        (workloads.check_neighbours, Leaking, "a neighbour in the stack changes"),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", "")),
)
def test_a_faulty_workload_is_detected(
    check: Callable[[WorkloadCase], None], workload: Any, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(case(workload))


def test_a_workload_that_declares_that_it_does_not_stack_conforms() -> None:
    class Alone(Drawing):
        stacks = False

    workloads.check_stack(case(Alone))
