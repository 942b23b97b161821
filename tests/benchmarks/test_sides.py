"""What a side of a comparison does: the members that it trains, and what an update of one takes."""

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

DIGITS = Case(
    name="digits",
    workload="dense",
    options={"dataset": "digits", "depth": 3, "width": 7, "train_examples": 200},
)
CONVOLUTIONS = Case(name="convolutions", workload="convolutions")


@pytest.fixture(autouse=True)
def forgotten(workloads: None) -> Iterator[None]:
    yield
    sides.forget()


def test_an_update_of_a_dense_network_takes_three_products_a_layer() -> None:
    """Forward, gradient of the weights, gradient of the inputs: the first layer's inputs need none."""
    forward = 2 * 100 * (64 * 7 + 7 * 7 + 7 * 7 + 7 * 10)
    with_gradients = 3 * forward - 2 * 100 * 64 * 7
    assert sides.flops(DIGITS) == with_gradients


def test_an_update_of_a_convolution_net_takes_three_products_a_layer() -> None:
    """A 3x3 convolution multiplies 9 weights for each pair of channels and place of its output; the
    padding counts.
    """
    first, rest = 16 * 1 * 9 * 16 * 16, 32 * 16 * 9 * 8 * 8 + 32 * 32 * 9 * 4 * 4 + 512 * 10
    assert sides.flops(CONVOLUTIONS) == 2 * 50 * (2 * first + 3 * rest)


def test_half_of_the_members_are_noisy() -> None:
    """Every way trains the same mixture, each member with a seed of its own."""
    found = sides.members(DIGITS, 6)
    assert [spec.techniques for spec in found] == [("none",), ("annealed",)] * 3
    assert len({spec.seed for spec in found}) == len({spec.key for spec in found}) == 6


@pytest.mark.parametrize("case", [DIGITS, CONVOLUTIONS], ids=lambda case: case.name)
@pytest.mark.parametrize("slots", [0, 1, 4])
def test_every_way_trains(case: Case, slots: int) -> None:
    """The reference, single trials and a stack get through epochs of each network, and go on where
    they were in the next turn.
    """
    assert sides.train(case, slots, 0.0) > 0
    assert sides.train(case, slots, 0.0) > 0


@pytest.mark.parametrize(
    ("optimizer", "params"), [("sgd", {"lr": 0.1, "clip_norm": 0.1}), ("adam", {"lr": 0.01})]
)
def test_the_plain_loop_does_what_the_reference_trainer_does(
    optimizer: str, params: dict[str, float]
) -> None:
    """Where an epoch is one batch, so that its order is of no account: losses and metrics of six
    epochs agree in float32; noise shows.
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


def test_the_plain_loop_drops_what_every_arm_drops() -> None:
    """By torch's own module, at the same rate; a place for the technique alone stays one."""
    model = sides.with_torch_dropout(
        torch.nn.Sequential(Dropout(0.25), torch.nn.Sequential(Dropout(), Dropout(0.5)))
    )
    assert [(type(one), getattr(one, "p", None)) for one in (model[0], *model[1])] == [
        (torch.nn.Dropout, 0.25),
        (Dropout, None),
        (torch.nn.Dropout, 0.5),
    ]
