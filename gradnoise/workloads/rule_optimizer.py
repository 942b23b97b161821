"""The torch optimizer of a rule that is written for a stack."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from gradnoise.workloads.optimizer import NamedParameters, StackedUpdate


class RuleOptimizer(torch.optim.Optimizer):
    """Updates each parameter that has a gradient as a stack of one member.

    Args:
        parameters: A model's named parameters.
        hyper: The hyperparameters by name, `lr` among them; also the settings of the group.
        stacked: The rule.
        moments: The names of its moments.
        per_parameter: Whether the rule takes parameters in their shapes.
    """

    def __init__(
        self,
        parameters: NamedParameters,
        hyper: Mapping[str, float],
        *,
        stacked: StackedUpdate,
        moments: Sequence[str],
        per_parameter: bool,
    ) -> None:
        super().__init__(parameters, dict(hyper))
        self._hyper = tuple(hyper)
        self._stacked, self._moments = stacked, tuple(moments)
        self._per_parameter = per_parameter

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
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state |= {name: torch.zeros_like(weight) for name in self._moments}
        shape = (1, *weight.shape) if self._per_parameter else (1, -1)
        row = weight.reshape(shape)
        moments = [state[name].reshape(shape) for name in self._moments]
        columns = {
            name: weight.new_full((1, 1), float(group[name]), dtype=torch.float64)
            for name in self._hyper
        }
        steps = weight.new_full((1, 1), float(state["step"]), dtype=torch.float64)
        assert weight.grad is not None
        self._stacked(row, weight.grad.reshape(shape).clone(), moments, columns, steps)
        weight.copy_(row.view_as(weight))
        for name, moment in zip(self._moments, moments, strict=True):
            state[name].copy_(moment.view_as(weight))
        state["step"] += 1


def single_of(
    stacked: StackedUpdate, moments: Sequence[str], *, per_parameter: bool = False
) -> Callable[[NamedParameters, Mapping[str, float]], torch.optim.Optimizer]:
    """Return the `single` of an Optimizer whose rule is written for a stack alone.

    Args:
        stacked: The rule.
        moments: The names of its moments.
        per_parameter: Whether the rule takes parameters in their shapes, as in `Optimizer`.
    """
    return partial(
        RuleOptimizer, stacked=stacked, moments=tuple(moments), per_parameter=per_parameter
    )
