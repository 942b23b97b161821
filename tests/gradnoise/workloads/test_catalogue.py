import dataclasses
import json
import math
import platform
from typing import Any

import pytest
import torch

from gradnoise.parameters import Parameter
from gradnoise.techniques.registry import TECHNIQUES, names_within
from gradnoise.workloads.catalogue import document
from gradnoise.workloads.optimizer import SHARED_PARAMETERS, Optimizer
from gradnoise.workloads.registry import OPTIMIZERS

jsonschema = pytest.importorskip("jsonschema")
Catalogue = pytest.importorskip("gradnoise_service.domain.catalogue").Catalogue


@pytest.fixture(scope="module")
def announced() -> dict[str, Any]:
    return document()


def test_the_document_is_json_without_infinities(announced: dict[str, Any]) -> None:
    assert json.loads(json.dumps(announced, allow_nan=False)) == announced


def test_the_service_reads_the_document_whole(announced: dict[str, Any]) -> None:
    catalogue = Catalogue.of(announced)
    techniques, optimizers = TECHNIQUES.installed().declared, OPTIMIZERS.installed().declared
    assert list(catalogue.workloads) == [
        "char-lm",
        "memn2n",
        "mlp",
        "neural-gpu",
        "neural-programmer",
        "nram",
    ]
    assert list(catalogue.techniques) == list(techniques)
    assert catalogue.techniques["preconditioned"].required == ("eta", "gamma")
    assert [parameter.name for parameter in catalogue.techniques["preconditioned"].parameters] == [
        "eta",
        "gamma",
        "decay",
        "damping",
    ]
    assert list(catalogue.optimizers) == list(optimizers)
    assert catalogue.optimizers["sgd"].required == ("lr",)
    assert catalogue.protocol["versions"]["torch"] == torch.__version__
    assert catalogue.protocol["versions"]["python"] == platform.python_version()
    assert catalogue.protocol["formulas"] == {
        name: technique.formula for name, technique in techniques.items()
    }
    assert {name: (each.formula, each.source) for name, each in catalogue.techniques.items()} == {
        name: (each.formula, each.source) for name, each in techniques.items()
    }


def test_the_service_and_the_trainers_draw_the_same_bounds(announced: dict[str, Any]) -> None:
    catalogue = Catalogue.of(announced)

    def declared(optimizer: Optimizer) -> tuple[Parameter, ...]:
        return (*optimizer.parameters, *SHARED_PARAMETERS)

    pairs = [
        (catalogue.optimizers[name].parameters, declared(optimizer))
        for name, optimizer in OPTIMIZERS.installed().declared.items()
    ]
    pairs += [
        (catalogue.techniques[name].parameters, technique.parameters)
        for name, technique in TECHNIQUES.installed().declared.items()
    ]
    for announced_parameters, parameters in pairs:
        for read, parameter in zip(announced_parameters, parameters, strict=True):
            for value in (-1.0, 0.0, 1e-9, 0.9999, 1, 1.0, 1.5, 1e9, "cosine", "cosines"):
                try:
                    parameter.check(value)
                except ValueError:
                    assert not read.admits(value)
                else:
                    assert read.admits(value)


def test_a_training_function_announces_the_techniques_that_it_can_take(probes: None) -> None:
    techniques = {workload["name"]: workload["techniques"] for workload in document()["workloads"]}
    assert techniques["counting"] == list(names_within(["gradient"]))
    assert techniques["nram"] == list(names_within(["gradient", "weights"]))
    assert techniques["mlp"] is None


def test_rules_are_announced_beside_the_parameters(announced: dict[str, Any]) -> None:
    rules = {each["name"]: each["rules"] for each in announced["optimizers"]}
    nesterov = [{"field": "nesterov", "values": [1]}]
    assert rules["sgd"][:2] == [
        {"kind": "needs", "field": "momentum", "when": nesterov},
        {"kind": "above", "field": "momentum", "when": nesterov, "bound": 0},
    ]
    assert {"kind": "needs", "field": "lr_schedule", "when": [{"field": "lr_factor"}]} in (
        rules["adam"]
    )
    for kind in ("workloads", "techniques", "optimizers"):
        for each in announced[kind]:
            names = {parameter["name"] for parameter in each["parameters"]}
            for rule in each["rules"]:
                assert {rule["field"], *(when["field"] for when in rule["when"])} <= names


def test_a_technique_of_another_package_is_announced_with_formula_and_source() -> None:
    mine = dataclasses.replace(TECHNIQUES.find("none"), name="mine", formula="f", source="s")
    with TECHNIQUES.including(mine):
        announced = {technique["name"]: technique for technique in document()["techniques"]}
    assert (announced["mine"]["formula"], announced["mine"]["source"]) == ("f", "s")
    assert announced["dropout"]["places"] == ["activations"]


def test_every_schema_is_valid_and_admits_its_defaults(announced: dict[str, Any]) -> None:
    for workload in announced["workloads"]:
        schema = workload["options_schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        defaults = {name: option["default"] for name, option in schema["properties"].items()}
        jsonschema.validate(defaults, schema)
        assert all(option["description"] for option in schema["properties"].values())
        assert all(math.isfinite(metric["worst"]) for metric in workload["metrics"])
