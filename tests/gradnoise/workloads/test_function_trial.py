import json
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from gradnoise import anticorrelated, constant
from gradnoise._streams import normal
from gradnoise.training.optimizers import adamw
from gradnoise.workloads.function_trial import Trial
from open_trial import RecordingHost, open_trial


def weight_of_sgd(**settings: Any) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    """Return a weight of zeros with a gradient of zeros, and its SGD with a rate of 1."""
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.zeros(4)
    return weight, torch.optim.SGD([("w", weight)], lr=1.0, **settings)


def test_an_attached_optimizer_has_the_arms_noise_with_the_trials_seed() -> None:
    weight, sgd = weight_of_sgd()
    open_trial(process=constant(std=0.5)).attach(sgd)
    sgd.step()
    assert torch.equal(weight.detach(), -0.5 * normal(1, "noise", 0, "w", (4,)))


def test_noise_may_be_of_several_draws() -> None:
    """The noise of two anticorrelated updates is the second's alone, up to the rounding of two sums
    in float32.
    """
    weight, sgd = weight_of_sgd()
    open_trial(process=anticorrelated(std=0.5)).attach(sgd)
    sgd.step()
    weight.grad = torch.zeros(4)
    sgd.step()
    torch.testing.assert_close(
        weight.detach(), -0.5 * normal(1, "noise", 1, "w", (4,)), rtol=0, atol=1e-6
    )


def test_an_arm_without_noise_leaves_the_optimizer_unchanged() -> None:
    weight, sgd = weight_of_sgd()
    open_trial().attach(sgd)
    sgd.step()
    assert not weight.detach().any()


def test_the_optimizer_is_the_studys_with_the_arms_noise() -> None:
    """Its hyperparameters are those of the trial, with the declared defaults for the others."""
    params = {"lr": 0.2, "beta1": 0.8, "weight_decay": 0.0, "std": 0.5}
    trial = open_trial(optimizer=adamw.OPTIMIZER, params=params, process=constant(std=0.5))
    model = torch.nn.Linear(3, 1)
    made = trial.optimizer(model)
    assert isinstance(made, torch.optim.AdamW)
    group = made.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.2, (0.8, 0.999), 0.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    assert torch.equal(model.weight.grad, 0.5 * normal(1, "noise", 0, "weight", (1, 3)))
    assert trial.optimizer_name == "adamw"


def test_two_optimizers_with_equal_names_have_different_noise() -> None:
    """Their names and shapes agree, as those of a generator and a discriminator may."""
    trial = open_trial(process=constant(std=0.5))
    pairs = [weight_of_sgd(), weight_of_sgd()]
    for _, sgd in pairs:
        trial.attach(sgd)
    for _, sgd in pairs:
        sgd.step()
    assert not torch.equal(pairs[0][0], pairs[1][0])
    assert torch.equal(pairs[1][0].detach(), -0.5 * normal(1 + 2**48, "noise", 0, "w", (4,)))


def test_an_optimizer_is_attached_once() -> None:
    for process in (None, constant(std=0.5)):
        trial = open_trial(process=process)
        made = trial.optimizer([torch.nn.Parameter(torch.zeros(1))])
        with pytest.raises(ValueError, match=r"this SGD is attached already: trial\.optimizer"):
            trial.attach(made)


@pytest.mark.parametrize("with_closure", [False, True])
@pytest.mark.parametrize(
    ("clips", "clipped"),
    [
        ({"clip_value": 2.0}, [2.0, -2.0, 1.0, 0.0]),
        ({"clip_norm": 0.5}, [0.5 * g / math.sqrt(26) for g in (3.0, -4.0, 1.0, 0.0)]),
        (
            {"clip_value": 2.0, "clip_norm": 1.5},
            [1.5 * g / 3 for g in (2.0, -2.0, 1.0, 0.0)],
        ),
    ],
)
def test_gradients_are_clipped_before_the_noise(
    clips: dict[str, float], clipped: list[float], with_closure: bool
) -> None:
    """By value, then by norm, then noise; torch adds 1e-6 to the norm by which it divides."""
    weight, sgd = weight_of_sgd()
    open_trial(params={"lr": 1.0, **clips}, process=constant(std=0.5)).attach(sgd)

    def gradient() -> torch.Tensor:
        weight.grad = torch.tensor([3.0, -4.0, 1.0, 0.0])
        return torch.zeros(())

    if with_closure:
        sgd.step(gradient)  # type: ignore[arg-type]  # torch declares a closure of floats
    else:
        gradient()
        sgd.step()
    noise = 0.5 * normal(1, "noise", 0, "w", (4,))
    torch.testing.assert_close(
        -weight.detach() - noise, torch.tensor(clipped), rtol=1e-5, atol=1e-6
    )


