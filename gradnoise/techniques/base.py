"""What a technique is: a name, a formula, hyperparameters, and what it contributes to training."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gradnoise.parameters import Parameter, pick
from gradnoise.rules import Rule
from gradnoise.techniques.contribution import PLACES, Contribution, Place


@dataclass(frozen=True, kw_only=True)
class Technique:
    """A technique, named in the entry-point group `gradnoise.techniques`.

    Args:
        name: The name of the entry point too.
        description: One sentence for whoever chooses.
        formula: What it does to gradient g_t, weights w_t or activations a of update t.
        source: Where it was published.
        places: The places that it contributes to.
        parameters: Its hyperparameters.
        rules: Rules across them.
        contribute: Returns the contribution from the hyperparameters, given by name. A study may
            leave out those that have a default here. It is pure: equal arguments, equal
            contributions.

    Raises:
        ValueError: If a place is unknown, or `contribute` has other arguments than the parameters.
    """

    name: str
    description: str
    formula: str
    source: str
    places: tuple[Place, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    rules: tuple[Rule, ...] = ()
    contribute: Callable[..., Contribution]

    def __post_init__(self) -> None:
        unknown = [place for place in self.places if place not in PLACES]
        if unknown:
            raise ValueError(f"places must be among {', '.join(PLACES)}, but got {unknown[0]!r}.")
        arguments = set(inspect.signature(self.contribute).parameters)
        names = {parameter.name for parameter in self.parameters}
        if arguments != names:
            raise ValueError(
                f"parameters must be the arguments of contribute, {sorted(arguments)}, but they "
                f"are {sorted(names)}."
            )

    @property
    def required(self) -> tuple[str, ...]:
        """The hyperparameters that a study must give."""
        arguments = inspect.signature(self.contribute).parameters
        return tuple(
            parameter.name
            for parameter in self.parameters
            if arguments[parameter.name].default is inspect.Parameter.empty
        )

    def contribution(self, params: Mapping[str, object]) -> Contribution:
        """Return what the technique contributes with a trial's hyperparameters, of which it uses
        those that it declares.

        Raises:
            ValueError: If a required one is missing, or a value is illegal.
        """
        given = pick(params, self.parameters)
        for parameter in self.parameters:
            if parameter.name in self.required and parameter.name not in given:
                raise ValueError(
                    f"the technique {self.name!r} needs {parameter.name}: {parameter.legal}."
                )
        return self.contribute(**given)
