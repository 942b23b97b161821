"""An optimizer: Signum (Bernstein et al. 2018, arXiv:1802.04434)."""

import torch

from gradnoise.workloads import Optimizer, Parameter, single_of


def stacked(weights, gradients, moments, hyper, steps):
    """Update [members, weights]; each hyperparameter is a column [members, 1], missing if 0."""
    (mean,) = moments
    kept = hyper.get("decay", torch.zeros_like(steps)).to(weights.dtype)
    mean.mul_(kept).add_(gradients * (1 - kept))
    weights.sub_(mean.sign() * hyper["lr"].to(weights.dtype))


OPTIMIZER = Optimizer(
    name="signum",
    description="Signum: steps of equal size along the sign of the mean gradient.",
    formula="m <- decay m + (1 - decay) g, w <- w - lr sign(m)",
    source="Bernstein et al. 2018, arXiv:1802.04434",
    parameters=(
        Parameter(name="lr", description="Learning rate.", low=0, low_open=True),
        Parameter(
            name="decay",
            description="Decay of the mean gradient; 0.9 by default.",
            low=0,
            high=0.9999,
        ),
    ),
    defaults={"decay": 0.9},
    moments=("mean",),
    single=single_of(stacked, ("mean",)),
    stacked=stacked,
)
