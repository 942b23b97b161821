"""Steps that several stacked rules share. They work in place on [members, weights] or
[members, *shape]; each hyperparameter is a column [members, 1].

A hyperparameter that is 0 for every member may be missing from the columns. That saves its pass
over memory and changes no bit of the weights.
"""

import torch

from gradnoise.workloads.optimizer import Columns


def add_decay(gradients: torch.Tensor, weights: torch.Tensor, hyper: Columns) -> None:
    """Add weight_decay * weights to the gradients."""
    if "weight_decay" in hyper:
        gradients.addcmul_(weights, like(weights, hyper["weight_decay"]))


def with_momentum(step: torch.Tensor, buffer: torch.Tensor, hyper: Columns) -> torch.Tensor:
    """Return buffer <- momentum * buffer + step; without momentum the step itself, and the buffer
    stays unused.
    """
    if "momentum" not in hyper:
        return step
    return torch.addcmul(step, buffer, like(step, hyper["momentum"]), out=buffer)


def average(mean: torch.Tensor, latest: torch.Tensor, decay: torch.Tensor) -> None:
    """Set mean <- decay * mean + (1 - decay) * latest."""
    mean.mul_(like(mean, decay)).addcmul_(latest, like(mean, 1 - decay.double()))


def like(weights: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Return the column in the type of the weights, with as many axes."""
    return column.to(weights.dtype).view(-1, *[1] * (weights.dim() - 1))
