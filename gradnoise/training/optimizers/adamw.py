"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

from collections.abc import Mapping

import torch

from gradnoise.parameters import Parameter
from gradnoise.training.optimizers import adam
from gradnoise.training.optimizers.arithmetic import like
from gradnoise.training.optimizers.hyperparameters import BETA1, BETA2, EPS, LR
from gradnoise.workloads.optimizer import Columns, Moments, NamedParameters, Optimizer

DECOUPLED_DECAY = Parameter(
    name="weight_decay",
    description=(
        "Share of the weights, times the learning rate, that an update takes off; 0.01 by default."
    ),
    low=0,
)


def single(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    """Return torch's AdamW."""
    return torch.optim.AdamW(parameters, **adam.arguments(hyper))


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """Multiply the weights by 1 - lr * weight_decay, then step as Adam does."""
    if "weight_decay" in hyper:
        weights.mul_(like(weights, 1 - hyper["lr"] * hyper["weight_decay"]))
    adam.step(weights, gradients, moments, hyper, steps)


OPTIMIZER = Optimizer(
    name="adamw",
    description="Adam with decoupled weight decay (Loshchilov and Hutter 2019).",
    formula="as adam, after w <- w (1 - lr weight_decay)",
    source="Loshchilov and Hutter 2019, arXiv:1711.05101",
    parameters=(LR, BETA1, BETA2, EPS, DECOUPLED_DECAY),
    defaults={**adam.DEFAULTS, "weight_decay": 0.01},
    moments=adam.MOMENTS,
    single=single,
    stacked=stacked,
)
