"""The functions of an arm's techniques on the rows of a stack."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.func import vmap

from gradnoise.techniques.functions import Tensors
from gradnoise.training import arm_functions
from gradnoise.training.arm_functions import averaged_part, copy_into
from gradnoise.training.stacked_run import StackedRun


class StackedFunctions:
    """Applies the functions of an arm to the weights and gradients of many trials.

    The buffers keep their place in memory.

    Args:
        runs: The run of each row, all of the same functions.

    Attributes:
        hyper: The hyperparameters of each function, [rows] each.
        kept: The state of each transformation, then the average, [rows, ...] each.
    """

    def __init__(self, runs: Sequence[StackedRun]) -> None:
        self._contribution = runs[0].contribution
        self.hyper = _stacked([run.function_hyper for run in runs])
        self.kept = _stacked([run.kept for run in runs])
        self._displacement, self._transformed, self._averaged = (
            _vmapped(partial(function, self._contribution))
            for function in (
                arm_functions.displacement,
                arm_functions.transformed,
                arm_functions.averaged,
            )
        )

    def load(self, runs: Sequence[StackedRun]) -> None:
        """Copy in the hyperparameters of other runs."""
        _copy(self.hyper, _stacked([run.function_hyper for run in runs]))

    @property
    def perturbs(self) -> bool:
        """Whether a second gradient is taken."""
        return self._contribution.perturbation is not None

    def perturb(self, gradients: Tensors, weights: Tensors, t: torch.Tensor) -> None:
        """Move the weights to where the second gradient is taken.

        Args:
            gradients: [rows, *shape] by name.
            weights: Likewise; changed in place.
            t: The update of each row, [rows].
        """
        moved = self._displacement(self.hyper, gradients, weights, t)
        for name, change in moved.items():
            weights[name].add_(change)

    def transform(self, gradients: Tensors, weights: Tensors, t: torch.Tensor) -> None:
        """Transform the gradients in place."""
        if not self._contribution.transforms:
            return
        new, states = self._transformed(self.hyper, self.kept[:-1], gradients, weights, t)
        copy_into(gradients, new)
        _copy(self.kept[:-1], states)

    def average(self, weights: Tensors, buffers: Tensors, t: torch.Tensor) -> None:
        """Take the weights after an update into the averages."""
        if self._contribution.average is None:
            return
        present = averaged_part(weights, buffers)
        copy_into(self.kept[-1], self._averaged(self.hyper, self.kept[-1], present, t))

    def evaluated(self, weights: Tensors, buffers: Tensors) -> tuple[Tensors, Tensors]:
        """Return weights and buffers at which metrics are measured: the averages, if any."""
        average = self.kept[-1]
        return (
            {name: average.get(name, tensor) for name, tensor in weights.items()},
            {name: average.get(name, tensor) for name, tensor in buffers.items()},
        )


def _vmapped(function: Callable[..., Any]) -> Callable[..., Any]:
    vmapped: Callable[..., Any] = vmap(function)
    return vmapped


def _stacked(trees: Sequence[Any]) -> Any:
    """Stack nested dicts and lists of tensors leaf by leaf."""
    first = trees[0]
    if isinstance(first, torch.Tensor):
        return torch.stack(list(trees))
    if isinstance(first, dict):
        return {name: _stacked([tree[name] for tree in trees]) for name in first}
    return [_stacked(list(parts)) for parts in zip(*trees, strict=True)]


def _copy(into: Any, values: Any) -> None:
    """Copy nested dicts and lists of tensors leaf by leaf."""
    if isinstance(into, torch.Tensor):
        into.copy_(values)
        return
    pairs = (
        ((into[name], values[name]) for name in into)
        if isinstance(into, dict)
        else zip(into, values, strict=True)
    )
    for mine, other in pairs:
        _copy(mine, other)
