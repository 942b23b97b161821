"""The declarations of this package pass the conformance checks of gradnoise."""

import pytest
from example_package import exponential, line, normalised, signum, spirals

from gradnoise.testing import (
    OPTIMIZER_CHECKS,
    TECHNIQUE_CHECKS,
    WORKLOAD_CHECKS,
    OptimizerCase,
    TechniqueCase,
    WorkloadCase,
)

SPIRALS = WorkloadCase(workload=spirals.Spirals, params={"lr": 0.1})
LINE = WorkloadCase(workload=line.train, params={"lr": 0.1})
EXPONENTIAL = TechniqueCase(technique=exponential.TECHNIQUE, params={"std": 0.1})
NORMALISED = TechniqueCase(technique=normalised.normalised, params={"length": 0.5})
SIGNUM = OptimizerCase(
    optimizer=signum.OPTIMIZER, members=[{"lr": 0.001}, {"lr": 0.003, "decay": 0.5}]
)


@pytest.mark.parametrize("check", WORKLOAD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", [SPIRALS, LINE], ids=["spirals", "line"])
def test_workloads_conform(case, check):
    check(case)


@pytest.mark.parametrize("check", TECHNIQUE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", [EXPONENTIAL, NORMALISED], ids=["exponential", "normalised"])
def test_techniques_conform(case, check):
    check(case)


@pytest.mark.parametrize("check", OPTIMIZER_CHECKS, ids=lambda check: check.__name__)
def test_the_optimizer_conforms(check):
    check(SIGNUM)
