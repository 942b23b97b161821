from typing import Any

import pytest

from gradnoise._processes import NoiseProcess, annealed
from gradnoise.training.setup import prepare
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.paper.mlp import Mlp
from gradnoise.workloads.paper.mlp.workload import MlpOptions

GOOD: dict[str, Any] = {
    "workload": "mlp",
    "technique": "annealed",
    "params": {"lr": 0.1, "eta": 0.3, "gamma": 0.55},
}


def spec(**changes: Any) -> TrialSpec:
    return TrialSpec(**{"key": "a", "seed": 1, "budget_epochs": 1} | GOOD | changes)


def test_a_legal_trial_is_opened_with_its_options_and_its_techniques_effect() -> None:
    setup = prepare(spec(options={"depth": 2}))
    assert isinstance(setup.workload, Mlp)
    assert setup.options == MlpOptions(depth=2)
    assert isinstance(setup.effect, NoiseProcess)
    assert list(setup.effect.terms(5)) == [(5, annealed(0.3, 0.55).std(5))]
    assert (setup.clip_value, setup.clip_norm) == (None, None)
    assert setup.lr_factor(3) == 1.0


def test_clipping_and_the_schedule_come_with_any_optimizer() -> None:
    params = {**GOOD["params"], "clip_value": 2, "clip_norm": 3, "lr_schedule": "cosine"}
    setup = prepare(spec(optimizer="adamw", params=params, budget_epochs=4))
    assert (setup.clip_value, setup.clip_norm) == (2.0, 3.0)
    assert setup.lr_factor(2) == pytest.approx(0.5, rel=1e-15)


def test_a_workload_gets_its_own_hyperparameters_and_no_others(probes: None) -> None:
    setup = prepare(
        spec(workload="exact", params={"lr": 0.1, "eta": 0.3, "gamma": 0.55, "scale": 2.0})
    )
    assert setup.workload.params == {"scale": 2.0}  # type: ignore[union-attr]  # a declared one


@pytest.mark.parametrize(
    ("technique", "own"), [("weight_noise", {"eta": 0.1, "gamma": 0.5}), ("dropout", {"rate": 0.5})]
)
def test_a_function_takes_the_techniques_that_need_nothing_but_its_optimizer(
    probes: None, technique: str, own: dict[str, float]
) -> None:
    legal = "none, annealed, constant, anticorrelated, preconditioned"
    with pytest.raises(
        ValueError, match=f"technique must be one of {legal} on counting, but got '{technique}'"
    ):
        prepare(spec(workload="counting", technique=technique, params={"lr": 0.1} | own))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workload": "mpl"}, "there is no workload named 'mpl'; installed are .*mlp"),
        (
            {"technique": "annealing"},
            "there is no technique named 'annealing'; legal are none, annealed, constant",
        ),
        (
            {"optimizer": "lbfgs"},
            "there is no optimizer named 'lbfgs'; legal are sgd, adam, adamw, adagrad, rmsprop",
        ),
        ({"options": {"dept": 3}}, "there is no option named 'dept'; legal are dataset, depth"),
        (
            {"options": {"depth": 0}},
            "options.depth must be an integer of at least 1 and at most 200, but got depth=0",
        ),
        (
            {"params": {"eta": 0.3, "gamma": 0.55}},
            r"lr is missing: it must be a finite number in \(0, inf\)",
        ),
        (
            {"params": {"lr": 0.1, "eta": 0.3}},
            r"gamma is missing: it must be a finite number in \[0, inf\)",
        ),
        ({"params": {**GOOD["params"], "std": 1.0}}, "there is no parameter named 'std' here"),
        (
            {"technique": "dropout", "params": {"lr": 0.1, "rate": 1}},
            r"rate must be a finite number in \[0, 0.9999\], but got rate=1",
        ),
        ({"params": {**GOOD["params"], "beta1": 0.9}}, "there is no parameter named 'beta1' here"),
        (
            {"params": {**GOOD["params"], "nesterov": 1}},
            "nesterov must be 0 without momentum, but got nesterov=1 with momentum=0",
        ),
        (
            {"params": {**GOOD["params"], "momentum": 0.9, "nesterov": 0.5}},
            r"nesterov must be a whole number in \[0, 1\]",
        ),
        (
            {"params": {**GOOD["params"], "lr_schedule": "cosin"}},
            "lr_schedule must be one of constant, cosine, step, halving, but got",
        ),
        (
            {"params": {**GOOD["params"], "lr_schedule": "halving", "lr_every_epochs": 1.5}},
            "lr_every_epochs must be a whole number in",
        ),
        (
            {"params": {**GOOD["params"], "lr_schedule": "halving"}},
            "lr_every_epochs is missing: with lr_schedule='halving' it must be",
        ),
        (
            {"params": {**GOOD["params"], "lr_schedule": "step", "lr_every_epochs": 2}},
            r"lr_factor is missing: with lr_schedule='step' it must",
        ),
        (
            {"params": {**GOOD["params"], "lr_factor": 0.5}},
            "lr_schedule is missing: with lr_factor=0.5 it must be given, as step.",
        ),
        (
            {"params": {**GOOD["params"], "clip_value": 0}},
            r"clip_value must be a finite number in \(0, inf\), but got clip_value=0",
        ),
        (
            {"params": {**GOOD["params"], "clip_norm": 0}},
            r"clip_norm must be a finite number in \(0, inf\), but got clip_norm=0",
        ),
    ],
)
def test_what_cannot_run_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(spec(**changes))
