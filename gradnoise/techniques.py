"""Techniques: what an arm does to training. Each names its parameters and turns them into the schedule of its noise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gradnoise.parameters import Parameter
from gradnoise.schedules import Schedule, annealed, constant


@dataclass(frozen=True, kw_only=True)
class Technique:
    """A technique.

    Args:
        name: As a study's arm names it.
        description: One sentence for whoever chooses.
        parameters: Its own hyperparameters; all of them must be given.
        schedule: Makes the schedule from them, passed by name; None for no noise at all.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    schedule: Callable[..., Schedule] | None = None

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)


TECHNIQUES = {
    technique.name: technique
    for technique in (
        Technique(name="none", description="Plain training, without noise."),
        Technique(
            name="annealed",
            description="Gaussian noise on every gradient, whose variance eta / (1 + t)^gamma falls with the update count t.",
            parameters=(
                Parameter(name="eta", description="Variance of the noise at step 0, in squared gradient units.", low=0),
                Parameter(name="gamma", description="Decay exponent of the variance, dimensionless; the paper uses 0.55.", low=0),
            ),
            schedule=annealed,
        ),
        Technique(
            name="constant",
            description="Gaussian noise on every gradient, of the same size at every update.",
            parameters=(Parameter(name="std", description="Standard deviation of the noise, in gradient units.", low=0),),
            schedule=constant,
        ),
    )
}


def technique(name: str) -> Technique:
    """Return the technique of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in TECHNIQUES:
        raise ValueError(f"there is no technique named {name!r}; legal are {', '.join(TECHNIQUES)}.")
    return TECHNIQUES[name]


def schedule(name: str, params: Mapping[str, object]) -> Schedule | None:
    """Return the schedule of the named technique with its parameters, which it picks out of `params`; None for a technique without noise.

    Raises:
        ValueError: If there is no such technique, or a parameter is missing or illegal.

    >>> schedule("constant", {"lr": 0.1, "std": 0.5})(7)
    0.5
    """
    chosen = technique(name)
    own = {parameter.name: params[parameter.name] for parameter in chosen.parameters if parameter.name in params}
    missing = [parameter for parameter in chosen.parameters if parameter.name not in own]
    if missing:
        raise ValueError(f"the technique {name!r} needs {missing[0].name}: {missing[0].legal}.")
    return chosen.schedule(**own) if chosen.schedule else None
