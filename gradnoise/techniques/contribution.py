"""What a technique contributes to training, and how the contributions of several techniques add
up.

A trainer applies contributions at an update t, in this order, and knows no technique:

| contribution | place | where it acts |
|---|---|---|
| weights | weights | a noise process, added to the weights for forward and backward alone |
| activations | activations | dropout masks, on the Dropout layers that the model declares |
| loss | loss | replaces the cross-entropy that the workload's loss computes |
| perturbation | weights | moves the weights along the gradient found there; a second one is taken |
| transforms | gradient | functions of the gradient, in the order of the techniques |
| gradient | gradient | a noise process, added to the clipped gradient, before the optimizer |
| average | weights | an average of the weights after the update, at which metrics are measured |
"""

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, ParamSpec

import numpy as np

from gradnoise._processes import NoiseProcess
from gradnoise._processes.process import Table, Terms, tabulate
from gradnoise.techniques.functions import GradientTransform, TensorFunction
from gradnoise.techniques.masks import DropoutMasks

Place = Literal["gradient", "weights", "activations", "loss"]
P = ParamSpec("P")
PLACES: tuple[Place, ...] = ("gradient", "weights", "activations", "loss")
PLACE_OF: Mapping[str, Place] = {
    "weights": "weights",
    "activations": "activations",
    "loss": "loss",
    "perturbation": "weights",
    "transforms": "gradient",
    "gradient": "gradient",
    "average": "weights",
}
"""The place of each field of a Contribution."""

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
        loss: Returns the loss of each example in place of its cross-entropy; offered are `logits`
            and `targets`.
        perturbation: Returns what is added to the weights for a second gradient, which replaces the
            first; offered are `gradient`, `weights` and `t`.
        transforms: Transformations of the gradient.
        average: Returns the new average; offered are `average`, at first the initial weights,
            `weights` after the update, and `t`. Both hold the floating-point buffers too.

    Raises:
        ValueError: If the weight noise has a preconditioner.
    """

    gradient: NoiseProcess | None = None
    weights: NoiseProcess | None = None
    activations: DropoutMasks | None = None
    loss: TensorFunction | None = None
    perturbation: TensorFunction | None = None
    transforms: tuple[GradientTransform, ...] = ()
    average: TensorFunction | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and self.weights.preconditioner is not None:
            raise ValueError(
                "weights must have no preconditioner: it scales noise by past gradients, which "
                "weight noise does not see."
            )

    @property
    def places(self) -> tuple[Place, ...]:
        """The places where something is applied."""
        used = {place for name, place in PLACE_OF.items() if getattr(self, name) not in (None, ())}
        return tuple(place for place in PLACES if place in used)

    @property
    def structure(self) -> Hashable:
        """Its functions: equal for trials that can train as one model."""
        single = (self.loss, self.perturbation, self.average)
        return (
            tuple(None if function is None else function.structure for function in single),
            tuple(transform.structure for transform in self.transforms),
        )


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

    def table(self, updates: range) -> Table:
        tables = [tabulate(terms, updates) for terms in self.terms]
        return (
            np.concatenate([ts + k * STREAM_OFFSET for k, (ts, _) in enumerate(tables)]),
            np.concatenate([stds for _, stds in tables]),
        )


def combine(contributions: Iterable[Contribution]) -> Contribution:
    """Return what several contributions are together.

    Noise at one place adds up, each process with draws of its own (`SummedTerms`). Transformations
    follow each other. A single contribution is returned unchanged.

    Raises:
        ValueError: If two contribute dropout, a loss, a perturbation or an average, or two gradient
            noises have different preconditioners.

    >>> processes = [NoiseProcess.of(lambda t: 0.3), NoiseProcess.of(lambda t: 0.4)]
    >>> combine(Contribution(gradient=process) for process in processes).gradient.std(0)
    0.5
    """
    contributions = tuple(contributions)
    return Contribution(
        gradient=_sum([each.gradient for each in contributions]),
        weights=_sum([each.weights for each in contributions]),
        activations=_only_masks([each.activations for each in contributions]),
        loss=_only("loss", [each.loss for each in contributions]),
        perturbation=_only("perturbation", [each.perturbation for each in contributions]),
        transforms=tuple(transform for each in contributions for transform in each.transforms),
        average=_only("average", [each.average for each in contributions]),
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


def _only_masks(masks: Iterable[DropoutMasks | None]) -> DropoutMasks | None:
    present = [each for each in masks if each is not None]
    if len(present) > 1:
        rates = " and ".join(f"{each.rate:g}" for each in present)
        raise ValueError(
            f"dropout at the rates {rates} cannot be combined: a trial has one rate at each "
            "Dropout layer."
        )
    return present[0] if present else None


def _only(kind: str, functions: Iterable[TensorFunction | None]) -> TensorFunction | None:
    present = [function for function in functions if function is not None]
    if len(present) > 1:
        names = " and ".join(each.function.__name__ for each in present)
        raise ValueError(f"a trial has at most one {kind}, but got {names}: remove a technique.")
    return present[0] if present else None
