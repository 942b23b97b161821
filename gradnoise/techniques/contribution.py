"""What a technique contributes to training, and how the contributions of several techniques add
up.

A trainer applies contributions at three places of an update t and knows no technique:

| place | what is contributed | where it acts |
|---|---|---|
| gradient | a noise process | added to the clipped gradient, before the optimizer |
| weights | a noise process | added to the weights for forward and backward alone |
| activations | dropout masks | on the Dropout layers that the model declares |
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, ParamSpec

from gradnoise._processes import NoiseProcess
from gradnoise._processes.process import Terms
from gradnoise.techniques.masks import DropoutMasks

Place = Literal["gradient", "weights", "activations"]
P = ParamSpec("P")
PLACES: tuple[Place, ...] = ("gradient", "weights", "activations")

STREAM_OFFSET = 2**48
"""Between the draws of two summed processes: more updates than any trial makes."""


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What a trainer applies, at each place or nowhere.

    Args:
        gradient: Noise on the gradient, in gradient units.
        weights: Noise on the weights at which the gradient is taken, in units of weights; without a
            preconditioner.
        activations: The masks of dropout.

    Raises:
        ValueError: If the weight noise has a preconditioner.
    """

    gradient: NoiseProcess | None = None
    weights: NoiseProcess | None = None
    activations: DropoutMasks | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and self.weights.preconditioner is not None:
            raise ValueError(
                "weights must have no preconditioner: it scales noise by past gradients, which "
                "weight noise does not see."
            )

    @property
    def places(self) -> tuple[Place, ...]:
        """The places where something is applied."""
        return tuple(place for place in PLACES if getattr(self, place) is not None)


NOTHING = Contribution()


def on_gradient(process: Callable[P, NoiseProcess]) -> Callable[P, Contribution]:
    """Return a function with the same arguments that contributes the process to the gradient.

    >>> on_gradient(lambda std: NoiseProcess.of(lambda t: std))(std=0.1).places
    ('gradient',)
    """

    @functools.wraps(process)
    def contribute(*args: P.args, **kwargs: P.kwargs) -> Contribution:
        return Contribution(gradient=process(*args, **kwargs))

    return contribute


@dataclass(frozen=True)
class SummedTerms:
    """The terms of a sum of independent processes.

    The k-th process, counted from 0, draws at t + k * 2^48 in place of t. So the first draws the
    numbers that it draws alone, and no draw serves two processes.
    """

    terms: tuple[Terms, ...]

    def __call__(self, t: int) -> Sequence[tuple[int, float]]:
        return tuple(
            (drawn + k * STREAM_OFFSET, std)
            for k, terms in enumerate(self.terms)
            for drawn, std in terms(t)
        )


def combine(contributions: Iterable[Contribution]) -> Contribution:
    """Return what several contributions are together.

    Noise at one place adds up, each process with draws of its own (`SummedTerms`). A single
    contribution is returned unchanged.

    Raises:
        ValueError: If two contribute dropout, or two gradient noises have different
            preconditioners.

    >>> processes = [NoiseProcess.of(lambda t: 0.3), NoiseProcess.of(lambda t: 0.4)]
    >>> combine(Contribution(gradient=process) for process in processes).gradient.std(0)
    0.5
    """
    contributions = tuple(contributions)
    return Contribution(
        gradient=_sum([each.gradient for each in contributions]),
        weights=_sum([each.weights for each in contributions]),
        activations=_only([each.activations for each in contributions]),
    )


def _sum(processes: Iterable[NoiseProcess | None]) -> NoiseProcess | None:
    present = [process for process in processes if process is not None]
    if len(present) <= 1:
        return present[0] if present else None
    preconditioner = present[0].preconditioner
    if any(process.preconditioner != preconditioner for process in present):
        raise ValueError(
            "preconditioned gradient noise can be combined only with gradient noise of the same "
            "preconditioner: remove a technique."
        )
    terms = SummedTerms(tuple(process.terms for process in present))
    return NoiseProcess(terms=terms, preconditioner=preconditioner)


def _only(masks: Iterable[DropoutMasks | None]) -> DropoutMasks | None:
    present = [each for each in masks if each is not None]
    if len(present) > 1:
        rates = " and ".join(f"{each.rate:g}" for each in present)
        raise ValueError(
            f"dropout at the rates {rates} cannot be combined: a trial has one rate at each "
            "Dropout layer."
        )
    return present[0] if present else None
