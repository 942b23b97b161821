"""What a technique is: a name and a formula, hyperparameters, and what it does to training."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gradnoise.parameters import Parameter

E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Technique(Generic[E_co]):
    """A technique.

    Args:
        name: As a study's arm names it.
        description: One sentence for whoever chooses.
        formula: What it does to gradient g_t, weights w_t or activations of update t.
        source: Where it was published.
        parameters: Its own hyperparameters.
        effect: Makes what the trainers apply from them, passed by name; those that have a default
            there may be missing from a study.
    """

    name: str
    description: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...] = ()
    effect: Callable[..., E_co]

    @property
    def required(self) -> tuple[str, ...]:
        arguments = inspect.signature(self.effect).parameters
        return tuple(
            one.name
            for one in self.parameters
            if arguments[one.name].default is inspect.Parameter.empty
        )
