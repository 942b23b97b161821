import math
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from gradnoise.training.lr_schedules import lr_factor

BUDGET = 50


def rates_of_torch(kind: type[LRScheduler], **arguments: Any) -> list[float]:
    """Return the rate of each epoch under torch's scheduler, stepped once an epoch, from a rate of
    1.
    """
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = kind(optimizer, **arguments)
    rates = []
    for _ in range(BUDGET):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [1.0] * BUDGET),
        ({"lr_schedule": "constant"}, [1.0] * BUDGET),
        ({"lr_schedule": "cosine"}, rates_of_torch(CosineAnnealingLR, T_max=BUDGET)),
        (
            {"lr_schedule": "step", "lr_every_epochs": 7, "lr_factor": 0.3},
            rates_of_torch(StepLR, step_size=7, gamma=0.3),
        ),
        (
            {"lr_schedule": "halving", "lr_every_epochs": 4.0},
            rates_of_torch(StepLR, step_size=4, gamma=0.5),
        ),
    ],
    ids=str,
)
def test_the_rates_are_torchs(params: dict[str, Any], expected: list[float]) -> None:
    """torch goes from rate to rate, with a rounding or two of 2^-53 each: 50 epochs of them, which
    1 + cos near the end multiplies by the quotient of a rate and the last one, (1 + cos(pi e / E))
    / 2 = sin^2(pi / 2E) = 1e-3 there.
    """
    factor = lr_factor(params, BUDGET)
    assert [factor(epoch) for epoch in range(BUDGET)] == pytest.approx(
        expected, rel=50 * 2 * 2**-53 / 1e-3, abs=0
    )


def test_cosine_starts_at_1_is_half_way_at_half_and_never_0() -> None:
    factor = lr_factor({"lr_schedule": "cosine"}, 4)
    assert factor(0) == 1.0
    assert factor(2) == pytest.approx(0.5, rel=1e-15)
    assert factor(3) == pytest.approx((1 - math.sqrt(0.5)) / 2, rel=1e-14)
    assert lr_factor({"lr_schedule": "cosine"}, 1)(0) == 1.0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"lr_every_epochs": 2},
            "lr_schedule is missing: with lr_every_epochs=2 it must be given, as step or halving.",
        ),
        (
            {"lr_factor": 0.5},
            "lr_schedule is missing: with lr_factor=0.5 it must be given, as step.",
        ),
    ],
)
def test_what_a_schedule_needs_is_refused_without_one(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lr_factor(params, BUDGET)


def test_a_schedule_leaves_alone_what_another_needs() -> None:
    """So a study can search among schedules, with all that any of them needs in its space."""
    others = {"lr_every_epochs": 2, "lr_factor": 0.1}
    factors = [
        lr_factor({"lr_schedule": schedule} | others, 4)(2)
        for schedule in ("constant", "cosine", "step", "halving")
    ]
    assert factors == pytest.approx([1.0, 0.5, 0.1, 0.5], rel=1e-15)
