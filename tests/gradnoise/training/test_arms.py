"""What techniques do in each trainer; the stacked trainer gives the single trainer's results."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gradnoise.training.setup import prepare
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trainer import Trainer
from gradnoise.training.trial import Failed, TrialSpec
from gradnoise.workloads import normal, permutation
from trial_runs import NOISE, alone, assert_same, curve, run, spec

TRAINERS = [
    pytest.param(lambda: SingleTrainer(3), id="single"),
    pytest.param(lambda: StackTrainer(3), id="stack"),
]
Open = Callable[[], Trainer]

ARMS: list[tuple[tuple[str, ...], dict[str, float]]] = [
    (("annealed", "dropout"), NOISE["annealed"] | NOISE["dropout"]),
    (("dropout", "annealed"), NOISE["annealed"] | NOISE["dropout"]),
    (("annealed", "constant"), NOISE["annealed"] | NOISE["constant"]),
    (
        ("anticorrelated", "weight_noise", "dropout"),
        {"std": 0.1, "rate": 0.3, **NOISE["weight_noise"]},
    ),
    (("preconditioned", "dropout", "none"), NOISE["preconditioned"] | NOISE["dropout"]),
]
SMALL = {"depth": 6, "train_examples": 200, "batch_size": 50}  # of the deep network
NDTRI_OF_0_3 = -0.5244005127080407  # 30 % of N(0, 1) lie below
SETTINGS = [
    ("sgd", {"lr": 0.05}),
    ("sgd", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "clip_norm": 0.5}),
    ("adam", {"lr": 0.01}),
    ("adam", {"lr": 0.01, "beta1": 0.5, "weight_decay": 0.01, "clip_norm": 0.5}),
    (
        "sgd",
        {"lr": 0.05, "momentum": 0.9, "nesterov": 1, "clip_value": 0.3, "lr_schedule": "cosine"},
    ),
    (
        "adamw",
        {
            "lr": 0.01,
            "clip_value": 0.2,
            "clip_norm": 0.5,
            "lr_schedule": "step",
            "lr_every_epochs": 2,
            "lr_factor": 0.3,
        },
    ),
    ("adagrad", {"lr": 0.05, "lr_schedule": "halving", "lr_every_epochs": 2}),
    ("rmsprop", {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.01}),
    ("adamw", {"lr": 0.01, "lr_warmup_steps": 5, "lr_schedule": "cosine"}),
]
# all techniques are neighbours in each of these tests, so one technique per setting is enough
# for the default suite, and three for the slow one
SETTINGS_WITH_TECHNIQUES = [
    pytest.param(optimizer, params, technique, marks=[] if i == j else [pytest.mark.slow])
    for i, (optimizer, params) in enumerate(SETTINGS)
    for j, technique in enumerate(NOISE)
    if i == j or (i + j) % 3 == 0
]


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


@pytest.mark.parametrize("opened", TRAINERS)
def test_epochs_of_a_number_of_steps_continue_the_passes_over_the_data(opened: Open) -> None:
    """Six passes of 3 updates are 9 reports of 2 updates, and 2 of 9: they measure the same after
    equally many updates.
    """
    noise = {"technique": "annealed", "params": {"lr": 0.05, **NOISE["annealed"]}}
    passes = curve(run(opened(), spec(budget_epochs=6, **noise)))
    twos, nines = (
        curve(run(opened(), spec(budget_epochs=18 // every, report_every=every, **noise)))
        for every in (2, 9)
    )
    at = [
        (passes[1], twos[2]),
        (passes[3], twos[5]),
        (passes[5], twos[8]),
        (passes[2], nines[0]),
        (passes[5], nines[1]),
    ]
    for values, others in at:
        assert others["validation_error"] == pytest.approx(values["validation_error"], rel=1e-12)


@pytest.mark.parametrize("opened", TRAINERS)
def test_the_warm_up_multiplies_the_rate_of_each_update(opened: Open) -> None:
    """Without momentum, an update with half the rate is half an update: the first of a warm-up over
    two updates is the only one of a trial with half the rate.
    """
    first = spec(budget_epochs=1, report_every=1, params={"lr": 0.05, "lr_warmup_steps": 2})
    half = spec(budget_epochs=1, report_every=1, params={"lr": 0.025})
    assert_same(curve(run(opened(), first)), curve(run(opened(), half)))


@pytest.mark.parametrize("opened", TRAINERS)
def test_the_ratio_of_noise_to_gradient_is_reported(opened: Open) -> None:
    """At a learning rate of 1e-300 the weights stay at their initial values, so the gradient of the
    epoch's last batch is computed by hand; it is also clipped to norm 0.5.
    """
    params = {"lr": 1e-300, "eta": 0.3, "gamma": 0.55}
    workload: Any = prepare(spec()).workload
    model = workload.model()
    workload.initialise(model, 1)
    rows = permutation(1, "order", 1, 30)[16:24]
    workload.loss(model, tuple(part[rows] for part in workload.data().train)).backward()
    norm = float(
        torch.nn.utils.get_total_norm([parameter.grad for parameter in model.parameters()])
    )
    noise = math.sqrt(50 * 0.3 / (1 + 5) ** 0.55)  # 5 x 7 + 7 + 7 + 1 weights, the sixth update
    for clip, expected in (({}, noise / norm), ({"clip_norm": 0.5}, noise / 0.5)):
        (_, values) = curve(
            run(opened(), spec(technique="annealed", params=params | clip, budget_epochs=2))
        )
        assert values["noise_to_gradient"] == pytest.approx(expected, rel=1e-5)
    for technique in ("none", "preconditioned", "weight_noise", "dropout"):
        (values,) = curve(
            run(
                opened(),
                spec(technique=technique, params={"lr": 0.05} | NOISE[technique], budget_epochs=1),
            )
        )
        assert "noise_to_gradient" not in values


@pytest.mark.parametrize(("optimizer", "params", "technique"), SETTINGS_WITH_TECHNIQUES)
def test_a_stacked_trial_gives_the_single_trainers_result(
    optimizer: str, params: dict[str, float], technique: str
) -> None:
    """Alone, first of eight, and entering third after the first two have trained two epochs; the
    neighbours' techniques all differ.
    """
    trial = spec(
        technique=technique,
        optimizer=optimizer,
        params=params | NOISE[technique],
        budget_epochs=4,
        with_test=True,
    )
    neighbours = [
        spec(
            f"n{i}",
            technique=other,
            optimizer=optimizer,
            params={"lr": 0.02 * (i + 1), "weight_decay": 0.1 * i, "clip_norm": 1.0 + i}
            | NOISE[other],
            seed=10 + i,
            budget_epochs=3 + i,
            with_test=True,
        )
        for i, other in enumerate(NOISE)
    ]
    expected = alone(trial)
    assert_same(curve(run(StackTrainer(8), trial)), expected)
    assert_same(curve(run(StackTrainer(8), trial, *neighbours)), expected)
    late = StackTrainer(8)
    for neighbour in neighbours[:2]:
        late.admit(neighbour)
    for _ in range(2):
        late.advance()
    events = run(late, trial, *neighbours[2:])
    assert_same(curve(events), expected)
    for neighbour in neighbours[2:]:
        assert_same(curve(events, neighbour.key), alone(neighbour))


@pytest.mark.parametrize(("techniques", "params"), ARMS, ids=str)
@pytest.mark.parametrize(
    ("optimizer", "hyper"),
    [
        ("sgd", {"lr": 0.05, "clip_norm": 0.5}),
        pytest.param("adam", {"lr": 0.01}, marks=pytest.mark.slow),
    ],
)
def test_an_arm_of_several_techniques_gives_the_same_alone_and_in_a_stack(
    optimizer: str, hyper: dict[str, float], techniques: tuple[str, ...], params: dict[str, float]
) -> None:
    """The neighbours have one of the techniques each; so the arm's result differs from theirs."""
    shared: dict[str, Any] = {"optimizer": optimizer, "budget_epochs": 4}
    arm = spec(techniques=techniques, params=hyper | params, **shared)
    neighbours = [
        spec(name, technique=name, params=hyper | NOISE[name], **shared) for name in techniques
    ]
    expected = alone(arm)
    assert_same(curve(run(StackTrainer(4), arm)), expected)
    events = run(StackTrainer(4), arm, *neighbours)
    assert_same(curve(events), expected)
    for neighbour in neighbours:
        assert_same(curve(events, neighbour.key), alone(neighbour))
        assert curve(events, neighbour.key) != expected