def test_the_ratio_of_noise_to_gradient_is_that_of_the_clipped_gradient() -> None:
    """std sqrt(n) / ||g||, at the first update after each report."""
    host = RecordingHost()
    weight, sgd = weight_of_sgd()
    trial = open_trial(host, params={"lr": 1.0, "clip_norm": 0.5}, process=constant(std=0.1))
    trial.attach(sgd)
    for scale in (100.0, 0.001):
        for factor in (1.0, 7.0):
            weight.grad = torch.full((4,), scale * factor)
            sgd.step()
        trial.report(epoch=trial.epoch + 1, validation_error=1.0)
    ratios = [report["noise_to_gradient"] for report in host.reports]
    assert ratios == pytest.approx([0.2 / 0.5, 0.2 / 0.002], rel=1e-5)


def test_noise_that_reached_no_update_is_an_error() -> None:
    """For example because the optimizer that steps is a copy of the one with the noise."""
    trial = open_trial(process=constant(std=0.5))
    _, sgd = weight_of_sgd()
    trial.attach(sgd)
    with pytest.raises(RuntimeError, match="techniques reached no update"):
        trial.report(epoch=1, validation_error=1.0)
    sgd.step()
    trial.report(epoch=1, validation_error=1.0)


def test_every_attached_optimizer_makes_an_update_before_the_last_report() -> None:
    """One of them may start late."""
    trial = open_trial(process=constant(std=0.5), budget_epochs=2)
    first, second = weight_of_sgd()[1], weight_of_sgd()[1]
    trial.attach(first)
    trial.attach(second)
    first.step()
    trial.report(epoch=1, validation_error=1.0)
    assert trial.is_last_report
    with pytest.raises(RuntimeError, match="optimizer 2 of 2 made no update"):
        trial.report(epoch=2, validation_error=1.0)


