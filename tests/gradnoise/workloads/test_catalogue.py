import json
import math
import platform
from typing import Any

import pytest
import torch

from gradnoise.techniques import ON_GRADIENTS, TECHNIQUES
from gradnoise.training.optimizers import OPTIMIZERS
from gradnoise.workloads.catalogue import document

jsonschema = pytest.importorskip("jsonschema")
Catalogue = pytest.importorskip("gradnoise_service.domain.catalogue").Catalogue


@pytest.fixture(scope="module")
def announced() -> dict[str, Any]:
    return document()


def test_the_document_is_json_without_infinities(announced: dict[str, Any]) -> None:
    assert json.loads(json.dumps(announced, allow_nan=False)) == announced


def test_the_service_reads_the_document_whole(announced: dict[str, Any]) -> None:
    catalogue = Catalogue.of(announced)
    assert list(catalogue.workloads) == ["memn2n", "mlp", "neural-gpu", "neural-programmer", "nram"]
    assert list(catalogue.techniques) == list(TECHNIQUES)
    assert catalogue.techniques["preconditioned"].required == ("eta", "gamma")
    assert [parameter.name for parameter in catalogue.techniques["preconditioned"].parameters] == [
        "eta",
        "gamma",
        "decay",
        "damping",
    ]
    assert list(catalogue.optimizers) == list(OPTIMIZERS)
    assert catalogue.optimizers["sgd"].required == ("lr",)
    assert catalogue.protocol["versions"]["torch"] == torch.__version__
    assert catalogue.protocol["versions"]["python"] == platform.python_version()
    assert catalogue.protocol["formulas"] == {
        name: technique.formula for name, technique in TECHNIQUES.items()
    }
    assert {name: (one.formula, one.source) for name, one in catalogue.techniques.items()} == {
        name: (one.formula, one.source) for name, one in TECHNIQUES.items()
    }


def test_the_service_and_the_trainers_draw_the_same_bounds(announced: dict[str, Any]) -> None:
    catalogue = Catalogue.of(announced)
    pairs = [(catalogue.optimizers[name], one) for name, one in OPTIMIZERS.items()]
    pairs += [(catalogue.techniques[name], one) for name, one in TECHNIQUES.items()]
    for entry, one in pairs:
        for read, declared in zip(entry.parameters, one.parameters, strict=True):
            for value in (-1.0, 0.0, 1e-9, 0.9999, 1, 1.0, 1.5, 1e9, "cosine", "cosines"):
                try:
                    declared.check(value)
                except ValueError:
                    assert not read.admits(value)
                else:
                    assert read.admits(value)


def test_a_training_function_announces_the_techniques_that_it_can_take(probes: None) -> None:
    techniques = {workload["name"]: workload["techniques"] for workload in document()["workloads"]}
    assert techniques["counting"] == list(ON_GRADIENTS)
    assert techniques["mlp"] is None


def test_every_schema_is_one_and_admits_its_defaults(announced: dict[str, Any]) -> None:
    for workload in announced["workloads"]:
        schema = workload["options_schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        defaults = {name: option["default"] for name, option in schema["properties"].items()}
        jsonschema.validate(defaults, schema)
        assert all(option["description"] for option in schema["properties"].values())
        assert all(math.isfinite(metric["worst"]) for metric in workload["metrics"])