@pytest.mark.parametrize("opened", TRAINERS)
def test_nothing_beside_a_technique_and_the_order_of_places_change_no_bit(opened: Open) -> None:
    noisy = {"params": {"lr": 0.05} | NOISE["annealed"] | NOISE["dropout"]}
    orders = [("annealed", "dropout"), ("dropout", "annealed"), ("none", "annealed", "dropout")]
    first, *others = (curve(run(opened(), spec(techniques=order, **noisy))) for order in orders)
    assert all(other == first for other in others)
    plain = [curve(run(opened(), spec(techniques=techniques))) for techniques in ((), ("none",))]
    assert plain[0] == plain[1] != first


@pytest.mark.parametrize("opened", TRAINERS)
def test_the_variances_of_several_noises_on_gradients_add_up(opened: Open) -> None:
    """At a learning rate of 1e-300 both trials have the same gradients; noise of variance 0.09 +
    0.16 is half as large as noise of standard deviation 1.
    """
    still = {"lr": 1e-300}
    summed, single = (
        curve(run(opened(), spec(techniques=techniques, params=still | params)))[-1]
        for techniques, params in (
            (("annealed", "constant"), {"eta": 0.09, "gamma": 0.0, "std": 0.4}),
            (("constant",), {"std": 1.0}),
        )
    )
    assert summed["noise_to_gradient"] == pytest.approx(0.5 * single["noise_to_gradient"], rel=1e-9)


