"""What differs between the arms: named, counted, and not confused with what it brings along."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.facts.recipes import (
    Change,
    SameRecipe,
    SeveralChanges,
    UnequalRanges,
)
from gradnoise_service.compare.recipes import parts, recipe_findings
from gradnoise_service.domain.design import Design

Make = Callable[..., Design]
OWNED = {
    "annealed": ["eta", "gamma"],
    "dropout": ["rate"],
    "sgd": ["lr", "momentum"],
    "adam": ["lr", "beta1"],
}
BASE = {"name": "base", "technique": "none", "space": {"momentum": 0.9}}
NOISE = {"eta": 0.3, "gamma": 0.55}
RANGE = {"low": 0.01, "high": 0.1}


def found(make_design: Make, *arms: dict[str, object], **changes: object) -> list[object]:
    design = make_design(arms=list(arms), **({"space": {"lr": RANGE}} | changes))
    return list(recipe_findings(design, OWNED))


def things(make_design: Make, arm: dict[str, object], **changes: object) -> list[str]:
    """Return the things in which an arm differs from BASE, where they are several."""
    techniques = {} if "techniques" in arm else {"technique": "none"}
    for finding in found(make_design, BASE, {"name": "arm"} | techniques | arm, **changes):
        if isinstance(finding, SeveralChanges):
            return [f"{c.kind} {c.name}<{c.replaced}" for c in finding.changes]
    return []


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        # a technique or an optimizer brings its parameters along
        ({"technique": "annealed", "space": NOISE | {"momentum": 0.9}}, []),
        ({"optimizer": "adam", "space": {"beta1": 0.9}}, []),
        ({"space": {"momentum": 0.5}}, []),
        # two things
        ({"optimizer": "adam", "options": {"norm": True}}, ["optimizer adam<sgd", "option norm<"]),
        (
            {"technique": "annealed", "space": NOISE | {"momentum": 0.9, "label_smoothing": 0.1}},
            ["technique annealed<", "parameter label_smoothing<"],
        ),
        (
            {"technique": "annealed", "space": NOISE | {"momentum": 0.5}},
            ["technique annealed<", "parameter momentum<"],
        ),
        (
            {
                "techniques": ["annealed", "dropout"],
                "space": NOISE | {"rate": 0.1, "momentum": 0.9},
            },
            ["technique annealed<", "technique dropout<"],
        ),
        # the baseline's momentum belongs to neither technique
        ({"technique": "annealed", "space": NOISE}, ["technique annealed<", "parameter momentum<"]),
    ],
)
def test_an_arm_that_differs_in_several_things_is_found(
    make_design: Make, arm: dict[str, object], expected: list[str]
) -> None:
    assert things(make_design, arm) == expected


def test_a_technique_in_place_of_another_is_one_thing(make_design: Make) -> None:
    noisy = {"name": "noisy", "technique": "annealed", "space": NOISE}
    dropped = {"name": "dropped", "technique": "dropout", "space": {"rate": 0.1}}
    assert found(make_design, noisy, dropped) == []
    plain = {"name": "plain", "technique": "none", "options": {"norm": True}}
    (finding,) = found(make_design, noisy, plain)
    assert finding == SeveralChanges(
        arm="plain",
        baseline="noisy",
        changes=(
            Change(kind="technique", name="", replaced="annealed"),
            Change(kind="option", name="norm"),
        ),
    )


def test_a_range_of_its_own_is_no_change_but_is_found(make_design: Make) -> None:
    sgd = {"name": "sgd", "technique": "none", "space": {"lr": RANGE}}
    adam = {"name": "adam", "technique": "none", "optimizer": "adam", "space": {"lr": RANGE}}
    narrow = adam | {"name": "narrow", "space": {"lr": {"low": 0.01, "high": 0.02}}}
    assert found(make_design, sgd, adam, narrow, space={}) == [
        UnequalRanges(arm="narrow", baseline="sgd", parameters=("lr",))
    ]


def test_equal_arms_are_named(make_design: Make) -> None:
    again = BASE | {"name": "again", "optimizer": "sgd"}
    assert found(make_design, BASE, again) == [SameRecipe(arm="again", baseline="base")]


def test_the_parts_that_differ_come_first(make_design: Make) -> None:
    adam = {"name": "adam", "technique": "none", "optimizer": "adam", "options": {"depth": 3}}
    design = make_design(arms=[BASE, adam], space={"lr": RANGE}, options={"depth": 2, "size": 1})
    assert [(p.kind, p.name, p.differs, len(p.values)) for p in parts(design)] == [
        ("optimizer", "", True, 2),
        ("option", "depth", True, 2),
        ("parameter", "momentum", True, 1),
        ("techniques", "", False, 2),
        ("option", "size", False, 2),
        ("parameter", "lr", False, 2),
    ]
