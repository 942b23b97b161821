"""RMSProp (Tieleman & Hinton 2012)."""

from collections.abc import Mapping

import torch

from gradnoise.parameters import Parameter
from gradnoise.training.optimizers.arithmetic import add_decay, average, like, with_momentum
from gradnoise.training.optimizers.hyperparameters import LR, MOMENTUM, WEIGHT_DECAY
from gradnoise.workloads.optimizer import Columns, Moments, NamedParameters, Optimizer

EPSILON = 1e-8
ALPHA = Parameter(
    name="alpha",
    description="Decay of the mean squared gradient; 0.99 by default.",
    low=0,
    high=0.9999,
)


def single(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    """Return torch's RMSprop."""
    return torch.optim.RMSprop(
        parameters,
        lr=hyper["lr"],
        alpha=hyper["alpha"],
        eps=EPSILON,
        weight_decay=hyper["weight_decay"],
        momentum=hyper["momentum"],
        foreach=True,
    )


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """Step by lr * b, b <- momentum * b + g / (sqrt(v) + EPSILON), v the mean of g^2."""
    square, momentum = moments
    add_decay(gradients, weights, hyper)
    scratch = gradients * gradients
    average(square, scratch, hyper.get("alpha", torch.zeros_like(steps)))
    gradients.div_(torch.sqrt(square, out=scratch).add_(EPSILON))
    weights.addcmul_(
        with_momentum(gradients, momentum, hyper), like(weights, hyper["lr"]), value=-1
    )


OPTIMIZER = Optimizer(
    name="rmsprop",
    description="RMSProp, with epsilon = 1e-8, and with momentum if it is given.",
    formula="v <- alpha v + (1 - alpha) g^2, b <- momentum b + g / (sqrt(v) + 1e-8), w <- w - lr b",
    source="Tieleman and Hinton 2012, COURSERA: Neural Networks for Machine Learning 6.5",
    parameters=(LR, ALPHA, MOMENTUM, WEIGHT_DECAY),
    defaults={"alpha": 0.99},
    moments=("square_avg", "momentum_buffer"),
    single=single,
    stacked=stacked,
)
