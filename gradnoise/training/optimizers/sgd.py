"""Stochastic gradient descent."""

from collections.abc import Mapping

import torch

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule, When
from gradnoise.training.optimizers.arithmetic import add_decay, like, with_momentum
from gradnoise.training.optimizers.hyperparameters import LR, MOMENTUM, WEIGHT_DECAY
from gradnoise.workloads.optimizer import Columns, Moments, NamedParameters, Optimizer

NESTEROV = Parameter(
    name="nesterov",
    description="1 for Nesterov's momentum, 0 for classical momentum; 0 by default.",
    low=0,
    high=1,
    integer=True,
)
WITH_NESTEROV = (When(field="nesterov", values=(1,)),)


def single(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    """Return torch's SGD."""
    return torch.optim.SGD(
        parameters,
        lr=hyper["lr"],
        momentum=hyper["momentum"],
        nesterov=bool(hyper["nesterov"]),
        weight_decay=hyper["weight_decay"],
        foreach=True,
    )


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    _steps: torch.Tensor,
) -> None:
    """Step by lr * b, b <- momentum * b + g; with Nesterov by lr * (g + momentum * b)."""
    add_decay(gradients, weights, hyper)
    step = with_momentum(gradients, moments[0], hyper)
    if "nesterov" in hyper:
        gradients.addcmul_(step, like(weights, hyper["momentum"]))
        step = torch.where(hyper["nesterov"] > 0, gradients, step, out=gradients)
    weights.addcmul_(step, like(weights, hyper["lr"]), value=-1)


OPTIMIZER = Optimizer(
    name="sgd",
    description="Stochastic gradient descent, with classical or Nesterov's momentum if given.",
    formula=(
        "b <- momentum b + g + weight_decay w, w <- w - lr b; with Nesterov w <- w - lr (g + "
        "weight_decay w + momentum b)"
    ),
    source="Robbins and Monro 1951; Sutskever et al. 2013, PMLR 28",
    parameters=(LR, MOMENTUM, NESTEROV, WEIGHT_DECAY),
    rules=(
        Rule(kind="needs", field="momentum", when=WITH_NESTEROV),
        Rule(kind="above", field="momentum", bound=0, when=WITH_NESTEROV),
    ),
    moments=("momentum_buffer",),
    single=single,
    stacked=stacked,
)
