"""The arguments with which a callback attaches noise."""

from typing import Any

import torch

from gradnoise._hook import attach
from gradnoise._hook.factors import checked
from gradnoise._processes import NoiseProcess


def check_arguments(process: NoiseProcess | None, **arguments: Any) -> None:
    """Raise the errors of attach for these arguments before there is an optimizer.

    Raises:
        TypeError: If `attach` raises it.
        ValueError: If `attach` raises it, except for patterns, whose names are not known yet.
    """
    patterns = arguments.pop("noise_scale", {})
    arguments.pop("names", None)
    optimizer = torch.optim.SGD([torch.zeros(1)])
    attach(optimizer, process, **arguments).remove()
    checked(patterns)


def names_in(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> list[tuple[str, torch.Tensor]] | None:
    """Return the named parameters of the model; None unless the optimizer's are among them."""
    pairs: list[tuple[str, torch.Tensor]] = list(model.named_parameters())
    known = {id(parameter) for _, parameter in pairs}
    has_all = all(
        id(parameter) in known for group in optimizer.param_groups for parameter in group["params"]
    )
    return pairs if has_all else None
