"""The installed workloads and optimizers.

They are the entry points of the groups `gradnoise.workloads` and `gradnoise.optimizers`.
"""

import math

from gradnoise.registry import Registry
from gradnoise.techniques.contribution import PLACES
from gradnoise.techniques.registry import names_within
from gradnoise.workloads.base import Metric, Workload
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.optimizer import Optimizer
from gradnoise.workloads.options import schema

WORST = 1e100
"""The largest absolute value of a metric's worst, so that sums over trials stay finite."""

Declared = type[Workload] | FunctionWorkload


def _check_workload(declared: object) -> Declared:
    if not isinstance(declared, FunctionWorkload) and not (
        isinstance(declared, type) and issubclass(declared, Workload)
    ):
        raise TypeError(
            f"it must be a subclass of Workload or a declared function, but it is {declared!r}"
        )
    if not declared.metrics or not all(abs(metric.worst) <= WORST for metric in declared.metrics):
        raise ValueError(
            "metrics must be at least one, each with a worst value from -1e100 to 1e100, but they "
            f"are {declared.metrics}"
        )
    if any(_best_is_no_better(metric) for metric in declared.metrics):
        raise ValueError(
            "the best value of a metric must be finite and better than its worst, but the metrics "
            f"are {declared.metrics}"
        )
    if not set(declared.places) <= set(PLACES):
        raise ValueError(
            f"places must be among {', '.join(PLACES)}, but they are {', '.join(declared.places)}"
        )
    schema(declared.Options)
    return declared


def _best_is_no_better(metric: Metric) -> bool:
    if metric.best is None:
        return False
    gain = metric.best - metric.worst
    return not 0 < (gain if metric.direction == "maximize" else -gain) < math.inf


def _check_optimizer(declared: object) -> Optimizer:
    if not isinstance(declared, Optimizer):
        raise TypeError(f"it must be an Optimizer, but it is {declared!r}")
    return declared


def techniques_for(declared: Declared) -> tuple[str, ...] | None:
    """Return the names of the installed techniques that a workload supports; None: all of them."""
    return None if set(declared.places) == set(PLACES) else names_within(declared.places)


WORKLOADS: Registry[Declared] = Registry("workload", "gradnoise.workloads", _check_workload)
OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", "gradnoise.optimizers", _check_optimizer)