@pytest.mark.parametrize("workload", ["exact", pytest.param("mlp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("technique", NOISE)
def test_the_technique_of_a_neighbour_changes_no_bit_of_a_result(
    workload: str, technique: str
) -> None:
    """A trial beside a neighbour with any technique equals the trial beside one without."""
    if workload == "mlp":
        pytest.importorskip("sklearn")  # for its digits

    def trial(key: str, name: str) -> TrialSpec:
        return spec(
            key,
            workload=workload,
            options=SMALL if workload == "mlp" else {},
            technique=name,
            params={"lr": 0.05} | NOISE[name],
            budget_epochs=2,
        )

    for name in ("none", "annealed", "dropout", "weight_noise"):
        kept = trial("kept", name)
        plain, other = (
            run(StackTrainer(2), kept, trial("n", neighbour)) for neighbour in ("none", technique)
        )
        assert curve(plain, kept.key) == curve(other, kept.key)


@pytest.mark.parametrize(
    "technique",
    [
        "annealed",
        *(pytest.param(name, marks=pytest.mark.slow) for name in NOISE if name != "annealed"),
    ],
)
def test_the_deep_network_trains_alike_in_a_stack_and_alone(technique: str) -> None:
    """In float32: a loss near 2.3 sums 2^-24 roundings of 20 layers over 8 updates, far below 1e-4;
    an accuracy changes by whole images.
    """
    pytest.importorskip("sklearn")  # for its digits
    trials = [
        spec(
            f"{i}",
            workload="mlp",
            options=SMALL | {"depth": 20},
            technique=technique,
            params={"lr": 0.03} | NOISE[technique],
            seed=i,
            budget_epochs=2,
        )
        for i in range(3)
    ]
    events = run(StackTrainer(3), *trials)
    for trial in trials:
        for found, expected in zip(curve(events, trial.key), alone(trial), strict=True):
            assert found == pytest.approx(expected, rel=1e-4, abs=2 / 297)
            assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)


@pytest.mark.parametrize("opened", TRAINERS)
@pytest.mark.parametrize("technique", ["weight_noise", "dropout"])
def test_only_the_updates_see_noisy_weights_and_dropped_activations(
    opened: Open, technique: str
) -> None:
    """At a learning rate of 1e-300 the weights stay at their initial values: the evaluation equals
    that of plain training, and each update's loss follows from the formula.
    """
    still = {"params": {"lr": 1e-300} | NOISE[technique], "technique": technique}
    values = curve(run(opened(), spec(**still)))
    assert [epoch["validation_error"] for epoch in values] == [
        epoch["validation_error"] for epoch in curve(run(opened(), spec(params={"lr": 1e-300})))
    ]
    workload: Any = prepare(spec()).workload
    model = workload.model()
    for epoch in range(3):
        losses = []
        for i, rows in enumerate(permutation(1, "order", epoch, 30)[:24].view(3, 8)):
            t = 3 * epoch + i
            workload.initialise(model, 1)
            with torch.no_grad():
                if technique == "weight_noise":
                    for name, parameter in model.named_parameters():
                        parameter += (
                            0.1
                            * (1 + t) ** -0.275
                            * normal(1, "weight_noise", t, name, parameter.shape).double()
                        )
                else:
                    model[2].mask = (
                        normal(1, "dropout", t, "2", (8, 7)) > NDTRI_OF_0_3
                    ).double() / 0.7
                losses.append(
                    float(workload.loss(model, tuple(part[rows] for part in workload.data().train)))
                )
        # the noise is drawn and scaled in float32
        assert values[epoch]["train_loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize("opened", TRAINERS)
def test_dropout_is_refused_if_the_model_has_no_layer_for_it(opened: Open) -> None:
    kept = spec(budget_epochs=2)
    events = run(
        opened(),
        spec("bad", workload="blind", technique="dropout", params={"lr": 0.1, "rate": 0.5}),
        kept,
    )
    (failed,) = (event for event in events if event.key == "bad")
    assert isinstance(failed, Failed)
    assert failed.summary.startswith(
        "ValueError: dropout needs a Dropout layer in the model, but it has none: put "
        "gradnoise.workloads.Dropout()"
    )
    assert_same(curve(events), alone(kept))


@pytest.mark.parametrize("technique", NOISE)
def test_waiting_does_not_change_the_result(technique: str) -> None:
    trainer = StackTrainer(2)
    straight = spec(technique=technique, params={"lr": 0.05} | NOISE[technique])
    trainer.admit(dataclasses.replace(straight, rungs=(1,)))
    trainer.admit(spec("b"))
    events = [*trainer.advance(), *trainer.advance(), *trainer.advance(["a"]), *trainer.advance()]
    assert_same(curve(events), alone(straight))


@pytest.mark.slow
def test_noise_trains_the_network_that_does_not_train_without_it() -> None:
    """Twenty layers, initial weights N(0, 0.1^2), 1,500 updates at rate 0.03 on the digits: without
    noise the loss stays that of guessing, ln 10; with eta 1 and gamma 0.55 most seeds learn. Chance
    is 0.1, with a standard error of sqrt(0.09 / 300) over the test images.
    """
    noise = {"eta": 1.0, "gamma": 0.55}
    plain = [
        spec(
            f"p{i}", workload="mlp", params={"lr": 0.03}, seed=i, budget_epochs=125, with_test=True
        )
        for i in range(4)
    ]
    noisy = [
        spec(
            f"n{i}",
            workload="mlp",
            technique="annealed",
            params={"lr": 0.03} | noise,
            seed=i,
            budget_epochs=125,
            with_test=True,
        )
        for i in range(4)
    ]
    events = run(StackTrainer(8), *plain, *noisy)
    for trial in plain:
        last = curve(events, trial.key)[-1]
        assert last["test_accuracy"] < 0.1 + 5 * math.sqrt(0.09 / 300)
        assert last["train_loss"] == pytest.approx(math.log(10), abs=0.02)
    assert (
        sum(
            max(values["test_accuracy"] for values in curve(events, trial.key)) > 0.5
            for trial in noisy
        )
        >= 3
    )
