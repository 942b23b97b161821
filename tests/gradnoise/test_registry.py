from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gradnoise.registry import Registry

GOOD = """
from dataclasses import dataclass

@dataclass
class Thing:
    name: str

good, other = Thing("good"), Thing("other")
number = 3
"""


@dataclass
class Thing:
    name: str


def check(declared: object) -> Thing:
    if isinstance(declared, int):
        raise TypeError(f"it must be a thing, but it is {declared!r}")
    return declared  # type: ignore[return-value]


@pytest.fixture
def things() -> Registry[Thing]:
    return Registry("thing", "gradnoise.things", check)


def test_entry_points_are_loaded_once_and_sorted(
    things: Registry[Thing], install: Callable[..., None]
) -> None:
    points = {"other": "things:other", "good": "things:good"}
    install(points, {"things": GOOD}, group="gradnoise.things")
    assert things.names() == ("good", "other")
    assert things.find("good") is things.installed().declared["good"]
    assert things.installed() is things.installed()
    assert not things.installed().broken


def test_a_broken_entry_point_is_listed_and_leaves_the_others_usable(
    things: Registry[Thing], install: Callable[..., None]
) -> None:
    points = {
        "absent": "no_such_module:thing",
        "good": "things:good",
        "missing": "things:nothing",
        "number": "things:number",
        "renamed": "things:other",
    }
    install(points, {"things": GOOD}, group="gradnoise.things")
    assert things.names() == ("good",)
    assert things.installed().broken == {
        "absent = no_such_module:thing": "ModuleNotFoundError: No module named 'no_such_module'",
        "missing = things:nothing": ("AttributeError: module 'things' has no attribute 'nothing'"),
        "number = things:number": "TypeError: it must be a thing, but it is 3",
        "renamed = things:other": (
            "ValueError: the thing is named 'other', which must be the name of its entry point, "
            "'renamed'"
        ),
    }
    with pytest.raises(
        ValueError,
        match="no thing named 'number'; installed are good; number = things:number is broken: Type",
    ):
        things.find("number")


def test_a_name_belongs_to_one_package(
    things: Registry[Thing], install: Callable[..., None]
) -> None:
    install({"good": "things:good"}, {"things": GOOD}, group="gradnoise.things")
    install({"good": "more:good"}, {"more": GOOD}, package="more", group="gradnoise.things")
    things.reload()
    assert things.names() == ("good",)
    (error,) = things.installed().broken.values()
    assert error == "ValueError: more 1 has the name 'good' already"
    assert things.installed().packages == {"good": "more 1", "good = things:good": "pack 1"}


def test_declarations_are_included_for_the_time_of_a_context(things: Registry[Thing]) -> None:
    mine = Thing("mine")
    with things.including(mine):
        assert things.find("mine") is mine
        assert things.names() == ("mine",)
    assert things.names() == ()
    with pytest.raises(TypeError, match="it must be a thing"), things.including(3):  # type: ignore[arg-type]
        pass
