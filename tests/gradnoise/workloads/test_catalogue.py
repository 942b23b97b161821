import json
import math
import platform
from typing import Any

import jsonschema
import pytest
import torch

from gradnoise.training.optimizers import OPTIMIZERS
from gradnoise.workloads.catalogue import PROTOCOL, document
from service.domain.catalogue import Catalogue


@pytest.fixture(scope="module")
def announced() -> dict[str, Any]:
    return document()


def test_the_document_is_json_without_infinities(announced: dict[str, Any]) -> None:
    assert json.loads(json.dumps(announced, allow_nan=False)) == announced


def test_the_service_reads_the_document_whole(announced: dict[str, Any]) -> None:
    catalogue = Catalogue.of(announced)
    assert list(catalogue.workloads) == ["mlp"]
    assert list(catalogue.techniques) == ["none", "annealed", "constant"]
    assert list(catalogue.optimizers) == ["sgd", "adam"]
    assert catalogue.optimizers["sgd"].required == ("lr",)
    assert catalogue.protocol["versions"]["torch"] == torch.__version__
    assert catalogue.protocol["versions"]["python"] == platform.python_version()
    assert catalogue.protocol["formula"] == PROTOCOL["formula"]


def test_the_service_and_the_trainers_draw_the_same_bounds(announced: dict[str, Any]) -> None:
    catalogue = Catalogue.of(announced)
    for name, optimizer in OPTIMIZERS.items():
        for read, declared in zip(catalogue.optimizers[name].parameters, optimizer.parameters, strict=True):
            for value in (-1.0, 0.0, 1e-9, 0.9999, 1.0, 1e9):
                try:
                    declared.check(value)
                except ValueError:
                    assert not read.admits(value)
                else:
                    assert read.admits(value)


def test_every_schema_is_one_and_admits_its_defaults(announced: dict[str, Any]) -> None:
    for workload in announced["workloads"]:
        schema = workload["options_schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        defaults = {name: option["default"] for name, option in schema["properties"].items()}
        jsonschema.validate(defaults, schema)
        assert all(option["description"] for option in schema["properties"].values())
        assert all(math.isfinite(metric["worst"]) for metric in workload["metrics"])
