import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from gradnoise.techniques.dropout_layers import activation_shapes
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.workloads.base import Splits
from gradnoise.workloads.paper.mlp import Mlp
from trial_runs import curve, run, spec

pytest.importorskip("sklearn")


def opened(**options: object) -> tuple[Mlp, torch.nn.Module]:
    workload = Mlp(options)
    model = workload.model()
    workload.initialise(model, seed=1)
    return workload, model


def test_the_default_is_the_papers_network() -> None:
    """20 hidden layers of 50 between 64 inputs and 10 classes: 64 x 50 + 50 + 19 x (50 x 50 + 50) +
    50 x 10 + 10 parameters.
    """
    workload, model = opened()
    assert sum(parameter.numel() for parameter in model.parameters()) == 52_210
    assert len(list(model.parameters())) == 2 * 21
    assert workload.batch_size == 100
    assert len(workload.data().train[0]) == 1_200


def test_dropout_has_a_place_after_every_hidden_layer() -> None:
    workload, model = opened(depth=3, width=7)
    batch = tuple(part[:5] for part in workload.data().train)
    assert activation_shapes(model, lambda: workload.loss(model, batch)) == {
        f"{2 * k + 1}": (5, 7) for k in range(3)
    }


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("simple", lambda n: 0.1),
        ("he", lambda n: math.sqrt(2 / n)),
        ("zero", lambda n: 0.0),
        (
            "sussillo-abbott",
            lambda n: math.sqrt(2) * math.exp(1.2 / (max(n, 6) - 2.4)) / math.sqrt(n),
        ),
    ],
)
def test_initial_weights_have_the_documented_variance_and_biases_are_zero(
    init: str, std: object
) -> None:
    """The sample variance of each layer's n weights lies within five of its standard errors,
    sqrt(2/(n-1)).
    """
    _, model = opened(init=init, depth=3)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            expected = std(parameter.shape[1])  # type: ignore[operator]
            n = parameter.numel()
            assert (
                abs(float(parameter.detach().double().square().mean()) - expected**2)
                <= 5 * math.sqrt(2 / (n - 1)) * expected**2
            )


def test_initial_weights_depend_only_on_the_seed() -> None:
    (workload, first), (_, second) = opened(depth=2), opened(depth=2)
    torch.manual_seed(5)
    reseeded = workload.model()
    workload.initialise(reseeded, seed=2)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.state_dict()["0.weight"], reseeded.state_dict()["0.weight"])


def test_loss_and_metrics_are_cross_entropy_and_accuracy() -> None:
    workload, model = opened(depth=1, init="he")
    batch = workload.data().validation
    outputs = (
        functional.relu(batch[0] @ model.state_dict()["0.weight"].T)
        @ model.state_dict()["2.weight"].T
    )
    probability = outputs.softmax(1)[torch.arange(len(batch[1])), batch[1]]
    with torch.no_grad():
        values = workload.measure(model, batch)
        assert float(workload.loss(model, batch)) == pytest.approx(
            float(-probability.log().mean()), rel=1e-5
        )
    assert float(values["loss"]) == pytest.approx(float(-probability.log().mean()), rel=1e-5)
    assert float(values["accuracy"]) == pytest.approx(
        sum(outputs.argmax(1) == batch[1]).item() / 297
    )  # type: ignore[union-attr]
    assert set(values) == {metric.name for metric in workload.metrics}


