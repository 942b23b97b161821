import dataclasses
from typing import Any

import pytest

from gradnoise import annealed
from gradnoise.parameters import Parameter
from gradnoise.rules import Rule
from gradnoise.techniques.contribution import NOTHING
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.training.setup import prepare
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.paper.mlp.workload import Mlp, MlpOptions

GOOD: dict[str, Any] = {
    "workload": "mlp",
    "techniques": ("annealed",),
    "params": {"lr": 0.1, "eta": 0.3, "gamma": 0.55},
}


def spec(**changes: Any) -> TrialSpec:
    return TrialSpec(**{"key": "a", "seed": 1, "budget_epochs": 1} | GOOD | changes)


def test_a_legal_trial_is_opened_with_its_options_and_its_techniques_contribution() -> None:
    setup = prepare(spec(options={"depth": 2}))
    assert isinstance(setup.workload, Mlp)
    assert setup.options == MlpOptions(depth=2)
    assert setup.contribution.places == ("gradient",)
    assert setup.contribution.gradient is not None
    assert list(setup.contribution.gradient.terms(5)) == list(annealed(0.3, 0.55).terms(5))
    assert (setup.clip_value, setup.clip_norm) == (None, None)
    assert setup.lr_factor(3) == 1.0


def test_the_contributions_of_several_techniques_are_combined() -> None:
    params = {**GOOD["params"], "rate": 0.5, "std": 0.1}
    setup = prepare(spec(techniques=("annealed", "dropout", "constant"), params=params))
    assert setup.contribution.places == ("gradient", "activations")
    assert setup.contribution.gradient is not None
    assert list(setup.contribution.gradient.terms(5)) == [
        *annealed(0.3, 0.55).terms(5),
        (5 + 2**48, 0.1),
    ]


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
    ("technique", "params"),
    [("weight_noise", {"eta": 0.1, "gamma": 0.5}), ("dropout", {"rate": 0.5})],
)
def test_a_function_takes_the_techniques_that_need_nothing_but_its_optimizer(
    probes: None, technique: str, params: dict[str, float]
) -> None:
    legal = (
        "adaptive_clipping, annealed, anticorrelated, constant, gradient_centralisation, grokfast, "
        "none, preconditioned"
    )
    with pytest.raises(
        ValueError, match=f"techniques must be among {legal} on counting, but got '{technique}'"
    ):
        prepare(
            spec(workload="counting", techniques=("none", technique), params={"lr": 0.1} | params)
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workload": "mpl"}, "there is no workload named 'mpl'; installed are .*mlp"),
        (
            {"techniques": ("annealing",)},
            "there is no technique named 'annealing'; installed are adaptive_clipping, annealed",
        ),
        (
            {"optimizer": "lbfgs"},
            "there is no optimizer named 'lbfgs'; installed are adagrad, adam, adamw, lion, muon",
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
            {"techniques": ("dropout",), "params": {"lr": 0.1, "rate": 1}},
            r"rate must be a finite number in \[0, 0.9999\], but got rate=1",
        ),
        ({"params": {**GOOD["params"], "beta1": 0.9}}, "there is no parameter named 'beta1' here"),
        (
            {"params": {**GOOD["params"], "nesterov": 1}},
            "momentum is missing: with nesterov=1 it must be a finite number",
        ),
        (
            {"params": {**GOOD["params"], "nesterov": 1, "momentum": 0}},
            "momentum must be above 0 with nesterov=1, but got momentum=0",
        ),
        (
            {
                "techniques": ("annealed", "weight_noise"),
                "params": GOOD["params"],
            },
            "the technique 'annealed' and the technique 'weight_noise' both declare the "
            "hyperparameter 'eta'",
        ),
        (
            {
                "techniques": ("preconditioned", "constant"),
                "params": {**GOOD["params"], "std": 0.1},
            },
            "only with gradient noise of the same preconditioner",
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
            "lr_schedule is missing: with lr_factor=0.5 it must be one of constant, cosine, step",
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
def test_an_illegal_trial_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(spec(**changes))


def test_a_technique_may_not_declare_a_parameter_of_the_optimizer() -> None:
    lr = Parameter(name="lr", description="Learning rate.")
    other = dataclasses.replace(
        TECHNIQUES.find("none"), name="other", parameters=(lr,), contribute=lambda lr: NOTHING
    )
    with (
        TECHNIQUES.including(other),
        pytest.raises(
            ValueError,
            match="optimizer 'sgd' and the technique 'other' both declare the hyperparameter 'lr'",
        ),
    ):
        prepare(spec(techniques=("other",), params={"lr": 0.1}))


def test_the_rules_of_techniques_and_workloads_apply_too(probes: None) -> None:
    rule = Rule(kind="at_most", field="std", of="lr")
    strict = dataclasses.replace(TECHNIQUES.find("constant"), name="strict", rules=(rule,))
    with TECHNIQUES.including(strict):
        prepare(spec(techniques=("strict",), params={"lr": 0.1, "std": 0.1}))
        with pytest.raises(
            ValueError, match=r"std must be at most 0.1 with lr=0.1, but got std=0.2"
        ):
            prepare(spec(techniques=("strict",), params={"lr": 0.1, "std": 0.2}))
