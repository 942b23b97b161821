import math

import pytest

import gradnoise
from gradnoise import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.techniques.contribution import Contribution


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
