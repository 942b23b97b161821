import pytest
import torch

import gradnoise
from gradnoise.parameters import Parameter
from gradnoise.testing import OPTIMIZER_CHECKS, OptimizerCase
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.workloads.optimizer import NamedParameters
from gradnoise.workloads.registry import OPTIMIZERS
from trial_runs import curve, run, spec


@gradnoise.optimizer(
    source="here",
    parameters=[Parameter(name="decay", description="Decay of the mean.", low=0, high=0.999)],
)
def fast_adam(weights: NamedParameters, lr: float, decay: float = 0.9) -> torch.optim.Optimizer:
    """Adam with a short memory."""
    return torch.optim.Adam(weights, lr, betas=(decay, decay**0.5))


def test_a_decorated_function_is_an_optimizer() -> None:
    assert (fast_adam.name, fast_adam.description) == ("fast_adam", "Adam with a short memory.")
    assert (fast_adam.required, fast_adam.defaults) == (("lr",), {"decay": 0.9})
    for check in OPTIMIZER_CHECKS:
        check(OptimizerCase(optimizer=fast_adam, members=[{"lr": 0.01}, {"lr": 0.1, "decay": 0.5}]))


@pytest.mark.usefixtures("probes")
def test_its_trials_train_one_at_a_time_and_have_the_results_of_torch() -> None:
    trial = spec(optimizer="fast_adam", params={"lr": 0.01, "decay": 0.8})
    same = spec(optimizer="adam", params={"lr": 0.01, "beta1": 0.8, "beta2": 0.8**0.5})
    with OPTIMIZERS.including(fast_adam):
        found = curve(run(StackTrainer(2), trial))
    assert found == curve(run(SingleTrainer(1), same))


def test_a_function_without_a_learning_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="parameters must include 'lr'"):
        gradnoise.optimizer(lambda weights: torch.optim.SGD(weights))
