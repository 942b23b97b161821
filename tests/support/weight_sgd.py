"""SGD on a single weight, and the noise that it should receive."""

import io
from typing import Any

import torch
from torch.nn import Parameter

from gradnoise._streams import normal

KEY = "gradnoise_t"


def noise_of(t: int, seed: int = 1) -> torch.Tensor:
    return normal(seed, "noise", t, "weight", (4,))


def sgd(**options: Any) -> torch.optim.Optimizer:
    """Return SGD with momentum on a single weight of four elements."""
    return torch.optim.SGD([("weight", Parameter(torch.zeros(4)))], lr=1.0, momentum=0.9, **options)


def update(optimizer: torch.optim.Optimizer, gradient: float = 0.0) -> torch.Tensor:
    """Do an update and return the gradient that the optimizer received."""
    weight = optimizer.param_groups[0]["params"][0]
    weight.grad = torch.full((4,), gradient)
    optimizer.step()
    return weight.grad


def weight_of(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    return optimizer.param_groups[0]["params"][0].detach()


def saved(optimizer: torch.optim.Optimizer) -> Any:
    """Return the optimizer's state, saved to a file and loaded with `weights_only`."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file)
