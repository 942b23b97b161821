"""What an optimizer declares: hyperparameters, a torch optimizer, and its rule on a stack."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule
from gradnoise.workloads.lr_schedules import LR_PARAMETERS, LR_RULES

NamedParameters = Iterable[tuple[str, torch.nn.Parameter]]
Columns = Mapping[str, torch.Tensor]
Moments = Sequence[torch.Tensor]
StackedUpdate = Callable[[torch.Tensor, torch.Tensor, Moments, Columns, torch.Tensor], None]

LR = Parameter(name="lr", description="Learning rate.", low=0, low_open=True)
SHARED_PARAMETERS = (
    Parameter(
        name="clip_value",
        description="Largest absolute value of a coordinate of the gradient; none by default.",
        low=0,
        low_open=True,
    ),
    Parameter(
        name="clip_norm",
        description="Largest global L2 norm of the gradient; none by default.",
        low=0,
        low_open=True,
    ),
    *LR_PARAMETERS,
)
"""The hyperparameters that a study may give with every optimizer; the trainers apply them."""

SHARED_RULES = LR_RULES


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimizer, named in the entry-point group `gradnoise.optimizers`.

    Args:
        name: The name of the entry point too.
        description: One sentence for users who choose an optimizer.
        formula: Its update of the weights w from the gradient g.
        source: Where it was published.
        parameters: The hyperparameters of its rule, `lr` among them.
        defaults: Values of those that a study may leave out, where that is not 0.
        rules: Rules across them.
        moments: The state that it keeps for each weight, by the names of the torch optimizer's
            state; all start at 0. In addition the torch optimizer keeps at most `step`, the number
            of its updates.
        evaluated: Returns the weights at which metrics are measured, if they are not those at which
            the gradient is taken, from weights, moments and hyperparameters as `stacked` takes
            them.
        single: Returns the torch optimizer of a model's named parameters, from the hyperparameters
            by name. It reads its learning rate from `param_groups`.
        stacked: The rule on [members, weights]; None: trials train one at a time, and `moments` is
            empty. It changes weights and moments in place and may
            overwrite the gradients. It takes weights, gradients, moments, the hyperparameters as
            columns [members, 1] of float64, and the updates that each member has had before, a
            column of float64. A hyperparameter that is 0 for every member may be missing. Each row
            depends only on the same row of the arguments, and no number is read back to the CPU, so
            that a CUDA graph can hold the rule.
        per_parameter: Whether `stacked` takes weights, gradients and moments one parameter at a
            time, [members, *shape], since its rule depends on their shapes.
        required: The hyperparameters that a study must give.
    """

    name: str
    description: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...]
    defaults: Mapping[str, float] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    moments: tuple[str, ...] = ()
    evaluated: Callable[[torch.Tensor, Moments, Columns], torch.Tensor] | None = None
    single: Callable[[NamedParameters, Mapping[str, float]], torch.optim.Optimizer]
    stacked: StackedUpdate | None = None
    per_parameter: bool = False
    required: tuple[str, ...] = ("lr",)

    def __post_init__(self) -> None:
        if self.stacked is None and (self.moments or self.evaluated):
            raise ValueError(
                f"moments and evaluated belong to a stacked rule, but {self.name} has none."
            )
        names = {parameter.name for parameter in self.parameters}
        for used in ("lr", *self.required, *self.defaults):
            if used not in names:
                raise ValueError(
                    f"parameters must include {used!r}, but they are {', '.join(sorted(names))}."
                )

    @property
    def n_moments(self) -> int:
        return len(self.moments)

    def hyperparameters(self, params: Mapping[str, Any]) -> dict[str, float]:
        """Return the values of the optimizer's hyperparameters, with defaults for missing ones.

        Args:
            params: A trial's hyperparameters, checked.
        """
        return {
            name: float(params.get(name, self.defaults.get(name, 0.0)))
            for name in (parameter.name for parameter in self.parameters)
        }
