"""The catalogue: what can be trained here, as the JSON values that workers announce."""

import dataclasses
import platform
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from gradnoise.parameters import Parameter
from gradnoise.registry import Registry
from gradnoise.rules import Rule
from gradnoise.techniques.base import Technique
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.optimizer import SHARED_PARAMETERS, SHARED_RULES, Optimizer
from gradnoise.workloads.options import schema
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS, Declared, techniques_for

UPDATE_ORDER = (
    "add the weight noise, take the gradient of the loss with its dropout, take it again at "
    "perturbed weights, restore the weights, transform the gradient in the order of the "
    "techniques, clip each coordinate to [-clip_value, clip_value], then to the global L2 norm "
    "clip_norm, add the gradient noise, apply weight decay, momentum and learning rate, average "
    "the weights"
)
UNIT_OF_T = "optimizer updates, counted from 0"


def document() -> dict[str, Any]:
    """Return what is installed as JSON values.

    They are versions, the protocol of training, workloads, techniques and optimizers. `broken`
    lists the entry points that cannot be used, each with its error; the others are announced
    nevertheless.
    """
    techniques = TECHNIQUES.installed().declared.values()
    return {
        "versions": {
            "gradnoise": version("gradnoise"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "protocol": {
            "formulas": {technique.name: technique.formula for technique in techniques},
            "update_order": UPDATE_ORDER,
            "unit_of_t": UNIT_OF_T,
        },
        **entries(
            WORKLOADS.installed().declared.values(),
            techniques,
            OPTIMIZERS.installed().declared.values(),
        ),
        "broken": [
            _broken(registry, point)
            for registry in (WORKLOADS, TECHNIQUES, OPTIMIZERS)
            for point in registry.installed().broken
        ],
    }


def _broken(registry: Registry[Any], point: str) -> dict[str, str]:
    installed = registry.installed()
    name, _, value = point.partition(" = ")
    return {
        "kind": registry.kind,
        "name": name,
        "value": value,
        "package": installed.packages[point],
        "error": installed.broken[point],
    }


def entries(
    workloads: Iterable[Declared], techniques: Iterable[Technique], optimizers: Iterable[Optimizer]
) -> dict[str, Any]:
    """Return declarations as JSON values, in the lists of the catalogue.

    Each has the package that declares it, which is empty for one without an entry point.
    """
    return {
        "workloads": [_workload(each) for each in workloads],
        "techniques": [_technique(each) for each in techniques],
        "optimizers": [_optimizer(each) for each in optimizers],
    }


def _workload(workload: Declared) -> dict[str, Any]:
    techniques = techniques_for(workload)
    has_test = not isinstance(workload, FunctionWorkload) or workload.has_test
    return {
        "name": workload.name,
        "description": workload.description,
        "package": WORKLOADS.installed().packages.get(workload.name, ""),
        "options_schema": schema(workload.Options),
        "metrics": [
            {**dataclasses.asdict(metric), "has_test": has_test} for metric in workload.metrics
        ],
        "parameters": _documents(workload.parameters),
        "rules": _documents(workload.rules),
        "stacks": workload.stacks,
        "techniques": None if techniques is None else list(techniques),
    }


def _technique(technique: Technique) -> dict[str, Any]:
    return {
        "name": technique.name,
        "description": technique.description,
        "package": TECHNIQUES.installed().packages.get(technique.name, ""),
        "formula": technique.formula,
        "source": technique.source,
        "places": list(technique.places),
        "parameters": _documents(technique.parameters),
        "rules": _documents(technique.rules),
        "required": list(technique.required),
    }


def _optimizer(optimizer: Optimizer) -> dict[str, Any]:
    return {
        "name": optimizer.name,
        "description": optimizer.description,
        "package": OPTIMIZERS.installed().packages.get(optimizer.name, ""),
        "formula": optimizer.formula,
        "source": optimizer.source,
        "parameters": _documents((*optimizer.parameters, *SHARED_PARAMETERS)),
        "rules": _documents((*optimizer.rules, *SHARED_RULES)),
        "required": list(optimizer.required),
    }


def _documents(declared: Iterable[Parameter | Rule]) -> list[dict[str, object]]:
    return [each.document() for each in declared]
