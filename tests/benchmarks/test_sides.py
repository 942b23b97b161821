"""The sides of a comparison: their members, their operations and their training."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch

from benchmarks import sides
from benchmarks.sides import Case
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import Measurement
from gradnoise.workloads import Dropout

pytestmark = pytest.mark.slow  # they train for seconds

DIGITS = Case(
    name="digits",
    workload="dense",
    options={"dataset": "digits", "depth": 3, "width": 7, "train_examples": 200},
)
CONVOLUTIONS = Case(name="convolutions", workload="convolutions")


@pytest.fixture(autouse=True)
def no_members(workloads: None) -> Iterator[None]:
    """Release the members of each test."""
    yield
    sides.forget()


def test_an_update_of_a_dense_network_takes_three_products_a_layer() -> None:
    """They are the forward pass and the gradients of the weights and of the inputs.

    The inputs of the first layer need no gradient.
    """
    forward = 2 * 100 * (64 * 7 + 7 * 7 + 7 * 7 + 7 * 10)
    with_gradients = 3 * forward - 2 * 100 * 64 * 7
    assert sides.flops(DIGITS) == with_gradients


def test_an_update_of_a_convolution_net_takes_three_products_a_layer() -> None:
    """A 3x3 convolution multiplies 9 weights for each pair of channels and each output position.

    Padding is multiplied as well.
    """
    first, rest = 16 * 1 * 9 * 16 * 16, 32 * 16 * 9 * 8 * 8 + 32 * 32 * 9 * 4 * 4 + 512 * 10
    assert sides.flops(CONVOLUTIONS) == 2 * 50 * (2 * first + 3 * rest)


def test_half_of_the_members_have_noise() -> None:
    """Each member has a different seed."""
    specs = sides.members(DIGITS, 6)
    assert [spec.techniques for spec in specs] == [("none",), ("annealed",)] * 3
    assert len({spec.seed for spec in specs}) == len({spec.key for spec in specs}) == 6


@pytest.mark.parametrize(
    "case",
    [DIGITS, CONVOLUTIONS],
    ids=lambda case: case.name,
)
@pytest.mark.parametrize("slots", [0, 1, 4])
def test_every_side_trains_in_two_turns(case: Case, slots: int) -> None:
    """The sides are the reference trainer, single trials and a stack."""
    assert sides.train(case, slots, 0.0) > 0
    assert sides.train(case, slots, 0.0) > 0


@pytest.mark.parametrize(
    ("optimizer", "params"), [("sgd", {"lr": 0.1, "clip_norm": 0.1}), ("adam", {"lr": 0.01})]
)
def test_the_plain_loop_trains_like_the_reference_trainer(
    optimizer: str, params: dict[str, float]
) -> None:
    """Losses and metrics of six epochs agree in float32, and noise changes them.

    An epoch is a single batch, so the order of the examples has no effect.
    """
    case = replace(
        DIGITS,
        options={**DIGITS.options, "train_examples": 100, "init": "he"},
        optimizer=optimizer,
        params=params,
    )
    trainer = SingleTrainer(1)
    trainer.admit(case.spec("a", "none", seed=0))
    for found in islice(sides.plain_loop(case, is_noisy=False), 6):
        (measured,) = (
            event.values for event in trainer.advance() if isinstance(event, Measurement)
        )
        assert found == pytest.approx(measured, rel=1e-4)
    assert list(islice(sides.plain_loop(case, is_noisy=True), 2))[1]["train_loss"] != pytest.approx(
        found["train_loss"], rel=1e-4
    )
    assert sides.train_plainly(case, 0.0) > 0


def test_the_plain_loop_drops_activations_where_every_arm_does() -> None:
    """torch's module replaces `Dropout` at the same rate; a place for the technique stays."""
    model = sides.with_torch_dropout(
        torch.nn.Sequential(Dropout(0.25), torch.nn.Sequential(Dropout(), Dropout(0.5)))
    )
    places = (model[0], *model[1])
    assert [(type(place), getattr(place, "p", None)) for place in places] == [
        (torch.nn.Dropout, 0.25),
        (Dropout, None),
        (torch.nn.Dropout, 0.5),
    ]
