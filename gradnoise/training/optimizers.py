"""Optimizers: each as torch's own, for one model, and as the same rule on a stack of models, for the stacked trainer.

Both are the formulas of torch.optim; epsilon and beta2 of Adam (Kingma & Ba 2015, arXiv:1412.6980) are torch's defaults. `clip_norm` is one
of the optimizer's hyperparameters too: the trainers clip the gradient's global L2 norm before the noise is added.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from gradnoise.parameters import Parameter

NamedParameters = Iterable[tuple[str, torch.nn.Parameter]]
Columns = Mapping[str, torch.Tensor]
StackedUpdate = Callable[[torch.Tensor, torch.Tensor, Sequence[torch.Tensor], Columns, torch.Tensor], None]

LR = Parameter(name="lr", description="Learning rate.", low=0, low_open=True)
WEIGHT_DECAY = Parameter(name="weight_decay", description="Factor of the weights that is added to their gradient; 0 by default.", low=0)
CLIP_NORM = Parameter(name="clip_norm", description="Largest global L2 norm of the gradient; none by default.", low=0, low_open=True)
MOMENTUM = Parameter(name="momentum", description="Share of the last step that is kept; 0 by default.", low=0, high=0.9999)
BETA1 = Parameter(name="beta1", description="Decay of the mean gradient; 0.9 by default.", low=0, high=0.9999)
BETA2 = 0.999
EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimizer.

    Args:
        name: As a study names it.
        description: One sentence for whoever chooses.
        parameters: Its hyperparameters.
        defaults: Values of those that may be missing from a study, `clip_norm` aside.
        n_moments: How many numbers it keeps for each weight.
        single: Opens torch's own on a model's named parameters, with the hyperparameters by name.
        stacked: The rule on [members, weights]: changes weights and moments in place and uses the gradients up; takes weights, gradients,
            moments, the hyperparameters as columns [members, 1], and the updates that each member has had before, a column of float64.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    defaults: Mapping[str, float]
    n_moments: int
    single: Callable[[NamedParameters, Mapping[str, float]], torch.optim.Optimizer]
    stacked: StackedUpdate
    required: tuple[str, ...] = ("lr",)

    def hyperparameters(self, params: Mapping[str, object]) -> dict[str, float]:
        """Pick the optimizer's own hyperparameters, without `clip_norm`, out of a trial's; defaults where one is missing."""
        names = [parameter.name for parameter in self.parameters if parameter is not CLIP_NORM]
        return {name: float(params.get(name, self.defaults.get(name, 0.0))) for name in names}  # type: ignore[arg-type]  # checked numbers


def _sgd(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=hyper["lr"], momentum=hyper["momentum"], weight_decay=hyper["weight_decay"], foreach=True)


def _adam(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    betas = (hyper["beta1"], BETA2)
    return torch.optim.Adam(parameters, lr=hyper["lr"], betas=betas, eps=EPSILON, weight_decay=hyper["weight_decay"], foreach=True)


def _stacked_sgd(
    weights: torch.Tensor, gradients: torch.Tensor, moments: Sequence[torch.Tensor], hyper: Columns, _steps: torch.Tensor
) -> None:
    step = moments[0].mul_(hyper["momentum"]).add_(gradients.addcmul_(weights, hyper["weight_decay"]))
    weights.addcmul_(step, hyper["lr"], value=-1)


def _stacked_adam(
    weights: torch.Tensor, gradients: torch.Tensor, moments: Sequence[torch.Tensor], hyper: Columns, steps: torch.Tensor
) -> None:
    mean, square = moments
    gradients.addcmul_(weights, hyper["weight_decay"])
    mean.lerp_(gradients, 1 - hyper["beta1"])
    square.mul_(BETA2).addcmul_(gradients, gradients, value=1 - BETA2)
    size = (hyper["lr"] / (1 - hyper["beta1"].double() ** (steps + 1))).to(weights.dtype)
    root = (1 - BETA2 ** (steps + 1)).sqrt().to(weights.dtype)
    weights.sub_(mean.div(square.sqrt().div_(root).add_(EPSILON)).mul_(size))


OPTIMIZERS = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer(
            name="sgd",
            description="Stochastic gradient descent, with momentum if it is given.",
            parameters=(LR, MOMENTUM, WEIGHT_DECAY, CLIP_NORM),
            defaults={"momentum": 0.0, "weight_decay": 0.0},
            n_moments=1,
            single=_sgd,
            stacked=_stacked_sgd,
        ),
        Optimizer(
            name="adam",
            description="Adam, with beta2 = 0.999 and epsilon = 1e-8.",
            parameters=(LR, BETA1, WEIGHT_DECAY, CLIP_NORM),
            defaults={"beta1": 0.9, "weight_decay": 0.0},
            n_moments=2,
            single=_adam,
            stacked=_stacked_adam,
        ),
    )
}


def optimizer(name: str) -> Optimizer:
    """Return the optimizer of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"there is no optimizer named {name!r}; legal are {', '.join(OPTIMIZERS)}.")
    return OPTIMIZERS[name]
