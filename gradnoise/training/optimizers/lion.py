"""Lion (Chen et al. 2023, arXiv:2302.06675)."""

import torch

from gradnoise.parameters import Parameter
from gradnoise.training.optimizers.adamw import DECOUPLED_DECAY
from gradnoise.training.optimizers.arithmetic import average, like
from gradnoise.training.optimizers.hyperparameters import LR
from gradnoise.workloads.optimizer import Columns, Moments, Optimizer
from gradnoise.workloads.rule_optimizer import single_of

MOMENTS = ("exp_avg",)


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """Step by lr * sign(beta1 m + (1 - beta1) g), then update m with beta2."""
    (mean,) = moments
    beta1, beta2 = (hyper.get(name, torch.zeros_like(steps)) for name in ("beta1", "beta2"))
    if "weight_decay" in hyper:
        weights.mul_(like(weights, 1 - hyper["lr"] * hyper["weight_decay"]))
    step = torch.lerp(gradients, mean, like(mean, beta1)).sign_()
    weights.addcmul_(step, like(weights, hyper["lr"]), value=-1)
    average(mean, gradients, beta2)


OPTIMIZER = Optimizer(
    name="lion",
    description="Lion: steps of equal size in every coordinate (Chen et al. 2023).",
    formula=(
        "w <- w (1 - lr weight_decay) - lr sign(beta1 m + (1 - beta1) g), m <- beta2 m + "
        "(1 - beta2) g"
    ),
    source="Chen et al. 2023, arXiv:2302.06675",
    parameters=(
        LR,
        Parameter(
            name="beta1",
            description="Share of the mean gradient in a step; 0.9 by default.",
            low=0,
            high=0.9999,
        ),
        Parameter(
            name="beta2",
            description="Decay of the mean gradient; 0.99 by default.",
            low=0,
            high=0.9999,
        ),
        DECOUPLED_DECAY,
    ),
    defaults={"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.01},
    moments=MOMENTS,
    single=single_of(stacked, MOMENTS),
    stacked=stacked,
)
