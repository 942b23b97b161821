"""The decorator that declares a function as a technique."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast, overload

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule
from gradnoise.signatures import first_sentence, hyperparameters
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import PLACE_OF, Contribution, Place
from gradnoise.techniques.functions import GradientTransform, TensorFunction, Tensors

Acts = Literal["gradient", "perturbation", "loss", "average"]
OFFERED: Mapping[Acts, tuple[str, ...]] = {
    "gradient": ("gradient", "weights", "state", "t"),
    "perturbation": ("gradient", "weights", "t"),
    "loss": ("logits", "targets"),
    "average": ("average", "weights", "t"),
}
"""The arguments of a function on tensors that are no hyperparameters."""


@overload
def technique(declared: Callable[..., Any], /) -> Technique: ...


@overload
def technique(
    *,
    on: Acts | None = None,
    state: Callable[[Tensors], Tensors] | None = None,
    name: str | None = None,
    description: str | None = None,
    formula: str | None = None,
    source: str = "",
    places: Sequence[Place] = ("gradient",),
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
) -> Callable[[Callable[..., Any]], Technique]: ...


def technique(
    declared: Callable[..., Any] | None = None,
    /,
    *,
    on: Acts | None = None,
    state: Callable[[Tensors], Tensors] | None = None,
    name: str | None = None,
    description: str | None = None,
    formula: str | None = None,
    source: str = "",
    places: Sequence[Place] = ("gradient",),
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
) -> Technique | Callable[[Callable[..., Any]], Technique]:
    """Declare a function as a technique; an arm of a study then names it.

    Use the decorator with or without arguments. Without `on`, the function takes hyperparameters
    and returns a `gradnoise.workloads.Contribution`. With `on`, it is itself a pure function on
    tensors, which each update calls. It takes those of these arguments that it needs, by name, and
    then hyperparameters:

    | on | arguments | returns |
    |---|---|---|
    | gradient | gradient, weights, state, t | the gradient; with a state, gradient and new state |
    | perturbation | gradient, weights, t | what is added to the weights for a second gradient |
    | loss | logits, targets | each example's loss, in place of its cross-entropy |
    | average | average, weights, t | the new average, at which metrics are measured |

    `gradient`, `weights`, `state` and `average` are dicts of tensors by the names of the model's
    parameters; t, the update count from 0, and the hyperparameters are tensors without dimensions.
    Trials train as one model under `torch.func.vmap`, so that a function sees the tensors of one
    trial, draws no random numbers and does not branch on values.

    Args:
        declared: The function. Each argument is a hyperparameter, but for those of the table. A
            study may leave out those that have a default.
        on: What the function acts on; None: it returns a Contribution.
        state: With `on="gradient"`: returns the state before the first update, a dict of tensors,
            from the initial weights.
        name: The name of the technique, that of the function by default.
        description: One sentence; by default the first of the docstring.
        formula: What it does to gradient g_t, weights w_t or activations a of update t; the
            description by default.
        source: Where it was published.
        places: The places that it contributes to; with `on` they follow from it.
        parameters: Declarations of hyperparameters with a range or a meaning of their own.
        rules: Rules across them.

    Raises:
        ValueError: If a place or `on` is unknown, a declared hyperparameter is no argument, or a
            state is given where there is none.

    >>> import math
    >>> from gradnoise import NoiseProcess
    >>> @technique
    ... def halving(std: float, updates: int = 1000):
    ...     "Gaussian noise whose standard deviation halves again and again."
    ...     return Contribution(gradient=NoiseProcess.of(lambda t: std * 0.5 ** (t / updates)))
    >>> halving.name, halving.required
    ('halving', ('std',))
    >>> @technique(on="gradient")
    ... def sign(gradient, scale: float = 1.0):
    ...     "The sign of every coordinate, as in signSGD."
    ...     return {name: scale * part.sign() for name, part in gradient.items()}
    >>> sign.places, [parameter.name for parameter in sign.parameters]
    (('gradient',), ['scale'])
    """
    _check(on, state)
    offered = OFFERED[on] if on is not None else ()

    def declare(declared: Callable[..., Any]) -> Technique:
        taken = [each for each in inspect.signature(declared).parameters if each in offered]
        found = hyperparameters(declared, parameters, n_leading=len(taken))
        unknown = {each.name for each in parameters} - {each.name for each in found}
        if unknown:
            raise ValueError(
                f"parameters must be arguments of {declared.__name__}, but got "
                f"{sorted(unknown)[0]!r}."
            )
        sentence = first_sentence(declared) if description is None else description
        return Technique(
            name=declared.__name__ if name is None else name,
            description=sentence,
            formula=sentence if formula is None else formula,
            source=source,
            places=tuple(places) if on is None else (PLACE_OF[on],),
            parameters=found,
            rules=tuple(rules),
            contribute=declared if on is None else _contributing(declared, on, state, found),
        )

    return declare if declared is None else declare(declared)


def _check(on: Acts | None, state: object) -> None:
    if on is not None and on not in OFFERED:
        raise ValueError(f"on must be one of {', '.join(OFFERED)}, but got {on=}.")
    if state is not None and on != "gradient":
        raise ValueError(f'state belongs to on="gradient", but got {on=}.')


def _contributing(
    function: Callable[..., Any],
    on: Acts,
    state: Callable[[Tensors], Tensors] | None,
    parameters: Sequence[Parameter],
) -> Callable[..., Contribution]:
    """Return the function from hyperparameters to the contribution of a function on tensors."""
    arguments = inspect.signature(function).parameters
    names = {parameter.name for parameter in parameters}
    signature = inspect.Signature(
        [
            argument.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, argument in arguments.items()
            if name in names
        ]
    )

    def contribute(**given: Any) -> Contribution:
        bound = signature.bind(**given)
        bound.apply_defaults()
        for parameter in parameters:
            parameter.check(bound.arguments[parameter.name])
        hyper = {name: float(value) for name, value in bound.arguments.items()}
        if on == "gradient":
            transform = GradientTransform(function=function, hyper=hyper, start=state)
            return Contribution(transforms=(transform,))
        return Contribution(**{on: cast(Any, TensorFunction(function=function, hyper=hyper))})

    contribute.__name__ = function.__name__
    contribute.__signature__ = signature  # type: ignore[attr-defined]  # read by inspect
    return contribute
