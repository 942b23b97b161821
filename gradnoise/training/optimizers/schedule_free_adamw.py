"""Schedule-Free AdamW (Defazio et al. 2024, arXiv:2405.15682).

The weights are y, at which gradients are taken. z are the weights of plain AdamW; kept is
u = z - y. x, the weighted mean of z, at which metrics are measured, is y - (1 / beta1 - 1) u.
"""

import torch

from gradnoise.parameters import Parameter
from gradnoise.training.optimizers.adamw import DECOUPLED_DECAY
from gradnoise.training.optimizers.arithmetic import average, like
from gradnoise.training.optimizers.hyperparameters import BETA2, EPS, LR
from gradnoise.workloads.optimizer import Columns, Moments, Optimizer
from gradnoise.workloads.rule_optimizer import single_of

MOMENTS = ("z_minus_y", "exp_avg_sq", "weight_sum")


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """With d = g / (sqrt(v / (1 - beta2^n)) + eps) + weight_decay y and c = lr^2 / sum of lr^2:
    y <- y + c u - lr (1 - beta1 (1 - c)) d, u <- (1 - c) (u - lr beta1 d).
    """
    difference, square, total = moments
    lr, beta1 = like(weights, hyper["lr"]), like(weights, hyper["beta1"])
    beta2 = hyper.get("beta2", torch.zeros_like(steps)).double()
    average(square, gradients * gradients, beta2)
    correction = like(weights, 1 - beta2 ** (steps + 1))
    step = gradients.div_((square / correction).sqrt_().add_(like(weights, hyper["eps"])))
    if "weight_decay" in hyper:
        step.addcmul_(weights, like(weights, hyper["weight_decay"]))
    total.add_(lr * lr)
    share = (lr * lr / total).nan_to_num_(nan=0.0)  # 0 / 0 while the rate is 0
    weights.addcmul_(share, difference).sub_(step * (lr * (1 - beta1 * (1 - share))))
    difference.sub_(step * (lr * beta1)).mul_(1 - share)


def evaluated(weights: torch.Tensor, moments: Moments, hyper: Columns) -> torch.Tensor:
    """Return x = y - (1 / beta1 - 1) u."""
    return weights - moments[0] * like(weights, 1 / hyper["beta1"] - 1)


OPTIMIZER = Optimizer(
    name="schedule_free_adamw",
    description=(
        "AdamW whose metrics are measured at an average of its weights, in place of a "
        "learning-rate schedule (Defazio et al. 2024)."
    ),
    formula=(
        "y = (1 - beta1) z + beta1 x, g = grad L(y), z <- z - lr (g / (sqrt(v / (1 - beta2^n)) + "
        "eps) + weight_decay y), x <- (1 - c) x + c z, c = lr^2 / sum of lr^2, v as in adam; "
        "metrics are measured at x"
    ),
    source="Defazio et al. 2024, arXiv:2405.15682, algorithm 1",
    parameters=(
        LR,
        Parameter(
            name="beta1",
            description="Share of the average x in the weights y; 0.9 by default.",
            low=0,
            low_open=True,
            high=0.9999,
        ),
        BETA2,
        EPS,
        DECOUPLED_DECAY,
    ),
    defaults={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    moments=MOMENTS,
    evaluated=evaluated,
    single=single_of(stacked, MOMENTS),
    stacked=stacked,
)
