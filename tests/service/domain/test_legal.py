"""A study that no worker can run is rejected, field by field, with the legal values."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.legal import check
from gradnoise_service.domain.spec import StudySpec

Make = Callable[..., StudySpec]
ANNEALED = {"name": "noisy", "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.55}}
BASELINE = {"name": "baseline", "technique": "none"}
LR = {"lr": 0.1}
MOMENTUM = {"low": 0, "high": 0.9}


@pytest.fixture
def catalogue(catalogue_document: Mapping[str, object]) -> Catalogue:
    return Catalogue.of(catalogue_document)


def test_a_legal_spec_has_its_objective(catalogue: Catalogue, make_spec: Make) -> None:
    assert check(catalogue, make_spec(), 100).name == "accuracy"
    assert check(catalogue, make_spec(objective="loss"), 100).direction == "minimize"


def test_a_gpu_is_rejected_where_no_node_can_have_one(
    catalogue_document: Mapping[str, object], make_spec: Make
) -> None:
    """Where nodes may join, the study waits for one."""
    alone = Catalogue.of({**catalogue_document, "may_have_gpus": False})
    with pytest.raises(InvalidSpecError) as caught:
        check(alone, make_spec(devices="gpu"), 100)
    (fault,) = caught.value.errors
    assert (fault.field, fault.value) == ("devices", "gpu")
    assert fault.legal.startswith("auto, cpu or all")
    for choice in ("auto", "cpu", "all"):
        assert check(alone, make_spec(devices=choice), 100)
    assert check(Catalogue.of(catalogue_document), make_spec(devices="gpu"), 100)


@pytest.mark.parametrize("schedule", ["step", {"choices": ["constant", "step"]}])
@pytest.mark.parametrize(
    "every", [2, 2.0, {"choices": [1, 2]}, {"low": 1, "high": 9, "integer": True}]
)
def test_text_and_integer_parameters_may_be_fixed_or_searched(
    catalogue: Catalogue, make_spec: Make, schedule: object, every: object
) -> None:
    assert (
        check(
            catalogue,
            make_spec(space={**LR, "lr_schedule": schedule, "lr_every_epochs": every}),
            100,
        ).name
        == "accuracy"
    )


@pytest.mark.parametrize(
    ("changes", "field", "value", "legal"),
    [
        ({"workload": "mpl"}, "workload", "mpl", "one of mlp"),
        ({"objective": "acc"}, "objective", "acc", "one of accuracy, loss"),
        ({"optimizer": "sdg"}, "optimizer", "sdg", "one of adam, sgd"),
        (
            {"arms": [BASELINE, {**ANNEALED, "technique": "anealed"}]},
            "arms.1.technique",
            "anealed",
            "one of annealed, none",
        ),
        ({"options": {"dataset": "cifar"}}, "options.dataset", "cifar", "one of digits, mnist"),
        ({"options": {"depth": 0}}, "options.depth", 0, "at least 1"),
        ({"options": {"depth": 101}}, "options.depth", 101, "at most 100"),
        ({"options": {"depth": "deep"}}, "options.depth", "deep", "a whole number"),
        ({"options": {"depth": 51}}, "options.depth", 51, "at most 50"),
        ({"options": {"dept": 3}}, "options.dept", 3, "one of dataset, depth"),
        (
            {"space": {"lr": {"low": 0.1, "high": 0.3}, "momentun": 0.9}},
            "space.momentun",
            0.9,
            "one of lr, lr_every_epochs, lr_schedule, momentum",
        ),
        ({"space": {"momentum": 0.9}}, "space.lr", None, "a number in (0, inf)"),
        ({"space": {"lr": {"low": -0.1, "high": 0.3}}}, "space.lr", -0.1, "a number in (0, inf)"),
        ({"space": {"lr": {"choices": [0.1, "fast"]}}}, "space.lr", "fast", "a number in (0, inf)"),
        (
            {"space": {**LR, "lr_schedule": "steps"}},
            "space.lr_schedule",
            "steps",
            "one of constant, step",
        ),
        ({"space": {**LR, "lr_schedule": 1}}, "space.lr_schedule", 1, "one of constant, step"),
        (
            {"space": {**LR, "lr_schedule": {"choices": ["step", "halve"]}}},
            "space.lr_schedule",
            "halve",
            "one of constant, step",
        ),
        (
            {"space": {**LR, "lr_schedule": {"low": 0, "high": 1}}},
            "space.lr_schedule",
            {"low": 0, "high": 1},
            "one of constant, step",
        ),
        (
            {"space": {**LR, "lr_schedule": "step"}},
            "space.lr_every_epochs",
            None,
            "a whole number in [1, inf)",
        ),
        (
            {"space": {**LR, "lr_schedule": {"choices": ["constant", "step"]}}},
            "space.lr_every_epochs",
            None,
            "a whole number in [1, inf)",
        ),
        (
            {"space": {**LR, "lr_schedule": "step", "lr_every_epochs": 2, "momentum": MOMENTUM}},
            "space.momentum",
            0,
            "above 0",
        ),
        (
            {"space": {**LR, "lr_every_epochs": 1.5}},
            "space.lr_every_epochs",
            1.5,
            "a whole number in [1, inf)",
        ),
        (
            {"space": {**LR, "lr_every_epochs": 0}},
            "space.lr_every_epochs",
            0,
            "a whole number in [1, inf)",
        ),
        (
            {"space": {**LR, "lr_every_epochs": {"low": 1, "high": 9}}},
            "space.lr_every_epochs",
            {"low": 1, "high": 9},
            "integer: true",
        ),
        (
            {"arms": [BASELINE, {**ANNEALED, "space": {"eta": 0.3}}]},
            "arms.1.space.gamma",
            None,
            "a number in [0, inf)",
        ),
        (
            {
                "arms": [
                    BASELINE,
                    {"name": "noisy", "techniques": ["annealed", "x"], "space": ANNEALED["space"]},
                ]
            },
            "arms.1.techniques.1",
            "x",
            "one of annealed, none",
        ),
        (
            {"arms": [{**BASELINE, "space": {"eta": 0.3}}, ANNEALED]},
            "arms.0.space.eta",
            0.3,
            "one of lr_every_epochs, lr_schedule, momentum",
        ),
        ({"search": {"n_trials": 46, "epochs": 3}}, "search.n_trials", 46, "at most 100"),
        (
            {"search": {"n_trials": 4, "epochs": 3, "sampler": "grid"}},
            "space.lr",
            None,
            "choices, or a range with a step",
        ),
    ],
)
def test_each_fault_names_field_value_and_legal_values(
    catalogue: Catalogue,
    make_spec: Make,
    changes: dict[str, object],
    field: str,
    value: object,
    legal: str,
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        check(catalogue, make_spec(**changes), 100)
    error = caught.value.errors[0]
    assert error.field == field
    assert legal in error.legal
    assert value is None or error.value == value


def test_a_workload_may_exclude_a_technique(
    catalogue_document: Mapping[str, Any], make_spec: Make
) -> None:
    [mlp] = catalogue_document["workloads"]
    catalogue = Catalogue.of({**catalogue_document, "workloads": [{**mlp, "techniques": ["none"]}]})
    with pytest.raises(InvalidSpecError) as caught:
        check(catalogue, make_spec(), 100)
    assert [(error.field, error.value, error.legal) for error in caught.value.errors] == [
        ("arms.1.technique", "annealed", "one of none")
    ]


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_grid_larger_than_its_budget_is_rejected(
    catalogue: Catalogue, make_spec: Make, repeats: int
) -> None:
    """Each of several searches has to try every point."""
    spec = make_spec(
        space={"lr": {"choices": [0.1, 0.2]}},
        arms=[
            BASELINE,
            {**ANNEALED, "space": {"eta": {"choices": [0.1, 0.3, 1.0]}, "gamma": 0.55}},
        ],
        search={"n_trials": 4, "epochs": 3, "sampler": "grid", "repeats": repeats},
    )
    with pytest.raises(InvalidSpecError, match="6 points"):
        check(catalogue, spec, 100)


def test_the_trials_of_all_searches_count(catalogue: Catalogue, make_spec: Make) -> None:
    """2 arms x (3 searches x (4 trials + 3 finalists x 3 seeds) + 6 seeds) = 90."""
    spec = make_spec(search={"n_trials": 4, "epochs": 3, "repeats": 3}, confirm={"n_seeds": 6})
    check(catalogue, spec, 90)
    with pytest.raises(InvalidSpecError) as caught:
        check(catalogue, spec, 89)
    assert [(error.field, error.legal) for error in caught.value.errors] == [
        ("search.n_trials", "arms x (3 repeats x (n_trials + reruns) + n_seeds) at most 89")
    ]


def test_all_faults_are_reported_together(catalogue: Catalogue, make_spec: Make) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        check(catalogue, make_spec(objective="acc", optimizer="sdg", options={"depth": 0}), 100)
    assert [error.field for error in caught.value.errors] == [
        "optimizer",
        "objective",
        "options.depth",
    ]


def test_techniques_of_an_arm_must_not_share_a_parameter(
    catalogue_document: Mapping[str, Any], make_spec: Make
) -> None:
    annealed = catalogue_document["techniques"][1]
    other = {**annealed, "name": "preconditioned"}
    document = {**catalogue_document, "techniques": [annealed, other]}
    arms = [
        {**ANNEALED, "name": "baseline"},
        {"name": "both", "techniques": ["annealed", "preconditioned"], "space": ANNEALED["space"]},
    ]
    with pytest.raises(InvalidSpecError, match="both have eta, gamma") as caught:
        check(Catalogue.of(document), make_spec(arms=arms), 100)
    assert [error.field for error in caught.value.errors] == ["arms.1.techniques.1"]


def test_a_smallest_difference_as_large_as_the_metric_s_range_is_refused(
    catalogue_document: Mapping[str, object], make_spec: Make
) -> None:
    """A metric without a best value is unbounded, so any difference is legal."""
    document = copy.deepcopy(dict(catalogue_document))
    document["workloads"][0]["metrics"][0]["best"] = 1.0
    bounded = Catalogue.of(document)
    assert check(bounded, make_spec(smallest_difference=0.99), 100).range == 1.0
    assert check(bounded, make_spec(smallest_difference=5.0, objective="loss"), 100).range is None
    with pytest.raises(InvalidSpecError) as caught:
        check(bounded, make_spec(smallest_difference=1.0), 100)
    (fault,) = caught.value.errors
    assert (fault.field, fault.value) == ("smallest_difference", 1.0)
    assert fault.message == ("accuracy lies between 0 and 1, so no difference can exceed 1")
    assert fault.legal == "a number above 0 and below 1"


BROKEN = {"kind": "workload", "name": "mine", "value": "mine:train", "package": "pack 1"}


def test_a_package_that_cannot_be_used_is_named_with_its_error(
    catalogue_document: Mapping[str, object], make_spec: Make
) -> None:
    error = "ModuleNotFoundError: No module named 'no_such_module'"
    catalogue = Catalogue.of({**catalogue_document, "broken": [BROKEN | {"error": error}]})
    with pytest.raises(InvalidSpecError) as raised:
        check(catalogue, make_spec(workload="mine"), 100)
    (fault,) = raised.value.errors
    assert fault.message == (
        f"there is no workload named 'mine': its package pack 1 cannot be used: {error}"
    )
    with pytest.raises(InvalidSpecError) as raised:
        check(catalogue, make_spec(optimizer="mine"), 100)
    assert raised.value.errors[0].message == "there is no optimizer named 'mine'"
