"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), with Adam beside it."""

from collections.abc import Mapping
from typing import Any

import torch

from gradnoise.parameters import Parameter
from gradnoise.training.optimizers.adamw import DECOUPLED_DECAY
from gradnoise.training.optimizers.hyperparameters import LR
from gradnoise.workloads.optimizer import NamedParameters, Optimizer
from gradnoise.workloads.rule_optimizer import EachWeightOptimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5
ADAM_BETAS, ADAM_EPS = (0.9, 0.95), 1e-10


class Muon(EachWeightOptimizer):
    """Muon on tensors with two or more axes, Adam on the others.

    Args:
        parameters: A model's named parameters.
        hyper: `lr`, `momentum`, `weight_decay` and `adam_ratio`; also the settings of the group.
    """

    def __init__(self, parameters: NamedParameters, hyper: Mapping[str, float]) -> None:
        super().__init__(parameters, dict(hyper))

    def _update(self, weight: torch.Tensor, group: Mapping[str, Any]) -> None:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if weight.dim() < 2:
            lr = group["lr"] * group["adam_ratio"]
            step = _adam_step(gradient, state)
        else:
            lr = group["lr"]
            step = _muon_step(gradient, state, group["momentum"])
        weight.mul_(1 - lr * group["weight_decay"]).sub_(step * lr)


def _muon_step(gradient: torch.Tensor, state: dict[str, Any], momentum: float) -> torch.Tensor:
    mean = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
    mean.lerp_(gradient, 1 - momentum)
    matrix = gradient.lerp(mean, momentum).flatten(1)
    rows, columns = matrix.shape
    scale = max(1.0, rows / columns) ** 0.5
    return orthogonalised(matrix).mul_(scale).view_as(gradient)


def _adam_step(gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    beta1, beta2 = ADAM_BETAS
    mean = state.setdefault("exp_avg", torch.zeros_like(gradient))
    square = state.setdefault("exp_avg_sq", torch.zeros_like(gradient))
    n = state["step"] = state.get("step", 0) + 1
    mean.lerp_(gradient, 1 - beta1)
    square.lerp_(gradient.square(), 1 - beta2)
    step: torch.Tensor = mean / (1 - beta1**n) / ((square / (1 - beta2**n)).sqrt() + ADAM_EPS)
    return step


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Return nearly U V', where U S V' is the matrix's singular value decomposition.

    Five iterations X <- a X + (b A + c A^2) X with A = X X', from X = M / |M|, move every singular
    value to about 0.7 to 1.2. They are computed in the precision of the matrix, half precision in
    float32.

    Args:
        matrix: [rows, columns].
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if is_tall else matrix
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    x = x / (x.norm() + 1e-7)
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: torch.Tensor = (x.mT if is_tall else x).to(matrix.dtype)
    return found


OPTIMIZER = Optimizer(
    name="muon",
    description=(
        "Muon: orthogonalised momentum for weights with two or more axes, Adam for the others "
        "(Jordan et al. 2024)."
    ),
    formula=(
        "m <- momentum m + (1 - momentum) g, w <- w (1 - lr weight_decay) - lr sqrt(max(1, rows / "
        "columns)) O((1 - momentum) g + momentum m), O five Newton-Schulz iterations towards U V' "
        "of U S V'; tensors with fewer than two axes: Adam at the rate lr adam_ratio with betas "
        "0.9 and 0.95"
    ),
    source="Jordan et al. 2024, kellerjordan.github.io/posts/muon",
    parameters=(
        LR,
        Parameter(
            name="momentum",
            description="Decay of the mean gradient of matrices; 0.95 by default.",
            low=0,
            high=0.9999,
        ),
        Parameter(
            name="adam_ratio",
            description="Learning rate of Adam over that of Muon; 0.015 by default.",
            low=0,
            low_open=True,
        ),
        DECOUPLED_DECAY,
    ),
    defaults={"momentum": 0.95, "adam_ratio": 0.015, "weight_decay": 0.01},
    single=Muon,
)
