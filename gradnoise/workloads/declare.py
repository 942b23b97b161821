"""The decorator that declares a function as an optimizer."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import overload

import torch

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule
from gradnoise.signatures import first_sentence, hyperparameters
from gradnoise.workloads.optimizer import LR, NamedParameters, Optimizer

Make = Callable[..., torch.optim.Optimizer]


@overload
def optimizer(make: Make, /) -> Optimizer: ...


@overload
def optimizer(
    *,
    name: str | None = None,
    description: str | None = None,
    formula: str | None = None,
    source: str = "",
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
) -> Callable[[Make], Optimizer]: ...


def optimizer(
    make: Make | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    formula: str | None = None,
    source: str = "",
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
) -> Optimizer | Callable[[Make], Optimizer]:
    """Declare a function that makes a torch optimizer; an arm of a study then names it.

    Use the decorator with or without arguments. Its trials train one at a time.

    Args:
        make: Takes a model's named parameters, then hyperparameters by name, `lr` among them, of
            which a study may leave out those that have a default. The learning rate is that of the
            optimizer's `param_groups`.
        name: The name of the optimizer, that of the function by default.
        description: One sentence; by default the first of the docstring.
        formula: Its update; the description by default.
        source: Where it was published.
        parameters: Declarations of hyperparameters with a range or a meaning of their own.
        rules: Rules across them.

    Raises:
        ValueError: If the function has no argument `lr`.

    >>> @optimizer
    ... def fast_adam(weights, lr: float, decay: float = 0.9):
    ...     "Adam with a short memory."
    ...     return torch.optim.Adam(weights, lr, betas=(decay, decay**0.5))
    >>> fast_adam.name, fast_adam.required, fast_adam.defaults
    ('fast_adam', ('lr',), {'decay': 0.9})
    """

    def declare(make: Make) -> Optimizer:
        sentence = first_sentence(make) if description is None else description
        arguments = list(inspect.signature(make).parameters.values())[1:]

        def single(weights: NamedParameters, hyper: Mapping[str, float]) -> torch.optim.Optimizer:
            return make(weights, **hyper)

        return Optimizer(
            name=make.__name__ if name is None else name,
            description=sentence,
            formula=sentence if formula is None else formula,
            source=source,
            parameters=hyperparameters(make, (LR, *parameters), n_leading=1),
            defaults={
                each.name: each.default for each in arguments if each.default is not each.empty
            },
            rules=tuple(rules),
            single=single,
            required=tuple(each.name for each in arguments if each.default is each.empty),
        )

    return declare if make is None else declare(make)
