"""Optimizers: each as torch's own, for one model, and as the same rule on a stack of models, for
the stacked trainer.

Both are the formulas of torch.optim: SGD, Adam (Kingma & Ba 2015, arXiv:1412.6980), AdamW
(Loshchilov & Hutter 2019, arXiv:1711.05101), AdaGrad (Duchi et al. 2011) and RMSProp (Tieleman &
Hinton 2012). Hyperparameters have torch's names, and torch's defaults where a study leaves them
out. A study gives clipping and the learning-rate schedule beside them, with any optimizer; the
trainers see to those.

A stacked rule works on [members, weights] in place, each number of a member a column [members, 1].
A hyperparameter that is 0 for every member may be left out of the columns: that saves its pass over
memory and changes no bit of the weights.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradnoise.parameters import Parameter
from gradnoise.training.lr_schedules import LR_SCHEDULE

NamedParameters = Iterable[tuple[str, torch.nn.Parameter]]
Columns = Mapping[str, torch.Tensor]
Moments = Sequence[torch.Tensor]
StackedUpdate = Callable[[torch.Tensor, torch.Tensor, Moments, Columns, torch.Tensor], None]

LR = Parameter(name="lr", description="Learning rate.", low=0, low_open=True)
WEIGHT_DECAY = Parameter(
    name="weight_decay",
    description="Factor of the weights that is added to their gradient; 0 by default.",
    low=0,
)
DECOUPLED_DECAY = Parameter(
    name="weight_decay",
    description="Share of the weights, times the learning rate, that an update takes off; 0.01 by default.",
    low=0,
)
MOMENTUM = Parameter(
    name="momentum",
    description="Share of the last step that is kept; 0 by default.",
    low=0,
    high=0.9999,
)
NESTEROV = Parameter(
    name="nesterov",
    description="1 to step as if the momentum's next step were taken already, 0 not to; 0 by default.",
    low=0,
    high=1,
    integer=True,
)
BETA1 = Parameter(
    name="beta1", description="Decay of the mean gradient; 0.9 by default.", low=0, high=0.9999
)
BETA2 = Parameter(
    name="beta2",
    description="Decay of the mean squared gradient; 0.999 by default.",
    low=0,
    high=0.9999,
)
EPS = Parameter(
    name="eps",
    description="What is added to the root of the mean squared gradient; 1e-8 by default.",
    low=0,
    low_open=True,
    high=1,
)
ALPHA = Parameter(
    name="alpha",
    description="Decay of the mean squared gradient; 0.99 by default.",
    low=0,
    high=0.9999,
)
CLIP_VALUE = Parameter(
    name="clip_value",
    description="Largest size of a coordinate of the gradient; none by default.",
    low=0,
    low_open=True,
)
CLIP_NORM = Parameter(
    name="clip_norm",
    description="Largest global L2 norm of the gradient; none by default.",
    low=0,
    low_open=True,
)
EPSILON = 1e-8
ADAGRAD_EPSILON = 1e-10


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimizer.

    Args:
        name: As a study names it.
        description: One sentence for whoever chooses.
        own: The hyperparameters of its rule.
        defaults: Values of those that may be missing from a study, where that is not 0.
        moments: What it keeps for each weight, by torch's names; all start at 0.
        single: Opens torch's own on a model's named parameters, with the hyperparameters by name.
        stacked: The rule on [members, weights]: changes weights and moments in place and uses the
            gradients up; takes weights, gradients, moments, the hyperparameters as columns
            [members, 1], best in float64, and the updates that each member has had before, a column
            of float64. It reads no number back, so that a CUDA graph can hold it.
    """

    name: str
    description: str
    own: tuple[Parameter, ...]
    defaults: Mapping[str, float] = field(default_factory=dict)
    moments: tuple[str, ...]
    single: Callable[[NamedParameters, Mapping[str, float]], torch.optim.Optimizer]
    stacked: StackedUpdate
    required: tuple[str, ...] = ("lr",)

    @property
    def n_moments(self) -> int:
        return len(self.moments)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All that a study may give with this optimizer."""
        return (*self.own, CLIP_VALUE, CLIP_NORM, *LR_SCHEDULE)

    def hyperparameters(self, params: Mapping[str, object]) -> dict[str, float]:
        """Pick the numbers of the optimizer's rule out of a trial's; defaults where one is missing.

        Raises:
            ValueError: If they exclude each other.
        """
        given: Mapping[str, Any] = params  # checked numbers
        hyper = {
            one.name: float(given.get(one.name, self.defaults.get(one.name, 0.0)))
            for one in self.own
        }
        if hyper.get("nesterov") and not hyper["momentum"]:
            raise ValueError(
                f"nesterov must be 0 without momentum, but got nesterov={params['nesterov']!r} "
                "with momentum=0."
            )
        return hyper


def _sgd(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    nesterov = bool(hyper["nesterov"])
    return torch.optim.SGD(
        parameters,
        lr=hyper["lr"],
        momentum=hyper["momentum"],
        nesterov=nesterov,
        weight_decay=hyper["weight_decay"],
        foreach=True,
    )


def _adam(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, **_of_adam(hyper))


def _adamw(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, **_of_adam(hyper))


def _of_adam(hyper: Mapping[str, float]) -> dict[str, Any]:
    betas = (hyper["beta1"], hyper["beta2"])
    return {
        "lr": hyper["lr"],
        "betas": betas,
        "eps": hyper["eps"],
        "weight_decay": hyper["weight_decay"],
        "foreach": True,
    }


def _adagrad(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(
        parameters,
        lr=hyper["lr"],
        weight_decay=hyper["weight_decay"],
        eps=ADAGRAD_EPSILON,
        foreach=True,
    )


def _rmsprop(parameters: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
    rest = {
        "alpha": hyper["alpha"],
        "momentum": hyper["momentum"],
        "weight_decay": hyper["weight_decay"],
    }
    # numbers
    return torch.optim.RMSprop(parameters, lr=hyper["lr"], eps=EPSILON, foreach=True, **rest)  # type: ignore[arg-type]


def _stacked_sgd(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    _steps: torch.Tensor,
) -> None:
    _add_decay(gradients, weights, hyper)
    step = _with_momentum(gradients, moments[0], hyper)
    if "nesterov" in hyper:
        gradients.addcmul_(step, _like(weights, hyper["momentum"]))
        step = torch.where(hyper["nesterov"] > 0, gradients, step, out=gradients)
    weights.addcmul_(step, _like(weights, hyper["lr"]), value=-1)


def _stacked_adam(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    _add_decay(gradients, weights, hyper)
    _step_of_adam(weights, gradients, moments, hyper, steps)


def _stacked_adamw(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    if "weight_decay" in hyper:
        weights.mul_(_like(weights, 1 - hyper["lr"] * hyper["weight_decay"]))
    _step_of_adam(weights, gradients, moments, hyper, steps)


def _stacked_adagrad(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    _steps: torch.Tensor,
) -> None:
    (total,) = moments
    _add_decay(gradients, weights, hyper)
    total.addcmul_(gradients, gradients)
    gradients.div_(total.sqrt().add_(ADAGRAD_EPSILON))
    weights.addcmul_(gradients, _like(weights, hyper["lr"]), value=-1)


def _stacked_rmsprop(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    square, momentum = moments
    _add_decay(gradients, weights, hyper)
    scratch = gradients * gradients
    _average(square, scratch, hyper.get("alpha", torch.zeros_like(steps)))
    gradients.div_(torch.sqrt(square, out=scratch).add_(EPSILON))
    weights.addcmul_(
        _with_momentum(gradients, momentum, hyper), _like(weights, hyper["lr"]), value=-1
    )


def _step_of_adam(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    moments: Moments,
    hyper: Columns,
    steps: torch.Tensor,
) -> None:
    """Step by lr / (1 - beta1^n) * m / (sqrt(v) / r + eps) with r = sqrt(1 - beta2^n), both parts
    of the fraction times r.
    """
    mean, square = moments
    beta1, beta2 = (
        hyper.get(name, torch.zeros_like(steps)).double() for name in ("beta1", "beta2")
    )
    root = (1 - beta2 ** (steps + 1)).sqrt()
    mean.lerp_(gradients, _like(weights, 1 - beta1))
    _average(square, gradients.square_(), beta2)
    torch.sqrt(square, out=gradients).add_(_like(weights, root * hyper["eps"]))
    torch.div(mean, gradients, out=gradients)
    weights.addcmul_(
        gradients, _like(weights, hyper["lr"] * root / (1 - beta1 ** (steps + 1))), value=-1
    )


def _add_decay(gradients: torch.Tensor, weights: torch.Tensor, hyper: Columns) -> None:
    if "weight_decay" in hyper:
        gradients.addcmul_(weights, _like(weights, hyper["weight_decay"]))


def _with_momentum(step: torch.Tensor, buffer: torch.Tensor, hyper: Columns) -> torch.Tensor:
    """Return buffer <- momentum * buffer + step; without momentum the step itself, the buffer then
    being of no account.
    """
    if "momentum" not in hyper:
        return step
    return torch.addcmul(step, buffer, _like(step, hyper["momentum"]), out=buffer)


def _average(mean: torch.Tensor, latest: torch.Tensor, decay: torch.Tensor) -> None:
    mean.mul_(_like(mean, decay)).addcmul_(latest, _like(mean, 1 - decay.double()))


def _like(weights: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    return column.to(weights.dtype)


OPTIMIZERS = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer(
            name="sgd",
            description=(
                "Stochastic gradient descent, with momentum if it is given, Nesterov's if so asked."
            ),
            own=(LR, MOMENTUM, NESTEROV, WEIGHT_DECAY),
            moments=("momentum_buffer",),
            single=_sgd,
            stacked=_stacked_sgd,
        ),
        Optimizer(
            name="adam",
            description="Adam (Kingma and Ba 2015).",
            own=(LR, BETA1, BETA2, EPS, WEIGHT_DECAY),
            defaults={"beta1": 0.9, "beta2": 0.999, "eps": EPSILON},
            moments=("exp_avg", "exp_avg_sq"),
            single=_adam,
            stacked=_stacked_adam,
        ),
        Optimizer(
            name="adamw",
            description="Adam with decoupled weight decay (Loshchilov and Hutter 2019).",
            own=(LR, BETA1, BETA2, EPS, DECOUPLED_DECAY),
            defaults={"beta1": 0.9, "beta2": 0.999, "eps": EPSILON, "weight_decay": 0.01},
            moments=("exp_avg", "exp_avg_sq"),
            single=_adamw,
            stacked=_stacked_adamw,
        ),
        Optimizer(
            name="adagrad",
            description="AdaGrad, with epsilon = 1e-10.",
            own=(LR, WEIGHT_DECAY),
            moments=("sum",),
            single=_adagrad,
            stacked=_stacked_adagrad,
        ),
        Optimizer(
            name="rmsprop",
            description="RMSProp, with epsilon = 1e-8, and with momentum if it is given.",
            own=(LR, ALPHA, MOMENTUM, WEIGHT_DECAY),
            defaults={"alpha": 0.99},
            moments=("square_avg", "momentum_buffer"),
            single=_rmsprop,
            stacked=_stacked_rmsprop,
        ),
    )
}


def optimizer(name: str) -> Optimizer:
    """Return the optimizer of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in OPTIMIZERS:
        raise ValueError(
            f"there is no optimizer named {name!r}; legal are {', '.join(OPTIMIZERS)}."
        )
    return OPTIMIZERS[name]
