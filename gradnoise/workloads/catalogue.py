"""The catalogue: all that can be trained here, as the JSON values that workers announce to the
service.
"""

import dataclasses
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from gradnoise.parameters import Parameter
from gradnoise.techniques import TECHNIQUES, Technique
from gradnoise.training.optimizers import OPTIMIZERS, Optimizer
from gradnoise.workloads.options import schema
from gradnoise.workloads.registry import Declared, installed

PROTOCOL = {
    "formulas": {one.name: one.formula for one in TECHNIQUES.values()},
    "clip_order": "clip each coordinate to [-clip_value, clip_value], then to the global L2 norm clip_norm, then add the noise, "
    "then weight decay, momentum and learning rate",
    "unit_of_t": "optimizer updates, counted from 0",
}


def document() -> dict[str, Any]:
    """Return what is installed: versions, the protocol of training, workloads, techniques,
    optimizers.

    `broken` lists the entry points that could not be imported, each with its error; they do not
    keep the others from being announced.
    """
    found = installed()
    return {
        "versions": {
            "gradnoise": version("gradnoise"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "protocol": dict(PROTOCOL),
        "workloads": [_workload(workload) for _, workload in sorted(found.workloads.items())],
        "techniques": [
            _named(one) | {"formula": one.formula, "source": one.source}
            for one in TECHNIQUES.values()
        ],
        "optimizers": [_named(one) for one in OPTIMIZERS.values()],
        "broken": [{"name": name, "error": error} for name, error in found.broken.items()],
    }


def _workload(workload: Declared) -> dict[str, Any]:
    return {
        "name": workload.name,
        "description": workload.description,
        "options_schema": schema(workload.Options),
        "metrics": [dataclasses.asdict(metric) for metric in workload.metrics],
        "parameters": _parameters(workload.parameters),
        "stacks": workload.stacks,
        "techniques": None if workload.techniques is None else list(workload.techniques),
    }


def _named(one: Technique[Any] | Optimizer) -> dict[str, Any]:
    return {
        "name": one.name,
        "description": one.description,
        "parameters": _parameters(one.parameters),
        "required": list(one.required),
    }


def _parameters(parameters: Sequence[Parameter]) -> list[dict[str, object]]:
    return [parameter.document() for parameter in parameters]
