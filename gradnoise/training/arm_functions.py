"""The functions of an arm's techniques: their hyperparameters and what they keep of a trial.

They are nested dicts and lists of tensors, of one trial or, stacked, of many: the functions here
take either, the latter under `torch.func.vmap`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.functions import TensorFunction, Tensors
from gradnoise.workloads.losses import LossFunction

Hyper = Mapping[str, Any]
Kept = list[dict[str, torch.Tensor]]
"""The state of each transformation, then the average; empty without one."""


def hyper_of(contribution: Contribution, device: torch.device) -> Hyper:
    """Return the hyperparameters of each function as tensors without dimensions."""

    def tensors(function: TensorFunction | None) -> dict[str, torch.Tensor]:
        values = {} if function is None else function.hyper
        return {
            name: torch.tensor(float(value), dtype=torch.float64, device=device)
            for name, value in values.items()
        }

    return {
        "loss": tensors(contribution.loss),
        "perturbation": tensors(contribution.perturbation),
        "transforms": [tensors(transform) for transform in contribution.transforms],
        "average": tensors(contribution.average),
    }


def first_kept(contribution: Contribution, weights: Tensors, buffers: Tensors) -> Kept:
    """Return what the functions keep before the first update."""
    averaged = averaged_part(weights, buffers) if contribution.average else {}
    return [
        *(transform.first_state(weights) for transform in contribution.transforms),
        {name: tensor.detach().clone() for name, tensor in averaged.items()},
    ]


def averaged_part(weights: Tensors, buffers: Tensors) -> dict[str, torch.Tensor]:
    """Return what an average is of: the weights and the floating-point buffers."""
    floating = {name: buffer for name, buffer in buffers.items() if buffer.is_floating_point()}
    return {**weights, **floating}


def loss_of(contribution: Contribution, hyper: Tensors) -> LossFunction | None:
    """Return the loss by which the arm replaces the cross-entropy; None if it does not.

    Args:
        contribution: What the arm's techniques contribute.
        hyper: The hyperparameters of its loss.
    """
    function = contribution.loss
    if function is None:
        return None
    return lambda logits, targets: function(hyper, logits=logits, targets=targets)


def displacement(
    contribution: Contribution, hyper: Hyper, gradient: Tensors, weights: Tensors, t: torch.Tensor
) -> Tensors:
    """Return what the arm's perturbation adds to the weights."""
    assert contribution.perturbation is not None
    moved: Tensors = contribution.perturbation(
        hyper["perturbation"], gradient=gradient, weights=weights, t=t
    )
    return moved


def transformed(
    contribution: Contribution,
    hyper: Hyper,
    kept: Sequence[Tensors],
    gradient: Tensors,
    weights: Tensors,
    t: torch.Tensor,
) -> tuple[Tensors, list[Tensors]]:
    """Return the gradient after the arm's transformations, and their new states."""
    states = []
    for k, transform in enumerate(contribution.transforms):
        gradient, state = transform.apply(hyper["transforms"][k], gradient, weights, kept[k], t)
        states.append(state)
    return gradient, states


def averaged(
    contribution: Contribution, hyper: Hyper, average: Tensors, weights: Tensors, t: torch.Tensor
) -> Tensors:
    """Return the average after an update."""
    assert contribution.average is not None
    new: Tensors = contribution.average(hyper["average"], average=average, weights=weights, t=t)
    return new


def copy_into(tensors: Tensors, values: Tensors) -> None:
    """Copy values into tensors of the same names."""
    for name, tensor in tensors.items():
        tensor.copy_(values[name])
