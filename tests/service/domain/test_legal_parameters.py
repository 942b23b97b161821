"""Each arm's parameters are checked against its own optimizer, options and techniques."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.legal import check
from gradnoise_service.domain.spec import StudySpec

Make = Callable[..., StudySpec]
RANGE = {"low": 0.01, "high": 0.1}
BASELINE = {"name": "baseline", "technique": "none"}
NOISE = {"technique": "annealed", "space": {"eta": 0.3, "gamma": 0.55}}
ADAM = {"name": "adam", "technique": "none", "optimizer": "adam"}


@pytest.fixture
def catalogue(catalogue_document: Mapping[str, Any]) -> Catalogue:
    """The workload has a parameter of its own."""
    document = copy.deepcopy(dict(catalogue_document))
    smoothing = {"name": "label_smoothing", "description": "Share.", "low": 0.0, "high": 0.5}
    kernels = {"name": "kernels", "description": "Sizes.", "choices": [[3, 3], [5, 5]]}
    betas = {"name": "betas", "description": "Any.", "any_json": True}
    document["workloads"][0]["parameters"] = [smoothing, kernels, betas]
    return Catalogue.of(document)


def faults(catalogue: Catalogue, spec: StudySpec) -> list[tuple[str, object]]:
    with pytest.raises(InvalidSpecError) as caught:
        check(catalogue, spec, 100)
    return [(fault.field, fault.value) for fault in caught.value.errors]


@pytest.mark.parametrize(
    ("space", "arms"),
    [
        ({"lr": RANGE}, [BASELINE, ADAM]),
        ({"lr": RANGE, "label_smoothing": {"choices": [0, 0.1]}}, [BASELINE, ADAM]),
        ({"lr": RANGE}, [BASELINE, {**BASELINE, "name": "s", "space": {"label_smoothing": 0.1}}]),
        ({"lr": RANGE}, [BASELINE, {**BASELINE, "name": "deep", "options": {"depth": 40}}]),
        ({"lr": RANGE}, [BASELINE, {**BASELINE, "name": "again"}]),  # A/A
        (
            {"lr": RANGE, "betas": [0.9, 0.98], "kernels": {"choices": [[3, 3], [5, 5]]}},
            [BASELINE, ADAM],
        ),
        (
            {"lr": RANGE, "betas": {"choices": [{"a": 1}, None]}, "kernels": [5, 5]},
            [BASELINE, ADAM],
        ),
        (
            {},
            [
                {**BASELINE, "space": {"lr": RANGE, "momentum": 0.9}},
                {**ADAM, "space": {"lr": {"low": 1e-4, "high": 1e-3}}},
            ],
        ),
        # what every arm has may be shared, though it is a technique's
        (
            {"lr": RANGE, "eta": 0.3, "gamma": 0.55},
            [
                {"name": "a", "technique": "annealed"},
                {"name": "b", "technique": "annealed", "optimizer": "adam"},
            ],
        ),
    ],
)
def test_arms_may_differ_in_everything(
    catalogue: Catalogue, make_spec: Make, space: dict[str, object], arms: list[object]
) -> None:
    assert check(catalogue, make_spec(space=space, arms=arms), 100).name == "accuracy"


@pytest.mark.parametrize(
    ("space", "arms", "found", "texts"),
    [
        (
            {"lr": RANGE},
            [BASELINE, {**ADAM, "optimizer": "adma"}],
            [("arms.1.optimizer", "adma")],
            ["there is no optimizer named 'adma'", "one of adam, sgd"],
        ),
        (
            {"lr": RANGE},
            [BASELINE, {**BASELINE, "name": "norm", "options": {"layer_norm": True}}],
            [("arms.1.options.layer_norm", True)],
            ["there is no option named 'layer_norm'", "one of dataset, depth"],
        ),
        (
            {"lr": RANGE},
            [BASELINE, {**BASELINE, "name": "deep", "options": {"depth": 0}}],
            [("arms.1.options.depth", 0)],
            ["at least 1"],
        ),
        (
            {"lr": RANGE},
            [BASELINE, {**ADAM, "space": {"momentum": 0.9}}],
            [("arms.1.space.momentum", 0.9)],
            [
                "the optimizer 'adam', the technique 'none' and the workload 'mlp' have no "
                "parameter named 'momentum'",
                "one of betas, kernels, label_smoothing",
            ],
        ),
        (
            {"lr": RANGE, "momentum": 0.9},
            [BASELINE, ADAM],
            [("space.momentum", 0.9)],
            ["'adam' has no parameter named 'momentum', so not every arm can share it"],
        ),
        (
            {"lr": [0.1, 0.01]},
            [BASELINE, ADAM],
            [("space.lr", [0.1, 0.01])],
            ["lr cannot be [0.1, 0.01]", "or several, as choices: [0.1, 0.01]"],
        ),
        (
            {"lr": RANGE, "kernels": {"choices": [[3, 3], [3, 5]]}},
            [BASELINE, ADAM],
            [("space.kernels", [3, 5])],
            ["kernels cannot be [3, 5]", "one of [3, 3], [5, 5]"],
        ),
        (
            {},
            [{**BASELINE, "space": {"lr": RANGE}}, ADAM],
            [("arms.1.space.lr", None)],
            ["the optimizer 'adam' needs 'lr'"],
        ),
        (
            {"lr": RANGE},
            [BASELINE, {**BASELINE, "name": "s", "space": {"label_smoothing": 0.6}}],
            [("arms.1.space.label_smoothing", 0.6)],
            ["[0, 0.5]"],
        ),
        # a rule of the optimizer holds across the shared space and the arm's
        (
            {"lr": RANGE, "lr_schedule": "step"},
            [
                {**BASELINE, "space": {"lr_every_epochs": 2, "momentum": 0.9}},
                {**BASELINE, "name": "b", "space": {"momentum": 0.9}},
            ],
            [("arms.1.space.lr_every_epochs", None)],
            ["lr_every_epochs must be given with lr_schedule=step"],
        ),
    ],
)
def test_a_fault_of_an_arm_is_named_there(
    catalogue: Catalogue,
    make_spec: Make,
    space: dict[str, object],
    arms: list[object],
    found: list[tuple[str, object]],
    texts: list[str],
) -> None:
    spec = make_spec(space=space, arms=arms)
    assert faults(catalogue, spec) == found
    with pytest.raises(InvalidSpecError) as caught:
        check(catalogue, spec, 100)
    (fault,) = caught.value.errors
    assert all(text in f"{fault.message}; {fault.legal}" for text in texts), fault


def test_a_rule_across_options_holds_for_each_arm_s_options(
    catalogue: Catalogue, make_spec: Make
) -> None:
    """The shared depth is legal on mnist, not on the digits of one arm."""
    arms = [BASELINE, {**BASELINE, "name": "digits", "options": {"dataset": "digits"}}]
    spec = make_spec(space={"lr": RANGE}, arms=arms, options={"dataset": "mnist", "depth": 60})
    assert faults(catalogue, spec) == [("options.depth", 60)]
