"""The decorator that declares a function as a technique."""

from collections.abc import Callable, Sequence
from typing import overload

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule
from gradnoise.signatures import first_sentence, hyperparameters
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import Contribution, Place

Contribute = Callable[..., Contribution]


@overload
def technique(contribute: Contribute, /) -> Technique: ...


@overload
def technique(
    *,
    name: str | None = None,
    description: str | None = None,
    formula: str | None = None,
    source: str = "",
    places: Sequence[Place] = ("gradient",),
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
) -> Callable[[Contribute], Technique]: ...


def technique(
    contribute: Contribute | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    formula: str | None = None,
    source: str = "",
    places: Sequence[Place] = ("gradient",),
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
) -> Technique | Callable[[Contribute], Technique]:
    """Declare a function as a technique; an arm of a study then names it.

    The function takes hyperparameters by name and returns a `gradnoise.workloads.Contribution`. Use
    the decorator with or without arguments.

    Args:
        contribute: The function. Each argument is a hyperparameter, which a study may leave out if
            it has a default.
        name: The name of the technique, that of the function by default.
        description: One sentence; by default the first of the docstring.
        formula: What it does to gradient g_t, weights w_t or activations a of update t; the
            description by default.
        source: Where it was published.
        places: The places that it contributes to.
        parameters: Declarations of hyperparameters with a range or a meaning of their own.
        rules: Rules across them.

    Raises:
        ValueError: If a place is unknown, or a declared hyperparameter is no argument.

    >>> import math
    >>> from gradnoise import NoiseProcess
    >>> @technique
    ... def halving(std: float, updates: int = 1000):
    ...     "Gaussian noise whose standard deviation halves again and again."
    ...     return Contribution(gradient=NoiseProcess.of(lambda t: std * 0.5 ** (t / updates)))
    >>> halving.name, halving.required
    ('halving', ('std',))
    """

    def declare(contribute: Contribute) -> Technique:
        unknown = {each.name for each in parameters} - {
            each.name for each in hyperparameters(contribute)
        }
        if unknown:
            raise ValueError(
                f"parameters must be arguments of {contribute.__name__}, but got "
                f"{sorted(unknown)[0]!r}."
            )
        sentence = first_sentence(contribute) if description is None else description
        return Technique(
            name=contribute.__name__ if name is None else name,
            description=sentence,
            formula=sentence if formula is None else formula,
            source=source,
            places=tuple(places),
            parameters=hyperparameters(contribute, parameters),
            rules=tuple(rules),
            contribute=contribute,
        )

    return declare if contribute is None else declare(contribute)
