from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from gradnoise import anticorrelated, constant
from gradnoise._processes import NoiseProcess
from gradnoise._streams import normal
from gradnoise.workloads.base import Metric
from gradnoise.workloads.function import Trial, function

ERROR = Metric(name="error", direction="minimize", worst=9.0)


def trial(
    reports: list[Mapping[str, float]] | None = None,
    *,
    process: NoiseProcess | None = None,
    with_test: bool = False,
    budget_epochs: int = 3,
    params: Mapping[str, Any] | None = None,
) -> Trial:
    kept = [] if reports is None else reports
    return Trial(
        params=params or {"lr": 0.1},
        options=None,
        optimizer="sgd",
        seed=1,
        budget_epochs=budget_epochs,
        with_test=with_test,
        metrics=[ERROR],
        process=process,
        hand_over=lambda _epoch, values: kept.append(values),
    )


def optimizer() -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.zeros(4)
    return weight, torch.optim.SGD([("w", weight)], lr=1.0)


def test_a_declared_function_stays_a_function() -> None:
    seen: list[Trial] = []

    @function(name="f", description="Sees.", metrics=[ERROR])
    def train(trial: Trial) -> None:
        seen.append(trial)

    opened = trial()
    train(opened)
    assert seen == [opened]
    assert (train.name, train.metrics, train.stacks) == ("f", (ERROR,), False)
    assert train.places == ("gradient",)


def test_name_description_and_metrics_may_be_given_in_short() -> None:
    @function(metrics={"accuracy": "maximize", "loss": "minimize"})
    def digits(trial: Trial) -> None:
        """Classify digits. Slowly."""

    assert (digits.name, digits.description) == ("digits", "Classify digits.")
    assert digits.metrics == (
        Metric(name="accuracy", direction="maximize", worst=-1e6),
        Metric(name="loss", direction="minimize", worst=1e6),
    )


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="maximize or minimize, but got accuracy='up'"):
        function(metrics={"accuracy": "up"})  # type: ignore[dict-item]


def test_a_function_without_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match="metrics must name at least one metric"):
        function(name="f", description="Blind.", metrics=[])


def test_noise_applies_the_arms_technique_with_the_trials_seed() -> None:
    weight, sgd = optimizer()
    trial(process=constant(std=0.5)).noise(sgd)
    sgd.step()
    assert torch.equal(weight.detach(), -0.5 * normal(1, "noise", 0, "w", (4,)))


def test_noise_may_be_of_several_draws() -> None:
    """The noise of two anticorrelated updates is the second's alone, up to the rounding of two sums
    in float32.
    """
    weight, sgd = optimizer()
    trial(process=anticorrelated(std=0.5)).noise(sgd)
    sgd.step()
    weight.grad = torch.zeros(4)
    sgd.step()
    torch.testing.assert_close(
        weight.detach(), -0.5 * normal(1, "noise", 1, "w", (4,)), rtol=0, atol=1e-6
    )


def test_an_arm_without_noise_leaves_the_optimizer_unchanged() -> None:
    weight, sgd = optimizer()
    trial().noise(sgd)
    sgd.step()
    assert not weight.detach().any()


def test_noise_is_applied_to_one_optimizer() -> None:
    opened = trial(process=constant(std=0.5))
    opened.noise(optimizer()[1])
    with pytest.raises(RuntimeError, match="called twice"):
        opened.noise(optimizer()[1])


def test_noise_that_reached_no_update_is_an_error() -> None:
    """For example because the optimizer that steps is a copy of the one with the noise."""
    opened = trial(process=constant(std=0.5))
    _, sgd = optimizer()
    opened.noise(sgd)
    with pytest.raises(RuntimeError, match="noise reached no update"):
        opened.report(epoch=1, validation_error=1.0)
    sgd.step()
    opened.report(epoch=1, validation_error=1.0)


def test_the_learning_rate_schedule_is_counted_in_reported_epochs() -> None:
    halving = trial(params={"lr": 0.1, "lr_schedule": "halving", "lr_every_epochs": 2})
    assert [halving.lr_factor(epoch) for epoch in (1, 2, 3, 4, 5)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert trial().lr_factor(3) == 1.0


def test_values_may_be_tensors_and_numpy_scalars() -> None:
    reports: list[Mapping[str, float]] = []
    loss = torch.ones((), requires_grad=True) * 2
    trial(reports).report(epoch=1, validation_error=np.float32(0.5), train_loss=loss, steps=3)  # type: ignore[arg-type]
    assert reports == [{"validation_error": 0.5, "train_loss": 2.0, "steps": 3.0}]


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (
            {"epoch": 2, "validation_error": 1.0},
            ValueError,
            "epoch must be 1, of 3 in all, but got epoch=2",
        ),
        ({"epoch": 1, "error": 1.0}, ValueError, "it lacks test_error, validation_error"),
        ({"epoch": 1, "validation_error": 1.0}, ValueError, "it lacks test_error"),
        (
            {"epoch": 1, "validation_error": "low", "test_error": 1.0},
            TypeError,
            "validation_error must be a number, but got 'low'",
        ),
        (
            {"epoch": 1, "validation_error": None, "test_error": 1.0},
            TypeError,
            "validation_error must be a number, but got None",
        ),
        (
            {"epoch": 1, "validation_error": torch.ones(2), "test_error": 1.0},
            TypeError,
            "validation_error must be a number",
        ),
    ],
)
def test_a_wrong_report_is_refused_with_the_reason(
    values: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        trial(with_test=True).report(**values)
