"""What holds of all techniques of this package, and how others are added."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gradnoise.techniques.masks import DropoutMasks
from gradnoise.techniques.registry import TECHNIQUES, names_within
from gradnoise.workloads.registry import OPTIMIZERS

PARAMS = {"lr": 0.1, "eta": 0.3, "gamma": 0.55, "std": 0.2, "rate": 0.5}
NAMES = (
    "adaptive_clipping",
    "annealed",
    "anticorrelated",
    "constant",
    "dropout",
    "ema",
    "gradient_centralisation",
    "grokfast",
    "label_smoothing",
    "none",
    "preconditioned",
    "sam",
    "weight_noise",
)
OTHER = """
from gradnoise.workloads import Contribution, DropoutMasks, Parameter, Technique

def contribute(rate):
    return Contribution(activations=DropoutMasks(rate=rate))

OTHER = Technique(
    name="other",
    description="Other dropout.",
    formula="as dropout",
    source="here",
    places=("activations",),
    parameters=(Parameter(name="rate", description="Rate.", low=0, high=0.9),),
    contribute=contribute,
)
"""


def test_the_techniques_of_this_package_are_installed() -> None:
    assert TECHNIQUES.names() == NAMES
    assert not TECHNIQUES.installed().broken


def test_a_package_adds_its_technique_by_an_entry_point(install: Callable[..., None]) -> None:
    points = {"other": "other:OTHER", "text": "other:__name__"}
    install(points, {"other": OTHER}, group="gradnoise.techniques")
    assert TECHNIQUES.names() == tuple(sorted((*NAMES, "other")))
    assert TECHNIQUES.find("other").contribution(PARAMS).activations == DropoutMasks(rate=0.5)
    assert TECHNIQUES.installed().broken == {
        "text = other:__name__": "TypeError: it must be a Technique, but it is 'other'"
    }


def test_the_required_parameters_are_those_without_a_default() -> None:
    required = {name: TECHNIQUES.find(name).required for name in NAMES}
    assert {name: names for name, names in required.items() if names} == {
        "annealed": ("eta", "gamma"),
        "constant": ("std",),
        "anticorrelated": ("std",),
        "preconditioned": ("eta", "gamma"),
        "weight_noise": ("eta", "gamma"),
        "dropout": ("rate",),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_technique_describes_itself_and_its_defaults(name: str) -> None:
    technique = TECHNIQUES.find(name)
    assert technique.description.endswith(".")
    assert technique.formula
    assert technique.source
    arguments = inspect.signature(technique.contribute).parameters
    for parameter in technique.parameters:
        described = re.search(r"; (\S+) by default\.$", parameter.description)
        default = arguments[parameter.name].default
        assert (described is None) == (parameter.name in technique.required)
        assert described is None or float(described[1]) == default


@pytest.mark.parametrize("name", NAMES)
def test_a_technique_contributes_to_the_places_that_it_declares(name: str) -> None:
    technique = TECHNIQUES.find(name)
    assert technique.contribution(PARAMS).places == technique.places


def test_techniques_are_selected_by_place() -> None:
    others = {"dropout", "ema", "label_smoothing", "sam", "weight_noise"}
    assert names_within(["gradient"]) == tuple(name for name in NAMES if name not in others)
    assert set(NAMES) - set(names_within(["gradient", "weights"])) == {"dropout", "label_smoothing"}
    assert names_within([]) == ("none",)


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_out_of_range_is_refused_by_the_technique_itself(name: str) -> None:
    technique = TECHNIQUES.find(name)
    for parameter in technique.parameters:
        with pytest.raises(ValueError, match=f"got {parameter.name}=-1"):
            technique.contribution(PARAMS | {parameter.name: -1.0})


def test_an_optional_parameter_is_passed_on_if_it_is_given() -> None:
    process = TECHNIQUES.find("preconditioned").contribution(PARAMS | {"decay": 0.5}).gradient
    assert process is not None
    assert "decay=0.5, damping=1e-05" in repr(process.preconditioner)


def test_a_missing_parameter_is_named_with_its_range() -> None:
    with pytest.raises(ValueError, match=r"'annealed' needs gamma: a finite number in \[0, inf\)"):
        TECHNIQUES.find("annealed").contribution({"eta": 0.1})


def test_an_unknown_technique_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"no technique named 'anealed'; installed are adaptive_clipping, annealed, anti",
    ):
        TECHNIQUES.find("anealed")


def test_techniques_and_optimizers_are_documented_with_formula_and_source() -> None:
    text = Path(__file__).parents[3].joinpath("docs/techniques.md").read_text(encoding="utf-8")
    rows = [
        f"| `{each.name}` | `{each.formula.replace('|', chr(92) + '|')}` | {each.source} |"
        for registry in (TECHNIQUES, OPTIMIZERS)
        for each in registry.installed().declared.values()
    ]
    assert [line for line in text.splitlines() if line in rows] == rows
