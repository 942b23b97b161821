import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import gradnoise
from gradnoise import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.functions import Tensors
from gradnoise.testing import TECHNIQUE_CHECKS, TechniqueCase


def test_a_decorated_function_is_a_technique() -> None:
    @gradnoise.technique
    def halving(std: float, updates: int = 2) -> Contribution:
        """Noise whose standard deviation halves. And so on."""
        return Contribution(gradient=NoiseProcess.of(lambda t: std * 0.5 ** (t / updates)))

    assert (halving.name, halving.places) == ("halving", ("gradient",))
    assert halving.description == halving.formula == "Noise whose standard deviation halves."
    assert halving.required == ("std",)
    process = halving.contribution({"std": 0.8, "lr": 0.1}).gradient
    assert process is not None
    assert math.isclose(process.std(4), 0.2)


def test_what_the_function_does_not_say_is_given() -> None:
    rate = Parameter(name="std", description="Standard deviation.", low=0)
    shaken = gradnoise.technique(
        name="shaken", description="Shakes.", places=["weights"], parameters=[rate]
    )(lambda std: Contribution(weights=NoiseProcess.of(lambda t: std)))
    assert (shaken.name, shaken.formula, shaken.places) == ("shaken", "Shakes.", ("weights",))
    assert shaken.parameters == (rate,)


def test_a_parameter_that_is_no_argument_is_refused() -> None:
    unknown = Parameter(name="stdd", description="Misspelt.", low=0)
    with pytest.raises(ValueError, match="parameters must be arguments of noise, but got 'stdd'"):

        @gradnoise.technique(parameters=[unknown])
        def noise(std: float) -> Contribution:
            return Contribution()


def zeros(weights: Tensors) -> Tensors:
    return {name: torch.zeros_like(part) for name, part in weights.items()}


@gradnoise.technique(
    on="gradient",
    state=zeros,
    source="here",
    parameters=[Parameter(name="share", description="Share kept.", low=0, high=1)],
)
def averaged(gradient: Tensors, state: Tensors, share: float = 0.9) -> tuple[Tensors, Tensors]:
    """Replace the gradient by its moving average."""
    mean = {name: state[name] * share + part * (1 - share) for name, part in gradient.items()}
    return mean, mean


@pytest.mark.parametrize("check", TECHNIQUE_CHECKS, ids=lambda check: check.__name__)
def test_a_decorated_function_with_a_state_conforms(
    check: Callable[[TechniqueCase], None],
) -> None:
    assert (averaged.places, averaged.required) == (("gradient",), ())
    check(TechniqueCase(technique=averaged, params={"share": 0.5}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": "weight"}, "on must be one of gradient, perturbation, loss, average, but got"),
        ({"on": "loss", "state": zeros}, "state belongs to on=\"gradient\", but got on='loss'"),
        ({"state": zeros}, 'state belongs to on="gradient", but got on=None'),
    ],
)
def test_a_contradictory_decorator_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradnoise.technique(**arguments)


def test_hyperparameters_of_a_function_on_tensors_are_checked_and_have_defaults() -> None:
    assert averaged.contribution({"lr": 0.1}).transforms[0].hyper == {"share": 0.9}
    with pytest.raises(ValueError, match="share must be a finite number"):
        averaged.contribution({"share": math.inf})
