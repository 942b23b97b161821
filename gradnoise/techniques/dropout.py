"""Dropout, at places that the model declares."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from gradnoise._streams import normal
from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique

PURPOSE = "dropout"


class Dropout(torch.nn.Module):
    """A place where activations may be dropped: their product with `mask` in training mode, the
    activations themselves without a mask.

    A model declares it, and whoever trains sets the mask, of the activations' shape, anew for each
    update: it is never drawn here. A place that one forward passes twice uses one mask.

    Args:
        rate: Share of the activations that this place drops under every technique; in [0, 1). At 0
            it is a place for the technique `dropout`. The trainers take each `torch.nn.Dropout` of
            a model for a place with a rate of its own.

    Raises:
        ValueError: If the rate is out of range.

    >>> place = Dropout()
    >>> place(torch.ones(2))
    tensor([1., 1.])
    >>> place.mask = torch.tensor([0.0, 2.0])
    >>> place(torch.ones(2)), place.eval()(torch.ones(2))
    (tensor([0., 2.]), tensor([1., 1.]))
    """

    mask: torch.Tensor | None

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = DropoutMasks(rate=rate).rate
        self.register_buffer("mask", None, persistent=False)

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        # torch's own way to it, `self.mask`, costs as much as the whole call, at every update of
        # every arm
        mask = self._buffers["mask"]
        return activations if mask is None or not self.training else activations * mask


@dataclass(frozen=True, kw_only=True)
class DropoutMasks:
    """The masks of inverted dropout: 1 / (1 - rate) where a draw of N(0, 1) exceeds the rate's
    quantile, else 0.

    Args:
        rate: Share of the activations that is dropped; in [0, 1).

    Raises:
        ValueError: If the rate is out of range.
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate must be in [0, 1), but got rate={self.rate}.")

    def draw(self, seed: int, t: int, name: str, activations: torch.Tensor) -> torch.Tensor:
        """Return the mask of a place at update t: a function of seed, t, the place's name and the
        element; of the activations' form.
        """
        normals = normal(seed, PURPOSE, t, name, activations.shape)
        return self.write_(torch.empty_like(activations), normals.to(activations.device))

    def write_(self, mask: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        """Turn draws of N(0, 1) into a mask of the same shape, in place on the mask."""
        return mask.copy_(normals > quantile(self.rate)).div_(1 - self.rate)


def quantile(rate: float) -> float:
    """Return what a draw of N(0, 1) stays below with this probability."""
    return float(torch.special.ndtri(torch.tensor(rate, dtype=torch.float64)))


def dropout(rate: float) -> DropoutMasks:
    """Return inverted dropout: an activation is dropped with probability rate, else divided by 1 -
    rate (Srivastava et al. 2014, JMLR 15).

    Args:
        rate: Share of the activations that is dropped; in [0, 1).

    Raises:
        ValueError: If the rate is out of range.

    >>> mask = dropout(rate=0.5).draw(1, 0, "place", torch.ones(4, 100))
    >>> mask.shape, mask.unique().tolist()
    (torch.Size([4, 100]), [0.0, 2.0])
    """
    return DropoutMasks(rate=rate)


def places(model: torch.nn.Module) -> dict[str, Dropout]:
    """Return the places for dropout that a model has, by the module's name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Dropout)}


def adopt(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with a place of the same rate for each `torch.nn.Dropout`, whose draws would
    depend on what else draws.
    """
    if type(model) is torch.nn.Dropout:
        return Dropout(model.p)
    for name, module in model.named_children():
        setattr(model, name, adopt(module))
    return model


def dropped(
    model: torch.nn.Module, effect: object, forward: Callable[[], object]
) -> dict[str, tuple[float, torch.Size]]:
    """Return the rate and the activations' shape at each place where a forward of the model drops
    some under a technique's effect.

    Raises:
        ValueError: If the effect is dropout and finds no place, or one that sees several shapes.
    """
    free = [name for name, place in places(model).items() if place.rate == 0]
    rates = {name: place.rate for name, place in places(model).items() if place.rate > 0}
    if isinstance(effect, DropoutMasks):
        if not free:
            raise ValueError(
                "dropout needs a place in the model, but it has none: put "
                "gradnoise.workloads.Dropout() where activations may be dropped, "
                "or leave 'dropout' out of the workload's techniques."
            )
        rates |= dict.fromkeys(free, effect.rate)
    shapes = activation_shapes(model, forward) if rates else {}
    if isinstance(effect, DropoutMasks) and not shapes.keys() & set(free):
        raise ValueError(
            "dropout would reach nothing: the loss passes none of the places that the model "
            "declares."
        )
    return {name: (rates[name], shape) for name, shape in shapes.items() if name in rates}


def activation_shapes(
    model: torch.nn.Module, forward: Callable[[], object]
) -> dict[str, torch.Size]:
    """Return the shape of the activations at each place that a forward of the model passes; it runs
    in evaluation mode, without gradients.

    Raises:
        ValueError: If one place sees several shapes.
    """
    shapes: dict[str, torch.Size] = {}

    def record(name: str, shape: torch.Size) -> None:
        if shapes.setdefault(name, shape) != shape:
            raise ValueError(
                f"each place for dropout must see one shape, but {name} sees {tuple(shapes[name])} "
                f"and {tuple(shape)}."
            )

    was_training = model.training
    with ExitStack() as hooks, torch.no_grad():
        for name, place in places(model).items():
            hooks.enter_context(
                place.register_forward_pre_hook(
                    lambda _place, inputs, name=name: record(name, inputs[0].shape)
                )
            )
        model.eval()
        forward()
        model.train(was_training)
    return shapes


TECHNIQUE = Technique(
    name="dropout",
    description="Drops a share of the activations at each update, at the places that the model declares.",
    formula=(
        "a <- a m / (1 - rate), m ~ Bernoulli(1 - rate), independent for every activation, in "
        "training alone"
    ),
    source="Srivastava et al. 2014, JMLR 15",
    parameters=(
        Parameter(
            name="rate", description="Share of the activations that is dropped.", low=0, high=0.9999
        ),
    ),
    effect=dropout,
)
