"""Techniques: what an arm does to training, one module each."""

from collections.abc import Mapping

from gradnoise._processes import NoiseProcess
from gradnoise.techniques import (
    annealed,
    anticorrelated,
    constant,
    dropout,
    none,
    preconditioned,
    weight_noise,
)
from gradnoise.techniques.base import Technique
from gradnoise.techniques.dropout import DropoutMasks
from gradnoise.techniques.weight_noise import WeightNoise

__all__ = ["ON_GRADIENTS", "TECHNIQUES", "Effect", "Technique", "effect", "technique"]

Effect = NoiseProcess | WeightNoise | DropoutMasks | None
"""What a trainer applies: noise on gradients, noise on weights, masks on activations, or nothing."""

ON_GRADIENTS: Mapping[str, Technique[NoiseProcess | None]] = {
    module.TECHNIQUE.name: module.TECHNIQUE
    for module in (none, annealed, constant, anticorrelated, preconditioned)
}
"""The techniques that need nothing but an optimizer."""

TECHNIQUES: Mapping[str, Technique[Effect]] = {
    **ON_GRADIENTS,
    weight_noise.TECHNIQUE.name: weight_noise.TECHNIQUE,
    dropout.TECHNIQUE.name: dropout.TECHNIQUE,
}


def technique(name: str) -> Technique[Effect]:
    """Return the technique of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in TECHNIQUES:
        raise ValueError(
            f"there is no technique named {name!r}; legal are {', '.join(TECHNIQUES)}."
        )
    return TECHNIQUES[name]


def effect(name: str, params: Mapping[str, object]) -> Effect:
    """Return what the named technique applies with its parameters, which it picks out of `params`.

    Raises:
        ValueError: If there is no such technique, or a parameter is missing or illegal.

    >>> effect("dropout", {"lr": 0.1, "rate": 0.5})
    DropoutMasks(rate=0.5)
    """
    chosen = technique(name)
    own = {one.name: params[one.name] for one in chosen.parameters if one.name in params}
    for one in chosen.parameters:
        if one.name in chosen.required and one.name not in own:
            raise ValueError(f"the technique {name!r} needs {one.name}: {one.legal}.")
    return chosen.effect(**own)
