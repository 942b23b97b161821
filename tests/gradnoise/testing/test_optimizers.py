"""The conformance checks of optimizers detect faulty optimizers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from gradnoise.testing import OPTIMIZER_CHECKS, OptimizerCase, optimizers
from gradnoise.training.optimizers import sgd
from gradnoise.training.optimizers.hyperparameters import LR
from gradnoise.workloads import Optimizer, Parameter

MEMBERS: list[dict[str, float | int | str]] = [{"lr": 0.05}, {"lr": 0.03, "momentum": 0.9}]


def case(**changes: Any) -> OptimizerCase:
    """Return SGD under another name, with changes to its declaration."""
    declared = dataclasses.replace(sgd.OPTIMIZER, name="other", **changes)
    return OptimizerCase(optimizer=declared, members=MEMBERS)


def backwards(weights: torch.Tensor, gradients: torch.Tensor, *rest: Any) -> None:
    sgd.stacked(weights, gradients.neg_(), *rest)


def mixing(weights: torch.Tensor, gradients: torch.Tensor, *rest: Any) -> None:
    sgd.stacked(weights, gradients.copy_(gradients.mean(0)), *rest)


def reading(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Any,
    hyper: Mapping[str, torch.Tensor],
    steps: torch.Tensor,
) -> None:
    if float(hyper["lr"].max()) > 0:
        sgd.stacked(weights, gradients, moments, hyper, steps)


def biased(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Any,
    hyper: Mapping[str, torch.Tensor],
    steps: torch.Tensor,
) -> None:
    """Add an offset where there is a column of weight decay."""
    if "weight_decay" in hyper:
        weights += 1e-6
    sgd.stacked(weights, gradients, moments, hyper, steps)


def at_fixed_rate(parameters: Any, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    return sgd.single(parameters, {**hyper, "lr": 0.01})


def plain(weights: torch.Tensor, gradients: torch.Tensor, *rest: Any) -> None:
    weights.addcmul_(gradients, rest[1]["lr"], value=-1)


@pytest.mark.parametrize("check", OPTIMIZER_CHECKS, ids=lambda check: check.__name__)
def test_an_optimizer_without_state_conforms(check: Callable[[OptimizerCase], None]) -> None:
    stateless = Optimizer(
        name="plain",
        description="Gradient descent.",
        formula="w <- w - lr g",
        source="Cauchy 1847",
        parameters=(LR,),
        moments=(),
        single=lambda parameters, hyper: torch.optim.SGD(parameters, lr=hyper["lr"]),
        stacked=plain,
    )
    check(OptimizerCase(optimizer=stateless, members=[{"lr": 0.05}, {"lr": 0.03}]))


@pytest.mark.parametrize(
    ("check", "faulty", "message"),
    [
        (
            optimizers.check_declaration,
            case(defaults={"momentum": 2.0}),
            "the default of momentum is illegal",
        ),
        (
            optimizers.check_declaration,
            case(
                parameters=(
                    *sgd.OPTIMIZER.parameters,
                    Parameter(name="lr", description="Learning rate."),
                )
            ),
            "both declare the hyperparameter 'lr'",
        ),
        (optimizers.check_learning_rate, case(single=at_fixed_rate), "the group's lr must be 0.05"),
        (optimizers.check_stacked_rule, case(stacked=backwards), "torch optimizer differ by"),
        (optimizers.check_moments, case(moments=()), "moments must list all state"),
        (
            optimizers.check_moments,
            case(moments=("momentum_buffer", "square")),
            r"no member of the case has the moments \['square'\]",
        ),
        (optimizers.check_neighbours, case(stacked=mixing), "neighbours change the weights"),
        (optimizers.check_zero_columns, case(stacked=biased), "columns of zeros and missing"),
        (optimizers.check_no_read_back, case(stacked=reading), "needs the values of tensors"),
        (optimizers.check_stack, case(stacked=backwards), "in a stack and alone the trial differs"),
        (optimizers.check_resume, case(moments=("other",)), "the trial differs"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_faulty_optimizer_is_detected(
    check: Callable[[OptimizerCase], None], faulty: OptimizerCase, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(faulty)