def test_layer_normalisation_is_applied_before_every_relu() -> None:
    """h = relu(g (z - mean z) / sqrt(var z + 1e-5) + b) over a layer's units, in each of two
    layers, with gains and biases that are set.
    """
    workload, model = opened(depth=2, width=6, norm="layer")
    named = dict(model.named_parameters())
    assert {
        name: tuple(part.shape) for name, part in named.items() if part.dim() == 1 and part.any()
    } == {"1.weight": (6,), "4.weight": (6,)}
    assert all(bool((named[name] == 1).all()) for name in ("1.weight", "4.weight"))
    with torch.no_grad():
        for i in (1, 4):
            named[f"{i}.weight"].copy_(torch.arange(6) - 2.0)
            named[f"{i}.bias"].copy_(torch.arange(6) / 3)
    inputs, _ = (part[:5] for part in workload.data().train)
    hidden = inputs
    for i in (0, 3):
        sums = hidden @ named[f"{i}.weight"].T
        around = sums - sums.mean(1, keepdim=True)
        hidden = (
            around
            / (around.square().mean(1, keepdim=True) + 1e-5).sqrt()
            * named[f"{i + 1}.weight"]
            + named[f"{i + 1}.bias"]
        )
        hidden = hidden.clamp(min=0)
    torch.testing.assert_close(model(inputs), hidden @ named["6.weight"].T, rtol=1e-5, atol=1e-6)
    assert activation_shapes(model, lambda: model(inputs)) == {"2": (5, 6), "5": (5, 6)}


@pytest.mark.parametrize("width", [12, 24])
def test_stacked_training_with_layer_normalisation_equals_single_training(width: int) -> None:
    """In float32 over 24 updates, with dropout and noise in other slots. The compiled kernel, where
    numba is installed, takes the wider layers. The tolerance of an accuracy is two of 297 images.
    """
    changes = {
        "workload": "mlp",
        "options": {"depth": 4, "width": width, "norm": "layer", "train_examples": 1_200},
    }
    noisy = {"techniques": ("annealed",), "params": {"lr": 0.05, "eta": 0.01, "gamma": 0.55}}
    dropped = {"techniques": ("dropout",), "params": {"lr": 0.05, "rate": 0.2}}
    for arm in ({}, noisy, dropped):
        stack = StackTrainer(4)
        trial = spec(budget_epochs=2, **changes | arm)
        neighbours = [
            spec(f"{i}", budget_epochs=2, seed=i, **changes | other)
            for i, other in ((5, noisy), (6, dropped), (7, {}))
        ]
        found = curve(run(stack, trial, *neighbours))
        assert list(stack.refusals.values()) == [""]
        expected = curve(run(SingleTrainer(1), trial))
        assert len(found) == len(expected) == 2
        for values, others in zip(found, expected, strict=True):
            assert values == pytest.approx(others, rel=1e-3, abs=0.0068)
            assert values["train_loss"] == pytest.approx(others["train_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("label", "dtype", "got"),
    [
        (10, torch.int64, "torch.int64 from 0 to 10"),
        (-1, torch.int64, "torch.int64 from -1 to 9"),
        (3, torch.int32, "torch.int32 from 0 to 9"),
    ],
)
def test_labels_of_no_class_are_an_error_before_a_stack_trains(
    label: int, dtype: torch.dtype, got: str
) -> None:
    """The compiled kernel reads and writes memory by labels, without a check."""

    class Relabelled(Mlp):
        def data(self) -> Splits:
            splits = super().data()
            inputs, labels = splits.train
            labels = labels.clone()
            labels[7] = label
            return dataclasses.replace(splits, train=(inputs, labels.to(dtype)))

    with pytest.raises(ValueError, match=f"labels must be torch.int64 from 0 to 9, but got {got}"):
        Relabelled({}).stacked_gradient()


def test_train_examples_does_not_change_the_other_splits() -> None:
    workload, _ = opened(train_examples=250)
    data = workload.data()
    assert [len(part[0]) for part in (data.train, data.validation, data.test)] == [250, 297, 300]
    assert workload.data() is data


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_examples": 1_201},
            "options.train_examples must be at most 1200, the training images, with "
            "dataset='digits', but got train_examples=1201",
        ),
        (
            {"train_examples": 50},
            "options.batch_size must be at most 50, the training images, with train_examples=50, "
            "but got batch_size=100",
        ),
        ({"batch_size": 1_300}, "batch_size must be at most 1200, the training images"),
        (
            {"dataset": "cifar"},
            "options.dataset must be one of 'digits', 'mnist', 'fashion-mnist', but got "
            "dataset='cifar'",
        ),
    ],
)
def test_options_that_do_not_fit_the_data_raise_an_error(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Mlp(options)
