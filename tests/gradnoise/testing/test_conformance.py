"""The techniques, optimizers and workloads of this package pass the conformance checks."""

from collections.abc import Callable, Iterable, Mapping

import pytest
from _pytest.mark import ParameterSet

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.testing import (
    OPTIMIZER_CHECKS,
    TECHNIQUE_CHECKS,
    WORKLOAD_CHECKS,
    OptimizerCase,
    TechniqueCase,
    WorkloadCase,
)
from gradnoise.training.trial import ParamValue
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS

TECHNIQUE_PARAMS: Mapping[str, dict[str, ParamValue]] = {
    "none": {},
    "annealed": {"eta": 0.1, "gamma": 0.55},
    "constant": {"std": 0.1},
    "anticorrelated": {"std": 0.1},
    "preconditioned": {"eta": 0.001, "gamma": 0.55, "damping": 0.01},
    "weight_noise": {"eta": 0.01, "gamma": 0.55},
    "dropout": {"rate": 0.3},
    "gradient_centralisation": {},
    "adaptive_clipping": {"clip_ratio": 0.1},
    "grokfast": {"amplification": 1.0, "ema_share": 0.7},
    "sam": {"rho": 0.05},
    "label_smoothing": {"smoothing": 0.2},
    "ema": {"ema_decay": 0.8},
}
OPTIMIZER_MEMBERS: Mapping[str, list[dict[str, ParamValue]]] = {
    "sgd": [
        {"lr": 0.05},
        {"lr": 0.03, "momentum": 0.9},
        {"lr": 0.02, "momentum": 0.5, "nesterov": 1, "weight_decay": 0.1},
    ],
    "adam": [{"lr": 0.01}, {"lr": 0.03, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1}],
    "adamw": [{"lr": 0.01}, {"lr": 0.03, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1}],
    "adagrad": [{"lr": 0.05}, {"lr": 0.03, "weight_decay": 0.1}],
    "lion": [{"lr": 0.003}, {"lr": 0.001, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1}],
    "muon": [{"lr": 0.02}, {"lr": 0.01, "momentum": 0.5, "adam_ratio": 0.3, "weight_decay": 0.1}],
    "schedule_free_adamw": [
        {"lr": 0.01},
        {"lr": 0.03, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1},
    ],
    "rmsprop": [{"lr": 0.01}, {"lr": 0.003, "alpha": 0.9, "momentum": 0.9, "weight_decay": 0.2}],
}
WORKLOAD_CASES: Mapping[str, Callable[[], WorkloadCase]] = {
    "exact": lambda: WorkloadCase(workload=WORKLOADS.find("exact"), params={"lr": 0.05}),
    "normed": lambda: WorkloadCase(
        workload=WORKLOADS.find("normed"), params={"lr": 0.001}, neighbour_rtol=1e-10
    ),
    "narrow": lambda: WorkloadCase(
        workload=WORKLOADS.find("narrow"), params={"lr": 0.05}, in_float64=False, rtol=1e-4
    ),
    "splitting": lambda: WorkloadCase(workload=WORKLOADS.find("splitting"), params={"lr": 0.01}),
}


LONG = ("check_neighbours", "check_stack", "check_resume", "check_equal_trials")
"""Checks that train several trials; the default suite has them for one of each kind."""
ONE_OF_EACH_KIND = ("annealed", "dropout", "sam", "muon", "exact", "splitting")


def cases(names: Iterable[str], checks: Iterable[Callable[..., None]]) -> list[ParameterSet]:
    """Every check of every name; long ones of most names are slow, and all compositions."""
    return [
        pytest.param(name, check, id=f"{name}-{check.__name__}", marks=[pytest.mark.slow] * is_slow)
        for name in names
        for check in checks
        for is_slow in [
            check.__name__ == "check_composition"
            or (check.__name__ in LONG and name not in ONE_OF_EACH_KIND)
        ]
    ]


@pytest.mark.parametrize(("name", "check"), cases(TECHNIQUE_PARAMS, TECHNIQUE_CHECKS))
def test_a_technique_conforms(name: str, check: Callable[[TechniqueCase], None]) -> None:
    check(TechniqueCase(technique=TECHNIQUES.find(name), params=TECHNIQUE_PARAMS[name]))


@pytest.mark.parametrize(("name", "check"), cases(OPTIMIZER_MEMBERS, OPTIMIZER_CHECKS))
def test_an_optimizer_conforms(name: str, check: Callable[[OptimizerCase], None]) -> None:
    check(OptimizerCase(optimizer=OPTIMIZERS.find(name), members=OPTIMIZER_MEMBERS[name]))


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize(("name", "check"), cases(WORKLOAD_CASES, WORKLOAD_CHECKS))
def test_a_workload_conforms(name: str, check: Callable[[WorkloadCase], None]) -> None:
    check(WORKLOAD_CASES[name]())


def test_every_technique_and_optimizer_is_checked() -> None:
    assert set(TECHNIQUE_PARAMS) == set(TECHNIQUES.names())
    assert set(OPTIMIZER_MEMBERS) == set(OPTIMIZERS.names())
