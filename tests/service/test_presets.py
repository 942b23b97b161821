"""Every preset is a study that the service takes."""

import itertools
import re
from pathlib import Path

import pytest

from service import presets
from service.domain.spec import StudySpec


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_is_a_study_of_its_own_name(name: str) -> None:
    """A preset validates as a spec, is named as its file and says what it asks."""
    spec = StudySpec.model_validate(presets.load(name))
    assert spec.name == name
    assert presets.describe(name) == spec.description
    assert spec.description.count(" ") > 10


def test_there_are_the_promised_presets() -> None:
    """The demo, its honest counterpart, the quick study on MNIST, and the same arm twice on either data are there."""
    assert {"demo", "demo-he", "mnist-quick", "demo-twice", "mnist-twice"} <= set(presets.names())


@pytest.mark.parametrize("name", ["demo-twice", "mnist-twice"])
def test_the_same_arm_twice_is_the_same_arm_twice(name: str) -> None:
    """Its two arms differ in nothing but their names."""
    first, second = presets.load(name)["arms"]
    assert first | {"name": second["name"]} == second


def test_the_reports_that_are_kept_are_of_presets() -> None:
    """Each of the Makefile's REPORTS is one, on digits and on MNIST, with noise and with the same arm twice."""
    makefile = Path(__file__).parents[2] / "Makefile"
    (line,) = re.findall(r"^REPORTS := (.+)$", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    kept = {(presets.load(name)["options"]["dataset"], name.endswith("-twice")) for name in line.split()}
    assert kept == set(itertools.product(("digits", "mnist"), (False, True)))


def test_the_counterpart_differs_in_nothing_but_the_initial_weights() -> None:
    """demo-he is demo with He's initial weights: same space, budget and seeds."""
    demo, counterpart = (presets.load(name) for name in ("demo", "demo-he"))
    assert counterpart["options"] == demo["options"] | {"init": "he"}
    told_apart = {"name", "description", "options"}
    assert {k: v for k, v in demo.items() if k not in told_apart} == {k: v for k, v in counterpart.items() if k not in told_apart}


def test_an_unknown_preset_is_named_with_the_known_ones() -> None:
    """The error names what was asked for and what there is."""
    with pytest.raises(KeyError, match=r"no preset named 'nope'; there are demo, demo-he"):
        presets.load("nope")
