"""What holds of all techniques: they declare what they take, and make from it what a trainer
applies.
"""

import inspect
import re

import pytest

from gradnoise._processes import NoiseProcess
from gradnoise.techniques import ON_GRADIENTS, TECHNIQUES, effect, technique
from gradnoise.techniques.dropout import DropoutMasks
from gradnoise.techniques.weight_noise import WeightNoise

PARAMS = {"lr": 0.1, "eta": 0.3, "gamma": 0.55, "std": 0.2, "rate": 0.5}


def test_what_a_technique_declares_is_what_it_needs() -> None:
    assert {name: one.required for name, one in TECHNIQUES.items()} == {
        "none": (),
        "annealed": ("eta", "gamma"),
        "constant": ("std",),
        "anticorrelated": ("std",),
        "preconditioned": ("eta", "gamma"),
        "weight_noise": ("eta", "gamma"),
        "dropout": ("rate",),
    }


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_technique_takes_what_it_declares_and_says_its_defaults(name: str) -> None:
    one = TECHNIQUES[name]
    assert one.name == name
    assert one.description.endswith(".")
    assert one.formula
    assert one.source
    arguments = inspect.signature(one.effect).parameters
    assert set(arguments) == {parameter.name for parameter in one.parameters}
    for parameter in one.parameters:
        told = re.search(r"; (\S+) by default\.$", parameter.description)
        default = arguments[parameter.name].default
        assert (told is None) == (parameter.name in one.required)
        assert told is None or float(told[1]) == default


def test_each_technique_acts_on_gradients_weights_or_activations() -> None:
    made = {name: effect(name, PARAMS) for name in TECHNIQUES}
    assert {
        name for name, one in made.items() if one is None or isinstance(one, NoiseProcess)
    } == set(ON_GRADIENTS)
    assert made["none"] is None
    assert isinstance(made["weight_noise"], WeightNoise)
    assert made["dropout"] == DropoutMasks(rate=0.5)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_parameter_out_of_range_is_refused_by_the_effect_itself(name: str) -> None:
    for parameter in TECHNIQUES[name].parameters:
        with pytest.raises(ValueError, match=f"got {parameter.name}=-1"):
            effect(name, PARAMS | {parameter.name: -1.0})


def test_an_optional_parameter_is_passed_on_where_it_is_given() -> None:
    preconditioned = effect("preconditioned", PARAMS | {"decay": 0.5})
    assert isinstance(preconditioned, NoiseProcess)
    assert "decay=0.5, damping=1e-05" in repr(preconditioned.preconditioner)


def test_a_missing_parameter_is_named_with_its_range() -> None:
    with pytest.raises(ValueError, match=r"'annealed' needs gamma: a finite number in \[0, inf\)"):
        effect("annealed", {"eta": 0.1})


def test_an_unknown_technique_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"no technique named 'anealed'; legal are none, annealed, constant, anticorrelated",
    ):
        technique("anealed")
