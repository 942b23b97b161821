"""Torch optimizers that update each parameter by itself, by a stacked rule or another."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from gradnoise.workloads.optimizer import NamedParameters, StackedUpdate


class EachWeightOptimizer(torch.optim.Optimizer):
    """Updates each parameter that has a gradient by itself."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: torch.Tensor, group: Mapping[str, Any]) -> None:
        raise NotImplementedError


class RuleOptimizer(EachWeightOptimizer):
    """Updates each parameter as a stack of one member.

    Args:
        parameters: A model's named parameters.
        hyper: The hyperparameters by name, `lr` among them; also the settings of the group.
        stacked: The rule.
        moments: The names of its moments.
    """

    def __init__(
        self,
        parameters: NamedParameters,
        hyper: Mapping[str, float],
        *,
        stacked: StackedUpdate,
        moments: Sequence[str],
    ) -> None:
        super().__init__(parameters, dict(hyper))
        self._hyper = tuple(hyper)
        self._stacked, self._moments = stacked, tuple(moments)

    def _update(self, weight: torch.Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state |= {name: torch.zeros_like(weight) for name in self._moments}
        row = weight.reshape(1, -1)
        moments = [state[name].reshape(1, -1) for name in self._moments]
        columns = {
            name: weight.new_full((1, 1), float(group[name]), dtype=torch.float64)
            for name in self._hyper
        }
        steps = weight.new_full((1, 1), float(state["step"]), dtype=torch.float64)
        assert weight.grad is not None
        self._stacked(row, weight.grad.reshape(1, -1).clone(), moments, columns, steps)
        weight.copy_(row.view_as(weight))
        for name, moment in zip(self._moments, moments, strict=True):
            state[name].copy_(moment.view_as(weight))
        state["step"] += 1


def single_of(
    stacked: StackedUpdate, moments: Sequence[str]
) -> Callable[[NamedParameters, Mapping[str, float]], torch.optim.Optimizer]:
    """Return the `single` of an Optimizer whose rule is written for a stack alone.

    Args:
        stacked: The rule.
        moments: The names of its moments.
    """
    return partial(RuleOptimizer, stacked=stacked, moments=tuple(moments))