def test_the_learning_rate_schedule_is_counted_in_reported_epochs() -> None:
    halving = open_trial(params={"lr": 0.1, "lr_schedule": "halving", "lr_every_epochs": 2})
    assert [halving.lr_factor(epoch) for epoch in (1, 2, 3, 4, 5)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert open_trial().lr_factor(3) == 1.0


def test_with_a_budget_in_steps_the_schedule_moves_with_every_step() -> None:
    """Cosine over 3 reports of 4 steps, after a warm-up of 2 steps."""
    params = {"lr": 0.1, "lr_schedule": "cosine", "lr_warmup_steps": 2}
    trial = open_trial(params=params, report_every=4)
    assert trial.budget_steps == 12
    found = [trial.lr_factor(step=step) for step in range(12)]
    cosine = [(1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert found == pytest.approx([0.5 * cosine[0], *cosine[1:]], rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "call", "message"),
    [
        ({"report_every": 4}, {"epoch": 1}, "step is missing: with a budget in steps"),
        ({"params": {"lr_warmup_steps": 2}}, {"epoch": 1}, "step is missing: with lr_warmup_steps"),
        ({}, {"step": 1}, "epoch is missing: the budget is in epochs"),
        ({}, {"epoch": 0}, "epoch must be at least 1, but got epoch=0"),
        ({"report_every": 4}, {"step": -1}, "step must be at least 0, but got step=-1"),
    ],
)
def test_a_factor_needs_what_it_depends_on(
    changes: dict[str, Any], call: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_trial(**changes).lr_factor(**call)


def test_reports_by_step_are_counted() -> None:
    host = RecordingHost()
    trial = open_trial(host, report_every=50)
    for step in (50, 100, 150):
        trial.report(step=step, validation_error=1.0)
    assert (trial.epoch, len(host.reports)) == (3, 3)


def test_values_may_be_tensors_and_numpy_scalars() -> None:
    host = RecordingHost()
    loss = torch.ones((), requires_grad=True) * 2
    open_trial(host).report(epoch=1, validation_error=np.float32(0.5), train_loss=loss, steps=3)  # type: ignore[arg-type]
    assert host.reports == [{"validation_error": 0.5, "train_loss": 2.0, "steps": 3.0}]


def test_logged_numbers_are_part_of_the_next_measurement() -> None:
    """A number that is not finite is left out."""
    host = RecordingHost()
    trial = open_trial(host)
    trial.log(lr=0.1, perplexity=float("inf"))
    trial.log(lr=torch.tensor(0.25))  # type: ignore[arg-type]
    for epoch in (1, 2):
        trial.report(epoch=epoch, validation_error=1.0)
    assert host.reports == [{"lr": 0.25, "validation_error": 1.0}, {"validation_error": 1.0}]
    with pytest.raises(TypeError, match="lr must be a number, but got 'high'"):
        trial.log(lr="high")  # type: ignore[arg-type]


def test_the_seed_fits_every_generator() -> None:
    """Seeds of trials have 48 bits; numpy, as scikit-learn and Lightning, takes 32."""
    trials = [open_trial(seed=seed) for seed in (2**48 - 1, 2**40, 7)]
    assert [trial.seed for trial in trials] == [2**32 - 1, 0, 7]
    for trial in trials:
        np.random.default_rng(trial.seed)
        np.random.RandomState(trial.seed)
        random.Random(trial.seed)
        torch.Generator().manual_seed(trial.seed)


@pytest.mark.parametrize(
    ("read", "unread"),
    [
        (lambda trial: trial.params["lr"], ["depth", "momentum"]),
        (lambda trial: trial.params.get("depth"), ["lr", "momentum"]),
        (lambda trial: dict(trial.params), []),
        (lambda trial: {**trial.params}, []),
        (lambda trial: json.dumps(trial.params), []),
        (lambda trial: trial.optimizer([torch.nn.Parameter(torch.zeros(1))]), ["depth"]),
        (lambda trial: "lr" in trial.params, ["depth", "lr", "momentum"]),
    ],
)
def test_hyperparameters_that_nothing_reads_are_named(read: Any, unread: list[str]) -> None:
    trial = open_trial(params={"lr": 0.1, "momentum": 0.9, "depth": 3})
    read(trial)
    assert trial.conduct()["unread"] == unread


def test_the_parameters_of_techniques_are_read_where_they_are_attached() -> None:
    trial = open_trial(
        params={"lr": 0.1, "std": 0.5}, process=constant(std=0.5), technique_params=["std"]
    )
    assert trial.conduct()["unread"] == ["lr", "std"]
    trial.attach(weight_of_sgd()[1])
    assert trial.conduct()["unread"] == ["lr"]


def test_the_settings_of_the_optimizers_are_recorded() -> None:
    host = RecordingHost()
    trial = open_trial(host)
    trial.attach(weight_of_sgd(momentum=0.9)[1])
    trial.report(epoch=1, validation_error=1.0)
    (found,) = json.loads(json.dumps(host.conduct["optimizers"]))
    assert (found["class"], found["n_parameters"]) == ("torch.optim.sgd.SGD", 4)
    assert {"lr": 1.0, "momentum": 0.9, "nesterov": False}.items() <= found["settings"].items()
    assert "params" not in found["settings"]


def test_a_checkpoint_has_the_noise_of_every_optimizer() -> None:
    host = RecordingHost()
    trial = open_trial(host, process=constant(std=0.5))
    pairs = [weight_of_sgd(), weight_of_sgd()]
    for k, (_, sgd) in enumerate(pairs):
        trial.attach(sgd)
        for _ in range(k + 1):
            sgd.step()
    trial.report(epoch=1, validation_error=1.0)
    trial.checkpoint({"weight": 1.0})

    resumed = open_trial(RecordingHost(host.checkpoints[0]), process=constant(std=0.5))
    again = [weight_of_sgd(), weight_of_sgd()]
    for _, sgd in again:
        resumed.attach(sgd)
    with pytest.raises(RuntimeError, match=r"call trial.restore\(\) before the first report"):
        resumed.report(epoch=2, validation_error=1.0)
    assert resumed.restore() == {"weight": 1.0}
    assert resumed.epoch == 1
    for k, (weight, sgd) in enumerate(again):
        sgd.step()
        expected = -0.5 * normal(1 + k * 2**48, "noise", k + 1, "w", (4,))
        assert torch.equal(weight.detach(), expected)
    assert open_trial().restore() is None


def test_a_checkpoint_is_restored_after_all_optimizers_are_attached() -> None:
    kept = {"epoch": 1, "optimizers": [{}], "function": None}
    trial: Trial = open_trial(RecordingHost(kept), process=constant(std=0.5))
    with pytest.raises(RuntimeError, match="is of 1 optimizers, but 0 are attached"):
        trial.restore()


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (
            {"epoch": 2, "validation_error": 1.0},
            ValueError,
            "epoch must be 1, of 3 in all, but got epoch=2",
        ),
        (
            {"step": 1, "validation_error": 1.0},
            ValueError,
            r"the study's budget is in epochs: report\(epoch=...\) must be given",
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
        open_trial(with_test=True).report(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 1}, r"the study's budget is in steps: report\(step=...\) must be given"),
        ({"step": 49}, "step must be 50, of 150 in all, but got step=49"),
    ],
)
def test_a_report_by_the_wrong_step_is_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_trial(report_every=50).report(**values, validation_error=1.0)
