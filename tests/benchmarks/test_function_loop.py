"""The training function of the benchmark trains as the loop by itself."""

import pytest

from benchmarks import function_loop
from gradnoise.training.function_run import FunctionRun
from gradnoise.training.setup import prepare
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.registry import WORKLOADS

pytestmark = pytest.mark.slow  # they train for seconds


def test_without_noise_the_function_has_the_losses_of_the_loop_by_itself() -> None:
    params = {"lr": function_loop.LR}
    spec = TrialSpec(key="", workload="loop", params=params, seed=0, budget_epochs=2)
    with WORKLOADS.including(function_loop.loop):
        run = FunctionRun(prepare(spec), function_loop.loop)
    found = [run.train_epoch()["validation_loss"] for _ in range(2)]
    run.close()
    bare = function_loop.bare_loop(is_noisy=False)
    assert found == pytest.approx([next(bare), next(bare)], rel=1e-6)
