"""AdaGrad (Duchi et al. 2011, JMLR 12)."""

from collections.abc import Mapping

import torch

from gradnoise.training.optimizers.arithmetic import add_decay, like
from gradnoise.training.optimizers.hyperparameters import LR, WEIGHT_DECAY
from gradnoise.workloads.optimizer import Columns, Moments, NamedParameters, Optimizer

EPSILON = 1e-10


def single(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    """Return torch's Adagrad."""
    return torch.optim.Adagrad(
        parameters,
        lr=hyper["lr"],
        weight_decay=hyper["weight_decay"],
        eps=EPSILON,
        foreach=True,
    )


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    _steps: torch.Tensor,
) -> None:
    """Step by lr * g / (sqrt(sum of g^2) + EPSILON)."""
    (total,) = moments
    add_decay(gradients, weights, hyper)
    total.addcmul_(gradients, gradients)
    gradients.div_(total.sqrt().add_(EPSILON))
    weights.addcmul_(gradients, like(weights, hyper["lr"]), value=-1)


OPTIMIZER = Optimizer(
    name="adagrad",
    description="AdaGrad, with epsilon = 1e-10.",
    formula="s <- s + g^2, w <- w - lr g / (sqrt(s) + 1e-10)",
    source="Duchi et al. 2011, JMLR 12",
    parameters=(LR, WEIGHT_DECAY),
    moments=("sum",),
    single=single,
    stacked=stacked,
)
