import math
from typing import Any

import pytest

import trial_runs
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise.workloads.paper.neural_gpu import NeuralGpu
from trial_runs import curve, run


def test_initial_weights_have_the_documented_variance() -> None:
    """Within five standard errors, sqrt(2 / (n - 1)) of a variance of n draws."""
    workload = NeuralGpu({"relaxation": 2}, {"init_scale": 0.5})
    model = workload.model()
    workload.initialise(model, 3)
    named = dict(model.named_parameters())
    for name, n_inputs in (("embedding", 1), ("kernels", 9 * 24), ("output.weight", 24)):
        weights = named[name].detach()
        assert abs(float(weights.var()) * n_inputs / 0.5**2 - 1) < 5 * math.sqrt(
            2 / (weights.numel() - 1)
        )
    assert named["biases"][:, :, :2].unique().tolist() == [1.0]
    assert (
        named["biases"][:, :, 2].unique().tolist()
        == named["output.bias"].unique().tolist()
        == [0.0]
    )


@pytest.mark.parametrize(
    ("options", "params", "message"),
    [
        (
            {"task": "division"},
            {},
            r"options.task must be one of 'addition', .*, but got task='division'",
        ),
        (
            {"longest": 65},
            {},
            r"options.longest must be an integer of at least 1 and at most 64, but got longest=65",
        ),
        (
            {"relaxation": 0},
            {},
            r"options.relaxation must be an integer of at least 1 and at most 20, but got "
            r"relaxation=0",
        ),
        (
            {},
            {"dropout": 1.0},
            r"dropout must be a finite number in \[0, 0.9999\], but got dropout=1.0",
        ),
        (
            {},
            {"pull_factor": 0.5},
            r"pull_factor must be a finite number in \[1, inf\), but got pull_factor=0.5",
        ),
    ],
)
def test_illegal_options_and_parameters_raise_an_error_that_names_them(
    options: dict[str, object], params: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralGpu(options, params)


def spec(**changes: Any) -> TrialSpec:
    params = {"lr": 0.01, "clip_norm": 1.0}
    defaults = {
        "workload": "neural-gpu",
        "optimizer": "adam",
        "params": params,
        "budget_epochs": 2,
        "with_test": True,
    }
    return trial_runs.spec(**defaults | changes)


@pytest.mark.slow
def test_stacked_training_equals_single_training() -> None:
    """In float32 over eight updates, with two parameter sets, dropout, noise and a curriculum."""
    options = {
        "task": "copy",
        "longest": 3,
        "test_bits": 5,
        "maps": 4,
        "width": 2,
        "relaxation": 2,
        "batch_size": 2_500,
    }
    params = {
        "lr": 0.01,
        "clip_norm": 1.0,
        "dropout": 0.1,
        "curriculum_threshold": 0.05,
        "eta": 0.001,
        "gamma": 0.55,
    }
    arm = {"options": options, "params": params, "techniques": ("annealed",)}
    stack = StackTrainer(3)
    found = curve(run(stack, spec(**arm), *(spec(key=f"{i}", seed=i, **arm) for i in (5, 6))))
    assert list(stack.refusals.values()) == [""]
    expected = curve(run(SingleTrainer(1), spec(**arm)))
    assert len(found) == len(expected) == 2
    for stacked, single in zip(found, expected, strict=True):
        assert stacked == pytest.approx(single, rel=1e-3, abs=1e-2)
        assert stacked["train_loss"] == pytest.approx(single["train_loss"], rel=1e-4)


def test_the_technique_dropout_changes_training() -> None:
    options = {"task": "copy", "longest": 2, "maps": 4, "width": 1, "batch_size": 5_000}
    plain, dropped = (
        curve(
            run(
                SingleTrainer(1),
                spec(options=options, technique=technique, params={"lr": 0.01} | params),
            )
        )
        for technique, params in (("none", {}), ("dropout", {"rate": 0.5}))
    )
    assert plain[0]["train_loss"] != dropped[0]["train_loss"]


@pytest.mark.slow
def test_it_learns_to_add_numbers_of_three_bits() -> None:
    """After 624 updates without noise, at least one of three seeds makes no error.

    Of eight seeds, all succeeded when this test was written. At a rate of 0.68, the lower end of
    Wilson's 95 % interval, the probability of none of three is 3.4 %.
    """
    stack = StackTrainer(3)
    params = {
        "lr": 0.01,
        "lr_schedule": "cosine",
        "clip_norm": 1.0,
        "eps": 1e-4,
        "curriculum_threshold": 0.6,
    }
    for seed in range(3):
        stack.admit(
            spec(
                key=f"{seed}",
                seed=seed,
                options={"longest": 3, "width": 1},
                params=params,
                budget_epochs=2,
            )
        )
    last: dict[str, float] = {}
    while latest := stack.advance():
        last |= {
            event.key: event.values["test_error"]
            for event in latest
            if isinstance(event, Measurement)
        }
    assert len(last) == 3
    assert min(last.values()) == 0
