"""What an attached optimizer must see, written out by hand: g + std_t * N_t for every parameter that has a gradient."""

from collections.abc import Iterable

import torch

from gradnoise.noise import Noise


def add_noise(parameters: Iterable[tuple[str, torch.nn.Parameter]], seed: int, t: int, std: float) -> None:
    """Give each parameter that has a gradient a new one, with the noise of update t under the parameter's name."""
    for name, parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = parameter.grad.clone()
            Noise(seed, {name: parameter.shape}).add_([parameter.grad], t, std)


def unnamed(optimizer: torch.optim.Optimizer) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the parameters under the names that they have when the optimizer was given none."""
    return [(f"{g}.{i}", parameter) for g, group in enumerate(optimizer.param_groups) for i, parameter in enumerate(group["params"])]
