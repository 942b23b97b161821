"""Adam (Kingma & Ba 2015, arXiv:1412.6980)."""

from collections.abc import Mapping
from typing import Any

import torch

from gradnoise.training.optimizers.arithmetic import add_decay, average, like
from gradnoise.training.optimizers.hyperparameters import BETA1, BETA2, EPS, LR, WEIGHT_DECAY
from gradnoise.workloads.optimizer import Columns, Moments, NamedParameters, Optimizer

DEFAULTS = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
MOMENTS = ("exp_avg", "exp_avg_sq")


def single(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    """Return torch's Adam."""
    return torch.optim.Adam(parameters, **arguments(hyper))


def arguments(hyper: Mapping[str, float]) -> dict[str, Any]:
    """Return the arguments of torch's Adam or AdamW."""
    return {
        "lr": hyper["lr"],
        "betas": (hyper["beta1"], hyper["beta2"]),
        "eps": hyper["eps"],
        "weight_decay": hyper["weight_decay"],
        "foreach": True,
    }


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """Step as `step` does, with weight decay in the gradient."""
    add_decay(gradients, weights, hyper)
    step(weights, gradients, moments, hyper, steps)


def step(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """Step by lr / (1 - beta1^n) * m / (sqrt(v) / r + eps) with r = sqrt(1 - beta2^n), both parts
    of the fraction times r.
    """
    mean, square = moments
    beta1, beta2 = (
        hyper.get(name, torch.zeros_like(steps)).double() for name in ("beta1", "beta2")
    )
    root = (1 - beta2 ** (steps + 1)).sqrt()
    mean.lerp_(gradients, like(weights, 1 - beta1))
    average(square, gradients.square_(), beta2)
    torch.sqrt(square, out=gradients).add_(like(weights, root * hyper["eps"]))
    torch.div(mean, gradients, out=gradients)
    weights.addcmul_(
        gradients, like(weights, hyper["lr"] * root / (1 - beta1 ** (steps + 1))), value=-1
    )


OPTIMIZER = Optimizer(
    name="adam",
    description="Adam (Kingma and Ba 2015).",
    formula=(
        "m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, w <- w - lr m / (1 - "
        "beta1^n) / (sqrt(v / (1 - beta2^n)) + eps) at update n = 1, 2, ..."
    ),
    source="Kingma and Ba 2015, arXiv:1412.6980",
    parameters=(LR, BETA1, BETA2, EPS, WEIGHT_DECAY),
    defaults=DEFAULTS,
    moments=MOMENTS,
    single=single,
    stacked=stacked,
)
