"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), with Adam beside it."""

import torch

from gradnoise.parameters import Parameter
from gradnoise.training.optimizers import adam
from gradnoise.training.optimizers.adamw import DECOUPLED_DECAY
from gradnoise.training.optimizers.arithmetic import like
from gradnoise.training.optimizers.hyperparameters import LR
from gradnoise.workloads.optimizer import Columns, Moments, Optimizer
from gradnoise.workloads.rule_optimizer import single_of

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5
ADAM = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-10}
MOMENTS = adam.MOMENTS


def stacked(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """Step a parameter with two or more axes as Muon does, another as Adam does; both after
    decoupled weight decay.
    """
    is_matrix = weights.dim() > 2
    lr = hyper["lr"] if is_matrix else hyper["lr"] * hyper["adam_ratio"]
    if "weight_decay" in hyper:
        weights.mul_(like(weights, 1 - lr * hyper["weight_decay"]))
    if not is_matrix:
        columns = {name: torch.full_like(steps, value) for name, value in ADAM.items()}
        adam.step(weights, gradients, moments, {"lr": lr, **columns}, steps)
        return
    mean, momentum = moments[0], hyper.get("momentum", torch.zeros_like(steps))
    mean.lerp_(gradients, like(mean, 1 - momentum))
    matrices = gradients.lerp(mean, like(mean, momentum)).flatten(2)
    scale = max(1.0, matrices.shape[1] / matrices.shape[2]) ** 0.5
    step = orthogonalised(matrices).view_as(weights)
    weights.sub_(step.mul_(like(weights, lr * scale)))


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Return nearly U V' of each matrix, where U S V' is its singular value decomposition.

    Five iterations X <- a X + (b A + c A^2) X with A = X X', from X = M / |M|, move every singular
    value to about 0.7 to 1.2. They are computed in the precision of the matrices, half precision in
    float32.

    Args:
        matrices: [members, rows, columns].
    """
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(torch.promote_types(matrices.dtype, torch.float32))
    x = x / (torch.linalg.vector_norm(x.flatten(1), dim=1).view(-1, 1, 1) + 1e-7)
    x = x.mT.contiguous() if is_tall else x
    for _ in range(N_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT.contiguous() if is_tall else x).to(matrices.dtype)


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
    moments=MOMENTS,
    per_parameter=True,
    single=single_of(stacked, MOMENTS, per_parameter=True),
    stacked=stacked,
)
