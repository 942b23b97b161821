from collections.abc import Callable

import pytest

from gradnoise.techniques.registry import names_within
from gradnoise.workloads.catalogue import document
from gradnoise.workloads.paper.mlp.workload import Mlp
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS, techniques_for

GOOD = """
from gradnoise.workloads import Metric, function

def metric(worst):
    return [Metric(name="x", direction="maximize", worst=worst)]

@function(name="mine", description="Mine.", metrics=metric(0.0))
def train(trial):
    pass

enormous = function(name="enormous", description="", metrics=metric(-1e300))(train)
reversed = function(
    name="reversed",
    description="",
    metrics=[Metric(name="x", direction="minimize", worst=1.0, best=2.0)],
)(train)
unbounded = function(name="unbounded", description="", metrics=metric(float("-inf")))(train)
shapeless = function(name="shapeless", description="", metrics=train.metrics, options=dict)(train)
"""

MISPLACED = """
from gradnoise.workloads import Metric, Workload

class Misplaced(Workload):
    name = "misplaced"
    description = "Mine."
    metrics = (Metric(name="x", direction="maximize", worst=0.0),)
    places = ("optimizer",)
"""
OPTIMIZER = """
import dataclasses
from gradnoise.training.optimizers.sgd import OPTIMIZER

mine = dataclasses.replace(OPTIMIZER, name="mine")
"""


def test_the_workloads_of_this_package_are_installed() -> None:
    assert WORKLOADS.find("mlp") is Mlp
    assert not WORKLOADS.installed().broken


def test_a_package_adds_its_workload_by_an_entry_point(install: Callable[..., None]) -> None:
    install({"mine": "mine:train"}, {"mine": GOOD})
    assert WORKLOADS.find("mine").name == "mine"
    assert WORKLOADS.find("mlp") is Mlp


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
        "ValueError: the workload is named 'mine', which must be the name of its entry point, "
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
    "reversed": (
        "mine:reversed",
        "ValueError: the best value of a metric must be finite and better than its worst",
    ),
    "shapeless": ("mine:shapeless", "TypeError: "),
    "misplaced": (
        "misplaced:Misplaced",
        "ValueError: places must be among gradient, weights, activations, loss, but they are "
        "optimizer",
    ),
}


def test_a_broken_package_is_listed_with_its_error_and_leaves_the_others_usable(
    install: Callable[..., None],
) -> None:
    install(
        {name: value for name, (value, _) in BROKEN.items()},
        {"mine": GOOD, "raising": "1 / 0", "misplaced": MISPLACED},
    )
    assert set(WORKLOADS.installed().declared) == {
        "char-lm",
        "memn2n",
        "mlp",
        "neural-gpu",
        "neural-programmer",
        "nram",
    }
    for name, (value, error) in BROKEN.items():
        assert WORKLOADS.installed().broken[f"{name} = {value}"].startswith(error)
    assert [tuple(each.values())[:4] for each in document()["broken"]] == [
        ("workload", name, value, "pack 1") for name, (value, _) in sorted(BROKEN.items())
    ]
    assert [each["name"] for each in document()["workloads"]] == [
        "char-lm",
        "memn2n",
        "mlp",
        "neural-gpu",
        "neural-programmer",
        "nram",
    ]


def test_a_broken_workload_is_refused_with_its_error(install: Callable[..., None]) -> None:
    install({"raising": "raising:train"}, {"raising": "1 / 0"})
    with pytest.raises(
        ValueError,
        match=(
            r"no workload named 'raising'; installed are char-lm, memn2n, mlp, .*; raising = "
            r"raising:train is broken: Zero"
        ),
    ):
        WORKLOADS.find("raising")


def test_a_declaration_is_announced_with_its_package(install: Callable[..., None]) -> None:
    install({"mine": "mine:train"}, {"mine": GOOD})
    packages = {each["name"]: each["package"] for each in document()["workloads"]}
    assert packages["mine"] == "pack 1"
    assert packages["mlp"].startswith("gradnoise ")


def test_a_package_that_exits_at_import_is_broken(install: Callable[..., None]) -> None:
    install({"exits": "exits:train"}, {"exits": "raise SystemExit(2)"})
    assert WORKLOADS.installed().broken == {"exits = exits:train": "SystemExit: 2"}


def test_the_optimizers_of_this_package_are_installed() -> None:
    assert OPTIMIZERS.names() == (
        "adagrad",
        "adam",
        "adamw",
        "lion",
        "muon",
        "rmsprop",
        "schedule_free_adamw",
        "sgd",
    )
    assert not OPTIMIZERS.installed().broken
    with pytest.raises(
        ValueError, match="no optimizer named 'sdg'; installed are adagrad, adam, adamw, lion"
    ):
        OPTIMIZERS.find("sdg")


def test_a_package_adds_its_optimizer_by_an_entry_point(install: Callable[..., None]) -> None:
    points = {"mine": "mine:mine", "text": "mine:__name__"}
    install(points, {"mine": OPTIMIZER}, group="gradnoise.optimizers")
    assert OPTIMIZERS.find("mine").moments == ("momentum_buffer",)
    assert OPTIMIZERS.installed().broken == {
        "text = mine:__name__": "TypeError: it must be an Optimizer, but it is 'mine'"
    }


def test_a_workload_takes_the_techniques_of_its_places(probes: None) -> None:
    assert techniques_for(Mlp) is None
    assert techniques_for(WORKLOADS.find("counting")) == names_within(["gradient"])
    assert techniques_for(WORKLOADS.find("nram")) == names_within(["gradient", "weights"])
