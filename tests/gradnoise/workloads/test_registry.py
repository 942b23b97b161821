from collections.abc import Callable

import pytest

from gradnoise.workloads.catalogue import document
from gradnoise.workloads.paper.mlp import Mlp
from gradnoise.workloads.registry import find, installed

GOOD = """
from gradnoise.workloads import Metric, function

@function(name="mine", description="Mine.", metrics=[Metric(name="x", direction="maximize", worst=0.0)])
def train(trial):
    pass

enormous = function(name="enormous", description="", metrics=[Metric(name="x", direction="minimize", worst=1e300)])(train)
unbounded = function(name="unbounded", description="", metrics=[Metric(name="x", direction="maximize", worst=float("-inf"))])(train)
shapeless = function(name="shapeless", description="", metrics=train.metrics, options=dict)(train)
"""


def test_the_networks_of_this_package_are_installed() -> None:
    assert find("mlp") is Mlp
    assert not installed().broken


def test_a_package_adds_its_workload_by_an_entry_point(install: Callable[..., None]) -> None:
    install({"mine": "mine:train"}, {"mine": GOOD})
    assert find("mine").name == "mine"
    assert find("mlp") is Mlp


BROKEN = {
    "absent": ("no_such_module:train", "ModuleNotFoundError: No module named 'no_such_module'"),
    "raising": ("raising:train", "ZeroDivisionError: division by zero"),
    "missing": ("mine:nothing", "AttributeError: module 'mine' has no attribute 'nothing'"),
    "number": (
        "mine:__name__",
        "TypeError: it must be a subclass of Workload or a declared function, but it is 'mine'",
    ),
    "other": (
        "mine:train",
        "ValueError: the workload calls itself 'mine', which must be the name of its entry point, "
        "'other'",
    ),
    "unbounded": (
        "mine:unbounded",
        "ValueError: metrics must be at least one, each with a worst value from -1e100 to 1e100",
    ),
    "enormous": (
        "mine:enormous",
        "ValueError: metrics must be at least one, each with a worst value from -1e100 to 1e100",
    ),
    "shapeless": ("mine:shapeless", "TypeError: "),
}


def test_a_broken_package_is_listed_with_its_error_and_takes_no_other_down(
    install: Callable[..., None],
) -> None:
    install(
        {name: value for name, (value, _) in BROKEN.items()}, {"mine": GOOD, "raising": "1 / 0"}
    )
    assert set(installed().workloads) == {
        "memn2n",
        "mlp",
        "neural-gpu",
        "neural-programmer",
        "nram",
    }
    for name, (value, error) in BROKEN.items():
        assert installed().broken[f"{name} = {value}"].startswith(error)
    assert {one["name"] for one in document()["broken"]} == set(installed().broken)
    assert [one["name"] for one in document()["workloads"]] == [
        "memn2n",
        "mlp",
        "neural-gpu",
        "neural-programmer",
        "nram",
    ]


def test_a_trial_of_a_broken_workload_is_told_why(install: Callable[..., None]) -> None:
    install({"raising": "raising:train"}, {"raising": "1 / 0"})
    with pytest.raises(
        ValueError,
        match=(
            r"no workload named 'raising'; installed are memn2n, mlp, .*; raising = raising:train "
            r"is broken: Zero"
        ),
    ):
        find("raising")


def test_a_name_belongs_to_one_package(install: Callable[..., None]) -> None:
    install({"mlp": "mine:train"}, {"mine": GOOD})
    assert len(installed().broken) == 1
    assert next(iter(installed().broken.values())) in (
        "ValueError: another package has the name 'mlp' already",
        "ValueError: the workload calls itself 'mine', which must be the name of its entry point, "
        "'mlp'",
    )
    assert find("mlp") is Mlp
