"""Conformance checks for workloads, techniques and optimizers of other packages.

A check is a function of a case. It returns nothing, or raises AssertionError with what is wrong.
With pytest:

    import pytest
    from gradnoise.testing import TECHNIQUE_CHECKS, TechniqueCase

    CASE = TechniqueCase(technique=TECHNIQUE, params={"std": 0.1})

    @pytest.mark.parametrize("check", TECHNIQUE_CHECKS, ids=lambda check: check.__name__)
    def test_my_technique_conforms(check):
        check(CASE)

The declarations need not be installed.
"""

from gradnoise.testing.optimizers import OPTIMIZER_CHECKS, OptimizerCase
from gradnoise.testing.techniques import TECHNIQUE_CHECKS, TechniqueCase
from gradnoise.testing.workloads import WORKLOAD_CHECKS, WorkloadCase

__all__ = [
    "OPTIMIZER_CHECKS",
    "TECHNIQUE_CHECKS",
    "WORKLOAD_CHECKS",
    "OptimizerCase",
    "TechniqueCase",
    "WorkloadCase",
]
