"""An optimizer: Lion (Chen et al. 2023, arXiv:2302.06675)."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from gradnoise.workloads import Optimizer, Parameter


class Lion(torch.optim.Optimizer):
    """w <- w (1 - lr decay) - lr sign(beta1 m + (1 - beta1) g), m <- beta2 m + (1 - beta2) g."""

    def __init__(
        self, parameters: Iterable[tuple[str, torch.nn.Parameter]], hyper: Mapping[str, float]
    ) -> None:
        super().__init__(parameters, dict(hyper))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: torch.Tensor, group: Mapping[str, float]) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum, gradient = state["momentum"], weight.grad
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        step = momentum * group["beta1"] + gradient * (1 - group["beta1"])
        weight.sub_(step.sign_() * group["lr"])
        momentum.mul_(group["beta2"]).add_(gradient * (1 - group["beta2"]))


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Sequence[torch.Tensor],
    hyper: Mapping[str, torch.Tensor],
    steps: torch.Tensor,
) -> None:
    """Update [members, weights]; each hyperparameter is a column [members, 1], missing if 0."""
    (momentum,) = moments
    zeros = torch.zeros_like(steps)
    beta1, beta2 = hyper.get("beta1", zeros), hyper.get("beta2", zeros)
    if "weight_decay" in hyper:
        weights.mul_((1 - hyper["lr"] * hyper["weight_decay"]).to(weights.dtype))
    step = momentum * beta1.to(weights.dtype) + gradients * (1 - beta1).to(weights.dtype)
    weights.sub_(step.sign_() * hyper["lr"].to(weights.dtype))
    momentum.mul_(beta2.to(weights.dtype)).add_(gradients * (1 - beta2).to(weights.dtype))


OPTIMIZER = Optimizer(
    name="lion",
    description="Lion: steps of equal size in every coordinate (Chen et al. 2023).",
    parameters=(
        Parameter(name="lr", description="Learning rate.", low=0, low_open=True),
        Parameter(
            name="beta1",
            description="Share of the momentum in a step; 0.9 by default.",
            low=0,
            high=1,
        ),
        Parameter(
            name="beta2", description="Decay of the momentum; 0.99 by default.", low=0, high=0.9999
        ),
        Parameter(
            name="weight_decay",
            description="Share of the weights, times the learning rate, that an update takes off.",
            low=0,
        ),
    ),
    defaults={"beta1": 0.9, "beta2": 0.99},
    moments=("momentum",),
    single=Lion,
    stacked=stacked,
)
