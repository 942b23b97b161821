import math
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from gradnoise.parameters import check
from gradnoise.workloads.lr_schedules import LR_PARAMETERS, LR_RULES, lr_factor, warmup_factor

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
    """torch computes each rate from the one before, with one or two roundings of 2^-53 an epoch
    over 50 epochs. Relative to the last rate of the cosine, sin^2(pi / 2E) = 1e-3, they grow by its
    inverse.
    """
    factor = lr_factor(params, BUDGET)
    assert [factor(epoch) for epoch in range(BUDGET)] == pytest.approx(
        expected, rel=50 * 2 * 2**-53 / 1e-3, abs=0
    )


def test_cosine_starts_at_1_halves_in_the_middle_and_stays_above_0() -> None:
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
            "lr_schedule is missing: with lr_every_epochs=2 it must be one of constant, cosine",
        ),
        (
            {"lr_schedule": "halving"},
            r"lr_every_epochs is missing: with lr_schedule='halving' it must be a whole number in",
        ),
        (
            {"lr_schedule": "step", "lr_every_epochs": 2},
            r"lr_factor is missing: with lr_schedule='step' it must be a finite number in \(0, 1\]",
        ),
        (
            {"lr_factor": 0.5},
            "lr_schedule is missing: with lr_factor=0.5 it must be one of constant, cosine, step",
        ),
    ],
)
def test_a_schedule_and_its_parameters_need_each_other(
    params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check(params, LR_PARAMETERS, rules=LR_RULES)


def test_a_schedule_ignores_what_another_needs() -> None:
    """So a study can search among schedules, with the parameters of all of them in its space."""
    others = {"lr_every_epochs": 2, "lr_factor": 0.1}
    factors = [
        lr_factor({"lr_schedule": schedule} | others, 4)(2)
        for schedule in ("constant", "cosine", "step", "halving")
    ]
    assert factors == pytest.approx([1.0, 0.5, 0.1, 0.5], rel=1e-15)


def test_the_warm_up_rises_in_proportion() -> None:
    assert [warmup_factor({"lr_warmup_steps": 4}, t) for t in range(6)] == [
        0.25,
        0.5,
        0.75,
        1,
        1,
        1,
    ]
    assert warmup_factor({}, 0) == warmup_factor({"lr_warmup_steps": 0}, 0) == 1.0
